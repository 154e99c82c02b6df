"""`ssl_ext` by a name that no program has: for libraries, and beside an `ssl_ext.py` of one's own.

Once it is imported, this module *is* that package. For type checkers, `ssl_ext.pyi` says what is in
there.
"""

from __future__ import annotations

from .neighbours import lead_to

lead_to("ssl_ext", __name__)
