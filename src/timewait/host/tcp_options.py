"""Socket options of TCP: kept by a socket, handed to its connection, inherited by accepted ones (do_tcp_setsockopt)."""

import errno
import struct

from timewait.base.errors import UsageError, os_error
from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.host.sockopt import (
    FREEBSD,
    IP_MTU_DISCOVER,
    IP_TOS,
    IP_TTL,
    IPV6_MTU_DISCOVER,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    KEPT,
    PMTUDISC_DO,
    PMTUDISC_DONT,
    PMTUDISC_WANT,
    SO_RCVLOWAT,
    SOL_IP,
    SOL_IPV6,
    SOL_TCP,
    TCP_CONGESTION,
    TCP_CORK,
    TCP_DEFER_ACCEPT,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_FASTOPEN_KEY,
    TCP_INFO,
    TCP_INQ,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINIT,
    TCP_KEEPINTVL,
    TCP_LINGER2,
    TCP_MAXSEG,
    TCP_NODELAY,
    TCP_NOOPT,
    TCP_NOTSENT_LOWAT,
    TCP_QUICKACK,
    TCP_REMOTE_UDP_ENCAPS_PORT,
    TCP_SYNCNT,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)
from timewait.tcp.cc import congestion_control
from timewait.tcp.cc.base import NO_PACING
from timewait.tcp.delack import ack_now, enter_pingpong_mode, schedule_ack
from timewait.tcp.established import start_congestion_control
from timewait.tcp.info import pack_info
from timewait.tcp.keepalive import idle_since
from timewait.tcp.net import Net
from timewait.tcp.rate import limit_pacing
from timewait.tcp.reasons import Why
from timewait.tcp.segments import current_mss
from timewait.tcp.states import CLOSED, SYN_SENT
from timewait.tcp.tcb import ACK_SCHED, NAGLE_CORK, NAGLE_OFF, TS_OPTION_LENGTH, WAKE_IN, Tcb
from timewait.tcp.urgent import readable
from timewait.tcp.wishes import Wishes


@mypyc_attr(acyclic=True)
class TcpOptions(Wishes):
    """The values a program has set, also those that only the socket reads; 0 means the host's default."""

    def __init__(self) -> None:
        super().__init__()
        self.nonagle: i64 = 0
        self.keepalive = False
        self.no_options = False
        self.defer_accept: i64 = 0
        self.window_clamp: i64 = 0
        self.pingpong: i64 = 0
        self.fast_open_limit: i64 = 0
        self.fast_open_connect = False
        self.sndbuf: i64 = 0
        self.rcvbuf: i64 = 0
        self.oob_inline = False
        self.fast_open_keys = b""
        self.inq = False
        """TCP_INQ: recvmsg() tells how much is left."""
        self.zerocopy = False
        self.timestamping: i64 = 0
        """SO_TIMESTAMPING's bits."""
        self.kept: dict[tuple[int, int], int] | None = None
        """Options that are only read back."""
        self.tos: i64 = 0
        self.ttl: i64 = 0

    def copy(self) -> "TcpOptions":
        """The same values, for a socket that is about to change one."""
        new = self.inherited()
        new.syn_retries = self.syn_retries
        new.fast_open_keys = self.fast_open_keys
        new.inq = self.inq
        new.defer_accept = self.defer_accept
        new.window_clamp = self.window_clamp
        new.pingpong = self.pingpong
        new.fast_open_limit = self.fast_open_limit
        new.fast_open_connect = self.fast_open_connect
        return new

    def inherited(self) -> "TcpOptions":
        """What an accepted socket starts with."""
        new = TcpOptions()
        new.nonagle = self.nonagle
        new.user_mss = self.user_mss
        new.keepalive = self.keepalive
        new.keep_idle = self.keep_idle
        new.keep_intvl = self.keep_intvl
        new.keep_cnt = self.keep_cnt
        new.keep_init = self.keep_init
        new.no_options = self.no_options
        new.linger2 = self.linger2
        new.user_timeout = self.user_timeout
        new.notsent_lowat = self.notsent_lowat
        new.congestion = self.congestion
        new.max_pacing_rate = self.max_pacing_rate
        new.rcvlowat = self.rcvlowat
        new.sndbuf = self.sndbuf
        new.rcvbuf = self.rcvbuf
        new.oob_inline = self.oob_inline
        new.zerocopy = self.zerocopy
        new.timestamping = self.timestamping
        new.kept = dict(self.kept) if self.kept is not None else None
        new.tos = self.tos
        new.ttl = self.ttl
        return new

    def apply(self, t: Tcb) -> None:
        """Hand everything to a new connection."""
        t.wishes = self
        t.nonagle = self.nonagle
        t.keepalive = self.keepalive
        t.no_options = self.no_options
        t.urg_inline = self.oob_inline
        if self.max_pacing_rate != NO_PACING:
            limit_pacing(t)
        t.tos = self.tos
        if self.ttl:
            t.ttl = self.ttl
        if self.kept is not None and len(t.laddr) == 4:
            t.dont_fragment = sets_df(self.pmtu_discovery(False, t.net))
        if self.pingpong:
            t.defer_connect_ack = True
        if self.defer_accept and not t.passive:
            t.defer_connect_ack = True
        self.apply_buffers(t)

    def apply_buffers(self, t: Tcb | None) -> None:
        """SO_SNDBUF and SO_RCVBUF end automatic sizing."""
        if t is None:
            return
        if self.sndbuf:
            t.sndbuf = self.sndbuf
            t.sndbuf_locked = True
        if self.rcvbuf:
            t.rcvbuf = self.rcvbuf
            t.rcvbuf_locked = True

    def set(self, level: int, name: int, value: int | bytes, t: Tcb | None, net: Net, now: i64) -> None:
        """setsockopt() for IPPROTO_TCP, IPPROTO_IP and IPPROTO_IPV6; EINVAL out of range, ENOPROTOOPT unknown."""
        if level == SOL_TCP and name == TCP_CONGESTION:
            self._set_congestion(value, t, net, now)
            return
        if level == SOL_TCP and name == TCP_FASTOPEN_KEY:
            if isinstance(value, int) or len(value) not in (16, 32):
                raise os_error(errno.EINVAL)
            self.fast_open_keys = value
            return
        number = value if isinstance(value, int) else int.from_bytes(value[:4], "little", signed=True)
        if level == SOL_TCP:
            self._set_tcp(name, number, t, net, now)
        elif (level, name) in ((SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)):
            _check(level == SOL_IP or -1 <= number <= 255)
            # The ECN bits are TCP's own (__ip_sock_set_tos).
            self.tos = number & 0xFC if number >= 0 or level == SOL_IP else 0
            if t is not None:
                t.tos = self.tos
        elif (level, name) in ((SOL_IP, IP_TTL), (SOL_IPV6, IPV6_UNICAST_HOPS)):
            _check(-1 <= number <= 255 and number != 0)
            self.ttl = number if number > 0 else 0
            if t is not None:
                t.ttl = number if number > 0 else net.sysctl.ip_default_ttl
        else:
            self.keep(level, name, number)
            if t is not None and (level, name) == (SOL_IP, IP_MTU_DISCOVER) and len(t.laddr) == 4:
                t.dont_fragment = sets_df(number)

    def _set_congestion(self, value: int | bytes, t: Tcb | None, net: Net, now: i64) -> None:
        name = value.rstrip(b"\0").decode("ascii", "replace") if isinstance(value, bytes) else str(value)
        try:
            congestion_control(name)
        except UsageError as exc:
            raise os_error(errno.ENOENT, str(exc)) from None
        self.congestion = name
        if t is not None and t.cc is not None:
            start_congestion_control(t, name, now)

    def _set_tcp(self, name: int, number: int, t: Tcb | None, net: Net, now: i64) -> None:
        if name == TCP_NODELAY:
            self.nonagle = self.nonagle | NAGLE_OFF if number else self.nonagle & ~NAGLE_OFF
            if t is not None:
                t.nonagle = self.nonagle
        elif name == TCP_CORK:
            self.nonagle = self.nonagle | NAGLE_CORK if number else self.nonagle & ~NAGLE_CORK
            if t is not None:
                t.nonagle = self.nonagle
        elif name == TCP_QUICKACK:
            self._set_quickack(number, t)
        elif name == TCP_MAXSEG:
            _check(number == 0 or 88 <= number <= 32767)
            self.user_mss = number
        elif name in (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT):
            self._set_keepalive_times(name, number, t, now)
        elif name >= FREEBSD and net.profile.bsd:
            self._set_bsd(name, number, t, now)
        elif name == TCP_SYNCNT:
            _check(1 <= number <= 127)
            self.syn_retries = number
        elif name == TCP_LINGER2:
            self.linger2 = -1 if number < 0 else 120 * SEC if number > 120 else number * SEC
        elif name == TCP_DEFER_ACCEPT:
            self.defer_accept = _seconds_to_retries(number, net)
        elif name == TCP_USER_TIMEOUT:
            _check(number >= 0)
            self.user_timeout = number * MSEC
        elif name == TCP_NOTSENT_LOWAT:
            self.notsent_lowat = number & 0xFFFFFFFF
        elif name == TCP_FASTOPEN:
            _check(number >= 0)
            self.fast_open_limit = number
        elif name == TCP_FASTOPEN_CONNECT:
            _check(number in (0, 1))
            if not net.sysctl.tcp_fastopen & 1:
                raise os_error(errno.EOPNOTSUPP)
            self.fast_open_connect = bool(number)
        elif name == TCP_WINDOW_CLAMP:
            self.window_clamp = number
            if t is not None and number:
                t.window_clamp = number
                t.rcv_ssthresh = min(t.rcv_ssthresh, t.window_clamp)
        elif name == TCP_INQ:
            _check(number in (0, 1))
            self.inq = bool(number)
        else:
            self.keep(SOL_TCP, name, number)

    def pmtu_discovery(self, v6: bool, net: Net) -> int:
        """IP_MTU_DISCOVER or IPV6_MTU_DISCOVER; without a choice what ip_no_pmtu_disc says."""
        if v6:
            return self.kept_value(SOL_IPV6, IPV6_MTU_DISCOVER)
        if self.kept is None or (SOL_IP, IP_MTU_DISCOVER) not in self.kept:
            return PMTUDISC_DONT if net.sysctl.ip_no_pmtu_disc else PMTUDISC_WANT
        return self.kept[(SOL_IP, IP_MTU_DISCOVER)]

    def keep(self, level: int, name: int, number: int) -> None:
        """Remember an option that is only read back; EINVAL out of range, ENOPROTOOPT for one that is not known."""
        spec = KEPT.get((level, name))
        if spec is None:
            raise os_error(errno.ENOPROTOOPT)
        _check(spec[1] <= number <= spec[2])
        if self.kept is None:
            self.kept = {}
        self.kept[(level, name)] = number

    def set_limit(self, name: int, number: int, t: Tcb | None, net: Net) -> None:
        """SO_MAX_PACING_RATE in octets a second, all ones for none; SO_RCVLOWAT in octets."""
        if name == SO_RCVLOWAT:
            self._set_rcvlowat(number, t, net)
            return
        self.max_pacing_rate = NO_PACING if number in (-1, 0xFFFFFFFF) else number & 0xFFFFFFFF
        if t is not None:
            limit_pacing(t)

    def _set_rcvlowat(self, number: int, t: Tcb | None, net: Net) -> None:
        """At most half of what the buffer may become, 0 means 1 (tcp_set_rcvlowat)."""
        rcvbuf: i64 = net.sysctl.tcp_rmem[2]
        if t is not None and t.rcvbuf_locked:
            rcvbuf = t.rcvbuf
        wanted: i64 = 0x7FFFFFFF if number < 0 else number
        if wanted > rcvbuf >> 1:
            wanted = rcvbuf >> 1
        self.rcvlowat = wanted if wanted else 1
        if t is None:
            return
        if not t.rcvbuf_locked and t.rcvbuf < 2 * self.rcvlowat:
            t.rcvbuf = 2 * self.rcvlowat
            if t.window_clamp < self.rcvlowat:
                t.window_clamp = self.rcvlowat
        if readable(t):
            t.wake |= WAKE_IN

    def kept_value(self, level: int, name: int) -> int:
        """What `keep` remembered, or the default."""
        spec = KEPT.get((level, name))
        if spec is None:
            raise os_error(errno.ENOPROTOOPT)
        return spec[0] if self.kept is None else self.kept.get((level, name), spec[0])

    def _set_bsd(self, name: int, number: int, t: Tcb | None, now: i64) -> None:
        """What only FreeBSD has: TCP_KEEPINIT, TCP_NOOPT; TCP over UDP only switched off."""
        if name == TCP_KEEPINIT:
            _check(1 <= number <= 32767)
            self.keep_init = number * SEC
            if t is not None and t.state is SYN_SENT:
                t.keepalive_at = now + self.keep_init
        elif name == TCP_NOOPT:
            self.no_options = bool(number)
            if t is not None:
                t.no_options = self.no_options
        elif name == TCP_REMOTE_UDP_ENCAPS_PORT:
            _check(number == 0)
        else:
            raise os_error(errno.ENOPROTOOPT)

    def _set_quickack(self, number: int, t: Tcb | None) -> None:
        """1: acknowledge at once, starting with what is owed now; 0: expect an answer from the program."""
        self.pingpong = 0 if number else 1
        if t is None:
            return
        if not number:
            enter_pingpong_mode(t)
            return
        t.pingpong = 0
        if t.state is not SYN_SENT and t.ack_pending & ACK_SCHED:
            ack_now(t, Why.QUICK_ACK)
            schedule_ack(t)

    def _set_keepalive_times(self, name: int, number: int, t: Tcb | None, now: i64) -> None:
        if name == TCP_KEEPCNT:
            _check(1 <= number <= 127)
            self.keep_cnt = number
            return
        _check(1 <= number <= 32767)
        if name == TCP_KEEPINTVL:
            self.keep_intvl = number * SEC
            return
        self.keep_idle = number * SEC
        if t is not None and t.keepalive and t.state is not CLOSED:
            # What has been idle already counts (tcp_sock_set_keepidle_locked).
            idle = now - idle_since(t)
            t.keepalive_at = now + (self.keep_idle - idle if idle < self.keep_idle else 0)

    def get(self, level: int, name: int, t: Tcb | None, net: Net, now: i64) -> int | bytes:
        """getsockopt() for the same levels."""
        if level == SOL_TCP:
            return self._get_tcp(name, t, net, now)
        if (level, name) in ((SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)):
            return int(self.tos)
        if (level, name) in ((SOL_IP, IP_TTL), (SOL_IPV6, IPV6_UNICAST_HOPS)):
            return int(self.ttl) if self.ttl else int(net.sysctl.ip_default_ttl)
        if (level, name) == (SOL_IP, IP_MTU_DISCOVER):
            return self.pmtu_discovery(False, net)
        return self.kept_value(level, name)

    def _get_tcp(self, name: int, t: Tcb | None, net: Net, now: i64) -> int | bytes:
        sysctl = net.sysctl
        bsd = sysctl.bsd
        if bsd is not None and name == TCP_KEEPINIT:
            return int(self.keep_init // SEC) or int(bsd.keepinit // 1000)
        if bsd is not None and name == TCP_NOOPT:
            return int(self.no_options)
        if bsd is not None and name == TCP_REMOTE_UDP_ENCAPS_PORT:
            return 0
        if name == TCP_NODELAY:
            return int(bool(self.nonagle & NAGLE_OFF))
        if name == TCP_CORK:
            return int(bool(self.nonagle & NAGLE_CORK))
        if name == TCP_MAXSEG and bsd is not None and t is not None:
            # FreeBSD does not count the options of each segment.
            return int(min(t.mss_clamp, t.pmtu - t.header_size))
        if name == TCP_MAXSEG:
            if t is None:
                return int(self.user_mss) or 536
            # Before the SYN is answered, timestamps are expected to be in use (tcp_connect_init).
            unanswered = t.state is SYN_SENT and not t.ts_ok and sysctl.tcp_timestamps
            return int(current_mss(t)) - (TS_OPTION_LENGTH if unanswered else 0)
        if name == TCP_KEEPIDLE:
            return int(self.keep_idle // SEC) or int(sysctl.tcp_keepalive_time)
        if name == TCP_KEEPINTVL:
            return int(self.keep_intvl // SEC) or int(sysctl.tcp_keepalive_intvl)
        if name == TCP_KEEPCNT:
            return int(self.keep_cnt) or int(sysctl.tcp_keepalive_probes)
        if name == TCP_SYNCNT:
            return int(self.syn_retries) or int(sysctl.tcp_syn_retries)
        if name == TCP_LINGER2:
            return -1 if self.linger2 < 0 else int(self.linger2 // SEC) or int(sysctl.tcp_fin_timeout)
        if name == TCP_DEFER_ACCEPT:
            return _retries_to_seconds(int(self.defer_accept))
        if name == TCP_USER_TIMEOUT:
            return int(self.user_timeout // MSEC)
        if name == TCP_NOTSENT_LOWAT:
            return int(self.notsent_lowat)
        if name == TCP_QUICKACK:
            return int(t is None or t.pingpong < sysctl.tcp_pingpong_thresh)
        if name == TCP_CONGESTION:
            return (self.congestion or sysctl.tcp_congestion_control).encode().ljust(16, b"\0")
        if name == TCP_FASTOPEN:
            return int(self.fast_open_limit)
        if name == TCP_FASTOPEN_CONNECT:
            return int(self.fast_open_connect)
        if name == TCP_INFO:
            return _info_bytes(t, now)
        if name == TCP_WINDOW_CLAMP:
            return int(t.window_clamp) if t is not None else int(self.window_clamp)
        if name == TCP_INQ:
            return int(self.inq)
        if name == TCP_FASTOPEN_KEY:
            return self.fast_open_keys
        return self.kept_value(SOL_TCP, name)


def sets_df(discovery: int) -> bool:
    """Whether segments say 'do not fragment' (ip_dont_fragment); TCP's do not with IP_PMTUDISC_PROBE, UDP's do."""
    return discovery in (PMTUDISC_WANT, PMTUDISC_DO)


def _check(valid: bool) -> None:
    if not valid:
        raise os_error(errno.EINVAL)


def _info_bytes(t: Tcb | None, now: i64) -> bytes:
    """The first fields of struct tcp_info as C lays them out."""
    if t is None:
        return struct.pack("<B7x", 7)
    return pack_info(t, now)


def _seconds_to_retries(seconds: int, net: Net) -> int:
    """TCP_DEFER_ACCEPT's seconds as a number of SYN-ACK timeouts (secs_to_retrans)."""
    retries = 0
    if seconds > 0:
        period = timeout = 1
        retries = 1
        while seconds > period and retries < 255:
            retries += 1
            timeout = min(timeout << 1, 120)
            period += timeout
    return retries


def _retries_to_seconds(retries: int) -> int:
    """The inverse (retrans_to_secs)."""
    period = 0
    if retries > 0:
        period = timeout = 1
        while retries > 1:
            retries -= 1
            timeout = min(timeout << 1, 120)
            period += timeout
    return period
