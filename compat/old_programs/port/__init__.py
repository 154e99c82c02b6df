"""`asynccore port`: rewrites programs for today's Python, and on from asyncore, step by step."""

from __future__ import annotations
