"""What a route says of the connections over it (struct dst_metrics, `ip route ... initcwnd 20 congctl bbr`)."""

from collections.abc import Mapping
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr

ALGORITHMS: Final = ("reno", "bbr", "cubic")


@mypyc_attr(acyclic=True)
class PathMetrics:
    """A route's metrics; 0 and '' say nothing. Never changed once made: routes and connections share it."""

    def __init__(self) -> None:
        self.initcwnd: i64 = 0
        """Segments of the first congestion window (RTAX_INITCWND)."""
        self.initrwnd: i64 = 0
        """Segments of the first window offered, at most (RTAX_INITRWND)."""
        self.rto_min_us: i64 = 0
        """Lower limit of the timeout's variance term, in us; before TCP_RTO_MIN_US (RTAX_RTO_MIN)."""
        self.advmss: i64 = 0
        """The MSS we announce (RTAX_ADVMSS)."""
        self.window: i64 = 0
        """Octets of window that the handshake offers at most (RTAX_WINDOW)."""
        self.congctl: str = ""
        """Congestion control; before TCP_CONGESTION (RTAX_CC_ALGO)."""
        self.quickack = False
        """Every segment is acknowledged at once (RTAX_QUICKACK)."""

    def window_limit(self, full: i64, locked: bool) -> i64:
        """The most that may ever be offered; 0: no limit. `full`: what a buffer that the program has fixed offers."""
        if not locked:
            return self.window
        return self.window if 0 < self.window < full else full

    def first_window(self, window: i64, mss: i64) -> i64:
        """The window to offer first."""
        most = self.initrwnd * mss
        return most if 0 < most < window else window


NO_METRICS: Final = PathMetrics()
KNOWN: Final = ("initcwnd", "initrwnd", "rto_min", "advmss", "window", "congctl", "quickack")


def path_metrics(given: Mapping[str, str]) -> PathMetrics:
    """Metrics from ip-route's words, times as '300ms' or '0.3s'. UsageError names what is unknown or no number."""
    made = PathMetrics()
    for name, value in given.items():
        if name == "congctl":
            if value not in ALGORITHMS:
                raise UsageError(f"congctl is one of {', '.join(ALGORITHMS)}, not {value!r}")
            made.congctl = value
        elif name == "rto_min":
            made.rto_min_us = microseconds(value)
        elif name not in KNOWN:
            raise UsageError(f"the route metric {name} is not known here; there are {', '.join(KNOWN)}")
        elif not value.isdigit():
            raise UsageError(f"the route metric {name} takes a number, not {value!r}")
        elif name == "quickack":
            made.quickack = value != "0"
        elif name == "initcwnd":
            made.initcwnd = int(value)
        elif name == "initrwnd":
            made.initrwnd = int(value)
        elif name == "advmss":
            made.advmss = int(value)
        else:
            made.window = int(value)
    return made


def microseconds(text: str) -> int:
    """'300ms', '0.3s' or a bare number of milliseconds, as ip-route takes times. UsageError for anything else."""
    factor = 1000
    number = text
    for unit, size in (("us", 1), ("ms", 1000), ("s", 1_000_000)):
        if text.endswith(unit):
            factor = size
            number = text.removesuffix(unit)
            break
    try:
        return int(float(number) * factor)
    except ValueError:
        raise UsageError(f"a time is written 300ms or 0.3s, not {text!r}") from None
