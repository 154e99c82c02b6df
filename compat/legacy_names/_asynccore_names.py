"""How a process that knows nothing of asynccore comes to import it under the legacy names.

*Facts.* A child process inherits its environment, not its parent's `sys.modules`. Folders in
PYTHONPATH come before the standard library and before site-packages, but every Python that is
started below looks into them, 2.7 and 3.6 included. A `.pth` file is read at each start of an
interpreter, also when what it was written for has long been uninstalled.
*Consequence.* There are two ways in, and both end in `hand_over`. `asynccore run` puts this
folder in front of PYTHONPATH, where `asyncore.py`, `asynchat.py` and `smtpd.py` are found.
`asynccore enable` copies this one file into site-packages, where a `.pth` line lets `Finder`
answer for the three names. Where asynccore cannot be imported, both step aside for the
interpreter's own modules.
*Trade-off.* This file must compile on every Python that a program may start, import nothing
when it is loaded, and stand alone: hence the comments in place of annotations, and no word from
the other packages.
"""

import sys

MYPY = False  # type checkers take it for true
if MYPY:  # pragma: no cover
    from importlib.machinery import ModuleSpec  # noqa: F401 (used in comments)

TARGETS = {
    "asyncore": "asynccore",
    "asynchat": "asynccore.asynchat",
    "smtpd": "asynccore.smtpd",
}

# Engines that are event loops of other projects: compat/engines.py.
HOSTS = ("asyncio", "uvloop", "twisted")

# The oldest Python that asynccore supports (requires-python in pyproject.toml).
OLDEST = (3, 10)


def hand_over(legacy, running_as, file):
    # type: (str, str, str) -> None
    """Let the module of asynccore take the place of the module file that calls this.

    `legacy` is one of the names in TARGETS, `running_as` and `file` are the caller's `__name__`
    and `__file__`. `python -m smtpd` runs asynccore's command line; the other two do nothing as
    a script, like the classic ones.
    """
    import os

    folder = os.path.dirname(os.path.abspath(file))
    target = TARGETS[legacy]
    as_script = running_as == "__main__"
    # runpy warns when the module that it is to run was imported already.
    if not _load("asynccore" if as_script else target, folder):
        _step_aside(folder)
        target = legacy
    if not as_script:
        # The import system returns what it finds in sys.modules after a module file has run.
        del sys.modules[running_as]
        __import__(target)
        sys.modules[running_as] = sys.modules[target]
    elif legacy == "smtpd":
        import runpy

        runpy.run_module(target, run_name="__main__", alter_sys=True)


def _load(target, folder):
    # type: (str, str) -> bool
    """Import `target`, a module of asynccore; False where this interpreter cannot have it."""
    import os

    if sys.version_info < OLDEST:
        return False
    from importlib import import_module

    # The second try is for a checkout that is not installed, and for a child running in another
    # environment: asynccore stands beside the package that holds this folder.
    beside = os.path.dirname(os.path.dirname(folder))
    for extra in ([], [beside]):
        sys.path.extend(extra)
        try:
            import_module(target)
            if os.environ.get("ASYNCCORE_ENGINE") in HOSTS:
                # They are found by the metadata of what is installed, which a checkout has not.
                import_module("asynccore.neighbours").resolve("compat.engines:register")()
            return True
        except ImportError as error:
            if error.name != "asynccore":
                raise
        finally:
            for entry in extra:
                sys.path.remove(entry)
    return False


def _step_aside(folder):
    # type: (str) -> None
    """Take both ways in out of this process, so that the interpreter's own modules are found."""
    import os

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not Finder]


class Finder:
    """A meta path finder for the three names, put in place by the `.pth` of `asynccore enable`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        # type: (str, object, object) -> ModuleSpec | None
        """Return the spec of the file that hands over, or None to let other finders answer."""
        return _spec(name) if name in TARGETS else None


def _spec(name):
    # type: (str) -> ModuleSpec | None
    import os
    from importlib.machinery import PathFinder
    from importlib.util import find_spec, spec_from_file_location

    # A program's own module of that name, beside the script or in PYTHONPATH, stays what it is:
    # it comes before the standard library, and so before what stands in for it.
    library = os.path.dirname(os.__file__)
    ahead = sys.path[: sys.path.index(library)] if library in sys.path else []
    own = PathFinder.find_spec(name, ahead)
    if own is not None and own.origin is not None:
        return None
    core = find_spec("asynccore")
    if core is None or core.origin is None:
        return None
    beside = os.path.dirname(os.path.dirname(core.origin))
    file = os.path.join(beside, "compat", "legacy_names", name + ".py")
    return spec_from_file_location(name, file) if os.path.isfile(file) else None


def enable():
    # type: () -> None
    """Put `Finder` in front of the other finders; called by the `.pth` line."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
