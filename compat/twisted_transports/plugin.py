"""What `trial --reactor=asynccore` and `twistd --reactor=asynccore` find, once it is in its place.

Twisted looks for plugins in folders `twisted/plugins` beside whatever is installed. In a wheel,
such a folder would be a package of the name `twisted` where Twisted is not installed. So
`asynccore enable --reactor` puts a copy of this file there.
"""

from __future__ import annotations

from twisted.application.reactors import Reactor

reactor = Reactor("asynccore", "compat.twisted_transports", "the classic loop of asynccore.")
