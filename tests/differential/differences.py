"""Where asynccore means to differ from the classic modules, and what is no part of the contract.

Each entry of `DIFFERENCES` is a function that takes the notes of one channel and returns them in
the form that both sides share. All are applied to both sides, unless an entry says that it is for
the classic side alone: ours must then show the better behaviour by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.differential.recording import Spec
from tests.differential.world import Note, Result

Notes = list[Note]


class Difference(NamedTuple):
    change: Callable[[Notes, Spec], Notes]
    classic_only: bool
    reason: str


def only_what_was_asked(notes: Notes, spec: Spec) -> Notes:
    # A usurper never wants to write; the channel that it takes the place of may have wanted to.
    return [note for note in notes if not (note.what == "wrote" and isinstance(note.index, tuple))]


def handle_close_once(notes: Notes, spec: Spec) -> Notes:
    kept: Notes = []
    closed = False
    for note in notes:
        if note.what == "opens":
            closed = False
        elif note.what == "close":
            if closed:
                continue
            closed = True
        kept.append(note)
    return kept


def sending_after_close_tells(notes: Notes, spec: Spec) -> Notes:
    kept: Notes = []
    closed = False
    for note in notes:
        closed = note.what in ("closes", "closed") or (closed and note.what != "opens")
        if not (closed and note.what == "close"):
            kept.append(note)
    return kept


def errors_close_besides(notes: Notes, spec: Spec) -> Notes:
    kept: Notes = []
    last: Note | None = None
    for note in notes:
        if note.what == "opens":
            last = None
        elif note.what == "close":
            if last is not None and "error" in (last.detail, note.detail):
                continue
            last = note
            note = note._replace(detail=None)
        kept.append(note)
    return kept


def nothing_after_close(notes: Notes, spec: Spec) -> Notes:
    kept: Notes = []
    closed = False
    for note in notes:
        if note.what == "opens":
            closed = False
        if not closed or note.what not in HOOKS:
            kept.append(note)
        closed = closed or note.what in ("closes", "closed")
    return kept


HOOKS = frozenset({"data", "terminator", "wrote", "connect", "urgent", "error", "log", "close"})


def buffers_send_by_themselves(notes: Notes, spec: Spec) -> Notes:
    return [note for note in notes if not (note.what == "wrote" and spec.buffered)]


def writes_are_not_counted(notes: Notes, spec: Spec) -> Notes:
    # To the end of its step, once: select asks all readers first, other pollers go by channel.
    kept: Notes = []
    wrote: Note | None = None
    for note in notes:
        if wrote is not None and note.step != wrote.step:
            kept.append(wrote)
            wrote = None
        if note.what == "wrote":
            wrote = note
        else:
            if note.what in ("closes", "closed", "unmapped"):
                wrote = None  # it may have been told before in this pass, or not any more
            kept.append(note)
    return kept if wrote is None else [*kept, wrote]


def closing_again_is_nothing(notes: Notes, spec: Spec) -> Notes:
    return [note for note in notes if note.what != "closed"]


def segments_are_joined(notes: Notes, spec: Spec) -> Notes:
    kept: Notes = []
    for note in notes:
        if note.what == "data" and kept and kept[-1].what == "data" and kept[-1].step == note.step:
            note = note._replace(detail=kept.pop().detail + note.detail)
        kept.append(note)
    return kept


DIFFERENCES = (
    Difference(
        only_what_was_asked,
        True,
        "the classic loop delivers the rest of a pass to whatever object the map holds by then",
    ),
    Difference(
        nothing_after_close,
        True,
        "the classic loop delivers stale events to a channel that a handler has closed, and the "
        "classic async_chat goes on with the lines it has",
    ),
    Difference(
        sending_after_close_tells,
        False,
        "send() on a channel that the program itself has closed calls handle_close() on either "
        "side, but on the classic one so does a stale event",
    ),
    Difference(
        errors_close_besides,
        False,
        "the handle_close() that handle_error() calls is not the end of the connection: where it "
        "leaves the channel open, that may still come",
    ),
    Difference(
        handle_close_once,
        True,
        "the classic loop finds the end of a channel that stays open in every pass anew",
    ),
    Difference(
        buffers_send_by_themselves,
        False,
        "how much one call sends is not part of the contract, and nor is how often a buffered "
        "channel needs to be told that there is room; the classic ones send b'' on connect",
    ),
    Difference(writes_are_not_counted, False, "room is reported in every pass there is"),
    Difference(closing_again_is_nothing, False, "a note for the entries above"),
    Difference(segments_are_joined, False, "TCP has no segments, and reads end where they may"),
)


def normalised(result: Result, classic: bool) -> dict[Any, Notes]:
    """Return the notes of each channel in the form that both sides share."""
    channels: dict[Any, Notes] = {}
    for note in result.notes:
        channels.setdefault(note.index, []).append(note)
    for index, notes in channels.items():
        spec = result.specs.get(index, Spec())
        for difference in DIFFERENCES:
            if classic or not difference.classic_only:
                notes = difference.change(notes, spec)
        channels[index] = notes
    return {index: notes for index, notes in channels.items() if notes}


def compare(classic: Result, ours: Result) -> list[str]:
    """Return what is different in spite of all that may be."""
    found = []
    theirs, mine = normalised(classic, True), normalised(ours, False)
    for index in {**theirs, **mine}:
        if theirs.get(index) != mine.get(index):
            found.append(
                f"channel {index}:\n  classic {theirs.get(index)}\n  ours    {mine.get(index)}"
            )
    for index, end in classic.ends.items():
        if index in ours.ends and _flags(end) != _flags(ours.ends[index]):
            found.append(f"end of {index}:\n  classic {end}\n  ours    {ours.ends[index]}")
    for index, data in classic.received.items():
        sent = ours.received.get(index, b"")
        # What waited in the classic buffer when the channel closed may have got through here.
        same = sent.startswith(data) if index in classic.unsent else sent == data
        if not same:
            found.append(f"{index} sent {len(data)} bytes, here {len(sent)}")
    return found


def _flags(end: dict[str, Any]) -> dict[str, Any]:
    # A channel that was closed in its handle_connect ends as "connected" in the classic module.
    return end if end["open"] else {name: end[name] for name in ("open", "mapped", "accepting")}
