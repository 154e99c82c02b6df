"""The command line `asynccore`, also `python -m asynccore` and `python -m compat`.

The commands other than `run` load what they need when they are given: `asynccore run` stands before
every start of a program, and neither an SMTP client nor `site` is of use to that.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import asynccore
from asynccore import logs
from asynccore.monitoring import address

from . import configuration, runner

# What argparse uses for a command line that makes no sense, and Python for a missing script.
USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: `sys.argv[1:]`); return the exit status.

    Raises SystemExit, as argparse does, after --help, --version and usage errors.
    """
    words = _with_usual_top(sys.argv[1:] if argv is None else argv)
    top = parser()
    arguments, unknown = top.parse_known_args(words)
    if unknown:
        command = _commands(top)[arguments.command]
        meant = _meant(unknown[0], command)
        command.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    try:
        status: int = arguments.action(arguments)
    except (ValueError, runner.CannotRun) as problem:
        return _failed(arguments, problem, USAGE_ERROR)
    except OSError as problem:
        return _failed(arguments, problem, 1)
    return status


def _commands(top: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (action,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    found: Mapping[str, argparse.ArgumentParser] = action.choices
    return found


def _meant(unknown: str, command: argparse.ArgumentParser) -> str:
    """Say what an unknown option could be: one that is much like it, or that begins so."""
    name = unknown.partition("=")[0]
    if not name.startswith("--"):
        return ""
    if name.startswith("--tls"):
        return f" (those of TLS are {', '.join(map(runner.option_of, runner.TLS))})"
    options = [option for action in command._actions for option in action.option_strings]
    close = [option for option in options if option.startswith(name)]
    close = close or get_close_matches(name, options, 1)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _failed(arguments: argparse.Namespace, problem: Exception, status: int) -> int:
    print(f"asynccore {arguments.command}: {problem}", file=sys.stderr)
    return status


def _with_usual_top(argv: Sequence[str]) -> list[str]:
    """Give the `--top` of `run` its usual value where it stands alone.

    An optional operand, as argparse has it, would swallow SCRIPT.
    """
    found = list(argv)
    at = 1 if found[:1] == ["run"] else len(found)
    while at < len(found) and found[at].startswith("--") and found[at] != "--":
        if found[at] == "--top":
            found[at] = f"--top={address.USUAL}"
        # Each option has an operand, behind "=" or in the next place.
        at += 1 if "=" in found[at] else 2
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; also for what makes its manual page of it."""
    parser = argparse.ArgumentParser(
        prog="asynccore",
        description="Run programs written for asyncore, asynchat and smtpd on today's Python.",
        epilog="'asynccore COMMAND --help' tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"asynccore {asynccore.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    for name, summary in (
        ("enable", "make 'python SCRIPT' itself work in this virtual environment"),
        ("disable", "undo enable"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        where = command.add_mutually_exclusive_group()
        where.add_argument(
            "--user",
            dest="where",
            action="store_const",
            const="user",
            help="outside a virtual environment: for every program you run with this Python",
        )
        where.add_argument(
            "--system",
            dest="where",
            action="store_const",
            const="system",
            help="outside a virtual environment: for every program anybody runs with this Python",
        )
        command.add_argument(
            "--reactor",
            action="store_true",
            help="this instead: 'trial --reactor=asynccore' and 'twistd --reactor=asynccore'",
        )
        command.set_defaults(action=_enable_or_disable)
    _add_top(commands)
    _add_metrics(commands)
    _add_sink(commands)
    _add_demo(commands)
    _add_check(commands)
    _add_port(commands)
    summary = "what 'import asyncore' gives here, which engines there are, what is enabled"
    command = commands.add_parser("status", help=summary, description=f"Print {summary}.")
    command.set_defaults(action=_status)
    summary = "print a script with which a shell completes this command line"
    command = commands.add_parser("completion", help=summary, description=summary)
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    command.set_defaults(action=_completion)
    for command in _commands(parser).values():
        command.allow_abbrev = False
    return parser


_RUN_USAGE = """\
asynccore run [OPTION ...] SCRIPT [ARG ...]
       asynccore run [OPTION ...] -m MODULE [ARG ...]
       asynccore run [OPTION ...] -c CODE [ARG ...]"""

_RUN_EPILOG = """\
engines:
  epoll, kqueue, poll, select   pollers, as far as the platform has them; the best is the default
  asyncio, uvloop, twisted      the program's loop() waits in that event loop

variables:
  ASYNCCORE_WORKERS, ASYNCCORE_LOG_LEVEL and so on: what the option of that name says. The
  command line goes before a variable, and that before the file of --config. In programs that are
  started without this command, all but those of processes, sockets and files are heeded, too.

examples:
  asynccore run server.py 8080
  asynccore run --engine asyncio server.py 8080
  asynccore run --workers 4 --drain 30 --top server.py 8080
  asynccore run -m smtpd -n -c DebuggingServer localhost:8025
  asynccore run --tls-cert server.pem --tls-key server.key server.py 8443
  asynccore run --proxy-protocol 10.0.0.1 server.py 8080

Options of Python itself go before: python -u -m asynccore run SCRIPT
"""


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "run",
        help="run a program under the legacy names",
        description="Run a program as Python would, with asynccore for asyncore, asynchat and\n"
        "smtpd, in its child processes too.",
        usage=_RUN_USAGE,
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_engine(command)
    command.add_argument(
        "--text",
        metavar="ENCODING",
        help="channels take and give str, as in Python 2: latin-1, or utf-8",
    )
    command.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file whose table [tool.asynccore] has any of these options as its keys",
    )
    processes = command.add_argument_group("processes, and how they end")
    processes.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="so many processes, which share the ports that the program binds",
    )
    processes.add_argument(
        "--drain",
        type=float,
        metavar="SECONDS",
        help="SIGTERM lets connections end by themselves, for so long (default with --workers: 30)",
    )
    processes.add_argument(
        "--watchdog",
        type=float,
        metavar="SECONDS",
        help="replace a worker whose loop has not answered for so long, and show where it is",
    )
    processes.add_argument(
        "--max-connections-per-worker",
        type=int,
        metavar="N",
        help="replace a worker that has accepted so many, as SIGHUP does: against leaks",
    )
    looking = command.add_argument_group("looking inside")
    looking.add_argument(
        "--top",
        metavar="PATH",
        help="let 'asynccore top' look at it, at the usual place, or at the given one (--top=PATH)",
    )
    looking.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="serve numbers for Prometheus at /metrics, and /healthz, /livez and /readyz, by a"
        " process of their own",
    )
    looking.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        help="a log in place of what asynccore prints, from this level on (default: info)",
    )
    looking.add_argument(
        "--log-file", metavar="FILE", help="a log in this file (default: the standard error)"
    )
    looking.add_argument(
        "--log-format", choices=logs.FORMATS, help="a log of lines of text, or of JSON"
    )
    sockets = command.add_argument_group("sockets")
    sockets.add_argument(
        "--fd",
        dest="fds",
        type=int,
        metavar="N",
        action="append",
        default=[],
        help="an inherited socket, which the program gets when it binds that address; the sockets"
        " of LISTEN_FDS are found without it",
    )
    sockets.add_argument(
        "--proxy-protocol",
        metavar="ADDRESS[,NETWORK...]",
        help="proxies in front of its TCP listeners: each connection begins with their header,"
        " which says who the client is, and anybody else's is closed; 'unix:' is for Unix sockets",
    )
    for name, holds in runner.TLS.items():
        sockets.add_argument(
            runner.option_of(name),
            metavar="FILE",
            help=f"TLS in front of its TCP listeners: {holds}" if name == "cert" else holds,
        )
    # Everything from here on belongs to the program, whatever it looks like.
    program = command.add_argument_group("what to run, and its arguments")
    program.add_argument(
        "-m", dest="module", metavar="MODULE", help="a module", nargs=argparse.REMAINDER
    )
    program.add_argument("-c", dest="code", metavar="CODE", help="code", nargs=argparse.REMAINDER)
    program.add_argument(
        "script",
        metavar="SCRIPT",
        help="a file, a folder or a zip file with a __main__.py, or - for the standard input",
        nargs=argparse.REMAINDER,
    )
    command.set_defaults(action=_run, command_parser=command)


def _add_top(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "top",
        help="watch the channels of a running program",
        description="Show the channels and rates of a program that was started by"
        " 'asynccore run --top', or with ASYNCCORE_TOP=1 or =PATH in its environment.",
    )
    command.add_argument(
        "target",
        nargs="?",
        metavar="PID|PATH",
        help="its process id, that of the parent of workers, or its socket; without one, list the"
        " programs that can be looked at",
    )
    command.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between two looks"
    )
    command.add_argument("--once", action="store_true", help="look once, for pipes")
    command.add_argument("--json", action="store_true", help="print what was seen as JSON lines")
    command.set_defaults(action=_top)


def _add_metrics(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "metrics",
        help="serve the numbers of a running program for Prometheus",
        usage="asynccore metrics PID ([HOST:]PORT | --fd N)",
        description="Serve the numbers of a program that was started by 'asynccore run --top', or"
        " with ASYNCCORE_TOP=1 in its environment, at /metrics, and /healthz, /livez and /readyz,"
        " until it ends.",
    )
    command.add_argument("pid", type=int, metavar="PID", help="its process id")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("address", nargs="?", metavar="[HOST:]PORT", help="where to listen")
    where.add_argument("--fd", type=int, metavar="N", help="an inherited socket that listens")
    command.set_defaults(action=_metrics)


def _add_sink(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "sink",
        help="a mail server that keeps what it gets, or prints it",
        description="Take mails for any recipient, with every limit of asynccore.hardened_smtpd,"
        " and print them as they come, or keep them. SIGTERM ends it behind the mail at hand.",
    )
    command.add_argument(
        "address",
        nargs="?",
        default="localhost:8025",
        metavar="HOST:PORT",
        help="where to listen (default: localhost:8025)",
    )
    box = command.add_mutually_exclusive_group()
    box.add_argument("--mailbox", metavar="DIR", help="keep them in this Maildir")
    box.add_argument("--mbox", metavar="FILE", help="keep them in this mbox file")
    command.add_argument(
        "--size", type=int, default=33554432, metavar="BYTES", help="the greatest (default: 32 MiB)"
    )
    command.add_argument("--smtputf8", action="store_true", help="offer the extension SMTPUTF8")
    command.add_argument(
        "--tls-cert", metavar="FILE", help="a certificate chain in PEM form: STARTTLS is required"
    )
    command.add_argument("--tls-key", metavar="FILE", help="its private key, if not in that file")
    command.add_argument("--smtps", action="store_true", help="TLS from the first byte instead")
    command.add_argument(
        "--auth-file",
        metavar="FILE",
        help="users and passwords, as 'htpasswd -B' writes them: AUTH is required",
    )
    command.set_defaults(action=_sink)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "demo",
        help="start unmodified classic programs, talk to them, say what happened",
        description="Start each example program by 'asynccore run' and talk to it as a client.",
    )
    _add_engine(command)
    command.set_defaults(action=_demo)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "check",
        help="say what will stop or trouble a program, without running it",
        description="Read files and folders, run nothing, and say what will stop or trouble the"
        " program on today's Python. The exit status is 1 if anything will stop it.",
    )
    command.add_argument("paths", metavar="PATH", nargs="+", help="a file, or a folder of files")
    command.add_argument(
        "--python", metavar="VERSION", help="for this version of Python (default: the running one)"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--format", default="text", choices=["text", "json", "github"], help="for whom (text)"
    )
    form.add_argument(
        "--json", dest="format", action="store_const", const="json", help="as one JSON document"
    )
    command.set_defaults(action=_check)


def _add_port(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "port",
        help="rewrite a program for today's Python, or on to asyncio",
        description="Rewrite programs step by step, and print what would change. The steps are"
        " python3, modern-names, tls, timers and asyncio; without --step, all but the last. What"
        " can't be rewritten safely is left, with a comment that says what to do.",
        allow_abbrev=False,
    )
    command.add_argument(
        "--step",
        dest="steps",
        metavar="NAME",
        action="append",
        default=[],
        help="take this step (and those it needs) only; may be given again",
    )
    command.add_argument(
        "--class",
        dest="classes",
        metavar="NAME",
        action="append",
        default=[],
        help="with the step asyncio: this class only; may be given again",
    )
    command.add_argument("--write", action="store_true", help="change the files")
    command.add_argument("paths", metavar="PATH", nargs="+", help="a file, or a folder of files")
    command.set_defaults(action=_port)


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        help="the default engine of the program (default: the best of this platform)",
    )


def _run(arguments: argparse.Namespace) -> int:
    if arguments.module is not None:
        program = ["-m", *arguments.module]
    elif arguments.code is not None:
        program = ["-c", *arguments.code]
    elif arguments.script:
        program = arguments.script
    else:
        arguments.command_parser.error("what to run is missing: SCRIPT, -m MODULE or -c CODE")
    configuration.fill_in(arguments, arguments.command_parser, os.environ)
    interpreter = runner.interpreter_options(sys.orig_argv, len(sys.argv) - 1)
    files = {name: getattr(arguments, f"tls_{name}") for name in runner.TLS}
    tls = {name: file for name, file in files.items() if file is not None}
    options = runner.Options(
        arguments.engine,
        arguments.workers,
        tuple(arguments.fds),
        arguments.top,
        tls or None,
        {name: value for name in runner.LOG if (value := getattr(arguments, f"log_{name}"))}
        or None,
        arguments.drain,
        arguments.text,
        arguments.watchdog,
        arguments.metrics,
        arguments.max_connections_per_worker,
        arguments.proxy_protocol,
    )
    return runner.run(program, interpreter, options)


def _enable_or_disable(arguments: argparse.Namespace) -> int:
    from . import enabling

    change = {
        ("enable", False): enabling.enable,
        ("disable", False): enabling.disable,
        ("enable", True): enabling.enable_reactor,
        ("disable", True): enabling.disable_reactor,
    }[arguments.command, arguments.reactor]
    try:
        print(change(enabling.site_packages(arguments.where)))
    except enabling.Refused as problem:
        return _failed(arguments, problem, 1)
    return 0


def _top(arguments: argparse.Namespace) -> int:
    from . import top

    return top.main(arguments.target, arguments.interval, arguments.once, arguments.json)


def _metrics(arguments: argparse.Namespace) -> int:
    from . import metrics

    with metrics.listener(arguments.address, arguments.fd) as listener:
        return metrics.main(arguments.pid, listener)


def _sink(arguments: argparse.Namespace) -> int:
    from . import mail_server, sink

    host, _, port = arguments.address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"where to listen is HOST:PORT, not {arguments.address!r}")
    if arguments.size < 0:
        raise ValueError(f"--size is a number of bytes, or 0 for any, not {arguments.size}")
    settings = mail_server.Settings(
        arguments.mailbox,
        arguments.mbox,
        arguments.tls_cert,
        arguments.tls_key,
        arguments.smtps,
        arguments.auth_file,
    )
    host = host.removeprefix("[").removesuffix("]") or "localhost"
    return sink.main((host, int(port)), settings, size=arguments.size, smtputf8=arguments.smtputf8)


def _demo(arguments: argparse.Namespace) -> int:
    from . import demo

    return demo.main(arguments.engine)


def _status(arguments: argparse.Namespace) -> int:
    from . import status

    print(status.report())
    return 0


def _completion(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise ValueError("this needs the package shtab: pip install 'asynccore[shell]'") from None
    print(shtab.complete(parser(), arguments.shell))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from ..old_programs.check import command

    return command.main(arguments.paths, arguments.python, arguments.format)


def _port(arguments: argparse.Namespace) -> int:
    try:
        from ..old_programs.port import command
    except ImportError as why:
        if why.name != "libcst":
            raise
        from ..old_programs import sources

        return _failed(arguments, sources.NeedsExtra("libcst", "rewriting programs"), 1)

    return command.main(arguments.paths, arguments.steps, arguments.classes, arguments.write)
