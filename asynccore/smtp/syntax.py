"""How the classic `smtpd` reads a command line: text in, values out; no state and no I/O.

Facts. The classic module leaves addresses to `email._header_value_parser`, which was written for
header fields. For what a peer may send instead of an address it raises not only its own
`HeaderParseError` but IndexError ('"', 'a@'), AttributeError ('<a@[>') and, for a few hundred
nested comments, RecursionError. Its cost grows with the square of the input in the worst cases.

Consequence. What clients really send, a mailbox without comments, is read by one regular
expression in a few microseconds, with the result that the parser has for it. The parser is used as
it is for everything else, for the sake of equal results; whatever it raises means "this is no
address". The session bounds how often that may happen (`commands.UNUSUAL_BYTES`).

Trade-off. What the parser accepts depends on the interpreter's version, as it always did. A client
with many addresses that have comments in them is told that they are none.
"""

from __future__ import annotations

import re
from email._header_value_parser import get_addr_spec as get_addr_spec
from email._header_value_parser import get_angle_addr as get_angle_addr

# The parser puts quotes only where they are needed.
_NEEDS_QUOTES = re.compile(r"""[ ()<>\[\]:;@,]""")

EsmtpOptions = dict[str, str | bool]

# An atom of RFC 5322, of whatever characters beyond ASCII; without control characters, of which the
# parser has its own opinion. "=?" would begin an encoded word, and "\\" a quoted character.
_ATOM = r"""[^\s\x00-\x1f\x7f()<>\[\]:;@\\,."]+"""
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = r'"(?:[^\s\x00-\x1f\x7f\\"]| )+"'
_MAILBOX = rf"(?:(?P<local>{_DOT_ATOM})|(?P<quoted>{_QUOTED}))@(?P<domain>{_DOT_ATOM}|\[[\w.:]+\])"
# After the blank that ends it no comment may come, and after a bare address no more of it.
_USUAL_PATH = re.compile(rf"<{_MAILBOX}>(?: +(?=[^\s(])|$)")
_USUAL_ADDRESS = re.compile(rf"{_MAILBOX}(?: +(?=[^\s(.@])|$)")

UNKNOWN_MAIL_OPTION = "555 MAIL FROM parameters not recognized or not implemented"
UNKNOWN_RCPT_OPTION = "555 RCPT TO parameters not recognized or not implemented"


def split_command(line: str) -> tuple[str, str | None]:
    """Return the verb of a command line in upper case, and its argument (None: there is none)."""
    verb, space, argument = line.partition(" ")
    return verb.upper(), argument.strip() if space else None


def strip_keyword(keyword: str, argument: str) -> str:
    """Return what follows `keyword` ("FROM:", upper case) in `argument`; "" if it is not there."""
    head, rest = argument[: len(keyword)], argument[len(keyword) :]
    return rest.strip() if head.upper() == keyword else ""


def parse_usual_address(argument: str | None) -> tuple[str, str] | None:
    """Do as `parse_address`, at once, for the usual kinds of addresses; `None` for the others."""
    if not argument:
        return "", ""
    if argument == "<>":
        return "<>", ""
    found = (_USUAL_PATH if argument[0] == "<" else _USUAL_ADDRESS).match(argument)
    if found is None or "=?" in found[0]:
        return None
    local, quoted, domain = found.group("local", "quoted", "domain")
    if quoted is not None:
        local = quoted[1:-1]
        if _NEEDS_QUOTES.search(local):
            local = f'"{local}"'
    return f"{local}@{domain}", argument[found.end() :]


def parse_address(argument: str | None) -> tuple[str, str]:
    """Split `argument` into the mail address at its head and what follows it.

    Both are "" when there is no address. The address of "<>" is "<>" (the null sender, RFC 5321
    section 4.5.5).
    """
    if not argument:
        return "", ""
    parse = get_angle_addr if argument.lstrip().startswith("<") else get_addr_spec
    try:
        mailbox, rest = parse(argument)
        address = mailbox.addr_spec
    except Exception:  # see the module's facts: any of four classes
        return "", ""
    if address and address.count("]") > argument.count("]"):
        return "", ""  # since 3.14 the parser closes a bracket that the peer has left open
    return address or "", rest


def parse_options(words: list[str]) -> EsmtpOptions | None:
    """Return the ESMTP options KEY and KEY=VALUE of `words` (a bare key has the value True).

    None if a word is neither. A key given twice keeps its last value. RFC 5321 section 4.1.2.
    """
    options: EsmtpOptions = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key.isalnum() or (equals and not value):
            return None
        options[key] = value if equals else True
    return options


def refuse_mail_options(
    options: EsmtpOptions | None,
    syntax: str,
    *,
    eight_bit: bool,
    utf8: bool,
    size_limit: int | None,
) -> str:
    """Return the reply that refuses the MAIL command with these options; "" if they will do.

    `syntax` is the reply for malformed options (`None`) and values; `eight_bit` and `utf8` say
    whether 8BITMIME (RFC 6152) and SMTPUTF8 (RFC 6531) are offered; `size_limit` is in bytes, 0
    or None for no limit (SIZE, RFC 1870).
    """
    if options is None:
        return syntax
    known = {"SIZE"}
    if eight_bit:
        known.add("BODY")
        if options.get("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
            return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
    if utf8:
        known.add("SMTPUTF8")
        if options.get("SMTPUTF8", True) is not True:
            return "501 Error: SMTPUTF8 takes no arguments"
    if "SIZE" in options:
        size = declared_size(options["SIZE"])
        if size is None:
            return syntax
        if size_limit and size > size_limit:
            return "552 Error: message size exceeds fixed maximum message size"
    return "" if known.issuperset(options) else UNKNOWN_MAIL_OPTION


def declared_size(value: str | bool) -> int | None:
    """Return the number of bytes that a SIZE option declares; None if it is no number."""
    try:
        # isdigit() keeps out the signs, spaces and underscores that int() takes.
        return int(value) if isinstance(value, str) and value.isdigit() else None
    except ValueError:  # "²" is a digit but no number; beyond 4,300 digits int() refuses
        return None
