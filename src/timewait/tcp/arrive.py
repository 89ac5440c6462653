"""Segment arrival: the one entry for segments that belong to a connection (RFC 9293 section 3.10.7)."""

from timewait.base.ints import i64
from timewait.tcp.arrive_sync import arrive_synchronized
from timewait.tcp.arrive_synsent import arrive_syn_sent
from timewait.tcp.bsd.arrive import arrive_bsd
from timewait.tcp.reasons import Drop
from timewait.tcp.states import CLOSED, SYN_SENT
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import Segment


def arrive(t: Tcb, seg: Segment, now: i64) -> None:
    """Process one segment. Afterwards pull output, look at `wake`, `done` and `next_timeout`."""
    segs: i64 = 1
    if seg.length:
        if seg.gso_size:
            segs = (seg.length + seg.gso_size - 1) // seg.gso_size
        t.data_segs_in += segs
    t.segs_in += segs
    if t.bsd:
        if t.state is CLOSED:
            t.dropped(seg, Drop.CLOSED_CONNECTION, now)
        else:
            arrive_bsd(t, seg, now)
        return
    if t.state is SYN_SENT:
        arrive_syn_sent(t, seg, now)
    elif t.state is CLOSED:
        t.dropped(seg, Drop.CLOSED_CONNECTION, now)
    else:
        arrive_synchronized(t, seg, now)
