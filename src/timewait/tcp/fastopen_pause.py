"""When fast open is given up for a while: middleboxes that swallow it (RFC 7413 7.1, tcp_fastopen_active_disable).

With net.ipv4.tcp_fastopen_blackhole_timeout_sec at 0, the default, nothing is ever given up.
"""

from typing import Final

from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.tcp.net import Net
from timewait.tcp.tcb import Tcb

MOST_DOUBLINGS: Final = 6
"""The pause doubles each time, up to 64 times the first one."""
TIMEOUTS: Final = 2
"""The third timeout in a row is taken for a black hole."""


def paused(net: Net, now: i64) -> bool:
    """Whether our SYNs carry neither data nor the option now (tcp_fastopen_active_should_disable)."""
    base = net.sysctl.tcp_fastopen_blackhole_timeout_sec
    if net.fast_open_pause_set != base:
        # Setting the parameter forgets what happened (proc_tfo_blackhole_detect_timeout).
        net.fast_open_pauses = 0
        net.fast_open_pause_set = base
    if base == 0 or net.fast_open_pauses == 0:
        return False
    doublings = net.fast_open_pauses - 1
    if doublings > MOST_DOUBLINGS:
        doublings = MOST_DOUBLINGS
    return now < net.fast_open_paused_at + (base << doublings) * SEC


def pause(net: Net, now: i64) -> None:
    """Fast open is harmful on some path: no connection of this host uses it for a while."""
    base = net.sysctl.tcp_fastopen_blackhole_timeout_sec
    if base == 0:
        return
    paused(net, now)
    net.fast_open_paused_at = now
    net.fast_open_pauses += 1
    net.counters.TcpExtTCPFastOpenBlackhole += 1


def timed_out_opening(t: Tcb, expired: bool, now: i64) -> None:
    """A timeout, the number of those before it in `retransmits` (tcp_fastopen_active_detect_blackhole)."""
    if t.retransmits == TIMEOUTS or (t.retransmits < TIMEOUTS and expired):
        pause(t.net, now)
        t.net.counters.TcpExtTCPFastOpenActiveFail += 1


def strange_reset(t: Tcb, now: i64) -> None:
    """A RST beside RCV.NXT on an established connection that never received data (tcp_validate_incoming)."""
    if t.data_segs_in == 0:
        pause(t.net, now)


def look_back(t: Tcb, now: i64) -> None:
    """The connection is gone: was a FIN all that came through (tcp_fastopen_active_disable_ofo_check)?"""
    if t.data_segs_in == 0:
        if t.ofo_fin >= 0:
            pause(t.net, now)
    elif t.after_pause:
        t.net.fast_open_pauses = 0
