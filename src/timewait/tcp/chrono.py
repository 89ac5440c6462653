"""Where a sender's time goes: busy, held up by the peer's window, or by its own buffer (tcp_chrono_start, _stop)."""

from timewait.base.ints import i16, i64
from timewait.base.seq import seq_diff
from timewait.tcp.segments import current_mss
from timewait.tcp.tcb import CHRONO_BUSY, CHRONO_IDLE, CHRONO_RWND, CHRONO_SNDBUF, Tcb


def account(t: Tcb, now: i64) -> None:
    """Note what holds the sender up from now on. Called after everything that may leave has left."""
    kind = _kind(t)
    if kind == t.chrono:
        return
    _add(t, now)
    t.chrono = i16(kind)
    t.chrono_since = now


def _kind(t: Tcb) -> i64:
    """What the sender waits for, the most telling first."""
    if t.unsent_len == 0:
        if t.packets_out == 0 or t.snd_nxt == (t.iss + 1) & 0xFFFFFFFF:
            # A SYN alone is no data.
            return CHRONO_IDLE
        return CHRONO_SNDBUF if t.no_space else CHRONO_BUSY
    mss = current_mss(t)
    needed = mss if mss < t.unsent_len else t.unsent_len
    if seq_diff(t.wnd_end(), t.snd_nxt) < needed and t.packets_in_flight() < t.cwnd:
        return CHRONO_RWND
    return CHRONO_BUSY


def _add(t: Tcb, now: i64) -> None:
    span = now - t.chrono_since
    if t.chrono == CHRONO_BUSY:
        t.chrono_busy += span
    elif t.chrono == CHRONO_RWND:
        t.chrono_rwnd += span
    elif t.chrono == CHRONO_SNDBUF:
        t.chrono_sndbuf += span


def times(t: Tcb, now: i64) -> tuple[int, int, int]:
    """(busy, held up by the window, held up by the buffer) in us; the first includes the others (tcp_get_info)."""
    busy, rwnd, sndbuf = t.chrono_busy, t.chrono_rwnd, t.chrono_sndbuf
    span = now - t.chrono_since
    if t.chrono == CHRONO_BUSY:
        busy += span
    elif t.chrono == CHRONO_RWND:
        rwnd += span
    elif t.chrono == CHRONO_SNDBUF:
        sndbuf += span
    return int((busy + rwnd + sndbuf) // 1000), int(rwnd // 1000), int(sndbuf // 1000)
