"""Where Linux's super-segments would end: PSH stands on the last segment of each (tcp_tso_segs, tcp_transmit_skb).

Linux hands segments down in packets of several and marks each such packet with PSH, so
that the receiver's driver passes it on at once. Where our segments leave one by one the
marks stand at the same places.
"""

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.tcp.send import record_length
from timewait.tcp.tcb import CA_RECOVERY, KIND_SIGNED, MSS_DEFAULT, Tcb

LARGEST = 65536
"""sk_gso_max_size."""

MAX_DEFERRED = 3
"""tcp_max_tso_deferred_mss: segments that leave without waiting where no share of the window is set."""
RECENT = MSEC
"""Only a connection that sent within the last millisecond defers, and only for an ACK due within one."""
HEADROOM = 193
"""What MAX_TCP_HEADER and one octet take from the largest packet."""


def segments_per_packet(t: Tcb, mss: i64) -> i64:
    """About one millisecond of the pacing rate, more where the RTT is tiny, at least two (tcp_tso_autosize)."""
    if t.kind == KIND_SIGNED:
        # What is cut later cannot be signed (sk_gso_disable).
        return 1
    octets: i64 = LARGEST
    if t.srtt_us:
        octets = t.pacing_rate >> 10
        log: i64 = t.net.sysctl.tcp_tso_rtt_log
        shift = t.min_rtt_us >> log
        if log and 0 <= shift < 32:
            octets += LARGEST >> shift
        if octets > LARGEST:
            octets = LARGEST
    count = octets // mss
    least = t.cc.min_tso_segs(t) if t.cc is not None else 0
    if least == 0:
        least = t.net.sysctl.tcp_min_tso_segs
    return count if count > least else least


def packet_octets(t: Tcb, mss: i64, room: i64, window: i64, held: bool) -> i64:
    """How much Linux would hand down as one packet now (tcp_cwnd_test, tcp_mss_split_point).

    What the window cuts short goes along, unless `held`: Nagle's rule keeps a part of a segment back.
    """
    quota = t.cwnd >> 1
    if quota > room:
        quota = room
    count = segments_per_packet(t, mss)
    if count > quota:
        count = quota
    most = count * mss if count > 1 else mss
    needed = record_length(t) if t.records_queued else t.unsent_len
    # A packet takes at most its own buffer and the one behind it (tcp_grow_skb).
    goal = size_goal(t, mss)
    reach = 2 * goal - ((t.snd_nxt - t.packet_begin) & 0xFFFFFFFF) % goal
    if needed > reach:
        needed = reach
    if needed > window:
        needed = window
    if most <= needed:
        return most
    return needed - needed % mss if held else needed


def size_goal(t: Tcb, mss: i64) -> i64:
    """How far Linux fills a buffer before it begins another: whole segments, half the largest window (same name)."""
    largest: i64 = LARGEST - HEADROOM
    cutoff = t.max_window >> 1 if t.max_window > MSS_DEFAULT else t.max_window
    if 0 < cutoff < largest:
        largest = cutoff
    count = largest // mss
    return count * mss if count > 1 and t.kind != KIND_SIGNED else mss


def should_defer(t: Tcb, mss: i64, room: i64, window: i64, now: i64) -> bool:
    """Whether a small packet waits for the ACK that is about to come and make it larger (tcp_tso_should_defer).

    `room` is what the congestion window admits, in segments; `window` the peer's, in octets.
    """
    unsent = t.unsent_len
    if unsent <= mss or t.ca_state >= CA_RECOVERY or now - t.lsndtime > RECENT:
        return False
    limit = room * mss
    if limit > window:
        limit = window
    largest = (LARGEST - HEADROOM) // mss * mss
    piece = unsent if unsent < largest else largest
    if limit >= segments_per_packet(t, mss) * mss or (unsent > piece and limit >= piece):
        return False
    divisor = t.net.sysctl.tcp_tso_win_divisor
    flight = t.cwnd * mss
    if flight > t.snd_wnd:
        flight = t.snd_wnd
    if limit >= (flight // divisor if divisor else MAX_DEFERRED * mss):
        return False
    head = t.rtx.first()
    if head is None:
        return False
    srtt = t.srtt_us * 125
    late = srtt >> 1
    if late > RECENT:
        late = RECENT
    if head.sent_at + srtt - now > late:
        # The ACK is too far away to wait for.
        return False
    if limit <= piece:
        return True
    return not (t.fin_queued and unsent == piece)
