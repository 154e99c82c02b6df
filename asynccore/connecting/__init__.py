"""Connecting by name: the look-up, the attempts, and what stands for the channel meanwhile."""

from __future__ import annotations
