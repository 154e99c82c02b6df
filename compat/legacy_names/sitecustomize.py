"""Has a program that `asynccore run` started end with a hint, where that helps.

Facts: an old program may end before it imports anything, or is compiled at all; Python imports a
module of this name when it starts, the first in `sys.path`. Whatever runs after a
KeyboardInterrupt may hide that a signal ended the program. Consequence: this one, in the folder
that is put in front, sets `sys.excepthook`, looks at errors of four kinds alone, and has the one
that would have been found without it run. Trade-off: a program that looks whether
`sys.excepthook` is Python's finds that it is not.

A worker of `asynccore run --workers` prints no traceback at Ctrl-C. Each worker would print the
same one, and all at once. `python -X dev -m asynccore run` shows them.
"""

import os
import sys

MYPY = False  # type checkers take it for true
if MYPY:  # pragma: no cover
    from types import TracebackType  # noqa: F401 (used in comments)


def _hand_on():
    # type: () -> None
    """Run the sitecustomize that stands behind this folder, which takes the name over."""
    folder = os.path.dirname(os.path.abspath(__file__))
    ours = sys.modules.pop("sitecustomize")
    at = [number for number, entry in enumerate(sys.path) if os.path.abspath(entry) == folder]
    taken = [sys.path.pop(number) for number in reversed(at)]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as why:
        sys.modules["sitecustomize"] = ours
        if getattr(why, "name", "sitecustomize") != "sitecustomize":
            raise
    finally:
        sys.path[at[0] if at else 0 : 0] = taken[:1]


def _hook(kind, value, traceback):
    # type: (type, BaseException, TracebackType | None) -> None
    if _is_worker and isinstance(value, KeyboardInterrupt):
        return  # Python then ends the process by SIGINT, as it does after a traceback.
    _before(kind, value, traceback)
    if not isinstance(value, (SyntaxError, ImportError, AttributeError, NameError)):
        return
    try:
        from importlib import import_module

        hint = import_module("asynccore.neighbours").resolve("compat.old_programs.hints:hint")
        line = hint(value, traceback)
        if line and sys.stderr is not None:
            sys.stderr.write(line + "\n")
    except Exception:  # what Python said is said
        pass


# Its children inherit the variable, which begins with the id of the process that it means.
_is_worker = os.environ.get("ASYNCCORE_WORKER", "").startswith("%d:" % os.getpid()) and not getattr(
    sys.flags, "dev_mode", False
)
_before = sys.excepthook
if sys.version_info >= (3, 10):  # which asynccore needs, too
    sys.excepthook = _hook
_hand_on()
