"""Basic authentication: pages for those who are known, by twisted.cred and twisted.web.

asynccore run examples/gallery/basic_auth.py [port [legacy port]]

The legacy server changes passwords: "ann secret", and then ann's is "secret".
"""

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.cred import checkers, portal
from twisted.web import guard, resource, server
from zope.interface import implementer


class Page(resource.Resource):
    isLeaf = True

    def __init__(self, user):
        super().__init__()
        self.user = user

    def render_GET(self, request):
        return b"Good day, " + self.user


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, user, mind, *interfaces):
        return resource.IResource, Page(user), lambda: None


def start(port=8006, legacy_port=7006):
    known = checkers.InMemoryUsernamePasswordDatabaseDontUse(ann=b"let me in")

    def change(line):
        name, _, password = line.partition(" ")
        known.users[name.encode()] = password.encode()
        return f"{name} has a password"

    LineServer("basic_auth", legacy_port, change)
    schemes = [guard.BasicCredentialFactory("gallery")]
    root = guard.HTTPAuthSessionWrapper(portal.Portal(Realm(), [known]), schemes)
    listen("basic_auth", port, server.Site(root))


if __name__ == "__main__":
    run(start)
