"""What is FreeBSD's in a SYN of ours and in its timers (tcp_output, tcp_connect, tcp_timer)."""

from typing import Final

from timewait.base.instant import MSEC
from timewait.base.ints import i64
from timewait.tcp.bsd.layout import lay_out
from timewait.tcp.bsd.window import MAX_WINDOW, window_scale
from timewait.tcp.net import Net
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import ACK, CWR, ECE, Segment

DROP_OPTIONS_AT: Final = 3
"""With rexmit_drop_options this retransmission of a SYN is the first without options."""
RTO_LIMIT: Final = 64000 * MSEC
"""TCPTV_REXMTMAX."""
MAX_SHIFT: Final = 12
"""TCP_MAXRXTSHIFT: retransmissions before a connection is given up."""


def offer(t: Tcb) -> None:
    """Window and scale of the SYN that is about to leave."""
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    t.rcv_wnd = t.rcvbuf if t.rcvbuf < MAX_WINDOW else MAX_WINDOW
    t.rcv_wscale = window_scale(bsd.maxsockbuf)
    t.window_clamp = MAX_WINDOW << t.rcv_wscale
    t.rcv_ssthresh = t.rcv_wnd


def begin(t: Tcb, now: i64) -> None:
    """The SYN has left: rexmit_initial until it is repeated, keepinit until it is given up."""
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    t.rto = bsd.rexmit_initial * MSEC
    t.rtx_at = now + t.rto
    t.keepalive_at = now + (t.wishes.keep_init if t.wishes.keep_init else bsd.keepinit * MSEC)


def finish_syn(t: Tcb, seg: Segment) -> None:
    """FreeBSD's order of options; an ECN request while it may be repeated; plain after the third timeout."""
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    answering = bool(seg.flags & ACK)
    if not answering and bsd.ecn_enable == 1 and t.retransmits <= bsd.ecn_maxretries:
        seg.flags |= ECE | CWR
    if t.no_options or (not answering and not offers_options(t)):
        strip(seg)
        if t.no_options:
            seg.mss = 0
    seg.raw_options = lay_out(seg)


def offers_options(t: Tcb) -> bool:
    """Whether a SYN sent now carries more than its MSS: not with TCP_NOOPT, nor late with rexmit_drop_options."""
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    return not t.no_options and not (bsd.rexmit_drop_options and t.retransmits >= DROP_OPTIONS_AT)


def strip(seg: Segment) -> None:
    """Leave nothing but the MSS."""
    seg.has_ts = False
    seg.sack_permitted = False
    seg.wscale = -1
    seg.fast_open = None


def data_timeout(t: Tcb, shift: i64) -> i64:
    """SRTT + 4 RTTVAR doubled `shift` times, plus the slop, which does not double (TCP_REXMTVAL, TCPT_RANGESET)."""
    bsd = t.net.sysctl.bsd
    assert bsd is not None
    # Three ticks is what the least measurable time gives.
    base: i64 = 3 * MSEC
    measured = ((t.srtt_us >> 3) + t.mdev_us) * 1000
    if measured > base:
        base = measured
    timeout = (base << (shift if shift < 9 else 9)) + bsd.rexmit_slop * MSEC
    return timeout if timeout < RTO_LIMIT else RTO_LIMIT


def handshake_timeout(net: Net, shift: i64) -> i64:
    """How long to wait after `shift` retransmissions of a SYN or SYN-ACK: rexmit_initial doubled, plus the slop."""
    bsd = net.sysctl.bsd
    assert bsd is not None
    if shift == 0:
        return bsd.rexmit_initial * MSEC
    doubled = (bsd.rexmit_initial << (shift if shift < 9 else 9)) + bsd.rexmit_slop
    return doubled * MSEC if doubled * MSEC < RTO_LIMIT else RTO_LIMIT
