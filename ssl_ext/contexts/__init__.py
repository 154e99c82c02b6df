"""Contexts: what can be right in them, and what OpenSSL makes of that."""

from __future__ import annotations
