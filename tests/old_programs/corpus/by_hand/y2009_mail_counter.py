#!/usr/bin/python
"""Counts mails by sender, and prints the counts after each."""
import asyncore
import smtpd
import sys
from email.Parser import Parser
from email.Utils import parseaddr


class Counter(smtpd.SMTPServer):
    def __init__(self, port):
        smtpd.SMTPServer.__init__(self, ('127.0.0.1', port), None)
        self.counts = {}

    def process_message(self, peer, mailfrom, rcpttos, data):
        message = Parser().parsestr(data)
        name, address = parseaddr(message['From'])
        self.counts[address] = self.counts.get(address, 0) + 1
        for address, count in sorted(self.counts.iteritems()):
            print '%s: %d' % (address, count)
        sys.stdout.flush()


Counter(int(sys.argv[1]))
try:
    asyncore.loop(timeout=2)
except KeyboardInterrupt:
    print 'done'
