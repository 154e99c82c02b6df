"""TLS for dispatchers, by OpenSSL: the one floor of the house that imports OpenSSL.

Nothing of it is loaded by `import asynccore`, nor by `import ssl_ext` alone.
"""

from __future__ import annotations
