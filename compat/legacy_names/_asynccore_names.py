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
    from collections.abc import Iterable  # noqa: F401 (used in comments)
    from importlib.machinery import ModuleSpec  # noqa: F401
    from types import ModuleType  # noqa: F401

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
    caller = sys._getframe(1).f_globals
    stub = sys.modules.get(running_as)
    # runpy runs the file without importing it, and returns what it defines.
    by_runpy = caller.get("__file__") == file and (stub is None or vars(stub) is not caller)
    if not (as_script or by_runpy):
        # Whoever imports the name meanwhile waits for this import to end, and finds what it leaves.
        del sys.modules[running_as]
    # runpy warns when the module that it is to run was imported already.
    found = _load("asynccore" if as_script else target, folder)
    if found:
        enable()  # for a program that puts another path in the place of this one
    else:
        _step_aside(folder)
        target = legacy
    if as_script and legacy == "smtpd":
        import runpy

        if found:
            _import("asynccore.neighbours").resolve("compat.command_line.mail_server:register")()
        runpy.run_module(target, run_name="__main__", alter_sys=True)
        return
    module = _module(legacy, target, folder) if found else _import(target)
    if as_script or by_runpy:
        caller.update((name, value) for name, value in vars(module).items() if name[:2] != "__")
        return
    # The import system returns what it finds in sys.modules after a module file has run.
    sys.modules[running_as] = module
    if stub is not None and vars(stub) is caller:
        _forward(stub, module)


def _import(name):
    # type: (str) -> ModuleType
    __import__(name)
    return sys.modules[name]


def _forward(stub, module):
    # type: (ModuleType, ModuleType) -> None
    """Let a module object that another thread has in its hands already be as good as the real one.

    Between the first moment and `hand_over` it can be found in sys.modules.
    """

    class Forwarding(type(stub)):  # type: ignore[misc]
        def __getattr__(self, name):
            # type: (str) -> object
            return getattr(module, name)

        def __setattr__(self, name, value):
            # type: (str, object) -> None
            setattr(module, name, value)

        def __delattr__(self, name):
            # type: (str) -> None
            delattr(module, name)

        def __dir__(self):
            # type: () -> Iterable[str]
            return dir(module)

    stub.__class__ = Forwarding


def _module(legacy, target, folder):
    # type: (str, str, str) -> ModuleType
    """Return what is to stand under a name: asynccore's module, or one on what the program has."""
    from importlib import import_module

    module = import_module(target)
    try:
        legacy_modules = import_module("asynccore.classic.legacy_modules")
    except ImportError:
        return module  # another version of asynccore than this file is of
    if legacy == "asyncore":
        legacy_modules.take_green(module, sys.modules)
        return module
    legacy_modules.answer_to_any_name(module)
    ours = sys.modules["asynccore"]
    base = legacy_modules.base_of(sys.modules, ours)
    if base is None:
        return module
    if not legacy_modules.is_derived(base, ours):
        # A copy of asyncore of another origin: what belongs to that, if it is there.
        other = _elsewhere(legacy, folder)
        if other is not None:
            return other
    beneath = {"asyncore": (ours, base)}
    if legacy == "smtpd":
        beneath["asynchat"] = (import_module("asynccore.asynchat"), _import("asynchat"))
    derived = legacy_modules.derived(module, legacy, beneath)  # type: ModuleType
    return derived


def _elsewhere(name, folder):
    # type: (str, str) -> ModuleType | None
    """Import a module as if there were no asynccore; None if there is no such module."""
    import os
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    others = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    spec = PathFinder.find_spec(name, others)
    if spec is None or spec.loader is None:
        return None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


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
            # First the package as a whole: a thread that imports a part of it doesn't wait for
            # another one that has just begun with the package, and both may end in a deadlock.
            import_module("asynccore")
            if target != "asynccore":
                import_module(target)
            if os.environ.get("ASYNCCORE_ENGINE") in HOSTS or _wants_tls(os.environ):
                # They are found by the metadata of what is installed, which a checkout has not.
                import_module("asynccore.neighbours").resolve("compat.engines:register")()
            if os.environ.get("ASYNCCORE_TEXT"):
                import_module("asynccore.neighbours").resolve(
                    "compat.old_programs.text_mode:enable"
                )()
            return True
        except ImportError as error:
            if error.name != "asynccore":
                raise
        finally:
            for entry in extra:
                sys.path.remove(entry)
    return False


def _wants_tls(environ):
    # type: (Iterable[str]) -> bool
    return any(name.startswith("ASYNCCORE_TLS_") for name in environ)


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
    library = os.path.dirname(getattr(os, "__file__", ""))  # a frozen program's has no file
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
