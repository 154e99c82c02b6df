#! /usr/bin/env python
"""Takes mail, and prints who wrote it."""
import sys, string, smtpd, asyncore, rfc822, StringIO

class Sink(smtpd.SMTPServer):
    count = 0
    def process_message(self, peer, mailfrom, rcpttos, data):
        message = rfc822.Message(StringIO.StringIO(data))
        self.count = self.count + 1
        print '%d: %s -> %s: %s' % (self.count, mailfrom, string.join(rcpttos, ','), message.getheader('subject'))
        print >>sys.stderr, 'from', peer[0]

Sink(('127.0.0.1', int(sys.argv[1])), None)
asyncore.loop()
