"""What differs between kernels and is no sysctl: constants as data, not as forks of the engine."""

from typing import Final

from timewait.base.errors import UsageError
from timewait.base.instant import SEC, USEC
from timewait.base.ints import i64


class Profile:
    """The constants of one TCP implementation. Times in ns."""

    def __init__(
        self,
        name: str,
        *,
        isn_tick: i64 = 64,
        timewait_len: i64 = 60 * SEC,
        rto_init: i64 = SEC,
        init_cwnd: i64 = 10,
        random_ts_offset: bool = True,
        keyed_isn: bool = True,
        ooo_fin_in_orphan_resets: bool = True,
        scaling_ratio: bool = True,
        wide_first_window: bool = True,
        accurate_ecn: bool = False,
        bsd: bool = False,
    ) -> None:
        self.name = name
        self.isn_tick: i64 = isn_tick
        """Length of one tick of the ISN clock: RFC 9293 3.4.1 says 4 us, Linux takes 64 ns (quirks.md: ISN-1)."""
        self.timewait_len: i64 = timewait_len
        """2 MSL. Linux: TCP_TIMEWAIT_LEN, 60 s; RFC 9293: 4 min."""
        self.rto_init: i64 = rto_init
        """First retransmission timeout before any RTT sample (RFC 6298 2.1; 3 s in RFC 2988)."""
        self.init_cwnd: i64 = init_cwnd
        """Initial window in segments (RFC 6928: 10; RFC 3390: 3)."""
        self.random_ts_offset = random_ts_offset
        """Whether timestamps start at a keyed offset per address pair (Linux since 4.10)."""
        self.keyed_isn = keyed_isn
        """Whether the ISN holds the keyed hash of RFC 6528; only an experiment turns it off."""
        self.ooo_fin_in_orphan_resets = ooo_fin_in_orphan_resets
        """Whether a FIN out of order resets an orphan in FIN-WAIT-2, as Linux does (CLS-25)."""
        self.scaling_ratio = scaling_ratio
        """Whether the share of the receive buffer that counts as window is measured (Linux since 6.6)."""
        self.wide_first_window = wide_first_window
        """Whether the first window may be larger than a SYN can say (Linux since 6.11)."""
        self.accurate_ecn = accurate_ecn
        """Whether accurate ECN is known: taken, and what is ECN-capable counted (Linux since 6.18)."""
        self.bsd = bsd
        """Whether the rules of `tcp.bsd` apply: FreeBSD's windows, options, RST and SYN rules, timers and sysctls."""


PROFILES: Final[dict[str, Profile]] = {
    "linux-6.18": Profile("linux-6.18", accurate_ecn=True),
    "linux-5.15": Profile("linux-5.15", scaling_ratio=False, wide_first_window=False),
    "linux-4.19": Profile("linux-4.19", scaling_ratio=False, wide_first_window=False),
    "linux-3.10": Profile("linux-3.10", random_ts_offset=False, scaling_ratio=False, wide_first_window=False),
    "linux-2.6.32": Profile(
        "linux-2.6.32",
        random_ts_offset=False,
        rto_init=3 * SEC,
        init_cwnd=3,
        scaling_ratio=False,
        wide_first_window=False,
    ),
    "rfc9293": Profile(
        "rfc9293",
        isn_tick=4 * USEC,
        timewait_len=240 * SEC,
        ooo_fin_in_orphan_resets=False,
        scaling_ratio=False,
        wide_first_window=False,
    ),
    "freebsd": Profile(
        "freebsd",
        isn_tick=USEC,
        ooo_fin_in_orphan_resets=False,
        scaling_ratio=False,
        wide_first_window=False,
        bsd=True,
    ),
}


def profile_named(name: str) -> Profile:
    """The profile of that name; UsageError lists the names there are."""
    found = PROFILES.get(name)
    if found is None:
        raise UsageError(f"unknown profile {name!r}; there are {', '.join(PROFILES)}")
    return found
