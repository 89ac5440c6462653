"""tcp_tw_recycle as Linux had it until 4.12: timestamps remembered per peer address, TIME-WAIT cut short.

Behind a NAT many machines share one address but not one clock, so that a SYN of the
slower one looks old and is dropped in silence: the reason why it was removed (TW-28).
"""

from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff

PAWS_MSL = 60 * SEC
"""TCP_PAWS_MSL: for how long a peer's last timestamp counts."""
MAX_PEERS = 65536
"""Addresses remembered; the oldest goes first (tcp_metrics_hash_entries)."""


class PeerStamps:
    """The last timestamp seen from each address."""

    def __init__(self) -> None:
        self.stamps: dict[bytes, tuple[int, int]] = {}

    def remember(self, addr: bytes, tsval: i64, now: i64) -> None:
        """A connection of this peer entered TIME-WAIT with this TS.Recent (tcp_remember_stamp)."""
        self.stamps.pop(addr, None)
        if len(self.stamps) >= MAX_PEERS:
            del self.stamps[next(iter(self.stamps))]
        self.stamps[addr] = (int(tsval), int(now))

    def refuses(self, addr: bytes, tsval: i64, now: i64) -> bool:
        """Whether a SYN's timestamp is older than the peer's last one (tcp_peer_is_proven with PAWS)."""
        known = self.stamps.get(addr)
        if known is None or now - known[1] >= PAWS_MSL:
            return False
        return seq_diff(known[0], tsval) > 1
