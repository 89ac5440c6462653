"""The ladder as SVG: arrows slanted by time, states as coloured lanes, details on hover."""

import math
from typing import Final

from timewait.base.instant import SEC
from timewait.draw.condense import condense
from timewait.draw.labels import detail, head, options_text, why_name
from timewait.draw.ladder import GAP, LOST, state_name
from timewait.draw.model import Arrival, Arrow, Ladder, Note, Row, Summary, build
from timewait.draw.svg import Svg
from timewait.draw.text import duration, shorten
from timewait.record.connections import Connection
from timewait.record.entries import Moved
from timewait.record.record import Record
from timewait.tcp.states import State
from timewait.wire.packet import FIN, RST, SYN, Segment

WIDTH: Final = 1040
TOP: Final = 64
_LANE: Final = 96
_CHAR: Final = 6.65
"""Width of a character of the 11 px monospace font, px."""

STATE_CLASS: Final = {
    State.CLOSED: "s-none",
    State.LISTEN: "s-listen",
    State.SYN_SENT: "s-open",
    State.SYN_RCVD: "s-open",
    State.ESTABLISHED: "s-up",
    State.FIN_WAIT_1: "s-close",
    State.FIN_WAIT_2: "s-close",
    State.CLOSING: "s-close",
    State.CLOSE_WAIT: "s-passive",
    State.LAST_ACK: "s-passive",
    State.TIME_WAIT: "s-wait",
}
"""The colour of each state: one for opening, established, active close, passive close, TIME-WAIT."""


def ladder_svg(
    record: Record,
    connection: Connection | int | None = None,
    *,
    hosts: list[str] | None = None,
    title: str = "",
    calls: bool = True,
    timers: bool = True,
    run: int = 8,
    max_rows: int | None = 400,
) -> str:
    """Draw one connection (the first, if not said which), or everything between `hosts`."""
    if isinstance(connection, int):
        connection = record.connection(connection)
    if connection is None and hosts is None and record.connections():
        connection = record.connection()
    model = build(record, connection, hosts=hosts, calls=calls, timers=timers)
    condense(model, run=run, max_rows=max_rows)
    return _Picture(model, title).draw()


class _Point:
    """One end of an arrow, or a note: something with a time, a column and, once laid out, a height."""

    def __init__(self, time: int, order: int, column: int, row: Row, kind: str) -> None:
        self.time = time
        self.order = order
        self.column = column
        self.row = row
        self.kind = kind
        self.y = 0.0


class _Picture:
    def __init__(self, model: Ladder, title: str) -> None:
        self.model = model
        self.columns = model.columns
        self.pair = len(model.columns) == 2
        self.svg = Svg()
        names = " and ".join(column.host for column in model.columns)
        self.title = title or f"Ladder of {names}"
        left, right = (220.0, WIDTH - 220.0) if self.pair else (110.0, WIDTH - 110.0)
        count = max(1, len(self.columns) - 1)
        self.xs = [left + (right - left) * i / count for i in range(len(self.columns))]
        self.starts: dict[int, _Point] = {}
        self.ends: dict[int, _Point] = {}
        self.gaps: list[tuple[float, int]] = []
        self.moves: list[list[tuple[float, Moved]]] = [[] for _ in self.columns]
        self.labelled: dict[int, float] = {}
        self.height = 0.0

    def draw(self) -> str:
        points = self._points()
        self._heights(points)
        self._rails()
        for y, quiet in self.gaps:
            self._band(y, f"⋮  {duration(quiet)} later  ⋮")
        for point in points:
            if point.kind == "note":
                self._note(point)
            elif point.kind == "summary":
                assert isinstance(point.row, Summary)
                self._band(point.y, point.row.text)
        for row in self.model.rows:
            if isinstance(row, Arrow):
                self._arrow(row)
        for point in points:
            self._clock(point)
        shown = sum(1 for row in self.model.rows if isinstance(row, Arrow))
        return self.svg.document(WIDTH, self.height, self.title, f"{shown} packets drawn; time runs downwards.")

    # Where things stand

    def _points(self) -> list[_Point]:
        points: list[_Point] = []
        for row in self.model.rows:
            if isinstance(row, Arrow):
                if row.known_start:
                    start = _Point(row.time, row.order, row.start, row, "send")
                    points.append(start)
                    self.starts[id(row)] = start
                if row.arrived is not None:
                    end = _Point(row.arrived, row.arrival_order, row.end, row, "arrive")
                    points.append(end)
                    self.ends[id(row)] = end
            elif isinstance(row, Note):
                points.append(_Point(row.time, row.order, row.column, row, "note"))
            elif not isinstance(row, Arrival):
                points.append(_Point(row.time, row.order, -1, row, "summary"))
        points.sort(key=lambda point: point.order)
        return points

    def _heights(self, points: list[_Point]) -> None:
        y = float(TOP + 14)
        before: _Point | None = None
        sends: dict[int, float] = {}
        notes: dict[int, float] = {}
        moves: dict[int, float] = {}
        for point in points:
            if before is not None:
                y += self._step(before, point, y)
            low = y
            if point.kind == "send":
                low = max(low, sends.get(point.column, 0) + 20, notes.get(point.column, 0) + 19)
            elif point.kind == "arrive":
                start = self.starts.get(id(point.row))
                low = max(low, (start.y if start else y) + 18)
            elif point.kind == "note":
                low = max(low, notes.get(point.column, 0) + 15, sends.get(point.column, 0) + 15)
            changes = self._moves_at(point)
            if changes:
                low = max(low, moves.get(point.column, float(TOP)) + 17)
                moves[point.column] = low
                self.moves[point.column] += [(low, move) for move in changes]
            y = point.y = low
            if point.kind == "send":
                sends[point.column] = y
            elif point.kind in ("note", "summary"):
                notes[point.column] = y
            if point.kind == "arrive" and isinstance(point.row, Arrow) and point.row.refused is not None:
                notes[point.column] = y + 15
                y += 15
            before = point
        self.height = y + 44

    def _step(self, before: _Point, point: _Point, y: float) -> float:
        gap = point.time - before.time
        if gap >= GAP:
            self.gaps.append((y + 34, gap))
            return 68
        if point.kind == "summary" or before.kind == "summary":
            return 30
        if gap > 0:
            return min(64.0, 10 + 9 * math.log10(1 + gap / 100_000))
        if point.kind == "note":
            return 16 if before.column == point.column else 8
        return 0 if before.kind == "arrive" and point.kind == "send" else 8

    @staticmethod
    def _moves_at(point: _Point) -> list[Moved]:
        row = point.row
        if isinstance(row, Arrow):
            return row.start_moves if point.kind == "send" else row.end_moves
        if isinstance(row, Note) and row.move is not None:
            return [row.move]
        return []

    # Drawing

    def _rails(self) -> None:
        for index, (column, x) in enumerate(zip(self.columns, self.xs, strict=True)):
            anchor = "middle"
            self.svg.text(x, 24, column.title or column.host, class_="title", anchor=anchor)
            changes = self.moves[index]
            bounds = [float(TOP), *(y for y, _move in changes), self.height - 20]
            states = [column.state, *(move.new for _y, move in changes)]
            for state, y, until in zip(states, bounds, bounds[1:], strict=False):
                if state is not None and until > y:
                    self._lane(index, state, y, until)
            self.svg.line(x, TOP - 24, x, self.height - 20, class_="rail")
        if self.pair:
            self.svg.text(self.xs[0] - _LANE - 12, TOP - 14, "time, s", class_="dim", anchor="end")
            self.svg.text(self.xs[1] + _LANE + 12, TOP - 14, "time, s", class_="dim")

    def _lane(self, index: int, state: State, y: float, until: float) -> None:
        if self.pair:
            x = self.xs[index] - _LANE - 4 if index == 0 else self.xs[index] + 4
            width = float(_LANE)
        else:
            x, width = self.xs[index] - 4, 8.0
        name = state_name(state)
        self.svg.rect(x, y, width, until - y, name, class_=f"state {STATE_CLASS[state]}", rx=3)
        if self.pair and until - y >= 13:
            self.svg.text(x + width / 2, y + 12, name, anchor="middle", class_="bold")

    def _band(self, y: float, text: str) -> None:
        left, right = self.xs[0] - 4, self.xs[-1] + 4
        if self.pair:
            left, right = left - _LANE, right + _LANE
        self.svg.rect(left, y - 12, right - left, 24, class_="band")
        room = int((right - left) / _CHAR) - 2
        self.svg.text((self.xs[0] + self.xs[-1]) / 2, y + 4, shorten(text, room), anchor="middle", class_="dim")

    def _note(self, point: _Point) -> None:
        note = point.row
        assert isinstance(note, Note)
        kind = {"call": "call", "timer": "warn", "drop": "bad", "state": "dim"}.get(note.kind, "bold")
        text = f"{note.text} timer" if note.kind == "timer" else note.text
        if note.kind == "state" and note.move is not None and not self.pair:
            text = f"{state_name(note.move.new)}: {text}"
        if note.column < 0:
            self._band(point.y, text)
            return
        self._beside(note.column, point.y + 4, text, kind)

    def _beside(self, index: int, y: float, text: str, kind: str) -> None:
        x = self.xs[index]
        if index and index == len(self.xs) - 1:
            self.svg.text(x - 10, y, text, class_=f"{kind} halo", anchor="end")
        else:
            self.svg.text(x + 10, y, text, class_=f"{kind} halo")

    def _clock(self, point: _Point) -> None:
        if point.column < 0 or point.kind == "summary":
            return
        side = point.column if self.pair else 0
        if point.y - self.labelled.get(side, -99.0) < 11:
            return
        self.labelled[side] = point.y
        text = f"{(point.time - self.model.start) / SEC:.4f}".rstrip("0")
        text = text + "0" * max(0, 3 - len(text.partition(".")[2]))
        if side == 0:
            self.svg.text(self.xs[0] - (_LANE + 12 if self.pair else 14), point.y + 4, text, class_="dim", anchor="end")
        else:
            self.svg.text(self.xs[1] + _LANE + 12, point.y + 4, text, class_="dim")

    def _arrow(self, arrow: Arrow) -> None:
        start, end = self.starts.get(id(arrow)), self.ends.get(id(arrow))
        x1, x2 = self.xs[arrow.start], self.xs[arrow.end]
        kind = _kind(arrow)
        lost = arrow.arrived is None
        if start is None:
            assert end is not None
            x1 = x1 + (x2 - x1) * 0.3
            y1, y2 = end.y - 12, end.y
        else:
            y1, y2 = start.y, end.y if end is not None else start.y + 18
        if lost:
            x2 = x1 + (x2 - x1) * 0.72
        title = detail(arrow.packet, self.model.connection, start.time if start else None, arrow.arrived)
        for death in (arrow.lost, arrow.refused):
            if death is not None:
                title += f"\ndropped at {death.where}: {death.drop.name}, {death.drop.text} ({death.drop.source})"
        self.svg.open("g", title, class_="arrow")
        self.svg.line(x1, y1, x2, y2, class_="hit")
        self.svg.line(x1, y1, x2, y2, class_=f"{kind} dash" if start is None else kind)
        angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
        if lost:
            turn = f"translate({x2:.2f} {y2:.2f})"
            self.svg.path("M-6-6 6 6M-6 6 6-6", class_="bad", transform=turn, stroke_width=2)
            words = LOST[arrow.lost.drop] if arrow.lost is not None else "no arrival recorded"
            gap, anchor = (12, "start") if x2 > x1 else (-12, "end")
            self.svg.text(x2 + gap, y2 + 4, words, class_="bad halo", anchor=anchor)
        else:
            self.svg.path("M0 0-10-4.5-10 4.5Z", class_=f"tip {kind}".strip(),
                          transform=f"translate({x2:.2f} {y2:.2f}) rotate({angle:.2f})")  # fmt: skip
        self._label(arrow, (x1, y1), (x2, y2), kind)
        if arrow.refused is not None:
            drop = arrow.refused.drop
            self._beside(arrow.end, y2 + 17, f"✗ dropped, {drop.name}: {drop.text}", "bad")
        self.svg.close("g")

    def _label(self, arrow: Arrow, tail: tuple[float, float], tip: tuple[float, float], kind: str) -> None:
        to_right = tip[0] > tail[0]
        angle = math.degrees(math.atan2(tip[1] - tail[1], tip[0] - tail[0]))
        if not to_right:
            angle += 180
        text = _words(arrow, self.model.connection, int((abs(tip[0] - tail[0]) - 24) / _CHAR))
        # Arrows that answer each other meet at their ends, arrows that cross meet in the middle.
        along = 0.3 if arrow.split else 0.5
        half = len(text) * _CHAR / 2 + 12
        length = math.hypot(tip[0] - tail[0], tip[1] - tail[1])
        along = min(max(along, half / length), max(1 - half / length, 0.5))
        x, y = tail[0] + (tip[0] - tail[0]) * along, tail[1] + (tip[1] - tail[1]) * along
        turn = f"translate({x:.2f} {y:.2f}) rotate({angle:.2f})"
        self.svg.text(0, -4, text, class_=f"{kind} halo".strip(), transform=turn, anchor="middle")


def _words(arrow: Arrow, connection: Connection | None, room: int) -> str:
    packet = arrow.packet
    text = head(packet, connection)
    why = "duplicate" if arrow.duplicate else why_name(packet)
    if arrow.attempt:
        why = why or ("again" if packet.why is None else packet.why.name)
        after = f" +{duration(arrow.since)}" if arrow.since is not None else ""
        why = f"{why} #{arrow.attempt}{after}"
    if why:
        text = f"[{why}] {text}"
    if isinstance(packet, Segment):
        options = options_text(packet, connection)
        if packet.flags & SYN:
            options = f"win={packet.window} {options}".strip()
        if options and len(text) + len(options) < room:
            text = f"{text} {options}"
    return shorten(text, room)


def _kind(arrow: Arrow) -> str:
    packet = arrow.packet
    flags = packet.flags if isinstance(packet, Segment) else 0
    if arrow.arrived is None or arrow.refused is not None or flags & RST:
        return "bad"
    if arrow.attempt or why_name(packet) or arrow.duplicate:
        return "warn"
    return "good" if flags & (SYN | FIN) else ""
