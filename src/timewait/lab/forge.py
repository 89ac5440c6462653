"""Segments written by hand: forged senders on the link of a pair, and a puppet that plays several connections."""

from timewait.base.instant import SEC
from timewait.lab.bench import ADDRESSES, PORT, Bench
from timewait.lab.judge import LabError
from timewait.lab.puppet import Puppet
from timewait.record.match import parse_flags
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_TCP, SYN, Segment, make_flow

FIRST_FORGED = 100
"""Host number of the first address nobody has; forged senders share the subnet, so that answers are sent out."""
FORGED = 150


class Forger:
    """Puts segments onto a pair's link in anybody's name; in the record they are sent by 'attacker'."""

    def __init__(self, bench: Bench, to: str = "server") -> None:
        self.bench = bench
        self.to = to
        self.made = 0

    def send(
        self,
        flags: str,
        *,
        src: str = "",
        sport: int,
        dport: int = PORT,
        seq: int = 0,
        ack: int = 0,
        data: bytes = b"",
        ts: tuple[int, int] | None = None,
    ) -> Segment:
        """One segment, numbers absolute. `src` '' is the other end of the pair; `ts` is (TSval, TSecr)."""
        other = "client" if self.to == "server" else "server"
        made = Segment()
        made.src, made.dst, made.proto = pack(src or ADDRESSES[other]), pack(ADDRESSES[self.to]), PROTO_TCP
        made.sport, made.dport = sport, dport
        made.flow = make_flow(made.src, made.dst, sport, dport)
        made.flags = parse_flags(flags)
        made.seq, made.ack = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
        made.window = 65535
        made.payload, made.length = data, len(data)
        made.dont_fragment = True
        if made.flags & SYN:
            made.mss = 1460
        if ts is not None:
            made.has_ts, made.tsval, made.tsecr = True, ts[0] & 0xFFFFFFFF, ts[1] & 0xFFFFFFFF
        if self.bench.world.tap is not None:
            self.bench.world.tap.sent("attacker", made, self.bench.now)
        self.bench.link.direction(other).send(made)
        return made

    def syn(self, dport: int = PORT) -> Segment:
        """A SYN from the next address that nobody has: the SYN-ACK is never answered."""
        number, self.made = self.made, self.made + 1
        src = f"10.0.0.{FIRST_FORGED + number % FORGED}"
        return self.send("S", src=src, sport=1024 + number, dport=dport, seq=1000 * number)

    def flood(self, count: int, dport: int = PORT) -> None:
        """`count` such SYNs at once, and time for them to arrive."""
        for _ in range(count):
            self.syn(dport)
        self.bench.run(2 * self.bench.lab.rtt)

    def trickle(self, count: int, interval: int) -> None:
        """`count` such SYNs, one each `interval` ns, while the world goes on."""
        for number in range(count):
            self.bench.world.after(number * interval, self.syn)


class Dialog:
    """One of several connections that a puppet plays as a client; numbers count from the two SYNs."""

    def __init__(self, bench: Bench, sport: int, *, iss: int = 1_000_000, dport: int = PORT) -> None:
        self.bench = bench
        self.puppet: Puppet = bench.puppet
        self.sport = sport
        self.dport = dport
        self.iss = iss
        self.irs: int | None = None
        self.ts: tuple[int, int] | None = None
        """(TSval, TSecr) of what is sent next; None: no timestamps."""
        self.begun = len(self.puppet.received)

    def received(self) -> list[Segment]:
        """What arrived for this connection since it was begun."""
        found = [each for each in self.puppet.received[self.begun :] if isinstance(each, Segment)]
        return [each for each in found if each.dport == self.sport and each.sport == self.dport]

    def syn(self, *, seq: int | None = None) -> "Dialog":
        """Send the SYN, timestamps offered if `ts` is set; a `seq` begins a new incarnation."""
        if seq is not None:
            self.iss = seq & 0xFFFFFFFF
        made = self.make("S")
        made.mss = 1460
        self.put(made)
        return self

    def shake(self) -> "Dialog":
        """The whole handshake. LabError if the SYN is not answered."""
        self.syn()
        self.answered()
        self.send("A", seq=1, ack=1)
        self.bench.run(self.bench.lab.rtt)
        return self

    def answered(self) -> Segment:
        """Wait for the SYN-ACK, learn its numbers."""
        self.bench.until(self._syn_acks, f"the SYN-ACK for port {self.sport}")
        found = self._syn_acks()[-1]
        self.irs = found.seq
        self.echo(found)
        return found

    def echo(self, segment: Segment) -> None:
        """Echo this segment's timestamp from now on."""
        if self.ts is not None:
            self.ts = (self.ts[0], segment.tsval)

    def _syn_acks(self) -> list[Segment]:
        return [each for each in self.received() if each.flags & SYN]

    def send(self, flags: str, *, seq: int = 0, ack: int | None = None, data: bytes = b"") -> Segment:
        """A segment of this connection."""
        return self.put(self.make(flags, seq=seq, ack=ack, data=data))

    def make(self, flags: str, *, seq: int = 0, ack: int | None = None, data: bytes = b"") -> Segment:
        """A segment of this connection to be changed and then handed to `put`."""
        self._turn()
        return self.puppet.segment(flags, seq=seq, ack=ack, data=data)

    def put(self, made: Segment) -> Segment:
        """Send it, with timestamps if they are on."""
        if self.ts is not None:
            made.has_ts = True
            made.tsval, made.tsecr = self.ts[0] & 0xFFFFFFFF, self.ts[1] & 0xFFFFFFFF
        self.puppet.put(made)
        return made

    def relative(self, segment: Segment) -> tuple[int, int]:
        """(seq, ack) of a segment that arrived."""
        self._turn()
        return self.puppet.relative(segment)

    def last(self) -> Segment:
        """The last segment that arrived. LabError if there is none."""
        found = self.received()
        if not found:
            raise LabError(f"nothing arrived for port {self.sport}")
        return found[-1]

    def answers(self, since: int) -> list[Segment]:
        """What arrived after the first `since` segments of this connection; half a second is time enough to answer."""
        self.bench.within(lambda: len(self.received()) > since, SEC // 2)
        return self.received()[since:]

    def _turn(self) -> None:
        self.puppet.port, self.puppet.peer_port = self.sport, self.dport
        self.puppet.iss, self.puppet.irs = self.iss, self.irs
