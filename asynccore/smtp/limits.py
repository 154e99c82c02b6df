"""What an SMTP session grants its peer: so many commands, errors and recipients, so much time.

Facts. A peer that sends a byte a minute is never idle. One that sends commands and reads no
replies makes the server keep the replies. Most peers meet no limit, ever.

Consequence. A line has to be *complete* in time, and so has a message; single bytes put nothing
off. The session notes when it began to wait, and one timer looks later. Counting the commands
bounds their cost; the replies are bounded by the channel's watermark.

Trade-off. All limits are off unless somebody sets them: an unchanged program sees no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..classic.own_names import hook
from ..classic.settings import Setting, adopt_late
from ..dispatchers.timeouts import check as check_seconds
from ..engine.timers import LazyTimer, Timers
from ..errors import judges_peer, reports_to_channel, reraised
from ..listening.connection_limits import check as check_number

TIMES = ("command_timeout", "data_timeout")
COUNTS = ("max_commands", "max_errors", "max_recipients")
NAMES = (*TIMES, *COUNTS)
OF_DISPATCHERS = ("idle_timeout", "write_timeout")
OF_LISTENERS = ("max_connections", "max_connections_per_peer")

TOO_MANY_COMMANDS = "Error: too many commands"
TOO_MANY_ERRORS = "Error: too many errors"


def check(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be the limit `name`."""
    if name in TIMES:
        check_seconds(name, value)
    else:
        check_number(name, value)


def check_keyword(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be a limit of a server and its channels."""
    if name in OF_LISTENERS:
        check_number(name, value)
    elif name in NAMES:
        check(name, value)
    elif name in OF_DISPATCHERS:
        check_seconds(name, value)
    elif name != "strict_line_ends":
        known = ", ".join((*NAMES, *OF_DISPATCHERS, *OF_LISTENERS))
        raise TypeError(f"there is no limit {name!r}: the limits are {known}")


class Limit(Setting[float]):
    """A limit that is checked where it is assigned: on a class, on an instance, at run time."""

    def check(self, value: object) -> None:
        check(self.name, value)

    def changed(self, channel: Any) -> None:
        if self.name in TIMES:
            channel._ac_times_changed()


class Limited:
    """The limits of an SMTP session, each `None` for none, and what was used of them."""

    if TYPE_CHECKING:
        command_timeout: float | None
        data_timeout: float | None
        max_commands: int | None
        max_errors: int | None
        max_recipients: int | None
    else:
        command_timeout = Limit()
        """Seconds from a reply until the next command line is complete.

        RFC 5321 section 4.5.3.2.7 asks for at least 300."""
        data_timeout = Limit()
        """Seconds from the reply to DATA until the message is complete."""
        max_commands = Limit()
        """Commands of one connection, of whatever kind."""
        max_errors = Limit()
        """Replies 5xx of one connection since a message was last accepted."""
        max_recipients = Limit()
        """Recipients of one message. RFC 5321 section 4.5.3.1.8 asks for at least 100."""

    _ac_command_timeout: float | None
    _ac_data_timeout: float | None
    _ac_max_commands: int | None
    _ac_max_errors: int | None
    _ac_max_recipients: int | None
    _ac_commands = 0
    _ac_errors = 0

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # `max_errors = 20` in a class body becomes what it is here.
        Limit.adopt(cls, NAMES)

    def _ac_begin_counting(self) -> None:
        self._ac_commands = self._ac_errors = 0
        for name in NAMES:
            adopt_late(self, name, check)

    def _ac_count_command(self) -> bool:
        """Count a command; return whether it is one too many."""
        self._ac_commands += 1
        return self._ac_max_commands is not None and self._ac_commands > self._ac_max_commands

    def _ac_too_many_errors(self) -> bool:
        return self._ac_max_errors is not None and self._ac_errors >= self._ac_max_errors

    def _ac_times_changed(self) -> None:
        """A timeout was assigned (the transport has the clock)."""


class Patience(LazyTimer):
    """Since when a channel waits for its peer, and the timer that looks whether it was too long.

    `channel` has `_waits_for()`, which returns the name of what it waits for and the seconds that
    this may take or `None`; `handle_timeout(name)` is called when they have passed.
    """

    __slots__ = ("channel", "since")

    def __init__(self, channel: Any, timers: Timers) -> None:
        super().__init__(timers)
        self.channel = channel
        self.since = timers.clock()

    def begin(self) -> None:
        """Count from now."""
        self.since = now = self._timers.clock()
        _, seconds = self.channel._ac_waits_for()
        timer = self._timer
        # It is looked soon enough already, nearly always.
        if seconds is not None and (
            timer is None or timer.when > now + seconds or timer.callback is None
        ):
            self.look_by(now + seconds)

    def rearm(self) -> None:
        """Look when the time could be up, if that is sooner than planned."""
        _, seconds = self.channel._ac_waits_for()
        if seconds is not None:
            self.look_by(self.since + seconds)

    @judges_peer
    @reports_to_channel
    def _look(self) -> None:
        self._timer = None
        channel = self.channel
        if channel._map.get(channel._fileno) is not channel:
            return  # somebody has taken it out: it is not ours to close
        name, seconds = channel._ac_waits_for()
        if seconds is None:
            return
        if self.since + seconds > self._timers.clock():
            self.rearm()
            return
        self.since = self._timers.clock()  # counts anew if the channel stays
        try:
            hook(channel, "handle_timeout", 1)(name)
        except reraised():
            raise
        except BaseException:
            channel.handle_error()
        if channel._ac_patience is self:
            self.rearm()
