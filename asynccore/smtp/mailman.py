"""Handing messages to the mailing lists of GNU Mailman 2, for the classic `MailmanProxy`.

Facts. Mailman 2 ended with Python 2; its package `Mailman` cannot be imported by any Python that
this project supports. Python 3.11 removed the class for that reason.

Consequence. What a program can still have is a package of that name with the same three modules.
It is served as the classic class served it, and its absence is explained.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

# What may follow a list's name in an address -> the flag of Mailman's `Message.Enqueue` for it,
# and the subject by which Mailman's command parser knows what is wanted.
SERVICES = {
    None: ("tolist", None),
    "": ("tolist", None),
    "admin": ("toadmin", None),
    "owner": ("toowner", None),
    "request": ("torequest", None),
    "join": ("torequest", "subscribe"),
    "leave": ("torequest", "unsubscribe"),
}
ADDRESS = re.compile(r"(?P<list>[^-@]*)(?:-(?P<service>[^-@]*))?(?:@|$)")


class Posting(NamedTuple):
    """What is to be handed to Mailman because of one recipient."""

    recipient: str
    list_name: str
    flag: str
    subject: str | None


def posting_for(recipient: str) -> Posting | None:
    """Return what "list@host" or "list-service@host" asks for; None for any other address."""
    address = ADDRESS.match(recipient.lower())
    if address is None or address["service"] not in SERVICES:
        return None
    return Posting(recipient, address["list"], *SERVICES[address["service"]])


def modules() -> tuple[Any, Any, Any]:
    """Return Mailman's modules Utils, Message and MailList, or raise an explaining ImportError."""
    try:
        utils, message, mail_list = (
            import_module(f"Mailman.{name}") for name in ("Utils", "Message", "MailList")
        )
    except ImportError as error:
        raise ImportError(
            "MailmanProxy hands messages to Mailman 2, which ended with Python 2: there is no"
            " package 'Mailman' for this Python. Use PureProxy in front of Mailman 3's LMTP server"
            " or of a mail server.",
            name="Mailman",
        ) from error
    return utils, message, mail_list


def split_recipients(utils: Any, recipients: list[str]) -> tuple[list[Posting], list[str]]:
    """Return what existing lists are to get because of `recipients`, and the recipients left."""
    postings: list[Posting] = []
    others: list[str] = []
    for recipient in recipients:
        posting = posting_for(recipient)
        if posting is not None and utils.list_exists(posting.list_name):
            postings.append(posting)
        else:
            others.append(recipient)
    return postings, others


def enqueue(
    message_module: Any,
    mail_list_module: Any,
    mailfrom: str,
    data: str,
    postings: list[Posting],
    debug: Callable[..., None],
) -> None:
    """Put the message `data` into Mailman's queues.

    It gets the headers From and Date if it has none: Mailman 2 fails without them.
    """
    message = message_module.Message(StringIO(data))
    defaults = {"From": mailfrom, "Date": time.ctime(time.time())}
    lacking = [name for name in defaults if not message.get(name.lower())]
    for name in lacking:
        message[name] = defaults[name]
    opened = cache(lambda name: mail_list_module.MailList(name, lock=0))
    for posting in postings:
        debug("sending message to %s", posting.recipient)
        mail_list = opened(posting.list_name)
        if posting.subject:
            message["Subject"] = posting.subject
        message.Enqueue(mail_list, **{posting.flag: 1})
