"""Finger: by twisted.protocols.finger; the legacy server is told what people do.

asynccore run examples/gallery/finger_server.py [port [legacy port]]

A line "ann at lunch" is ann's plan from now on.
"""

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.internet.protocol import ServerFactory
from twisted.protocols import finger

plans = {"ann": "answers mail"}


class Finger(finger.Finger):
    def getUser(self, slash_w, user):
        name = user.decode("ascii", "replace")
        if name in plans:
            self.say(f"Login: {name}", f"Plan: {plans[name]}")
        else:
            self.say(f"{name}: no such user")

    def getDomain(self, slash_w):
        self.say(*sorted(plans))

    def say(self, *lines):
        self.transport.write("".join(f"{line}\r\n" for line in lines).encode())
        self.transport.loseConnection()


def plan(line):
    name, _, text = line.partition(" ")
    plans[name] = text
    return f"{len(plans)} people"


def start(port=8079, legacy_port=7079):
    LineServer("finger_server", legacy_port, plan)
    listen("finger_server", port, ServerFactory.forProtocol(Finger))


if __name__ == "__main__":
    run(start)
