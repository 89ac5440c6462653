"""Building segments: header fields and options of everything a connection sends."""

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt, seq_lt
from timewait.tcp.accecn import option_room
from timewait.tcp.bsd.sack import reported
from timewait.tcp.bsd.syn import finish_syn
from timewait.tcp.delack import ack_was_sent
from timewait.tcp.ecn import echo, offer
from timewait.tcp.md5 import LENGTH as MD5_LENGTH
from timewait.tcp.reasons import Why
from timewait.tcp.states import SYN_SENT
from timewait.tcp.tcb import KIND_SIGNED, MSS_DEFAULT, MSS_DEFAULT_V6, TS_OPTION_LENGTH, Tcb
from timewait.tcp.window import select_window
from timewait.wire.packet import ACK, PROTO_TCP, RST, URG, Segment


def timestamp_now(t: Tcb, now: i64) -> i64:
    """TSval: the host's milliseconds plus the connection's offset (RFC 7323 5.4)."""
    return (now // 1_000_000 + t.ts_offset) & 0xFFFFFFFF


def blank(t: Tcb, flags: i64, seq: i64, why: Why) -> Segment:
    """A segment of this connection with nothing but addresses, flags and sequence number."""
    seg = Segment()
    seg.src = t.laddr
    seg.dst = t.raddr
    seg.proto = PROTO_TCP
    seg.ttl = t.ttl
    seg.tos = t.tos
    seg.dont_fragment = t.dont_fragment
    seg.flow = t.out_flow
    seg.sport = t.lport
    seg.dport = t.rport
    seg.flags = flags
    seg.seq = seq
    seg.why = why
    t.segs_out += 1
    t.net.counters.TcpOutSegs += 1
    return seg


def established_segment(t: Tcb, flags: i64, seq: i64, why: Why, now: i64) -> Segment:
    """A segment in a synchronized state: acknowledgment, window, timestamps, SACK blocks."""
    seg = blank(t, flags | ACK, seq, why)
    seg.ack = t.rcv_nxt
    seg.window = select_window(t)
    if t.ts_ok:
        seg.has_ts = True
        seg.tsval = timestamp_now(t, now)
        seg.tsecr = t.ts_recent
    if t.dsack is not None or t.sack_blocks:
        seg.sacks = take_sack_blocks(t)
    if t.urgent_out and urgent_mode(t):
        _point_to_urgent(t, seg)
    if t.ecn_demand_cwr:
        echo(t, seg, now)
    ack_was_sent(t, now)
    return seg


def acceptable_ack_seq(t: Tcb) -> i64:
    """Sequence number of a segment without data: SND.NXT, or the window's end if it shrank (tcp_acceptable_seq)."""
    end = t.wnd_end()
    beyond = seq_diff(t.snd_nxt, end)
    # What scaling cannot express does not count as a window taken back.
    if beyond <= 0 or (t.wscale_ok and beyond < 1 << t.rcv_wscale):
        return t.snd_nxt
    return end


def urgent_mode(t: Tcb) -> bool:
    """Whether urgent data of ours is not acknowledged yet (tcp_urg_mode)."""
    if t.urgent_out and not seq_lt(t.snd_una, t.snd_up):
        t.urgent_out = False
    return t.urgent_out


def _point_to_urgent(t: Tcb, seg: Segment) -> None:
    """URG on everything before SND.UP; the pointer goes behind the urgent octet, or as far as 16 bits reach."""
    if not seq_lt(seg.seq, t.snd_up):
        return
    distance = (t.snd_up - seg.seq) & 0xFFFFFFFF
    if distance > 0xFFFF:
        # Beyond its reach the pointer is set only on what is sent for the first time (__tcp_transmit_skb).
        if not seq_gt((seg.seq + 0xFFFF) & 0xFFFFFFFF, t.snd_nxt):
            return
        distance = 0xFFFF
    seg.flags |= URG
    seg.urgent = distance


def sack_room(t: Tcb) -> i64:
    """How many blocks fit beside the options of every segment (tcp_established_options)."""
    if t.kind == KIND_SIGNED:
        return 0 if t.ts_ok else 2
    return 3 if t.ts_ok else 4


def take_sack_blocks(t: Tcb) -> tuple[tuple[int, int], ...]:
    """The SACK blocks that fit: a DSACK first, once (RFC 2883), then the latest islands (RFC 2018 section 4)."""
    room = sack_room(t)
    if room == 0:
        return ()
    blocks: list[tuple[int, int]] = []
    if t.dsack is not None:
        blocks.append(t.dsack)
        t.dsack = None
    if t.sack_blocks:
        blocks.extend(t.sack_blocks[: room - len(blocks)])
        if t.bsd:
            reported(t)
    return tuple(blocks)


def default_mss(seg: Segment) -> i64:
    """What a peer takes that does not say so: 536 octets, 1220 over IPv6 (RFC 9293 3.7.1 MUST-15)."""
    return MSS_DEFAULT if len(seg.src) == 4 else MSS_DEFAULT_V6


def syn_segment(t: Tcb, flags: i64, why: Why, now: i64) -> Segment:
    """Our SYN, or the SYN-ACK of a simultaneous open or of a listener's child: same ISN."""
    sysctl = t.net.sysctl
    seg = blank(t, flags, t.iss, why)
    seg.mss = t.announced_mss
    answering = bool(flags & ACK)
    if answering:
        seg.ack = t.rcv_nxt
        ack_was_sent(t, now)
    # At a simultaneous open Linux offers everything again, whatever the peer's SYN had (quirks.md: EST-23).
    agreed = answering and (t.passive or t.bsd)
    if t.ts_ok if agreed else sysctl.tcp_timestamps != 0 and t.kind != KIND_SIGNED:
        seg.has_ts = True
        seg.tsval = timestamp_now(t, now)
        seg.tsecr = t.ts_recent if answering else 0
    if t.sack_ok if agreed else sysctl.tcp_sack != 0:
        seg.sack_permitted = True
    if t.wscale_ok if agreed else sysctl.tcp_window_scaling != 0:
        seg.wscale = t.rcv_wscale
    # RFC 7323 2.2: the window of a SYN is never scaled.
    seg.window = t.rcv_wnd if t.rcv_wnd < 65535 else 65535
    if t.state is SYN_SENT:
        t.rcv_wup = t.rcv_nxt
    if t.bsd:
        finish_syn(t, seg)
    else:
        offer(t, seg)
    return seg


def challenge_segment(t: Tcb, now: i64) -> Segment:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK> made at once, without SACK blocks (FreeBSD's tcp_send_challenge_ack)."""
    seg = blank(t, ACK, t.snd_nxt, Why.CHALLENGE_ACK)
    seg.ack = t.rcv_nxt
    seg.window = select_window(t)
    if t.ts_ok:
        seg.has_ts = True
        seg.tsval = timestamp_now(t, now)
        seg.tsecr = t.ts_recent
    ack_was_sent(t, now)
    return seg


def probe_segment(t: Tcb, seq: i64, why: Why, now: i64) -> Segment:
    """A bare ACK at an old sequence number: keepalive and zero-window probes."""
    seg = blank(t, ACK, seq, why)
    seg.ack = t.rcv_nxt
    seg.window = select_window(t)
    if t.ts_ok:
        seg.has_ts = True
        seg.tsval = timestamp_now(t, now)
        seg.tsecr = t.ts_recent
    if t.sack_blocks:
        seg.sacks = take_sack_blocks(t)
    if t.urgent_out and urgent_mode(t):
        _point_to_urgent(t, seg)
    if t.ecn_demand_cwr:
        echo(t, seg, now)
    return seg


def reset_segment(t: Tcb, seq: i64, why: Why, now: i64) -> Segment:
    """<SEQ=seq><ACK=RCV.NXT><CTL=RST,ACK>: an active reset (RFC 9293 3.10.5, Linux tcp_send_active_reset)."""
    seg = blank(t, RST | ACK, seq, why)
    seg.ack = t.rcv_nxt
    if t.bsd:
        # FreeBSD's resets say nothing but what they are.
        t.net.counters.TcpOutRsts += 1
        return seg
    seg.window = select_window(t)
    if t.ts_ok:
        seg.has_ts = True
        seg.tsval = timestamp_now(t, now)
        seg.tsecr = t.ts_recent
    if t.ecn_demand_cwr:
        echo(t, seg, now)
    t.net.counters.TcpOutRsts += 1
    return seg


def reset_for(seg: Segment, why: Why) -> Segment:
    """The RST that answers a segment which fits no connection (RFC 9293 3.10.7.1).

    Without ACK: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>; with ACK: <SEQ=SEG.ACK><CTL=RST>.
    """
    reply = Segment()
    reply.src = seg.dst
    reply.dst = seg.src
    reply.proto = PROTO_TCP
    reply.dont_fragment = True
    reply.flow = seg.reply_flow
    reply.sport = seg.dport
    reply.dport = seg.sport
    reply.why = why
    if seg.flags & ACK:
        reply.flags = RST
        reply.seq = seg.ack
    else:
        reply.flags = RST | ACK
        reply.ack = (seg.seq + seg.seq_len) & 0xFFFFFFFF
    return reply


def mtu_to_mss(t: Tcb, mtu: i64) -> i64:
    """Payload octets in packets of `mtu` octets, SACK blocks not counted (tcp_mtu_to_mss)."""
    mss = mtu - t.header_size
    if mss > t.mss_clamp:
        mss = t.mss_clamp
    least = t.net.sysctl.tcp_min_snd_mss
    if mss < least:
        mss = least
    if t.ts_ok:
        mss -= TS_OPTION_LENGTH
    if t.kind == KIND_SIGNED:
        mss -= MD5_LENGTH
    return mss


def update_mss(t: Tcb) -> None:
    """Set mss_cache from path MTU, the peer's MSS and the options every segment carries (RFC 9293 3.7.1)."""
    mss = mtu_to_mss(t, t.pmtu)
    # A peer that offers tiny windows would otherwise never be sent a full segment (RFC 9293 3.8.6.2.1).
    cutoff = t.max_window >> 1 if t.max_window > MSS_DEFAULT else t.max_window
    if cutoff and mss > cutoff:
        least = 48 - (TS_OPTION_LENGTH if t.ts_ok else 0)
        mss = cutoff if cutoff > least else least
    search = t.mtu_search
    if search is not None:
        if search.high > t.pmtu:
            search.high = t.pmtu
        proven = mtu_to_mss(t, search.low)
        if mss > proven:
            mss = proven
    t.mss_cache = mss if mss > 8 else 8


def current_mss(t: Tcb) -> i64:
    """Payload octets per segment now: SACK blocks that must be sent leave less room (tcp_current_mss)."""
    mss = t.mss_cache
    if t.sack_blocks is not None or t.dsack is not None or t.ecn_demand_cwr:
        blocks: i64 = (len(t.sack_blocks) if t.sack_blocks else 0) + (0 if t.dsack is None else 1)
        if blocks:
            room = sack_room(t)
            blocks = blocks if blocks < room else room
            if blocks:
                mss -= 4 + 8 * blocks
        if t.ecn_demand_cwr:
            mss -= option_room(t, blocks)
    return mss if mss > 8 else 8
