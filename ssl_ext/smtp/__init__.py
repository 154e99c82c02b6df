"""SMTP over TLS, and who may send."""

from __future__ import annotations
