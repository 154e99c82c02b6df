"""Certificates, keys and pins: files, what is in them, and for whom they are."""

from __future__ import annotations
