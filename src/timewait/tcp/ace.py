"""What accurate ECN remembers of a connection (RFC 9768 section 3): counters of marks in both directions.

Most connections have none: the object is made when accurate ECN is asked for, or when the first
ECN-capable packet comes.
"""

from typing import Final

from timewait.base.ints import i64

INITIAL: Final = 5
"""What the three-bit counter starts from (TCP_ACCECN_CEP_INIT_OFFSET)."""
MASK: Final = 7

# Linux's tcpi_accecn_fail_mode.
ACE_FAIL_SEND: Final = 1
ACE_FAIL_RECV: Final = 2
"""The ACE field was mangled: nothing more is sent as ECN-capable."""
OPT_FAIL_SEND: Final = 4
OPT_FAIL_RECV: Final = 8
"""The option was mangled, or never came: it is not read any more."""

# Linux's tcpi_accecn_opt_seen.
OPT_NOT_SEEN: Final = 0
OPT_EMPTY_SEEN: Final = 1
OPT_COUNTER_SEEN: Final = 2
OPT_FAIL_SEEN: Final = 3

REFLECTED: Final = (2, 3, 4, 6)
"""ACE of a SYN-ACK or third packet, by the codepoint that the SYN or SYN-ACK came with (RFC 9768 table 3)."""
INFERRED: Final = (2, 1, 0, 1, 2, 1, 3, 1)
"""The codepoint with which our SYN or SYN-ACK arrived, by the peer's ACE."""


class AccurateEcn:
    """Counters and state of one connection. The lists are indexed by the IP codepoint: 1 ECT(1), 2 ECT(0), 3 CE."""

    def __init__(self) -> None:
        self.agreed = False
        """Both ends speak accurate ECN (TCP_ECN_MODE_ACCECN)."""
        self.asked = False
        """Our SYN asked for it, and the answer is awaited (TCP_ECN_MODE_PENDING)."""
        self.reflect = False
        """The next segment says with which codepoint the peer's SYN or SYN-ACK came, instead of the counter."""
        self.third_packet = False
        """A simultaneous open waits for what reflects our SYN-ACK (wait_third_ack)."""
        self.at_once = False
        """The next acknowledgment that is owed goes out at once."""
        self.progress = False
        """The segment being processed has a newer timestamp (FLAG_TS_PROGRESS)."""
        self.syn_sent: i64 = 0
        """The codepoint of our SYN or SYN-ACK."""
        self.syn_received: i64 = 0
        """The codepoint with which the peer's came."""
        self.received_ce: i64 = 0
        """Packets that came with CE, pure acknowledgments too (r.cep)."""
        self.unsaid: i64 = 0
        """How many of them no segment of ours has told yet, 15 at most."""
        self.received: list[int] = [0, 0, 0, 0]
        """Octets of payload that came, by codepoint (r.e1b, r.e0b, r.ceb)."""
        self.delivered: list[int] = [0, 0, 0, 0]
        """Octets of ours that the peer received, by codepoint, as its options tell (s.e1b, s.e0b, s.ceb)."""
        self.last: i64 = 0
        """The codepoint of the packet before."""
        self.required: i64 = 0
        """How many fields an option needs to tell what has changed."""
        self.demand: i64 = 0
        """So many segments to come shall carry the option, even where it is sent sparingly."""
        self.option_at: i64 = 0
        """When the last option was sent."""
        self.clock: i64 = 0
        """The time of the latest event: by it a beacon falls due."""
        self.estimate: i64 = 0
        """The codepoint to which delivered octets are added while no option comes; 0: unclear."""
        self.seen: i64 = OPT_NOT_SEEN
        self.failures: i64 = 0
