"""ICMP as a host does it: whether to answer, how often, and what an error from outside means to a socket."""

import errno
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.host.route import AddressKind, RouteTable, plateau
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.sysctl import Sysctl
from timewait.wire import icmp as wire
from timewait.wire import serialize
from timewait.wire.address import is_multicast
from timewait.wire.packet import IcmpMessage, Packet, make_flow

BURST_FACTOR: Final = 6
"""XRLIM_BURST_FACTOR: errors to one destination that may follow each other without delay."""
MAX_PEERS: Final = 4096
"""Destinations whose error rate is remembered; the longest silent is forgotten first."""
RATE_MASK4: Final = frozenset({wire.UNREACHABLE, wire.SOURCE_QUENCH, wire.TIME_EXCEEDED, wire.PARAMETER_PROBLEM})
"""icmp_ratemask 0x1818: the IPv4 types that are limited."""

_V4_UNREACHABLE: Final[tuple[tuple[int, bool], ...]] = (
    (errno.ENETUNREACH, False),
    (errno.EHOSTUNREACH, False),
    (errno.ENOPROTOOPT, True),
    (errno.ECONNREFUSED, True),
    (errno.EMSGSIZE, False),
    (errno.EOPNOTSUPP, False),
    (errno.ENETUNREACH, True),
    (errno.EHOSTDOWN, True),
    (errno.ENONET, True),
    (errno.ENETUNREACH, True),
    (errno.EHOSTUNREACH, True),
    (errno.ENETUNREACH, False),
    (errno.EHOSTUNREACH, False),
    (errno.EHOSTUNREACH, True),
    (errno.EHOSTUNREACH, True),
    (errno.EHOSTUNREACH, True),
)
"""icmp_err_convert by code of 'destination unreachable': errno, and whether it ends a connection attempt."""

_V6_UNREACHABLE: Final[tuple[tuple[int, bool], ...]] = (
    (errno.ENETUNREACH, False),
    (errno.EACCES, True),
    (errno.EHOSTUNREACH, False),
    (errno.EHOSTUNREACH, False),
    (errno.ECONNREFUSED, True),
    (errno.EACCES, True),
    (errno.EACCES, True),
)
"""tab_unreach of icmpv6_err_convert."""


class Reported:
    """What an ICMP error from outside says about something we sent."""

    def __init__(self, message: IcmpMessage, quote: wire.Quote, number: int, fatal: bool, mtu: i64) -> None:
        self.message: IcmpMessage = message
        self.quote: wire.Quote = quote
        """The packet it is about: quote.src is us, quote.dst the peer."""
        self.errno: i64 = number
        self.fatal: bool = fatal
        """Hard error: a connection attempt ends at once. A soft one is only remembered (RFC 1122 4.2.3.9)."""
        self.mtu: i64 = mtu
        """Next-hop MTU for 'fragmentation needed' and 'packet too big', by RFC 1191's plateaus if none was named; 0."""

    @property
    def flow(self) -> bytes:
        """The demux key of the connection concerned (peer to us); b'' where the quote has no ports."""
        quote = self.quote
        if quote.sport < 0 or quote.dport < 0:
            return b""
        return make_flow(quote.dst, quote.src, quote.dport, quote.sport)


def read_error(message: IcmpMessage) -> Reported | None:
    """The meaning of an ICMP error; None for redirects, source quenches (RFC 6633) and unknown types.

    Raises WireError('icmp-quote') where the packet it is about cannot be read.
    """
    found = error_meaning(message)
    if found is None:
        return None
    quote = wire.parse_quote(message)
    mtu: i64 = 0
    if found[0] == errno.EMSGSIZE:
        mtu = wire.next_hop_mtu(message)
        if mtu == 0 and len(message.src) == 4:
            mtu = plateau(quote.length)
    return Reported(message, quote, found[0], found[1], mtu)


def error_meaning(message: IcmpMessage) -> tuple[int, bool] | None:
    """(errno, fatal) of an ICMP error; None if it is none that concerns a socket."""
    kind = message.type
    code = message.code
    if len(message.src) == 16:
        if kind == wire.V6_UNREACHABLE:
            return _V6_UNREACHABLE[code] if code < len(_V6_UNREACHABLE) else (errno.EPROTO, True)
        if kind == wire.V6_PACKET_TOO_BIG:
            return errno.EMSGSIZE, False
        if kind == wire.V6_TIME_EXCEEDED:
            return errno.EHOSTUNREACH, False
        if kind == wire.V6_PARAMETER_PROBLEM:
            return errno.EPROTO, True
        return None
    if kind == wire.UNREACHABLE:
        # Linux drops codes it does not know (NR_ICMP_UNREACH).
        return _V4_UNREACHABLE[code] if code < len(_V4_UNREACHABLE) else None
    if kind == wire.TIME_EXCEEDED:
        return errno.EHOSTUNREACH, False
    if kind == wire.PARAMETER_PROBLEM:
        return errno.EPROTO, True
    return None


class _Bucket:
    """Credit of one destination, in ns (inet_peer.rate_tokens)."""

    def __init__(self, tokens: i64, now: i64) -> None:
        self.tokens: i64 = tokens
        self.last: i64 = now


class IcmpLayer:
    """Builds what this host answers, within its rate limits, and counts what comes and goes."""

    def __init__(self, sysctl: Sysctl, counters: Counters, routes: RouteTable) -> None:
        self.sysctl: Sysctl = sysctl
        self.counters: Counters = counters
        self.routes: RouteTable = routes
        self.peers: dict[bytes, _Bucket] = {}
        self.credit: i64 = 0
        """Messages the whole host may send at once (icmp_global_allow)."""
        self.credit_time: i64 = 0
        self.started: bool = False

    def error(
        self, about: Packet, kind: i64, code: i64, now: i64, *, rest: i64 = 0, source: bytes = b""
    ) -> IcmpMessage | None:
        """An ICMP error about a packet that arrived, or None where RFC 1122 3.2.2 or a rate limit forbids it.

        `source` defaults to the address the packet was for if it is ours, else to the
        one routing picks. The caller sends it.
        """
        if not self.may_report(about, kind):
            return None
        if not source:
            source = about.dst
            if self.routes.classify(source) is not AddressKind.LOCAL:
                route = self.routes.find(about.src)
                source = b"" if route is None else route.source
        if not source or not self.allow(about.src, kind, code, now):
            return None
        limit = 576 if len(source) == 4 else 1280
        quoted = serialize.header(about) + bytes(serialize.payload(about)[:limit])
        message = wire.error(about, quoted, source, kind, code, rest=rest)
        message.why = Why.ICMP_ERROR
        self._count_out(message)
        return message

    def may_report(self, about: Packet, kind: i64) -> bool:
        """Whether an ICMP error about the packet is allowed, rate limits aside (RFC 1122 3.2.2, RFC 4443 2.4)."""
        if not wire.error_allowed(about):
            # RFC 4443 2.4 e: path MTU discovery works for IPv6 multicast.
            too_big = len(about.src) == 16 and kind == wire.V6_PACKET_TOO_BIG and is_multicast(about.dst)
            if not too_big or isinstance(about, IcmpMessage) or about.fragment_offset or is_multicast(about.src):
                return False
        source_kind = self.routes.classify(about.src)
        if source_kind is not AddressKind.UNICAST and source_kind is not AddressKind.LOCAL:
            return False
        return self.routes.classify(about.dst) is not AddressKind.BROADCAST

    def answer(self, request: IcmpMessage, now: i64) -> IcmpMessage | Drop:
        """The reply to an echo request, or why there is none."""
        kind = self.routes.classify(request.dst)
        v4 = len(request.src) == 4
        if self.sysctl.icmp_echo_ignore_all or (v4 and kind is not AddressKind.LOCAL):
            return Drop.ECHO_IGNORED
        source_kind = self.routes.classify(request.src)
        if source_kind is not AddressKind.UNICAST and source_kind is not AddressKind.LOCAL:
            return Drop.BAD_SOURCE
        reply = wire.echo_reply(request)
        if kind is not AddressKind.LOCAL:
            # RFC 4443 4.2: an echo request to a group is answered from a unicast address.
            route = self.routes.find(request.src)
            if route is None or not route.source:
                return Drop.NO_ROUTE
            reply.src = route.source
        reply.ttl = self.sysctl.ip_default_ttl
        reply.why = Why.ECHO_REPLY
        self._count_out(reply)
        return reply

    def count_in(self, message: IcmpMessage) -> None:
        """Count a message that arrived intact."""
        counters = self.counters
        kind = message.type
        if len(message.src) == 16:
            counters.Icmp6InMsgs += 1
            if kind == wire.V6_UNREACHABLE:
                counters.Icmp6InDestUnreachs += 1
            elif kind == wire.V6_PACKET_TOO_BIG:
                counters.Icmp6InPktTooBigs += 1
            elif kind == wire.V6_TIME_EXCEEDED:
                counters.Icmp6InTimeExcds += 1
            elif kind == wire.V6_PARAMETER_PROBLEM:
                counters.Icmp6InParmProblems += 1
            elif kind == wire.V6_ECHO:
                counters.Icmp6InEchos += 1
            elif kind == wire.V6_ECHO_REPLY:
                counters.Icmp6InEchoReplies += 1
            return
        counters.IcmpInMsgs += 1
        if kind == wire.UNREACHABLE:
            counters.IcmpInDestUnreachs += 1
        elif kind == wire.TIME_EXCEEDED:
            counters.IcmpInTimeExcds += 1
        elif kind == wire.PARAMETER_PROBLEM:
            counters.IcmpInParmProbs += 1
        elif kind == wire.SOURCE_QUENCH:
            counters.IcmpInSrcQuenchs += 1
        elif kind == wire.REDIRECT:
            counters.IcmpInRedirects += 1
        elif kind == wire.ECHO:
            counters.IcmpInEchos += 1
        elif kind == wire.ECHO_REPLY:
            counters.IcmpInEchoReps += 1

    def allow(self, dst: bytes, kind: i64, code: i64, now: i64) -> bool:
        """Whether the rate limits let this error go: icmp_msgs_per_sec for the host, icmp_ratelimit per destination.

        Path MTU discovery and what goes to ourselves is not limited (icmpv4_xrlim_allow).
        """
        v6 = len(dst) == 16
        if self.routes.is_local(dst):
            return True
        if v6:
            if kind == wire.V6_PACKET_TOO_BIG or kind >= 128:
                return True
        elif kind not in RATE_MASK4 or (kind == wire.UNREACHABLE and code == wire.FRAGMENTATION_NEEDED):
            return True
        if not self._allow_globally(now):
            self.counters.IcmpOutRateLimitGlobal += 1
            return False
        if not self._allow_peer(dst, now):
            if v6:
                self.counters.Icmp6OutRateLimitHost += 1
            else:
                self.counters.IcmpOutRateLimitHost += 1
            return False
        return True

    def _allow_globally(self, now: i64) -> bool:
        """A bucket of icmp_msgs_burst messages that fills at icmp_msgs_per_sec."""
        burst = self.sysctl.icmp_msgs_burst
        rate = self.sysctl.icmp_msgs_per_sec
        if not self.started:
            self.started = True
            self.credit = burst
            self.credit_time = now
        elif rate > 0:
            # No more time counts than fills the bucket, which also keeps the product below 2**63.
            elapsed = min(now - self.credit_time, (burst + 1) * SEC // rate)
            earned = elapsed * rate // SEC
            if earned > 0:
                self.credit = min(burst, self.credit + earned)
                # What is left over of the interval counts for the next message.
                self.credit_time = now if self.credit == burst else self.credit_time + earned * SEC // rate
        if self.credit <= 0:
            return False
        self.credit -= 1
        return True

    def _allow_peer(self, dst: bytes, now: i64) -> bool:
        """inet_peer_xrlim_allow."""
        interval = self.sysctl.icmp_ratelimit * MSEC
        if interval == 0:
            return True
        most = BURST_FACTOR * interval
        bucket = self.peers.pop(dst, None)
        if bucket is None:
            if len(self.peers) >= MAX_PEERS:
                del self.peers[next(iter(self.peers))]
            bucket = _Bucket(most, now)
        self.peers[dst] = bucket
        bucket.tokens = min(most, bucket.tokens + now - bucket.last)
        bucket.last = now
        if bucket.tokens < interval:
            return False
        bucket.tokens -= interval
        return True

    def _count_out(self, message: IcmpMessage) -> None:
        counters = self.counters
        kind = message.type
        if len(message.src) == 16:
            counters.Icmp6OutMsgs += 1
            if kind == wire.V6_UNREACHABLE:
                counters.Icmp6OutDestUnreachs += 1
            elif kind == wire.V6_PACKET_TOO_BIG:
                counters.Icmp6OutPktTooBigs += 1
            elif kind == wire.V6_TIME_EXCEEDED:
                counters.Icmp6OutTimeExcds += 1
            elif kind == wire.V6_PARAMETER_PROBLEM:
                counters.Icmp6OutParmProblems += 1
            elif kind == wire.V6_ECHO_REPLY:
                counters.Icmp6OutEchoReplies += 1
            return
        counters.IcmpOutMsgs += 1
        if kind == wire.UNREACHABLE:
            counters.IcmpOutDestUnreachs += 1
        elif kind == wire.TIME_EXCEEDED:
            counters.IcmpOutTimeExcds += 1
        elif kind == wire.PARAMETER_PROBLEM:
            counters.IcmpOutParmProbs += 1
        elif kind == wire.ECHO_REPLY:
            counters.IcmpOutEchoReps += 1
