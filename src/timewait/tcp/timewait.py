"""TIME-WAIT and orphaned FIN-WAIT-2 as compact records (RFC 9293 3.10.7.4, RFC 6191, tcp_timewait_state_process)."""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i16, i32, i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_diff, seq_gt, seq_lt
from timewait.tcp.net import Net
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import FIN_WAIT_2, TIME_WAIT, Cause, State
from timewait.tcp.tcb import KIND_TIME_WAIT, Endpoint, Tcb, stamp
from timewait.wire.packet import ACK, FIN, PROTO_TCP, RST, SYN, Segment, local_end, port_at, remote_end, reversed_flow

# What a record makes of a segment.
TW_DROP: Final = 0
TW_ACK: Final = 1
TW_RST: Final = 2
TW_SYN: Final = 3
TW_KILL: Final = 4
TW_RESTART: Final = 8
"""Added to a verdict: 2 MSL begin anew."""

PAWS_IDLE: Final = 24 * 24 * 3600 * SEC


_LOW: Final = 0xFFFFFFFF


@mypyc_attr(acyclic=True)
class TimeWait(Endpoint):
    """What is left of a connection: enough to acknowledge, to refuse and to be taken over.

    A million of them may be held, so that the record is packed: numbers of 32 bits share a
    machine word in pairs, and what `flow` says is not said again. `at` is when it ends.
    """

    rcv_wnd: i32
    rcv_wscale: i16
    ts_ok: bool
    waits_for_fin: bool
    """FIN_WAIT_2 for an orphan whose peer has not sent its FIN; else TIME_WAIT."""
    stamp_s: i32
    """When ts_recent was taken, in s; 0 when never (tw_ts_recent_stamp)."""
    flow: bytes
    """The demux key: peer's address, our address, peer's port, our port."""
    bound: object
    """The port binding it keeps, for the host."""
    sequence: i64
    """SND.NXT above RCV.NXT."""
    timestamps: i64
    """TS.Recent above our timestamps' offset."""
    times: i64
    """When it was made above when it last answered out of order, both in ms modulo 2^32; 0 for the latter: never."""

    def __init__(self, t: Tcb, substate: State, now: i64) -> None:
        self.kind = KIND_TIME_WAIT
        self.rcv_wnd = i32(t.receive_window())
        self.rcv_wscale = i16(t.rcv_wscale)
        self.ts_ok = t.ts_ok
        self.waits_for_fin = substate is not TIME_WAIT
        self.stamp_s = _seconds(t.ts_recent_stamp)
        self.flow = t.flow
        self.bound = None
        self.sequence = t.snd_nxt << 32 | t.rcv_nxt
        self.timestamps = t.ts_recent << 32 | t.ts_offset
        self.times = (now // MSEC & _LOW) << 32

    @property
    def substate(self) -> State:
        """TIME_WAIT or FIN_WAIT_2."""
        return FIN_WAIT_2 if self.waits_for_fin else TIME_WAIT

    @property
    def snd_nxt(self) -> i64:
        return self.sequence >> 32 & _LOW

    @property
    def rcv_nxt(self) -> i64:
        return self.sequence & _LOW

    @property
    def ts_recent(self) -> i64:
        return self.timestamps >> 32 & _LOW

    @property
    def ts_offset(self) -> i64:
        return self.timestamps & _LOW

    @property
    def ts_recent_stamp(self) -> i64:
        """When ts_recent was taken, in ns, to the second; 0 when never."""
        return i64(self.stamp_s) * SEC

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

    def age_ms(self, now: i64) -> i64:
        """Milliseconds since the connection ended (tw_entry_stamp)."""
        return now // MSEC - (self.times >> 32) & _LOW

    def took_timestamp(self, tsval: i64, now: i64) -> None:
        """TS.Recent is `tsval` from now on."""
        self.timestamps = tsval << 32 | self.ts_offset
        self.stamp_s = _seconds(stamp(now))

    def answered_lately(self, interval_ms: i64, now: i64) -> bool:
        """Whether the last answer out of order is less than so long ago; if not, this one is noted."""
        clock: i64 = max(now // MSEC & _LOW, 1)
        last = self.times & _LOW
        if last and (clock - last & _LOW) < interval_ms:
            return True
        self.times = (self.times >> 32) << 32 | clock
        return False


def _seconds(instant: i64) -> i32:
    """An instant in whole seconds, 1 at least; 0 for 0."""
    if instant == 0:
        return 0
    return i32(max(instant // SEC, 1))


def arrive_time_wait(tw: TimeWait, seg: Segment, net: Net, now: i64) -> i64:
    """Judge a segment: TW_DROP, TW_ACK, TW_RST, TW_SYN (may be taken over) or TW_KILL, perhaps with TW_RESTART."""
    if net.profile.bsd:
        return _arrive_bsd(tw, seg, net, now)
    end = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    paws_reject = _paws_rejects(tw, seg, now)
    if tw.waits_for_fin:
        return _arrive_fin_wait_2(tw, seg, end, paws_reject, net, now)
    if not paws_reject and seg.seq == tw.rcv_nxt and (seg.seq == end or seg.flags & RST):
        if seg.flags & RST:
            if not net.sysctl.tcp_rfc1337:
                return TW_KILL
            _dropped(net, seg, Drop.TW_RFC1337, now)
            _take_timestamp(tw, seg, now)
            return TW_DROP
        _dropped(net, seg, Drop.TW_PURE_ACK, now)
        _take_timestamp(tw, seg, now)
        return TW_DROP | TW_RESTART
    if _may_be_taken_over(tw, seg, paws_reject):
        return TW_SYN
    if paws_reject:
        net.counters.TcpExtPAWSTimewait += 1
    if seg.flags & RST:
        _dropped(net, seg, Drop.RST_OUT_OF_WINDOW, now)
        return TW_DROP
    _dropped(net, seg, Drop.TW_PAWS if paws_reject else _refusal(seg), now)
    verdict = _rate_limited_ack(tw, seg, net, now)
    # An ACKless SYN may be a good new one with a random sequence number: it does not restart the clock.
    return verdict | TW_RESTART if paws_reject or seg.flags & ACK else verdict


def _arrive_bsd(tw: TimeWait, seg: Segment, net: Net, now: i64) -> i64:
    """FreeBSD's tcp_twcheck: RSTs never count, a newer SYN starts over, only what has ACK is answered."""
    bsd = net.sysctl.bsd
    assert bsd is not None
    flags = seg.flags
    if flags & RST:
        _dropped(net, seg, Drop.TW_RFC1337, now)
        return TW_DROP
    if flags & SYN and flags & FIN and bsd.drop_synfin:
        _dropped(net, seg, Drop.SYN_FIN, now)
        return TW_DROP
    if flags & (SYN | ACK) == SYN and seq_gt(seg.seq, tw.rcv_nxt):
        return TW_SYN
    if not flags & ACK:
        _dropped(net, seg, Drop.TW_SYN_UNACCEPTABLE if flags & SYN else Drop.NO_ACK, now)
        return TW_DROP
    if tw.ts_ok and not seg.has_ts and tw.ts_recent and not bsd.tolerate_missing_ts:
        _dropped(net, seg, Drop.NO_TIMESTAMP, now)
        return TW_DROP
    again = flags & FIN and (seg.seq + seg.seq_len) & 0xFFFFFFFF == tw.rcv_nxt
    restart: i64 = TW_RESTART if again else 0
    if flags == ACK and seg.length == 0 and seg.seq == tw.rcv_nxt and seg.ack == tw.snd_nxt:
        _dropped(net, seg, Drop.TW_PURE_ACK, now)
        return TW_DROP | restart
    _dropped(net, seg, _refusal(seg), now)
    return TW_ACK | restart


def _refusal(seg: Segment) -> Drop:
    return Drop.TW_SYN_UNACCEPTABLE if seg.flags & SYN else Drop.TW_OLD_SEGMENT


def _dropped(net: Net, seg: Segment, drop: Drop, now: i64) -> None:
    if net.tap is not None:
        net.tap.dropped(net.name, seg, drop, now)


def _may_be_taken_over(tw: TimeWait, seg: Segment, paws_reject: bool) -> bool:
    """RFC 6191 2 as Linux reads it: a SYN that is newer by sequence number or by timestamp."""
    if seg.flags & (SYN | RST | ACK) != SYN or paws_reject:
        return False
    newer_ts = tw.ts_ok and seg.has_ts and seq_diff(seg.tsval, tw.ts_recent) > 0
    return seq_gt(seg.seq, tw.rcv_nxt) or newer_ts


def takeover_isn(tw: TimeWait) -> i64:
    """The ISN of a connection that takes a record over: beyond everything the old one sent."""
    isn = (tw.snd_nxt + 65535 + 2) & 0xFFFFFFFF
    return isn if isn else 1


def _paws_rejects(tw: TimeWait, seg: Segment, now: i64) -> bool:
    """tcp_paws_reject: an older timestamp; a RST is believed once the timestamp has aged a minute."""
    if not (tw.ts_ok and seg.has_ts and tw.ts_recent_stamp):
        return False
    if seq_diff(tw.ts_recent, seg.tsval) <= 0:
        return False
    idle = now - tw.ts_recent_stamp
    if idle >= PAWS_IDLE or tw.ts_recent == 0:
        return False
    return not (seg.flags & RST and idle >= 60 * SEC)


def _take_timestamp(tw: TimeWait, seg: Segment, now: i64) -> None:
    if tw.ts_ok and seg.has_ts:
        tw.took_timestamp(seg.tsval, now)


def _in_window(seq: i64, end: i64, low: i64, high: i64) -> bool:
    """tcp_in_window: at the left edge, overlapping it, or empty at the right edge."""
    if seq == low or (seq_gt(end, low) and seq_lt(seq, high)):
        return True
    return seq == high and seq == end


def _arrive_fin_wait_2(tw: TimeWait, seg: Segment, end: i64, paws_reject: bool, net: Net, now: i64) -> i64:
    """An orphan still waits for the peer's FIN; new data for it is answered with RST."""
    edge = (tw.rcv_nxt + i64(tw.rcv_wnd)) & 0xFFFFFFFF
    if paws_reject or not _in_window(seg.seq, end, tw.rcv_nxt, edge):
        _dropped(net, seg, Drop.OUT_OF_WINDOW, now)
        # Even a RST out of the window is acknowledged here.
        return _rate_limited_ack(tw, seg, net, now)
    if seg.flags & RST:
        return TW_KILL
    if seg.flags & SYN and not seq_lt(seg.seq, tw.rcv_nxt):
        return TW_RST
    if not seg.flags & ACK or not seq_gt(end, tw.rcv_nxt) or end == seg.seq:
        _dropped(net, seg, Drop.TW_PURE_ACK, now)
        return TW_DROP
    if not seg.flags & FIN or end != (tw.rcv_nxt + 1) & 0xFFFFFFFF:
        # TCPAbortOnData does not count these.
        _dropped(net, seg, Drop.FW2_DATA, now)
        return TW_RST
    if net.tap is not None:
        net.tap.moved(net.name, tw.flow, tw.substate, TIME_WAIT, Cause.RCV_FIN, now)
    tw.waits_for_fin = False
    tw.sequence = tw.snd_nxt << 32 | end
    if tw.ts_ok and seg.has_ts:
        # From here on counts the age that tcp_tw_reuse_delay asks for.
        tw.times = (now // MSEC & _LOW) << 32 | tw.times & _LOW
    _take_timestamp(tw, seg, now)
    return TW_ACK | TW_RESTART


def _rate_limited_ack(tw: TimeWait, seg: Segment, net: Net, now: i64) -> i64:
    """Pure ACKs and SYNs are answered once per tcp_invalid_ratelimit; data and FINs always."""
    if seg.seq_len != 0 and not seg.flags & SYN:
        return TW_ACK
    if not tw.answered_lately(net.sysctl.tcp_invalid_ratelimit, now):
        return TW_ACK
    if tw.waits_for_fin:
        net.counters.TcpExtTCPACKSkippedFinWait2 += 1
    else:
        net.counters.TcpExtTCPACKSkippedTimeWait += 1
    return TW_DROP


def time_wait_ack(tw: TimeWait, net: Net, now: i64) -> Segment:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>: what a record answers (tcp_v4_timewait_ack)."""
    reply = Segment()
    reply.src = tw.laddr
    reply.dst = tw.raddr
    reply.proto = PROTO_TCP
    reply.ttl = net.sysctl.ip_default_ttl
    reply.dont_fragment = True
    reply.sport = tw.lport
    reply.dport = tw.rport
    reply.flow = reversed_flow(tw.flow)
    reply.flags = ACK
    reply.seq = tw.snd_nxt
    reply.ack = tw.rcv_nxt
    reply.window = min(i64(tw.rcv_wnd) >> i64(tw.rcv_wscale), 65535)
    if tw.ts_ok:
        reply.has_ts = True
        reply.tsval = (now // MSEC + tw.ts_offset) & 0xFFFFFFFF
        reply.tsecr = tw.ts_recent
    reply.why = Why.TIME_WAIT_ACK
    net.counters.TcpOutSegs += 1
    return reply
