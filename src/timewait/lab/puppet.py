"""A host without a stack: a lab writes each of its segments, and reads each that arrives.

Sequence numbers are relative, as in ladders: the puppet's SYN is 0, its first octet 1,
and acknowledgments count from the other side's SYN. One puppet plays one connection at
a time, or sends whatever bytes a lab wants.
"""

from collections.abc import Callable
from typing import Final

from timewait.base.errors import WireError
from timewait.record.match import parse_flags
from timewait.tcp.tap import Tap
from timewait.wire.address import parse_prefix, show
from timewait.wire.packet import PROTO_TCP, SYN, Packet, Segment, make_flow
from timewait.wire.parse import parse
from timewait.world.clock import Scheduler
from timewait.world.pipe import Port

ISS: Final = 1_000_000
"""The puppet's initial sequence number, unless the lab chooses one."""


class Puppet(Port):
    """A machine on a link that does nothing by itself.

    `received` holds what arrived, in order; `on_packet`, if set, is called with each.
    `peer` is the address it talks to, `iss` and `irs` the two initial sequence numbers
    (`irs` is learnt from the first SYN or SYN-ACK that arrives).
    """

    def __init__(self, name: str, clock: Scheduler, address: str, peer: str, tap: Tap | None) -> None:
        super().__init__(name)
        self.clock = clock
        self.tap = tap
        self.addresses = [parse_prefix(address)]
        self.local = self.addresses[0][0]
        self.peer = parse_prefix(peer + "/32" if ":" not in peer else peer + "/128")[0]
        self.port = 0
        self.peer_port = 0
        self.iss = ISS
        self.irs: int | None = None
        self.window = 65535
        self.received: list[Packet] = []
        self.on_packet: Callable[[Packet], None] | None = None

    def prefixes(self) -> list[tuple[bytes, int]]:
        return self.addresses

    def deliver(self, packet: Packet) -> None:
        """A packet arrived: note it, learn from a SYN, tell the lab."""
        if self.tap is not None:
            self.tap.received(self.name, packet, self.clock.now())
        self.received.append(packet)
        if isinstance(packet, Segment) and packet.flags & SYN:
            self.irs = packet.seq
            self.port, self.peer_port = int(packet.dport), int(packet.sport)
        if self.on_packet is not None:
            self.on_packet(packet)

    def deliver_bytes(self, data: bytes) -> None:
        """Damaged bytes arrived: what cannot be read is passed over, as a wire-level observer would."""
        try:
            self.deliver(parse(data))
        except WireError:
            return

    def segments(self) -> list[Segment]:
        """The TCP segments that arrived."""
        return [packet for packet in self.received if isinstance(packet, Segment)]

    def last(self) -> Segment | None:
        """The last segment that arrived."""
        found = self.segments()
        return found[-1] if found else None

    def segment(
        self, flags: str, *, seq: int = 0, ack: int | None = None, data: bytes = b"", absolute: bool = False
    ) -> Segment:
        """A segment to be changed and then handed to `put`. Numbers are relative unless `absolute`."""
        made = Segment()
        made.src, made.dst, made.proto = self.local, self.peer, PROTO_TCP
        made.sport, made.dport = self.port, self.peer_port
        made.flow = make_flow(self.local, self.peer, self.port, self.peer_port)
        made.flags = parse_flags(flags)
        made.seq = (seq if absolute else seq + self.iss) & 0xFFFFFFFF
        if ack is not None:
            made.ack = (ack if absolute else ack + (self.irs or 0)) & 0xFFFFFFFF
        made.window = self.window
        made.payload, made.length = data, len(data)
        made.dont_fragment = True
        return made

    def put(self, packet: Packet) -> Packet:
        """Send a packet as it is."""
        if self.tap is not None:
            self.tap.sent(self.name, packet, self.clock.now())
        assert self.pipe is not None, "the puppet is on no link"
        self.pipe.send(packet)
        return packet

    def send(
        self, flags: str, *, seq: int = 0, ack: int | None = None, data: bytes = b"", absolute: bool = False
    ) -> Segment:
        """Send a segment without options: flags as in 'SA', 'FA', 'R'."""
        made = self.segment(flags, seq=seq, ack=ack, data=data, absolute=absolute)
        self.put(made)
        return made

    def syn(self, *, sport: int = 40000, dport: int = 80, iss: int | None = None, mss: int = 1460) -> Segment:
        """Send a SYN, with an MSS option unless `mss` is 0; a new `iss` begins a new connection."""
        self.port, self.peer_port = sport, dport
        if iss is not None:
            self.iss = iss
        made = self.segment("S")
        made.mss = mss
        self.put(made)
        return made

    def syn_ack(self, *, mss: int = 1460) -> Segment:
        """Answer the SYN that arrived."""
        made = self.segment("SA", seq=0, ack=1)
        made.mss = mss
        self.put(made)
        return made

    def relative(self, segment: Segment) -> tuple[int, int]:
        """(seq, ack) of a segment that arrived, counted from the two SYNs."""
        seq = (segment.seq - (self.irs or 0) + 2**31) % 2**32 - 2**31
        ack = (segment.ack - self.iss + 2**31) % 2**32 - 2**31
        return seq, ack

    def __repr__(self) -> str:
        return f"Puppet({self.name}, {show(self.local)})"
