"""Random scripts for a `World`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.differential.recording import Spec

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"


def budget(examples: int) -> settings:
    """Settings for a test: always the same examples, and few.

    With `HYPOTHESIS_PROFILE=deep` in the environment it is others each time, fifty times as many.
    """
    return settings(
        max_examples=examples * 50 if DEEP else examples,
        derandomize=not DEEP,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def specs_of(kinds: Any) -> Any:
    return st.builds(
        Spec,
        kinds,
        st.sampled_from(["class", "inherited", "instance"]),
        st.sampled_from(["close", "close", "close", "keep"]),
        st.sampled_from(["log", "log", "log", "reraise"]),
    )


KINDS = ["plain", "sender", "chat"]
specs = specs_of(st.sampled_from(KINDS))
CHAT = 2  # every script begins with one channel of each kind
indexes = st.integers(0, 2) | st.integers(3, 5)
flags = st.booleans()
terminators = st.sampled_from([b"\n", b"\r\n", b"abab", "é", 3, 1, 10, 0, None, b""])
pieces = st.one_of(
    st.text(alphabet="ab\r\n", min_size=1, max_size=24).map(str.encode),
    st.sampled_from([b"x" * 9000, b"ab" * 5000 + b"\n", b"\n", b"\r", b"\r\n", b"aba"]),
)
sizes = st.sampled_from([1, 10, 1000, 4000, 0])  # a piece each: else a dead peer is found sooner


def verb(name: str, *arguments: Any) -> Any:
    return st.tuples(st.just(name), *arguments)


actions = st.one_of(
    verb("raise"),
    verb("exit"),
    verb("close"),
    verb("close_other", indexes),
    verb("nested"),
    verb("send", sizes),
    verb("unmap"),
    verb("want", flags, flags),
    verb("terminator", terminators),
    verb("close_when_done"),
)
hooks = st.sampled_from(["read", "read", "collect", "found", "write", "connect", "expt", "close"])
reactions = verb("react", indexes, hooks, flags, actions)
arrivals = st.one_of(
    verb("open", specs, st.sampled_from(["pair", "tcp"])),
    verb("arrive", specs),
    verb("connect", specs, specs, st.sampled_from([False, False, True])),
)
peers = st.one_of(
    verb("peer_send", indexes, pieces),
    verb("peer_shutdown", indexes),
    verb("peer_close", indexes, flags),
    verb("peer_urgent", indexes),
)
programs = st.one_of(
    verb("want", indexes, flags, flags),
    verb("unassign", indexes),
    verb("send", indexes, sizes),
    verb("close_when_done", indexes),
    verb("terminator", indexes, terminators),
    verb("close", indexes),
    verb("unmap", indexes),
    verb("remap", indexes),
    verb("usurp", indexes),
    verb("reconnect", indexes),
)


@st.composite
def reactions_with_cause(draw: Any) -> list[Any]:
    """An action for a handler, and then what calls that handler."""
    index = draw(indexes)
    hook = draw(hooks)
    causes: dict[str, Any] = {
        "write": verb("want", st.just(index), flags, st.just(True)),
        "close": verb("peer_close", st.just(index), flags),
        "expt": verb("peer_urgent", st.just(index)),
        "connect": verb("connect", specs, specs, st.just(False)),
    }
    cause = draw(causes.get(hook, verb("peer_send", st.just(index), pieces)))
    return [("react", index, hook, draw(flags), draw(actions)), cause]


@st.composite
def conversations(draw: Any) -> list[Any]:
    """Lines for a chat, many in one piece, with an action at the end of one of them."""
    index = draw(st.just(CHAT) | indexes)
    hook = draw(st.sampled_from(["found", "found", "collect"]))
    action = draw(actions | verb("terminator", terminators))
    lines = draw(st.lists(pieces, max_size=2))
    return [
        ("react", index, hook, False, action),
        ("peer_send", index, b"".join([b"a\nbb\nab\n", *lines])),
        *draw(st.lists(verb("peer_send", st.just(index), pieces), max_size=2)),
    ]


@st.composite
def changes_of_mind(draw: Any) -> list[Any]:
    """A channel that does not want to read when its peer sends, and then does, or is gone."""
    index = draw(indexes)
    sending = ("peer_send", index, draw(pieces))
    after = verb("want", st.just(index), st.just(True), flags)
    unassign = verb("unassign", st.just(index))
    return [
        ("want", index, False, draw(flags)),
        sending,
        draw(after | after | unassign | verb("peer_close", st.just(index), flags)),
        draw(after | peers),
    ]


def one(step: Any) -> Any:
    return step.map(lambda value: [value])


groups = st.one_of(
    reactions_with_cause(),
    reactions_with_cause(),
    conversations(),
    changes_of_mind(),
    one(arrivals),
    one(peers),
    one(programs),
    one(programs),
    one(reactions),
)
beginnings = st.tuples(
    *[verb("open", specs_of(st.just(kind)), st.sampled_from(["pair", "tcp"])) for kind in KINDS]
)
scripts = st.builds(
    lambda first, rest: [*first, *(step for group in rest for step in group)],
    beginnings,
    st.lists(groups, min_size=6, max_size=12),
)
