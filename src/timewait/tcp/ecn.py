"""Explicit congestion notification as RFC 3168 defines it (section 6.1), and where accurate ECN begins (tcp_ecn.h)."""

from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_gt
from timewait.tcp.accecn import (
    agree_accurate,
    asks_for_accurate,
    is_accurate,
    leaves,
    reflected,
    start,
    syn_ack_arrived,
    syn_option,
)
from timewait.tcp.delack import ack_now, enter_quickack_mode
from timewait.tcp.reasons import Why
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tcb import Tcb
from timewait.wire.accecn import ace_of
from timewait.wire.packet import ACE_REPEATED, ACK, AE, CWR, ECE, SYN, Segment

NONE: Final = 0
CLASSIC: Final = 1
ACCURATE: Final = 2


def accepts(sysctl: Sysctl, seg: Segment, by_route: bool) -> i64:
    """Which ECN we agree to with a SYN: NONE, CLASSIC or ACCURATE (tcp_ecn_create_request).

    A SYN that is ECT itself is not to be trusted, unless it knows of later ECN (RFC 8311 4.3). `by_route`: the
    route has the feature ecn.
    """
    mode = sysctl.tcp_ecn
    if mode >= 3 and asks_for_accurate(seg):
        return ACCURATE
    asks = seg.flags & (ECE | CWR) == ECE | CWR and (seg.tos & 3 == 0 or seg.flags & AE)
    return CLASSIC if (mode != 0 or by_route) and asks else NONE


def offer(t: Tcb, seg: Segment) -> None:
    """Our SYN asks with ECE and CWR, for accurate ECN with AE too; our SYN-ACK agrees (RFC 3168 6.1.1, RFC 9768 3.1).

    A repeated SYN no longer asks: a middlebox may have dropped the first one for it (6.1.1.1, tcp_ecn_fallback).
    Where ecn_ok is set before the first SYN the route has the feature ecn.
    """
    sysctl = t.net.sysctl
    if seg.flags & ACK:
        ac = t.accecn
        if ac is not None and ac.agreed:
            seg.flags |= reflected(ac.syn_received)
            ac.syn_sent = t.tos & 3
            if sysctl.tcp_ecn_option and t.retransmits < 2:
                syn_option(seg)
        elif t.ecn_ok:
            seg.flags |= ECE
        return
    mode = sysctl.tcp_ecn
    if not (t.ecn_ok or mode in (1, 3, 4)) or (t.retransmits and sysctl.tcp_ecn_fallback):
        return
    seg.flags |= ECE | CWR
    t.ecn_ok = True
    if mode == 3:
        seg.flags |= AE
        ac = start(t)
        ac.asked = True
        ac.syn_sent = t.tos & 3


def agree(t: Tcb, seg: Segment) -> None:
    """The peer's SYN or SYN-ACK has come: which ECN is it (tcp_ecn_rcv_synack, tcp_ecn_rcv_syn)."""
    if not t.ecn_ok:
        return
    ac = t.accecn
    if seg.flags & ACK:
        ace = ace_of(seg.flags)
        if ace == 0 or ace == 7:
            t.ecn_ok = False
        elif ace == 1 or ace == 5:
            pass
        elif not t.net.profile.accurate_ecn:
            t.ecn_ok = False
        else:
            # Linux takes the answer to accurate ECN also where its SYN asked for the classic one (quirks.md: ECN-2).
            syn_ack_arrived(t, seg)
    elif ac is not None and ac.asked and asks_for_accurate(seg):
        accurate_syn(t, seg)
    elif seg.flags & (ECE | CWR) != ECE | CWR:
        t.ecn_ok = False
    if ac is not None:
        ac.asked = False


def accurate_syn(t: Tcb, seg: Segment) -> None:
    """The peer's SYN of a simultaneous open asks for accurate ECN too."""
    ac = agree_accurate(t, seg.tos)
    ac.last = ac.syn_received


def echo(t: Tcb, seg: Segment, now: i64) -> None:
    """What a segment says of the marks that came: ECE, or accurate ECN's counter (tcp_ecn_send)."""
    if is_accurate(t):
        leaves(t, seg, now)
    else:
        seg.flags |= ECE


def echoed(t: Tcb, seg: Segment) -> bool:
    """Whether an acknowledgment has news of ECN that the fast path would miss.

    CWR without data ends the echo too (tcp_ecn_accept_cwr).
    """
    if is_accurate(t):
        return True
    if seg.flags & CWR:
        t.ecn_demand_cwr = False
    return seg.flags & (ECE | SYN) == ECE


def data_leaves(t: Tcb, seg: Segment) -> None:
    """New data is ECT(0), and the first of it after a reduction says CWR (RFC 3168 6.1.2; tcp_ecn_send)."""
    if is_accurate(t):
        return
    seg.tos = (seg.tos & ~3) | 2
    if t.ecn_queue_cwr:
        t.ecn_queue_cwr = False
        seg.flags |= CWR


def repeats(t: Tcb, seg: Segment) -> None:
    """A super-segment with a counter: it stands on every piece, CWR too (SKB_GSO_TCP_ACCECN)."""
    if is_accurate(t):
        seg.flags |= ACE_REPEATED


def queue_cwr(t: Tcb) -> None:
    """The window is reduced, and the peer is to know; accurate ECN has no such signal (tcp_ecn_queue_cwr)."""
    ac = t.accecn
    t.ecn_queue_cwr = t.ecn_ok and (ac is None or not (ac.agreed or ac.asked))


def data_arrived(t: Tcb, seg: Segment) -> None:
    """CE marks are echoed until the peer says CWR (RFC 3168 6.1.3; tcp_ecn_accept_cwr, tcp_data_ecn_check)."""
    accurate = is_accurate(t)
    if accurate:
        ac = t.accecn
        if ac is not None and ac.at_once:
            ack_now(t, Why.ECN_ACK)
    elif seg.flags & CWR:
        t.ecn_demand_cwr = False
        # The peer's window may be a single segment now.
        ack_now(t, Why.ACK)
    if seg.length == 0 or not seq_gt((seg.seq + seg.length) & 0xFFFFFFFF, t.rcv_nxt):
        # A duplicate says nothing about the path now.
        return
    mark: i64 = seg.tos & 3
    if mark == 0:
        # Not ECT although others were: most likely a retransmission.
        if t.ecn_seen:
            enter_quickack_mode(t, 2)
    elif not accurate:
        if mark == 3 and not t.ecn_demand_cwr:
            enter_quickack_mode(t, 2)
            t.ecn_demand_cwr = True
        t.ecn_seen = True
