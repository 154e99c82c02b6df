"""`asynccore check`: what will stop or trouble a program, told without running it."""

from __future__ import annotations
