"""The eleven states of RFC 9293 section 3.3.2 and the moves between them, as data.

The diagram in the docs, the page, the property tests and the legality check of
`Tcb.move` all read this table.
"""

from enum import Enum
from typing import Final


class State(Enum):
    """A connection state. The value is Linux's number (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RCVD = 3
    FIN_WAIT_1 = 4
    FIN_WAIT_2 = 5
    TIME_WAIT = 6
    CLOSED = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11

    # Enum's own hash is a Python function; `Tcb.move` looks two states up in TRANSITIONS.
    __hash__ = object.__hash__

    @property
    def rfc_name(self) -> str:
        """As RFC 9293 writes it: 'SYN-RECEIVED', 'FIN-WAIT-1'."""
        return "SYN-RECEIVED" if self is State.SYN_RCVD else self.name.replace("_", "-")

    @property
    def ss_name(self) -> str:
        """As `ss` prints it: 'ESTAB', 'SYN-RECV', 'FIN-WAIT-1', 'UNCONN'."""
        return _SS_NAMES[self]

    @property
    def netstat_name(self) -> str:
        """As net-tools prints it: 'SYN_RECV', 'FIN_WAIT1', 'CLOSE'."""
        return _NETSTAT_NAMES[self]


ESTABLISHED: Final = State.ESTABLISHED
SYN_SENT: Final = State.SYN_SENT
SYN_RCVD: Final = State.SYN_RCVD
FIN_WAIT_1: Final = State.FIN_WAIT_1
FIN_WAIT_2: Final = State.FIN_WAIT_2
TIME_WAIT: Final = State.TIME_WAIT
CLOSED: Final = State.CLOSED
CLOSE_WAIT: Final = State.CLOSE_WAIT
LAST_ACK: Final = State.LAST_ACK
LISTEN: Final = State.LISTEN
CLOSING: Final = State.CLOSING

_SS_NAMES: Final = {
    ESTABLISHED: "ESTAB",
    SYN_SENT: "SYN-SENT",
    SYN_RCVD: "SYN-RECV",
    FIN_WAIT_1: "FIN-WAIT-1",
    FIN_WAIT_2: "FIN-WAIT-2",
    TIME_WAIT: "TIME-WAIT",
    CLOSED: "UNCONN",
    CLOSE_WAIT: "CLOSE-WAIT",
    LAST_ACK: "LAST-ACK",
    LISTEN: "LISTEN",
    CLOSING: "CLOSING",
}
_NETSTAT_NAMES: Final = {
    ESTABLISHED: "ESTABLISHED",
    SYN_SENT: "SYN_SENT",
    SYN_RCVD: "SYN_RECV",
    FIN_WAIT_1: "FIN_WAIT1",
    FIN_WAIT_2: "FIN_WAIT2",
    TIME_WAIT: "TIME_WAIT",
    CLOSED: "CLOSE",
    CLOSE_WAIT: "CLOSE_WAIT",
    LAST_ACK: "LAST_ACK",
    LISTEN: "LISTEN",
    CLOSING: "CLOSING",
}


class Cause(Enum):
    """Why a connection moved from one state to another. The value is what a ladder prints."""

    ACTIVE_OPEN = "connect()"
    PASSIVE_OPEN = "listen()"
    RCV_SYN = "SYN received"
    RCV_SYN_ACK = "SYN-ACK received"
    RCV_ACK_OF_SYN = "our SYN acknowledged"
    CLOSE_CALL = "close()"
    SHUTDOWN_CALL = "shutdown()"
    RCV_FIN = "FIN received"
    RCV_ACK_OF_FIN = "our FIN acknowledged"
    RCV_FIN_AND_ACK_OF_FIN = "FIN received, our FIN acknowledged"
    RCV_RST = "RST received"
    ABORT = "aborted"
    TIMED_OUT = "retransmissions used up"
    KEEPALIVE_FAILED = "keepalive unanswered"
    FIN_WAIT_2_TIMEOUT = "FIN-WAIT-2 timeout"
    TIME_WAIT_TIMEOUT = "2MSL over"
    TIME_WAIT_REUSED = "reused by a new SYN"
    TIME_WAIT_OVERFLOW = "tcp_max_tw_buckets reached"
    UNREAD_DATA = "closed with unread data"
    DATA_AFTER_CLOSE = "data arrived after close"
    ICMP_ERROR = "ICMP error"
    LISTENER_CLOSED = "listener closed"
    SYN_ACK_RETRIES = "SYN-ACK retries used up"
    HOST_LOST = "the host lost power"
    UNSEEN = "seen in the kernel's table"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    CLOSED: frozenset({LISTEN, SYN_SENT, SYN_RCVD}),
    LISTEN: frozenset({CLOSED, SYN_RCVD}),
    SYN_SENT: frozenset({ESTABLISHED, SYN_RCVD, CLOSED}),
    SYN_RCVD: frozenset({ESTABLISHED, FIN_WAIT_1, CLOSE_WAIT, CLOSED, LISTEN}),
    ESTABLISHED: frozenset({FIN_WAIT_1, CLOSE_WAIT, CLOSED}),
    FIN_WAIT_1: frozenset({FIN_WAIT_2, CLOSING, TIME_WAIT, CLOSED}),
    FIN_WAIT_2: frozenset({TIME_WAIT, CLOSED}),
    CLOSE_WAIT: frozenset({LAST_ACK, CLOSED}),
    CLOSING: frozenset({TIME_WAIT, CLOSED}),
    LAST_ACK: frozenset({CLOSED}),
    TIME_WAIT: frozenset({CLOSED, SYN_RCVD}),
}
"""From each state, where an endpoint may go next."""
