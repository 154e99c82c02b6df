"""A program of pyftpdlib's kind, as its documentation begins; it knows nothing of asynccore."""

from __future__ import annotations

import asyncore  # where the legacy names are installed, and so not before 3.12
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

authorizer = DummyAuthorizer()
authorizer.add_user("user", "secret", sys.argv[1], perm="elradfmwMT")
FTPHandler.authorizer = authorizer
server = FTPServer(("127.0.0.1", 0), FTPHandler)
print(server.socket.getsockname()[1], asyncore.__file__, flush=True)
server.serve_forever(timeout=0.5)
