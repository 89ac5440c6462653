"""TCP_INFO: a snapshot of one connection under the names of Linux's struct tcp_info."""

import struct
from typing import Final

from timewait.base.instant import MSEC, USEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.ace import AccurateEcn
from timewait.tcp.cc.base import NO_PACING
from timewait.tcp.chrono import times
from timewait.tcp.net import Net
from timewait.tcp.rate import delivery_rate
from timewait.tcp.send import queued
from timewait.tcp.states import CLOSED, LISTEN, SYN_RCVD
from timewait.tcp.tcb import INFINITE_SSTHRESH, MSS_DEFAULT, TIMER_NONE, TIMER_PROBE0, TS_OPTION_LENGTH, Tcb
from timewait.tcp.window import full_space
from timewait.wire.accecn import CE, ECT_0, ECT_1

TCPI_OPT_TIMESTAMPS = 1
TCPI_OPT_SACK = 2
TCPI_OPT_WSCALE = 4
TCPI_OPT_ECN = 8
TCPI_OPT_ECN_SEEN = 16
TCPI_OPT_SYN_DATA = 32
TCPI_OPT_TFO_CHILD = 128
TCPI_OPT_TFO_CHILD = 128
NO_MARKS = AccurateEcn()
"""What a connection shows that has counted nothing."""
NO_LIMIT: Final = 0xFFFFFFFFFFFFFFFF
"""tcpi_pacing_rate of a connection that has not measured anything."""


def tcp_info(t: Tcb, now: i64) -> dict[str, int]:
    """The fields that have a meaning here; times in us where Linux has us, in ms for tcpi_last_*."""
    options = 0
    if t.ts_ok:
        options |= TCPI_OPT_TIMESTAMPS
    if t.sack_ok:
        options |= TCPI_OPT_SACK
    if t.wscale_ok:
        options |= TCPI_OPT_WSCALE
    if t.ecn_ok:
        options |= TCPI_OPT_ECN
    if t.ecn_seen:
        options |= TCPI_OPT_ECN_SEEN
    if t.fast_open:
        options |= TCPI_OPT_TFO_CHILD
    if t.syn_data_acked:
        options |= TCPI_OPT_SYN_DATA
    if t.fast_open:
        options |= TCPI_OPT_TFO_CHILD
    if t.fast_open:
        options |= TCPI_OPT_TFO_CHILD
    no_rtt = t.srtt_us == 0 and t.mdev_us == 0
    unanswered = not t.passive and t.max_window == 0
    expects_timestamps = unanswered and not t.ts_ok and t.net.sysctl.tcp_timestamps
    # Linux's socket is CLOSED once a TIME-WAIT record has taken over.
    gone = t.done or t.time_wait_state is not None
    return _counts(t, now) | {
        "tcpi_state": CLOSED.value if gone else t.state.value,
        "tcpi_ca_state": int(t.ca_state),
        "tcpi_retransmits": int(t.retransmits),
        "tcpi_probes": int(t.probes_out),
        "tcpi_backoff": int(t.backoff),
        "tcpi_options": options,
        "tcpi_snd_wscale": int(t.snd_wscale) if t.wscale_ok else 0,
        "tcpi_rcv_wscale": int(t.rcv_wscale) if t.wscale_ok else 0,
        "tcpi_rto": int(t.rto // USEC),
        "tcpi_ato": int(t.ato // USEC),
        "tcpi_snd_mss": int(t.mss_cache) - (TS_OPTION_LENGTH if expects_timestamps else 0),
        "tcpi_rcv_mss": int(t.rcv_mss),
        # A fast-opened child's SYN-ACK stands in our queue, never in Linux's.
        "tcpi_unacked": int(t.packets_out) - int(t.fast_open and t.state is SYN_RCVD),
        "tcpi_sacked": int(t.sacked_out),
        "tcpi_lost": int(t.lost_out),
        "tcpi_retrans": int(t.retrans_out),
        "tcpi_last_data_sent": int((now - t.lsndtime) // MSEC),
        "tcpi_last_data_recv": int((now - t.lrcvtime) // MSEC),
        "tcpi_last_ack_recv": int((now - t.rcv_tstamp) // MSEC),
        "tcpi_pmtu": int(t.pmtu),
        "tcpi_rcv_ssthresh": int(t.rcv_ssthresh),
        "tcpi_rtt": int(t.srtt_us >> 3),
        "tcpi_rttvar": int(t.net.profile.rto_init // USEC if no_rtt else t.mdev_us) >> 2,
        "tcpi_snd_ssthresh": int(t.ssthresh),
        "tcpi_snd_cwnd": int(t.cwnd),
        "tcpi_advmss": int(t.advmss),
        "tcpi_reordering": int(t.reordering),
        "tcpi_rcv_rtt": int(t.rcv_rtt_us),
        "tcpi_rcv_space": int(t.rcvq_space),
        "tcpi_total_retrans": int(t.total_retrans),
    }


def _counts(t: Tcb, now: i64) -> dict[str, int]:
    """The fields that only grow, and the rates."""
    held = times(t, now)
    rto_time = t.total_rto_time
    if t.rto_stamp:
        rto_time += now - t.rto_stamp
    return {
        "tcpi_bytes_acked": int(t.bytes_acked),
        "tcpi_bytes_received": int(t.bytes_received) + (1 if t.rcv_fin else 0),
        "tcpi_segs_out": int(t.segs_out),
        "tcpi_segs_in": int(t.segs_in),
        "tcpi_notsent_bytes": int(t.unsent_len),
        "tcpi_min_rtt": int(t.min_rtt_us) if t.min_rtt_us >= 0 else 0xFFFFFFFF,
        "tcpi_data_segs_in": int(t.data_segs_in),
        "tcpi_data_segs_out": int(t.data_segs_out),
        "tcpi_busy_time": held[0],
        "tcpi_rwnd_limited": held[1],
        "tcpi_sndbuf_limited": held[2],
        "tcpi_delivered": int(t.delivered),
        "tcpi_bytes_sent": int(t.bytes_sent),
        "tcpi_bytes_retrans": int(t.bytes_retrans),
        "tcpi_dsack_dups": int(t.dsack_dups),
        "tcpi_reord_seen": int(t.reord_seen),
        "tcpi_rcv_ooopack": int(t.rcv_ooopack),
        "tcpi_snd_wnd": int(t.snd_wnd),
        "tcpi_rcv_wnd": int(t.rcv_wnd),
        "tcpi_rehash": int(t.total_rto),
        "tcpi_total_rto": int(t.total_rto),
        "tcpi_total_rto_recoveries": int(t.total_rto_recoveries),
        "tcpi_total_rto_time": int(rto_time // MSEC),
        **_ecn(t),
        "tcpi_pacing_rate": _rate(t.pacing_rate),
        "tcpi_max_pacing_rate": _rate(t.wishes.max_pacing_rate),
        "tcpi_delivery_rate": int(delivery_rate(t)),
        "tcpi_delivery_rate_app_limited": int(t.rate_app_limited),
        "tcpi_fastopen_client_fail": int(t.fast_open_fail),
    }


def _ecn(t: Tcb) -> dict[str, int]:
    """What accurate ECN counts; a connection without it counts what comes."""
    ac = t.accecn if t.accecn is not None else NO_MARKS
    return {
        "tcpi_delivered_ce": int(t.delivered_ce),
        "tcpi_received_ce": int(ac.received_ce),
        "tcpi_delivered_e1_bytes": ac.delivered[ECT_1],
        "tcpi_delivered_e0_bytes": ac.delivered[ECT_0],
        "tcpi_delivered_ce_bytes": ac.delivered[CE],
        "tcpi_received_e1_bytes": ac.received[ECT_1],
        "tcpi_received_e0_bytes": ac.received[ECT_0],
        "tcpi_received_ce_bytes": ac.received[CE],
        "tcpi_accecn_fail_mode": int(ac.failures),
        "tcpi_accecn_opt_seen": int(ac.seen),
    }


def _rate(rate: i64) -> int:
    """Octets per second; all ones when unlimited."""
    return NO_LIMIT if rate == NO_PACING else int(rate)


def queues(t: Tcb) -> tuple[int, int]:
    """(Recv-Q, Send-Q) as ss shows them for a connection: unread and unacknowledged octets."""
    return int(max(seq_diff(t.rcv_nxt, t.copied_seq), 0)), int(queued(t))


def timer_view(t: Tcb, now: i64) -> tuple[str, int]:
    """What ss -o shows: ('on'|'keepalive'|'timewait'|'persist'|'off', ns until it fires)."""
    if t.rtx_kind == TIMER_PROBE0:
        return "persist", int(t.rtx_at - now)
    if t.rtx_kind != TIMER_NONE:
        return "on", int(t.rtx_at - now)
    if t.keepalive_at < now + 10**15:
        return "keepalive", int(t.keepalive_at - now)
    return "off", 0


def buffer_space(t: Tcb) -> int:
    """Octets of window an empty receive buffer offers."""
    return int(full_space(t))


_FIRST: Final = "state ca_state retransmits probes backoff options".split()
"""One octet each; then the two window scales, and the bits of delivery_rate_app_limited and fastopen_client_fail."""
_LAYOUT: Final = """
rto:I ato:I snd_mss:I rcv_mss:I unacked:I sacked:I lost:I retrans:I fackets:I last_data_sent:I last_ack_sent:I
last_data_recv:I last_ack_recv:I pmtu:I rcv_ssthresh:I rtt:I rttvar:I snd_ssthresh:I snd_cwnd:I advmss:I reordering:I
rcv_rtt:I rcv_space:I total_retrans:I pacing_rate:Q max_pacing_rate:Q bytes_acked:Q bytes_received:Q segs_out:I
segs_in:I notsent_bytes:I min_rtt:I data_segs_in:I data_segs_out:I delivery_rate:Q busy_time:Q rwnd_limited:Q
sndbuf_limited:Q delivered:I delivered_ce:I bytes_sent:Q bytes_retrans:Q dsack_dups:I reord_seen:I rcv_ooopack:I
snd_wnd:I rcv_wnd:I rehash:I total_rto:H total_rto_recoveries:H total_rto_time:I received_ce:I delivered_e1_bytes:I
delivered_e0_bytes:I delivered_ce_bytes:I received_e1_bytes:I received_e0_bytes:I received_ce_bytes:I
accecn_fail_mode:H accecn_opt_seen:H
""".split()
"""The rest of struct tcp_info as Linux 6.18 lays it out, each with its struct letter."""
_NAMES: Final = ["tcpi_" + entry[:-2] for entry in _LAYOUT]
_REST: Final = struct.Struct("<" + "".join(entry[-1] for entry in _LAYOUT))
_MOST: Final = {"H": 0xFFFF, "I": 0xFFFFFFFF, "Q": NO_LIMIT}
_LIMITS: Final = [_MOST[entry[-1]] for entry in _LAYOUT]


def pack_info(info: dict[str, int]) -> bytes:
    """struct tcp_info as getsockopt(TCP_INFO) fills it; what is not in `info` is 0."""
    octets = [min(info.get("tcpi_" + name, 0), 255) for name in _FIRST]
    octets.append(info.get("tcpi_snd_wscale", 0) | info.get("tcpi_rcv_wscale", 0) << 4)
    octets.append(info.get("tcpi_delivery_rate_app_limited", 0) | info.get("tcpi_fastopen_client_fail", 0) << 1)
    pairs = zip(_NAMES, _LIMITS, strict=True)
    return bytes(octets) + _REST.pack(*[min(max(info.get(name, 0), 0), limit) for name, limit in pairs])


def unpack_info(data: bytes) -> dict[str, int]:
    """The tcpi_ fields of as much of the struct as is there; {} for less than its first eight octets."""
    if len(data) < 8:
        return {}
    found = {"tcpi_" + name: data[index] for index, name in enumerate(_FIRST)}
    found["tcpi_snd_wscale"], found["tcpi_rcv_wscale"] = data[6] & 15, data[6] >> 4
    found["tcpi_delivery_rate_app_limited"] = data[7] & 1
    found["tcpi_fastopen_client_fail"] = data[7] >> 1 & 3
    at = 8
    for name, entry in zip(_NAMES, _LAYOUT, strict=True):
        size = struct.calcsize("<" + entry[-1])
        if at + size > len(data):
            break
        found[name] = int.from_bytes(data[at : at + size], "little")
        at += size
    return found


def _beginning(net: Net) -> dict[str, int]:
    """The fields that have a meaning in every state (tcp_init_sock)."""
    return {
        "tcpi_reordering": int(net.sysctl.tcp_reordering),
        "tcpi_snd_cwnd": int(net.profile.init_cwnd),
        "tcpi_pacing_rate": NO_LIMIT,
        "tcpi_max_pacing_rate": NO_LIMIT,
    }


def socket_info(net: Net, now: i64) -> dict[str, int]:
    """What a socket that never was connected shows: CLOSED and the values that it would begin with."""
    timeout = int(net.profile.rto_init // USEC)
    since_start = int(now // MSEC)
    return _beginning(net) | {
        "tcpi_state": CLOSED.value,
        "tcpi_delivery_rate_app_limited": 1,
        "tcpi_rto": timeout,
        "tcpi_rttvar": timeout >> 2,
        "tcpi_snd_mss": MSS_DEFAULT,
        "tcpi_snd_ssthresh": INFINITE_SSTHRESH,
        "tcpi_min_rtt": 0xFFFFFFFF,
        "tcpi_last_data_sent": since_start,
        "tcpi_last_data_recv": since_start,
        "tcpi_last_ack_recv": since_start,
    }


def listener_info(net: Net, waiting: int, backlog: int) -> dict[str, int]:
    """A listener shows its accept queue as tcpi_unacked and the backlog as tcpi_sacked (tcp_get_info)."""
    info = _beginning(net)
    info["tcpi_state"] = LISTEN.value
    info["tcpi_unacked"] = waiting
    info["tcpi_sacked"] = backlog
    return info
