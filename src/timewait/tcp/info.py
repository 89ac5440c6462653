"""TCP_INFO: a snapshot of one connection under the names of Linux's struct tcp_info."""

import struct

from timewait.base.instant import MSEC, USEC
from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.tcp.ace import AccurateEcn
from timewait.tcp.cc.base import NO_PACING
from timewait.tcp.chrono import times
from timewait.tcp.rate import delivery_rate
from timewait.tcp.segments import current_mss
from timewait.tcp.send import queued
from timewait.tcp.tcb import TIMER_NONE, TIMER_PROBE0, Tcb
from timewait.tcp.window import full_space
from timewait.wire.accecn import CE, ECT_0, ECT_1

TCPI_OPT_TIMESTAMPS = 1
TCPI_OPT_SACK = 2
TCPI_OPT_WSCALE = 4
TCPI_OPT_ECN = 8
TCPI_OPT_ECN_SEEN = 16
TCPI_OPT_SYN_DATA = 32
NO_MARKS = AccurateEcn()
"""What a connection shows that has counted nothing."""


def tcp_info(t: Tcb, now: i64) -> dict[str, int]:
    """The fields that have a meaning here; times in us where Linux has us, in ms for tcpi_last_*."""
    options = 0
    held = times(t, now)
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
    if t.syn_data_acked:
        options |= TCPI_OPT_SYN_DATA
    return {
        "tcpi_state": t.state.value,
        "tcpi_ca_state": int(t.ca_state),
        "tcpi_retransmits": int(t.retransmits),
        "tcpi_probes": int(t.probes_out),
        "tcpi_backoff": int(t.backoff),
        "tcpi_options": options,
        "tcpi_snd_wscale": int(t.snd_wscale),
        "tcpi_rcv_wscale": int(t.rcv_wscale),
        "tcpi_rto": int(t.rto // USEC),
        "tcpi_ato": int(t.ato // USEC),
        "tcpi_snd_mss": int(current_mss(t)),
        "tcpi_rcv_mss": int(t.rcv_mss),
        "tcpi_unacked": int(t.packets_out),
        "tcpi_sacked": int(t.sacked_out),
        "tcpi_lost": int(t.lost_out),
        "tcpi_retrans": int(t.retrans_out),
        "tcpi_last_data_sent": int((now - t.lsndtime) // MSEC),
        "tcpi_last_data_recv": int((now - t.lrcvtime) // MSEC),
        "tcpi_last_ack_recv": int((now - t.rcv_tstamp) // MSEC),
        "tcpi_pmtu": int(t.pmtu),
        "tcpi_rcv_ssthresh": int(t.rcv_ssthresh),
        "tcpi_rtt": int(t.srtt_us >> 3),
        "tcpi_rttvar": int(t.mdev_us >> 2),
        "tcpi_snd_ssthresh": int(t.ssthresh),
        "tcpi_snd_cwnd": int(t.cwnd),
        "tcpi_advmss": int(t.advmss),
        "tcpi_reordering": int(t.reordering),
        "tcpi_rcv_rtt": int(t.rcv_rtt_us),
        "tcpi_rcv_space": int(t.rcvq_space),
        "tcpi_total_retrans": int(t.total_retrans),
        "tcpi_bytes_acked": int(t.bytes_acked),
        "tcpi_bytes_received": int(t.bytes_received),
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
        "tcpi_total_rto": int(t.total_rto),
        "tcpi_total_rto_recoveries": int(t.total_rto_recoveries),
        "tcpi_total_rto_time": int(t.total_rto_time // MSEC),
        **_ecn(t),
        "tcpi_pacing_rate": _rate(t.pacing_rate),
        "tcpi_max_pacing_rate": _rate(t.wishes.max_pacing_rate),
        "tcpi_delivery_rate": int(delivery_rate(t)),
        "tcpi_delivery_rate_app_limited": int(t.rate_app_limited),
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


_HEAD = struct.Struct("<8B24I4Q6I4Q")
_TAIL = struct.Struct("<2I2Q6I2HI7I2H")
_WORDS = """
    rto ato snd_mss rcv_mss unacked sacked lost retrans - last_data_sent - last_data_recv last_ack_recv
    pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
""".split()
_COUNTS = ["segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out"]
_ECN = """
    received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes
    received_e1_bytes received_e0_bytes received_ce_bytes accecn_fail_mode accecn_opt_seen
""".split()
_LAST = ["dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd", "rcv_wnd"]
NO_LIMIT = 0xFFFFFFFFFFFFFFFF
"""tcpi_pacing_rate of a connection that has not measured anything."""


def pack_info(t: Tcb, now: i64) -> bytes:
    """struct tcp_info as getsockopt(TCP_INFO) fills it, 280 octets in Linux 6.18; what has no meaning here is 0."""
    i = tcp_info(t, now)
    octets = (
        i["tcpi_state"],
        i["tcpi_ca_state"],
        min(i["tcpi_retransmits"], 255),
        min(i["tcpi_probes"], 255),
        min(i["tcpi_backoff"], 255),
        i["tcpi_options"],
        i["tcpi_snd_wscale"] | i["tcpi_rcv_wscale"] << 4,
        i["tcpi_delivery_rate_app_limited"],
    )
    longs = (i["tcpi_pacing_rate"], i["tcpi_max_pacing_rate"], i["tcpi_bytes_acked"], i["tcpi_bytes_received"])
    words = [_word(i, name) for name in _WORDS]
    counts = [_word(i, name) for name in _COUNTS]
    times = [i["tcpi_" + name] for name in ("busy_time", "rwnd_limited", "sndbuf_limited")]
    head = _HEAD.pack(*octets, *words, *longs, *counts, i["tcpi_delivery_rate"], *times)
    last = [_word(i, name) for name in _LAST]
    sent, retrans = i["tcpi_bytes_sent"], i["tcpi_bytes_retrans"]
    rto = [min(i["tcpi_" + name], 0xFFFF) for name in ("total_rto", "total_rto_recoveries")]
    tail = (_word(i, "delivered"), i["tcpi_delivered_ce"], sent, retrans, *last, 0, *rto, i["tcpi_total_rto_time"])
    ecn = [_word(i, name) for name in _ECN]
    return head + _TAIL.pack(*tail, *ecn)


def _word(fields: dict[str, int], name: str) -> int:
    return 0 if name == "-" else min(max(fields["tcpi_" + name], 0), 0xFFFFFFFF)
