"""Making a long ladder short: runs of plain data in one sentence, the middle of the rest left out."""

from timewait.draw.model import Arrow, Ladder, Note, Row, Summary, is_pure_ack
from timewait.draw.text import duration, many, octets
from timewait.wire.packet import Datagram, Segment


def condense(ladder: Ladder, *, run: int = 10, max_rows: int | None = None) -> None:
    """Shorten in place: more than `run` plain rows in a row become their ends and a sentence."""
    rows: list[Row] = []
    plain: list[Row] = []
    for row in ladder.rows:
        if isinstance(row, (Arrow, Note)) and row.plain:
            plain.append(row)
            continue
        rows += _shortened(plain, run, ladder)
        plain = []
        rows.append(row)
    rows += _shortened(plain, run, ladder)
    if max_rows is not None and len(rows) > max_rows:
        keep = max(2, max_rows - 1)
        first, last = keep - keep // 2, keep // 2
        gone = rows[first : len(rows) - last]
        text = f"{many(len(gone), 'row')} left out, {duration(gone[-1].time - gone[0].time)}"
        rows = [*rows[:first], Summary(gone[0].time, gone[0].order, text), *rows[len(rows) - last :]]
    ladder.rows = rows


def _shortened(plain: list[Row], run: int, ladder: Ladder) -> list[Row]:
    arrows = [row for row in plain if isinstance(row, Arrow)]
    if len(plain) <= run or len(arrows) <= 4:
        return plain
    first, last = plain.index(arrows[1]) + 1, len(plain) - 1 - plain[::-1].index(arrows[-2])
    gone = plain[first:last]
    return [*plain[:first], Summary(gone[0].time, gone[0].order, _told(gone, ladder)), *plain[last:]]


def _told(gone: list[Row], ladder: Ladder) -> str:
    parts: list[str] = []
    acks = 0
    for start in range(len(ladder.columns)):
        arrows = [row for row in gone if isinstance(row, Arrow) and row.start == start]
        data = [row for row in arrows if not is_pure_ack(row.packet)]
        if data:
            size = sum(_size(row) for row in data)
            way = f"{ladder.columns[start].host} to {ladder.columns[data[-1].end].host}"
            kind = "data segment" if isinstance(data[-1].packet, Segment) else "packet"
            parts.insert(0, f"{many(len(data), kind)}, {octets(size)} {way}")
        acks += len(arrows) - len(data)
    if acks:
        parts.append(many(acks, "ACK"))
    calls = sum(1 for row in gone if isinstance(row, Note))
    if calls:
        parts.append(many(calls, "call"))
    return f"{'; '.join(parts)}; in {duration(gone[-1].time - gone[0].time)}"


def _size(arrow: Arrow) -> int:
    packet = arrow.packet
    if isinstance(packet, Segment):
        return packet.length
    return len(packet.payload) if isinstance(packet, Datagram) else 0
