"""What a ladder shows, before anyone decides how it looks: columns, and rows in order.

Text and SVG draw the same rows. An arrow is one row where it can honestly be one; where
something of weight happened at its receiver while it was on its way (a crossing FIN, a
later packet that overtook it, a retransmission of what it carries) its departure and
its arrival are two rows.
"""

from typing import Final

from timewait.draw.labels import ORDINARY
from timewait.record.connections import Connection
from timewait.record.entries import Called, Dropped, Entry, Moved, Noted, Received, Sent, TimerFired, reverse_flow
from timewait.record.measure import on_link
from timewait.record.record import RETRANSMISSIONS, Record
from timewait.tcp.reasons import Why
from timewait.tcp.states import Cause, State
from timewait.wire.address import show_endpoint
from timewait.wire.packet import ACK, FIN, RST, SYN, Packet, Segment

_BY_ARRIVAL: Final = frozenset(
    {
        Cause.RCV_SYN,
        Cause.RCV_SYN_ACK,
        Cause.RCV_ACK_OF_SYN,
        Cause.RCV_FIN,
        Cause.RCV_ACK_OF_FIN,
        Cause.RCV_FIN_AND_ACK_OF_FIN,
        Cause.RCV_RST,
        Cause.TIME_WAIT_REUSED,
        Cause.DATA_AFTER_CLOSE,
        Cause.ICMP_ERROR,
    }
)
_TRANSFER_CALLS: Final = ("send", "recv", "read", "write", "epoll", "poll", "select")
_ACTING_CALLS: Final = ("connect", "close", "shutdown", "send", "write", "exit", "kill", "listen")
_TIMER_SENT: Final = frozenset({Why.RTO, Why.TLP, Why.WINDOW_PROBE, Why.KEEPALIVE, Why.DELAYED_ACK, Why.RST_TIMEOUT})
_TIMER_MOVED: Final = frozenset(
    {
        Cause.TIME_WAIT_TIMEOUT,
        Cause.FIN_WAIT_2_TIMEOUT,
        Cause.TIMED_OUT,
        Cause.KEEPALIVE_FAILED,
        Cause.SYN_ACK_RETRIES,
    }
)
_QUIET_TIMERS: Final = frozenset({"delack", "pacing"})


class Column:
    """A vertical line: a host, or one side of a connection."""

    def __init__(self, host: str, title: str, flow: bytes, state: State | None) -> None:
        self.host = host
        self.title = title
        self.flow = flow
        """Key of the segments this side sends, b'' for a host that is no end of the connection."""
        self.state = state
        """The state before the first row; None where the record says nothing of states."""


class Row:
    """Something drawn at a time. `order` is its place in the record."""

    def __init__(self, time: int, order: int) -> None:
        self.time = time
        self.order = order


class Arrow(Row):
    """A packet from one column to another, with what became of it."""

    def __init__(self, time: int, order: int, packet: Packet, start: int, end: int) -> None:
        super().__init__(time, order)
        self.packet = packet
        self.start = start
        self.end = end
        self.known_start = True
        self.arrived: int | None = None
        """Time of (the last piece's) arrival."""
        self.arrival_order = -1
        self.lost: Dropped | None = None
        """Where a link dropped it, or the first piece of it that a link dropped."""
        self.lost_pieces = 0
        self.pieces: set[int] = set()
        self.refused: Dropped | None = None
        """The receiving host discarded it."""
        self.start_moves: list[Moved] = []
        self.end_moves: list[Moved] = []
        self.attempt = 0
        """1 for the first retransmission of this sequence number, 2 for the next; 0 for none."""
        self.since: int | None = None
        """ns since the same was sent before."""
        self.duplicate = False
        self.split = 0
        """Number of the pair of rows, where departure and arrival are drawn apart; 0 where they are one."""

    @property
    def weighty(self) -> bool:
        """Whether it matters what crosses it: anything but plain data and acknowledgments."""
        packet = self.packet
        if not isinstance(packet, Segment) or packet.flags & (SYN | FIN | RST):
            return True
        if self.start_moves or self.end_moves:
            return True
        return packet.why is not None and packet.why not in ORDINARY and packet.why not in _PLAIN_ACKS

    @property
    def plain(self) -> bool:
        """Whether it may be summarised together with its neighbours."""
        if self.weighty or self.split or self.lost or self.refused or self.duplicate or self.arrived is None:
            return False
        return not (self.start_moves or self.end_moves or self.attempt)


_PLAIN_ACKS: Final = frozenset({Why.DELAYED_ACK, Why.WINDOW_UPDATE, Why.GAP_FILLED})


class Arrival(Row):
    """The arrival of an arrow whose departure is another row."""

    def __init__(self, arrow: Arrow) -> None:
        assert arrow.arrived is not None
        super().__init__(arrow.arrived, arrow.arrival_order)
        self.arrow = arrow


class Note(Row):
    """Words beside a column (-1: across all). kind: 'call', 'timer', 'state', 'drop', 'note'."""

    def __init__(self, time: int, order: int, column: int, kind: str, text: str) -> None:
        super().__init__(time, order)
        self.column = column
        self.kind = kind
        self.text = text
        self.move: Moved | None = None

    @property
    def plain(self) -> bool:
        """Whether it may be summarised with a run of data."""
        if self.kind == "call":
            return self.text.startswith(_TRANSFER_CALLS)
        return self.kind == "timer" and self.text in _QUIET_TIMERS


class Summary(Row):
    """A run of rows told in one sentence."""

    def __init__(self, time: int, order: int, text: str) -> None:
        super().__init__(time, order)
        self.text = text


class Ladder:
    """Columns and rows."""

    def __init__(self, columns: list[Column], connection: Connection | None) -> None:
        self.columns = columns
        self.connection = connection
        self.rows: list[Row] = []
        self.start = 0
        """Time 0 of the ladder, in the record's ns."""


def build(
    record: Record,
    connection: Connection | None,
    *,
    hosts: list[str] | None = None,
    calls: bool = True,
    timers: bool = True,
) -> Ladder:
    """The ladder of one connection, or (connection None) of everything between the given hosts."""
    builder = _Builder(record, connection, hosts, calls, timers)
    builder.run()
    return builder.ladder


class _Builder:
    def __init__(
        self, record: Record, connection: Connection | None, hosts: list[str] | None, calls: bool, timers: bool
    ) -> None:
        self.record = record
        self.connection = connection
        self.calls = calls
        self.timers = timers
        self.ladder = Ladder(_columns(record, connection, hosts), connection)
        self.columns = self.ladder.columns
        self.arrows: dict[int, Arrow] = {}
        self.rows: list[Row] = []
        self.pending: dict[int, list[Note]] = {}
        self.landed: dict[int, Arrow] = {}
        self.attempts: dict[tuple[bytes, int], tuple[int, int]] = {}
        self.entries: list[Entry] = []
        self.now = -1

    def run(self) -> None:
        entries = _calls_first(self._entries())
        self.ladder.start = entries[0].time if entries else 0
        self.entries = entries
        for order, entry in enumerate(entries):
            if entry.time != self.now:
                self.now = entry.time
                self.pending.clear()
                self.landed.clear()
            self._take(entry, order)
        self._split()
        self.rows.sort(key=lambda row: row.order)
        self.ladder.rows = self.rows

    def _entries(self) -> list[Entry]:
        connection = self.connection
        if connection is None:
            return list(self.record.entries)
        mine = {id(entry) for entry in connection.entries}
        hosts = {column.host for column in self.columns}
        # A call names no connection: it is shown where it can only belong to this one.
        alone = len(self.record.connections()) == 1
        first, last = connection.entries[0].time, connection.entries[-1].time
        found: list[Entry] = []
        for entry in self.record.entries:
            unparsed = isinstance(entry, Dropped) and entry.packet is None
            call = isinstance(entry, Called) and alone and entry.where in hosts
            note = isinstance(entry, Noted) and (alone or first <= entry.time <= last)
            if id(entry) in mine or call or note or (unparsed and alone and entry.where in hosts):
                found.append(entry)
        return found

    def _column(self, host: str, flow: bytes = b"", sends: bool = True) -> int:
        """The column of a host; where a host talks to itself, of the side that sends (or hears) this flow."""
        fallback = -1
        indices = range(len(self.columns))
        # A socket connected to itself has one flow for both directions: it speaks on the left and hears on the right.
        for index in reversed(indices) if flow and not sends and flow == reverse_flow(flow) else indices:
            column = self.columns[index]
            if column.host == host:
                if not flow or not column.flow or column.flow == (flow if sends else reverse_flow(flow)):
                    return index
                fallback = index
        return fallback

    def _take(self, entry: Entry, order: int) -> None:
        if isinstance(entry, Sent):
            self._sent(entry, order)
        elif isinstance(entry, Received):
            self._received(entry, order)
        elif isinstance(entry, Dropped):
            self._dropped(entry, order)
        elif isinstance(entry, Moved):
            self._moved(entry, order)
        elif isinstance(entry, TimerFired):
            if self.timers and not self._speaks_for_itself(entry, order):
                column = self._column(entry.where, entry.flow, False)
                self._note(entry, order, column, "timer", entry.name)
        elif isinstance(entry, Called):
            if self.calls:
                result = f" = {entry.result}" if entry.result else ""
                self._note(entry, order, self._column(entry.where), "call", f"{entry.call}{result}")
        elif isinstance(entry, Noted):
            self._note(entry, order, self._column(entry.where), "note", entry.text)

    def _speaks_for_itself(self, timer: TimerFired, order: int) -> bool:
        """Whether what the timer did follows at once and says which timer it was."""
        for entry in self.entries[order + 1 :]:
            if entry.time != timer.time:
                break
            if entry.where != timer.where:
                continue
            if isinstance(entry, Sent):
                return entry.packet.why in _TIMER_SENT
            return isinstance(entry, Moved) and entry.cause in _TIMER_MOVED
        return False

    def _note(self, entry: Entry, order: int, column: int, kind: str, text: str) -> Note:
        note = Note(entry.time, order, column, kind, text)
        self.rows.append(note)
        return note

    def _sent(self, entry: Sent, order: int) -> None:
        packet = entry.packet
        flow = packet.flow if isinstance(packet, Segment) else b""
        start = self._column(entry.where, flow)
        if start < 0:
            return
        arrow = Arrow(entry.time, order, packet, start, self._towards(start, packet))
        self.arrows[packet.uid] = arrow
        self.rows.append(arrow)
        for note in self.pending.pop(start, []):
            assert note.move is not None
            arrow.start_moves.append(note.move)
            self.rows.remove(note)
        if isinstance(packet, Segment) and packet.seq_len:
            key = (packet.flow, packet.seq)
            count, last = self.attempts.get(key, (-1, 0))
            again = packet.why in RETRANSMISSIONS or count >= 0
            self.attempts[key] = (count + 1 if again else 0, entry.time)
            if again and count >= 0:
                arrow.attempt = count + 1
                arrow.since = entry.time - last

    def _towards(self, start: int, packet: Packet) -> int:
        """The neighbouring column in the direction of the destination; corrected on arrival."""
        for index, column in enumerate(self.columns):
            if index != start and column.flow and column.flow[: len(packet.dst)] == packet.dst:
                return start + (1 if index > start else -1)
        return start + 1 if start + 1 < len(self.columns) else max(0, start - 1)

    def _received(self, entry: Received, order: int) -> None:
        packet = entry.packet
        flow = packet.flow if isinstance(packet, Segment) else b""
        end = self._column(entry.where, flow, False)
        if end < 0:
            return
        arrow = self.arrows.get(entry.uid) if entry.uid else self._match(packet)
        piece = packet.seq if isinstance(packet, Segment) else 0
        if arrow is None or (arrow.arrived is not None and piece in arrow.pieces):
            copied = arrow is not None
            arrow = Arrow(entry.time, order, packet, self._from(end, arrow), end)
            arrow.known_start = False
            arrow.duplicate = copied
            self.rows.append(arrow)
        arrow.end = end
        arrow.arrived = entry.time
        arrow.arrival_order = order
        arrow.pieces.add(piece)
        self.landed[end] = arrow
        self.pending.pop(end, None)

    def _from(self, end: int, original: Arrow | None) -> int:
        if original is not None:
            return original.start
        return end - 1 if end else min(1, len(self.columns) - 1)

    def _match(self, packet: Packet) -> Arrow | None:
        """The transmission that a packet without a number (it came as bytes) most likely is."""
        if not isinstance(packet, Segment):
            return None
        for row in reversed(self.rows):
            if isinstance(row, Arrow) and row.arrived is None and isinstance(row.packet, Segment):
                other = row.packet
                if (other.flow, other.seq, other.flags) == (packet.flow, packet.seq, packet.flags):
                    return row
        return None

    def _dropped(self, entry: Dropped, order: int) -> None:
        arrow = self.arrows.get(entry.uid) if entry.uid else None
        if on_link(entry):
            if arrow is not None and arrow.arrived is None and arrow.lost is None:
                arrow.lost = entry
            if arrow is not None:
                arrow.lost_pieces += 1
            return
        column = self._column(entry.where)
        landed = self.landed.get(column)
        if landed is not None and (entry.packet is None or landed.packet is entry.packet or landed is arrow):
            landed.refused = entry
        elif column >= 0:
            self._note(entry, order, column, "drop", f"{entry.drop.name}: {entry.drop.text}")

    def _moved(self, entry: Moved, order: int) -> None:
        column = self._column(entry.where, entry.flow, False)
        if column < 0:
            return
        landed = self.landed.get(column)
        if entry.cause in _BY_ARRIVAL and landed is not None:
            landed.end_moves.append(entry)
            return
        note = self._note(entry, order, column, "state", entry.cause.value)
        note.move = entry
        self.pending.setdefault(column, []).append(note)

    def _split(self) -> None:
        arrows = [row for row in self.rows if isinstance(row, Arrow) and row.known_start and row.arrived is not None]
        open_ends: list[Arrow] = []
        events = sorted(self.rows, key=lambda row: row.order)
        ends = sorted(arrows, key=lambda arrow: arrow.arrival_order)
        pointer = 0
        for row in events:
            while pointer < len(ends) and ends[pointer].arrival_order <= row.order:
                self._land(ends[pointer], open_ends)
                pointer += 1
            for arrow in open_ends:
                if not arrow.split and _separates(row, arrow):
                    arrow.split = 1
            if isinstance(row, Arrow) and row.known_start and row.arrived is not None:
                open_ends.append(row)
        for arrow in ends[pointer:]:
            self._land(arrow, open_ends)
        number = 0
        for arrow in arrows:
            if arrow.split:
                number += 1
                arrow.split = number
                self.rows.append(Arrival(arrow))

    @staticmethod
    def _land(arrow: Arrow, open_ends: list[Arrow]) -> None:
        """An arrow arrives: those that set out before it for the same column and are still flying were overtaken."""
        open_ends.remove(arrow)
        for other in open_ends:
            if other.end == arrow.end and other.start == arrow.start and other.order < arrow.order:
                other.split = other.split or 1


def _separates(row: Row, arrow: Arrow) -> bool:
    """Whether a row that happens while an arrow flies forbids drawing the arrow as one row."""
    if isinstance(row, Arrow):
        if row.start == arrow.end:
            return row.weighty or arrow.weighty
        return row.start == arrow.start and row.attempt > 0 and not arrow.attempt
    if isinstance(row, Note):
        return row.column == arrow.end and not row.plain
    return False


def _calls_first(entries: list[Entry]) -> list[Entry]:
    """A call is recorded when it returns: put it before what it did in the same instant."""
    out: list[Entry] = []
    for entry in entries:
        at = len(out)
        if isinstance(entry, Called) and entry.call.startswith(_ACTING_CALLS):
            while at and out[at - 1].time == entry.time:
                before = out[at - 1]
                by_link = isinstance(before, Dropped) and on_link(before)
                mine = isinstance(before, (Sent, Moved)) and before.where == entry.where and not _answers(before)
                if not (mine or by_link):
                    break
                at -= 1
        out.insert(at, entry)
    return out


def _answers(entry: Entry) -> bool:
    """Whether a transmission or move comes from a packet and not from a call."""
    if isinstance(entry, Moved):
        return entry.cause in _BY_ARRIVAL
    if isinstance(entry, Sent):
        return entry.packet.why in (Why.ACK, Why.QUICK_ACK, Why.FIN_ACK, Why.SYN_ACK, Why.HANDSHAKE_ACK, Why.RTO)
    return False


def _columns(record: Record, connection: Connection | None, hosts: list[str] | None) -> list[Column]:
    if connection is None:
        return [Column(host, host, b"", None) for host in hosts or record.hosts()]
    left, right = connection.initiator, connection.responder
    columns = [Column(left.host or "initiator", "", left.flow, None)]
    ends = {left.host, right.host}
    for entry in connection.entries:
        middle = isinstance(entry, (Sent, Received)) and entry.where not in ends
        if middle and all(column.host != entry.where for column in columns):
            columns.append(Column(entry.where, entry.where, b"", None))
    columns.append(Column(right.host or "responder", "", right.flow, None))
    for column, side in ((columns[0], left), (columns[-1], right)):
        column.title = f"{column.host} {show_endpoint(side.address, side.port)}"
        moves = connection.moves(side)
        if moves:
            column.state = moves[0].old
        if column.state in (None, State.CLOSED) and column.state is not None and side is right:
            column.state = _listening(record, column.host, connection.start) or column.state
    return columns


def _listening(record: Record, host: str, time: int) -> State | None:
    """LISTEN if a listener of this host was the last to say so, up to `time` ns."""
    found: State | None = None
    for entry in record.entries:
        if entry.time > time:
            break
        if isinstance(entry, Moved) and entry.where == host and State.LISTEN in (entry.old, entry.new):
            if not entry.flow or entry.flow[-4:-2] == b"\0\0":
                found = entry.new
    return found if found is State.LISTEN else None


def is_pure_ack(packet: Packet) -> bool:
    """Whether a packet is an acknowledgment and nothing else."""
    return isinstance(packet, Segment) and packet.length == 0 and packet.flags & (ACK | SYN | FIN | RST) == ACK
