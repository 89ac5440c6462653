"""The ladder as text: one column per host, one row per packet, everything that mattered beside it."""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.draw.alike import ALIKE, fold
from timewait.draw.condense import condense
from timewait.draw.labels import head, options_text, why_name, window_text
from timewait.draw.model import Arrival, Arrow, Ladder, Note, Row, Summary, build
from timewait.draw.text import Line, duration, many, octets, shorten
from timewait.record import measure
from timewait.record.connections import Connection
from timewait.record.record import Record
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import State
from timewait.wire.packet import RST, SYN, Segment

GAP: Final = 5 * SEC
"""A silence of this length or more is named in a line of its own."""
PAUSE: Final = 100 * MSEC
"""A silence of this length or more is an empty line."""

LOST: Final = {
    Drop.LINK_LOSS: "lost",
    Drop.LINK_RULE: "dropped by rule",
    Drop.LINK_QUEUE_FULL: "queue full",
    Drop.LINK_DOWN: "link down",
    Drop.LINK_PARTITION: "partitioned",
    Drop.LINK_MTU: "larger than MTU",
    Drop.LINK_CORRUPT: "damaged",
}
"""What stands behind the cross of a packet that a link dropped."""

_UNICODE: Final = {
    "open": "│", "up": "┃", "closed": "┊", "line": "─", "right": "▶", "left": "◀", "cross": "✗", "dots": "┄",
    "gap": "⋮", "timer": "◷", "call": "›", "tee": "├┤", "tee_up": "┠┨", "tee_closed": "├┤", "note": "※", "more": "↳",
}  # fmt: skip
_ASCII: Final = {
    "open": "|", "up": "|", "closed": ":", "line": "-", "right": ">", "left": "<", "cross": "X", "dots": ".",
    "gap": ":", "timer": "@", "call": "$", "tee": "||", "tee_up": "||", "tee_closed": "::", "note": "*", "more": "`",
}  # fmt: skip


def ladder(
    record: Record,
    connection: Connection | int | None = None,
    *,
    hosts: list[str] | None = None,
    width: int = 100,
    colour: bool = False,
    unicode: bool = True,
    timestamps: bool = False,
    windows: bool = False,
    calls: bool = True,
    timers: bool = True,
    run: int = 10,
    max_rows: int | None = None,
    summary: bool = True,
    alike: int = ALIKE,
) -> str:
    """Draw a record.

    `connection` (an object or its number) picks one; without it every TCP connection is
    drawn, one after the other, save that of more than `alike` which went the same way
    only the first is drawn and the others are counted. `hosts` draws instead everything between these hosts, one
    column each, UDP and ICMP included. `width` is held between 80 and 140. More than
    `run` plain data rows are summarised, and more than `max_rows` lose their middle.
    """
    view = View(width=width, colour=colour, unicode=unicode, timestamps=timestamps, windows=windows, summary=summary)
    if isinstance(connection, int):
        connection = record.connection(connection)
    chosen: list[tuple[Connection | None, list[Connection]]] = [(connection, [])]
    if connection is None and hosts is None and record.connections():
        chosen = [*fold(record.connections(), alike)]
    drawn: list[str] = []
    for one, others in chosen:
        model = build(record, one, hosts=hosts, calls=calls, timers=timers)
        condense(model, run=run, max_rows=max_rows)
        drawn.append(Drawing(model, view).text())
        if others:
            drawn.append(f"({many(len(others), 'more connection')} went the same way)\n")
    if record.left_out:
        drawn.append(f"({many(record.left_out, 'entry').replace('entrys', 'entries')} not kept by the record)\n")
    return "\n".join(drawn)


class View:
    """How a ladder is to look."""

    def __init__(
        self, *, width: int, colour: bool, unicode: bool, timestamps: bool, windows: bool, summary: bool
    ) -> None:
        self.width = min(140, max(80, width))
        self.colour = colour
        self.glyphs = _UNICODE if unicode else _ASCII
        self.timestamps = timestamps
        self.windows = windows
        self.summary = summary


class Drawing:
    """One ladder being drawn, row by row."""

    def __init__(self, model: Ladder, view: View) -> None:
        self.model = model
        self.view = view
        self.glyphs = view.glyphs
        self.connection = model.connection
        self.columns = model.columns
        self.pair = len(model.columns) == 2
        self.states: list[State | None] = [column.state for column in model.columns]
        self.lines: list[Line] = []
        self.decimals = _decimals(model)
        self.windows: dict[bytes, int] = {}
        self.last_time: int | None = None
        self._lay_out()

    def _lay_out(self) -> None:
        last = max((ends(row) for row in self.model.rows), default=0)
        self.time_width = max(4, len(self._clock(last)))
        names = [name for state in self._all_states() if (name := state_name(state))]
        side = max((len(name) for name in names), default=0)
        left = self.time_width + 2 + (side + 1 if self.pair and side else 0)
        right = self.view.width - 1 - (side + 1 + self.time_width + 2 if self.pair else 0)
        count = max(1, len(self.columns) - 1)
        self.xs = [left + (right - left) * i // count for i in range(len(self.columns))]

    def _all_states(self) -> list[State]:
        found = [state for state in self.states if state is not None]
        connection = self.connection
        if connection is not None:
            for side in (connection.initiator, connection.responder):
                found += [move.new for move in connection.moves(side)]
        return found

    def _clock(self, time: int) -> str:
        return f"{(time - self.model.start) / SEC:.{self.decimals}f}"

    def text(self) -> str:
        """The whole drawing, each line ended."""
        self._title()
        for row in self.model.rows:
            self._silence(row)
            if isinstance(row, Arrow):
                self._arrow(row)
            elif isinstance(row, Arrival):
                self._arrival(row)
            elif isinstance(row, Note):
                self._note(row)
            elif isinstance(row, Summary):
                self._wide(f"{self.glyphs['gap']} {row.text} {self.glyphs['gap']}", "cyan")
        shown = [line.show(colour=self.view.colour) for line in self.lines]
        if self.view.summary and self.connection is not None:
            shown += ["", *_summary(self.connection)]
        return "\n".join(shown) + "\n"

    # Lines

    def _line(self, left: int | None = None, right: int | None = None) -> Line:
        """A row with the rails; `left` and `right` are the times at the two hosts (more hosts: one clock)."""
        line = Line(self.view.width)
        if left is not None:
            line.put_right(self.time_width, self._clock(left), "dim")
        if right is not None:
            line.put_right(self.view.width, self._clock(right), "dim")
        for index, x in enumerate(self.xs):
            line.put(x, self._rail(index))
        self.lines.append(line)
        return line

    def _line_at(self, time: int, index: int) -> Line:
        """A row for something that happened at one column."""
        return self._line(None, time) if self.pair and index == 1 else self._line(time)

    def _line_of(self, arrow: Arrow) -> Line:
        if not self.pair:
            return self._line(arrow.time)
        sent = arrow.time if arrow.known_start else None
        arrived = None if arrow.split else arrow.arrived
        return self._line(sent, arrived) if arrow.start == 0 else self._line(arrived, sent)

    def _rail(self, index: int) -> str:
        state = self.states[index]
        if state is State.CLOSED:
            return self.glyphs["closed"]
        return self.glyphs["up"] if state is State.ESTABLISHED else self.glyphs["open"]

    def _tee(self, index: int, to_right: bool) -> str:
        state = self.states[index]
        kind = "tee_up" if state is State.ESTABLISHED else "tee_closed" if state is State.CLOSED else "tee"
        return self.glyphs[kind][0 if to_right else 1]

    def _title(self) -> None:
        line = Line(self.view.width)
        line.put_right(self.time_width, "s", "dim")
        if self.pair:
            line.put_right(self.view.width, "s", "dim")
        last = len(self.xs) - 1
        for index, (column, x) in enumerate(zip(self.columns, self.xs, strict=True)):
            title = column.title
            if index == 0:
                line.put(x, title, "bold")
            elif index == last:
                line.put_right(x + 1, title, "bold")
            else:
                line.put(x - len(title) // 2, title, "bold")
        self.lines.append(line)
        first = self._line()
        for index, state in enumerate(self.states):
            if state is not None:
                self._put_state(first, index, state)

    def _put_state(self, line: Line, index: int, state: State) -> None:
        self.states[index] = state
        name = state_name(state)
        x = self.xs[index]
        line.put(x, self._rail(index))
        if self.pair:
            if index == 0:
                line.put_right(x - 1, name, "bold")
            else:
                line.put(x + 2, name, "bold")
        elif index == len(self.xs) - 1:
            line.put_right(x - 1, name, "bold")
        else:
            line.put(x + 2, name, "bold")

    def _wide(self, text: str, colour: str = "dim") -> None:
        line = self._line()
        room = self.xs[-1] - self.xs[0] - 3
        for index, part in enumerate(_wrap(text, room)):
            if index:
                line = self._line()
            line.put((self.xs[0] + self.xs[-1] + 1 - len(part)) // 2, f" {part} ", colour)

    def _silence(self, row: Row) -> None:
        if self.last_time is not None:
            quiet = row.time - self.last_time
            if quiet >= GAP:
                self._line()
                dots = self.glyphs["gap"]
                self._wide(f"{dots} {duration(quiet)} later {dots}")
                self._line()
            elif quiet >= PAUSE:
                self._line()
        self.last_time = max(self.last_time or 0, ends(row))

    # Notes

    def _note(self, note: Note) -> None:
        glyph = {"timer": self.glyphs["timer"], "call": self.glyphs["call"], "drop": self.glyphs["cross"]}
        colour = {"timer": "yellow", "call": "blue", "drop": "red", "state": "dim"}.get(note.kind, "magenta")
        words = f"{note.text} timer" if note.kind == "timer" else note.text
        if note.column < 0:
            line = self._line(note.time)
            text = f" {self.glyphs['note']} {words} {self.glyphs['note']} "
            line.put((self.xs[0] + self.xs[-1] - len(text)) // 2, text, colour)
            return
        line = self._line_at(note.time, note.column)
        if note.move is not None:
            if not self.pair:
                words = f"{state_name(note.move.new)}: {words}"
                self.states[note.column] = note.move.new
                line.put(self.xs[note.column], self._rail(note.column))
            else:
                self._put_state(line, note.column, note.move.new)
        self._beside(line, note.column, f"{glyph.get(note.kind, '')} {words}".strip(), colour)

    def _beside(self, line: Line, index: int, text: str, colour: str) -> None:
        """Words next to a rail: right of it, left of the last one."""
        x = self.xs[index]
        if index == len(self.xs) - 1 and index:
            text = shorten(text, x - self.xs[index - 1] - 4)
            line.put_right(x - 1, text, colour)
        else:
            until = self.xs[index + 1] if index + 1 < len(self.xs) else self.view.width
            line.put(x + 2, shorten(text, until - x - 4), colour)

    # Arrows

    def _arrow(self, arrow: Arrow) -> None:
        line = self._line_of(arrow)
        for move in arrow.start_moves:
            self._put_move(line, arrow.start, move.new)
        if not arrow.split:
            for move in arrow.end_moves:
                self._put_move(line, arrow.end, move.new)
        parts = self._label(arrow)
        self._shaft(line, arrow, parts)
        if not arrow.split:
            self._refusal(arrow)

    def _put_move(self, line: Line, index: int, state: State) -> None:
        if self.pair:
            self._put_state(line, index, state)
            return
        self.states[index] = state
        extra = self._line()
        self._put_state(extra, index, state)

    def _refusal(self, arrow: Arrow) -> None:
        if arrow.refused is not None:
            drop = arrow.refused.drop
            line = self._line()
            text = f"{self.glyphs['cross']} dropped, {drop.name}: {drop.text}"
            self._beside(line, arrow.end, text, "red")

    def _label(self, arrow: Arrow) -> list[str]:
        """What stands on the arrow, in order of importance; the last parts may go to the next line."""
        packet = arrow.packet
        parts = [head(packet, self.connection)]
        why = why_name(packet)
        if arrow.duplicate:
            why = "duplicate"
        if arrow.attempt:
            why = why or ("again" if packet.why is None else packet.why.name)
            after = f" +{duration(arrow.since)}" if arrow.since is not None else ""
            why = f"{why} #{arrow.attempt}{after}"
        if why:
            parts[0] = f"[{why}] {parts[0]}"
        if isinstance(packet, Segment):
            extra = self._window(packet)
            options = options_text(packet, self.connection, timestamps=self.view.timestamps)
            parts += [part for part in (extra, f"<{options}>" if options else "") if part]
        return parts

    def _window(self, segment: Segment) -> str:
        before = self.windows.get(segment.flow)
        self.windows[segment.flow] = segment.window
        matters = bool(segment.flags & SYN) or segment.window == 0 or before == 0 or segment.why is Why.WINDOW_UPDATE
        if segment.flags & RST or not (matters or self.view.windows):
            return ""
        return window_text(segment, self.connection)

    def _shaft(self, line: Line, arrow: Arrow, parts: list[str]) -> None:
        to_right = arrow.end > arrow.start
        low, high = sorted((self.xs[arrow.start], self.xs[arrow.end]))
        room = high - low - 1
        if room < 0:
            # From nowhere that is drawn, or to itself: it stands beside its rail, as a call does.
            self._beside(line, arrow.end, f"{self.glyphs['right']} {' '.join(parts)}", _colour(arrow))
            return
        lost = arrow.lost is not None and arrow.arrived is None
        reason = f" {LOST[arrow.lost.drop]}" if lost and arrow.lost is not None else ""
        if arrow.lost is not None and not lost:
            parts.append(f"({many(arrow.lost_pieces, 'piece')} lost)")
        if arrow.arrived is None and not lost:
            reason = " ?"
        mark = f"({arrow.split})" if arrow.split else ""
        label = parts.pop(0)
        reserve = 8 + len(mark) if mark else 5 + len(reason)
        while parts and len(label) + 1 + len(parts[0]) + reserve <= room:
            label += " " + parts.pop(0)
        if reason and len(label) + reserve > room:
            parts.append(reason.strip())
            reason = ""
        label = shorten(label, room - 6 - len(mark) * 2)
        body, colours = self._body(arrow, label, reason, mark, room, to_right)
        for offset, (char, colour) in enumerate(zip(body, colours, strict=True)):
            line.put(low + 1 + offset, char, colour)
        if arrow.known_start:
            line.put(self.xs[arrow.start], self._tee(arrow.start, to_right))
        if parts:
            self._beside(self._line(), arrow.start, f"   {self.glyphs['more']} {' '.join(parts)}", "dim")

    def _body(
        self, arrow: Arrow, label: str, reason: str, mark: str, room: int, to_right: bool
    ) -> tuple[str, list[str]]:
        """The arrow's characters between the rails, and their colours."""
        g = self.glyphs
        colour = _colour(arrow)
        whole = arrow.arrived is not None and not arrow.split
        tip = g["right"] if to_right else g["left"]
        if whole:
            end = g["cross"] if arrow.refused else tip
        elif arrow.split:
            end = mark + g["dots"] * 3
        else:
            end = g["cross"]
        text = f"{g['line']} {label} " if to_right else f" {label} {g['line']}"
        fill = room - len(text) - len(end) - len(reason) - (1 if reason else 0)
        if arrow.split:
            rest = g["line"] * 2 + end if to_right else g["dots"] * 3 + mark + g["line"] * 2
            pad = " " * max(0, room - len(text) - len(rest))
            body = text + rest + pad if to_right else pad + rest + text
            return _fit(body, room), [colour] * room
        if reason or not whole:
            line = g["line"] * max(1, min(6, fill))
            pad = " " * max(0, fill - len(line) + (1 if reason else 0))
            if to_right:
                body = text + line + end + reason + pad
            else:
                body = pad + reason.strip() + (" " if reason else "") + end + line + text
        else:
            body = text + g["line"] * max(0, fill) + end if to_right else end + g["line"] * max(0, fill) + text
        return _fit(body, room), [colour] * room

    def _arrival(self, row: Arrival) -> None:
        arrow = row.arrow
        line = self._line_at(row.time, arrow.end)
        for move in arrow.end_moves:
            self._put_move(line, arrow.end, move.new)
        g = self.glyphs
        low, high = sorted((self.xs[arrow.start], self.xs[arrow.end]))
        words = shorten(head(arrow.packet, self.connection), high - low - 16)
        mark = f"({arrow.split})"
        if arrow.end > arrow.start:
            text = f"{g['dots'] * 3}{mark}{g['line'] * 2} {words} {g['line'] * 2}{g['right']}"
            line.put_right(high, text, _colour(arrow))
        else:
            text = f"{g['left']}{g['line'] * 2} {words} {g['line'] * 2}{mark}{g['dots'] * 3}"
            line.put(low + 1, text, _colour(arrow))
        self._refusal(arrow)


def state_name(state: State) -> str:
    """As ladders write it: 'SYN-RCVD', 'TIME-WAIT'."""
    return state.name.replace("_", "-")


def _fit(text: str, room: int) -> str:
    return text[:room].ljust(room)


def _colour(arrow: Arrow) -> str:
    if arrow.arrived is None or arrow.refused is not None:
        return "red"
    if isinstance(arrow.packet, Segment) and arrow.packet.flags & RST:
        return "red"
    if arrow.attempt or why_name(arrow.packet) or arrow.duplicate:
        return "yellow"
    if isinstance(arrow.packet, Segment) and arrow.packet.flags & 3:
        return "green"
    return ""


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _decimals(model: Ladder) -> int:
    """3 places, up to 6 where rows would otherwise show the same time though they differ."""
    times = sorted({row.time // 1000 for row in model.rows} | {ends(row) // 1000 for row in model.rows})
    start = model.start // 1000
    for places in (3, 4, 5):
        unit = 10 ** (6 - places)
        if len({(time - start + unit // 2) // unit for time in times}) == len(times):
            return places
    return 6


def ends(row: Row) -> int:
    """When the last of what a row shows happened, ns."""
    if isinstance(row, Arrow) and row.arrived is not None and not row.split:
        return max(row.time, row.arrived)
    return row.time


def _summary(connection: Connection) -> list[str]:
    """What an engineer would say about the connection in a line or two."""
    sides = (connection.initiator, connection.responder)
    packets = connection.packets()
    parts = [many(len(packets), "segment")]
    lost = len(measure.lost(connection))
    if lost:
        parts.append(f"{lost} lost")
    again = len(measure.retransmissions(connection))
    if again:
        parts.append(many(again, "retransmission"))
    rtt = measure.handshake_time(connection)
    if rtt is not None:
        parts.append(f"handshake {duration(rtt)}")
    for side in sides:
        size = measure.payload_bytes(connection, side)
        if size:
            parts.append(f"{octets(size)} from {side.host}")
    first = measure.first_to_close(connection)
    reset = measure.reset_by(connection)
    if first is not None:
        parts.append(f"{first.host} closed first")
    if reset is not None:
        parts.append(f"reset by {reset.host}")
    for side in sides:
        spent = measure.time_in(connection, side, State.TIME_WAIT)
        if spent:
            parts.append(f"TIME-WAIT {duration(spent)} at {side.host}")
    isns = ", ".join(f"{side.host} {side.isn}" for side in sides if side.isn is not None)
    return ["; ".join(parts), f"initial sequence numbers: {isns}"]
