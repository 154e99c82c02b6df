"""What `trial --reactor=asynccore` and `twistd --reactor=asynccore` find."""

from __future__ import annotations

from twisted.application.reactors import Reactor

reactor = Reactor("asynccore", "compat.twisted_transports", "the classic loop of asynccore.")
