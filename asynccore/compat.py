"""`compat` by a name that no program has: for libraries, and beside a `compat.py` of one's own.

Once it is imported, this module *is* that package. For type checkers, `compat.pyi` says what is in
there.
"""

from __future__ import annotations

from .neighbours import lead_to

lead_to("compat", __name__)
