#!/usr/bin/env python
"""A mail server that accepts every message and only prints what it got.

usage: mail_sink.py [port]
"""

import asyncore
import smtpd
import sys
from email import message_from_string


class MailSink(smtpd.SMTPServer):
    count = 0

    def __init__(self, address):
        smtpd.SMTPServer.__init__(self, address, None)
        print("listening on %s:%d" % self.socket.getsockname()[:2])

    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
        self.count += 1
        if not isinstance(data, str):
            data = data.decode("latin-1")
        subject = message_from_string(data)["Subject"]
        print(
            "message %d: from %s to %s, subject %r, %d lines"
            % (self.count, mailfrom, ", ".join(rcpttos), subject, len(data.splitlines()))
        )


if __name__ == "__main__":
    MailSink(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7025))
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        print("stopped")
