"""struct tcp_info as the kernel lays it out, by the names that code blocks use, and their constants."""

import struct
from typing import Final

from timewait.drill import nplab

_WORDS: Final = """
rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent last_data_recv last_ack_recv
pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
""".split()
_LATER: Final = """
pacing_rate:Q max_pacing_rate:Q bytes_acked:Q bytes_received:Q segs_out:I segs_in:I notsent_bytes:I min_rtt:I
data_segs_in:I data_segs_out:I delivery_rate:Q busy_time:Q rwnd_limited:Q sndbuf_limited:Q delivered:I delivered_ce:I
bytes_sent:Q bytes_retrans:Q dsack_dups:I reord_seen:I rcv_ooopack:I snd_wnd:I rcv_wnd:I rehash:I total_rto:H
total_rto_recoveries:H total_rto_time:I
""".split()

_STATES: Final = """
ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING NEW_SYN_RECV
""".split()

CONSTANTS: Final[dict[str, int]] = {
    **nplab.CONSTANTS,
    **{f"TCP_{name}": number for number, name in enumerate(_STATES, 1)},
    **{f"TCP_CA_{name}": number for number, name in enumerate(("Open", "Disorder", "CWR", "Recovery", "Loss"))},
    "TCPI_OPT_TIMESTAMPS": 1,
    "TCPI_OPT_SACK": 2,
    "TCPI_OPT_WSCALE": 4,
    "TCPI_OPT_ECN": 8,
    "TCPI_OPT_ECN_SEEN": 16,
    "TCPI_OPT_SYN_DATA": 32,
    "TCPI_OPT_USEC_TS": 64,
    "TCPI_OPT_TFO_CHILD": 128,
    "TCP_INFINITE_SSTHRESH": 0x7FFFFFFF,
    "TFO_STATUS_UNSPEC": 0,
    "TFO_COOKIE_UNAVAILABLE": 1,
    "TFO_DATA_NOT_ACKED": 2,
    "TFO_SYN_RETRANSMITTED": 3,
}
"""Names that code blocks compare with."""


def unpack_info(data: bytes) -> dict[str, int]:
    """The tcpi_ names of as much of the struct as is there."""
    if len(data) < 8:
        return {}
    found = {
        "tcpi_state": data[0],
        "tcpi_ca_state": data[1],
        "tcpi_retransmits": data[2],
        "tcpi_probes": data[3],
        "tcpi_backoff": data[4],
        "tcpi_options": data[5],
        "tcpi_snd_wscale": data[6] & 15,
        "tcpi_rcv_wscale": data[6] >> 4,
        "tcpi_delivery_rate_app_limited": data[7] & 1,
        "tcpi_fastopen_client_fail": data[7] >> 1 & 3,
    }
    at = 8
    for name in _WORDS:
        if at + 4 > len(data):
            return found
        found["tcpi_" + name] = struct.unpack_from("<I", data, at)[0]
        at += 4
    for entry in _LATER:
        name, _, kind = entry.partition(":")
        size = struct.calcsize("<" + kind)
        if at + size > len(data):
            return found
        found["tcpi_" + name] = struct.unpack_from("<" + kind, data, at)[0]
        at += size
    return found
