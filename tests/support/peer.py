"""A scripted peer: every segment to the host under test is written by hand, every one it sends is read as text.

    peer = Peer.sim()                      # our stack, virtual time; Peer.kernel() plays against the real one
    peer.listen(80)
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"

Numbers are relative: each SYN is 0, the first octet 1, acknowledgments count from the other
side's SYN. A segment reads 'PA 1:11 ack 1 sack 21-31': flags, first and last-plus-one octet,
acknowledgment, SACK blocks. What else it has is in the attributes of `Seen`: `at` (seconds on
the peer's watch), `options` ('mss 1460,sackOK,TS,nop,wscale 10'), `window`, `segment`.

The host is 10.0.0.1 and its link takes no time. The peer is 10.0.0.2, or any address given as
`src`. Times are nominal in the simulation; `about()` allows for what a kernel's clock adds.
"""

import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import pytest

from timewait.base.errors import WireError, errno_name
from timewait.base.instant import MSEC, SEC, seconds
from timewait.host.procfs import SocketRow
from timewait.record.match import parse_flags
from timewait.tcp.states import State
from timewait.wire.address import pack, show
from timewait.wire.options import NAMES, decode, encode
from timewait.wire.packet import ACK, SYN, IcmpMessage, Packet, Segment, make_flow
from timewait.wire.parse import parse
from timewait.world.kernel import KernelHost
from timewait.world.network import World
from timewait.world.pipe import Port

HOST = "10.0.0.1"
PEER = "10.0.0.2"
PORT = 80
SPORT = 40000
ISS = 0xFFFFFFF8
"""The peer's initial sequence number: its eighth octet is number 0."""
SETTLE = 3 * MSEC
"""How long a kernel is given to answer: less than its tick, so that no timer runs meanwhile."""
LETTERS = (("S", 2), ("F", 1), ("R", 4), ("P", 8), ("A", 16), ("U", 32), ("E", 64), ("C", 128))


def both(test):
    """Mark a test that tests/differential runs against the kernel too."""
    test.on_kernel = True
    return test


def kernel_tests(*modules: object) -> dict[str, object]:
    """The tests marked with `both`, for a module of tests/differential to take over."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("test_") and getattr(value, "on_kernel", False)
    }


class Seen(str):
    """A packet the host sent, as text; compares like it."""

    at: float
    """Seconds since the start, or since `peer.reset_watch()`."""
    packet: Packet
    options: str
    window: int

    @property
    def segment(self) -> Segment:
        assert isinstance(self.packet, Segment)
        return self.packet


class Row:
    """A socket of the host: ss's state, ports, queues and timer."""

    def __init__(self, state: State, local: tuple[str, int], remote: tuple[str, int], recv_q: int, send_q: int) -> None:
        self.state = state.ss_name
        self.local = local
        self.remote = remote
        self.recv_q = recv_q
        self.send_q = send_q
        self.timer = ""
        self.left = 0.0
        """Seconds until the timer fires."""
        self.retrans = 0

    def __repr__(self) -> str:
        (a, p), (b, q) = self.local, self.remote
        return f"{self.state} {a}:{p} {b}:{q} recv_q={self.recv_q} send_q={self.send_q} {self.timer}"


class Flow:
    """One connection as the peer plays it: its ports and the two initial sequence numbers."""

    def __init__(self, peer: "Peer", sport: int, dport: int, src: str, iss: int, dst: str = HOST) -> None:
        self.peer = peer
        self.src, self.dst = pack(src), pack(dst)
        self.sport, self.dport = sport, dport
        self.iss = iss
        self.irs: int | None = None
        """The host's initial sequence number, learnt from its SYN; set it to make one up."""
        self.tsval = 0
        """The last TSval that came from the host."""
        peer.flows[make_flow(self.dst, self.src, dport, sport)] = self

    def segment(
        self,
        flags: str,
        *,
        seq: int = 0,
        ack: int = 1,
        data: bytes | int = b"",
        window: int = 65535,
        mss: int = 0,
        wscale: int = -1,
        sack_ok: bool = False,
        ts: int | tuple[int, int] | None = None,
        sack: Iterable[tuple[int, int]] = (),
        options: bytes | None = None,
        absolute: bool = False,
        **fields: object,
    ) -> Segment:
        """A segment to the host. `data` may be a number of octets; `ts` is TSval, or both values; `sack` relative."""
        made = Segment()
        made.src, made.dst, made.proto, made.dont_fragment = self.src, self.dst, 6, True
        made.sport, made.dport = self.sport, self.dport
        made.flow = make_flow(self.src, self.dst, self.sport, self.dport)
        made.flags = parse_flags(flags)
        made.seq = (seq if absolute else seq + self.iss) % 2**32
        if made.flags & ACK:
            made.ack = (ack if absolute else ack + (self.irs or 0)) % 2**32
        made.window = window
        made.payload = bytes(i % 251 for i in range(data)) if isinstance(data, int) else data
        made.length = len(made.payload)
        made.mss, made.wscale, made.sack_permitted = mss, wscale, sack_ok
        if ts is not None:
            made.has_ts = True
            made.tsval, made.tsecr = ts if isinstance(ts, tuple) else (ts, self.tsval)
        made.sacks = tuple(
            ((left + (self.irs or 0)) % 2**32, (right + (self.irs or 0)) % 2**32) for left, right in sack
        )
        if options is not None:
            # A simulated host is handed the segment itself: it must find in the fields what the octets say.
            decode(made, options)
            made.raw_options = options
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    def inject(self, flags: str, **given: Any) -> list[Seen]:
        """Send a segment (arguments of `segment`); gives what the host sends at once, on any connection."""
        return self.peer.put(self.segment(flags, **given))

    def handshake(self, *, mss: int = 1460, window: int = 65535, tsval: int = 1000, **options: Any) -> Seen:
        """Open the connection to a listening port, the third packet included; gives the SYN-ACK."""
        ts = {"ts": options.pop("ts")} if "ts" in options else {}
        (syn_ack,) = self.inject("S", mss=mss, window=window, **ts, **options)
        assert syn_ack == "SA 0:0 ack 1"
        assert self.inject("A", seq=1, ack=1, window=window, **ts) == []
        return syn_ack

    def row(self) -> Row | None:
        """The host's socket of this connection, half-open and TIME-WAIT included."""
        local, remote = (show(self.dst), self.dport), (show(self.src), self.sport)
        return next((row for row in self.peer.rows() if (row.local, row.remote) == (local, remote)), None)

    def state(self) -> str:
        """The connection's state as ss prints it, '' if the host knows of none."""
        row = self.row()
        return "" if row is None else row.state

    def relative(self, seg: Segment) -> str:
        """A segment of the host as text."""
        if seg.flags & SYN:
            self.irs = seg.seq
        if seg.has_ts:
            self.tsval = seg.tsval
        flags = "".join(letter for letter, bit in LETTERS if seg.flags & bit)
        # A reset out of nowhere has number 0 by itself, not counted from anything.
        own = 0 if self.irs is None else self.irs
        if seg.flags & 4 and seg.flags & ACK and seg.seq == 0:
            own = 0
        start = _signed(seg.seq - own)
        text = f"{flags} {start}:{start + seg.length}"
        if seg.flags & ACK:
            text += f" ack {_signed(seg.ack - self.iss)}"
        if seg.sacks:
            text += " sack " + " ".join(f"{_signed(a - self.iss)}-{_signed(b - self.iss)}" for a, b in seg.sacks)
        return text


def _signed(difference: int) -> int:
    return (difference + 2**31) % 2**32 - 2**31


def show_options(seg: Segment) -> str:
    """The options in their order on the wire, as tcpdump names them; timestamps without their values."""
    raw, at, words = encode(seg), 0, []
    while at < len(raw):
        kind = raw[at]
        size = 1 if kind < 2 else raw[at + 1]
        word = "nop" if kind == 1 else NAMES.get(kind, str(kind))
        if kind in (2, 3):
            word += f" {int.from_bytes(raw[at + 2 : at + size], 'big')}"
        words.append(word)
        at += size
    return ",".join(words)


class Cable(Port):
    """Where the link ends: everything goes to the peer."""

    def __init__(self, peer: "Peer") -> None:
        super().__init__("peer")
        self.peer = peer

    def prefixes(self) -> list[tuple[bytes, int]]:
        return [(pack(PEER), 24)]

    def deliver(self, packet: Packet) -> None:
        self.peer.arrived(packet)

    def deliver_bytes(self, data: bytes) -> None:
        try:
            self.peer.arrived(parse(data))
        except WireError as error:
            raise AssertionError(f"the host sent what is no packet: {error}") from error


class Peer:
    """The far end of a link whose near end is the host under test."""

    def __init__(self, world: World, host: Any, kind: str) -> None:
        self.world = world
        self.host = host
        self.kind = kind
        self.flows: dict[bytes, Flow] = {}
        self.fresh: list[Seen] = []
        self.zero = 0
        self.cable = Cable(self)
        world.link(host, self.cable)
        self.app = host.process("app")
        self.flow = Flow(self, SPORT, PORT, PEER, ISS)
        """The connection that `inject`, `state` and `row` speak of."""

    @classmethod
    def sim(cls, sysctl: Mapping[str, object] | None = None, *, seed: int = 1, mtu: int = 1500, **host: Any) -> Self:
        """Against our stack, in virtual time."""
        world = World(seed=seed)
        made = world.host("host", f"{HOST}/24", sysctl=sysctl, **host)
        made.interfaces[1].mtu = mtu
        return cls(world, made, "sim")

    @classmethod
    def kernel(cls, sysctl: Mapping[str, object] | None = None, *, mtu: int = 1500) -> Self:
        """Against the kernel of this machine, in a namespace of its own and in real time. Close it."""
        world = World(clock="real")
        host = KernelHost("host", world.clock, f"{HOST}/24", mtu=mtu)
        peer = cls(world, host, "kernel")
        for name, value in (sysctl or {}).items():
            host.set_sysctl(name, value)
        return peer

    def close(self) -> None:
        if self.kind == "kernel":
            self.host.close()
            self.world.clock.close()

    # Packets

    def arrived(self, packet: Packet) -> None:
        """The host sent a packet."""
        if isinstance(packet, Segment):
            flow = self.flows.get(packet.flow)
            if flow is None:
                flow = Flow(self, int(packet.dport), int(packet.sport), show(packet.dst), ISS, show(packet.src))
            seen = Seen(flow.relative(packet))
            seen.options, seen.window = show_options(packet), int(packet.window)
        elif isinstance(packet, IcmpMessage):
            seen = Seen(f"ICMP {packet.type}/{packet.code}")
        else:
            seen = Seen(type(packet).__name__)
        seen.at, seen.packet = (self.world.now - self.zero) / SEC, packet
        self.fresh.append(seen)

    def put(self, packet: Packet | bytes) -> list[Seen]:
        """Send a packet of one's own making, or bytes; gives what the host sends at once."""
        pipe = self.cable.pipe
        assert pipe is not None
        if isinstance(packet, bytes):
            pipe.send_bytes(packet)
        else:
            pipe.send(packet)
        return self.take()

    def inject(self, flags: str, **given: Any) -> list[Seen]:
        """A segment of the first connection: see Flow.segment."""
        return self.flow.inject(flags, **given)

    def handshake(self, **given: Any) -> Seen:
        """Open the first connection to a listening port."""
        return self.flow.handshake(**given)

    def new_flow(self, sport: int, dport: int = PORT, *, src: str = PEER, iss: int = ISS) -> Flow:
        """Another connection."""
        return Flow(self, sport, dport, src, iss)

    def outgoing(self, local: int, remote: int = PORT, *, iss: int = ISS) -> Flow:
        """The connection that the host's bound socket `local` is about to open to us; it becomes the first one."""
        self.flow = Flow(self, remote, local, PEER, iss)
        return self.flow

    # Time

    @property
    def now(self) -> float:
        """Seconds on the watch."""
        return (self.world.now - self.zero) / SEC

    def reset_watch(self) -> None:
        """What is sent from now on is timed from now."""
        self.zero = self.world.now

    def take(self) -> list[Seen]:
        """What the host has sent that nobody has looked at."""
        self.world.run(SETTLE if self.kind == "kernel" else 0)
        fresh, self.fresh = self.fresh, []
        return fresh

    def run(self, duration: float) -> list[Seen]:
        """Let seconds pass; gives what the host sent meanwhile and before."""
        self.world.run(seconds(duration))
        fresh, self.fresh = self.fresh, []
        return fresh

    def wait_for(self, condition: Callable[[], object], timeout: float = 10.0) -> bool:
        """Let time pass until condition() holds; False if it does not within `timeout` seconds."""
        deadline = self.world.now + seconds(timeout)
        while not condition():
            if self.world.now >= deadline:
                return False
            self.world.run(4 * MSEC)
        return True

    def about(self, *times: float) -> Any:
        """These times, give or take a tick; a kernel's timer wheel rounds each wait up by at most an eighth."""
        if self.kind == "kernel":
            return pytest.approx(list(times), rel=0.12, abs=0.25)
        return pytest.approx(list(times), rel=0.001, abs=0.013)

    # The host

    def sysctl(self, name: str, value: object | None = None) -> str:
        """Set one of the host's sysctls, or read it."""
        if value is None:
            return str(self.host.get_sysctl(name) if self.kind == "kernel" else self.host.sysctl[name])
        if self.kind == "kernel":
            self.host.set_sysctl(name, value)
        else:
            self.host.sysctl[name] = value
        return ""

    def counter(self, name: str) -> int:
        """A counter by nstat's name: 'TcpExtListenDrops'."""
        counters = self.host.counters() if self.kind == "kernel" else self.host.counters.as_dict(nonzero=False)
        return int(counters[name])

    def rows(self) -> list[Row]:
        """Every TCP socket of the host, listeners first."""
        if self.kind == "kernel":
            rows = [_kernel_row(row) for row in self.host.states()]
        else:
            rows = [_our_row(row) for row in self.host.rows()]
        return sorted(rows, key=lambda row: (row.state != "LISTEN", row.local, row.remote))

    def row(self) -> Row | None:
        return self.flow.row()

    def state(self) -> str:
        """The first connection's state: 'SYN-RECV', 'ESTAB', ..., '' when there is none."""
        return self.flow.state()

    def states(self) -> list[str]:
        """The states of all sockets but listeners."""
        return [row.state for row in self.rows() if row.state != "LISTEN"]

    # Programs

    def attempt(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call gives, or its error's name: 'EAGAIN'."""
        try:
            return call(*arguments)
        except OSError as error:
            return errno_name(error.errno or 0)

    def listen(
        self, port: int = PORT, backlog: int = 128, *options: tuple[int, int, int], address: str = "0.0.0.0"
    ) -> int:
        """A listening socket; `options` are (level, name, value), SO_REUSEADDR is always set."""
        fd = self.app.socket(socket.AF_INET, socket.SOCK_STREAM)
        for option in ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), *options):
            self.app.setsockopt(fd, *option)
        self.app.bind(fd, (address, port))
        self.app.listen(fd, backlog)
        return fd

    def connect(self, port: int = PORT, *options: tuple[int, int, int], local: int = SPORT, iss: int = ISS) -> int:
        """Begin to connect to the peer from port `local`; the SYN is in the next `take()`."""
        self.outgoing(local, port, iss=iss)
        fd = self.app.socket(socket.AF_INET, socket.SOCK_STREAM)
        for option in options:
            self.app.setsockopt(fd, *option)
        self.app.bind(fd, ("0.0.0.0", local))
        assert self.attempt(self.app.connect, fd, (PEER, port)) == "EINPROGRESS"
        return fd

    def accept(self, listener: int) -> int:
        """The descriptor of the first connection that waits."""
        return int(self.app.accept(listener)[0])

    def error(self, fd: int) -> str:
        """SO_ERROR by name, '' for none; reading it takes it."""
        number = self.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR)
        assert isinstance(number, int)
        return errno.errorcode[number] if number else ""


def _kernel_row(found: Any) -> Row:
    row = Row(found.state, found.local, found.remote, found.receive_queue, found.send_queue)
    row.timer, row.left, row.retrans = found.timer, found.expires / SEC, found.retransmits
    return row


def _our_row(found: SocketRow) -> Row:
    local, remote = found.local, found.remote
    row = Row(
        found.state,
        (show(local[0]), int(local[1])),
        (show(remote[0]), int(remote[1])),
        int(found.recv_q),
        int(found.send_q),
    )
    names = {"on": "retransmit", "timewait": "time_wait"}
    row.timer, row.left, row.retrans = names.get(found.timer, found.timer), found.remaining / SEC, int(found.retrans)
    return row
