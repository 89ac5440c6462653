"""Socket options of TCP: kept by a socket, handed to its connection, inherited by accepted ones (do_tcp_setsockopt)."""

import errno

from timewait.base.errors import UsageError, os_error
from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i16, i64
from timewait.base.native import mypyc_attr
from timewait.host.signing import settle
from timewait.host.sockopt import (
    FREEBSD,
    IP_MTU_DISCOVER,
    IP_RECVERR,
    IP_TOS,
    IP_TTL,
    IPV6_MTU_DISCOVER,
    IPV6_RECVERR,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    KEPT,
    PMTUDISC_DO,
    PMTUDISC_DONT,
    PMTUDISC_WANT,
    SO_RCVLOWAT,
    SO_TXREHASH,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
    SOL_TCP,
    TCP_CC_INFO,
    TCP_CONGESTION,
    TCP_CORK,
    TCP_DEFER_ACCEPT,
    TCP_DELACK_MAX_US,
    TCP_FASTOPEN,
    TCP_FASTOPEN_CONNECT,
    TCP_FASTOPEN_KEY,
    TCP_FASTOPEN_NO_COOKIE,
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
    TCP_RTO_MAX_MS,
    TCP_RTO_MIN_US,
    TCP_SYNCNT,
    TCP_THIN_DUPACK,
    TCP_THIN_LINEAR_TIMEOUTS,
    TCP_USER_TIMEOUT,
    TCP_WINDOW_CLAMP,
)
from timewait.tcp.cc import congestion_control
from timewait.tcp.cc.base import NO_PACING
from timewait.tcp.delack import TICK, ack_now, enter_pingpong_mode, schedule_ack
from timewait.tcp.established import start_congestion_control
from timewait.tcp.info import pack_info, socket_info, tcp_info
from timewait.tcp.keepalive import idle_since
from timewait.tcp.md5 import LENGTH as MD5_LENGTH
from timewait.tcp.net import Net
from timewait.tcp.rate import limit_pacing
from timewait.tcp.reasons import Why
from timewait.tcp.segments import current_mss
from timewait.tcp.states import CLOSED, SYN_SENT
from timewait.tcp.tcb import ACK_SCHED, DELACK_MAX, KIND_SIGNED, NAGLE_CORK, NAGLE_OFF, TS_OPTION_LENGTH, WAKE_IN, Tcb
from timewait.tcp.urgent import readable
from timewait.tcp.wishes import Wishes

MIN_CLAMP = 1152
"""Half of SOCK_MIN_RCVBUF."""


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
        new.fast_open_no_cookie = self.fast_open_no_cookie
        new.md5 = self.md5
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
        new.rto_max = self.rto_max
        new.rto_min_us = self.rto_min_us
        new.delack_max = self.delack_max
        new.thin_linear = self.thin_linear
        new.hears_errors = self.hears_errors
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
        t.nonagle = i16(self.nonagle)
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
        if self.md5 is not None:
            settle(t)

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
        number = _number_of(level, value)
        if level == SOL_TCP:
            self._set_tcp(name, number, t, net, now)
        elif (level, name) in ((SOL_IP, IP_TOS), (SOL_IPV6, IPV6_TCLASS)):
            _check(level == SOL_IP or -1 <= number <= 255)
            # The two bits of ECN belong to the connection.
            bsd = net.profile.bsd
            self.tos = number & (0xFF if bsd else 0xFC) if number >= 0 or level == SOL_IP else 0
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
        if isinstance(value, bytes) and not value:
            raise os_error(errno.EINVAL)
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
                t.nonagle = i16(self.nonagle)
                t.more_to_come = t.more_to_come and not number
        elif name == TCP_CORK:
            self.nonagle = self.nonagle | NAGLE_CORK if number else self.nonagle & ~NAGLE_CORK
            if t is not None:
                t.nonagle = i16(self.nonagle)
                t.more_to_come = t.more_to_come and bool(number)
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
            # On FreeBSD it may be set at any time, and means something else to a client.
            _check(number >= 0 and (net.profile.bsd or t is None or t.state is CLOSED))
            self.fast_open_limit = min(number, int(net.sysctl.somaxconn))
        elif name == TCP_FASTOPEN_CONNECT:
            _check(number in (0, 1))
            if not net.sysctl.tcp_fastopen & 1:
                raise os_error(errno.EOPNOTSUPP)
            _check(t is None or t.state is CLOSED)
            self.fast_open_connect = bool(number)
        elif name == TCP_FASTOPEN_NO_COOKIE:
            _check(number in (0, 1) and (t is None or t.state is CLOSED))
            self.fast_open_no_cookie = bool(number)
        elif name == TCP_WINDOW_CLAMP:
            self._set_clamp(number, t)
        elif name in (TCP_RTO_MAX_MS, TCP_RTO_MIN_US, TCP_DELACK_MAX_US, TCP_THIN_LINEAR_TIMEOUTS):
            self._set_timeouts(name, number)
        elif name == TCP_THIN_DUPACK:
            # Linux takes it, and has done nothing with it since 4.x.
            _check(number in (0, 1))
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

    def _set_clamp(self, number: int, t: Tcb | None) -> None:
        """TCP_WINDOW_CLAMP, at least half the smallest buffer; 0 only before a connection (tcp_set_window_clamp)."""
        if number == 0:
            _check(t is None or t.state is CLOSED)
            self.window_clamp = 0
            return
        self.window_clamp = max(number, MIN_CLAMP)
        if t is None:
            return
        before: i64 = t.window_clamp
        t.window_clamp = self.window_clamp
        if t.window_clamp < before:
            t.rcv_ssthresh = min(t.rcv_ssthresh, t.window_clamp)
        else:
            t.rcv_ssthresh = max(t.rcv_ssthresh, min(t.rcv_wnd, t.window_clamp))

    def _set_timeouts(self, name: int, number: int) -> None:
        """TCP_RTO_MAX_MS in ms; TCP_RTO_MIN_US and TCP_DELACK_MAX_US in us, kept in whole ticks; thin streams."""
        if name == TCP_THIN_LINEAR_TIMEOUTS:
            _check(number in (0, 1))
            self.thin_linear = bool(number)
            return
        if name == TCP_RTO_MAX_MS:
            _check(1000 <= number <= 120_000)
            self.rto_max = -(-number // 4) * TICK
            return
        ticks = -(-number // 4000)
        _check(2 <= ticks <= 50)
        if name == TCP_RTO_MIN_US:
            self.rto_min_us = ticks * 4000
        else:
            self.delack_max = ticks * TICK

    def keep(self, level: int, name: int, number: int) -> None:
        """Remember an option that is only read back; EINVAL out of range, ENOPROTOOPT for one that is not known."""
        spec = KEPT.get((level, name))
        if spec is None or (spec[1] == 2 and spec[2] == 1):
            raise os_error(errno.ENOPROTOOPT)
        if spec[1] > spec[2]:
            number = int(number != 0)
        _check(spec[1] > spec[2] or spec[1] <= number <= spec[2])
        if level == SOL_SOCKET and name == SO_TXREHASH and number < 0:
            number = spec[0]
        if (level, name) in ((SOL_IP, IP_RECVERR), (SOL_IPV6, IPV6_RECVERR)):
            self.hears_errors = bool(number)
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
            if self.user_mss and (t is None or t.state is CLOSED):
                return int(self.user_mss)
            if t is None:
                return 536
            # Before the SYN is answered, timestamps are expected to be in use (tcp_connect_init).
            unanswered = t.state is SYN_SENT and not t.ts_ok and sysctl.tcp_timestamps
            # The room that a signature takes does not show (mss_cache).
            signature = MD5_LENGTH if t.kind == KIND_SIGNED else 0
            return int(current_mss(t)) - (TS_OPTION_LENGTH if unanswered else 0) + signature
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
            return int(self.pingpong == 0 if t is None else t.pingpong < sysctl.tcp_pingpong_thresh)
        if name == TCP_CONGESTION and t is not None and (t.cc is not None or t.path.congctl):
            return (t.path.congctl if t.cc is None else t.cc.name).encode().ljust(16, b"\0")
        if name == TCP_CONGESTION:
            return (self.congestion or sysctl.tcp_congestion_control).encode().ljust(16, b"\0")
        if name == TCP_FASTOPEN:
            return int(self.fast_open_limit)
        if name == TCP_FASTOPEN_CONNECT:
            return int(self.fast_open_connect)
        if name == TCP_FASTOPEN_NO_COOKIE:
            return int(self.fast_open_no_cookie)
        if name == TCP_RTO_MAX_MS:
            return int(self.rto_max // MSEC) or int(sysctl.tcp_rto_max_ms)
        if name == TCP_RTO_MIN_US:
            return int(self.rto_min_us) or int(sysctl.tcp_rto_min_us)
        if name == TCP_DELACK_MAX_US:
            return int((self.delack_max or DELACK_MAX) // 1000)
        if name == TCP_THIN_LINEAR_TIMEOUTS:
            return int(self.thin_linear)
        if name == TCP_THIN_DUPACK:
            return 0
        if name == TCP_CC_INFO:
            return b""
        if name == TCP_INFO:
            return pack_info(socket_info(net, now) if t is None else tcp_info(t, now))
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


def _number_of(level: int, value: int | bytes) -> int:
    """The number behind a pointer: IPPROTO_IP takes a single octet too (do_ip_setsockopt)."""
    if isinstance(value, int):
        return value
    if len(value) >= 4:
        return int.from_bytes(value[:4], "little", signed=True)
    if level != SOL_IP:
        raise os_error(errno.EINVAL)
    return value[0] if value else 0


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
