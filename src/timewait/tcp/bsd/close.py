"""CLOSE as FreeBSD does it (tcp_disconnect, tcp_usrclosed): what was not read is forgotten, not answered with RST."""

from timewait.base.ints import i64
from timewait.tcp.bsd.arrive import orphan_time
from timewait.tcp.fate import finish, queue_fin, send_reset
from timewait.tcp.reasons import Why
from timewait.tcp.states import CLOSE_WAIT, CLOSED, ESTABLISHED, FIN_WAIT_2, SYN_RCVD, SYN_SENT, Cause
from timewait.tcp.tcb import RCV_SHUTDOWN, SEND_SHUTDOWN, Tcb


def close_bsd(t: Tcb, linger: i64, now: i64) -> None:
    """The program lets go. linger: SO_LINGER in ns, -1 when off; 0 resets."""
    t.shutdown_mask = RCV_SHUTDOWN | SEND_SHUTDOWN
    state = t.state
    if state is CLOSED:
        t.done = True
        return
    t.rcv_queue = None
    t.rcv_queued = 0
    if state is SYN_SENT or (state is SYN_RCVD and not t.fast_open):
        finish(t, Cause.CLOSE_CALL, now)
        return
    if linger == 0:
        send_reset(t, Why.RST_LINGER, now)
        finish(t, Cause.ABORT, now)
        return
    if state is ESTABLISHED or state is CLOSE_WAIT or state is SYN_RCVD:
        queue_fin(t, Cause.CLOSE_CALL, now)
    t.orphan = True
    if state is FIN_WAIT_2:
        t.keepalive_at = now + orphan_time(t)
