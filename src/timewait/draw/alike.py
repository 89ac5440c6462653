"""Connections that went the same way, so that fifty of them need not be drawn fifty times."""

from typing import Final

from timewait.record.connections import Connection
from timewait.record.entries import Dropped, Entry, Moved, packet_of
from timewait.wire.packet import ACK, Segment

ALIKE: Final = 2
"""So many are drawn each by itself though they are alike: one may be there to be compared with the other."""


def shape(connection: Connection) -> tuple[object, ...]:
    """What happened on a connection, in order, without times, ports and initial sequence numbers."""
    hosts = (connection.initiator.host, connection.responder.host)
    return hosts, tuple(_step(connection, entry) for entry in connection.entries)


def _step(connection: Connection, entry: Entry) -> tuple[object, ...]:
    words: list[object] = [type(entry).__name__, entry.where]
    packet = packet_of(entry)
    if isinstance(packet, Segment):
        words += [packet.flags, connection.relative_seq(packet), packet.length, packet.why]
        if packet.flags & ACK:
            words.append(connection.relative_ack(packet))
    elif packet is not None:
        words.append(type(packet).__name__)
    if isinstance(entry, Moved):
        words += [entry.old, entry.new, entry.cause]
    elif isinstance(entry, Dropped):
        words.append(entry.drop)
    return tuple(words)


def fold(connections: list[Connection], alike: int) -> list[tuple[Connection, list[Connection]]]:
    """(one to be drawn, those like it that are not), in the order of the record.

    Of more than `alike` connections that went the same way only the first is drawn.
    """
    groups: dict[tuple[object, ...], list[Connection]] = {}
    for connection in connections:
        groups.setdefault(shape(connection), []).append(connection)
    found: list[tuple[Connection, list[Connection]]] = []
    for group in groups.values():
        if len(group) > alike:
            found.append((group[0], group[1:]))
        else:
            found += [(connection, []) for connection in group]
    return sorted(found, key=_number)


def _number(item: tuple[Connection, list[Connection]]) -> int:
    return item[0].number
