"""`asynchat` for programs started by `asynccore run` and by an enabled environment."""

import _asynccore_names  # type: ignore[import-not-found]  # beside this file, or in site-packages

_asynccore_names.hand_over("asynchat", __name__, __file__)
