"""TIME-WAIT and orphaned FIN-WAIT-2 as compact records (RFC 9293 3.10.7.4, RFC 6191, tcp_timewait_state_process)."""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.seq import seq_diff, seq_gt, seq_lt
from timewait.tcp.net import Net
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import TIME_WAIT, Cause, State
from timewait.tcp.tcb import KIND_TIME_WAIT, Endpoint, Tcb, stamp
from timewait.wire.packet import ACK, FIN, PROTO_TCP, RST, SYN, Segment

# What a record makes of a segment.
TW_DROP: Final = 0
TW_ACK: Final = 1
TW_RST: Final = 2
TW_SYN: Final = 3
TW_KILL: Final = 4

PAWS_IDLE: Final = 24 * 24 * 3600 * SEC


@mypyc_attr(acyclic=True)
class TimeWait(Endpoint):
    """What is left of a connection: enough to acknowledge, to refuse and to be taken over."""

    def __init__(self, t: Tcb, substate: State, deadline: i64, now: i64) -> None:
        self.kind = KIND_TIME_WAIT
        self.created: i64 = now
        self.flow: bytes = t.flow
        self.laddr: bytes = t.laddr
        self.raddr: bytes = t.raddr
        self.lport: i64 = t.lport
        self.rport: i64 = t.rport
        self.substate: State = substate
        """TIME_WAIT, or FIN_WAIT_2 for an orphan whose peer has not sent its FIN."""
        self.snd_nxt: i64 = t.snd_nxt
        self.rcv_nxt: i64 = t.rcv_nxt
        self.rcv_wnd: i64 = t.receive_window()
        self.rcv_wscale: i64 = t.rcv_wscale
        self.ts_ok: bool = t.ts_ok
        self.ts_recent: i64 = t.ts_recent
        self.ts_recent_stamp: i64 = t.ts_recent_stamp
        self.ts_offset: i64 = t.ts_offset
        self.deadline: i64 = deadline
        self.last_oow_ack: i64 = 0
        self.owner: object = None
        """The port binding it keeps, for the host."""


def arrive_time_wait(tw: TimeWait, seg: Segment, net: Net, now: i64) -> i64:
    """Judge a segment: TW_DROP, TW_ACK, TW_RST, TW_SYN (may be taken over) or TW_KILL. May restart the clock."""
    end = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    paws_reject = _paws_rejects(tw, seg, now)
    if tw.substate is not TIME_WAIT:
        return _arrive_fin_wait_2(tw, seg, end, paws_reject, net, now)
    if not paws_reject and seg.seq == tw.rcv_nxt and (seg.seq == end or seg.flags & RST):
        if seg.flags & RST:
            if not net.sysctl.tcp_rfc1337:
                return TW_KILL
            _dropped(net, seg, Drop.TW_RFC1337, now)
        else:
            tw.deadline = now + net.profile.timewait_len
            _dropped(net, seg, Drop.TW_PURE_ACK, now)
        _take_timestamp(tw, seg, now)
        return TW_DROP
    if _may_be_taken_over(tw, seg, paws_reject):
        return TW_SYN
    if paws_reject:
        net.counters.TcpExtPAWSTimewait += 1
    if seg.flags & RST:
        _dropped(net, seg, Drop.RST_OUT_OF_WINDOW, now)
        return TW_DROP
    # An ACKless SYN may be a good new one with a random sequence number: it does not restart the clock.
    if paws_reject or seg.flags & ACK:
        tw.deadline = now + net.profile.timewait_len
    _dropped(net, seg, Drop.TW_PAWS if paws_reject else _refusal(seg), now)
    return _rate_limited_ack(tw, seg, net, now)


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
        tw.ts_recent = seg.tsval
        tw.ts_recent_stamp = stamp(now)


def _in_window(seq: i64, end: i64, low: i64, high: i64) -> bool:
    """tcp_in_window: at the left edge, overlapping it, or empty at the right edge."""
    if seq == low or (seq_gt(end, low) and seq_lt(seq, high)):
        return True
    return seq == high and seq == end


def _arrive_fin_wait_2(tw: TimeWait, seg: Segment, end: i64, paws_reject: bool, net: Net, now: i64) -> i64:
    """An orphan still waits for the peer's FIN; new data for it is answered with RST."""
    edge = (tw.rcv_nxt + tw.rcv_wnd) & 0xFFFFFFFF
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
    tw.substate = TIME_WAIT
    tw.rcv_nxt = end
    if tw.ts_ok and seg.has_ts:
        # From here on counts the age that tcp_tw_reuse_delay asks for.
        tw.created = now
    _take_timestamp(tw, seg, now)
    tw.deadline = now + net.profile.timewait_len
    return TW_ACK


def _rate_limited_ack(tw: TimeWait, seg: Segment, net: Net, now: i64) -> i64:
    """Pure ACKs and SYNs are answered once per tcp_invalid_ratelimit; data and FINs always."""
    if seg.seq_len != 0 and not seg.flags & SYN:
        return TW_ACK
    interval: i64 = net.sysctl.tcp_invalid_ratelimit * MSEC
    if tw.last_oow_ack and now - tw.last_oow_ack < interval:
        if tw.substate is TIME_WAIT:
            net.counters.TcpExtTCPACKSkippedTimeWait += 1
        else:
            net.counters.TcpExtTCPACKSkippedFinWait2 += 1
        return TW_DROP
    tw.last_oow_ack = stamp(now)
    return TW_ACK


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
    reply.flow = tw.laddr + tw.raddr + tw.flow[-2:] + tw.flow[-4:-2]
    reply.flags = ACK
    reply.seq = tw.snd_nxt
    reply.ack = tw.rcv_nxt
    reply.window = tw.rcv_wnd >> tw.rcv_wscale
    if tw.ts_ok:
        reply.has_ts = True
        reply.tsval = (now // MSEC + tw.ts_offset) & 0xFFFFFFFF
        reply.tsecr = tw.ts_recent
    reply.why = Why.TIME_WAIT_ACK
    net.counters.TcpOutSegs += 1
    return reply
