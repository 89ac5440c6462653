"""A machine: interfaces, the protocols above them, processes, and its ups and downs."""

import errno
from collections import deque
from collections.abc import Callable
from typing import Final

from timewait.base.errors import WireError, os_error
from timewait.base.instant import NEVER, Clock
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.base.rng import Streams
from timewait.host.file import Socket
from timewait.host.fragments import Reassembler, fragment
from timewait.host.icmp import IcmpLayer, read_error
from timewait.host.machine import Machine
from timewait.host.ports import AF_INET, AF_INET6
from timewait.host.process import Process
from timewait.host.procfs import SocketRow
from timewait.host.route import AddressKind, NetDevice, Route, RouteTable
from timewait.host.rows import tcp_rows
from timewait.host.tcp_layer import TcpLayer
from timewait.host.tcp_socket import TcpSocket
from timewait.host.udp import UdpLayer
from timewait.tcp.metrics import show_entry
from timewait.tcp.net import Net
from timewait.tcp.reasons import Drop
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tap import Tap
from timewait.wire import icmp as icmp_wire
from timewait.wire.accecn import CE, ECT_0
from timewait.wire.address import parse_prefix, show
from timewait.wire.gso import split
from timewait.wire.packet import PROTO_ICMP, PROTO_ICMPV6, Buffer, Datagram, IcmpMessage, Packet, RawPacket, Segment
from timewait.wire.parse import CHECKSUM_REASONS, parse, parse_transport
from timewait.wire.serialize import wire_length

LOOPBACK_MTU: Final = 65536
LOOP_BATCH: Final = 4096
"""Loopback packets delivered per turn, so that a storm on lo cannot stop the clock."""


class Interface(NetDevice):
    """A network interface. `transmit` is set by whoever carries its packets away."""

    def __init__(self, name: str, mtu: i64 = 1500, loopback: bool = False) -> None:
        super().__init__(name, mtu, loopback)
        self.transmit: Callable[[Packet], None] | None = None


@mypyc_attr(allow_interpreted_subclasses=True)
class Host(Machine):
    """One computer with our stack."""

    def __init__(
        self, name: str, clock: Clock, *, seed: int = 0, profile: str = "linux-6.18", tap: Tap | None = None
    ) -> None:
        self.name: str = name
        self.clock: Clock = clock
        self.streams = Streams(seed).child("host " + name)
        self.profile_name: str = profile
        self.net = Net(name, self.streams, profile, tap)
        self.tap = tap
        self.sysctl: Sysctl = self.net.sysctl
        self.counters = self.net.counters
        self.routes = RouteTable()
        self.interfaces: list[Interface] = []
        self.processes: list[Process] = []
        self.up = True
        self.on_rearm: Callable[[], None] | None = None
        self.boots: i64 = 0
        self._add_loopback()
        self._start()

    def _add_loopback(self) -> None:
        lo = Interface("lo", LOOPBACK_MTU, True)
        self.loopback: Interface = lo
        self.interfaces.append(lo)
        self.routes.add_device(lo)
        self.routes.add_address(lo, bytes((127, 0, 0, 1)), 8)
        self.routes.add_address(lo, bytes(15) + b"\x01", 128)

    def _start(self) -> None:
        """The protocols, with empty tables: at first and after a reboot."""
        self.icmp = IcmpLayer(self.sysctl, self.counters, self.routes)
        self.udp = UdpLayer(self, self.icmp, self.streams)
        self.tcp = TcpLayer(self, self.net, self.streams)
        self.reassembler = Reassembler(self.sysctl, self.counters, self._fragment_dropped, self._fragment_timeout)
        self.looped: deque[Packet] = deque()
        self.ident: i64 = self.streams.stream("ip ident").getrandbits(16)

    # Machine

    def now(self) -> i64:
        return self.clock.now()

    def make_socket(self, family: int, type: int, proto: int) -> Socket:
        if family not in (AF_INET, AF_INET6):
            raise os_error(errno.EAFNOSUPPORT)
        if type == 1:
            if proto not in (0, 6):
                raise os_error(errno.EPROTONOSUPPORT)
            return TcpSocket(self.tcp, family)
        if type == 2:
            return self.udp.make_socket(family, proto)
        raise os_error(errno.ESOCKTNOSUPPORT)

    def timeout_changed(self) -> None:
        if self.on_rearm is not None:
            self.on_rearm()

    def set_tap(self, tap: Tap | None) -> None:
        """Let somebody else listen."""
        self.tap = tap
        self.net.tap = tap

    # Out

    def output(self, packet: Packet, route: Route) -> None:
        if not self.up:
            return
        counters = self.counters
        counters.IpOutRequests += 1
        if route.local:
            if self.tap is not None:
                self.tap.sent(self.name, packet, self.clock.now())
            was_empty = not self.looped
            self.looped.append(packet)
            if was_empty and self.on_rearm is not None:
                self.on_rearm()
            return
        device = route.device
        assert isinstance(device, Interface)
        if isinstance(packet, Segment) and packet.gso_size and device.gso_max == 0:
            for piece in split(packet):
                self._transmit(piece, device)
            return
        if packet.ident == 0 and len(packet.src) == 4:
            self.ident = (self.ident + 1) & 0xFFFF
            packet.ident = self.ident
        if isinstance(packet, Segment) and packet.gso_size == 0 and self._too_long(packet, device):
            for part in fragment(packet, device.mtu, packet.ident):
                self._transmit(part, device)
            return
        self._transmit(packet, device)

    def _too_long(self, packet: Segment, device: Interface) -> bool:
        """Only what has been sent before a path became narrower can be longer than the device takes."""
        return packet.length + 40 > device.mtu and wire_length(packet) > device.mtu and not packet.dont_fragment

    def _transmit(self, packet: Packet, device: Interface) -> None:
        if self.tap is not None:
            self.tap.sent(self.name, packet, self.clock.now())
        transmit = device.transmit
        if transmit is None or not device.up:
            self.counters.IpOutDiscards += 1
            self.dropped(packet, Drop.LINK_DOWN)
            return
        transmit(packet)

    def loop(self, packet: Packet, device: NetDevice) -> None:
        self.looped.append(packet)
        if self.on_rearm is not None:
            self.on_rearm()

    # In

    def receive_bytes(self, data: Buffer, iface: Interface, verified: bool = False) -> None:
        """An IP datagram from outside as bytes; `verified`: its checksums are known to be good. Never raises."""
        try:
            packet = parse(data, verify=not verified)
        except WireError as exc:
            self._malformed(data, exc.reason)
            return
        self.receive(packet, iface)

    def _malformed(self, data: Buffer, reason: str) -> None:
        """Count bytes that are no packet under Linux's names, and by reason."""
        counters = self.counters
        counters.IpInReceives += 1
        drop = Drop.BAD_PACKET
        if reason in CHECKSUM_REASONS:
            drop = Drop.BAD_CHECKSUM
        if reason.startswith("tcp"):
            counters.TcpInErrs += 1
            if drop is Drop.BAD_CHECKSUM:
                counters.TcpInCsumErrors += 1
        elif reason.startswith("udp"):
            self.udp.bad_datagram(len(data) > 0 and data[0] >> 4 == 6, drop is Drop.BAD_CHECKSUM)
        elif reason.startswith("icmp"):
            counters.IcmpInErrors += 1
            if drop is Drop.BAD_CHECKSUM:
                counters.IcmpInCsumErrors += 1
        else:
            counters.IpInHdrErrors += 1
        self.net.discards[reason] = self.net.discards.get(reason, 0) + 1
        self.dropped(None, drop)

    def receive(self, packet: Packet, iface: NetDevice) -> None:
        """A packet reached an interface. Never raises."""
        if not self.up:
            self.dropped(packet, Drop.HOST_DOWN)
            return
        now = self.clock.now()
        self.counters.IpInReceives += 1
        tap = self.tap
        if tap is not None:
            tap.received(self.name, packet, now)
        if packet.tos & 3:
            self._count_ect(packet)
        kind = self.routes.classify(packet.dst) if packet.dst not in self.routes.local else AddressKind.LOCAL
        if kind is not AddressKind.LOCAL and not self._for_group(packet, kind, iface):
            self.counters.IpInAddrErrors += 1
            self.dropped(packet, Drop.NOT_FOR_US)
            return
        if not iface.loopback and self._bad_source(packet):
            self.counters.IpInAddrErrors += 1
            self.dropped(packet, Drop.BAD_SOURCE)
            return
        self.counters.IpInDelivers += 1
        if isinstance(packet, Segment):
            if kind is not AddressKind.LOCAL:
                self.dropped(packet, Drop.BROADCAST_SYN)
                return
            self.tcp.receive(packet, now)
        else:
            self._receive_other(packet, iface, now)

    def _count_ect(self, packet: Packet) -> None:
        """ECN-capable packets, by codepoint (ip_rcv_core, ip6_rcv_core)."""
        counters = self.counters
        packets: i64 = 1
        if isinstance(packet, Segment):
            if packet.gso_size:
                packets = (packet.length + packet.gso_size - 1) // packet.gso_size
            self.tcp.note_ect(packet)
        mark: i64 = packet.tos & 3
        if len(packet.src) == 4:
            if mark == CE:
                counters.IpExtInCEPkts += packets
            elif mark == ECT_0:
                counters.IpExtInECT0Pkts += packets
            else:
                counters.IpExtInECT1Pkts += packets
        elif mark == CE:
            counters.Ip6InCEPkts += packets
        elif mark == ECT_0:
            counters.Ip6InECT0Pkts += packets
        else:
            counters.Ip6InECT1Pkts += packets

    def _for_group(self, packet: Packet, kind: AddressKind, iface: NetDevice) -> bool:
        if kind is AddressKind.BROADCAST:
            return True
        return kind is AddressKind.MULTICAST and (
            self.routes.is_member(packet.dst, iface) or packet.proto in (PROTO_ICMP, PROTO_ICMPV6)
        )

    def _bad_source(self, packet: Packet) -> bool:
        """RFC 1122 3.2.1.3: a source that cannot have sent this from outside."""
        src = packet.src
        if len(src) == 4:
            first = src[0]
            return first >= 224 or first == 127 or (first == 0 and any(src))
        return src[0] == 0xFF or src == bytes(15) + b"\x01"

    def _receive_other(self, packet: Packet, iface: NetDevice, now: i64) -> None:
        """Everything but TCP."""
        if isinstance(packet, Datagram):
            drop = self.udp.receive(packet, iface)
            if drop is not None:
                self.dropped(packet, drop)
        elif isinstance(packet, IcmpMessage):
            self._receive_icmp(packet, now)
        elif isinstance(packet, RawPacket):
            if packet.more_fragments or packet.fragment_offset:
                self._receive_fragment(packet, iface, now)
            else:
                self._unknown_protocol(packet, now)

    def _receive_fragment(self, packet: RawPacket, iface: NetDevice, now: i64) -> None:
        waiting = self.reassembler.next_timeout()
        whole = self.reassembler.add(packet, now)
        if whole is None:
            if self.reassembler.next_timeout() < waiting:
                self.timeout_changed()
            return
        if not isinstance(whole, RawPacket):
            self.dropped(packet, whole)
            return
        try:
            inner = parse_transport(whole)
        except WireError as exc:
            self._malformed(whole.payload, exc.reason)
            return
        if isinstance(inner, Segment):
            if inner.tos & 3:
                self.tcp.note_ect(inner)
            self.tcp.receive(inner, now)
        else:
            self._receive_other(inner, iface, now)

    def _unknown_protocol(self, packet: RawPacket, now: i64) -> None:
        self.counters.IpInUnknownProtos += 1
        self.dropped(packet, Drop.NO_PROTOCOL)
        v4 = len(packet.src) == 4
        kind = icmp_wire.UNREACHABLE if v4 else icmp_wire.V6_PARAMETER_PROBLEM
        code = icmp_wire.PROTOCOL_UNREACHABLE if v4 else 1
        rest = 0 if v4 else 6
        self.send_icmp(self.icmp.error(packet, kind, code, now, rest=rest))

    def _receive_icmp(self, message: IcmpMessage, now: i64) -> None:
        self.icmp.count_in(message)
        echo = icmp_wire.ECHO if len(message.src) == 4 else icmp_wire.V6_ECHO
        if message.type == echo:
            reply = self.icmp.answer(message, now)
            if isinstance(reply, IcmpMessage):
                self.send_icmp(reply)
            else:
                self.dropped(message, reply)
            return
        try:
            reported = read_error(message)
        except WireError as exc:
            self._malformed(message.payload, exc.reason)
            return
        if reported is None:
            return
        proto = reported.quote.proto
        taken = self.tcp.error(reported, now) if proto == 6 else self.udp.error(reported)
        if not taken:
            self.dropped(message, Drop.ICMP_UNMATCHED)

    def send_icmp(self, message: IcmpMessage | None) -> None:
        """Send an ICMP message if there is one and a route for it."""
        if message is None:
            return
        route = self.routes.find(message.dst)
        if route is not None:
            self.output(message, route)

    def _fragment_dropped(self, packet: RawPacket, drop: Drop) -> None:
        self.dropped(packet, drop)

    def _fragment_timeout(self, first: RawPacket) -> None:
        v4 = len(first.src) == 4
        kind = icmp_wire.TIME_EXCEEDED if v4 else icmp_wire.V6_TIME_EXCEEDED
        self.send_icmp(self.icmp.error(first, kind, 1, self.clock.now()))

    # Time

    def next_timeout(self) -> i64:
        """When `on_timeout` wants to be called, in ns; NEVER if nothing is waited for."""
        if not self.up:
            return NEVER
        if self.looped:
            return self.clock.now()
        due = self.tcp.next_timeout()
        fragments = self.reassembler.next_timeout()
        return fragments if fragments < due else due

    def on_timeout(self) -> None:
        """Run everything that is due now, loopback deliveries first."""
        if not self.up:
            return
        looped = self.looped
        for _ in range(min(LOOP_BATCH, len(looped))):
            self.receive(looped.popleft(), self.loopback)
        now = self.clock.now()
        self.tcp.on_timeout(now)
        if self.reassembler.next_timeout() <= now:
            self.reassembler.expire(now)

    def flush(self) -> None:
        """Send what `batching` held back."""
        self.tcp.flush()

    @property
    def batching(self) -> bool:
        """While True, connections that received something are drained only by `flush`."""
        return self.tcp.batching

    @batching.setter
    def batching(self, value: bool) -> None:
        self.tcp.batching = value

    # Administration

    def add_interface(self, name: str, *addresses: str, mtu: int = 1500) -> Interface:
        """A new interface with addresses such as '10.0.0.1/24' or 'fd00::1/64'; UsageError for what is no prefix."""
        iface = Interface(name, mtu)
        self.interfaces.append(iface)
        self.routes.add_device(iface)
        for text in addresses:
            addr, length = parse_prefix(text)
            self.routes.add_address(iface, addr, length)
        return iface

    def process(self, name: str = "app") -> Process:
        """A new process."""
        new = Process(self, name)
        self.processes.append(new)
        return new

    def power_off(self) -> None:
        """Stop in its tracks: nothing more is sent, all memory is lost."""
        self.up = False
        self.tcp.vanish()
        self.looped.clear()
        self.reassembler.clear()
        for process in self.processes:
            process.vanish()
        self.processes = []

    def power_on(self) -> None:
        """Boot: addresses and sysctls are configured as before, connections and secrets are gone."""
        if self.up:
            return
        self.up = True
        self.boots += 1
        self.streams = self.streams.child(f"boot {self.boots}")
        old = self.net
        self.net = Net(self.name, self.streams, self.profile_name, old.tap)
        self.net.sysctl = old.sysctl
        self.net.counters = old.counters
        self._start()

    def tcp_metrics(self) -> str:
        """What is remembered of peers, as `ip tcp_metrics show` prints it, a line each; see tcp.metrics."""
        now = self.clock.now()
        lines = []
        for key, entry in self.net.metrics.entries.items():
            peer, own, rest = show_entry(key, entry, now)
            lines.append(f"{show(peer)} {rest} source {show(own)}\n")
        return "".join(lines)

    def rows(self) -> list[SocketRow]:
        """Every TCP socket, half-open connection and TIME-WAIT record, for ss- and netstat-like views."""
        return tcp_rows(self.tcp, self.processes, self.clock.now())
