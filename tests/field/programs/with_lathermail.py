"""lathermail: its SMTP server with AUTH PLAIN, asked by smtplib five times.

`asynccore run tests/field/programs/with_lathermail.py FOLDER`, the unpacked source distribution
(docs/programs.md). Its web interface needs a Flask of 2014 and is left alone.
"""

import asyncore
import smtplib
import sys
import threading
import types

package = types.ModuleType("lathermail")
package.__path__ = [f"{sys.argv[1]}/lathermail"]
sys.modules["lathermail"] = package

from lathermail.smtp import InboxServer  # noqa: E402 - the package is made above

got = []
server = InboxServer(("127.0.0.1", 0), lambda **mail: got.append(mail))
threading.Thread(target=asyncore.loop, kwargs={"timeout": 0.1}, daemon=True).start()
for number in range(5):
    client = smtplib.SMTP(*server.socket.getsockname(), timeout=10)
    try:
        client.sendmail("a@x", ["b@x"], "no auth")
    except smtplib.SMTPSenderRefused as why:
        print(why.args)
    print(client.docmd("AUTH", "PLAIN AHVzZXIAc2VjcmV0"))
    text = f"Subject: {number}\r\n\r\n.dots\r\n..\r\nend"
    print(client.sendmail("a@x", ["b@x", "c@x"], text), client.quit())
for mail in got:
    print({name: value for name, value in mail.items() if name != "message"})
