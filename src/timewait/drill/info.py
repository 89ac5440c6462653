"""The constants that code blocks compare the fields of struct tcp_info with."""

from typing import Final

from timewait.drill import nplab

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
