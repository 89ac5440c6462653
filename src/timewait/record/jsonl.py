"""A record as JSON lines: one header line, then one line per entry, byte-identical for identical runs.

Keys stand in a fixed order and only what differs from a packet's defaults is written.
An arrival or loss of the very packet that was sent refers to its number alone.
"""

import base64
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, TextIO

from timewait.base.errors import UsageError
from timewait.record.entries import Called, Dropped, Entry, Moved, Noted, Received, Sent, TimerFired
from timewait.record.record import Record
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import Cause, State
from timewait.wire.packet import Datagram, IcmpMessage, Packet, RawPacket, Segment, make_flow

FORMAT: Final = "timewait-record"
VERSION: Final = 1

_CLASSES: Final[dict[str, type[Packet]]] = {
    "tcp": Segment,
    "udp": Datagram,
    "icmp": IcmpMessage,
    "raw": RawPacket,
}
_DEFAULTS: Final = {kind: cls() for kind, cls in _CLASSES.items()}
_IP_FIELDS: Final = (
    "proto", "ttl", "tos", "ident", "dont_fragment", "more_fragments", "fragment_offset", "flow_label",
)  # fmt: skip
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "tcp": (
        *_IP_FIELDS, "sport", "dport", "seq", "ack", "flags", "window", "urgent", "length", "gso_size", "mss",
        "wscale", "sack_permitted", "has_ts", "tsval", "tsecr", "fast_open_exp",
    ),
    "udp": (*_IP_FIELDS, "sport", "dport", "no_checksum"),
    "icmp": (*_IP_FIELDS, "type", "code", "rest"),
    "raw": _IP_FIELDS,
}  # fmt: skip


class JsonlWriter:
    """Writes entries to an open text file as they come: `Record(sink=writer.write)`.

    `payload` is the number of payload octets kept per packet; None keeps all.
    """

    def __init__(self, file: TextIO, meta: dict[str, str] | None = None, *, payload: int | None = None) -> None:
        self.file = file
        self.payload = payload
        self._recent: dict[int, Packet] = {}
        header: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        if meta:
            header["meta"] = dict(sorted(meta.items()))
        self._line(header)

    def write(self, entry: Entry) -> None:
        """Write one entry."""
        row: dict[str, Any] = {"t": entry.time, "k": "", "at": entry.where}
        if isinstance(entry, Sent):
            row["k"] = "sent"
            row["p"] = self._packet(entry.packet)
            self._recent[entry.packet.uid] = entry.packet
            if len(self._recent) > 100_000:
                # A flight longer than this is written out in full again: correct, only longer.
                del self._recent[next(iter(self._recent))]
        elif isinstance(entry, Received):
            row["k"] = "received"
            self._refer(row, entry.packet, entry.uid)
        elif isinstance(entry, Dropped):
            row["k"] = "dropped"
            row["drop"] = entry.drop.name
            self._refer(row, entry.packet, entry.uid)
        elif isinstance(entry, Moved):
            row["k"] = "moved"
            row |= {"flow": entry.flow.hex(), "old": entry.old.name, "new": entry.new.name, "cause": entry.cause.name}
        elif isinstance(entry, TimerFired):
            row["k"] = "timer"
            row |= {"flow": entry.flow.hex(), "name": entry.name}
        elif isinstance(entry, Called):
            row["k"] = "called"
            row |= {"process": entry.process, "call": entry.call, "result": entry.result}
        elif isinstance(entry, Noted):
            row["k"] = "noted"
            row["text"] = entry.text
        self._line(row)

    def left_out(self, count: int) -> None:
        """Say that the record lacks `count` entries."""
        if count:
            self._line({"k": "left_out", "count": count})

    def _line(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")

    def _refer(self, row: dict[str, Any], packet: Packet | None, uid: int) -> None:
        if uid:
            row["uid"] = uid
        if packet is not None and not (uid and self._recent.get(uid) is packet):
            row["p"] = self._packet(packet)

    def _packet(self, packet: Packet) -> dict[str, Any]:
        kind = next((kind for kind, cls in _CLASSES.items() if isinstance(packet, cls)), "raw")
        default = _DEFAULTS[kind]
        row: dict[str, Any] = {"is": kind, "uid": packet.uid, "src": packet.src.hex(), "dst": packet.dst.hex()}
        if packet.why is not None:
            row["why"] = packet.why.name
        for name in _FIELDS[kind]:
            value = getattr(packet, name)
            if value != getattr(default, name):
                row[name] = value
        if isinstance(packet, Segment):
            _options_out(row, packet)
        payload: bytes | memoryview = getattr(packet, "payload", b"")
        kept = bytes(payload if self.payload is None else payload[: self.payload])
        if kept:
            row["data"] = base64.b64encode(kept).decode()
        if len(kept) != len(payload):
            row["size"] = len(payload)
        return row


def _options_out(row: dict[str, Any], segment: Segment) -> None:
    if segment.sacks:
        row["sacks"] = [list(block) for block in segment.sacks]
    if segment.fast_open is not None:
        row["fast_open"] = segment.fast_open.hex()
    if segment.other_options:
        row["other"] = [[kind, content.hex()] for kind, content in segment.other_options]
    if segment.raw_options is not None:
        row["raw_options"] = segment.raw_options.hex()


def write_jsonl(record: Record, path: str | os.PathLike[str], *, payload: int | None = None) -> None:
    """Write a whole record to a file, at once or not at all."""
    with AtomicText(path) as file:
        write_to(record, file, payload=payload)


def write_to(record: Record, file: TextIO, *, payload: int | None = None) -> None:
    """Write a whole record to an open text file."""
    writer = JsonlWriter(file, record.meta, payload=payload)
    for entry in record:
        writer.write(entry)
    writer.left_out(record.left_out)


class AtomicText:
    """A text file that appears under its name only when it is whole: temporary file, then rename."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __enter__(self) -> TextIO:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        self._name = name
        self._file: TextIO = os.fdopen(handle, "w", encoding="utf-8", newline="\n")
        return self._file

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._file.close()
        if kind is None:
            # mkstemp gives 0600; a result file is as readable as any other.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(self._name, 0o666 & ~mask)
            os.replace(self._name, self.path)
        else:
            os.unlink(self._name)


def read_jsonl(path: str | os.PathLike[str]) -> Record:
    """Read a record from a file. Raises UsageError if it is not one, or of a later version."""
    with open(path, encoding="utf-8") as file:
        return read_from(file)


def read_from(lines: Iterable[str]) -> Record:
    """Read a record from lines. A half-written last line (of a stream cut short) is left out."""
    rows = _rows(lines)
    header = next(rows, {})
    if header.get("format") != FORMAT:
        raise UsageError(f"not a record: the first line does not say {FORMAT!r}")
    if not isinstance(header.get("version"), int) or header["version"] > VERSION:
        raise UsageError(f"record of version {header.get('version')!r}; this reader knows up to {VERSION}")
    record = Record()
    record.meta.update(header.get("meta", {}))
    packets: dict[int, Packet] = {}
    for row in rows:
        if row["k"] == "left_out":
            record.left_out += row["count"]
        else:
            record.add(_entry(row, packets))
    return record


def _rows(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if line.endswith("\n"):
                raise UsageError(f"line {number} is not JSON: {error}") from None
            return
        if not isinstance(row, dict):
            raise UsageError(f"line {number} is not an entry")
        yield row


def _entry(row: dict[str, Any], packets: dict[int, Packet]) -> Entry:
    try:
        return _entry_of_kind(row, packets)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not an entry: {row!r}: {error!r}") from None


def _entry_of_kind(row: dict[str, Any], packets: dict[int, Packet]) -> Entry:
    kind: str = row["k"]
    time: int = row["t"]
    where: str = row["at"]
    if kind in ("sent", "received", "dropped"):
        uid: int = row.get("uid", 0)
        packet = _packet_in(row["p"]) if "p" in row else packets.get(uid)
        if kind == "dropped":
            return Dropped(time, where, packet, uid, Drop[row["drop"]])
        if packet is None:
            raise UsageError(f"transmission {uid} was never written")
        if kind == "received":
            return Received(time, where, packet, uid)
        packets[packet.uid] = packet
        return Sent(time, where, packet)
    if kind == "moved":
        cause = Cause[row["cause"]]
        return Moved(time, where, bytes.fromhex(row["flow"]), State[row["old"]], State[row["new"]], cause)
    if kind == "timer":
        return TimerFired(time, where, bytes.fromhex(row["flow"]), row["name"])
    if kind == "called":
        return Called(time, where, row["process"], row["call"], row["result"])
    if kind == "noted":
        return Noted(time, where, row["text"])
    raise UsageError(f"unknown kind of entry {kind!r}")


def _packet_in(row: dict[str, Any]) -> Packet:
    kind: str = row["is"]
    packet = _CLASSES[kind]()
    packet.uid = row["uid"]
    packet.src = bytes.fromhex(row["src"])
    packet.dst = bytes.fromhex(row["dst"])
    why: str | None = row.get("why")
    packet.why = _why(why) if why is not None else None
    for name in _FIELDS[kind]:
        if name in row:
            setattr(packet, name, row[name])
    data = base64.b64decode(row.get("data", ""))
    if "size" in row:
        # Octets that were not kept come back as zeros, so that lengths stay true.
        data = data.ljust(row["size"], b"\0")
    if data and isinstance(packet, (Segment, Datagram, IcmpMessage, RawPacket)):
        packet.payload = data
    if isinstance(packet, Segment):
        _options_in(row, packet)
    return packet


def _options_in(row: dict[str, Any], segment: Segment) -> None:
    segment.flow = make_flow(segment.src, segment.dst, segment.sport, segment.dport)
    segment.sacks = tuple((left, right) for left, right in row.get("sacks", ()))
    if "fast_open" in row:
        segment.fast_open = bytes.fromhex(row["fast_open"])
    segment.other_options = tuple((kind, bytes.fromhex(content)) for kind, content in row.get("other", ()))
    if "raw_options" in row:
        segment.raw_options = bytes.fromhex(row["raw_options"])


def _why(name: str) -> Enum | None:
    return Why.__members__.get(name)
