"""Tests of the interpreters that expect a defect which asynccore does not have.

Each entry names a test and says which classic behaviour it expects and what happens here
instead. An entry whose test passes is stale, and the run says so.
"""

from __future__ import annotations

import sys

# test id -> the reason
DIFFERENCES: dict[str, str] = {}

_NOOP = "RFC 5321 section 4.1.1.9: an argument of NOOP is ignored; it is no syntax error"

if sys.version_info < (3, 12):
    DIFFERENCES.update(
        {
            "test.test_smtpd.SMTPDChannelTest.test_NOOP_bad_syntax": _NOOP,
            "test.test_smtpd.SMTPDChannelIPv6Test.test_NOOP_bad_syntax": _NOOP,
        }
    )
