"""How the classic `smtpd` reads a command line: text in, values out; no state and no I/O.

Facts. The classic module leaves addresses to `email._header_value_parser`, which was written for
header fields. For what a peer may send instead of an address it raises not only its own
`HeaderParseError` but IndexError ('"', 'a@'), AttributeError ('<a@[>') and, for a few hundred
nested comments, RecursionError. Its cost grows with the square of the input in the worst cases.

Consequence. The parser is used as it is, for the sake of equal results; whatever it raises means
"this is no address". The session's command size limit bounds its input, 8 ms at 512 bytes.

Trade-off. What the parser accepts depends on the interpreter's version, as it always did.
"""

from __future__ import annotations

from email._header_value_parser import get_addr_spec as get_addr_spec
from email._header_value_parser import get_angle_addr as get_angle_addr

EsmtpOptions = dict[str, str | bool]

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
