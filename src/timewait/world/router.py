"""Machines that only pass packets on: router, NAT and switch.

They are part of the path: what they discard or originate is recorded, what they forward
keeps the number its sender gave it.
"""

from typing import Final

from timewait.base.errors import UsageError, WireError
from timewait.base.instant import NEVER, Clock
from timewait.base.ints import i64
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.tap import Tap
from timewait.wire.address import in_prefix, is_broadcast, is_multicast, network, pack, parse_prefix, show
from timewait.wire.packet import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    Datagram,
    IcmpMessage,
    Packet,
    Segment,
    make_flow,
)
from timewait.wire.serialize import serialize, wire_length
from timewait.world.forward import fragment, may_fragment, raw_ip, time_exceeded, too_big, unreachable
from timewait.world.pipe import Port

_ECHO_REQUESTS: Final = frozenset(((PROTO_ICMP, 8), (PROTO_ICMPV6, 128)))


class RouterPort(Port):
    """An interface of a router."""

    def __init__(self, router: "Router", addresses: list[tuple[bytes, int]]) -> None:
        super().__init__(router.name)
        self.router = router
        self.addresses = addresses

    def prefixes(self) -> list[tuple[bytes, int]]:
        return self.addresses

    def deliver(self, packet: Packet) -> None:
        self.router.forward(packet, self, False)

    def deliver_bytes(self, data: bytes) -> None:
        try:
            packet = raw_ip(data)
        except WireError:
            self.router.drop(None, Drop.LINK_CORRUPT)
            return
        self.router.forward(packet, self, True)


class Router:
    """Forwards by longest prefix; counts TTL down, fragments, and reports with ICMP (RFC 1812)."""

    def __init__(self, name: str, clock: Clock, tap: Tap | None = None) -> None:
        self.name = name
        self.clock = clock
        self.tap = tap
        self.ports: list[RouterPort] = []
        self.routes: list[tuple[int, bytes, RouterPort]] = []
        """(prefix length, network, port), longest prefix first; of equal ones the first added wins."""
        self.learned: list[tuple[int, bytes, RouterPort]] = []
        """As `routes`, found by the world from its topology; consulted after them for equal lengths."""
        self.silent: bool = False
        """Never send an ICMP error: a firewall that makes path MTU discovery fail (RFC 2923)."""
        self._cache: dict[bytes, RouterPort] = {}

    def add_port(self, addresses: list[tuple[bytes, int]]) -> RouterPort:
        """A new interface with these (packed address, prefix length) pairs; their subnets are routed to it."""
        port = RouterPort(self, addresses)
        self.ports.append(port)
        for address, length in addresses:
            self._insert(self.routes, length, network(address, length), port)
        return port

    def add_route(self, prefix: str, port: RouterPort) -> None:
        """Send packets to `prefix` ('10.2.0.0/16', '::/0') out of `port`. UsageError for a bad prefix."""
        address, length = parse_prefix(prefix)
        self._insert(self.routes, length, network(address, length), port)

    def learn(self, routes: list[tuple[int, bytes, RouterPort]]) -> None:
        """Replace what the topology taught."""
        self.learned = []
        for length, prefix, port in routes:
            self._insert(self.learned, length, prefix, port)

    def _insert(self, table: list[tuple[int, bytes, RouterPort]], length: int, prefix: bytes, port: RouterPort) -> None:
        self._cache.clear()
        at = 0
        while at < len(table) and table[at][0] >= length:
            at += 1
        table.insert(at, (length, prefix, port))

    def route(self, address: bytes) -> RouterPort | None:
        """The port towards an address, by longest prefix."""
        found = self._cache.get(address)
        if found is not None:
            return found
        best: i64 = -1
        for table in (self.routes, self.learned):
            for length, prefix, port in table:
                if length > best and in_prefix(address, prefix, length):
                    best = length
                    found = port
        if found is not None and len(self._cache) < 65_536:
            self._cache[address] = found
        return found

    def owns(self, address: bytes) -> bool:
        """Whether the address is one of the router's own."""
        return any(address == own for port in self.ports for own, _ in port.addresses)

    def forward(self, packet: Packet, ingress: RouterPort, damaged: bool) -> None:
        """Pass a packet on, or drop it and say why. A damaged one leaves as bytes, its wrong checksum intact."""
        arrived = self.incoming(packet, ingress)
        if arrived is None:
            return
        packet = arrived
        if self.owns(packet.dst):
            self._answer(packet, damaged)
            return
        if is_multicast(packet.dst) or is_broadcast(packet.dst):
            self.drop(packet, Drop.NOT_FOR_US)
            return
        if packet.ttl <= 1:
            self.drop(packet, Drop.TTL_EXPIRED)
            self._report(time_exceeded(packet, self._source(ingress, packet)))
            return
        egress = self.route(packet.dst)
        if egress is None or egress.pipe is None:
            self.drop(packet, Drop.NO_ROUTE)
            self._report(unreachable(packet, self._source(ingress, packet)))
            return
        onward = packet.copy()
        onward.ttl -= 1
        outgoing = self.outgoing(onward, ingress, egress)
        if outgoing is not None:
            self._leave(outgoing, egress, ingress, damaged)

    def incoming(self, packet: Packet, ingress: RouterPort) -> Packet | None:
        """What a NAT makes of a packet before it is routed; None: it took it."""
        return packet

    def outgoing(self, packet: Packet, ingress: RouterPort, egress: RouterPort) -> Packet | None:
        """What a NAT makes of a packet (a copy of ours) about to leave; None: it took it."""
        return packet

    def drop(self, packet: Packet | None, drop: Drop) -> None:
        """Record a discard."""
        if self.tap is not None:
            self.tap.dropped(self.name, packet, drop, self.clock.now())

    def _leave(self, packet: Packet, egress: RouterPort, ingress: RouterPort, damaged: bool) -> None:
        pipe = egress.pipe
        assert pipe is not None
        if pipe.mtu and not pipe.blackhole and wire_length(packet) > pipe.mtu:
            if may_fragment(packet):
                for part in fragment(packet, pipe.mtu):
                    pipe.send(part)
                return
            self.drop(packet, Drop.LINK_MTU)
            self._report(too_big(packet, pipe.mtu, self._source(ingress, packet)))
        elif damaged and not packet.more_fragments and not packet.fragment_offset:
            pipe.send_bytes(serialize(packet))
        else:
            pipe.send(packet)

    def _source(self, port: RouterPort, packet: Packet) -> bytes:
        """The address to report from: the arrival interface's, else any of ours."""
        version: i64 = 4 if len(packet.src) == 4 else 6
        found = port.address(version)
        for other in self.ports:
            found = found or other.address(version)
        return found

    def _report(self, error: IcmpMessage | None) -> None:
        if error is not None and not self.silent:
            self.originate(error)

    def originate(self, packet: Packet) -> None:
        """Send a packet of the router's own."""
        egress = self.route(packet.dst)
        if egress is None or egress.pipe is None:
            return
        if self.tap is not None:
            self.tap.sent(self.name, packet, self.clock.now())
        egress.pipe.send(packet)

    def _answer(self, packet: Packet, damaged: bool) -> None:
        """A packet to the router itself: it answers pings and nothing else."""
        if self.tap is not None and not damaged:
            self.tap.received(self.name, packet, self.clock.now())
        if not isinstance(packet, IcmpMessage):
            self.drop(packet, Drop.NO_SOCKET)
        elif (int(packet.proto), int(packet.type)) in _ECHO_REQUESTS:
            reply = IcmpMessage()
            reply.src, reply.dst, reply.proto = packet.dst, packet.src, packet.proto
            reply.type = 0 if packet.proto == PROTO_ICMP else 129
            reply.rest = packet.rest
            reply.payload = packet.payload
            reply.why = Why.ECHO_REPLY
            self.originate(reply)
        else:
            self.drop(packet, Drop.ICMP_UNMATCHED)


class Mapping:
    """One inside endpoint and the public port it has."""

    def __init__(self, proto: int, inside: bytes, port: int, public: int) -> None:
        self.proto = proto
        self.inside = inside
        self.port = port
        self.public = public
        self.used: i64 = 0
        """When it last carried a packet."""
        self.fixed: bool = False
        """Made by `forward_port`: it never expires."""


class Nat(Router):
    """A router that hides what is behind it: source addresses become its public one (masquerading, RFC 3022).

    A mapping belongs to an inside endpoint whatever the destination (RFC 4787 REQ-1), keeps
    the port number where it is free, and ends `timeout` ns after its last packet.
    """

    def __init__(
        self,
        name: str,
        public: str,
        clock: Clock,
        tap: Tap | None = None,
        *,
        timeout: int = NEVER,
        first_port: int = 1024,
    ) -> None:
        super().__init__(name, clock, tap)
        self.public = pack(public.partition("/")[0])
        if len(self.public) != 4:
            raise UsageError(f"a NAT's public address is IPv4, not {public!r}")
        self.timeout = timeout
        self.first_port = first_port
        self.mappings: dict[tuple[int, bytes, int], Mapping] = {}
        """By (protocol, inside address, inside port or echo id)."""
        self.by_public: dict[tuple[int, int], Mapping] = {}

    def forward_port(self, proto: int, public: int, inside: str, port: int) -> None:
        """Let packets to the public port (6: TCP, 17: UDP) reach an inside endpoint."""
        mapping = Mapping(proto, pack(inside), port, public)
        mapping.fixed = True
        self._add(mapping)

    def expire_all(self) -> None:
        """Forget every mapping that was learned, as a NAT does that restarts."""
        for mapping in list(self.mappings.values()):
            if not mapping.fixed:
                self._remove(mapping)

    def outside(self, port: RouterPort) -> bool:
        """Whether a port leads to where the public address is."""
        return any(in_prefix(self.public, address, length) for address, length in port.addresses)

    def owns(self, address: bytes) -> bool:
        return super().owns(address) and address != self.public

    def outgoing(self, packet: Packet, ingress: RouterPort, egress: RouterPort) -> Packet | None:
        if not self.outside(egress) or self.outside(ingress) or len(packet.src) != 4:
            return packet
        port = _source_port(packet)
        if port < 0:
            self.drop(packet, Drop.NO_ROUTE)
            return None
        mapping = self._find(packet.proto, packet.src, port)
        if mapping is None:
            mapping = self._create(packet.proto, packet.src, port)
            if mapping is None:
                self.drop(packet, Drop.NO_ROUTE)
                return None
        mapping.used = self.clock.now()
        packet.src = self.public
        _set_source_port(packet, mapping.public)
        return packet

    def incoming(self, packet: Packet, ingress: RouterPort) -> Packet | None:
        if packet.dst != self.public:
            return packet
        if isinstance(packet, IcmpMessage) and packet.type in (3, 4, 11, 12):
            return self._translate_error(packet)
        port = _destination_port(packet)
        mapping = self._public(packet.proto, port)
        if mapping is None:
            self.drop(packet, Drop.NOT_FOR_US)
            return None
        mapping.used = self.clock.now()
        inward = packet.copy()
        inward.dst = mapping.inside
        _set_destination_port(inward, mapping.port)
        return inward

    def _translate_error(self, error: IcmpMessage) -> Packet | None:
        """An ICMP error quotes our translated packet: translate the quote back, or TCP would not know it."""
        quote = bytearray(error.payload)
        start = (quote[0] & 15) * 4 if quote else 0
        mapping = None
        if len(quote) >= start + 8 and start >= 20:
            offset = start + 4 if quote[9] == PROTO_ICMP else start
            mapping = self._public(quote[9], quote[offset] << 8 | quote[offset + 1])
        if mapping is None:
            self.drop(error, Drop.ICMP_UNMATCHED)
            return None
        quote[12:16] = mapping.inside
        quote[offset : offset + 2] = mapping.port.to_bytes(2, "big")
        # The quoted header's checksum is to fit, for a receiver that looks.
        quote[10:12] = b"\0\0"
        total = sum(quote[i] << 8 | quote[i + 1] for i in range(0, start, 2))
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        quote[10:12] = (total ^ 0xFFFF).to_bytes(2, "big")
        inward = error.copy()
        inward.dst = mapping.inside
        inward.payload = bytes(quote)
        return inward

    def _find(self, proto: int, inside: bytes, port: int) -> Mapping | None:
        return self._fresh(self.mappings.get((proto, inside, port)))

    def _public(self, proto: int, port: int) -> Mapping | None:
        return self._fresh(self.by_public.get((proto, port)))

    def _fresh(self, mapping: Mapping | None) -> Mapping | None:
        if mapping is None or mapping.fixed or self.clock.now() - mapping.used < self.timeout:
            return mapping
        self._remove(mapping)
        return None

    def _create(self, proto: int, inside: bytes, port: int) -> Mapping | None:
        public = port
        if self._public(proto, public) is not None:
            for public in range(self.first_port, 65_536):
                if self._public(proto, public) is None:
                    break
            else:
                return None
        mapping = Mapping(proto, inside, port, public)
        self._add(mapping)
        return mapping

    def _add(self, mapping: Mapping) -> None:
        self.mappings[(mapping.proto, mapping.inside, mapping.port)] = mapping
        self.by_public[(mapping.proto, mapping.public)] = mapping

    def _remove(self, mapping: Mapping) -> None:
        self.mappings.pop((mapping.proto, mapping.inside, mapping.port), None)
        self.by_public.pop((mapping.proto, mapping.public), None)


def _source_port(packet: Packet) -> int:
    """The port or echo identifier of the sender, -1 for packets without one (fragments, unknown protocols)."""
    if isinstance(packet, (Segment, Datagram)):
        return packet.sport
    return packet.rest >> 16 if isinstance(packet, IcmpMessage) else -1


def _destination_port(packet: Packet) -> int:
    if isinstance(packet, (Segment, Datagram)):
        return packet.dport
    return packet.rest >> 16 if isinstance(packet, IcmpMessage) else -1


def _set_source_port(packet: Packet, port: int) -> None:
    if isinstance(packet, Segment):
        packet.sport = port
        packet.flow = make_flow(packet.src, packet.dst, packet.sport, packet.dport)
    elif isinstance(packet, Datagram):
        packet.sport = port
    elif isinstance(packet, IcmpMessage):
        packet.rest = port << 16 | packet.rest & 0xFFFF


def _set_destination_port(packet: Packet, port: int) -> None:
    if isinstance(packet, Segment):
        packet.dport = port
        packet.flow = make_flow(packet.src, packet.dst, packet.sport, packet.dport)
    elif isinstance(packet, Datagram):
        packet.dport = port
    elif isinstance(packet, IcmpMessage):
        packet.rest = port << 16 | packet.rest & 0xFFFF


class SwitchPort(Port):
    """A socket of a switch; what stands on the other end is known by its port there."""

    def __init__(self, switch: "Switch", peer: Port) -> None:
        super().__init__(switch.name)
        self.switch = switch
        self.peer = peer

    def deliver(self, packet: Packet) -> None:
        self.switch.pass_on(packet, packet.dst, packet, self)

    def deliver_bytes(self, data: bytes) -> None:
        dst = data[24:40] if data and data[0] >> 4 == 6 else data[16:20]
        self.switch.pass_on(data, dst, None, self)


class Switch:
    """A shared segment: unicast goes to whom it is for, broadcast and multicast to everybody else."""

    def __init__(self, name: str, clock: Clock, tap: Tap | None = None) -> None:
        self.name = name
        self.clock = clock
        self.tap = tap
        self.ports: list[SwitchPort] = []

    def add_port(self, peer: Port) -> SwitchPort:
        """A new socket for a machine."""
        port = SwitchPort(self, peer)
        self.ports.append(port)
        return port

    def pass_on(self, item: Packet | bytes, dst: bytes, packet: Packet | None, ingress: SwitchPort) -> None:
        """Send a frame on. What nobody here has the address of goes to the routers."""
        if self._for_everybody(dst):
            for port in self.ports:
                if port is not ingress:
                    _send(port, item)
            return
        for port in self.ports:
            if any(dst == address for address, _ in port.peer.prefixes()):
                if port is not ingress:
                    _send(port, item)
                return
        for port in self.ports:
            if port is not ingress and isinstance(port.peer, RouterPort):
                _send(port, item)
                return
        if self.tap is not None:
            self.tap.dropped(self.name, packet, Drop.NO_ROUTE, self.clock.now())

    def _for_everybody(self, dst: bytes) -> bool:
        if is_multicast(dst) or is_broadcast(dst):
            return True
        if len(dst) != 4:
            return False
        for port in self.ports:
            for address, length in port.peer.prefixes():
                if len(address) == 4 and length < 31 and in_prefix(dst, address, length):
                    mask = (1 << (32 - length)) - 1
                    return int.from_bytes(dst, "big") & mask == mask
        return False


def _send(port: SwitchPort, item: Packet | bytes) -> None:
    pipe = port.pipe
    if pipe is None:
        return
    if isinstance(item, bytes):
        pipe.send_bytes(item)
    else:
        pipe.send(item)


def show_routes(router: Router) -> list[str]:
    """The routing table for people: '10.0.0.0/24 -> port 0'."""
    return [f"{show(prefix)}/{length} -> port {router.ports.index(port)}" for length, prefix, port in router.routes]
