"""Invariants of an async_chat, whatever it receives, in whatever pieces, whatever its terminators:

1. What is collected, with the terminators that were found, is the input; nothing is lost, added or
   given twice.
2. No text ends later than at the first place where its terminator is.
3. Only what may be the beginning of a terminator is held back.
4. An empty piece is never collected.
5. After close() nothing is delivered.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from asynccore import asynchat
from tests.fuzz.smtp import cut
from tests.smtpd.dialogue import FakeSocket, bytewise

Terminator = bytes | int | None

# Few letters, so that half of a terminator, and one inside of another, are frequent.
texts = st.text(alphabet="ab\r\n", max_size=60).map(str.encode)
terminators = st.one_of(
    st.text(alphabet="ab\r\n", min_size=1, max_size=5).map(str.encode),
    st.sampled_from([b"\r\n", b"\r\n.\r\n", b"aa", b"aab", b"abab"]),
    st.integers(1, 9),
)


class Case(NamedTuple):
    """An input, and the terminators that are set one after the other, at the end of each text."""

    data: bytes
    cuts: list[int]
    terminators: list[Terminator]
    close_after: int | None


cases = st.builds(
    Case,
    st.lists(st.one_of(texts, st.sampled_from([b"\r\n", b"aab"]))).map(b"".join),
    st.lists(st.integers(0, 200), max_size=12),
    st.lists(st.one_of(terminators, st.none()), min_size=1, max_size=8),
    st.one_of(st.none(), st.integers(1, 4)),
)


class Chat(asynchat.async_chat):
    """Goes through the terminators of a case, again and again, and keeps the texts."""

    def __init__(self, case: Case) -> None:
        super().__init__(FakeSocket(), {})
        self.case = case
        self.texts: list[bytes] = []
        self.present = b""
        self.set_terminator(case.terminators[0])

    def collect_incoming_data(self, data: bytes) -> None:
        assert data and not self._ac_closed
        self.present += data

    def found_terminator(self) -> None:
        assert not self._ac_closed
        self.texts.append(self.present)
        self.present = b""
        self.set_terminator(self.case.terminators[len(self.texts) % len(self.case.terminators)])
        if len(self.texts) == self.case.close_after:
            self.close()


def reference(case: Case) -> tuple[list[bytes], bytes, Terminator]:
    """Return the texts, what follows the last, and the terminator then, as simply as can be."""
    rest, found = case.data, list[bytes]()
    while True:
        terminator = case.terminators[len(found) % len(case.terminators)]
        if len(found) == case.close_after:
            return found, b"", terminator
        if terminator is None:
            return found, rest, None
        if isinstance(terminator, int):
            # An async_chat finds the end of a counted text only with the last of its bytes.
            if len(rest) < terminator:
                return found, rest, terminator
            found.append(rest[:terminator])
            rest = rest[terminator:]
        else:
            text, end, after = rest.partition(terminator)
            if not end:
                return found, rest, terminator
            found.append(text)
            rest = after


def check(case: Case) -> None:
    """Raise `AssertionError` if an invariant does not hold for the case."""
    texts, rest, terminator = reference(case)
    for pieces in [case.data], cut(case.data, case.cuts), list(bytewise(case.data)):
        chat: Any = Chat(case)
        for piece in pieces:
            chat.socket.incoming = [piece]
            if not chat._ac_closed:
                chat.handle_read()
        assert chat.texts == texts
        if chat._ac_closed:
            assert chat.present == b""
            continue
        held = chat.ac_in_buffer
        assert chat.present + held == rest
        if isinstance(terminator, bytes):
            assert terminator.startswith(held) and held != terminator
            assert not any(
                rest.endswith(terminator[:n]) for n in range(len(held) + 1, len(terminator))
            )
        else:
            assert held == b""
        chat.close()
