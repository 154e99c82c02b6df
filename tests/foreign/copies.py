"""The copies of asyncore that this interpreter has, and programs written for any of them."""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys
import warnings
from importlib import metadata
from types import ModuleType
from typing import Any

from tests.foreign import vendored


def _installed(distribution: str, name: str) -> ModuleType:
    """Load pyasyncore's modules from their files: on 3.10 and 3.11 the library's hide them."""
    file = metadata.distribution(distribution).locate_file(f"{name}/__init__.py")
    spec = importlib.util.spec_from_file_location(f"installed_{name}", str(file))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = sys.modules.get("asyncore")
    if name == "asynchat":  # which imports asyncore by name
        sys.modules["asyncore"] = sys.modules["installed_asyncore"]
    try:
        spec.loader.exec_module(module)
    finally:
        if before is not None:
            sys.modules["asyncore"] = before
        elif name == "asynchat":
            del sys.modules["asyncore"]
    return module


def _standard(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


# By name: asyncore, and asynchat if there is one.
COPIES: dict[str, tuple[Any, Any]] = {"vendored": (vendored, None)}
if sys.version_info < (3, 12):
    COPIES["standard"] = _standard("asyncore"), _standard("asynchat")
if importlib.util.find_spec("asynchat") is not None or sys.version_info < (3, 12):
    COPIES["pyasyncore"] = (
        _installed("pyasyncore", "asyncore"),
        _installed("pyasynchat", "asynchat"),
    )
CHATTING = {name: copy for name, copy in COPIES.items() if copy[1] is not None}


class Program:
    """A server of one copy, and what its channels met."""

    def __init__(self, copy: tuple[Any, Any], channels: dict[int, Any]) -> None:
        self.asyncore, self.asynchat = copy
        self.channels = channels
        self.errors: list[BaseException | None] = []
        self.asked = 0
        self.closed = 0
        self.echo = self._echo_class()
        self.server = self._server_class()(channels)
        self.address: tuple[str, int] = self.server.socket.getsockname()

    def _echo_class(self) -> Any:
        program = self

        class Echo(program.asyncore.dispatcher_with_send):  # type: ignore[misc, name-defined]
            def readable(self) -> bool:
                program.asked += 1
                return True

            def handle_read(self) -> None:
                data = self.recv(65536)
                if data == b"exit":
                    raise program.asyncore.ExitNow("so told")
                if data == b"end":
                    program.asyncore.close_all(program.channels)
                elif data == b"fail":
                    raise ValueError("so told")
                elif data:
                    self.send(data)

            def handle_error(self) -> None:
                program.errors.append(sys.exc_info()[1])
                self.close()

            def handle_close(self) -> None:
                program.closed += 1
                self.close()

        return Echo

    def _server_class(self) -> Any:
        program = self

        class Server(program.asyncore.dispatcher):  # type: ignore[misc, name-defined]
            def __init__(self, channels: Any) -> None:
                program.asyncore.dispatcher.__init__(self, map=channels)
                self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
                self.bind(("127.0.0.1", 0))
                self.listen(5)

            def handle_accept(self) -> None:  # older than handle_accepted
                accepted = self.accept()
                if accepted is not None:
                    program.echo(accepted[0], program.channels)

        return Server
