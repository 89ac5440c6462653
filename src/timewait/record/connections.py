"""A record's entries sorted by TCP connection, so that relative numbers and ladders can be drawn.

A four-tuple can be used again: each incarnation is a connection of its own. A new one
begins with a SYN whose number is new, provided the old one was over, or the SYN was
answered, or its sender says that it moved to SYN-SENT; a stray SYN inside a living
connection stays part of that.
"""

from collections.abc import Iterable
from typing import Final

from timewait.base.ints import i64
from timewait.base.seq import seq_diff
from timewait.record.entries import (
    Dropped,
    Entry,
    Moved,
    Received,
    Sent,
    TimerFired,
    packet_of,
    reverse_flow,
    segment_of,
    uid_of,
)
from timewait.tcp.reasons import Why
from timewait.tcp.states import State
from timewait.wire.packet import ACK, FIN, PROTO_TCP, RST, SYN, IcmpMessage, Packet, Segment

_ICMP4_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
_ICMP6_ERRORS: Final = frozenset({1, 2, 3, 4})


class Side:
    """One end of a connection. `flow` is the key of the segments it sends."""

    def __init__(self, flow: bytes) -> None:
        size = (len(flow) - 4) // 2
        self.flow: bytes = flow
        self.address: bytes = flow[:size]
        self.port: int = int.from_bytes(flow[-4:-2], "big")
        self.host: str = ""
        """Name of the host, '' while none was seen there."""
        self.isn: int | None = None
        """Initial sequence number; where no SYN was seen, one below the first number seen."""
        self.mss: int = 0
        """MSS option of its SYN, 0 without one."""
        self.wscale: int = -1
        """Window scale option of its SYN, -1 without one."""
        self.saw_syn: bool = False
        self.fin_sent: bool = False
        self._heard: str = ""

    def learn(self, segment: Segment) -> None:
        """Take what a segment sent by this side tells of its numbers."""
        if segment.flags & SYN:
            self.isn = segment.seq
            self.mss = segment.mss
            self.wscale = segment.wscale
            self.saw_syn = True
        elif self.isn is None and not segment.flags & RST:
            self.isn = (segment.seq - 1) & 0xFFFFFFFF
        if segment.flags & FIN:
            self.fin_sent = True

    def heard_at(self, host: str) -> None:
        """A packet for this side reached a host: the last such host is its own, unless it is known."""
        self._heard = host

    def settle(self) -> None:
        """Fall back on where packets were heard."""
        if not self.host:
            self.host = self._heard


class Connection:
    """One incarnation of a four-tuple: its initiator, its responder and everything that concerns it."""

    def __init__(self, number: int, initiator: bytes, incarnation: int, start: int) -> None:
        self.number: int = number
        """Place in `Record.connections()`, from 0."""
        self.incarnation: int = incarnation
        """1 for the first use of the four-tuple in this record, 2 for the next."""
        self.initiator = Side(initiator)
        self.responder = Side(reverse_flow(initiator))
        self.start: int = start
        """Time of the first entry, ns."""
        self.entries: list[Entry] = []
        self.over: bool = False

    def side(self, flow: bytes) -> Side:
        """The side that sends segments with this key."""
        return self.initiator if flow == self.initiator.flow else self.responder

    def peer(self, side: Side) -> Side:
        """The other side."""
        return self.responder if side is self.initiator else self.initiator

    def side_at(self, host: str) -> Side | None:
        """The side at a host; None where the host is not an end of this connection."""
        if host == self.initiator.host:
            return self.initiator
        return self.responder if host == self.responder.host else None

    def relative_seq(self, segment: Segment) -> int:
        """The sequence number counted from the sender's initial one; a segment with SYN is 0."""
        return self.relative(self.side(segment.flow), segment.seq, bool(segment.flags & SYN))

    def relative_ack(self, segment: Segment) -> int:
        """The acknowledgment number counted from the initial number of the side it is addressed to."""
        return self.relative(self.peer(self.side(segment.flow)), segment.ack, False)

    def relative(self, side: Side, number: int, syn: bool) -> int:
        """A sequence number of `side`, counted from its initial one; negative for older ones."""
        if syn or side.isn is None:
            return 0 if syn else number
        return seq_diff(number, side.isn)

    def window(self, segment: Segment) -> int:
        """The window in octets: scaled as the two SYNs agreed; never scaled in a SYN (RFC 7323 2.2)."""
        sender = self.side(segment.flow)
        if segment.flags & SYN or self.initiator.wscale < 0 or self.responder.wscale < 0:
            return segment.window
        return segment.window << min(sender.wscale, 14)

    def moves(self, side: Side) -> list[Moved]:
        """The changes of state of one side."""
        key = reverse_flow(side.flow)
        return [entry for entry in self.entries if isinstance(entry, Moved) and entry.flow == key]

    def packets(self, side: Side | None = None) -> list[Sent]:
        """Transmissions of one side, or of both (ICMP errors about the connection not included)."""
        return [
            entry
            for entry in self.entries
            if isinstance(entry, Sent)
            and isinstance(entry.packet, Segment)
            and (side is None or entry.packet.flow == side.flow)
        ]

    def state_at(self, side: Side, time: i64) -> State:
        """The state of one side at `time` ns, that instant's moves done."""
        state = State.CLOSED
        for move in self.moves(side):
            if move.time > time:
                break
            state = move.new
        return state


class Conversations:
    """Entries sorted by connection. `connections` in order of appearance; `rest` belongs to none."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.connections: list[Connection] = []
        self.rest: list[Entry] = []
        self._current: dict[bytes, Connection] = {}
        self._by_uid: dict[int, Connection] = {}
        self._incarnations: dict[bytes, int] = {}
        listed = list(entries)
        self._answered = _answered_syns(listed)
        for entry in listed:
            connection = self._place(entry)
            if connection is None:
                self.rest.append(entry)
            else:
                connection.entries.append(entry)
        for connection in self.connections:
            connection.initiator.settle()
            connection.responder.settle()

    def _place(self, entry: Entry) -> Connection | None:
        if isinstance(entry, (Moved, TimerFired)):
            return self._place_event(entry)
        packet = packet_of(entry)
        if packet is None:
            return None
        uid = uid_of(entry)
        if uid and not isinstance(entry, Sent) and uid in self._by_uid:
            connection = self._by_uid[uid]
        else:
            found = self._of_packet(entry, packet)
            if found is None:
                return None
            connection = found
            if uid:
                self._by_uid[uid] = connection
        segment = segment_of(entry)
        if segment is not None:
            _learn(connection, entry, segment)
        return connection

    def _of_packet(self, entry: Entry, packet: Packet) -> Connection | None:
        if isinstance(packet, IcmpMessage):
            flow = quoted_flow(packet)
            return self._current.get(_key(flow)) if flow else None
        if not isinstance(packet, Segment):
            return None
        flow = packet.flow
        connection = self._current.get(_key(flow))
        if connection is None:
            return self._begin(_initiator(packet), entry)
        if packet.flags & (SYN | ACK) == SYN and self._starts_anew(connection, packet):
            return self._begin(flow, entry)
        return connection

    def _starts_anew(self, connection: Connection, syn: Segment) -> bool:
        side = connection.side(syn.flow)
        if side.isn == syn.seq or (side.isn is None and not connection.over):
            return False
        return connection.over or (_key(syn.flow), syn.flow, syn.seq) in self._answered

    def _place_event(self, entry: Moved | TimerFired) -> Connection | None:
        flow = entry.flow
        if len(flow) < 12 or flow[-4:-2] == b"\0\0":
            return None
        connection = self._current.get(_key(flow))
        if isinstance(entry, Moved):
            opens = entry.old is State.CLOSED and entry.new is State.SYN_SENT
            if connection is None or (opens and connection.side(reverse_flow(flow)).isn is not None):
                active = entry.new is State.SYN_SENT
                connection = self._begin(reverse_flow(flow) if active else flow, entry)
            if entry.new is State.CLOSED or entry.new is State.TIME_WAIT:
                connection.over = True
        if connection is not None:
            connection.side(reverse_flow(flow)).host = entry.where
        return connection

    def _begin(self, initiator: bytes, entry: Entry) -> Connection:
        key = _key(initiator)
        self._incarnations[key] = self._incarnations.get(key, 0) + 1
        connection = Connection(len(self.connections), initiator, self._incarnations[key], entry.time)
        self.connections.append(connection)
        self._current[key] = connection
        return connection


def _learn(connection: Connection, entry: Entry, segment: Segment) -> None:
    side = connection.side(segment.flow)
    if isinstance(entry, Sent):
        if segment.why is not Why.FORWARDED:
            side.host = side.host or entry.where
            side.learn(segment)
    else:
        # What was never seen sent (a foreign host, a corrupted copy) still teaches, unless it contradicts.
        if isinstance(entry, Received):
            connection.peer(side).heard_at(entry.where)
        if side.isn is None and not isinstance(entry, Dropped):
            side.learn(segment)
    both_closed = connection.initiator.fin_sent and connection.responder.fin_sent
    if both_closed or segment.flags & RST:
        connection.over = True


def _key(flow: bytes) -> bytes:
    return min(flow, reverse_flow(flow))


def _initiator(segment: Segment) -> bytes:
    """Who opened a connection of which this is the first segment seen."""
    if segment.flags & (SYN | ACK) == SYN | ACK or segment.flags & RST:
        return reverse_flow(segment.flow)
    return segment.flow


def _answered_syns(entries: list[Entry]) -> set[tuple[bytes, bytes, int]]:
    """(tuple, sender's flow, number) of each SYN that a SYN-ACK acknowledged, or a refusal."""
    answered: set[tuple[bytes, bytes, int]] = set()
    for entry in entries:
        segment = segment_of(entry)
        if segment is not None and segment.flags & (SYN | RST) and segment.flags & ACK:
            answered.add((_key(segment.flow), reverse_flow(segment.flow), (segment.ack - 1) & 0xFFFFFFFF))
    return answered


def quoted_flow(message: IcmpMessage) -> bytes:
    """The flow key of the TCP segment that an ICMP error quotes; b'' where it quotes none."""
    quote = bytes(message.payload[:60])
    if len(message.src) == 4:
        if message.type not in _ICMP4_ERRORS or len(quote) < 24 or quote[9] != PROTO_TCP:
            return b""
        start = (quote[0] & 15) * 4
        ports = quote[start : start + 4]
        return quote[12:20] + ports if len(ports) == 4 else b""
    if message.type not in _ICMP6_ERRORS or len(quote) < 44 or quote[6] != PROTO_TCP:
        return b""
    return quote[8:44]
