"""One direction of a link: where packets are delayed, lost, held back, doubled or damaged.

A pipe without faults costs one queue entry a packet and draws no random number. Each
fault has its own random stream, drawn once for every packet whatever the others decide,
so that switching one fault on changes nothing about what the others do.
"""

from collections import deque
from enum import Enum
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.rng import Streams
from timewait.tcp.reasons import Drop
from timewait.tcp.tap import Tap
from timewait.wire.gso import split, split_datagram
from timewait.wire.packet import Datagram, Packet, Segment
from timewait.wire.serialize import serialize, wire_length
from timewait.world.clock import Event, Line, Scheduler
from timewait.world.forward import fragment, may_fragment, too_big
from timewait.world.words import Matcher

MAX_COPIES: Final = 1_000
"""Bound on the copies one rule makes of a packet."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Port:
    """A machine's end of a link. Hosts, routers, switches and callables each have their kind."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The machine's name."""
        self.pipe: Pipe | None = None
        """Where what this machine sends goes."""
        self.takes_super: bool = False
        """Whether it accepts super-segments."""

    def connect(self, pipe: "Pipe") -> None:
        """From now on send into `pipe`."""
        self.pipe = pipe

    def disconnect(self) -> None:
        """There is no link any more."""
        self.pipe = None

    def deliver(self, packet: Packet) -> None:
        """A packet arrives."""
        raise NotImplementedError

    def deliver_bytes(self, data: bytes) -> None:
        """A datagram arrives as bytes: damaged on the way, or from outside."""
        raise NotImplementedError

    def address(self, version: i64) -> bytes:
        """Its packed address of IP version 4 or 6, b'' without one: the source of ICMP errors."""
        for address, _ in self.prefixes():
            if len(address) == (4 if version == 4 else 16):
                return address
        return b""

    def prefixes(self) -> list[tuple[bytes, int]]:
        """Its (packed address, prefix length) pairs."""
        return []


class Delivery(Event):
    """A packet on its way to a port that others may overtake, or that was held back."""

    def __init__(self, pipe: "Pipe", item: Packet | bytes) -> None:
        super().__init__()
        self.pipe = pipe
        self.item = item

    def fire(self, now: i64) -> None:
        self.pipe.served(self.item)

    def describe(self) -> str:
        return self.pipe.describe()


class Action(Enum):
    """What a rule does to a packet that matches."""

    DROP = "drop"
    HOLD = "hold"
    REPEAT = "repeat"
    DAMAGE = "damage"


class Rule:
    """A scripted fault: packets the matcher picks are dropped, held back, repeated or damaged."""

    def __init__(self, matcher: Matcher, action: Action, amount: i64 = 0) -> None:
        self.matcher = matcher
        self.action = action
        self.amount: i64 = amount
        """HOLD: ns; REPEAT: copies."""
        self.hits: i64 = 0
        """How many packets it has caught."""


def is_super(packet: Packet) -> bool:
    """Whether it stands for several packets on the wire."""
    if isinstance(packet, Segment):
        return packet.gso_size > 0
    return isinstance(packet, Datagram) and packet.gso_size > 0


class Pipe(Line):
    """One direction of a link, from `source` to `sink`. After changing an attribute call `refresh`."""

    def __init__(self, name: str, clock: Scheduler, source: Port, sink: Port, streams: Streams) -> None:
        super().__init__(clock)
        self.name = name
        """The link's name: where discards are recorded."""
        self.source = source
        self.sink = sink
        self.tap: Tap | None = None
        self.back: Pipe | None = None
        """The opposite direction: ICMP errors about packets too big for this one return there."""

        self.delay: i64 = 0
        """Propagation delay, ns."""
        self.jitter: i64 = 0
        """Extra delay, uniform in 0..jitter ns."""
        self.overtake: bool = False
        """Whether jitter may reorder; else a packet waits for the one before it."""
        self.rate: i64 = 0
        """Bit/s of IP datagrams; 0: unlimited."""
        self.queue: i64 = 0
        """Packets that may wait for the transmitter, tail drop; 0: unlimited."""
        self.queue_bytes: i64 = 0
        """Bytes that may wait for the transmitter; 0: unlimited."""
        self.loss: float = 0.0
        self.burst: tuple[float, float, float] | None = None
        """Gilbert-Elliott: per packet probability to enter the bad state, to leave it, to lose a packet in it."""
        self.reorder: float = 0.0
        """Probability that a packet is held back while others pass."""
        self.reorder_delay: i64 = 0
        """For how long, ns; 0: the link's delay, at least 1 ms."""
        self.duplicate: float = 0.0
        self.mark: float = 0.0
        """Probability that a packet which is ECT is marked CE (RFC 3168)."""
        self.mark_above: i64 = 0
        """Mark packets that find so many waiting, as a queue with active management would; 0: never."""
        self.corrupt: float = 0.0
        """Probability that one bit of the datagram flips."""
        self.mtu: i64 = 0
        """Largest IP datagram; 0: unlimited."""
        self.blackhole: bool = False
        """Packets that are too big vanish without an ICMP error or fragmentation (RFC 2923)."""
        self.partitions: i64 = 0
        """How many partitions are in force; the direction carries nothing while there is one."""
        self.unplugged: i64 = 0
        """How many times the cable is unplugged."""
        self.rules: list[Rule] = []

        self.plain: bool = True
        """No fault is on and no packet needs splitting: the fast path."""
        self.in_flight: i64 = 0
        self.last_arrival: i64 = 0
        """When the last packet that did not overtake arrives."""
        self.line_end: i64 = 0
        """When the last one in the line arrives."""
        self.busy_until: i64 = 0
        self.waiting: deque[tuple[int, int]] = deque()
        """(departure, length) of packets at the transmitter, the first being sent."""
        self.waiting_bytes: i64 = 0
        self.bad_state: bool = False
        base = f"link {name} {source.name}->{sink.name} "
        self.loss_draws = streams.stream(base + "loss")
        self.burst_draws = streams.stream(base + "burst")
        self.reorder_draws = streams.stream(base + "reorder")
        self.duplicate_draws = streams.stream(base + "duplicate")
        self.corrupt_draws = streams.stream(base + "corrupt")
        self.mark_draws = streams.stream(base + "mark")
        self.jitter_draws = streams.stream(base + "jitter")

    def refresh(self) -> None:
        """Decide anew between fast and slow path."""
        self.plain = not (
            self.rules
            or self.partitions
            or self.unplugged
            or self.loss
            or self.burst is not None
            or self.reorder
            or self.duplicate
            or self.corrupt
            or self.mark
            or self.jitter
            or self.rate
            or self.mtu
        )

    def send(self, packet: Packet) -> None:
        """Put a packet on the way; what becomes of it the tap hears."""
        if not self.plain or is_super(packet):
            self._send_parts(packet)
            return
        arrival = self.clock.now() + self.delay
        # A delay that has just become shorter does not let packets overtake.
        if arrival < self.last_arrival:
            arrival = self.last_arrival
        self.last_arrival = arrival
        self._push(packet, arrival)

    def send_bytes(self, data: bytes) -> None:
        """As `send`, for a datagram known only as bytes: MTU and rules, which look at packets, spare it."""
        self._send_one(data, len(data))

    def _send_parts(self, packet: Packet) -> None:
        """Bring a packet to sizes the link carries, then send each."""
        if not is_super(packet):
            self._fit(packet)
        elif self.plain and self.sink.takes_super:
            self._arrive(packet, self.clock.now() + self.delay)
        elif isinstance(packet, Segment):
            for part in split(packet):
                self._fit(part)
        elif isinstance(packet, Datagram):
            for datagram in split_datagram(packet):
                self._fit(datagram)

    def _fit(self, packet: Packet) -> None:
        """Apply the MTU: fragment, or drop and report (RFC 1191, RFC 8201)."""
        length = wire_length(packet)
        if self.mtu == 0 or length <= self.mtu or self.unplugged or self.partitions:
            self._send_one(packet, length)
        elif self.blackhole:
            self._drop(packet, Drop.LINK_MTU)
        elif may_fragment(packet):
            for part in fragment(packet, self.mtu):
                self._send_one(part, wire_length(part))
        else:
            self._drop(packet, Drop.LINK_MTU)
            back = self.back
            if back is not None:
                version = 4 if len(packet.src) == 4 else 6
                error = too_big(packet, self.mtu, self.sink.address(version) or packet.dst)
                if error is not None:
                    if self.tap is not None:
                        self.tap.sent(self.name, error, self.clock.now())
                    back.send(error)

    def _send_one(self, item: Packet | bytes, length: i64) -> None:
        """The faults in their order: cable, draws, rules, transmitter, path."""
        if self.unplugged:
            self._drop(item, Drop.LINK_DOWN)
            return
        if self.partitions:
            self._drop(item, Drop.LINK_PARTITION)
            return
        # Everything is drawn before anything is decided: see the module's text.
        lost = self._draw_loss()
        damaged = self.corrupt > 0 and self.corrupt_draws.random() < self.corrupt
        copies: i64 = 1 if self.duplicate > 0 and self.duplicate_draws.random() < self.duplicate else 0
        held: i64 = 0
        if self.reorder > 0 and self.reorder_draws.random() < self.reorder:
            held = self.reorder_delay or max(self.delay, MSEC)
        extra: i64 = int(self.jitter_draws.random() * (int(self.jitter) + 1)) if self.jitter else 0
        if not isinstance(item, bytes):
            for rule in self.rules:
                if not rule.matcher.matches(item):
                    continue
                rule.hits += 1
                if rule.action is Action.DROP:
                    self._drop(item, Drop.LINK_RULE)
                    return
                if rule.action is Action.HOLD:
                    held += rule.amount
                elif rule.action is Action.REPEAT:
                    copies += min(rule.amount, MAX_COPIES)
                else:
                    damaged = True
        if lost:
            self._drop(item, Drop.LINK_LOSS)
            return
        if damaged:
            item = self._damage(item)
        if self.mark or self.mark_above:
            item = self._mark(item)
        departure = self._transmit(length)
        if departure < 0:
            self._drop(item, Drop.LINK_QUEUE_FULL)
            return
        arrival = departure + self.delay + extra
        if held > 0:
            self._push(item, arrival + held)
        else:
            self._arrive(item, arrival)
        for _ in range(copies):
            # The copy takes its own turn at the transmitter, right behind the original.
            departure = self._transmit(length)
            if departure >= 0:
                self._push(item, max(departure + self.delay + extra, arrival) + held)

    def _mark(self, item: Packet | bytes) -> Packet | bytes:
        """CE on a copy, where the sender is ECN-capable."""
        chosen = self.mark > 0 and self.mark_draws.random() < self.mark
        if self.mark_above and len(self.waiting) > self.mark_above:
            chosen = True
        if not chosen or isinstance(item, bytes) or not item.tos & 3:
            return item
        twin = item.copy()
        twin.tos |= 3
        return twin

    def _draw_loss(self) -> bool:
        lost = self.loss > 0 and self.loss_draws.random() < self.loss
        burst = self.burst
        if burst is not None:
            draws = self.burst_draws
            turn = draws.random()
            self.bad_state = turn >= burst[1] if self.bad_state else turn < burst[0]
            lost_here = draws.random() < burst[2]
            if self.bad_state and lost_here:
                lost = True
        return lost

    def _transmit(self, length: i64) -> i64:
        """When the last bit leaves the transmitter, or -1: the queue is full."""
        now = self.clock.now()
        if self.rate == 0:
            return now
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            self.waiting_bytes -= waiting.popleft()[1]
        # The one being sent no longer waits, so one more fits than the queue holds.
        if waiting:
            if self.queue and len(waiting) > self.queue:
                return -1
            if self.queue_bytes and self.waiting_bytes - waiting[0][1] + length > self.queue_bytes:
                return -1
        start = max(now, self.busy_until)
        departure = start + length * 8 * SEC // self.rate
        self.busy_until = departure
        waiting.append((departure, length))
        self.waiting_bytes += length
        return departure

    def _arrive(self, item: Packet | bytes, arrival: i64) -> None:
        """Let it arrive, in order unless overtaking is allowed."""
        if arrival < self.last_arrival:
            if not self.overtake:
                arrival = self.last_arrival
        else:
            self.last_arrival = arrival
        self._push(item, arrival)

    def _push(self, item: Packet | bytes, arrival: i64) -> None:
        self.in_flight += 1
        if arrival >= self.line_end:
            self.line_end = arrival
            self.join(item, arrival)
        else:
            self.clock.schedule(Delivery(self, item), arrival)

    def served(self, item: Packet | bytes) -> None:
        self.in_flight -= 1
        if isinstance(item, bytes):
            self.sink.deliver_bytes(item)
        else:
            self.sink.deliver(item)

    def describe(self) -> str:
        return f"packet {self.source.name} -> {self.sink.name}"

    def _damage(self, item: Packet | bytes) -> bytes:
        """The datagram with one bit flipped, as a broken router or cable without a frame check would."""
        data = bytearray(item if isinstance(item, bytes) else serialize(item))
        bit = self.corrupt_draws.randrange(len(data) * 8)
        data[bit >> 3] ^= 0x80 >> (bit & 7)
        if self.tap is not None:
            where = f"bit {bit & 7} of octet {bit >> 3}"
            self.tap.noted(self.name, f"damaged {where} of {len(data)} octets to {self.sink.name}", self.clock.now())
        return bytes(data)

    def _drop(self, item: Packet | bytes, drop: Drop) -> None:
        if self.tap is not None:
            self.tap.dropped(self.name, None if isinstance(item, bytes) else item, drop, self.clock.now())
