"""Twisted on a classic loop: `ClassicReactor`, a reactor whose descriptors are channels of a map.

from compat.twisted_transports import install

reactor = install()  # before anything imports twisted.internet.reactor
endpoints.serverFromString(reactor, "tcp:8080").listen(site)
asyncore.loop()  # serves the site, and the program's own dispatchers
"""

from __future__ import annotations

from .channel import TwistedChannel
from .handover import hand_over
from .reactor import ClassicReactor, install_reactor

__all__ = ["ClassicReactor", "TwistedChannel", "hand_over", "install_reactor"]
