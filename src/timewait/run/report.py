"""What a failed run leaves behind: the ladders of the connections that matter, and files."""

import os
import re
from pathlib import Path
from typing import Final

from timewait.draw.ladder import ladder
from timewait.draw.ladder_svg import ladder_svg
from timewait.record import measure
from timewait.record.connections import Connection
from timewait.record.entries import Called
from timewait.record.jsonl import write_jsonl
from timewait.record.pcap import write_pcapng
from timewait.record.record import Record, record_of
from timewait.run.asserts import LEAKED, NetworkAssertion
from timewait.tcp.states import Cause

MOST_DRAWN: Final = 2
"""Ladders in a report."""
ROWS: Final = 40
"""Rows of each; the middle of a longer one is left out."""
MOST_NAME: Final = 100
_CHATTER: Final = ("epoll_", "setsockopt(", "getsockopt(", "socket(")
"""Calls that a report leaves out; the files have them."""

_FATAL: Final = frozenset((Cause.TIMED_OUT, Cause.KEEPALIVE_FAILED, Cause.ICMP_ERROR, Cause.SYN_ACK_RETRIES))


def relevant(record: Record, error: BaseException | None = None, most: int = MOST_DRAWN) -> list[Connection]:
    """The connections a failure is about: those an assertion names, else the ones that fared worst and last."""
    if isinstance(error, NetworkAssertion) and error.connections:
        return list({each.number: each for each in error.connections}.values())[:most]
    ranked = sorted(record.connections(), key=_rank, reverse=True)
    return sorted(ranked[:most], key=lambda connection: connection.number)


def _rank(connection: Connection) -> tuple[int, int, int]:
    """How much went wrong, how late it was active, and its place."""
    wrong = 0
    for side in (connection.initiator, connection.responder):
        moves = connection.moves(side)
        if any(move.cause in _FATAL for move in moves):
            wrong += 8
        if moves and moves[-1].new in LEAKED:
            wrong += 4
    if measure.reset_by(connection) is not None:
        wrong += 3
    if measure.retransmissions(connection):
        wrong += 2
    return wrong, connection.entries[-1].time if connection.entries else 0, connection.number


def draw(record: Record, connections: list[Connection], *, rows: int | None = ROWS) -> str:
    """The ladders of some connections, one below the other, and how many others there are."""
    record = _without_chatter(record)
    connections = [record.connection(each.number) for each in connections]
    if not connections:
        hosts = record.hosts()
        return ladder(record, hosts=hosts, max_rows=rows).rstrip("\n") if record.entries and hosts else ""
    drawn = [ladder(record, each, max_rows=rows).rstrip("\n") for each in connections]
    others = len(record.connections()) - len(connections)
    if others > 0:
        drawn.append(f"({others} further connection{'s' if others > 1 else ''} in the files)")
    return "\n\n".join(drawn)


def _without_chatter(record: Record) -> Record:
    """The record without the calls that every event loop makes all the time."""
    kept = [entry for entry in record if not (isinstance(entry, Called) and entry.call.startswith(_CHATTER))]
    return record_of(kept)


def directory_name(test: str) -> str:
    """A file name for a test's id."""
    name = re.sub(r"[^\w.=-]+", "-", test, flags=re.ASCII).strip("-.")
    if len(name) > MOST_NAME:
        name = name[: MOST_NAME // 2] + "--" + name[-MOST_NAME // 2 :]
    return name or "test"


def write_files(record: Record, connections: list[Connection], directory: Path, token: str) -> list[str]:
    """record.jsonl, packets.pcapng, ladder.txt, ladder-N.svg and token.txt; the names of what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    ignore = directory.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    for old in directory.glob("ladder-*.svg"):
        old.unlink()
    write_jsonl(record, directory / "record.jsonl")
    write_pcapng(record, directory / "packets.pcapng")
    (directory / "ladder.txt").write_text(draw(record, connections, rows=None) + "\n", encoding="utf-8")
    (directory / "token.txt").write_text(token + "\n")
    names = ["record.jsonl", "packets.pcapng", "ladder.txt", "token.txt"]
    for connection in connections:
        name = f"ladder-{connection.number}.svg"
        (directory / name).write_text(ladder_svg(record, connection), encoding="utf-8")
        names.append(name)
    return names


def shown_path(path: Path) -> str:
    """A path as short as it goes: relative to where we are, when it is below."""
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except ValueError:
        return str(path)
