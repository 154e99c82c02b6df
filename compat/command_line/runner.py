"""`asynccore run`: a program under the legacy names, otherwise as Python itself runs it.

*Facts.* `sys.argv`, `sys.path[0]`, the identity of `__main__`, folders and zip files as programs,
tracebacks without foreign frames, exit status, death by a signal, the wording of Python's own
errors: the interpreter gets all of these right when it is asked to run the program, and every
imitation inside a running process gets some of them wrong.
*Consequence.* Nothing is imitated. The process becomes `python SCRIPT ARG…`, with an environment
in which the legacy names lead to asynccore; child processes inherit the environment, and so the
names.
*Trade-off.* An interpreter starts twice, and one folder more is in `sys.path`. What Python is
told to ignore the environment by (-E, -I) cannot work, and is refused.
"""

from __future__ import annotations

import functools
import getopt
import math
import os
import stat
import string
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asynccore import logs
from asynccore.listening import bind_errors, interception, socket_activation
from asynccore.monitoring import address
from asynccore.neighbours import resolve
from asynccore.running import draining, graceful, recycling, service_manager, supervision

from .. import engines
from ..old_programs import text_mode

# Holds asyncore.py, asynchat.py and smtpd.py, which hand over to asynccore.
NAMES_FOLDER = Path(__file__).absolute().parent.parent / "legacy_names"


# Python's options as in its manual, section "Command line and environment". Letters that a
# later version may add are taken for flags.
_SHORT_OPTIONS = "".join(f"{c}:" if c in "cmWX" else c for c in string.ascii_letters)
_LONG_OPTIONS = ["check-hash-based-pycs="]


class CannotRun(Exception):
    """The program cannot be run under the legacy names; the text says why."""


def environment(inherited: Mapping[str, str], engine: str | None = None) -> dict[str, str]:
    """Return `inherited` with the legacy names in it, and `engine` as the default engine.

    Raises ValueError for an engine that cannot be used here, CannotRun where the folder cannot
    be named in PYTHONPATH.
    """
    folder = str(NAMES_FOLDER)
    if os.pathsep in folder:
        raise CannotRun(f"{folder} cannot stand in PYTHONPATH, as it contains {os.pathsep!r}")
    changed = dict(inherited)
    others = changed.get("PYTHONPATH", "")
    if others.split(os.pathsep)[0] != folder:
        changed["PYTHONPATH"] = folder + os.pathsep + others if others else folder
    if engine is not None:
        changed[engines.VARIABLE] = engines.check(engine)
    return changed


def interpreter_options(command_line: Sequence[str], arguments: int) -> list[str] | None:
    """Return the options that the user gave to Python; `None` if the user started no Python.

    `command_line` is `sys.orig_argv`, whose last `arguments` items belong to the program. Before
    them stands what was started: -m with its operand, perhaps in one cluster with other options
    (`python -um asynccore`), or a file. The options before a file are those of the launcher that
    an installer has made (`python -sP`, `python -E`), and mean nobody's program.
    """
    found, _ = getopt.getopt(
        list(command_line[1 : len(command_line) - arguments]), _SHORT_OPTIONS, _LONG_OPTIONS
    )
    if all(option != "-m" for option, _ in found):
        return None
    options = []
    for option, operand in found:
        if option in ("-W", "-X") or option.startswith("--"):
            options += [option, operand]
        elif option != "-m":
            options.append(option)
    return options


# The files of `Options.tls`: what each is called on the command line, and what it holds; in the
# order of `ssl_ext.termination.VARIABLES`.
TLS = {
    "cert": "the certificate chain that clients are shown, in PEM form, perhaps with the key",
    "key": "its private key, if that is in a file of its own",
    "password_file": "the password of the key, on one line",
    "client_ca": "the authorities of which clients must show a certificate",
}


_FOR_US = (
    "ASYNCCORE_CONFIG",
    "ASYNCCORE_METRICS",
    "ASYNCCORE_WORKERS",
    "ASYNCCORE_FD",
    "ASYNCCORE_WATCHDOG",
    "ASYNCCORE_MAX_CONNECTIONS_PER_WORKER",
)

# The log: what each option says, and its variable.
LOG = {
    "level": logs.LEVEL_VARIABLE,
    "file": logs.FILE_VARIABLE,
    "format": logs.FORMAT_VARIABLE,
}


class Options(NamedTuple):
    """How to run a program: what the command line of `asynccore run` may say."""

    engine: str | None = None  # the default engine
    workers: int | None = None  # so many processes; None: this one
    fds: tuple[int, ...] = ()  # inherited sockets, besides those that LISTEN_FDS tells of
    top: str | None = None  # where `asynccore top` may look: a path, "1" for the usual one
    tls: Mapping[str, str] | None = None  # the files of TLS in front of its listeners, see `TLS`
    log: Mapping[str, str] | None = None  # the log, see `LOG`
    drain: float | None = None  # how long an end by SIGTERM may take, in seconds
    text: str | None = None  # the encoding of channels that take and give str
    watchdog: float | None = None  # how long a worker's loop may not answer, in seconds
    metrics: str | None = None  # where its numbers are served, "[HOST:]PORT"
    max_connections_per_worker: int | None = None  # after so many a worker is replaced
    proxy_protocol: str | None = None  # whose headers are believed


def run(
    program: Sequence[str],
    interpreter: Sequence[str] | None = None,
    options: Options | None = None,
) -> int:
    """Run `python INTERPRETER… PROGRAM…` under the legacy names.

    `interpreter` is `None` if the options of this Python are not the user's. `program` starts with
    a script, `-m` and a module, or `-c` and code. On POSIX this process becomes the program and the
    call does not return, unless there are workers; elsewhere the program is waited for, and its
    exit status returned.

    Raises CannotRun, also for files of TLS that can't be used, and ValueError as `environment`
    does, for proxies that can't be, and for options that contradict each other or what was
    inherited.
    """
    options = options or Options()
    if interpreter is not None and sys.flags.ignore_environment:
        raise CannotRun(
            "python -E and -I ignore the environment, through which the legacy names are passed;"
            " leave the option out, or use 'asynccore enable' in a virtual environment"
        )
    if not sys.executable:
        raise CannotRun("this Python does not know its own executable")
    command = [sys.executable, *(interpreter or ()), *program]
    # What is said here is not said again to an `asynccore run` that the program starts.
    inherited = {name: value for name, value in os.environ.items() if name not in _FOR_US}
    env = _with_tls(environment(inherited, options.engine), options.tls or {})
    env.update({LOG[name]: value for name, value in (options.log or {}).items()})
    if any(env.get(name) for name in logs.VARIABLES):
        from asynccore.monitoring import log_output

        log_output.check(env)
        if options.workers is not None:
            log_output.begin(env)
    proxies = options.proxy_protocol
    if proxies is None:
        proxies = env.get(interception.PROXY_VARIABLE) or None
    if proxies is not None:
        interception.trusted_of(proxies)
        env[interception.PROXY_VARIABLE] = proxies
    sockets = _inherited(options.fds)
    if options.top is not None:
        if options.workers is not None and options.top != address.USUAL:
            raise ValueError("several workers can't share one --top=PATH: leave the path out")
        env[address.VARIABLE] = options.top
    text = options.text
    if text is None:
        text = env.get(text_mode.VARIABLE) or None
    if text is not None:
        env[text_mode.VARIABLE] = text_mode.check(text)
    drain = _drain(env, options)
    watchdog, most = options.watchdog, options.max_connections_per_worker
    if watchdog is not None:
        if options.workers is None:
            raise ValueError("--watchdog needs --workers: a program can't replace itself")
        if not 0 < watchdog < math.inf:
            raise ValueError(f"--watchdog is more than 0 seconds, not {watchdog:g}")
        env[supervision.WATCHDOG_VARIABLE] = str(watchdog)
        env["PYTHONFAULTHANDLER"] = "1"  # SIGABRT has it print its stacks
    if most is not None:
        if options.workers is None:
            raise ValueError("--max-connections-per-worker needs --workers")
        if most < 1:
            raise ValueError(f"--max-connections-per-worker is at least 1, not {most}")
        env[recycling.VARIABLE] = str(most)
    if options.metrics is not None:
        if options.top not in (None, address.USUAL):
            raise ValueError("--metrics can't be had with a --top=PATH: leave the path out")
        env[address.VARIABLE] = address.USUAL
        from . import metrics

        metrics.start(options.metrics)
    if options.workers is None:
        return _become(command, _for_process(env, sockets, os.getpid(), os.getpid()))
    return _prefork(command, env, sockets, options.workers, drain, watchdog)


def _drain(env: dict[str, str], options: Options) -> float | None:
    """Have the program drain if that is wanted, and say how long that may take.

    Workers do so unless told otherwise: others go on, or come.
    """
    if options.drain is not None:
        env[draining.VARIABLE] = str(options.drain)
    elif options.workers is not None:
        env.setdefault(draining.VARIABLE, str(graceful.GRACE))
    text = env.get(draining.VARIABLE)
    return draining.seconds_of(text) if text else None


def _with_tls(env: dict[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that has listeners speak TLS, after a look whether they can.

    Each of `files` goes before its variable in `env`; without any it is what `env` says already.
    """
    if not files and not any(name.startswith(interception.PREFIX) for name in env):
        return env
    for name, file in files.items():
        if not file:
            option = option_of(name)
            raise ValueError(f"{option} is empty: give it the path of a file, or leave it out")
    try:
        tls = resolve("ssl_ext.termination")
    except ImportError as why:
        raise CannotRun(f"there is no TLS: {why}") from why
    variables = dict(zip(TLS, tls.VARIABLES, strict=True))
    told = {**env, **{variables[name]: file for name, file in files.items()}}
    settings = tls.settings_of(told)
    kept = {file: _kept(file) for file in set(settings) if file is not None}
    settings = settings._replace(
        **{name: file and kept[file] for name, file in settings._asdict().items()}
    )
    try:
        tls.make_context(settings)
    except OSError as why:
        raise CannotRun(f"no TLS: {why.strerror}: {why.filename}") from None
    except ValueError as why:
        raise CannotRun(f"no TLS: {why}{_option_for(str(why))}") from None
    return {**told, **settings.variables()}


def _kept(path: str) -> str:
    """Return where what is in a file can be read any number of times.

    What comes from a pipe (`--tls-cert <(…)`) can be read once, and is read here, by the program
    and by each worker: it is kept in memory, under a descriptor that these inherit
    (memfd_create(2)).
    """
    try:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return path
        data = Path(path).read_bytes()
    except OSError:
        return path  # whoever reads it says what is wrong
    if sys.platform != "linux":
        raise CannotRun(f"no TLS: {path} is a pipe, which can be read only once: give a file")
    fd = os.memfd_create("asynccore", 0)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return f"/proc/self/fd/{fd}"


def option_of(name: str) -> str:
    """Return the option of the command line for one of `TLS`."""
    return f"--tls-{name.replace('_', '-')}"


def _option_for(problem: str) -> str:
    """Name the option that has to do with a problem, for `ssl_ext` knows of none."""
    for name, words in (("password_file", ("encrypted", "password")), ("key", ("key",))):
        if any(word in problem for word in words):
            return f" ({option_of(name)} FILE)"
    return ""


def _inherited(fds: Sequence[int]) -> list[int]:
    """Return the descriptors of sockets that the program's `bind` is to find."""
    numbers = [*fds, *(fd for _, fd in socket_activation.listen_numbers(os.environ))]
    for fd in numbers:
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError as why:
            raise CannotRun(f"there is no descriptor {fd} to inherit: {why.strerror}") from None
        except OverflowError:
            raise CannotRun(f"there is no descriptor {fd}: no number is so large") from None
        if not is_socket:
            raise CannotRun(f"descriptor {fd} is no socket")
        os.set_inheritable(fd, True)
    return numbers


def _for_process(
    env: Mapping[str, str], sockets: Sequence[int], us: int, pid: int
) -> dict[str, str]:
    """Return an environment that passes the sockets of process `us` to the process `pid`."""
    changed = {**env, bind_errors.VARIABLE: str(pid)}
    changed.pop(socket_activation.SOCKETS_VARIABLE, None)
    if sockets:
        changed[socket_activation.SOCKETS_VARIABLE] = f"{pid}:{','.join(map(str, sockets))}"
        if env.get("LISTEN_PID") == str(us):
            changed["LISTEN_PID"] = str(pid)  # for programs that know of activation
    return changed


def _prefork(
    command: list[str],
    env: dict[str, str],
    sockets: list[int],
    count: int,
    drain: float | None,
    watchdog: float | None,
) -> int:
    if count < 1:
        raise ValueError(f"--workers is at least 1, not {count}")
    if sys.platform == "win32":
        raise CannotRun("--workers needs fork and SO_REUSEPORT, which Windows has not")
    else:
        from . import workers

        env[socket_activation.REUSE_PORT_VARIABLE] = "1"
        env.pop(service_manager.VARIABLE, None)  # it is this process that speaks for all
        for_process = functools.partial(_for_process, env, sockets, os.getpid())
        return workers.supervise(command, for_process, count, drain, watchdog)


def _become(command: list[str], env: dict[str, str]) -> int:
    if sys.platform == "win32":
        # exec on Windows starts a second process and ends the first, whose parent then believes
        # that the program has ended. A Ctrl-C goes to both: the program decides what it means.
        with subprocess.Popen(command, env=env) as child:
            while True:
                try:
                    return child.wait()
                except KeyboardInterrupt:
                    continue
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, env)
