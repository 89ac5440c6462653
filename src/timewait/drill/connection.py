"""The connection under test: its addresses, and the map between a script's numbers and those on the wire."""

from typing import Final

from timewait.wire.packet import PROTO_TCP, Segment, make_flow

# How far a connection has come, as far as its packets tell.
NEW: Final = "new"
LISTENING: Final = "listening"
CONNECTING: Final = "connecting"
OPEN: Final = "open"

MASK: Final = 0xFFFFFFFF


class TestConnection:
    """One connection of a script.

    A script numbers octets from its own ISNs: on packets with SYN its numbers are
    absolute, on all others they count from the ISN. The peer's ISN is what the script
    says; the stack's own is learnt from its SYN.
    """

    __test__ = False

    def __init__(self, local: bytes, remote: bytes, local_port: int = 0, remote_port: int = 0) -> None:
        self.local = local
        self.remote = remote
        self.local_port = local_port
        """0 while the stack has not chosen it."""
        self.remote_port = remote_port
        self.secret = b""
        """The key of `md5 valid`."""
        self.state = NEW
        self.fd = -1
        """The script's descriptor; -1 before accept()."""
        self.handshaking = True
        """Nothing but SYN and RST has come from the stack: a SYN of ours still sets our ISN."""
        self.script_remote_isn = 0
        self.script_local_isn = 0
        self.live_local_isn = 0
        self.ts_script_to_live: dict[int, int] = {}
        self.ts_first: tuple[int, int] | None = None
        """The first timestamp the stack sent: (script's, live)."""
        self.ts_last: tuple[int, int] | None = None
        self.last_sent: Segment | None = None
        """The last segment the stack sent: ICMP errors quote its header."""
        self.last_received: Segment | None = None

    # Which packets are its own

    def owns(self, seg: Segment) -> bool:
        """Whether the stack sent this segment on this connection."""
        if seg.dst != self.remote or seg.src != self.local:
            return False
        if self.local_port and seg.sport != self.local_port:
            return False
        return not self.remote_port or seg.dport == self.remote_port

    def learn_ports(self, seg: Segment) -> None:
        """Take the ports from a segment that the stack sent."""
        if not self.local_port:
            self.local_port = int(seg.sport)
        if not self.remote_port:
            self.remote_port = int(seg.dport)

    def address(self, seg: Segment, inbound: bool) -> None:
        """Fill in addresses, ports and flow of a segment in one of the two directions."""
        if inbound:
            seg.src, seg.dst, seg.sport, seg.dport = self.remote, self.local, self.remote_port, self.local_port
        else:
            seg.src, seg.dst, seg.sport, seg.dport = self.local, self.remote, self.local_port, self.remote_port
        seg.proto = PROTO_TCP
        seg.flow = make_flow(seg.src, seg.dst, seg.sport, seg.dport)

    # Numbers

    def local_offset(self, syn: bool) -> int:
        """What turns a script's number in the stack's own space into the one on the wire."""
        return self.live_local_isn - (self.script_local_isn if syn else 0)

    def remote_offset(self, syn: bool) -> int:
        """The same for the peer's space."""
        return 0 if syn else self.script_remote_isn

    def live_local(self, number: int, syn: bool) -> int:
        return (number + self.local_offset(syn)) & MASK

    def live_remote(self, number: int, syn: bool) -> int:
        return (number + self.remote_offset(syn)) & MASK

    def script_local(self, number: int, syn: bool) -> int:
        return (number - self.local_offset(syn)) & MASK

    def script_remote(self, number: int, syn: bool) -> int:
        return (number - self.remote_offset(syn)) & MASK

    # Timestamps

    def bind_ts(self, script: int, live: int) -> None:
        """The stack sent TSval `live` where the script says `script`."""
        self.ts_script_to_live[script] = live
        if self.ts_first is None:
            self.ts_first = script, live
        self.ts_last = script, live

    def live_ecr(self, script: int, scaled: bool) -> int | None:
        """The TSecr on the wire for the script's; None if the script never named that TSval."""
        found = self.ts_script_to_live.get(script)
        if found is not None:
            return found
        if scaled and self.ts_last is not None:
            return (script - self.ts_last[0] + self.ts_last[1]) & MASK
        return None

    def script_ts(self, live: int) -> int:
        """A live TSval in the script's terms, as well as it can be told."""
        for script, known in self.ts_script_to_live.items():
            if known == live:
                return script
        if self.ts_first is not None:
            return (live - self.ts_first[1] + self.ts_first[0]) & MASK
        return live
