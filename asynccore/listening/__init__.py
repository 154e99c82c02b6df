"""Accepting: limits, sockets that others opened, and what stands in front of a listener."""

from __future__ import annotations

# Where the environment asks for TLS, it enters itself among `channels.inspectors`.
from . import interception as interception
