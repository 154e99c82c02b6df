"""DNS: a name server by twisted.names, over UDP and TCP; the legacy server changes its names.

asynccore run examples/gallery/dns_server.py [port [legacy port]]

A line "www.example.org 192.0.2.1" gives a name an address, and "www.example.org" takes it away.
"""

from common import LineServer, announce, install_reactor, listen, run

reactor = install_reactor()

from twisted.internet import defer
from twisted.names import dns, error, server


class Zone:
    def __init__(self):
        self.addresses = {"gallery.example.org": "192.0.2.80"}
        self.texts = {"gallery.example.org": [b"x" * 250] * 8}

    def change(self, line):
        name, _, address = line.lower().partition(" ")
        if address:
            self.addresses[name] = address
        else:
            self.addresses.pop(name, None)
        return f"{len(self.addresses)} names"

    def query(self, query, timeout=None):
        name = query.name.name.decode().lower()
        if name not in self.addresses:
            return defer.fail(error.AuthoritativeDomainError(name))
        records = []
        if query.type == dns.A:
            records = [dns.Record_A(self.addresses[name], ttl=60)]
        elif query.type == dns.TXT:
            records = [dns.Record_TXT(*self.texts.get(name, []), ttl=60)]
        answers = [
            dns.RRHeader(name, record.TYPE, ttl=60, payload=record, auth=True) for record in records
        ]
        return defer.succeed((answers, [], []))


def start(port=8053, legacy_port=7053):
    zone = Zone()
    LineServer("dns_server", legacy_port, zone.change)
    factory = server.DNSServerFactory(clients=[zone])
    protocol = dns.DNSDatagramProtocol(controller=factory)
    datagrams = reactor.listenUDP(port, protocol, interface="127.0.0.1")
    announce("dns_server udp", datagrams.getHost().port)
    listen("dns_server", port, factory)


if __name__ == "__main__":
    run(start)
