"""What stands in front of a poller and translates, for channels that it could not serve alone."""

from __future__ import annotations

from .base import Poller


class ProxyPoller(Poller):
    """A poller in front of another one, which may be in front of a third.

    `interest` is what the engine asked for; `real.interest` is what the one behind was told.
    """

    def __init__(self, real: Poller) -> None:
        super().__init__()
        self.name = real.name  # type: ignore[misc]  # it is the real one's to the world
        self.real = real
        self.interest = dict(real.interest)

    @property
    def always_ready(self) -> bool:  # type: ignore[override]
        """Whether the one behind is."""
        return self.real.always_ready

    @property
    def innermost(self) -> Poller:
        """The one that asks the kernel."""
        return self.real.innermost

    def withdraw(self, fd: int) -> None:
        self.real.withdraw(fd)

    def fileno(self) -> int:
        return self.real.fileno()

    def is_lost(self) -> bool:
        return self.real.is_lost()

    def abandon(self) -> None:
        self.real.abandon()
        self.interest = {}

    def close(self) -> None:
        self.real.close()
        self.interest = {}

    def after_fork(self) -> None:
        self.real.after_fork()
