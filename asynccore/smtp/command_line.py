"""The command line of `python -m smtpd`: its help, its options, and the user it runs as."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol

USAGE = """\
An SMTP server and proxy (RFC 5321), with the extensions SIZE (RFC 1870) and SMTPUTF8 (RFC 6531).

Usage: %(program)s [options] [localhost:localport [remotehost:remoteport]]

It listens on localhost:localport, by default localhost:8025. The proxy classes pass on what they
receive to remotehost:remoteport, by default localhost:25.

Options:

    -n, --nosetuid
        Stay the user that started it. Without this option it becomes the user "nobody" once it
        listens, which only root can do.

    -c classname, --class classname
        The server class: one of this module, or package.module.class of another. The default is
        PureProxy.

    -s limit, --size limit
        Take messages of up to this number of bytes. The default is 33554432.

    -u, --smtputf8
        Offer the extension SMTPUTF8.

    -d, --debug
        Print the dialogue to the standard error.

    -V, --version
        Print the version and exit.

    -h, --help
        Print this message and exit.

Version: %(__version__)s
"""


class Options:
    """What the command line says; as class attributes, what it says by default."""

    setuid = True
    classname = "PureProxy"
    size_limit: int | None = None
    enable_SMTPUTF8 = False
    localhost = "localhost"
    localport = 8025
    remotehost = "localhost"
    remoteport = 25
    debug = False
    version = False
    further: Mapping[str, str] = {}  # those of `Further`, by name


class Further(Protocol):
    """Options beside the classic ones, and the server that they make."""

    names: Sequence[str]
    """Their names, as getopt takes them."""

    usage: str
    """What the help says of them."""

    def server(self, base: Any | None, said: Mapping[str, str]) -> Any:
        """Return an object with a `server_class`, and with `open` and `close` for what it keeps.

        `base` is the class that was asked for, if any, and `said` has what options say. Raises
        `ValueError` and `OSError`, as does `open`.
        """


# Who adds options: `asynccore run`.
further: Further | None = None


def usage() -> str:
    """Return the help, which has the names of the program and its version to be filled in."""
    head, version, rest = USAGE.rpartition("Version: ")
    return f"{head}{further.usage.replace('%', '%%') if further else ''}{version}{rest}"


class Usage(Protocol):
    """Prints the help and a message, and exits."""

    def __call__(self, code: int, msg: object = "") -> NoReturn: ...


def parse(argv: list[str], usage: Usage) -> Options:
    """Return what `argv`, without the program's name, says; call `usage` about nonsense."""
    written = {word.partition("=")[0] for word in argv}
    # Only those that are written out, so that what is short for a classic one stays so.
    more = [
        name for name in (further.names if further else ()) if f"--{name.rstrip('=')}" in written
    ]
    classic = ["class=", "nosetuid", "version", "help", "size=", "debug", "smtputf8"]
    try:
        opts, args = getopt.getopt(argv, "nVhc:s:du", [*classic, *more])
    except getopt.error as error:
        usage(1, error)
    options = Options()
    for opt, value in opts:
        if opt in ("-h", "--help"):
            usage(0)
        elif opt in ("-V", "--version"):
            options.version = True
            return options
        elif opt in ("-n", "--nosetuid"):
            options.setuid = False
        elif opt in ("-c", "--class"):
            options.classname = value
        elif opt in ("-d", "--debug"):
            options.debug = True
        elif opt in ("-u", "--smtputf8"):
            options.enable_SMTPUTF8 = True
        elif opt in ("-s", "--size"):
            options.size_limit = _size(value)
        else:
            options.further = {**options.further, opt[2:]: value}
    if len(args) > 2:
        usage(1, f"Invalid arguments: {', '.join(args)}")
    if args:
        options.localhost, options.localport = _address("local", args[0], usage)
    if len(args) > 1:
        options.remotehost, options.remoteport = _address("remote", args[1], usage)
    return options


def _size(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        fail(f"Invalid size: {text}")


def _address(which: str, spec: str, usage: Usage) -> tuple[str, int]:
    """Return the host and port of "host:port"; an IPv6 address may stand in brackets."""
    host, colon, port = spec.rpartition(":")
    if not colon:
        usage(1, f"Bad {which} spec: {spec}")
    try:
        return host.removeprefix("[").removesuffix("]"), int(port)
    except ValueError:
        usage(1, f"Bad {which} port: {spec}")


def fail(message: str) -> NoReturn:
    """Print why the program cannot go on, and exit with the status 1."""
    print(message, file=sys.stderr)
    sys.exit(1)


def server_class(name: str, default_module: str) -> Any:
    """Return the class `name`, which is in `default_module` if no module is in the name."""
    module_name, _, class_name = name.rpartition(".")
    try:
        return getattr(import_module(module_name or default_module), class_name)
    except (ImportError, AttributeError) as error:
        fail(f"Cannot find the class {name}: {error}")


def further_server(options: Options, default_module: str) -> Any:
    """Return the server that the options beside the classic ones make; exit if there is none."""
    assert further is not None
    base = None
    if "classname" in vars(options):
        base = server_class(options.classname, default_module)
    try:
        return further.server(base, options.further)
    except (ValueError, OSError) as why:
        fail(str(why))


def open_mailbox(mails: Any) -> None:
    """Open what a server of options beside the classic ones keeps; exit if that can't be done."""
    try:
        mails.open()
    except OSError as why:
        fail(f"Cannot open the mailbox: {why}")


def become_nobody() -> None:
    """Give up the rights of root, for good; exit if that cannot be done.

    The classic command line kept root's groups.
    """
    if sys.platform == "win32":
        fail('Cannot import module "pwd"; try running with -n option.')
    import pwd

    try:
        nobody = pwd.getpwnam("nobody")
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    except (OSError, KeyError):
        fail('Cannot setuid "nobody"; try running with -n option.')
