"""What TLS needs beside the standard library: whoever imports this hears what is missing.

*Facts.* `pip install asynccore` brings pyOpenSSL and certifi. Where it was installed without its
dependencies, or copied, everything but TLS works. A program that asks for TLS there would be told
"No module named 'cryptography'", of which it has never heard.
*Consequence.* This module is imported before any other that imports them, and it raises with the
command that helps.
*Trade-off.* An import that does something; but the error belongs where the import fails.
"""

from __future__ import annotations

import importlib

# Modules, by what they are installed as. cryptography comes with pyOpenSSL.
_NEEDED = {"OpenSSL": "pyOpenSSL", "cryptography": "pyOpenSSL", "certifi": "certifi"}

COMMAND = "pip install pyOpenSSL certifi"

for _module, _distribution in _NEEDED.items():
    try:
        importlib.import_module(_module)
    except ModuleNotFoundError as _why:
        if _why.name is None or _why.name.partition(".")[0] not in _NEEDED:
            raise  # something that these need themselves
        raise ModuleNotFoundError(
            f"TLS needs {_distribution}, which is not installed: {COMMAND}", name=_why.name
        ) from None
