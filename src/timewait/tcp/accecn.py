"""Accurate ECN: how many packets and octets came marked, told with every segment (RFC 9768; Linux tcp_ecn.h).

Once agreed, AE, CWR and ECE are a counter of CE packets modulo 8, and an option counts octets by
codepoint. Every packet is then ECT(0), acknowledgments and retransmissions too. The rules are Linux
6.18's, also where RFC 9768 asks for more (quirks.md: ECN-2 to ECN-4).
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff, seq_gt
from timewait.tcp.ace import (
    ACE_FAIL_RECV,
    INFERRED,
    INITIAL,
    MASK,
    OPT_COUNTER_SEEN,
    OPT_EMPTY_SEEN,
    OPT_FAIL_RECV,
    OPT_FAIL_SEEN,
    OPT_FAIL_SEND,
    OPT_NOT_SEEN,
    REFLECTED,
    AccurateEcn,
)
from timewait.tcp.loss.scoreboard import (
    F_DATA_ACKED,
    F_DATA_SACKED,
    F_ECE,
    F_SYN_ACKED,
    AckState,
)
from timewait.tcp.md5 import LENGTH as MD5_LENGTH
from timewait.tcp.states import ESTABLISHED
from timewait.tcp.tcb import CA_CWR, CA_OPEN, KIND_SIGNED, TS_OPTION_LENGTH, Tcb
from timewait.wire.accecn import (
    CE,
    FIELD,
    MARKS,
    OFFSETS,
    ace_flags,
    ace_of,
    content_of,
    counters,
    fit,
    lay_out,
    option_of,
)
from timewait.wire.options import MAX_LENGTH
from timewait.wire.packet import Segment

OPTION_OFF: Final = 0
OPTION_SPARSE: Final = 1
OPTION_ALWAYS: Final = 2
"""net.ipv4.tcp_ecn_option."""
MOST_UNSAID: Final = 6
"""So many CE packets that nothing has told yet call for an acknowledgment (TCP_ACCECN_ACE_MAX_DELTA)."""
MANY: Final = 16
"""From so many delivered packets on, the octets tell how often the counter wrapped."""
TOO_LATE: Final = (1 << 23) - 1
"""So many octets sent and still no option seen: a later one could have wrapped."""
BEACON: Final = 22
"""An option is due whenever a counter passes a multiple of 2^22 octets."""


def is_accurate(t: Tcb) -> bool:
    """Whether accurate ECN is agreed."""
    return t.accecn is not None and t.accecn.agreed


def asks_for_accurate(seg: Segment) -> bool:
    """Whether a SYN asks for accurate ECN: anything but nothing and classic ECN does (RFC 9768 3.1.2)."""
    ace = ace_of(seg.flags)
    return ace != 0 and ace != 3


def reflected(mark: i64) -> i64:
    """Flags that tell the codepoint a SYN or SYN-ACK came with."""
    return ace_flags(REFLECTED[mark & 3])


def start(t: Tcb) -> AccurateEcn:
    """The connection's counters, made if there are none yet."""
    ac = t.accecn
    if ac is None:
        ac = AccurateEcn()
        t.accecn = ac
    return ac


def agree_accurate(t: Tcb, syn_received: i64) -> AccurateEcn:
    """From here on the connection speaks accurate ECN."""
    ac = start(t)
    ac.agreed = True
    ac.asked = False
    ac.syn_received = syn_received & 3
    t.ecn_ok = True
    # Every segment passes by `leaves` from now on.
    t.ecn_demand_cwr = True
    return ac


# What arrives


def arrived(t: Tcb, seg: Segment, now: i64) -> None:
    """Count a segment by its codepoint; a change of it is told soon (tcp_ecn_received_counters).

    Called for every segment from the first ECN-capable one on, before TS.Recent moves. Like Linux
    only in ESTABLISHED: what comes while the connection closes is not counted (quirks.md: ECN-4).
    """
    ac = t.accecn
    assert ac is not None
    ac.clock = now
    ac.progress = (
        t.ts_ok and seg.has_ts and not seq_gt(seg.seq, t.last_ack_sent) and seq_diff(seg.tsval, t.ts_recent) > 0
    )
    if t.state is ESTABLISHED:
        if ac.third_packet:
            ac.third_packet = False
            third_packet(t, seg)
        count(t, ac, seg)


def count(t: Tcb, ac: AccurateEcn, seg: Segment) -> None:
    """Add a segment to the counters."""
    mark: i64 = seg.tos & 3
    if mark:
        if ac.agreed or not t.ecn_ok:
            t.ecn_seen = True
        if mark == CE:
            packets: i64 = 1
            if seg.gso_size:
                packets = (seg.length + seg.gso_size - 1) // seg.gso_size
            ac.received_ce += packets
            ac.unsaid = min(ac.unsaid + packets, 15)
        if seg.length:
            before: i64 = ac.received[mark]
            octets = (before + seg.length) & 0xFFFFFFFF
            ac.received[mark] = int(octets)
            ac.required = max(ac.required, 1 + i64(MARKS[174].index(int(mark))))
            if (octets ^ before) >> BEACON:
                ac.demand = max(ac.demand, 1)
    changed = mark != ac.last
    ac.last = mark
    if ac.agreed and (changed or mark == CE):
        ac.demand = 2
        if changed:
            ac.at_once = True


def syn_ack_arrived(t: Tcb, seg: Segment) -> None:
    """The SYN-ACK agrees to accurate ECN and tells how our SYN arrived (tcp_ecn_rcv_synack)."""
    ac = agree_accurate(t, seg.tos)
    if option_of(seg) is not None:
        _first_option(ac, seg)
        ac.demand = 2
    if seg.tos & 3 == CE and _plausible(t, ac, ace_of(seg.flags)):
        ac.received_ce += 1
        ac.unsaid += 1


def syn_arrived_again(t: Tcb, seg: Segment, opened: bool = False) -> None:
    """A SYN in a synchronized state: the answer says again how the first one came (tcp_validate_incoming).

    `opened`: it has just completed a simultaneous open. What comes next tells how our SYN-ACK arrived.
    """
    ac = t.accecn
    if ac is None or not ac.agreed:
        return
    ac.reflect = True
    ac.third_packet = opened
    if option_of(seg) is not None and ac.seen < OPT_COUNTER_SEEN:
        _first_option(ac, seg)
        ac.demand = max(ac.demand, 1)


def third_packet(t: Tcb, seg: Segment) -> None:
    """The ACK of our SYN-ACK tells how that arrived (RFC 9768 3.2.2.1; tcp_accecn_third_ack)."""
    ac = t.accecn
    if ac is None or not ac.agreed:
        return
    ace = ace_of(seg.flags)
    if ace == 0:
        ac.failures |= ACE_FAIL_RECV
    elif ace not in (1, 5, 7) and seg.seq_len == 0 and not seg.sacks and _plausible(t, ac, ace):
        if INFERRED[ace] == CE and t.delivered_ce == 0:
            t.delivered_ce = 1


def _plausible(t: Tcb, ac: AccurateEcn, ace: i64) -> bool:
    """Whether what the peer says of our SYN's codepoint may have become of it on the way (RFC 9768 3.2.2.3).

    ECT never comes from Not-ECT nor the other way round, and CE stays. Without tcp_ecn_fallback all goes.
    """
    if not t.net.sysctl.tcp_ecn_fallback:
        return True
    came: i64 = INFERRED[ace]
    sent = ac.syn_sent
    if came == sent or (sent != 0 and came != 0 and sent != CE):
        return True
    ac.failures |= ACE_FAIL_RECV
    return False


def _first_option(ac: AccurateEcn, seg: Segment) -> None:
    """The first option with counters: a middlebox that zeroes it is found out (tcp_accecn_option_init)."""
    option = option_of(seg)
    assert option is not None
    ac.seen = first_seen(option[1])
    if ac.seen == OPT_FAIL_SEEN:
        ac.failures |= OPT_FAIL_RECV


def first_seen(content: bytes) -> i64:
    """What an option shows of the path: one of OPT_*_SEEN."""
    if len(content) < FIELD:
        return OPT_EMPTY_SEEN
    if content[:FIELD] == bytes(FIELD) or content[2 * FIELD : 3 * FIELD] == bytes(FIELD):
        return OPT_FAIL_SEEN
    return OPT_COUNTER_SEEN


# What an acknowledgment tells


def acknowledged(t: Tcb, seg: Segment, found: AckState, delivered: i64, octets: i64) -> None:
    """Take the peer's counters: F_ECE if packets of ours were marked, `found.ce` of them (tcp_accecn_process)."""
    ac = t.accecn
    assert ac is not None
    marked = _newly_marked(t, ac, seg, found, delivered, octets)
    if marked > 0:
        found.ce = marked
        found.flag |= F_ECE
        t.delivered_ce += marked


def _newly_marked(t: Tcb, ac: AccurateEcn, seg: Segment, found: AckState, delivered: i64, octets: i64) -> i64:
    """How many packets of ours were marked, as far as the counter and the option tell (RFC 9768 appendix A)."""
    if not found.flag & (F_DATA_ACKED | F_SYN_ACKED | F_DATA_SACKED) and not ac.progress:
        # It may have been overtaken.
        return 0
    marked_before: i64 = ac.delivered[CE]
    certain = _take_option(t, ac, seg, octets)
    if found.flag & F_SYN_ACKED:
        return 0
    delta = (ace_of(seg.flags) - INITIAL - t.delivered_ce) & MASK
    if ac.unsaid >= MOST_UNSAID and (delivered > MASK or not _as_expected(t, seg, delta)):
        ac.at_once = True
    if delivered <= MASK:
        return delta
    # The counter may have wrapped: as often as the delivered packets allow, unless the octets tell.
    most = delivered - ((delivered - delta) & MASK)
    if not certain:
        return most
    marked_octets = (ac.delivered[CE] - marked_before) & 0xFFFFFFFF
    if marked_octets == 0:
        return delta
    if delivered >= MANY and (t.sack_ok or t.ca_state == CA_OPEN or t.ca_state == CA_CWR):
        if octets <= marked_octets:
            return most
        estimate = (marked_octets * delivered + octets - 1) // octets
        wrapped = delta + (estimate & ~MASK)
        return most if most < wrapped else wrapped
    if marked_octets > delta * t.mss_cache:
        return most
    if marked_octets < most * t.mss_cache >> 1:
        return delta
    return most


def _as_expected(t: Tcb, seg: Segment, delta: i64) -> bool:
    """Whether Linux's header prediction would have taken the segment: it looks at fewer things then."""
    window: i64 = seg.window << t.snd_wscale
    options = seg.sacks or seg.other_options or seg.has_ts is not t.ts_ok
    return delta == 0 and not options and window == t.snd_wnd and seg.seq == t.rcv_nxt and not t.ofo_seqs


def _take_option(t: Tcb, ac: AccurateEcn, seg: Segment, octets: i64) -> bool:
    """Take the option's counters, or guess them; whether they can be relied on (tcp_accecn_process_option)."""
    if ac.failures & OPT_FAIL_RECV:
        return False
    option = option_of(seg)
    estimate = ac.estimate
    if option is None:
        if ac.seen == OPT_NOT_SEEN:
            if t.bytes_sent >= TOO_LATE:
                ac.seen = OPT_FAIL_SEEN
                ac.failures |= OPT_FAIL_RECV
        elif estimate:
            ac.delivered[estimate] = int((ac.delivered[estimate] + octets) & 0xFFFFFFFF)
            return True
        return False
    if ac.seen < OPT_COUNTER_SEEN:
        _first_option(ac, seg)
    certain = estimate != 0
    changed = False
    unclear = False
    for mark, field in counters(option[0], option[1]):
        delta = _advance(ac, mark, field)
        if delta < 0:
            certain = False
            unclear = True
        if delta and mark != estimate:
            if changed:
                certain = False
                unclear = True
            else:
                ac.estimate = mark
                changed = True
    if unclear:
        ac.estimate = 0
    return certain


def _advance(ac: AccurateEcn, mark: int, field: int) -> i64:
    """Move a counter to what 24 bits of it say; by how much, negative where a guess was too high."""
    delta: i64 = (field - OFFSETS[mark] - ac.delivered[mark]) & 0xFFFFFF
    if delta & 0x800000:
        delta -= 0x1000000
    ac.delivered[mark] = int((ac.delivered[mark] + delta) & 0xFFFFFFFF)
    return delta


# What leaves


def leaves(t: Tcb, seg: Segment, now: i64) -> None:
    """ECT(0), the counter and perhaps the option on a segment that is otherwise complete (tcp_ecn_send)."""
    ac = t.accecn
    assert ac is not None
    seg.tos &= ~3
    if not ac.failures & ACE_FAIL_RECV:
        seg.tos |= 2
    if ac.reflect:
        ac.reflect = False
        seg.flags |= reflected(ac.syn_received)
    else:
        seg.flags |= ace_flags(ac.received_ce + INITIAL)
        ac.unsaid = 0
    ac.at_once = False
    if not option_due(t, ac):
        return
    used: i64 = TS_OPTION_LENGTH if seg.has_ts else 0
    if t.kind == KIND_SIGNED:
        used += MD5_LENGTH
    blocks: i64 = len(seg.sacks)
    if blocks:
        used += 4 + 8 * blocks
    fields, _, left = fit(MAX_LENGTH - used, 2 if blocks else 0, ac.required, blocks)
    if fields < 0:
        return
    if left < blocks:
        seg.sacks = seg.sacks[:left]
    lay_out(seg, content_of(ac.received, fields))
    ac.required = 0
    ac.option_at = now
    if ac.demand:
        ac.demand -= 1


def option_due(t: Tcb, ac: AccurateEcn) -> bool:
    """Whether segments carry the option now: the peer's was seen, and we send it always, on demand or as a beacon."""
    sysctl = t.net.sysctl
    mode = sysctl.tcp_ecn_option
    if mode == OPTION_OFF or ac.seen == OPT_NOT_SEEN or ac.failures & OPT_FAIL_SEND:
        return False
    if mode >= OPTION_ALWAYS or ac.demand:
        return True
    beacon = sysctl.tcp_ecn_option_beacon
    return beacon != 0 and (ac.clock - ac.option_at) // 1000 * beacon >= t.srtt_us >> 3


def option_room(t: Tcb, blocks: i64) -> i64:
    """Octets that the option will take from a segment with so many SACK blocks, less those the blocks give up."""
    ac = t.accecn
    if ac is None or not ac.agreed or not option_due(t, ac):
        return 0
    used: i64 = TS_OPTION_LENGTH if t.ts_ok else 0
    if t.kind == KIND_SIGNED:
        used += MD5_LENGTH
    if blocks:
        used += 4 + 8 * blocks
    _, taken, left = fit(MAX_LENGTH - used, 2 if blocks else 0, ac.required, blocks)
    return taken - 8 * (blocks - left)


def syn_option(seg: Segment) -> None:
    """The option of a SYN-ACK, whose counters are at their start: as much of it as fits."""
    used: i64 = 4 if seg.mss else 0
    if seg.has_ts:
        used += TS_OPTION_LENGTH
    elif seg.sack_permitted:
        used += 4
    if seg.wscale >= 0:
        used += 4
    cookie = seg.fast_open
    if cookie is not None:
        used += (len(cookie) + (4 if seg.fast_open_exp else 2) + 3) & ~3
    saving: i64 = 0
    if seg.sack_permitted and not seg.has_ts:
        saving = 2
    elif seg.wscale >= 0:
        saving = 1
    if MAX_LENGTH - used < 2:
        return
    fields, _, _ = fit(MAX_LENGTH - used, saving, 0, 0)
    if fields >= 0:
        lay_out(seg, content_of([0, 0, 0, 0], fields))
