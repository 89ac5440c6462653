"""Explicit congestion notification as RFC 3168 defines it (section 6.1; tcp_ecn.h)."""

from timewait.base.ints import i64
from timewait.tcp.delack import ack_now, enter_quickack_mode
from timewait.tcp.reasons import Why
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import ACK, CWR, ECE, Segment


def accepts(sysctl: Sysctl, seg: Segment) -> bool:
    """Whether we agree to the ECN that a SYN asks for; a SYN that is ECT itself is not to be trusted (RFC 8311 4.3)."""
    return sysctl.tcp_ecn != 0 and seg.flags & (ECE | CWR) == ECE | CWR and seg.tos & 3 == 0


def offer(t: Tcb, seg: Segment) -> None:
    """Our SYN asks with ECE and CWR, our SYN-ACK agrees with ECE (RFC 3168 6.1.1).

    A repeated SYN no longer asks: a middlebox may have dropped the first one for it (6.1.1.1, tcp_ecn_fallback).
    """
    sysctl = t.net.sysctl
    if seg.flags & ACK:
        if t.ecn_ok:
            seg.flags |= ECE
    elif sysctl.tcp_ecn == 1 and (t.retransmits == 0 or not sysctl.tcp_ecn_fallback):
        seg.flags |= ECE | CWR
        t.ecn_ok = True


def agree(t: Tcb, seg: Segment) -> None:
    """The peer's SYN or SYN-ACK has come: is it ECN (tcp_ecn_rcv_synack, tcp_ecn_rcv_syn)."""
    expected = ECE if seg.flags & ACK else ECE | CWR
    if t.ecn_ok and seg.flags & (ECE | CWR) != expected:
        t.ecn_ok = False


def data_leaves(t: Tcb, seg: Segment) -> None:
    """New data is ECT(0), and the first of it after a reduction says CWR (RFC 3168 6.1.2; tcp_ecn_send)."""
    seg.tos = (seg.tos & ~3) | 2
    if t.ecn_queue_cwr:
        t.ecn_queue_cwr = False
        seg.flags |= CWR


def data_arrived(t: Tcb, seg: Segment) -> None:
    """CE marks are echoed until the peer says CWR (RFC 3168 6.1.3; tcp_ecn_accept_cwr, tcp_ecn_check_ce)."""
    if seg.flags & CWR:
        t.ecn_demand_cwr = False
        # The peer's window may be a single segment now.
        ack_now(t, Why.ACK)
    mark: i64 = seg.tos & 3
    if mark == 0:
        # Not ECT although others were: most likely a retransmission.
        if t.ecn_seen:
            enter_quickack_mode(t, 2)
        return
    if mark == 3 and not t.ecn_demand_cwr:
        enter_quickack_mode(t, 2)
        t.ecn_demand_cwr = True
    t.ecn_seen = True
