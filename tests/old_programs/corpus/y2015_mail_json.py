"""Takes mail, and appends it to a file as JSON lines."""

import asyncore
import email
import json
import smtpd
import sys


class JsonSink(smtpd.SMTPServer):
    def process_message(self, peer, mailfrom, rcpttos, data):
        message = email.message_from_string(data)
        record = {
            'peer': peer[0],
            'from': mailfrom,
            'to': rcpttos,
            'subject': message['Subject'],
            'lines': data.split('\n'),
        }
        print(json.dumps(record), flush=True)


if __name__ == '__main__':
    server = JsonSink(('127.0.0.1', int(sys.argv[1])), None)
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        server.close()
