"""What a connection knows about its path MTU from its own probes (RFC 4821; struct icsk_mtup)."""

from timewait.base.ints import i64


class MtuSearch:
    """The range still to be searched, in octets of whole packets, and the probe under way.

    A connection has one only if it probes: tcp_mtu_probing is 2, or 1 and it ran into a black hole.
    """

    def __init__(self, low: i64, high: i64, now: i64) -> None:
        self.low: i64 = low
        """Packets of this size arrive, or are hoped to (search_low); segments are no larger."""
        self.high: i64 = high
        """Larger packets do not arrive (search_high)."""
        self.probe_size: i64 = 0
        """Size of the probe that is in flight; 0: none (probe_size)."""
        self.probe_start: i64 = 0
        """First sequence number of the probe, and the one behind it."""
        self.probe_end: i64 = 0
        self.begun_at: i64 = now
        """When the search last began, for tcp_probe_interval (probe_timestamp)."""

    def failed(self) -> None:
        """The probe was lost and nothing else: packets of its size do not arrive (tcp_mtup_probe_failed)."""
        self.high = self.probe_size - 1
        self.probe_size = 0
