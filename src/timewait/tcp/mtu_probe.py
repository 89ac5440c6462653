"""Packetization-layer path MTU discovery (RFC 4821): probes with real data, and black holes.

A connection that searches sends segments of `MtuSearch.low` and now and then a single
larger one, halfway to `MtuSearch.high`. If it is acknowledged, the low end rises to it; if it
alone is lost, the high end falls below it and the congestion window stays as it was.
"""

from typing import Final

from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.loss.mark import current_ssthresh
from timewait.tcp.mtu_search import MtuSearch
from timewait.tcp.segments import mtu_to_mss, update_mss
from timewait.tcp.send import record_length
from timewait.tcp.tcb import CA_OPEN, TS_OPTION_LENGTH, Tcb

NO_PROBE: Final[i64] = -1
"""Send as usual."""
WAIT: Final[i64] = 0
"""Send nothing now: the next acknowledgment makes room for a probe."""
LEAST_WINDOW: Final = 11
"""Congestion window below which a lost probe could not be told from congestion (tcp_mtu_probe)."""


def mss_to_mtu(t: Tcb, mss: i64) -> i64:
    """Size of the packet that carries `mss` octets of data (tcp_mss_to_mtu)."""
    return mss + t.header_size + (TS_OPTION_LENGTH if t.ts_ok else 0)


def _search(t: Tcb, now: i64) -> MtuSearch:
    """From tcp_base_mss up to what the peer takes."""
    return MtuSearch(mss_to_mtu(t, t.net.sysctl.tcp_base_mss), t.mss_clamp + t.header_size, now)


def start_search(t: Tcb, now: i64) -> None:
    """The connection is established: with tcp_mtu_probing 2 it searches at once (tcp_mtup_init)."""
    search = _search(t, now)
    t.mtu_search = search
    if t.passive:
        # It goes on with full segments until something else makes the MSS be worked out.
        return
    low, high = search.low, search.high
    if t.net.sysctl.tcp_timestamps and not t.ts_ok:
        # The bounds were set when the SYN still had timestamps, and are set again without them afterwards.
        search.low += TS_OPTION_LENGTH
    update_mss(t)
    search.low, search.high = low, high


def black_hole(t: Tcb, now: i64) -> None:
    """Timeout upon timeout: perhaps packets of this size vanish (tcp_mtu_probing in tcp_timer.c).

    The first time segments shrink to tcp_base_mss, each time after that to half.
    """
    sysctl = t.net.sysctl
    search = t.mtu_search
    if search is None:
        t.mtu_search = _search(t, now)
    else:
        mss = mtu_to_mss(t, search.low) >> 1
        if mss > sysctl.tcp_base_mss:
            mss = sysctl.tcp_base_mss
        if mss < sysctl.tcp_mtu_probe_floor:
            mss = sysctl.tcp_mtu_probe_floor
        if mss < sysctl.tcp_min_snd_mss:
            mss = sysctl.tcp_min_snd_mss
        search.low = mss_to_mtu(t, mss)
    update_mss(t)


def probe_length(t: Tcb, mss: i64, now: i64) -> i64:
    """Octets to send as one probe now, or NO_PROBE, or WAIT (tcp_mtu_probe); `mss` is the current one."""
    search = t.mtu_search
    if search is None or search.probe_size or t.ca_state != CA_OPEN or t.cwnd < LEAST_WINDOW:
        return NO_PROBE
    if t.sack_blocks or t.dsack is not None:
        # Headers of changing size would confuse the search.
        return NO_PROBE
    size = mtu_to_mss(t, (search.high + search.low) >> 1)
    needed = size + (t.reordering + 1) * t.mss_cache
    if size > mtu_to_mss(t, search.high) or search.high - search.low < t.net.sysctl.tcp_probe_threshold:
        _search_again(t, search, mss, now)
        return NO_PROBE
    # Enough must follow for the loss of the probe alone to be seen from duplicate acknowledgments.
    if seq_diff(t.write_seq, t.snd_nxt) < needed or t.unsent_len < size or t.snd_wnd < needed:
        return NO_PROBE
    if seq_diff(t.wnd_end(), t.snd_nxt) < needed:
        return WAIT
    in_flight = t.packets_in_flight()
    if in_flight + 2 > t.cwnd:
        return WAIT if in_flight else NO_PROBE
    if t.records_queued and record_length(t) < size:
        return NO_PROBE
    return size


def probe_sent(t: Tcb, length: i64) -> None:
    """Remember the probe that starts at SND.NXT; it stands for two segments in the window."""
    search = t.mtu_search
    assert search is not None
    search.probe_size = mss_to_mtu(t, length)
    search.probe_start = t.snd_nxt
    search.probe_end = (t.snd_nxt + length) & 0xFFFFFFFF
    t.cwnd -= 1


def succeeded(t: Tcb, search: MtuSearch, now: i64) -> None:
    """The probe is acknowledged: segments grow, and the window keeps its octets (tcp_mtup_probe_success)."""
    t.prior_ssthresh = current_ssthresh(t)
    cwnd = t.cwnd * mss_to_mtu(t, t.mss_cache) // search.probe_size
    t.cwnd = cwnd if cwnd > 1 else 1
    t.cwnd_cnt = 0
    t.cwnd_stamp = now
    t.ssthresh = current_ssthresh(t)
    search.low = search.probe_size
    search.probe_size = 0
    update_mss(t)
    t.net.counters.TcpExtTCPMTUPSuccess += 1


def _search_again(t: Tcb, search: MtuSearch, mss: i64, now: i64) -> None:
    """Once in tcp_probe_interval, look whether the path has become wider (tcp_mtu_check_reprobe)."""
    if now - search.begun_at >= t.net.sysctl.tcp_probe_interval * SEC:
        search.probe_size = 0
        search.high = t.mss_clamp + t.header_size
        search.low = mss_to_mtu(t, mss)
        search.begun_at = now
