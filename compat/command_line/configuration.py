"""The options of `asynccore run` from the environment, and from a TOML file.

Facts. A service is told what to do by a file under version control, a container by variables, and
somebody at the keyboard wants to say something else, once. What is misspelt in a file is not
noticed for long.

Consequence. The command line goes before variables, these before the file, and that before what is
usual. The file's keys are the options' names, in the table `[tool.asynccore]`, and go through the
same checks. A key that there is not is an error.

Trade-off. A file is read only if it is named: a `pyproject.toml` that lies about changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

TABLE = "tool.asynccore"

# What names the file, beside `--config`.
VARIABLE = "ASYNCCORE_CONFIG"

# What the program's process is told by its environment, in the same words.
_PASSED_ON = ("engine", "text", "top", "drain", "log-", "tls-", "proxy-protocol")


def variable_of(key: str) -> str:
    """Return the variable for an option: "log-level" has ASYNCCORE_LOG_LEVEL."""
    return f"ASYNCCORE_{key.upper().replace('-', '_')}"


def options(command: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the options that can be configured, by the names of their keys."""
    return {
        option[2:]: action
        for action in command._actions
        for option in action.option_strings
        if option.startswith("--") and option not in ("--help", "--config")
    }


def fill_in(
    arguments: argparse.Namespace, command: argparse.ArgumentParser, environ: Mapping[str, str]
) -> None:
    """Set what the command line does not say as the environment says, or the file.

    Raises `ValueError` for what can't be, `OSError` for a file that can't be read.
    """
    path = arguments.config or environ.get(VARIABLE)
    configured = read(path, command) if path else {}
    for key, action in options(command).items():
        if getattr(arguments, action.dest) not in (None, []):
            continue
        variable = variable_of(key)
        text = environ.get(variable)
        if text:
            if not key.startswith(_PASSED_ON):
                values = text.split(",") if action.dest == "fds" else [text]
                _set(arguments, action, values, variable)
        elif key in configured:
            value = configured[key]
            values = value if isinstance(value, list) else [value]
            _set(arguments, action, values, f"{path}: {key}")


def read(path: str, command: argparse.ArgumentParser) -> dict[str, Any]:
    """Return what the table of a TOML file says. Raises as `fill_in`."""
    with open(path, "rb") as file:
        table = _parse(file.read(), path)
    for name in TABLE.split("."):
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{path}: [{TABLE}] is to be a table: {name} is {table!r}")
    known = options(command)
    for key in table:
        if key not in known:
            close = get_close_matches(key.replace("_", "-"), known, 1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{path}: unknown key {key!r} in [{TABLE}]{meant}")
    return table


def _parse(data: bytes, path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        try:
            import tomli as toml
        except ImportError:
            raise ValueError(
                "Python 3.10 needs the package tomli to read TOML: pip install 'asynccore[config]'"
            ) from None
    try:
        return toml.loads(data.decode("utf-8"))
    except ValueError as why:
        raise ValueError(f"{path}: {why}") from None


def _set(
    arguments: argparse.Namespace, action: argparse.Action, values: list[Any], where: str
) -> None:
    found = []
    for value in values:
        # `top = true` says what `--top` alone does.
        text = "1" if value is True and action.dest == "top" else str(value)
        kind: Any = action.type or str
        try:
            if isinstance(value, (bool, dict, list)) and text != "1":
                raise ValueError
            converted = kind(text)
        except ValueError:
            raise ValueError(f"{where} can't be {value!r}") from None
        if action.choices is not None and converted not in action.choices:
            choices = ", ".join(map(str, action.choices))
            raise ValueError(f"{where} can't be {value!r}: choose from {choices}")
        found.append(converted)
    if action.dest != "fds" and len(found) != 1:
        raise ValueError(f"{where} is one value, not {values!r}")
    setattr(arguments, action.dest, found if action.dest == "fds" else found[0])
