"""What time it is for a running program, and the identifiers made of it: `time`, `datetime`, `uuid.uuid1`.

Functions of modules are exchanged as all others are (`modules.py`). `datetime.datetime` stays
the class it is, since values and subclasses of it are everywhere: its two methods that
ask the machine's clock themselves are exchanged in the class. `today()` asks `time.time`.

The time zone stays the machine's, as in `time.localtime(seconds)`: set TZ where it matters.
"""

import ctypes
import datetime
import gc
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from typing import Any, Final

from timewait.run import current
from timewait.run.program import Program

_REAL: Final = ("CLOCK_REALTIME", "CLOCK_REALTIME_COARSE", "CLOCK_TAI")
_PASSING: Final = ("CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW", "CLOCK_MONOTONIC_COARSE", "CLOCK_BOOTTIME")
_BUSY: Final = ("CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID")
_GREGORIAN: Final = 0x01B21DD213814000
"""What RFC 9562's count of 100 ns, which begins with the Gregorian calendar, shows at the Unix epoch."""
_MULTICAST: Final = 1 << 40
"""The bit that tells a drawn node from an adapter's (RFC 9562, 6.10)."""


def _wall_ns(program: Program) -> int:
    return program.host.wall_ns()


def _monotonic_ns(program: Program) -> int:
    return program.host.monotonic_ns()


def _busy_ns(program: Program) -> int:
    """Processor time: computing takes none here, so it passes as if the program had computed all along."""
    return program.host.monotonic_ns() - program.began


_Count = Callable[[Program], int]


def _clocks() -> list[tuple[Any, Callable[..., Any]]]:
    """Functions that tell the time, in seconds and in ns."""
    found: list[tuple[Any, Callable[..., Any]]] = []
    counts: list[tuple[str, _Count]] = [
        ("time", _wall_ns),
        ("monotonic", _monotonic_ns),
        ("perf_counter", _monotonic_ns),
        ("process_time", _busy_ns),
        ("thread_time", _busy_ns),
    ]
    for name, count in counts:
        found.append((getattr(time, name), _in_seconds(count)))
        found.append((getattr(time, name + "_ns"), count))
    kinds: dict[int, _Count] = {}
    for names, count in ((_REAL, _wall_ns), (_PASSING, _monotonic_ns), (_BUSY, _busy_ns)):
        for name in names:
            if hasattr(time, name):
                kinds[getattr(time, name)] = count
    found.append((time.clock_gettime, lambda program, clock: _of_kind(kinds, clock)(program) / 1e9))
    found.append((time.clock_gettime_ns, lambda program, clock: _of_kind(kinds, clock)(program)))
    return found


def _of_kind(kinds: dict[int, _Count], clock: int) -> _Count:
    if clock not in kinds:
        raise OSError(22, "Invalid argument")
    return kinds[clock]


def _in_seconds(count: _Count) -> Callable[[Program], float]:
    return lambda program: count(program) / 1e9


def _with_now(original: Any) -> Callable[..., Any]:
    """localtime(), gmtime(), ctime() of the host's own time when no other is given."""

    def inside(program: Program, seconds: float | None = None) -> Any:
        return original(program.host.wall_ns() / 1e9 if seconds is None else seconds)

    return inside


_localtime: Final = time.localtime


def _with_local(original: Any, needs_format: bool) -> Callable[..., Any]:
    """strftime(format), asctime() of the host's own local time when no other is given."""

    def inside(program: Program, *args: Any) -> Any:
        if len(args) > needs_format:
            return original(*args)
        return original(*args, _localtime(program.host.wall_ns() / 1e9))

    return inside


def _uuid1(program: Program, node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
    """uuid.uuid1(): of the host's time, never the same time twice."""
    host = program.host
    stamp = host.wall_ns() // 100 + _GREGORIAN
    host.last_stamp = stamp = max(stamp, host.last_stamp + 1)
    node = host.node if node is None else node
    sequence = (host.node >> 8 if clock_seq is None else clock_seq) & 0x3FFF
    low, middle, high = stamp & 0xFFFFFFFF, stamp >> 32 & 0xFFFF, stamp >> 48 & 0x0FFF
    return uuid.UUID(fields=(low, middle, high, sequence >> 8, sequence & 0xFF, node), version=1)


def node(drawn: int) -> int:
    """A host's 48 bits for uuid.getnode(), of random ones."""
    return drawn & (1 << 48) - 1 | _MULTICAST


def stand_ins() -> list[tuple[Any, Callable[..., Any]]]:
    """(original, what programs get instead): for modules.py."""
    found = _clocks()
    shown: Any
    for shown in (time.localtime, time.gmtime, time.ctime):
        found.append((shown, _with_now(shown)))
    found.append((time.strftime, _with_local(time.strftime, True)))
    found.append((time.asctime, _with_local(time.asctime, False)))
    found.append((uuid.uuid1, _uuid1))
    found.append((uuid.getnode, lambda program: program.host.node))
    return found


# datetime


def patch() -> None:
    """Let datetime.now() and utcnow() ask the running program's host."""
    inside: Any = [part for part in gc.get_referents(datetime.datetime.__dict__) if isinstance(part, dict)]
    if len(inside) != 1 or "utcnow" not in inside[0]:
        return  # Not CPython as it is known: the machine's time is told there.
    methods: dict[str, Any] = inside[0]
    seconds = methods["fromtimestamp"]
    now, before = methods["now"], methods["utcnow"]

    def program_now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
        strand = current.strand
        if strand is None:
            return now.__get__(None, cls)(tz)
        return seconds.__get__(None, cls)(_microseconds(strand.program), tz)

    def program_utcnow(cls: Any) -> Any:
        # The original says that it is deprecated, but of this line: the caller's is told instead.
        strand = current.strand
        if strand is None:
            found = now.__get__(None, cls)(datetime.UTC)
        else:
            found = seconds.__get__(None, cls)(_microseconds(strand.program), datetime.UTC)
        if sys.version_info >= (3, 12):
            warnings.warn(_DEPRECATED, DeprecationWarning, stacklevel=2)
        return found.replace(tzinfo=None)

    for name, function, original in (("now", program_now, now), ("utcnow", program_utcnow, before)):
        function.__name__, function.__doc__ = name, original.__doc__
        function.__qualname__ = f"datetime.{name}"
        methods[name] = classmethod(function)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))


_DEPRECATED: Final = (
    "datetime.datetime.utcnow() is deprecated and scheduled for removal in a future version. Use "
    "timezone-aware objects to represent datetimes in UTC: datetime.datetime.now(datetime.UTC)."
)


def _microseconds(program: Program) -> float:
    """Seconds of the host's wall clock: whole microseconds, which a float tells exactly enough for datetime."""
    return program.host.wall_ns() // 1000 / 1e6
