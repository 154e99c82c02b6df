"""SQL authentication: pages for those in a table, which is asked in threads by adbapi.

asynccore run examples/gallery/sql_auth.py [port [legacy port]]

The legacy server adds people: "ann secret".
"""

import contextlib
import hashlib
import hmac
import os
import sqlite3

from common import LineServer, install_reactor, listen, new_folder, run

install_reactor()

from twisted.cred import checkers, credentials, error, portal
from twisted.enterprise import adbapi
from twisted.internet import defer
from twisted.web import guard, resource, server
from zope.interface import implementer


def digest(password, salt):
    return hashlib.scrypt(password, salt=salt, n=2**10, r=8, p=1)


@implementer(checkers.ICredentialsChecker)
class TableChecker:
    credentialInterfaces = (credentials.IUsernamePassword,)

    def __init__(self, database):
        self.database = database

    @defer.inlineCallbacks
    def requestAvatarId(self, known):
        name = known.username.decode()
        query = "SELECT salt, digest FROM people WHERE name = ?"
        rows = yield self.database.runQuery(query, (name,))
        if not rows or not hmac.compare_digest(rows[0][1], digest(known.password, rows[0][0])):
            raise error.UnauthorizedLogin(name)
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


def start(port=8014, legacy_port=7014):
    path = os.path.join(new_folder(), "people.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as new:
        new.execute("CREATE TABLE people (name TEXT PRIMARY KEY, salt BLOB, digest BLOB)")
    database = adbapi.ConnectionPool("sqlite3", path, check_same_thread=False)

    def add(line):
        name, _, password = line.partition(" ")
        salt = os.urandom(16)
        row = (name, salt, digest(password.encode(), salt))
        done = database.runOperation("INSERT OR REPLACE INTO people VALUES (?, ?, ?)", row)
        return done.addCallback(lambda nothing: f"{name} is known")

    LineServer("sql_auth", legacy_port, add)
    schemes = [guard.BasicCredentialFactory("gallery")]
    people = portal.Portal(Realm(), [TableChecker(database)])
    listen("sql_auth", port, server.Site(guard.HTTPAuthSessionWrapper(people, schemes)))


if __name__ == "__main__":
    run(start)
