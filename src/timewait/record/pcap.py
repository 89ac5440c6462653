"""A record as a pcapng capture: every packet where it was sent, with the reason as its comment.

Each host is an interface. The comment says why the packet was sent, what became of it
and which changes of state its arrival caused, so that Wireshark tells the story too.
"""

import os
from pathlib import Path
from typing import BinaryIO

from timewait.base.instant import show_ns
from timewait.record.entries import Dropped, Entry, Moved, Received, Sent
from timewait.record.record import Record
from timewait.tcp.reasons import Reason
from timewait.wire.pcapng import PcapngWriter
from timewait.wire.serialize import serialize


def write_pcapng(record: Record, path: str | os.PathLike[str], *, host: str | None = None) -> int:
    """Write a capture file, at once or not at all; gives the number of packets.

    `host` takes the view of one host: what it sent and what reached it, as tcpdump
    would show there. Without it every transmission appears once, when it was sent.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            count = write_pcapng_to(record, file, host=host)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def write_pcapng_to(record: Record, out: BinaryIO, *, host: str | None = None) -> int:
    """Write a capture to an open binary file."""
    writer = PcapngWriter(out, comment="; ".join(f"{key}: {value}" for key, value in sorted(record.meta.items())))
    numbers: dict[str, int] = {}
    fates = _fates(record.entries)
    count = 0
    for entry in record:
        if isinstance(entry, Sent) and host in (None, entry.where):
            comment = _comment(entry, fates)
            direction = 2
        elif isinstance(entry, Received) and host == entry.where:
            comment = "\n".join([_reason(entry), *fates.get(id(entry), [])]).strip()
            direction = 1
        else:
            continue
        if entry.where not in numbers:
            numbers[entry.where] = writer.add_interface(entry.where)
        data = serialize(entry.packet)
        writer.write(entry.time, numbers[entry.where], data, comment, direction if host is not None else 0)
        count += 1
    return count


def _reason(entry: Sent | Received) -> str:
    why = entry.packet.why
    if isinstance(why, Reason):
        return f"{why.name}: {why.text} ({why.source})"
    return "" if why is None else why.name


def _comment(entry: Sent, fates: dict[int, list[str]]) -> str:
    """The reason of a transmission, then what became of it."""
    return "\n".join(line for line in [_reason(entry), *fates.get(id(entry), [])] if line)


def _fates(entries: list[Entry]) -> dict[int, list[str]]:
    """What became of each Sent, and what each Received led to, by id() of the entry."""
    told: dict[int, list[str]] = {}
    sent: dict[int, Sent] = {}
    landed: dict[str, Received] = {}
    for entry in entries:
        if isinstance(entry, Sent):
            sent[entry.packet.uid] = entry
            # What a host does after it has answered is no longer told of the packet before.
            landed.pop(entry.where, None)
        elif isinstance(entry, Received):
            landed[entry.where] = entry
            if entry.uid in sent:
                _tell(told, sent[entry.uid], f"reached {entry.where} at {show_ns(entry.time)}")
        elif isinstance(entry, Dropped):
            text = f"dropped at {entry.where}: {entry.drop.name}, {entry.drop.text} ({entry.drop.source})"
            _tell(told, sent.get(entry.uid), text)
            here = landed.get(entry.where)
            if here is not None and here.uid == entry.uid:
                _tell(told, here, text)
        elif isinstance(entry, Moved):
            here = landed.get(entry.where)
            if here is not None and here.time == entry.time:
                text = f"{entry.where}: {entry.old.name} to {entry.new.name}, {entry.cause.value}"
                _tell(told, here, text)
                _tell(told, sent.get(here.uid), text)
    return told


def _tell(told: dict[int, list[str]], entry: Entry | None, text: str) -> None:
    if entry is not None:
        told.setdefault(id(entry), []).append(text)
