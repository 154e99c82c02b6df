"""twisted.words' IRC server: two clients talk on a channel."""

from __future__ import annotations

import socket

from beside import LOCAL, serve
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.words.service import InMemoryWordsRealm, IRCFactory


class Client:
    """As much of an IRC client as it takes."""

    def __init__(self, number: int, name: str) -> None:
        self.sock = socket.create_connection((LOCAL, number), 30)
        self.lines = self.sock.makefile("r", encoding="utf-8", newline="\r\n")
        self.say(f"PASS secret-{name}", f"NICK {name}", f"USER {name} 0 * :{name}")
        self.expect(" 001 ")

    def say(self, *lines: str) -> None:
        for line in lines:
            self.sock.sendall(f"{line}\r\n".encode())

    def expect(self, what: str) -> str:
        for line in self.lines:
            if what in line:
                return line
        raise AssertionError(f"the server has closed the connection before {what!r}")

    def close(self) -> None:
        self.say("QUIT :bye")
        self.lines.close()
        self.sock.close()


def talk(number: int) -> None:
    ann, bob = Client(number, "ann"), Client(number, "bob")
    ann.say("JOIN #loop")
    ann.expect("JOIN")
    bob.say("JOIN #loop")
    bob.expect("JOIN")
    ann.expect("bob")
    for said in ("hello", "grüß dich", "x" * 400):
        ann.say(f"PRIVMSG #loop :{said}")
        assert said in bob.expect("PRIVMSG")
    bob.say("PRIVMSG #loop :and back")
    assert "and back" in ann.expect("PRIVMSG")
    ann.say("PING token")
    ann.expect("PONG")
    bob.close()
    ann.expect("bob")
    ann.close()


checker = InMemoryUsernamePasswordDatabaseDontUse()
for name in ("ann", "bob"):
    checker.addUser(name, f"secret-{name}")  # text, as the IRC server has it
realm = InMemoryWordsRealm("example.test")
realm.createGroupOnRequest = True
serve(IRCFactory(realm, Portal(realm, [checker])), talk)
