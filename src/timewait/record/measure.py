"""Measurements: pure functions over a connection or a record. Labs judge by these."""

import itertools

from timewait.base.ranges import RangeSet
from timewait.record.connections import Connection, Side
from timewait.record.entries import Dropped, Moved, Received, Sent, segment_of
from timewait.record.record import RETRANSMISSIONS, Record
from timewait.tcp.states import State
from timewait.wire.packet import ACK, FIN, RST, SYN, Segment


def first_to_close(connection: Connection) -> Side | None:
    """The side that sent the first FIN; None if no FIN was sent."""
    for entry in connection.packets():
        segment = segment_of(entry)
        if segment is not None and segment.flags & FIN:
            return connection.side(segment.flow)
    return None


def reset_by(connection: Connection) -> Side | None:
    """The side that sent the first RST; None if none was sent."""
    for entry in connection.packets():
        segment = segment_of(entry)
        if segment is not None and segment.flags & RST:
            return connection.side(segment.flow)
    return None


def retransmissions(connection: Connection, side: Side | None = None) -> list[Sent]:
    """Transmissions that repeat: by their stated reason, or by their numbers where the sender gave none."""
    seen = {connection.initiator.flow: RangeSet(), connection.responder.flow: RangeSet()}
    found: list[Sent] = []
    for entry in connection.packets(side):
        segment = entry.packet
        repeats = segment.why in RETRANSMISSIONS
        if isinstance(segment, Segment) and segment.seq_len:
            start = connection.relative_seq(segment)
            ranges = seen[segment.flow]
            repeats = repeats or (segment.why is None and ranges.covers(start, start + segment.seq_len))
            ranges.add(start, start + segment.seq_len)
        if repeats:
            found.append(entry)
    return found


def lost(connection: Connection) -> list[Dropped]:
    """What links dropped of it (hosts' discards not included)."""
    return [entry for entry in connection.entries if isinstance(entry, Dropped) and on_link(entry)]


def on_link(entry: Dropped) -> bool:
    """Whether a packet died on a link and not in a host."""
    return entry.drop.name.startswith("LINK_")


def payload_bytes(connection: Connection, side: Side) -> int:
    """Octets of payload that a side sent, each counted once: retransmissions add nothing."""
    top = 1
    for entry in connection.packets(side):
        segment = segment_of(entry)
        if segment is not None and segment.length:
            start = connection.relative_seq(segment) + (1 if segment.flags & SYN else 0)
            top = max(top, start + segment.length)
    return top - 1


def handshake_time(connection: Connection) -> int | None:
    """ns from the initiator's first SYN to the arrival of the SYN-ACK; None if there was none."""
    begun: int | None = None
    for entry in connection.entries:
        segment = segment_of(entry)
        if segment is None:
            continue
        from_initiator = segment.flow == connection.initiator.flow
        if isinstance(entry, Sent) and begun is None and from_initiator and segment.flags & SYN:
            begun = entry.time
        answer = segment.flags & (SYN | ACK) == SYN | ACK and not from_initiator
        if isinstance(entry, Received) and answer and begun is not None and entry.where == connection.initiator.host:
            return entry.time - begun
    return None


def time_in(connection: Connection, side: Side, state: State) -> int:
    """ns that a side spent in a state, up to the connection's last entry if it is still in it."""
    total = 0
    since: int | None = None
    for move in connection.moves(side):
        if since is not None and move.new is not state:
            total += move.time - since
            since = None
        if move.new is state and since is None:
            since = move.time
    if since is not None:
        total += connection.entries[-1].time - since
    return total


def died_at(connection: Connection, side: Side) -> int | None:
    """When a side last moved to CLOSED, ns; None if it did not."""
    for move in reversed(connection.moves(side)):
        if move.new is State.CLOSED:
            return move.time
    return None


def path(connection: Connection, side: Side) -> list[State]:
    """The states that a side went through, the one it started from first."""
    moves = connection.moves(side)
    return [moves[0].old, *(move.new for move in moves)] if moves else []


def intervals(times: list[int]) -> list[int]:
    """ns between successive times: the backoff of `record.sent_times(...)`."""
    return [after - before for before, after in itertools.pairwise(times)]


def visited(record: Record) -> set[tuple[State, State]]:
    """Every move that any connection of the record made: what a state diagram highlights."""
    return {(entry.old, entry.new) for entry in record if isinstance(entry, Moved)}
