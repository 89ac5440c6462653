"""A record written as a script: what one host received becomes injected packets, what it sent becomes expected ones.

The script carries lengths, not content; calls that have no counterpart in the language
stand as comments. Numbers on packets with SYN are those of the record, all others count
from the ISNs.
"""

import re
from typing import Final

from timewait.base.errors import UsageError
from timewait.drill.connection import TestConnection
from timewait.drill.packets import decode_options, show_flags, show_options
from timewait.record.entries import Called, Entry, Received, Sent, segment_of
from timewait.record.record import Record
from timewait.wire import options as wire
from timewait.wire.address import show
from timewait.wire.packet import ACK, RST, SYN, Segment

DEFAULT_PROFILE: Final = "linux-6.18"
_CALL: Final = re.compile(r"(\w+)\((.*)\)", re.DOTALL)


def script_of(
    record: Record, host: str = "", *, connection: int = 0, title: str = "", sysctl: tuple[tuple[str, str], ...] = ()
) -> str:
    """The script of one connection of a record, seen from `host` ('': who was connected to).

    UsageError where the record has no such host or no connection with its SYN.
    """
    first = _opening(record, connection)
    passive = _at(record, first)
    where = host or passive
    if where not in record.hosts():
        raise UsageError(f"the record has no host {where!r}; there are {', '.join(record.hosts())}")
    writer = _Writer(where, first, listening=where == passive)
    for entry in record.entries:
        writer.take(entry)
    return writer.text(title, sysctl)


def _opening(record: Record, number: int) -> Segment:
    """The first SYN of a connection, by its place in the record."""
    seen: list[Segment] = []
    for entry in record.entries:
        seg = segment_of(entry)
        if isinstance(entry, Sent) and seg is not None and seg.flags & SYN and not seg.flags & ACK:
            if not any(other.flow == seg.flow for other in seen):
                seen.append(seg)
            if len(seen) > number:
                return seg
    raise UsageError(f"the record has no connection {number} that begins with a SYN")


def _at(record: Record, syn: Segment) -> str:
    """The host that a SYN was for: who received it, or, if nobody did, anybody but its sender."""
    sender = ""
    for entry in record.entries:
        seg = segment_of(entry)
        if seg is None or seg.flow != syn.flow:
            continue
        if isinstance(entry, Received):
            return entry.where
        sender = entry.where
    return next((name for name in record.hosts() if name != sender), sender)


class _Writer:
    """Lines of a script, in the order of the record."""

    def __init__(self, host: str, syn: Segment, *, listening: bool) -> None:
        self.host = host
        self.listening = listening
        if listening:
            self.local, self.remote = syn.dst, syn.src
            self.local_port, self.remote_port = int(syn.dport), int(syn.sport)
        else:
            self.local, self.remote = syn.src, syn.dst
            self.local_port, self.remote_port = int(syn.sport), int(syn.dport)
        self.conn = TestConnection(self.local, self.remote)
        self.lines: list[tuple[int, str]] = []
        self.sockets: set[str] = set()
        self.prepared = False

    def take(self, entry: Entry) -> None:
        """One entry of the record."""
        if entry.where != self.host:
            return
        if isinstance(entry, Called):
            self._call(entry)
            return
        seg = segment_of(entry)
        if seg is None:
            return
        inbound = isinstance(entry, Received)
        ends = (self.remote, self.remote_port, self.local, self.local_port)
        if not inbound:
            ends = (self.local, self.local_port, self.remote, self.remote_port)
        if (seg.src, seg.sport, seg.dst, seg.dport) != ends or not isinstance(entry, (Received, Sent)):
            return
        self.lines.append((entry.time, self._packet(seg, inbound)))

    def _packet(self, seg: Segment, inbound: bool) -> str:
        syn = bool(seg.flags & SYN)
        conn = self.conn
        if syn and inbound:
            conn.script_remote_isn = int(seg.seq)
        elif syn:
            conn.script_local_isn = conn.live_local_isn = int(seg.seq)
        own, other = (conn.script_remote, conn.script_local) if inbound else (conn.script_local, conn.script_remote)
        # On a SYN the record's numbers are the script's; a reset out of nowhere counts from nothing.
        bare = bool(seg.flags & RST and seg.flags & ACK and seg.seq == 0 and not inbound)
        seq = int(seg.seq) if syn or bare else own(int(seg.seq), False)
        ack = int(seg.ack) if syn else other(int(seg.ack), False)
        words = ["<" if inbound else ">"]
        if seg.tos & 3:
            words.append("[" + ("", "ect1", "ect0", "ce")[seg.tos & 3] + "]")
        words.append(show_flags(int(seg.flags)))
        words.append(f"{seq}:{(seq + seg.length) & 0xFFFFFFFF}({seg.length})")
        if seg.flags & ACK:
            words.append(f"ack {ack}")
        words.append(f"win {seg.window}")
        if seg.urgent:
            words.append(f"urg {seg.urgent}")
        shown = show_options(decode_options(wire.encode(seg), conn, syn, inbound))
        return " ".join([*words, shown]).rstrip()

    # Calls

    def _call(self, entry: Called) -> None:
        match = _CALL.fullmatch(entry.call)
        line = "" if match is None else self._translate(match.group(1), match.group(2).split(", "), entry.result)
        # A call is recorded when it is through: behind the packets that it sent.
        at = len(self.lines)
        while at and self.lines[at - 1][0] == entry.time and self.lines[at - 1][1].startswith(">"):
            at -= 1
        self.lines.insert(at, (entry.time, line or f"// {entry.call} gave {entry.result}"))

    def _translate(self, name: str, args: list[str], result: str) -> str:
        """A call in the script's words; '' for one that has none."""
        gave = f"-1 {result} (error)" if result[:1] == "E" else result
        if name == "socket" and len(args) == 3 and result.isdigit() and args[1] == "1":
            self.sockets.add(result)
            return f"socket(..., SOCK_STREAM, IPPROTO_TCP) = {result}"
        if not args or args[0] not in self.sockets:
            return ""
        if name in ("bind", "connect"):
            return f"{name}({args[0]}, ..., ...) = {gave}"
        if name == "accept":
            fd = result.split(", ", maxsplit=1)[0]
            if fd.isdigit():
                self.sockets.add(fd)
                gave = fd
            return f"accept({args[0]}, ..., ...) = {gave}"
        if name in ("listen", "shutdown", "close"):
            return f"{name}({', '.join(args)}) = {gave}"
        if name == "send":
            size = args[1].split()[0]
            return f"send({args[0]}, ..., {size}, 0) = {gave}" if size.isdigit() else ""
        if name == "recv" and args[1].isdigit():
            return f"recv({args[0]}, ..., {args[1]}, 0) = {gave}"
        if name == "setsockopt" and len(args) == 4 and args[3].lstrip("-").isdigit():
            return f"setsockopt({args[0]}, {args[1]}, {args[2]}, [{args[3]}], 4) = {gave}"
        return ""

    # The whole

    def text(self, title: str, sysctl: tuple[tuple[str, str], ...]) -> str:
        """The script."""
        head = [f"// {title}"] if title else []
        head.append(f"--ip_version={'ipv4' if len(self.local) == 4 else 'ipv6'}")
        head += [f"--local_ip={show(self.local)}", f"--remote_ip={show(self.remote)}"]
        bind, connect = (self.local_port, 8080) if self.listening else (8080, self.remote_port)
        head += [f"--bind_port={bind}", f"--connect_port={connect}"]
        if sysctl:
            head += ["`" + "\n".join(f"sysctl -q {name}='{value}'" for name, value in sysctl) + "`"]
        body: list[str] = []
        lines = self.lines
        if self.listening and not self.sockets:
            start = lines[0][0] if lines else 0
            lines = [(start, line) for line in _LISTENER] + lines
        previous = lines[0][0] if lines else 0
        begun = False
        for time, line in lines:
            if line.startswith("//"):
                body.append(f"          {line}")
                continue
            stamp = "+" + _seconds(time - previous) if begun else "0"
            body.append(f"{stamp:>9} {line}")
            if line.startswith("socket("):
                fd = line.rpartition("= ")[2]
                body.append(f"       +0 fcntl({fd}, F_SETFL, O_RDWR|O_NONBLOCK) = 0")
            if line.startswith("accept(") and line.rpartition("= ")[2].isdigit():
                body.append(f"       +0 fcntl({line.rpartition('= ')[2]}, F_SETFL, O_RDWR|O_NONBLOCK) = 0")
            previous = time
            begun = True
        return "\n".join([*head, "", *body, ""])


_LISTENER: Final = (
    "socket(..., SOCK_STREAM, IPPROTO_TCP) = 3",
    "bind(3, ..., ...) = 0",
    "listen(3, 128) = 0",
)


def _seconds(time: int) -> str:
    """ns as seconds without trailing zeros."""
    return f"{time / 1e9:.9f}".rstrip("0").rstrip(".") or "0"
