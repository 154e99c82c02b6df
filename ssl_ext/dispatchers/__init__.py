"""TLS for dispatcher classes: ready ones, listeners, and classes made secure."""

from __future__ import annotations
