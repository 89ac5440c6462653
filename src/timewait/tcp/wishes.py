"""What a program has set for a connection by socket options, read where the engine needs it.

One object serves every connection whose program set the same: most set nothing, and
the connections of one listener share what it hands down. Whoever changes a value
makes a copy first (host.tcp_socket), so nothing here may be assigned to from `tcp`.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.cc.base import NO_PACING
from timewait.tcp.md5 import Md5Keys


@mypyc_attr(acyclic=True)
class Wishes:
    """Values of socket options; 0 means the host's default. Times are ns."""

    def __init__(self) -> None:
        self.user_mss: i64 = 0
        """TCP_MAXSEG."""
        self.keep_idle: i64 = 0
        self.keep_intvl: i64 = 0
        self.keep_cnt: i64 = 0
        self.keep_init: i64 = 0
        """FreeBSD's TCP_KEEPINIT: how long establishing may take; 0: its sysctl."""
        self.user_timeout: i64 = 0
        self.syn_retries: i64 = 0
        self.linger2: i64 = 0
        """TCP_LINGER2; 0: tcp_fin_timeout; negative: leave FIN-WAIT-2 at once."""
        self.notsent_lowat: i64 = 0
        self.rcvlowat: i64 = 1
        """SO_RCVLOWAT: so many octets make the socket readable."""
        self.max_pacing_rate: i64 = NO_PACING
        """SO_MAX_PACING_RATE in octets per second."""
        self.rto_max: i64 = 0
        """TCP_RTO_MAX_MS; 0: tcp_rto_max_ms."""
        self.rto_min_us: i64 = 0
        """TCP_RTO_MIN_US, in us; 0: tcp_rto_min_us."""
        self.delack_max: i64 = 0
        """TCP_DELACK_MAX_US."""
        self.thin_linear = False
        """TCP_THIN_LINEAR_TIMEOUTS: a thin stream's timeouts do not double."""
        self.fast_open_no_cookie = False
        """TCP_FASTOPEN_NO_COOKIE: data goes on a SYN without a cookie, or is taken without one."""
        self.hears_errors = False
        """IP_RECVERR or IPV6_RECVERR, by the family on the wire."""
        self.md5: Md5Keys | None = None
        """TCP_MD5SIG: keys of peers."""
        self.congestion: str = ""
        """TCP_CONGESTION; '' for the host's default."""


NOTHING: Final = Wishes()
"""A program that has set nothing."""
