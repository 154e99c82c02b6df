"""Which of the interpreter's suites are run, and which part of the two long ones.

`test_ssl` and `test_logging` touch the classic modules in a few classes only. All of the rest
would cost minutes and could not tell one implementation from another.
"""

from __future__ import annotations

import importlib.util
import sys

# Since 3.12 the classic modules are no part of the library, and their own suites went with them.
_OWN_SUITES: dict[str, tuple[str, ...]] = {
    "test_asyncore": (),
    "test_asynchat": (),
    "test_smtpd": (),
}

_USERS: dict[str, tuple[str, ...]] = {
    "test_ftplib": (),
    "test_poplib": (),
    "test_smtplib": (),
    # Its SMTP server is a smtpd.SMTPServer on a map of its own, looped in a thread.
    "test_logging": ("SMTPHandlerTest",),
    # The one test against the echo server that is made of asyncore dispatchers.
    "test_ssl": ("ThreadedTests.test_asyncore_server",),
}

SUITES = _USERS if sys.version_info >= (3, 12) else {**_OWN_SUITES, **_USERS}

# The suite that talks to the three modules through fakes, so that nothing ever waits.
WITHOUT_LOOP = ("test_smtpd",)


def missing(suite: str) -> bool:
    """Whether this interpreter came without its tests; several distributions split them off."""
    try:
        return importlib.util.find_spec(f"test.{suite}") is None
    except ModuleNotFoundError:
        return True
