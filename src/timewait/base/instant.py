"""Time: integer nanoseconds, and the clock that a host reads.

Everything below the world takes `now` from outside; a `Clock` is the one object
that knows what time it is, virtual or real.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr

NSEC: Final = 1
USEC: Final = 1_000
MSEC: Final = 1_000_000
SEC: Final = 1_000_000_000

NEVER: Final = 0x3FFFFFFFFFFFFFFF
"""A deadline that does not come: later than any time a clock shows."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Clock:
    """What time it is, in ns since the clock's own origin. Worlds subclass it."""

    def now(self) -> i64:
        """Nanoseconds since the origin; never goes backwards."""
        raise NotImplementedError


class ManualClock(Clock):
    """A clock that is moved by hand: for unit tests and for hosts driven by callables."""

    def __init__(self, start: i64 = 0) -> None:
        self.time: i64 = start

    def now(self) -> i64:
        return self.time

    def advance(self, ns: i64) -> i64:
        """Move on by ns (>= 0) and say what time it is then."""
        assert ns >= 0, "a clock never goes backwards"
        self.time += ns
        return self.time


def seconds(value: float) -> int:
    """Nanoseconds in `value` seconds, rounded: for human-facing numbers only."""
    return round(value * SEC)


def show_ns(ns: int) -> str:
    """A duration for people: '1.03 s', '204 ms', '2 h 11 min 15 s', '40 us'."""
    if ns < 0:
        return "-" + show_ns(-ns)
    if ns >= 60 * SEC and ns % SEC == 0:
        total = ns // SEC
        parts = [(total // 3600, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
        return " ".join(f"{n} {unit}" for n, unit in parts if n)
    for size, unit in ((SEC, "s"), (MSEC, "ms"), (USEC, "us")):
        if ns >= size:
            return f"{ns / size:.3f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{ns} ns"
