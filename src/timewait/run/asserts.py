"""Assertions about connections, computed from the record alone; a failure tells numbers and draws the ladder.

    no_leaks(net)                        nothing is left in ESTABLISHED or CLOSE-WAIT
    closed_first(net, "client")          who sent the first FIN, and so keeps the TIME-WAIT
    retransmissions(net, at_most=3)
    time_to_detect(net, "client", at_most="60s", since="power off")
    no_reset(net)
    data_conserved(net)                  every octet sent arrived, once, unchanged

Each takes a `Record` or anything with a `.record`, and which connections are meant: `host` (an end of
it), `port` (of the responder) or `connection` (its number). AssertionError tells what was found.
"""

from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

from timewait.base.errors import UsageError
from timewait.base.instant import show_ns
from timewait.base.ranges import RangeSet
from timewait.draw.ladder import ladder
from timewait.record import measure
from timewait.record.connections import Connection, Side
from timewait.record.entries import Noted, Received, Sent
from timewait.record.record import Record
from timewait.run import quantity
from timewait.tcp.states import Cause, State
from timewait.wire.address import show_endpoint
from timewait.wire.packet import RST, SYN, Segment

LEAKED: Final = (State.ESTABLISHED, State.CLOSE_WAIT)
"""The states in which a connection waits for its program: forgotten ones stay there for ever."""
EXCERPT: Final = 40
"""Rows of a ladder in a message; the middle of a longer one is left out."""
MOST_DRAWN: Final = 2
"""Ladders in one message; further connections are only named."""


class HasRecord(Protocol):
    """A net, a world: what kept a record."""

    @property
    def record(self) -> Record:
        """What happened."""
        ...


Source = Record | HasRecord


class NetworkAssertion(AssertionError):
    """An assertion about the network that does not hold. `connections` are the ones it is about."""

    def __init__(self, text: str, connections: Iterable[Connection] = ()) -> None:
        super().__init__(text)
        self.connections: list[Connection] = list(connections)


def no_leaks(
    source: Source,
    *,
    states: tuple[State, ...] = LEAKED,
    host: str | None = None,
    port: int | None = None,
    connection: int | None = None,
) -> None:
    """No end of a connection is left in one of `states`. Hosts without power hold nothing."""
    record = _record(source)
    end = record.entries[-1].time if record.entries else 0
    found: list[tuple[Connection, Side, State]] = []
    for each in _chosen(record, host, port, connection):
        for side in (each.initiator, each.responder):
            state = _last_state(record, each, side)
            if state in states and (host is None or side.host == host):
                found.append((each, side, state))
    if not found:
        return
    lines = [f"{len(found)} {'end of a connection' if len(found) == 1 else 'ends of connections'} leaked:"]
    for each, side, state in found:
        moves = each.moves(side)
        since = moves[-1].time if moves else each.start
        advice = " (the peer has closed, this program has not)" if state is State.CLOSE_WAIT else ""
        lines.append(
            f"  {_end(side)} in {_state(state)} for {show_ns(end - since)}, peer {_end(each.peer(side))}{advice}"
        )
    _fail(record, lines, [each for each, _, _ in found])


def closed_first(
    source: Source, expected: str, *, host: str | None = None, port: int | None = None, connection: int | None = None
) -> None:
    """In every connection meant, the host `expected` sent the first FIN. A connection without one fails too."""
    record = _record(source)
    wrong: list[Connection] = []
    lines: list[str] = []
    for each in _some(record, host, port, connection):
        first = measure.first_to_close(each)
        if first is not None and first.host == expected:
            continue
        wrong.append(each)
        if first is None:
            reset = measure.reset_by(each)
            lines.append(f"  {_name(each)}: nobody sent a FIN{f'; {reset.host} reset it' if reset else ''}")
        else:
            lines.append(f"  {_name(each)}: {first.host} closed first")
    if wrong:
        _fail(record, [f"{expected} was to close first, in {len(wrong)} of the connections it did not:", *lines], wrong)


def retransmissions(
    source: Source,
    *,
    at_most: int,
    host: str | None = None,
    port: int | None = None,
    connection: int | None = None,
) -> None:
    """Over all connections meant, at most so many segments were sent again (by `host`, where one is named)."""
    record = _record(source)
    counted: list[tuple[Connection, list[Sent]]] = []
    for each in _chosen(record, host, port, connection):
        again = [entry for entry in measure.retransmissions(each) if host is None or entry.where == host]
        if again:
            counted.append((each, again))
    total = sum(len(again) for _, again in counted)
    if total <= at_most:
        return
    counted.sort(key=lambda item: -len(item[1]))
    lines = [f"{total} retransmissions, at most {at_most} were to be:"]
    for each, again in counted:
        reasons: dict[str, int] = {}
        for entry in again:
            name = entry.packet.why.name if entry.packet.why is not None else "unknown"
            reasons[name] = reasons.get(name, 0) + 1
        told = ", ".join(f"{count} {name}" for name, count in sorted(reasons.items()))
        lines.append(f"  {_name(each)}: {len(again)} ({told})")
    _fail(record, lines, [each for each, _ in counted])


def time_to_detect(
    source: Source,
    host: str,
    *,
    at_most: float | str,
    since: float | str | None = None,
    port: int | None = None,
    connection: int | None = None,
) -> int:
    """How long `host` took to give up a peer that fell silent, ns; at most `at_most`.

    Counted from the last segment that reached it over that connection; or from `since`: an
    instant in seconds, or words of a note in the record such as 'power off'. Ends that are
    still there count as not having noticed by the record's end.
    """
    record = _record(source)
    limit = quantity.length(at_most)
    start = _instant(record, since) if since is not None else -1
    slow: list[Connection] = []
    lines: list[str] = []
    longest = 0
    for each in _some(record, host, port, connection):
        side = each.side_at(host)
        if side is None:
            continue
        heard = [entry.time for entry in each.entries if isinstance(entry, Received) and entry.where == host]
        begun = start if start >= 0 else max(heard, default=each.start)
        died = measure.died_at(each, side)
        if died is not None and died < begun:
            continue
        took = (died if died is not None else _end_of(record)) - begun
        longest = max(longest, took)
        if died is None or took > limit:
            slow.append(each)
            said = f"noticed after {show_ns(took)}" if died is not None else f"not noticed within {show_ns(took)}"
            lines.append(f"  {_name(each)}: {said}")
    if slow:
        text = f"{host} was to notice a dead peer within {show_ns(limit)}:"
        _fail(record, [text, *lines, "  " + _remedy()], slow)
    return longest


def no_reset(
    source: Source, *, host: str | None = None, port: int | None = None, connection: int | None = None
) -> None:
    """No RST was sent (by `host`, where one is named)."""
    record = _record(source)
    found: list[tuple[Connection, Sent]] = []
    for each in _chosen(record, host, port, connection):
        for entry in each.packets():
            segment = entry.packet
            if isinstance(segment, Segment) and segment.flags & RST and (host is None or entry.where == host):
                found.append((each, entry))
    if not found:
        return
    lines = [f"{len(found)} RST sent:"]
    for each, entry in found:
        why = entry.packet.why
        lines.append(
            f"  {_name(each)}: by {entry.where} after {show_ns(entry.time)}"
            f" ({'unknown' if why is None else why.name.lower().replace('_', ' ')})"
        )
    _fail(record, lines, list({id(each): each for each, _ in found}.values()))


def data_conserved(
    source: Source, *, host: str | None = None, port: int | None = None, connection: int | None = None
) -> None:
    """Every octet that a side sent reached the other one's host, and no octet differs.

    Of data sent again the first transmission counts. What arrives behind a RST or at a closed
    socket is not conserved: the program lost it.
    """
    record = _record(source)
    wrong: list[Connection] = []
    lines: list[str] = []
    for each in _chosen(record, host, port, connection):
        for side in (each.initiator, each.responder):
            told = _difference(each, side)
            if told:
                wrong.append(each)
                lines.append(f"  {_end(side)} -> {_end(each.peer(side))}: {told}")
    if wrong:
        unique = list({id(each): each for each in wrong}.values())
        _fail(record, [f"data was not conserved in {len(unique)} connections:", *lines], unique)


CHECKS: Final[dict[str, Callable[[Source], None]]] = {
    "no_leaks": no_leaks,
    "no_close_wait": lambda source: no_leaks(source, states=(State.CLOSE_WAIT,)),
    "no_reset": no_reset,
    "data_conserved": data_conserved,
}
"""Those that need no further word, by name: what `@pytest.mark.timewait(checks=...)` takes."""


# Inside


def _record(source: Source) -> Record:
    return source if isinstance(source, Record) else source.record


def _chosen(record: Record, host: str | None, port: int | None, number: int | None) -> list[Connection]:
    if number is not None:
        return [record.connection(number)]
    found = record.connections()
    if host is not None:
        found = [each for each in found if host in (each.initiator.host, each.responder.host)]
    if port is not None:
        found = [each for each in found if each.responder.port == port]
    return found


def _some(record: Record, host: str | None, port: int | None, number: int | None) -> list[Connection]:
    """As `_chosen`, and an assertion about nothing fails."""
    found = _chosen(record, host, port, number)
    if not found:
        every = ", ".join(_name(each) for each in record.connections()[:5])
        raise NetworkAssertion(f"no such connection; the record holds {every or 'none'}")
    return found


def _last_state(record: Record, connection: Connection, side: Side) -> State:
    """The state at the end; CLOSED where the host lost power after the last move."""
    moves = connection.moves(side)
    if not moves:
        return State.CLOSED
    gone = [
        entry.time for entry in record if isinstance(entry, Noted) and entry.text.startswith(f"{side.host} power off")
    ]
    if gone and gone[-1] >= moves[-1].time:
        return State.CLOSED
    return moves[-1].new


def _end_of(record: Record) -> int:
    return record.entries[-1].time if record.entries else 0


def _instant(record: Record, since: float | str) -> int:
    """An instant as a number of seconds, a duration in words, or the first note that holds these words."""
    if not isinstance(since, str):
        return quantity.duration(since)
    for entry in record:
        if isinstance(entry, Noted) and since in entry.text:
            return entry.time
    try:
        return quantity.duration(since)
    except UsageError:
        notes = ", ".join(repr(entry.text) for entry in record if isinstance(entry, Noted))
        raise UsageError(f"no note in the record says {since!r}; there are {notes or 'none'}") from None


class _Stream:
    """Octets by their place in a direction; the first one seen at a place stays."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.have = RangeSet()

    def put(self, start: int, octets: bytes) -> None:
        end = start + len(octets)
        if len(self.data) < end:
            self.data.extend(bytes(end - len(self.data)))
        for low, high in self.have.gaps(start, end):
            self.data[low:high] = octets[low - start : high - start]
        self.have.add(start, end)


def _difference(connection: Connection, side: Side) -> str:
    """What of a side's data did not arrive as it was sent; '' for nothing."""
    reader = connection.peer(side)
    sent, arrived = _Stream(), _Stream()
    closed = _lost_reader(connection, reader)
    for entry in connection.entries:
        if isinstance(entry, Sent):
            stream = sent
        elif isinstance(entry, Received) and entry.where == reader.host and entry.time <= closed:
            stream = arrived
        else:
            continue
        segment = entry.packet
        if isinstance(segment, Segment) and segment.flow == side.flow and segment.length:
            start = connection.relative_seq(segment) + (1 if segment.flags & SYN else 0)
            # A keepalive may repeat the octet before the first, which is none.
            if start >= 1:
                stream.put(start - 1, bytes(segment.payload))
    missing = 0
    first = -1
    changed = 0
    total = sum(high - low for low, high in sent.have)
    for low, high in sent.have:
        for start, end in arrived.have.gaps(low, high):
            missing += end - start
            first = start if first < 0 else first
    for low, high in arrived.have:
        here, there = sent.data[low:high], arrived.data[low:high]
        if here != there:
            changed += sum(1 for one, other in zip(here, there, strict=False) if one != other)
    told: list[str] = []
    if missing:
        told.append(f"{missing} of {total} octets never arrived, the first at {first}")
    if changed:
        told.append(f"{changed} of {total} octets arrived changed")
    return "; ".join(told)


def _lost_reader(connection: Connection, reader: Side) -> int:
    """When the reader's end ended otherwise than by closing in order: what arrives later reaches nobody."""
    for move in connection.moves(reader):
        if move.new is State.CLOSED and move.cause in _DISORDERLY:
            return move.time
    return 1 << 62


_DISORDERLY: Final = (
    Cause.RCV_RST,
    Cause.ABORT,
    Cause.TIMED_OUT,
    Cause.KEEPALIVE_FAILED,
    Cause.UNREAD_DATA,
    Cause.DATA_AFTER_CLOSE,
    Cause.ICMP_ERROR,
    Cause.HOST_LOST,
)


def _state(state: State) -> str:
    return state.name.replace("_", "-")


def _end(side: Side) -> str:
    return f"{side.host or 'somebody'} {show_endpoint(side.address, side.port)}"


def _name(connection: Connection) -> str:
    one, two = connection.initiator, connection.responder
    return f"#{connection.number} {one.host or '?'}:{one.port} -> {two.host or '?'}:{two.port}"


def _remedy() -> str:
    return "nothing tells a silent peer from a dead one but a time limit: a timeout, SO_KEEPALIVE, TCP_USER_TIMEOUT"


def excerpt(record: Record, connections: Iterable[Connection], rows: int = EXCERPT) -> str:
    """The ladders of these connections, the first ones drawn and the rest named."""
    unique = list({each.number: each for each in connections}.values())
    drawn = [ladder(record, each, width=100, max_rows=rows, summary=False).rstrip("\n") for each in unique[:MOST_DRAWN]]
    if len(unique) > MOST_DRAWN:
        rest = ", ".join(_name(each) for each in unique[MOST_DRAWN : MOST_DRAWN + 5])
        more = len(unique) - MOST_DRAWN
        drawn.append(f"and {more} more: {rest}{' ...' if more > 5 else ''}")
    return "\n\n".join(drawn)


def _fail(record: Record, lines: list[str], connections: list[Connection]) -> NoReturn:
    raise NetworkAssertion("\n".join([*lines, "", excerpt(record, connections)]), connections)
