"""The SMTP dialogue without I/O, and what `smtpd`'s classes and command line share."""

from __future__ import annotations
