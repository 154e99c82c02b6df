"""The conversation of AUTH, without a server."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_ext.smtp.auth import MECHANISMS, Claim, Exchange, Refused


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_plain() -> None:
    exchange = Exchange("PLAIN")
    assert exchange.begin(None) == "334 "
    assert exchange.claim is None
    assert exchange.answer(b64("\0ann\0sécret")) == ""
    assert exchange.claim == Claim("PLAIN", "ann", "sécret", "")


def test_plain_at_once_and_for_somebody_else() -> None:
    exchange = Exchange("PLAIN")
    assert exchange.begin(b64("bob\0ann\0pw")) == ""
    assert exchange.claim == Claim("PLAIN", "ann", "pw", "bob")


@pytest.mark.parametrize("initial", [None, "ann"])
def test_login(initial: str | None) -> None:
    exchange = Exchange("LOGIN")
    reply = exchange.begin(None if initial is None else b64(initial))
    if initial is None:
        assert reply == "334 " + b64("Username:")
        reply = exchange.answer(b64("ann"))
    assert reply == "334 " + b64("Password:")
    assert exchange.answer(b64("pw")) == ""
    assert exchange.claim == Claim("LOGIN", "ann", "pw")


@pytest.mark.parametrize(("said", "acts_for"), [("=", ""), ("", ""), (b64("ann"), "ann")])
def test_external(said: str, acts_for: str) -> None:
    exchange = Exchange("EXTERNAL")
    assert exchange.begin(said) == ""
    assert exchange.claim == Claim("EXTERNAL", "", None, acts_for)


@pytest.mark.parametrize(
    ("mechanism", "said", "reply"),
    [
        ("PLAIN", ["*"], "501 Authentication cancelled"),
        ("LOGIN", [b64("ann"), "*"], "501 Authentication cancelled"),
        ("PLAIN", ["no base64!"], "501 Error: cannot decode the response, it is not base64"),
        ("PLAIN", ["YQ"], "501 Error: cannot decode the response, it is not base64"),
        ("PLAIN", ["é"], "501 Error: cannot decode the response, it is not base64"),
        ("PLAIN", [b64("ann\0pw")], "501 Error: malformed response"),
        ("PLAIN", [b64("\0ann\0pw\0")], "501 Error: malformed response"),
        ("PLAIN", [b64("\0\0pw")], "501 Error: malformed response"),
        ("PLAIN", [b64("\0ann\0")], "501 Error: malformed response"),
        ("PLAIN", [b64(b"\0ann\0\xff")], "501 Error: malformed response"),
        ("LOGIN", ["", b64("pw")], "501 Error: malformed response"),
        ("LOGIN", [b64("ann"), ""], "501 Error: malformed response"),
        ("LOGIN", [b64(b"\xff")], "501 Error: malformed response"),
        ("EXTERNAL", [b64(b"\xff")], "501 Error: malformed response"),
    ],
)
def test_refusals(mechanism: str, said: list[str], reply: str) -> None:
    exchange = Exchange(mechanism)
    exchange.begin(None)
    with pytest.raises(Refused) as refused:
        for line in said:
            exchange.answer(line)
    assert str(refused.value) == reply
    assert exchange.claim is None


@given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.text(max_size=40), max_size=4))
def test_whatever_is_said_ends_in_a_claim_or_a_refusal(mechanism: str, said: list[str]) -> None:
    exchange = Exchange(mechanism)
    exchange.begin(None)
    try:
        for line in said:
            if not exchange.answer(line):
                break
    except Refused as why:
        assert str(why)[:4] in ("501 ",)
    else:
        assert exchange.claim is None or exchange.claim.mechanism == mechanism
