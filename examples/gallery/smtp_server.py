"""SMTP: a server by aiosmtpd; the legacy server shows what came.

asynccore run examples/gallery/smtp_server.py [port [legacy port]]
"""

import asyncio
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP

import compat
from common import LineServer, announce, run


class Handler:
    def __init__(self):
        self.messages = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        await asyncio.sleep(0.01)  # as if a database had been asked
        if not address.endswith("@example.org"):
            return "550 not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.messages.append((envelope.rcpt_tos, message))
        return f"250 taken as number {len(self.messages)}"

    def last(self, line):
        if not self.messages:
            return "no mail"
        recipients, message = self.messages[-1]
        return f"{message['subject']} for {', '.join(recipients)}"


def start(port=8025, legacy_port=7025):
    handler = Handler()
    LineServer("smtp_server", legacy_port, handler.last)
    loop = compat.event_loop()
    server = compat.create_server(
        lambda: SMTP(handler, hostname="gallery.example.org", loop=loop), "127.0.0.1", port
    )
    announce("smtp_server", server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    run(start)
