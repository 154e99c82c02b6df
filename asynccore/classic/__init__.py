"""What programs of the classic modules expect: names to rebind, and names of their own."""

from __future__ import annotations
