"""LDAP authentication: pages for those whom a directory knows, by ldaptor and twisted.web.

asynccore run examples/gallery/ldap_auth.py [port [legacy port [port of the directory]]]

The directory is served here, too. The legacy server adds people: "bob secret".
"""

import io

from common import LineServer, install_reactor, listen, run

reactor = install_reactor()

from ldaptor import inmemory, interfaces
from ldaptor.protocols.ldap import ldapclient, ldaperrors, ldapserver
from twisted.cred import checkers, credentials, error, portal
from twisted.internet import defer, endpoints, protocol
from twisted.python import components
from twisted.web import guard, resource, server
from zope.interface import implementer

PEOPLE = "ou=people,dc=example,dc=org"
TREE = f"""\
dn: dc=example,dc=org
objectClass: dcObject
dc: example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: uid=ann,{PEOPLE}
objectClass: person
uid: ann
cn: Ann
userPassword: let me in

"""


class Directory(protocol.ServerFactory):
    protocol = ldapserver.LDAPServer

    def __init__(self, root):
        self.root = root


components.registerAdapter(lambda factory: factory.root, Directory, interfaces.IConnectedLDAPEntry)


@implementer(checkers.ICredentialsChecker)
class DirectoryChecker:
    """Knows those who can bind to the directory with their password."""

    credentialInterfaces = (credentials.IUsernamePassword,)

    def __init__(self, port):
        self.endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)

    @defer.inlineCallbacks
    def requestAvatarId(self, known):
        name = known.username.decode()
        if not name.isalnum() or not known.password:
            raise error.UnauthorizedLogin(name)
        client = yield endpoints.connectProtocol(self.endpoint, ldapclient.LDAPClient())
        try:
            yield client.bind(f"uid={name},{PEOPLE}", known.password)
        except ldaperrors.LDAPException as why:
            raise error.UnauthorizedLogin(name) from why
        finally:
            client.unbind()
        return known.username


class Page(resource.Resource):
    isLeaf = True

    def __init__(self, user):
        super().__init__()
        self.render_GET = lambda request: b"Good day, " + user


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, user, mind, *interfaces):
        return resource.IResource, Page(user), lambda: None


@defer.inlineCallbacks
def start(port=8013, legacy_port=7013, directory_port=8389):
    root = yield inmemory.fromLDIFFile(io.BytesIO(TREE.encode()))
    people = yield root.lookup(PEOPLE)
    directory = listen("ldap_auth directory", directory_port, Directory(root))

    def add(line):
        name, _, password = line.partition(" ")
        people.addChild(
            f"uid={name}",
            {"uid": [name], "objectClass": ["person"], "cn": [name], "userPassword": [password]},
        )
        return f"{name} is known"

    LineServer("ldap_auth", legacy_port, add)
    checker = DirectoryChecker(directory.getHost().port)
    schemes = [guard.BasicCredentialFactory("gallery")]
    root = guard.HTTPAuthSessionWrapper(portal.Portal(Realm(), [checker]), schemes)
    listen("ldap_auth", port, server.Site(root))


if __name__ == "__main__":
    run(start)
