"""What is found: a kind of trouble for each code, and where it was met."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# How bad it is, the worst first: the program does not start, or ends where it comes to it; it
# loses data, or the clients; it runs, and should be looked at.
STOPS, LOSES, LOOK = "stops", "loses", "look"
LEVELS = (STOPS, LOSES, LOOK)


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its code, which never changes its meaning, how bad it is, and a title."""

    code: str
    level: str
    title: str
    remedy: str  # a sentence; a finding may have one of its own


@dataclass(frozen=True, order=True)
class Finding:
    """One finding: where, of which kind, what it is there, and the remedy in one sentence."""

    path: Path
    line: int  # from 1
    column: int  # from 1, in characters
    code: str
    what: str
    remedy: str

    @property
    def level(self) -> str:
        return KINDS[self.code].level


_PORT = "'asynccore port --step python3' rewrites it"

KINDS = {
    kind.code: kind
    for kind in (
        # Whether it can be read.
        Kind("AC101", STOPS, "neither Python 3 nor Python 2", "look at what Python says of it"),
        Kind(
            "AC102", STOPS, "bytes that fit no encoding",
            "save the file in UTF-8, or name its encoding in a line '# coding: …' at the top",
        ),
        # Python 2's syntax.
        Kind("AC110", STOPS, "print is a function", f"write print(…), with file=… for >>; {_PORT}"),
        Kind("AC111", STOPS, "except X, name", f"write 'except X as name'; {_PORT}"),
        Kind("AC112", STOPS, "raise X, value", f"raise an instance of a class: X(value); {_PORT}"),
        Kind("AC113", STOPS, "exec is a function", f"write exec(code, namespace); {_PORT}"),
        Kind("AC114", STOPS, "backticks", f"write repr(…); {_PORT}"),
        Kind("AC115", STOPS, "<>", f"write !=; {_PORT}"),
        Kind("AC116", STOPS, "octal numbers begin with 0o", f"write 0o755 for 0755; {_PORT}"),
        Kind("AC117", STOPS, "long numbers", f"leave the L out; {_PORT}"),
        Kind("AC118", STOPS, 'ur""', "leave the u out, and write \\u escapes as characters"),
        Kind("AC119", STOPS, "tuples as parameters", f"unpack it in the first line; {_PORT}"),
        Kind("AC120", STOPS, "tabs and spaces mixed", "indent with spaces alone"),
        Kind("AC121", STOPS, "a keyword as a name", "take another name"),
        Kind("AC122", STOPS, "other syntax of Python 2", _PORT),
        # What Python 3 has no more.
        Kind("AC130", STOPS, "built-in names of Python 2", _PORT),
        Kind("AC131", STOPS, "methods of Python 2", _PORT),
        Kind(
            "AC132", STOPS, "a view or an iterator used as a list",
            "make a list of it: list(…), or sorted(…)",
        ),
        Kind(
            "AC133", STOPS, "a dictionary changed while one goes over it",
            "go over a copy: list(….items())",
        ),
        Kind("AC134", STOPS, "iterators without __next__", "name the method __next__"),
        Kind(
            "AC135", STOPS, "encodings of bytes as methods of strings",
            "use binascii, base64, zlib or codecs",
        ),
        Kind("AC140", STOPS, "modules that Python has removed", "see What's New in that version"),
        Kind("AC141", STOPS, "names that Python has removed", "see What's New in that version"),
        Kind("AC142", STOPS, "methods that Python has removed", "see What's New in that version"),
        # Bytes and text.
        Kind(
            "AC201", LOSES, "str given where bytes belong",
            "give bytes: a literal b'…', or ….encode(); or run it by"
            " 'asynccore run --text latin-1'",
        ),
        Kind(
            "AC202", LOSES, "bytes compared with str",
            "compare with a literal b'…', or decode first; or run it by"
            " 'asynccore run --text latin-1'",
        ),
        Kind("AC203", LOSES, "bytes joined by a str", "write b''.join(…)"),
        Kind(
            "AC204", LOOK, "process_message without **kwargs",
            "asynccore calls it as it is, with text and a warning; other modules named smtpd refuse"
            " each mail: add **kwargs, and decode_data=True where the server is made",
        ),
        Kind("AC205", LOSES, "bytes printed or formatted as text", "decode them first"),
        Kind(
            "AC206", LOSES, "bytes added to a str",
            "begin with b''; or run it by 'asynccore run --text latin-1'",
        ),
        # What runs, and could be better.
        Kind(
            "AC301", LOOK, "TLS by hand",
            "ssl_ext.tls_dispatcher and tls_async_chat make the handshake, or start one with"
            " start_tls()",
        ),
        Kind(
            "AC302", LOOK, "channels and threads",
            "push(), send() and close() are passed to the loop's thread; anything else goes by"
            " asynccore.call_soon_threadsafe()",
        ),
        Kind(
            "AC303", LOOK, "a poll loop of its own",
            "asyncore.loop() waits by epoll or kqueue, and loop(count=1) makes one pass",
        ),
        Kind(
            "AC304", LOOK, "predicates that do something",
            "let readable() and writable() only answer, and act in the handlers: they are called"
            " before every wait",
        ),
        Kind(
            "AC305", LOOK, "a handler that waits",
            "nothing else is served meanwhile: call_later() instead of sleeping, connect_name()"
            " instead of looking up, a thread and call_soon_threadsafe() for the rest",
        ),
        Kind(
            "AC306", LOOK, "input without a limit",
            "set max_line_length, and have handle_line_too_long() say so",
        ),
        Kind(
            "AC307", LOOK, "no handle_error",
            "without one an exception closes the channel and is printed; use_logging() brings it"
            " into the log",
        ),
        Kind(
            "AC308", LOOK, "timers by hand", "asynccore.call_every(seconds, function) and loop()"
        ),
        Kind(
            "AC309", LOOK, "accept() may return None",
            "write handle_accepted(self, sock, addr), which is called with a connection",
        ),
        Kind(
            "AC310", LOOK, "descriptors for children",
            "since Python 3.4 no child inherits what socket.fromfd() returns, without"
            " set_inheritable(True)",
        ),
        Kind(
            "AC311", LOOK, "methods that Python 3 never calls",
            "name it as Python 3 does: __bool__, __lt__ and __eq__, __truediv__, __getitem__,"
            " __str__",
        ),
    )
}  # fmt: skip
