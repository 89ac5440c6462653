"""What a host remembers of its peers from one connection to the next (net/ipv4/tcp_metrics.c).

A connection that ends in good order leaves its round trip, its window and how much the
path reorders; the next one between the same two addresses takes its first timeout, the
reordering and, if so configured, the slow-start threshold from there. Fast open's
cookies stand in the same entries.
"""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr

MOST: Final = 16384
"""Entries of a host: the slots of Linux's table (tcp_net_metrics_init). The one not written for longest goes first."""
TIMEOUT: Final = 3600 * SEC
"""TCP_METRICS_TIMEOUT: what was not written for so long is forgotten, but for the cookie."""


@mypyc_attr(acyclic=True)
class Metrics:
    """One peer address as seen from one of ours (struct tcp_metrics_block); 0 is 'unknown'."""

    def __init__(self, now: i64) -> None:
        self.stamp: i64 = now
        """When it was last written (tcpm_stamp)."""
        self.rtt: i64 = 0
        """Smoothed round trip in us, times 8."""
        self.rttvar: i64 = 0
        """Its deviation in us, times 4."""
        self.ssthresh: i64 = 0
        self.cwnd: i64 = 0
        self.reordering: i64 = 0
        self.mss: i64 = 0
        """The peer's MSS beside the cookie."""
        self.cookie: bytes = b""
        self.experimental = False
        """The cookie came in the experimental option (kind 254), and goes back in it."""
        self.try_exp: i64 = 0
        """1: a request in the option of RFC 7413 brought none, the next uses the experimental one; 2: neither did."""
        self.syn_losses: i64 = 0
        """SYNs with data that had to be repeated, in a row (syn_loss)."""
        self.syn_lost_at: i64 = 0

    def forget(self) -> None:
        """Everything but fast open's part (tcpm_suck_dst)."""
        self.rtt = 0
        self.rttvar = 0
        self.ssthresh = 0
        self.cwnd = 0
        self.reordering = 0


class MetricsCache:
    """A host's entries, by peer's and own address, the one written last at the end."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Metrics] = {}

    def find(self, laddr: bytes, raddr: bytes, now: i64) -> Metrics | None:
        """The entry of a peer, or None; stale figures are taken out of it."""
        found = self.entries.get(raddr + laddr)
        if found is not None and now > found.stamp + TIMEOUT:
            found.forget()
            found.stamp = now
        return found

    def obtain(self, laddr: bytes, raddr: bytes, now: i64) -> Metrics:
        """The entry of a peer, made if need be, as the one written last."""
        key = raddr + laddr
        found = self.find(laddr, raddr, now)
        if found is None:
            found = Metrics(now)
            if len(self.entries) >= MOST:
                del self.entries[next(iter(self.entries))]
        else:
            del self.entries[key]
        self.entries[key] = found
        return found

    def remember_cookie(
        self, laddr: bytes, raddr: bytes, cookie: bytes, mss: i64, now: i64, experimental: bool = False
    ) -> None:
        """A server granted a cookie (tcp_fastopen_cache_set)."""
        entry = self.obtain(laddr, raddr, now)
        entry.cookie = cookie
        entry.experimental = experimental
        entry.mss = mss
        entry.syn_losses = 0

    def asked_in_vain(self, laddr: bytes, raddr: bytes, mss: i64, now: i64) -> None:
        """A request brought no cookie: the other option next time, and then RFC 7413's for good."""
        entry = self.obtain(laddr, raddr, now)
        if not entry.cookie and entry.try_exp < 2:
            entry.try_exp += 1
        if mss:
            entry.mss = mss
        entry.syn_losses = 0

    def syn_was_lost(self, laddr: bytes, raddr: bytes, mss: i64, now: i64) -> None:
        """Only the repeated, plain SYN came through: data on it, or the answer, was lost (syn_drop)."""
        entry = self.obtain(laddr, raddr, now)
        if mss:
            entry.mss = mss
        entry.syn_losses += 1
        entry.syn_lost_at = now

    def experimental(self, laddr: bytes, raddr: bytes, now: i64) -> bool:
        """Whether a SYN to that peer uses the experimental option (tcp_fastopen_cache_get)."""
        found = self.find(laddr, raddr, now)
        if found is None:
            return False
        return found.experimental if found.cookie else found.try_exp == 1

    def proven(self, laddr: bytes, raddr: bytes, now: i64) -> bool:
        """Whether a peer has shown by a whole connection that its address is its own (tcp_peer_is_proven)."""
        found = self.find(laddr, raddr, now)
        return found is not None and found.rtt != 0

    def flush(self, raddr: bytes = b"") -> int:
        """Forget everything, or what concerns one peer; returns how many entries went."""
        size = len(raddr)
        gone = [key for key in self.entries if not size or (len(key) == 2 * size and key[:size] == raddr)]
        for key in gone:
            del self.entries[key]
        return len(gone)


def show_entry(key: bytes, entry: Metrics, now: i64) -> tuple[bytes, bytes, str]:
    """(peer, own address, the rest of its line) as `ip tcp_metrics` prints it."""
    size = len(key) >> 1
    age = (now - entry.stamp) // MSEC
    words = [f"age {age // 1000}.{age % 1000:03d}sec"]
    for name, value in (("ssthresh", entry.ssthresh), ("cwnd", entry.cwnd), ("reordering", entry.reordering)):
        if value:
            words.append(f"{name} {value}")
    if entry.rtt:
        words.append(f"rtt {entry.rtt >> 3}us")
    if entry.rttvar:
        words.append(f"rttvar {entry.rttvar >> 2}us")
    if entry.mss:
        words.append(f"fo_mss {entry.mss}")
    if entry.syn_losses:
        lost = (now - entry.syn_lost_at) // MSEC
        words.append(f"fo_syn_drops {entry.syn_losses}/{lost // 1000}.{lost % 1000:03d}sec ago")
    if entry.cookie:
        words.append(f"fo_cookie {entry.cookie.hex()}")
    return key[:size], key[size:], " ".join(words)
