"""NNTP: a news server on asynchat, as RFC 3977 says, with articles that are posted to it.

asynccore run examples/gallery/nntp_server.py [port [legacy port]]

There are the groups gallery.talk and gallery.test. The legacy server posts a line to gallery.talk.
"""

import asynchat
import asyncore
import datetime
import email
import email.utils
import fnmatch

from common import LineServer, announce, run

OVERVIEW = ("Subject", "From", "Date", "Message-ID", "References")
CAPABILITIES = ["VERSION 2", "READER", "POST", "OVER MSGID", "LIST ACTIVE NEWSGROUPS OVERVIEW.FMT"]
UTC = datetime.timezone.utc


class Refusal(Exception):
    """The reply to a command that can't be done."""


class Article:
    def __init__(self, text):
        self.text = text
        self.head, _, self.body = text.partition("\r\n\r\n")
        self.headers = email.message_from_string(self.head)
        self.id = self.headers["Message-ID"]

    def overview(self, number):
        fields = [" ".join(self.headers.get(name, "").split()) for name in OVERVIEW]
        sizes = len(self.text.encode("utf-8", "surrogateescape")), self.body.count("\r\n")
        return "\t".join(map(str, [number, *fields, *sizes]))


class News:
    def __init__(self, *names):
        self.begun = datetime.datetime.now(UTC)
        self.groups = {name: {} for name in names}  # the articles of each by number
        self.by_id = {}

    def bounds(self, name):
        group = self.groups[name]
        return (min(group), max(group)) if group else (1, 0)

    def post(self, text):
        headers = email.message_from_string(text)
        names = [name.strip() for name in headers.get("Newsgroups", "").split(",")]
        if not set(names) & set(self.groups):
            raise Refusal("441 No such group here")
        if "Date" not in headers:
            text = f"Date: {email.utils.formatdate()}\r\n{text}"
        if "Message-ID" not in headers:
            text = f"Message-ID: {email.utils.make_msgid(domain='example.org')}\r\n{text}"
        article = Article(text)
        if article.id in self.by_id:
            raise Refusal("441 It is here already")
        self.by_id[article.id] = article
        for name in set(names) & set(self.groups):
            self.groups[name][self.bounds(name)[1] + 1] = article
        return article


class Reader(asynchat.async_chat):
    """A connection. A method `nntp_…` for each command is given its arguments, and returns the
    reply, or the reply and the lines that follow it."""

    def __init__(self, sock, news):
        asynchat.async_chat.__init__(self, sock)
        self.news = news
        self.name = self.number = self.posting = None  # of the group, of the article; lines of one
        self.set_terminator(b"\r\n")
        self.reply("200 Welcome, and do post")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        line = self._get_data().decode("utf-8", "surrogateescape")
        if self.posting is None:
            word, *arguments = line.split() or [""]
            self.attempt(getattr(self, f"nntp_{word.lower()}", self.unknown), *arguments)
            if word.upper() == "QUIT":
                self.close_when_done()
        elif line == ".":
            lines, self.posting = self.posting, None
            self.attempt(self.take, "\r\n".join([*lines, ""]))
        else:
            self.posting.append(line.removeprefix("."))

    def attempt(self, method, *arguments):
        try:
            answer = method(*arguments)
        except Refusal as refusal:
            answer = str(refusal)
        except (TypeError, ValueError):
            answer = "501 Not with these arguments"
        self.reply(*([answer] if isinstance(answer, str) else answer))

    def reply(self, first, lines=None):
        """Send a reply; lines after it are followed by a line with a dot, and dots are doubled."""
        if lines is not None:
            stuffed = ("." + line if line.startswith(".") else line for line in lines)
            first = "\r\n".join([first, *stuffed, "."])
        self.push((first + "\r\n").encode("utf-8", "surrogateescape"))

    def group(self):
        if self.name is None:
            raise Refusal("412 No group selected")
        return self.news.groups[self.name]

    def find(self, which=None):
        """Return number and article: by its id, by its number in the group, or the current one."""
        if which is not None and which.startswith("<"):
            if which not in self.news.by_id:
                raise Refusal("430 No such article")
            return 0, self.news.by_id[which]
        number = self.number if which is None else int(which)
        if number not in self.group():
            raise Refusal("420 No current article" if which is None else "423 No such number")
        self.number = number
        return number, self.group()[number]

    def range(self, text):
        """Return the numbers in a range: "3", "3-" or "3-5"."""
        first, dash, last = text.partition("-")
        high = int(last or max(self.group(), default=0)) if dash else int(first)
        return [number for number in sorted(self.group()) if int(first) <= number <= high]

    def step(self, ahead, refusal):
        if not ahead:
            raise Refusal(refusal)
        return self.nntp_stat(str(ahead[0]))

    def active(self, names):
        bounds = ((name, *self.news.bounds(name)) for name in names)
        return [f"{name} {high} {low} y" for name, low, high in bounds]

    # -- the commands ---------------------------------------------------------------------------

    def unknown(self, *arguments):
        return "500 What?"

    def nntp_capabilities(self, keyword=None):
        return "101 Capabilities", CAPABILITIES

    def nntp_mode(self, mode):
        return "200 Do post" if mode.upper() == "READER" else "501 READER alone"

    def nntp_help(self):
        return "100 Commands", [n[5:].upper() for n in dir(self) if n.startswith("nntp_")]

    def nntp_date(self):
        return f"111 {datetime.datetime.now(UTC):%Y%m%d%H%M%S}"

    def nntp_quit(self):
        return "205 Bye"

    def nntp_group(self, name):
        if name not in self.news.groups:
            raise Refusal("411 No such group")
        self.name = name
        low, high = self.news.bounds(name)
        self.number = low if self.group() else None
        return f"211 {len(self.group())} {low} {high} {name}"

    def nntp_listgroup(self, name=None, numbers="1-"):
        self.group() if name is None else self.nntp_group(name)
        return self.nntp_group(self.name), map(str, self.range(numbers))

    def nntp_next(self):
        number, _ = self.find()
        return self.step([n for n in sorted(self.group()) if n > number], "421 No next article")

    def nntp_last(self):
        number, _ = self.find()
        before = [n for n in sorted(self.group(), reverse=True) if n < number]
        return self.step(before, "422 No previous article")

    def nntp_stat(self, which=None):
        number, article = self.find(which)
        return f"223 {number} {article.id}"

    def nntp_article(self, which=None):
        number, article = self.find(which)
        return f"220 {number} {article.id}", article.text.splitlines()

    def nntp_head(self, which=None):
        number, article = self.find(which)
        return f"221 {number} {article.id}", article.head.splitlines()

    def nntp_body(self, which=None):
        number, article = self.find(which)
        return f"222 {number} {article.id}", article.body.splitlines()

    def nntp_over(self, which=None):
        if which is None or which.startswith("<"):
            found = [self.find(which)]
        else:
            found = [self.find(str(number)) for number in self.range(which)]
        if not found:
            raise Refusal("423 No articles in that range")
        return "224 Overview", [article.overview(number) for number, article in found]

    nntp_xover = nntp_over  # its name before RFC 3977

    def nntp_list(self, what="ACTIVE", pattern="*"):
        names = fnmatch.filter(self.news.groups, pattern)
        lists = {
            "ACTIVE": self.active(names),
            "NEWSGROUPS": [f"{name}\tof the gallery" for name in names],
            "OVERVIEW.FMT": [*(f"{name}:" for name in OVERVIEW), ":bytes", ":lines"],
        }
        if what.upper() not in lists:
            raise Refusal("501 No such list")
        return "215 List", lists[what.upper()]

    def nntp_newgroups(self, day, hour, zone=None):
        form = "%Y%m%d%H%M%S" if len(day) == 8 else "%y%m%d%H%M%S"
        since = datetime.datetime.strptime(day + hour, form).replace(tzinfo=UTC)
        return "231 New groups", self.active(self.news.groups if self.news.begun >= since else [])

    def nntp_post(self):
        self.posting = []
        return "340 Go ahead, and end with a dot"

    def take(self, text):
        self.news.post(text)
        return "240 Posted"


class NewsServer(asyncore.dispatcher):
    def __init__(self, port, news):
        asyncore.dispatcher.__init__(self)
        self.news = news
        self.create_socket()
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        announce("nntp_server", self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        Reader(sock, self.news)


def start(port=8119, legacy_port=7119):
    news = News("gallery.talk", "gallery.test")

    def post(line):
        head = f"From: legacy@example.org\r\nNewsgroups: gallery.talk\r\nSubject: {line}"
        return news.post(f"{head}\r\n\r\n{line}\r\n").id

    LineServer("nntp_server", legacy_port, post)
    NewsServer(port, news)


if __name__ == "__main__":
    run(start)
