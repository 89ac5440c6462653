"""A SYN in LISTEN and the half-open connection that comes of it (RFC 9293 3.10.7.2; tcp_conn_request, tcp_check_req).

A half-open connection is a compact `Request`, not a Tcb: this is what a SYN flood
fills. The queues that hold requests belong to the host's listener.
"""

from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i16, i32, i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_between, seq_diff, seq_gt, seq_lt
from timewait.tcp.accecn import agree_accurate, count, first_seen, reflected, syn_option, third_packet
from timewait.tcp.bsd.layout import lay_out
from timewait.tcp.bsd.parameters import BsdParameters
from timewait.tcp.bsd.window import MAX_WINDOW, window_scale
from timewait.tcp.cookies import cookie_timestamp, make_cookie
from timewait.tcp.ecn import ACCURATE, CLASSIC, accepts
from timewait.tcp.isn import NO_ISN, initial_sequence_number, timestamp_offset
from timewait.tcp.net import Net
from timewait.tcp.path import NO_METRICS, PathMetrics
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.segments import default_mss
from timewait.tcp.states import SYN_RCVD
from timewait.tcp.tcb import KIND_REQUEST, MAX_WSCALE, MSS_DEFAULT, Endpoint, Tcb, stamp
from timewait.tcp.window import initial_window, window_from_space
from timewait.tcp.wishes import NOTHING, Wishes
from timewait.wire.accecn import option_of
from timewait.wire.packet import (
    ACK,
    CWR,
    ECE,
    FIN,
    PROTO_TCP,
    RST,
    SYN,
    Segment,
    local_end,
    port_at,
    remote_end,
    reversed_flow,
)

# What a half-open connection makes of a segment.
REQ_DROP: Final = 0
REQ_SYN_ACK: Final = 1
"""The SYN was repeated: send the SYN-ACK again and restart its timer."""
REQ_ACK: Final = 2
"""Out of window: answer with what we expect."""
REQ_RESET: Final = 3
"""Another SYN inside the window: reset and forget."""
REQ_REMOVE: Final = 4
"""RST: forget."""
REQ_CHILD: Final = 5
"""The handshake is complete."""
REQ_BAD_ACK: Final = 6
"""The ACK is not of our SYN: treat the segment as one for the listener."""


@mypyc_attr(acyclic=True)
class Request(Endpoint):
    """A half-open connection (Linux: request_sock), packed because a flood fills memory with them.

    `at` is when its SYN-ACK is repeated.
    """

    mss: i32
    """The peer's MSS."""
    advmss: i32
    rcv_wnd: i32
    window_clamp: i32
    snd_wscale: i16
    """-1: the peer offered none."""
    rcv_wscale: i16
    timeouts: i16
    retransmits: i16
    sack_ok: bool
    ts_ok: bool
    cookie: bool
    ecn: i16
    """Which ECN we agree to: NONE, CLASSIC or ACCURATE; from bit 2 on the codepoint that the SYN came with."""
    acked: bool
    """The handshake was completed, but there was no room in the accept queue, or data is awaited."""
    listener: i32
    """The number of its listener: an object here would be a knot that keeps each request with the collector."""

    def __init__(self, flow: bytes, irs: i64) -> None:
        self.kind = KIND_REQUEST
        self.flow: bytes = flow
        self.sequence: i64 = irs
        """ISS above IRS."""
        self.mss = MSS_DEFAULT
        self.advmss = 1460
        self.snd_wscale = -1
        self.rcv_wscale = 0
        self.rcv_wnd = 0
        self.window_clamp = 0
        self.sack_ok = False
        self.ts_ok = False
        self.timestamps: i64 = 0
        """TS.Recent above our timestamps' offset."""
        self.tsvals: i64 = 0
        """TSval of the first SYN-ACK above the latest's: what an acceptable ACK echoes lies between them."""
        self.cookie = False
        self.ecn = 0
        self.acked = False
        self.listener = 0
        self.timeouts = 0
        self.retransmits = 0
        self.sent_at: i64 = 0
        self.last_oow_ack: i64 = 0

    @property
    def irs(self) -> i64:
        """The number of the peer's SYN."""
        return self.sequence & 0xFFFFFFFF

    @property
    def iss(self) -> i64:
        """The number of our SYN-ACK."""
        return self.sequence >> 32 & 0xFFFFFFFF

    @iss.setter
    def iss(self, value: i64) -> None:
        self.sequence = value << 32 | self.sequence & 0xFFFFFFFF

    @property
    def ts_recent(self) -> i64:
        return self.timestamps >> 32 & 0xFFFFFFFF

    @property
    def ts_offset(self) -> i64:
        return self.timestamps & 0xFFFFFFFF

    def sent_tsval(self, tsval: i64) -> None:
        """A SYN-ACK goes out with this timestamp."""
        first = self.tsvals if self.tsvals else tsval << 32
        self.tsvals = first >> 32 << 32 | tsval

    def sent_this(self, tsecr: i64) -> bool:
        """Whether an echoed timestamp is one that we sent, or lies between such."""
        return seq_between(self.tsvals >> 32 & 0xFFFFFFFF, tsecr, self.tsvals & 0xFFFFFFFF)

    @property
    def laddr(self) -> bytes:
        return local_end(self.flow)

    @property
    def raddr(self) -> bytes:
        return remote_end(self.flow)

    @property
    def lport(self) -> i64:
        return port_at(self.flow, 2)

    @property
    def rport(self) -> i64:
        return port_at(self.flow, 4)


class ListenOptions:
    """What a listener hands down to its connections."""

    def __init__(self) -> None:
        self.rcvbuf: i64 = 0
        self.rcvbuf_locked = False
        """SO_RCVBUF was set: no window beyond it will be offered, so none needs scaling."""
        self.wishes: Wishes = NOTHING
        """What the program has set, for the listener and for what it accepts."""
        self.advmss: i64 = 1460
        self.path: PathMetrics = NO_METRICS
        """What the route to the peer at hand says."""
        self.no_options = False
        """FreeBSD's TCP_NOOPT: no options at all."""
        self.isn: i64 = NO_ISN
        """Given ISN, as when a TIME-WAIT record is taken over; -1: generate."""


def make_request(
    net: Net, seg: Segment, options: ListenOptions, cookie: bool, now: i64, ecn_route: bool = False
) -> Request:
    """A half-open connection from a SYN: options agreed, ISN chosen (tcp_conn_request, tcp_openreq_init).

    `ecn_route`: the route to the peer has the feature ecn.
    """
    sysctl = net.sysctl
    req = Request(seg.flow, seg.seq)
    mss = seg.mss if seg.mss else default_mss(seg)
    user_mss = options.wishes.user_mss
    req.mss = i32(user_mss if user_mss and user_mss < mss else mss)
    req.advmss = i32(options.advmss)
    req.ts_ok = bool(seg.has_ts and sysctl.tcp_timestamps)
    # A cookie has room for the other options only in the timestamp.
    keeps_options = not cookie or req.ts_ok
    req.sack_ok = bool(seg.sack_permitted and sysctl.tcp_sack) and keeps_options
    if seg.wscale >= 0 and sysctl.tcp_window_scaling and keeps_options:
        req.snd_wscale = i16(min(seg.wscale, MAX_WSCALE))
    if req.ts_ok:
        req.timestamps = seg.tsval << 32 | timestamp_offset(net, req.laddr, req.raddr)
    if options.no_options:
        req.ts_ok = req.sack_ok = False
        req.snd_wscale = -1
        req.advmss = 0
    choose_window(net, req, options)
    keys = options.wishes.md5
    if keys is not None and req.sack_ok and not cookie and keys.find(seg.src) is not None:
        # A signature and timestamps would leave no room for SACK blocks (tcp_synack_options).
        req.ts_ok = False
    req.cookie = cookie
    if cookie:
        cookie_isn, mss = make_cookie(net, seg.flow, seg.seq, i64(req.mss), now)
        req.iss = cookie_isn
        req.mss = i32(mss)
    elif options.isn != NO_ISN:
        req.iss = options.isn
    elif net.profile.bsd:
        # What is half-open carries no clock in its number (syncache_add: arc4random).
        req.iss = net.rng.getrandbits(32)
    else:
        req.iss = initial_sequence_number(net, req.laddr, req.lport, req.raddr, req.rport, now)
    req.sent_at = now
    bsd = sysctl.bsd
    if bsd is not None:
        req.ecn = CLASSIC if seg.flags & (ECE | CWR) == ECE | CWR and bsd.ecn_enable in (1, 2) else 0
    else:
        # A cookie remembers it in the timestamp.
        req.ecn = i16(accepts(sysctl, seg, ecn_route) | (seg.tos & 3) << 2) if not cookie or req.ts_ok else 0
    return req


def choose_window(net: Net, req: Request, options: ListenOptions) -> None:
    """The window to offer: multiples of what a segment will carry (tcp_openreq_init_rwin)."""
    space = window_from_space(net.sysctl, options.rcvbuf)
    mss = i64(req.advmss) - (12 if req.ts_ok else 0)
    most = options.path.window_limit(space, options.rcvbuf_locked)
    window, clamp, scale = initial_window(net, space, mss, req.snd_wscale >= 0, most)
    window = options.path.first_window(window, mss)
    bsd = net.sysctl.bsd
    if bsd is not None:
        window = min(options.rcvbuf, MAX_WINDOW)
        scale = window_scale(bsd.maxsockbuf) if req.snd_wscale >= 0 else 0
    req.rcv_wnd, req.window_clamp, req.rcv_wscale = i32(window), i32(clamp), i16(scale)


def syn_ack(net: Net, req: Request, why: Why, now: i64) -> Segment:
    """The SYN-ACK of a half-open connection."""
    seg = _reply(net, req, SYN | ACK, req.iss, why)
    seg.window = min(i64(req.rcv_wnd), 65535)
    seg.mss = i64(req.advmss)
    seg.sack_permitted = req.sack_ok
    if req.snd_wscale >= 0:
        seg.wscale = i64(req.rcv_wscale)
    if req.ts_ok:
        seg.has_ts = True
        seg.tsecr = req.ts_recent
        if req.cookie:
            seg.tsval = cookie_timestamp(i64(req.snd_wscale), req.sack_ok, req.ecn & 3 != 0, req.ts_offset, now)
        else:
            seg.tsval = (now // MSEC + req.ts_offset) & 0xFFFFFFFF
        req.sent_tsval(seg.tsval)
    if req.ecn & 3 == CLASSIC:
        seg.flags |= ECE
    elif req.ecn & 3 == ACCURATE:
        seg.flags |= reflected(i64(req.ecn) >> 2)
        if net.sysctl.tcp_ecn_option and req.timeouts == 0:
            syn_option(seg)
    if net.profile.bsd:
        seg.raw_options = lay_out(seg)
    return seg


def request_ack(net: Net, req: Request, now: i64) -> Segment:
    """<SEQ=ISS+1><ACK=IRS+1><CTL=ACK>: what we expect of a half-open peer (tcp_v4_reqsk_send_ack)."""
    seg = _reply(net, req, ACK, (req.iss + 1) & 0xFFFFFFFF, Why.CHALLENGE_ACK)
    # As far as the SYN-ACK could say (tcp_synack_window).
    seg.window = min(i64(req.rcv_wnd), 65535) >> i64(req.rcv_wscale)
    if req.ts_ok:
        seg.has_ts = True
        seg.tsval = (now // MSEC + req.ts_offset) & 0xFFFFFFFF
        seg.tsecr = req.ts_recent
    return seg


def _reply(net: Net, req: Request, flags: i64, seq: i64, why: Why) -> Segment:
    seg = Segment()
    seg.src = req.laddr
    seg.dst = req.raddr
    seg.proto = PROTO_TCP
    seg.ttl = net.sysctl.ip_default_ttl
    seg.dont_fragment = net.sysctl.ip_no_pmtu_disc == 0
    seg.sport = req.lport
    seg.dport = req.rport
    seg.flow = reversed_flow(req.flow)
    seg.flags = flags
    seg.seq = seq
    seg.ack = (req.irs + 1) & 0xFFFFFFFF
    seg.why = why
    net.counters.TcpOutSegs += 1
    return seg


def check_request(net: Net, req: Request, seg: Segment, defer_accept: i64, now: i64) -> i64:
    """Judge a segment for a half-open connection (tcp_check_req): one of REQ_*."""
    bsd = net.sysctl.bsd
    if bsd is not None:
        return _check_bsd(net, bsd, req, seg, now)
    end = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    rcv_nxt = (req.irs + 1) & 0xFFFFFFFF
    flags = seg.flags & (SYN | ACK | RST)
    paws_reject = req.ts_ok and seg.has_ts and req.ts_recent != 0 and seq_diff(req.ts_recent, seg.tsval) > 0
    if seg.seq == req.irs and flags == SYN and not paws_reject:
        _dropped(net, seg, Drop.REQUEST_DUP_SYN, now)
        return REQ_DROP if _limit_answer(net, req, now) else REQ_SYN_ACK
    if flags & ACK and not flags & RST and seg.ack != (req.iss + 1) & 0xFFFFFFFF:
        return REQ_BAD_ACK
    echoes = seg.has_ts and req.ts_ok and seg.tsecr != 0 and not paws_reject
    if echoes and not req.sent_this(seg.tsecr):
        net.counters.TcpExtTSEcrRejected += 1
        _dropped(net, seg, Drop.REQUEST_BAD_TSECR, now)
        return REQ_DROP if flags & RST or _oow_limited(net, req, seg, now) else REQ_ACK
    # As far as the SYN-ACK could say (tcp_synack_window).
    offered = min(i64(req.rcv_wnd), 65535)
    if paws_reject or not in_window(seg.seq, end, rcv_nxt, (rcv_nxt + offered) & 0xFFFFFFFF):
        _dropped(net, seg, Drop.PAWS if paws_reject else Drop.REQUEST_OUT_OF_WINDOW, now)
        if paws_reject:
            net.counters.TcpExtPAWSEstab += 1
        return REQ_DROP if flags & RST or _oow_limited(net, req, seg, now) else REQ_ACK
    if seg.has_ts and req.ts_ok and not seq_gt(seg.seq, rcv_nxt):
        req.timestamps = seg.tsval << 32 | req.ts_offset
    if seg.seq == req.irs:
        flags &= ~SYN
    if flags & RST:
        # RFC 5961 3.2 counts here too, and the acknowledgment does not (quirks.md: RST-2).
        if seg.seq == rcv_nxt:
            _dropped(net, seg, Drop.REQUEST_RST, now)
            return REQ_REMOVE
        _dropped(net, seg, Drop.RST_CHALLENGED, now)
        return REQ_DROP if _challenge_limited(net, req, now) else REQ_ACK
    if flags & SYN:
        _dropped(net, seg, Drop.REQUEST_SYN_IN_WINDOW, now)
        return REQ_RESET
    if not flags & ACK:
        _dropped(net, seg, Drop.REQUEST_NO_ACK, now)
        return REQ_DROP
    if i64(req.timeouts) < defer_accept and end == rcv_nxt:
        req.acked = True
        net.counters.TcpExtTCPDeferAcceptDrop += 1
        _dropped(net, seg, Drop.DEFER_ACCEPT, now)
        return REQ_DROP
    return REQ_CHILD


def _check_bsd(net: Net, bsd: BsdParameters, req: Request, seg: Segment, now: i64) -> i64:
    """FreeBSD's rules for what stands in its syncache (syncache_add, syncache_chkrst, syncache_expand)."""
    flags = seg.flags
    rcv_nxt = (req.irs + 1) & 0xFFFFFFFF
    offset = seq_diff(seg.seq, rcv_nxt)
    window = i64(req.rcv_wnd)
    if flags & RST:
        if not (0 <= offset < window or (window == 0 and offset == 0)):
            _dropped(net, seg, Drop.REQUEST_OUT_OF_WINDOW, now)
            return REQ_DROP
        if bsd.insecure_rst or offset == 0:
            _dropped(net, seg, Drop.REQUEST_RST, now)
            return REQ_REMOVE
        _dropped(net, seg, Drop.RST_CHALLENGED, now)
        return REQ_ACK
    if flags & SYN and flags & ACK:
        _dropped(net, seg, Drop.LISTEN_SYN_ACK, now)
        return REQ_REMOVE
    if flags & SYN:
        if flags & FIN and bsd.drop_synfin:
            _dropped(net, seg, Drop.SYN_FIN, now)
            return REQ_DROP
        _dropped(net, seg, Drop.REQUEST_DUP_SYN, now)
        return REQ_SYN_ACK
    if not flags & ACK:
        _dropped(net, seg, Drop.REQUEST_NO_ACK, now)
        return REQ_DROP
    if req.ts_ok and not seg.has_ts and not bsd.tolerate_missing_ts:
        _dropped(net, seg, Drop.NO_TIMESTAMP, now)
        return REQ_DROP
    if req.ts_ok and seg.has_ts and seq_diff(req.ts_recent, seg.tsval) > 0:
        _dropped(net, seg, Drop.PAWS, now)
        return REQ_DROP
    if seg.ack != (req.iss + 1) & 0xFFFFFFFF or not 0 <= offset < window:
        return REQ_BAD_ACK
    return REQ_CHILD


def _dropped(net: Net, seg: Segment, drop: Drop, now: i64) -> None:
    if net.tap is not None:
        net.tap.dropped(net.name, seg, drop, now)


def in_window(seq: i64, end: i64, low: i64, high: i64) -> bool:
    """Whether a segment reaches into a half-open connection's window (tcp_in_window)."""
    if seq == low or (seq_gt(end, low) and seq_lt(seq, high)):
        return True
    return seq == high and seq == end


def _oow_limited(net: Net, req: Request, seg: Segment, now: i64) -> bool:
    if seg.seq_len != 0 and not seg.flags & SYN:
        return False
    return _limit_answer(net, req, now)


def _limit_answer(net: Net, req: Request, now: i64) -> bool:
    if _answered_lately(net, req, now):
        net.counters.TcpExtTCPACKSkippedSynRecv += 1
        return True
    return False


def _challenge_limited(net: Net, req: Request, now: i64) -> bool:
    if _answered_lately(net, req, now):
        net.counters.TcpExtTCPACKSkippedChallenge += 1
        return True
    net.counters.TcpExtTCPChallengeACK += 1
    return False


def _answered_lately(net: Net, req: Request, now: i64) -> bool:
    """Whether the last answer is less than tcp_invalid_ratelimit ago; if not, this one is remembered."""
    interval: i64 = net.sysctl.tcp_invalid_ratelimit * MSEC
    if req.last_oow_ack and now - req.last_oow_ack < interval:
        return True
    req.last_oow_ack = stamp(now)
    return False


def take_path(t: Tcb, path: PathMetrics) -> None:
    """The route's metrics apply to a connection from here on."""
    t.path = path
    if path.quickack:
        t.quickack_forced = True


def child_of(net: Net, req: Request, options: ListenOptions, pmtu: i64, now: i64) -> Tcb:
    """The connection of a completed handshake, in SYN-RECEIVED until its ACK is processed (syn_recv_sock)."""
    t = Tcb(net, req.laddr, req.lport, req.raddr, req.rport)
    # The same object as the key under which the host found the request.
    t.flow = req.flow
    t.passive = True
    t.iss = req.iss
    t.irs = req.irs
    t.snd_una = (req.iss + 1) & 0xFFFFFFFF
    t.snd_nxt = t.snd_una
    t.snd_sml = t.snd_una
    t.snd_up = t.snd_una
    t.write_seq = t.snd_una
    t.pushed_seq = t.snd_una
    t.rcv_nxt = (req.irs + 1) & 0xFFFFFFFF
    t.rcv_wup = t.rcv_nxt
    t.copied_seq = t.rcv_nxt
    t.last_ack_sent = t.rcv_nxt
    t.snd_wl1 = req.irs
    t.rcv_wnd = i64(req.rcv_wnd)
    t.rcv_ssthresh = t.rcv_wnd
    t.window_clamp = i64(req.window_clamp)
    t.rcv_wscale = i64(req.rcv_wscale)
    t.wscale_ok = req.snd_wscale >= 0
    t.snd_wscale = i64(req.snd_wscale) if t.wscale_ok else 0
    t.sack_ok = req.sack_ok
    t.ecn_ok = req.ecn & 3 != 0 and not net.profile.bsd
    t.ts_ok = req.ts_ok
    t.ts_recent = req.ts_recent
    t.ts_recent_stamp = stamp(now) if req.ts_ok else 0
    t.ts_offset = req.ts_offset
    t.mss_clamp = i64(req.mss)
    t.wishes = options.wishes
    t.advmss = i64(req.advmss)
    t.announced_mss = t.advmss
    t.pmtu = pmtu
    t.rcvbuf = options.rcvbuf
    # When a cookie's SYN-ACK was sent nobody knows, nor which of several was answered.
    t.synack_at = 0 if req.cookie or req.retransmits else stamp(req.sent_at)
    t.total_retrans = i64(req.retransmits)
    # A repeated SYN-ACK makes the first window one segment, unless the first one was the one answered.
    t.undo_active = req.retransmits > 0
    t.first_synack_ts = (req.sent_at // MSEC + req.ts_offset) & 0xFFFFFFFF
    t.state = SYN_RCVD
    # Its SYN has arrived already (tcp_create_openreq_child).
    t.segs_in = 1
    return t


def child_agrees(t: Tcb, req: Request, seg: Segment, syn_ack_tos: i64) -> None:
    """The third packet of a connection with accurate ECN (tcp_check_req, tcp_ecn_openreq_child)."""
    ac = agree_accurate(t, i64(req.ecn) >> 2)
    ac.syn_sent = syn_ack_tos & 3
    third_packet(t, seg)
    option = option_of(seg)
    if option is not None and not req.cookie:
        ac.seen = first_seen(option[1])
    ac.last = ac.syn_received
    ac.demand = 1
    count(t, ac, seg)
