"""Twisted on a classic loop: `ClassicReactor`, a reactor whose descriptors are channels of a map.

from compat.twisted_transports import install_reactor

reactor = install_reactor()  # before anything imports twisted.internet.reactor
endpoints.serverFromString(reactor, "tcp:8080").listen(site)
asyncore.loop()  # serves the site, and the program's own dispatchers
"""

from __future__ import annotations

from .channel import TwistedChannel as TwistedChannel
from .handover import hand_over
from .reactor import ClassicReactor, install, install_reactor

# Where they are public, as in the face of `compat`.
for _public in (hand_over, install_reactor):
    _public.__module__ = __name__.rpartition(".")[0]
# Twisted looks for `install` where a reactor's class says that it is from, and `compat.install` is
# something else.
for _home in (ClassicReactor, install):
    _home.__module__ = __name__

__all__ = ["ClassicReactor", "hand_over", "install", "install_reactor"]
