"""IRC server: by twisted.words; what the legacy server is told is said in #gallery.

asynccore run examples/gallery/irc_server.py [port [legacy port]]

Known are ann, bob and bot, with the password "secret" (PASS).
"""

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.cred import checkers, portal
from twisted.words import service


def start(port=8667, legacy_port=7667):
    realm = service.InMemoryWordsRealm("gallery")
    realm.createGroupOnRequest = True
    known = checkers.InMemoryUsernamePasswordDatabaseDontUse()
    for name in ("ann", "bob", "bot"):
        known.addUser(name, "secret")
    factory = service.IRCFactory(realm, portal.Portal(realm, [known]))
    listen("irc_server", port, factory)
    herald = service.User("legacy")

    def say(line):
        group = realm.groups.get("gallery")
        if group is None:
            return "nobody was ever there"
        group.receive(herald, group, {"text": line})
        return f"heard by {len(list(group.iterusers()))}"

    LineServer("irc_server", legacy_port, say)


if __name__ == "__main__":
    run(start)
