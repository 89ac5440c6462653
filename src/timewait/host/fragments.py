"""IP fragmentation and reassembly, both versions (RFC 791, RFC 8200 section 4.5, RFC 5722).

Reassembly holds a bounded number of octets for a bounded time, and a datagram whose
fragments overlap is thrown away whole.
"""

from collections.abc import Callable
from typing import Final

from timewait.base.instant import NEVER, SEC
from timewait.base.ints import i64
from timewait.base.ranges import RangeSet
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop
from timewait.tcp.sysctl import Sysctl
from timewait.wire import serialize
from timewait.wire.packet import Packet, RawPacket

IP6FRAG_TIME: Final = 60 * SEC
"""net.ipv6.ip6frag_time; IPv4's is ipfrag_time. RFC 8200 section 4.5 says 60 seconds."""
FRAGMENT_OVERHEAD: Final = 768
"""What a held fragment costs beside its octets: Linux counts the truesize of its sk_buff."""
MAX_DATAGRAM: Final = 65535
"""Largest IPv4 datagram, and largest IPv6 payload."""
MIN_FRAGMENT: Final = 8


def fragment(packet: Packet, mtu: i64, ident: i64) -> list[RawPacket]:
    """Cut a packet into fragments that fit `mtu`, in order of offset, all with identification `ident`.

    A fragment may be cut further (IPv4 routers do): its own offset and more_fragments
    carry over, and so does its identification. The MTU must leave room for 8 octets.
    """
    body = memoryview(serialize.ip_payload(packet))
    header = 20 if len(packet.src) == 4 else 48
    room = (mtu - header) & ~7
    assert room >= MIN_FRAGMENT, "an MTU that no fragment fits"
    again = packet.more_fragments or packet.fragment_offset > 0
    size: i64 = len(body)
    pieces: list[RawPacket] = []
    start: i64 = 0
    while start < size:
        end = min(size, start + room)
        piece = RawPacket()
        piece.src = packet.src
        piece.dst = packet.dst
        piece.proto = packet.proto
        piece.ttl = packet.ttl
        piece.tos = packet.tos
        piece.flow_label = packet.flow_label
        piece.why = packet.why
        piece.ident = packet.ident if again else ident
        piece.fragment_offset = packet.fragment_offset + start
        piece.more_fragments = end < size or packet.more_fragments
        piece.payload = body[start:end]
        pieces.append(piece)
        start = end
    return pieces


class _Queue:
    """The fragments of one datagram."""

    def __init__(self, source: "_Source | None", now: i64, lifetime: i64) -> None:
        self.source: _Source | None = source
        self.deadline: i64 = now + lifetime
        self.have: RangeSet = RangeSet()
        self.parts: dict[int, bytes] = {}
        self.first: RawPacket | None = None
        """The fragment with offset 0: its header becomes the datagram's, and it is what a timeout quotes."""
        self.latest: RawPacket | None = None
        self.end: i64 = -1
        """The datagram's length, once the last fragment has come."""
        self.highest: i64 = 0
        self.memory: i64 = 0
        self.ecn: i64 = 0
        """Which ECN codepoints came: bit 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE."""
        self.seen: i64 = 0
        """The source's count when the latest fragment of this datagram came."""


class _Source:
    """How many fragments one IPv4 source has sent (inet_peer.rid), while something of it is held."""

    def __init__(self) -> None:
        self.count: i64 = 0
        self.queues: i64 = 0


class Reassembler:
    """Collects fragments until their datagrams are whole.

    `on_drop` is told of what was held and is thrown away: a fragment to show and the
    reason. `on_timeout` gets the first fragment of an incomplete datagram whose time
    is up: it is answered with ICMP time exceeded, code 1 (RFC 1122 3.3.2).
    """

    def __init__(
        self,
        sysctl: Sysctl,
        counters: Counters,
        on_drop: Callable[[RawPacket, Drop], None],
        on_timeout: Callable[[RawPacket], None],
    ) -> None:
        self.sysctl: Sysctl = sysctl
        self.counters: Counters = counters
        self.on_drop: Callable[[RawPacket, Drop], None] = on_drop
        self.on_timeout: Callable[[RawPacket], None] = on_timeout
        # Each is in order of creation, so the first entry is the oldest and times out first.
        self.queues4: dict[bytes, _Queue] = {}
        self.queues6: dict[bytes, _Queue] = {}
        self.sources: dict[bytes, _Source] = {}
        self.memory: i64 = 0
        """Octets held, at most ipfrag_high_thresh."""

    def add(self, packet: RawPacket, now: i64) -> RawPacket | Drop | None:
        """Take a fragment in: the whole datagram (for wire.parse.parse_transport), None while waiting, or why not."""
        v4 = len(packet.src) == 4
        if v4:
            self.counters.IpReasmReqds += 1
        else:
            self.counters.Ip6ReasmReqds += 1
        key = _key(packet)
        queues = self.queues4 if v4 else self.queues6
        size: i64 = len(packet.payload)
        queue = queues.get(key)
        if queue is not None and v4:
            queue = self._check_distance(queue, key)
        if queue is None:
            queue = self._start(packet, now)
            queues[key] = queue
        drop = self._insert(queue, packet, packet.fragment_offset, size)
        if drop is not None:
            if drop is not Drop.FRAGMENT_DUPLICATE:
                self._discard(queues, key, queue, drop if queue.parts else None)
            return drop
        if queue.end >= 0 and queue.have.covers(0, queue.end):
            return self._join(queues, key, queue)
        return self._make_room(queue)

    def next_timeout(self) -> i64:
        """When the oldest incomplete datagram is given up; NEVER if there is none."""
        due: i64 = NEVER
        for first in self.queues4.values():
            due = first.deadline
            break
        for first in self.queues6.values():
            due = min(due, first.deadline)
            break
        return due

    def expire(self, now: i64) -> None:
        """Give up what has waited too long."""
        self._expire(self.queues4, now)
        self._expire(self.queues6, now)

    def clear(self) -> None:
        """Forget everything, as a host without power does."""
        self.queues4.clear()
        self.queues6.clear()
        self.sources.clear()
        self.memory = 0

    def _expire(self, queues: dict[bytes, _Queue], now: i64) -> None:
        while queues:
            key = next(iter(queues))
            queue = queues[key]
            if queue.deadline > now:
                return
            if queues is self.queues4:
                self.counters.IpReasmTimeout += 1
            else:
                self.counters.Ip6ReasmTimeout += 1
            first = queue.first
            self._discard(queues, key, queue, Drop.FRAGMENT_TIMEOUT)
            if first is not None:
                self.on_timeout(first)

    def _start(self, packet: RawPacket, now: i64) -> _Queue:
        if len(packet.src) == 16:
            return _Queue(None, now, IP6FRAG_TIME)
        source = self.sources.get(packet.src)
        if source is None:
            source = _Source()
            self.sources[packet.src] = source
        source.queues += 1
        return _Queue(source, now, self.sysctl.ipfrag_time * SEC)

    def _check_distance(self, queue: _Queue, key: bytes) -> _Queue | None:
        """Start anew where the source has sent many others since: it reuses the identification (ip_frag_too_far)."""
        source = queue.source
        limit = self.sysctl.ipfrag_max_dist
        if source is None or limit == 0 or source.count + 1 - queue.seen <= limit:
            return queue
        self._discard(self.queues4, key, queue, Drop.FRAGMENT_LIMIT)
        return None

    def _insert(self, queue: _Queue, packet: RawPacket, offset: i64, size: i64) -> Drop | None:
        source = queue.source
        if source is not None:
            source.count += 1
            queue.seen = source.count
        if packet.more_fragments and size & 7:
            if source is None:
                return Drop.BAD_PACKET
            size &= ~7
        end = offset + size
        if size == 0 or end > MAX_DATAGRAM - (20 if source is not None else 0):
            return Drop.BAD_PACKET
        if packet.more_fragments:
            if queue.end >= 0 and end > queue.end:
                return Drop.BAD_PACKET
        elif end < queue.highest or (queue.end >= 0 and end != queue.end):
            return Drop.BAD_PACKET
        if queue.have.covers(offset, end):
            return Drop.FRAGMENT_DUPLICATE
        if queue.have.overlaps(offset, end):
            self.counters.IpExtReasmOverlaps += 1
            return Drop.FRAGMENT_OVERLAP
        if not packet.more_fragments:
            queue.end = end
        queue.highest = max(queue.highest, end)
        queue.have.add(offset, end)
        # A copy: a view would keep the whole receive buffer alive for as long as the fragment waits.
        queue.parts[offset] = bytes(packet.payload[:size])
        queue.memory += size + FRAGMENT_OVERHEAD
        self.memory += size + FRAGMENT_OVERHEAD
        queue.ecn |= 1 << (packet.tos & 3)
        queue.latest = packet
        if offset == 0:
            queue.first = packet
        return None

    def _join(self, queues: dict[bytes, _Queue], key: bytes, queue: _Queue) -> RawPacket | Drop:
        first = queue.first
        assert first is not None, "complete without its beginning"
        ecn: i64 = first.tos & 3
        if queue.ecn & 0b1000:
            # RFC 3168 section 5.3: a CE mark survives reassembly; together with Not-ECT it is a forgery.
            if queue.ecn & 0b0001:
                self._discard(queues, key, queue, Drop.BAD_PACKET)
                return Drop.BAD_PACKET
            ecn = 3
        whole = first.copy()
        whole.tos = (first.tos & ~3) | ecn
        whole.more_fragments = False
        whole.fragment_offset = 0
        whole.dont_fragment = False
        whole.payload = b"".join([queue.parts[at] for at in sorted(queue.parts)])
        if queues is self.queues4:
            self.counters.IpReasmOKs += 1
        else:
            self.counters.Ip6ReasmOKs += 1
        self._remove(queues, key, queue)
        return whole

    def _make_room(self, newest: _Queue) -> Drop | None:
        """Throw out the oldest datagrams until ipfrag_high_thresh is kept; the newest one only as the last resort.

        Linux did so up to 4.16; later kernels refuse new datagrams instead, so that a
        flood of lone fragments stops all reassembly for ipfrag_time.
        """
        while self.memory > self.sysctl.ipfrag_high_thresh:
            queues = self.queues4
            if not queues or (self.queues6 and _oldest(self.queues6).deadline < _oldest(queues).deadline):
                queues = self.queues6
            key = next(iter(queues))
            queue = queues[key]
            self._discard(queues, key, queue, Drop.FRAGMENT_LIMIT)
            if queue is newest:
                return Drop.FRAGMENT_LIMIT
        return None

    def _discard(self, queues: dict[bytes, _Queue], key: bytes, queue: _Queue, drop: Drop | None) -> None:
        """Throw a datagram away; with a reason, the latest fragment held is reported with it."""
        if queues is self.queues4:
            self.counters.IpReasmFails += 1
        else:
            self.counters.Ip6ReasmFails += 1
        self._remove(queues, key, queue)
        latest = queue.latest
        if drop is not None and latest is not None:
            self.on_drop(latest, drop)

    def _remove(self, queues: dict[bytes, _Queue], key: bytes, queue: _Queue) -> None:
        del queues[key]
        self.memory -= queue.memory
        source = queue.source
        if source is not None:
            source.queues -= 1
            if source.queues == 0:
                del self.sources[key[:4]]


def _key(packet: RawPacket) -> bytes:
    """What the fragments of one datagram have in common. IPv6 leaves the protocol out (RFC 8200 section 4.5)."""
    ident = packet.ident
    octets = bytes((ident >> 24 & 0xFF, ident >> 16 & 0xFF, ident >> 8 & 0xFF, ident & 0xFF))
    key = packet.src + packet.dst + octets
    return key + bytes((packet.proto,)) if len(packet.src) == 4 else key


def _oldest(queues: dict[bytes, _Queue]) -> _Queue:
    return queues[next(iter(queues))]
