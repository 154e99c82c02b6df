"""The classic classes, and what a dispatcher offers beyond them."""

from __future__ import annotations
