"""bacpypes: a UDP and a TCP director, each with a server that says everything again.

`asynccore run tests/field/programs/with_bacpypes.py`, with bacpypes installed (docs/programs.md).
"""

from bacpypes.comm import PDU, Client, bind
from bacpypes.core import deferred, run, stop
from bacpypes.tcp import TCPClientDirector, TCPServerDirector
from bacpypes.udp import UDPDirector

HEARD = []


class Echo(Client):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def confirmation(self, pdu):
        HEARD.append((self.name, bytes(pdu.pduData)))
        self.request(PDU(pdu.pduData, destination=pdu.pduSource))


class Asking(Echo):
    count = 0

    def confirmation(self, pdu):
        HEARD.append((self.name, bytes(pdu.pduData)))
        self.count += 1
        if all(one.count >= 3 for one in ASKING):
            stop()
        elif self.count < 3:
            self.request(PDU(b"%d" % self.count, destination=pdu.pduSource))


ASKING = [Asking("udp client"), Asking("tcp client")]
bind(Echo("udp server"), UDPDirector(("127.0.0.1", 47811)))
bind(ASKING[0], UDPDirector(("127.0.0.1", 47812)))
bind(Echo("tcp server"), TCPServerDirector(("127.0.0.1", 47813)))
client = TCPClientDirector()
bind(ASKING[1], client)
client.connect(("127.0.0.1", 47813))
deferred(ASKING[0].request, PDU(b"first", destination=("127.0.0.1", 47811)))
deferred(ASKING[1].request, PDU(b"first", destination=("127.0.0.1", 47813)))
run()
for name in ("udp server", "udp client", "tcp server", "tcp client"):
    print(name, [data for who, data in HEARD if who == name])
