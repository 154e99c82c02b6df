"""A check for each program of the gallery: a real client asks it, and the legacy server beside it.

Each is given the ports of the program, which runs alone or with all others. Its docstring is what
`docs/gallery.md` says of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ftplib
import hashlib
import http.client
import http.cookiejar
import imaplib
import io
import logging
import os
import poplib
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from .clients import (
    Lines,
    at_once,
    get,
    known_as,
    legacy,
    origin,
    refused,
    status,
    trusting,
)
from .programs import PATIENCE, Ports

Check = Callable[[Ports], None]


class OneConnection(contextlib.closing[http.client.HTTPConnection]):
    """A connection that several things are asked for on."""

    def __init__(self, port: int) -> None:
        super().__init__(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))

    def __enter__(self) -> OneConnection:
        return self

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        self.thing.request(method, path, body, headers)
        response = self.thing.getresponse()
        return response.status, response.read()


SENTENCE = "Longer than what a socket takes at once. " * 8000


class Program(NamedTuple):
    name: str
    check: Check
    needs: tuple[str, ...]  # modules that it and its check import
    announces: int
    arguments: tuple[str, ...]


PROGRAMS: dict[str, Program] = {}


def checks(
    name: str, *needs: str, announces: int = 2, arguments: tuple[str, ...] = ("0", "0")
) -> Callable[[Check], Check]:
    """Make a function the check of a program, which announces so many ports."""

    def register(check: Check) -> Check:
        PROGRAMS[name] = Program(name, check, needs, announces, arguments)
        return check

    return register


# -- the Web ------------------------------------------------------------------------------------


@checks("http_server", "aiohttp")
def http_server(ports: Ports) -> None:
    """Pages, a POST and a chunked answer on one connection, and ten chunked answers at a time."""
    with OneConnection(ports["http_server"]) as connection:
        assert connection.ask("GET", "/hello/ann") == (200, b"Hello, ann\n")
        text = SENTENCE.encode()
        assert connection.ask("POST", "/upper", text) == (200, text.upper())
        assert connection.ask("GET", "/ticks") == (200, b"tick 0\ntick 1\ntick 2\n")
        assert connection.ask("GET", "/nowhere")[0] == 404
    url = f"http://127.0.0.1:{ports['http_server']}"
    at_once(lambda number: get(f"{url}/ticks"), range(10))
    assert legacy(ports, "http_server") == "14 requests"


@checks("http_files", "aiohttp")
def http_files(ports: Ports) -> None:
    """Files of 3 MB, of a line and of nothing, whole and in part, on one connection. The legacy
    server renames one of them.
    """
    with OneConnection(ports["http_files"]) as connection:
        assert connection.ask("GET", "/small") == (200, b"A few words.\n")
        assert connection.ask("GET", "/empty") == (200, b"")
        whole = connection.ask("GET", "/large")
        assert (whole[0], len(whole[1])) == (200, 3_200_000)
        part = connection.ask("GET", "/large", Range="bytes=1000000-1999999")
        assert part == (206, whole[1][1_000_000:2_000_000])
        assert legacy(ports, "http_files", "large big") == "big empty small"
        assert connection.ask("GET", "/large")[0] == 404
        assert connection.ask("GET", "/big") == whole


@checks("http_client", "aiohttp", announces=1, arguments=("0",))
def http_client(ports: Ports) -> None:
    """The legacy server fetches three URLs at a time, and says that one of them fails."""
    with origin() as there, Lines(ports["http_client"]) as client:
        urls = [f"{there}/{size}" for size in (10, 100_000, 1_000_000)]
        client.send(*urls)
        assert sorted(client.hear() for _ in urls) == sorted(
            f"{url} 200 {url.rpartition('/')[2]}" for url in urls
        )
        assert client.ask("http://127.0.0.1:1/") == "http://127.0.0.1:1/ ClientConnectorError"


@checks("wsgi_server", "waitress")
def wsgi_server(ports: Ports) -> None:
    """Five POSTs at a time, in threads. The legacy server sees the last one."""
    url = f"http://127.0.0.1:{ports['wsgi_server']}/"
    at_once(lambda number: get(url, data=b"entry %d" % number), range(5))
    assert sorted(get(url).splitlines()) == [f"entry {number}" for number in range(5)]
    get(url, data=SENTENCE.encode())
    assert legacy(ports, "wsgi_server") == SENTENCE


@checks("cgi_server", "twisted")
def cgi_server(ports: Ports) -> None:
    """Eight scripts at a time, with GET and POST, and all of them end."""
    url = f"http://127.0.0.1:{ports['cgi_server']}/hello?a=b"
    assert get(url) == "Hello, you: GET a=b\n"
    names = at_once(lambda number: get(url, data=b"%d" % number), range(8))
    assert names == [f"Hello, {number}: POST a=b\n" for number in range(8)]
    assert legacy(ports, "cgi_server") == "9 runs"


@checks("forward_proxy", "twisted")
def forward_proxy(ports: Ports) -> None:
    """Pages of another server, through the proxy. The legacy server knows which pages."""
    way = f"http://127.0.0.1:{ports['forward_proxy']}"
    with origin() as there:
        proxy = urllib.request.ProxyHandler({"http": way})
        sizes = [1, 1_000, 2_000_000]
        opener = urllib.request.build_opener(proxy)
        for size in sizes:
            with opener.open(f"{there}/{size}", timeout=PATIENCE) as response:
                assert len(response.read()) == size
        host = there.rpartition("/")[2]
        assert legacy(ports, "forward_proxy") == " ".join([host] * len(sizes))


def _logs_in(ports: Ports, name: str, kind: type[Any], password: str, change: str) -> None:
    url = f"http://127.0.0.1:{ports[name]}/"
    assert status(url) == 401
    assert status(url, known_as(kind, url, "ann", "wrong")) == 401
    assert get(url, known_as(kind, url, "ann", password)) == "Good day, ann"
    user, _, changed = change.partition(" ")
    legacy(ports, name, change)
    assert get(url, known_as(kind, url, user, changed)) == f"Good day, {user}"
    assert status(url, known_as(kind, url, user, password)) == 401


@checks("basic_auth", "twisted")
def basic_auth(ports: Ports) -> None:
    """No password, a wrong one, a right one, and one that the legacy server has changed."""
    _logs_in(ports, "basic_auth", urllib.request.HTTPBasicAuthHandler, "let me in", "ann other")


@checks("digest_auth", "twisted")
def digest_auth(ports: Ports) -> None:
    """The same, by challenge and response."""
    _logs_in(ports, "digest_auth", urllib.request.HTTPDigestAuthHandler, "let me in", "ann other")


@checks("ldap_auth", "ldaptor", "ldap3", "twisted", announces=3, arguments=("0", "0", "0"))
def ldap_auth(ports: Ports) -> None:
    """Logins to the pages, and binds and searches in the directory by ldap3, before and after
    the legacy server adds a user.
    """
    import ldap3

    _logs_in(ports, "ldap_auth", urllib.request.HTTPBasicAuthHandler, "let me in", "bob secret")
    server = ldap3.Server("127.0.0.1", ports["ldap_auth directory"], connect_timeout=30)
    people = "ou=people,dc=example,dc=org"

    def bind(name: str, password: str) -> Any:
        return ldap3.Connection(server, f"uid={name},{people}", password, receive_timeout=30)

    wrong = bind("bob", "wrong")
    assert not wrong.bind()
    wrong.unbind()
    connection = bind("bob", "secret")
    assert connection.bind()
    assert connection.search(people, "(objectClass=person)", attributes=["uid"])
    assert sorted(entry.uid.value for entry in connection.entries) == ["ann", "bob"]
    connection.unbind()


@checks("sql_auth", "twisted")
def sql_auth(ports: Ports) -> None:
    """Logins, six at a time. Threads ask a database for them."""
    kind = urllib.request.HTTPBasicAuthHandler
    legacy(ports, "sql_auth", "ann let me in")
    _logs_in(ports, "sql_auth", kind, "let me in", "bob secret")
    url = f"http://127.0.0.1:{ports['sql_auth']}/"
    ann = known_as(kind, url, "ann", "let me in")
    assert at_once(lambda number: get(url, ann), range(6)) == ["Good day, ann"] * 6


@checks("cookies", "aiohttp")
def cookies(ports: Ports) -> None:
    """Two visitors with a jar each. The server forgets one of them."""
    url = f"http://127.0.0.1:{ports['cookies']}/"
    jars = [http.cookiejar.CookieJar() for _ in range(2)]
    ann, bob = (urllib.request.HTTPCookieProcessor(jar) for jar in jars)
    assert [get(url, ann), get(url, ann), get(url, bob), get(url, ann)] == [
        "visit 1\n",
        "visit 2\n",
        "visit 1\n",
        "visit 3\n",
    ]
    assert [[cookie.name for cookie in jar] for jar in jars] == [["visitor"]] * 2
    assert legacy(ports, "cookies") == "2 visitors, 4 visits"
    assert get(f"{url}leave", ann) == "forgotten\n"
    assert list(jars[0]) == []
    assert get(url, ann) == "visit 1\n"


@checks("uploads", "aiohttp", "httpx")
def uploads(ports: Ports) -> None:
    """A field and two files in one form, of 3 MB and of nothing. The test compares their
    digests.
    """
    import httpx

    content = os.urandom(3_000_000)
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        response = client.post(
            f"http://127.0.0.1:{ports['uploads']}/",
            data={"title": "Größe"},
            files=[("file", ("big.bin", content)), ("file", ("empty.txt", b""))],
        )
    assert response.text.splitlines() == [
        "title: Größe",
        f"big.bin: 3000000 bytes, SHA-256 {hashlib.sha256(content).hexdigest()}",
        f"empty.txt: 0 bytes, SHA-256 {hashlib.sha256(b'').hexdigest()}",
    ]
    assert legacy(ports, "uploads") == "big.bin empty.txt"


@checks("https_server", "aiohttp")
def https_server(ports: Ports) -> None:
    """A page over TLS 1.3 and 1.2. A client that does not know the certificate refuses it, and
    so does one that expects another name.
    """
    port = ports["https_server"]
    url = f"https://localhost:{port}/"

    def by(context: ssl.SSLContext) -> Any:
        return urllib.request.HTTPSHandler(context=context)

    context = trusting(port)
    assert get(url, by(context)) == "https by TLSv1.3\n"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert get(url, by(context)) == "https by TLSv1.2\n"
    refused(urllib.error.URLError, get, url, by(ssl.create_default_context()))
    refused(urllib.error.URLError, get, f"https://127.0.0.1:{port}/", by(trusting(port)))
    assert legacy(ports, "https_server") == "TLSv1.3 TLSv1.2"


@checks("http2_server", "hypercorn", "httpx", "h2")
def http2_server(ports: Ports) -> None:
    """Twelve streams on one connection, large bodies, and HTTP/1.1, by httpx and curl."""
    import httpx

    port = ports["http2_server"]
    url = f"https://localhost:{port}"
    context = trusting(port)

    async def ask(**options: Any) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            verify=context, trust_env=False, timeout=PATIENCE, limits=limits, **options
        ) as client:
            bodies = [f"{number} {SENTENCE}".encode() for number in range(12)]
            calls = [client.post(f"{url}/{n}", content=body) for n, body in enumerate(bodies)]
            return await asyncio.gather(*calls)

    responses = asyncio.run(ask(http2=True, http1=False))
    assert {response.http_version for response in responses} == {"HTTP/2"}
    texts = [response.text for response in responses]
    assert texts == [f"HTTP/2 /{number} {number} {SENTENCE}" for number in range(12)]
    # Without ALPN's h2, on one connection as well.
    responses = asyncio.run(ask(http2=False))
    assert {response.http_version for response in responses} == {"HTTP/1.1"}
    asked = ["2"] * 12 + ["1.1"] * 12
    if _curl_speaks_http2():
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(ssl.get_server_certificate(("localhost", port)))
            file.flush()
            words = ["curl", "-sS", "--noproxy", "*", "--http2", "--cacert", file.name]
            done = subprocess.run(
                [*words, "-d", "hello", f"{url}/curl"],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        assert (done.stdout, done.stderr) == ("HTTP/2 /curl hello", "")
        asked.append("2")
    assert legacy(ports, "http2_server") == " ".join(asked)


def _curl_speaks_http2() -> bool:
    if shutil.which("curl") is None:
        return False
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, timeout=PATIENCE)
    return "HTTP2" in said.stdout


@checks("websocket_server", "websockets")
def websocket_server(ports: Ports) -> None:
    """Two clients in a chat, with long messages and bytes. The legacy server speaks to both."""
    from websockets.sync.client import connect

    url = f"ws://127.0.0.1:{ports['websocket_server']}/"
    with connect(url, proxy=None) as ann:
        ann.send("hello?")
        assert ann.recv(PATIENCE) == "hello?"
        with connect(url, proxy=None) as bob:
            for message in ("hello", SENTENCE, b"\x00\xff" * 1000):
                bob.send(message)
                assert [ann.recv(PATIENCE), bob.recv(PATIENCE)] == [message] * 2
            assert legacy(ports, "websocket_server", "dinner") == "told 2"
            assert [ann.recv(PATIENCE), bob.recv(PATIENCE)] == ["* dinner"] * 2


# -- mail ---------------------------------------------------------------------------------------


@checks("smtp_server", "aiosmtpd")
def smtp_server(ports: Ports) -> None:
    """Five clients at a time, and a refused recipient. The legacy server knows the last mail."""

    def send(number: int, recipients: tuple[str, ...] = ("ann@example.org",)) -> Any:
        with smtplib.SMTP("127.0.0.1", ports["smtp_server"], timeout=PATIENCE) as smtp:
            mail = f"Subject: Number {number}\r\n\r\n{number}\r\n.\r\n{'y' * 900}\r\n"
            return smtp.sendmail("me@example.net", recipients, mail)

    assert at_once(send, range(5)) == [{}] * 5
    wrong = send(5, ("ann@example.org", "eve@example.net"))
    assert wrong == {"eve@example.net": (550, b"not here")}
    assert legacy(ports, "smtp_server") == "Number 5 for ann@example.org"


@checks("pop3_server", "twisted")
def pop3_server(ports: Ports) -> None:
    """A client lists, reads and deletes two messages of the legacy server."""
    for line in ("First", "Second"):
        legacy(ports, "pop3_server", line)

    def log_in(password: str = "secret") -> poplib.POP3:
        pop = poplib.POP3("127.0.0.1", ports["pop3_server"], timeout=PATIENCE)
        try:
            pop.user("ann")
            pop.pass_(password)
        except poplib.error_proto:
            pop.close()
            raise
        return pop

    refused(poplib.error_proto, log_in, "wrong")
    pop = log_in()
    assert pop.stat()[0] == 2
    assert len(set(pop.uidl()[1])) == 2
    assert pop.retr(1)[1] == [b"Subject: First", b"", b"First"]
    assert pop.top(2, 0)[1][0] == b"Subject: Second"
    pop.dele(1)
    pop.quit()
    pop = log_in()
    assert pop.stat()[0] == 1
    assert pop.retr(1)[1][-1] == b"Second"
    pop.quit()


@checks("imap_server", "twisted")
def imap_server(ports: Ports) -> None:
    """A client selects and reads a mailbox. The mailbox shows a new message, keeps flags, and
    drops deleted messages.
    """
    legacy(ports, "imap_server", "First")
    with imaplib.IMAP4("127.0.0.1", ports["imap_server"], timeout=PATIENCE) as imap:
        refused(imaplib.IMAP4.error, imap.login, "ann", "wrong")
        imap.login("ann", "secret")
        assert imap.select("INBOX") == ("OK", [b"1"])
        legacy(ports, "imap_server", "Second")
        imap.noop()
        assert imap.response("EXISTS")[1][-1] == b"2"
        answer, lines = imap.fetch("1:2", "(UID BODY[HEADER.FIELDS (SUBJECT)])")
        assert answer == "OK"
        assert [line[1].strip() for line in lines[::2]] == [b"Subject: First", b"Subject: Second"]
        assert imap.fetch("2", "(BODY[TEXT])")[1][0][1] == b"Second\r\n"
        imap.append("INBOX", r"\Seen", "", b"Subject: Third\r\n\r\nmine\r\n")
        imap.store("1", "+FLAGS", r"(\Deleted)")
        assert imap.search(None, "DELETED") == ("OK", [b"1"])
        assert imap.expunge() == ("OK", [b"1"])
        assert imap.status("INBOX", "(MESSAGES UIDNEXT)")[1] == [b"INBOX (MESSAGES 2 UIDNEXT 4)"]
        assert imap.uid("FETCH", "3", "(BODY[TEXT])")[1][0][1] == b"mine\r\n"


# -- files and commands -------------------------------------------------------------------------


@checks("ftp_server", "pyftpdlib")
def ftp_server(ports: Ports) -> None:
    """Three clients at a time upload, download, rename and delete files, in passive and active
    mode. One has a wrong password.
    """

    def transfer(number: int, passive: bool = True) -> None:
        content = f"{number} {SENTENCE}".encode()
        with ftplib.FTP(timeout=PATIENCE) as ftp:
            ftp.connect("127.0.0.1", ports["ftp_server"])
            ftp.login("ann", "secret")
            ftp.set_pasv(passive)
            ftp.storbinary(f"STOR new{number}", io.BytesIO(content))
            ftp.rename(f"new{number}", f"file{number}")
            got: list[bytes] = []
            ftp.retrbinary(f"RETR file{number}", got.append)
            assert b"".join(got) == content
            ftp.quit()

    at_once(transfer, range(3))
    # By itself: at the end of such a session pyftpdlib forgets the connection whose descriptor has
    # the number of one that was closed before.
    transfer(3, passive=False)
    with ftplib.FTP(timeout=PATIENCE) as ftp:
        ftp.connect("127.0.0.1", ports["ftp_server"])
        refused(ftplib.error_perm, ftp.login, "ann", "wrong")
        ftp.login("ann", "secret")
        ftp.delete("file0")
    assert legacy(ports, "ftp_server") == "file1 file2 file3"


@checks("ssh_server", "asyncssh")
def ssh_server(ports: Ports) -> None:
    """Commands as child processes, six at a time on a connection, with input, output, errors
    and status. The clients are asyncssh and OpenSSH.
    """
    import asyncssh

    port = ports["ssh_server"]
    version = "{}.{}\n".format(*sys.version_info)
    assert legacy(ports, "ssh_server", "milk") == "1 notes"

    def connect(password: str = "secret") -> Any:
        return asyncssh.connect(
            "127.0.0.1",
            port,
            username="ann",
            password=password,
            known_hosts=None,
            client_keys=None,
            agent_path=None,
            config=None,
        )

    async def commands() -> None:
        try:
            async with connect("wrong"):
                raise AssertionError("a wrong password is taken")
        except asyncssh.PermissionDenied:
            pass
        async with connect() as client:
            assert (await client.run("notes")).stdout == "milk\n"
            runs = [client.run("upper", input=f"{n} {SENTENCE}") for n in range(6)]
            for number, done in enumerate(await asyncio.gather(*runs)):
                assert (done.stdout, done.exit_status) == (f"{number} {SENTENCE}".upper(), 0)
            done = await client.run("fail")
            assert (done.stdout, done.stderr, done.exit_status) == ("", "no, never\n", 1)
            done = await client.run("dance")
            assert (done.stdout, done.exit_status) == ("", 127)

    asyncio.run(asyncio.wait_for(commands(), PATIENCE))
    if shutil.which("ssh") and sys.platform != "win32":
        assert _openssh(port, "python") == (0, version, "")
        assert _openssh(port, "fail") == (1, "", "no, never\n")
        assert _openssh(port, "upper", SENTENCE) == (0, SENTENCE.upper(), "")


def _openssh(port: int, command: str, text: str = "") -> tuple[int, str, str]:
    """Run a command by OpenSSH's client, which asks a program for the password."""
    with tempfile.TemporaryDirectory() as folder:
        answer = os.path.join(folder, "answer")
        with open(answer, "w") as file:
            file.write("#!/bin/sh\necho secret\n")
        os.chmod(answer, 0o700)
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": os.path.join(folder, "hosts"),
            "PreferredAuthentications": "password",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            ["ssh", "-F", "none", "-p", str(port), *words, "ann@127.0.0.1", command],
            env={**os.environ, "SSH_ASKPASS": answer, "SSH_ASKPASS_REQUIRE": "force"},
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    return done.returncode, done.stdout, done.stderr


# -- names and people ---------------------------------------------------------------------------


@checks("dns_server", "twisted", "dns", announces=3)
def dns_server(ports: Ports) -> None:
    """Names that exist, names that do not, and names that the legacy server has changed, over
    UDP and TCP. One answer is long.
    """
    import dns.message
    import dns.query
    import dns.rcode

    def ask(name: str, kind: str = "A", tcp: bool = False) -> Any:
        question = dns.message.make_query(name, kind)
        if tcp:
            where = ports["dns_server"]
            return dns.query.tcp(question, "127.0.0.1", PATIENCE, where)
        return dns.query.udp(question, "127.0.0.1", PATIENCE, ports["dns_server udp"])

    def address(answer: Any) -> str:
        return str(answer.answer[0][0])

    for tcp in (False, True):
        assert address(ask("gallery.example.org", tcp=tcp)) == "192.0.2.80"
        assert ask("none.example.org", tcp=tcp).rcode() == dns.rcode.NXDOMAIN
    assert len(ask("gallery.example.org", "TXT", tcp=True).answer[0][0].strings) == 8
    assert legacy(ports, "dns_server", "new.example.org 192.0.2.7") == "2 names"
    assert address(ask("new.example.org")) == "192.0.2.7"
    legacy(ports, "dns_server", "new.example.org")
    assert ask("new.example.org").rcode() == dns.rcode.NXDOMAIN


@checks("finger_server", "twisted")
def finger_server(ports: Ports) -> None:
    """A known user, an unknown one, and the list of all. The legacy server has written one of
    the plans.
    """

    def finger(question: str) -> list[str]:
        with Lines(ports["finger_server"]) as client:
            client.send(question)
            return client.file.read().decode().splitlines()

    assert finger("ann") == ["Login: ann", "Plan: answers mail"]
    assert finger("eve") == ["eve: no such user"]
    legacy(ports, "finger_server", "bob out for lunch")
    assert finger("/W bob") == ["Login: bob", "Plan: out for lunch"]
    assert finger("") == ["ann", "bob"]


# -- talk ---------------------------------------------------------------------------------------


def _irc(port: int, name: str) -> Lines:
    """Return a client that is logged in, and in #gallery."""
    client = Lines(port)
    client.send("PASS secret", f"NICK {name}", f"USER {name} 0 * :{name}")
    client.hear_until(" 376 ")
    client.send("JOIN #gallery")
    client.hear_until(" 366 ")
    return client


@checks("irc_server", "twisted")
def irc_server(ports: Ports) -> None:
    """Two users talk in a channel and to each other. One login has a wrong password. The users
    hear the legacy server.
    """
    port = ports["irc_server"]
    with Lines(port) as eve:
        eve.send("PASS wrong", "NICK ann", "USER ann 0 * :ann")
        assert "Login failed" in eve.hear_until("Login failed")
    with _irc(port, "ann") as ann, _irc(port, "bob") as bob:
        assert "JOIN #gallery" in ann.hear_until(":bob!")
        ann.send("PRIVMSG #gallery :hello, all")
        assert bob.hear_until(":ann!").endswith("PRIVMSG #gallery :hello, all")
        bob.send("PRIVMSG ann :hello, ann")
        assert ann.hear_until("PRIVMSG").endswith("PRIVMSG ann :hello, ann")
        heard = int(legacy(ports, "irc_server", "dinner").rpartition(" ")[2])
        assert heard >= 2
        for client in (ann, bob):
            assert client.hear_until(":legacy!").endswith("PRIVMSG #gallery :dinner")
        bob.send("QUIT :bye")
        ann.hear_until(":bob!")


@checks("irc_client", "twisted")
def irc_client(ports: Ports) -> None:
    """The bot answers in a channel. The legacy server speaks through the bot, and knows what
    the bot has heard.
    """
    with _irc(ports["irc_server"], "ann") as ann:
        ann.send("PRIVMSG #gallery :bot: stressed")
        assert ann.hear_until(":bot!").endswith("PRIVMSG #gallery :ann: desserts")
        assert legacy(ports, "irc_client", "hello") == "ann: bot: stressed"
        assert ann.hear_until(":bot!").endswith("PRIVMSG #gallery :hello")
        ann.send("QUIT")


@checks("xmpp_server", "twisted", "slixmpp")
def xmpp_server(ports: Ports) -> None:
    """Two users log in and write to each other. One login has a wrong password. The legacy
    server writes to one user.
    """
    asyncio.run(asyncio.wait_for(_xmpp(ports), PATIENCE))


async def _xmpp(ports: Ports) -> None:
    import slixmpp

    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)  # it would tell of the wrong password

    async def log_in(name: str, password: str = "secret") -> Any:
        client = slixmpp.ClientXMPP(f"{name}@localhost", password)
        client.plugin["feature_mechanisms"].unencrypted_plain = True
        client.enable_plaintext = True
        client.enable_starttls = client.enable_direct_tls = False
        over = asyncio.get_running_loop().create_future()
        client.add_event_handler("session_start", lambda event: over.set_result(True))
        client.add_event_handler("failed_all_auth", lambda event: over.set_result(False))
        client.heard = asyncio.Queue()
        client.add_event_handler("message", client.heard.put_nowait)
        client.connect("127.0.0.1", ports["xmpp_server"])
        client.logged_in = await over
        return client

    eve = await log_in("ann", "wrong")
    assert not eve.logged_in
    ann, bob = await log_in("ann"), await log_in("bob")
    assert ann.logged_in and bob.logged_in
    ann.send_message("bob@localhost", SENTENCE, mtype="chat")
    message = await bob.heard.get()
    assert (message["body"], message["from"].bare) == (SENTENCE, "ann@localhost")
    bob.send_message("ann@localhost", "Hello, <ann> & all", mtype="chat")
    assert (await ann.heard.get())["body"] == "Hello, <ann> & all"
    told = await asyncio.to_thread(legacy, ports, "xmpp_server", "ann dinner")
    assert told == "told"
    assert (await ann.heard.get())["body"] == "dinner"
    assert await asyncio.to_thread(legacy, ports, "xmpp_server", "eve hi") == "eve is away"
    for client in (eve, ann, bob):
        await client.disconnect()


@checks("nntp_server")
def nntp_server(ports: Ports) -> None:
    """A client reads and answers an article of the legacy server. It tries every command with
    its refusals, and lines that begin with a dot. nntplib is a second client.
    """
    first = legacy(ports, "nntp_server", "Hello, news")
    with Lines(ports["nntp_server"]) as news:
        assert news.hear()[:3] == "200"
        assert news.ask("capabilities")[:3] == "101"
        assert {"VERSION 2", "READER", "POST"} < set(news.hear_block())
        assert news.ask("MODE READER")[:3] == "200"
        for command, refusal in {
            "ARTICLE": "412",
            "OVER 1-": "412",
            "GROUP nowhere": "411",
            "STAT <none@example.org>": "430",
            "DANCE": "500",
            "GROUP": "501",
            "LIST DANCES": "501",
        }.items():
            assert news.ask(command)[:3] == refusal, command
        assert news.ask("GROUP gallery.talk") == "211 1 1 1 gallery.talk"
        assert news.ask("STAT") == f"223 1 {first}"
        for command, refusal in {"STAT 7": "423", "NEXT": "421", "LAST": "422"}.items():
            assert news.ask(command)[:3] == refusal, command
        assert news.ask("POST")[:3] == "340"
        head = ["From: ann@example.org", "Newsgroups: gallery.talk, gallery.test"]
        body = ["..", ". a dot", "", "the end"]
        stuffed = ["." + line if line.startswith(".") else line for line in body]
        news.send(*head, "Subject: Re: Hello, news", f"References: {first}", "", *stuffed)
        assert news.ask(".") == "240 Posted"
        assert news.ask("NEXT")[:6] == "223 2 "
        assert news.ask("BODY")[:6] == "222 2 "
        assert [line[1:] if line[0:1] == "." else line for line in news.hear_block()] == body
        assert news.ask("HEAD 2")[:6] == "221 2 "
        assert set(head) < set(news.hear_block())
        assert news.ask("OVER 2-")[:3] == "224"
        ((number, subject, author, _, _, references, *sizes),) = (
            line.split("\t") for line in news.hear_block()
        )
        assert (number, subject, author) == ("2", "Re: Hello, news", "ann@example.org")
        assert references == first and all(size.isdigit() for size in sizes)
        assert news.ask("LISTGROUP gallery.test") == "211 1 1 1 gallery.test"
        assert news.hear_block() == ["1"]
        assert news.ask("POST")[:3] == "340"
        assert news.ask("Newsgroups: nowhere", "", "x", ".")[:3] == "441"
        # Several commands at once are answered in their order.
        news.send("GROUP gallery.talk", "LAST", "DATE", "QUIT")
        assert [news.hear()[:3] for _ in range(4)] == ["211", "422", "111", "205"]
        assert news.file.read() == b""
    _nntplib(ports["nntp_server"], first)


def _nntplib(port: int, first: str) -> None:
    """The same by Python's own client, which is a package of its own since 3.13."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nntplib
    except ImportError:
        return
    with nntplib.NNTP("127.0.0.1", port, timeout=PATIENCE) as news:
        names = {group.group for group in news.list()[1]}
        assert names == {"gallery.talk", "gallery.test"}
        assert set(news.descriptions("*")[1]) == names
        _, count, low, high, _ = news.group("gallery.talk")
        assert (count, low, high) == (2, 1, 2)
        overviews = dict(news.over((low, high))[1])
        assert overviews[1]["message-id"] == first
        assert overviews[2]["references"] == first
        head = "From: bob@example.org\r\nNewsgroups: gallery.test\r\nSubject: x\r\n\r\n"
        lines = ["y" * 900, "."] * 400
        news.post(io.BytesIO((head + "\r\n".join(lines) + "\r\n").encode()))
        news.group("gallery.test")
        assert news.body(2)[1].lines == [line.encode() for line in lines]


@checks("actors", "pykka")
def actors(ports: Ports) -> None:
    """Both servers use one actor, and report its errors."""
    with Lines(ports["actors"]) as client:
        assert client.ask("add 5") == "5"
        assert client.ask("add -5") == "amounts are positive"
        assert legacy(ports, "actors", "add 7") == "told"
        assert client.ask("total") == "12"
        client.send(*["add 1"] * 50)
        assert [client.hear() for _ in range(50)] == [str(n) for n in range(13, 63)]
