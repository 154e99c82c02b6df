"""Handing messages to the mailing lists of GNU Mailman 2, for the classic `MailmanProxy`.

Facts. Mailman 2 ended with Python 2; its package `Mailman` cannot be imported by any Python that
this project supports. Python 3.11 removed the class for that reason.

Consequence. What a program can still have is a package of that name with the same three modules.
It is served as the classic class served it, and its absence is explained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from io import StringIO
from typing import Any, NamedTuple

# The suffix of a list's address -> where `Message.Enqueue` is to take the message.
QUEUES = {
    "": "tolist",
    "admin": "toadmin",
    "owner": "toowner",
    "request": "torequest",
    "join": "torequest",
    "leave": "torequest",
}

# What the suffix asks for is written into the subject, where Mailman's command parser finds it.
SUBJECTS = {"join": "subscribe", "leave": "unsubscribe"}


class ListAddress(NamedTuple):
    """A recipient that is one of a mailing list's addresses."""

    recipient: str
    listname: str
    command: str


def list_address(recipient: str) -> ListAddress | None:
    """Return the list and command that `recipient` names (list or list-command), if it may."""
    local = recipient.lower().partition("@")[0]
    listname, _, command = local.partition("-")
    return ListAddress(recipient, listname, command) if command in QUEUES else None


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


def split_recipients(utils: Any, recipients: list[str]) -> tuple[list[ListAddress], list[str]]:
    """Return the addresses of existing lists among `recipients`, and the rest."""
    lists: list[ListAddress] = []
    rest: list[str] = []
    for recipient in recipients:
        found = list_address(recipient)
        if found and utils.list_exists(found.listname):
            lists.append(found)
        else:
            rest.append(recipient)
    return lists, rest


def enqueue(
    message_module: Any,
    mail_list_module: Any,
    mailfrom: str,
    data: str,
    lists: list[ListAddress],
    debug: Callable[..., None],
) -> None:
    """Give the message `data` to each of the lists."""
    message = message_module.Message(StringIO(data))
    # Mailman needs both; most messages have them.
    for header, value in (("From", mailfrom), ("Date", time.ctime(time.time()))):
        if not message.get(header.lower()):
            message[header] = value
    opened: dict[str, Any] = {}
    for recipient, listname, command in lists:
        debug("sending message to %s", recipient)
        if listname not in opened:
            opened[listname] = mail_list_module.MailList(listname, lock=0)
        if command in SUBJECTS:
            message["Subject"] = SUBJECTS[command]
        message.Enqueue(opened[listname], **{QUEUES[command]: 1})
