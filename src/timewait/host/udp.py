"""UDP on a host: whose datagram this is, and how one leaves (RFC 768, RFC 1122 section 4.1, net/ipv4/udp.c)."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.base.rng import Streams, keyed_hash
from timewait.host.file import Socket
from timewait.host.fragments import fragment
from timewait.host.icmp import IcmpLayer, Reported
from timewait.host.machine import Machine
from timewait.host.ports import UdpPortTable
from timewait.host.route import AddressKind, NetDevice, Reach, Route
from timewait.host.sockopt import PMTUDISC_DO, PMTUDISC_PROBE, PMTUDISC_WANT
from timewait.host.udp_socket import UdpSocket, UdpTransport
from timewait.tcp.reasons import Drop, Why
from timewait.wire import icmp as icmp_wire
from timewait.wire.packet import PROTO_UDP, Datagram, IcmpMessage, make_flow

MAX_PAYLOAD4: Final = 65507
"""65535 less the IPv4 and UDP headers."""
MAX_PAYLOAD6: Final = 65527
"""IPv6's length field does not count its own header."""


class UdpLayer(UdpTransport):
    """All UDP sockets of one host."""

    def __init__(self, machine: Machine, icmp: IcmpLayer, streams: Streams) -> None:
        self.machine: Machine = machine
        self.icmp: IcmpLayer = icmp
        self.routes = machine.routes
        self.sysctl = machine.sysctl
        self.counters = machine.counters
        self.ports: UdpPortTable = UdpPortTable(machine.sysctl, streams)
        self.by_port: dict[int, list[UdpSocket]] = {}
        """Bound sockets, the newest first, as Linux's hash chains have them."""
        self.connected: dict[bytes, UdpSocket] = {}
        """Connected sockets by the flow of what their peer sends."""
        self.key: bytes = streams.secret("udp reuseport")
        self.ident: i64 = streams.stream("udp ident").getrandbits(16)

    def make_socket(self, family: int, proto: int = 0) -> Socket:
        """A new socket. OSError EPROTONOSUPPORT for any protocol but UDP."""
        if proto not in (0, PROTO_UDP):
            raise os_error(errno.EPROTONOSUPPORT)
        return UdpSocket(self, family)

    # In

    def receive(self, packet: Datagram, device: NetDevice) -> Drop | None:
        """Deliver a datagram with a good checksum; the reason where nobody gets it (told to the sender by ICMP)."""
        kind = self.routes.classify(packet.dst)
        if kind is AddressKind.MULTICAST or kind is AddressKind.BROADCAST:
            return self._receive_group(packet, device, kind is AddressKind.MULTICAST)
        sock = self.find(packet.src, packet.sport, packet.dst, packet.dport, device)
        if sock is None:
            return self._no_socket(packet)
        return self._deliver(sock, packet)

    def find(self, raddr: bytes, rport: i64, laddr: bytes, lport: i64, device: NetDevice | None) -> UdpSocket | None:
        """The socket for datagrams from raddr:rport to laddr:lport (udp4_lib_lookup, compute_score).

        A connected socket first, then one bound to the address, then a wildcard; among
        equals the newest, or the hash's choice in a SO_REUSEPORT group.
        """
        found = self.connected.get(make_flow(raddr, laddr, rport, lport))
        if found is not None and found.hears_device(device):
            return found
        best: UdpSocket | None = None
        best_score: i64 = -1
        group: list[UdpSocket] = []
        for sock in self.by_port.get(lport, ()):
            score = sock.score(raddr, rport, laddr, device)
            if score < 0 or score < best_score:
                continue
            if score > best_score:
                best = sock
                best_score = score
                group = [sock]
            elif sock.owner.reuse_port:
                group.append(sock)
        if best is not None and best.owner.reuse_port and len(group) > 1:
            hashed = keyed_hash(self.key, make_flow(raddr, laddr, rport, lport))
            return group[(hashed & 0xFFFFFFFF) * len(group) >> 32]
        return best

    def bad_datagram(self, v6: bool, checksum: bool) -> None:
        """Count a datagram that could not be parsed (UdpInErrors, and UdpInCsumErrors for a wrong checksum)."""
        if v6:
            self.counters.Udp6InErrors += 1
            self.counters.Udp6InCsumErrors += checksum
        else:
            self.counters.UdpInErrors += 1
            self.counters.UdpInCsumErrors += checksum

    def error(self, reported: Reported) -> bool:
        """An ICMP error about a datagram of ours: path MTU and the socket's error. False if no socket sent it."""
        quote = reported.quote
        if quote.sport < 0:
            return False
        sock = self.find(quote.dst, quote.dport, quote.src, quote.sport, None)
        if sock is None:
            return False
        fatal = reported.fatal
        if reported.errno == errno.EMSGSIZE:
            self.routes.learn_mtu(quote.dst, reported.mtu, self.machine.now())
            if sock.pmtu_discovery() == 0:
                return True
            fatal = True
        sock.icmp_error(reported, fatal)
        return True

    # Out

    def send(self, sock: UdpSocket, data: bytes, dst: bytes, dport: i64) -> None:
        """Send one datagram. OSError EMSGSIZE, EACCES (broadcast), ENETUNREACH and the like."""
        v6 = len(dst) == 16
        size: i64 = len(data)
        if size > (MAX_PAYLOAD6 if v6 else MAX_PAYLOAD4):
            raise os_error(errno.EMSGSIZE)
        multicast = self.routes.classify(dst) is AddressKind.MULTICAST
        route = self.routes.lookup(dst, sock.out_device(multicast))
        if route.reach is Reach.BROADCAST and not sock.broadcast:
            raise os_error(errno.EACCES, "broadcast without SO_BROADCAST")
        source = sock.source(dst) or route.source
        if not source:
            raise os_error(errno.EADDRNOTAVAIL)
        if len(source) != len(dst):
            raise os_error(errno.ENETUNREACH, "the socket is bound to an address of the other IP version")
        packet = Datagram()
        packet.src = source
        packet.dst = dst
        packet.proto = PROTO_UDP
        packet.sport = sock.owner.local_port
        packet.dport = dport
        packet.payload = data
        packet.ttl = sock.hop_limit(v6, multicast)
        packet.tos = sock.traffic_class(v6)
        packet.why = Why.UDP_DATA
        self._transmit(sock, packet, route, size + (48 if v6 else 28))
        if v6:
            self.counters.Udp6OutDatagrams += 1
        else:
            self.counters.UdpOutDatagrams += 1

    def _transmit(self, sock: UdpSocket, packet: Datagram, route: Route, size: i64) -> None:
        now = self.machine.now()
        mtu = self.routes.route_mtu(route, packet.dst, now)
        discovery = sock.pmtu_discovery()
        device = route.device
        if discovery >= PMTUDISC_PROBE and device is not None:
            mtu = device.mtu
        if size <= mtu:
            packet.dont_fragment = len(packet.dst) == 4 and (
                discovery in (PMTUDISC_DO, PMTUDISC_PROBE)
                or (discovery == PMTUDISC_WANT and not self.routes.mtu_locked(packet.dst, now))
            )
            if not packet.dont_fragment and len(packet.dst) == 4:
                packet.ident = self._next_ident()
            self._loop_copy(sock, packet, route)
            self.machine.output(packet, route)
            return
        if discovery in (PMTUDISC_DO, PMTUDISC_PROBE):
            sock.note_mtu(packet.dst, packet.dport, mtu)
            raise os_error(errno.EMSGSIZE)
        self._loop_copy(sock, packet, route)
        pieces = fragment(packet, mtu, self._next_ident())
        if len(packet.dst) == 4:
            self.counters.IpFragOKs += 1
            self.counters.IpFragCreates += len(pieces)
        else:
            self.counters.Ip6FragOKs += 1
            self.counters.Ip6FragCreates += len(pieces)
        for piece in pieces:
            self.machine.output(piece, route)

    def _loop_copy(self, sock: UdpSocket, packet: Datagram, route: Route) -> None:
        """What goes to a group that we are in, or to everybody, also comes back to us (ip_mc_output)."""
        device = route.device
        if device is None:
            return
        if route.reach is Reach.BROADCAST:
            self.machine.loop(packet, device)
        elif route.reach is Reach.MULTICAST and sock.multicast_loop(len(packet.dst) == 16):
            if self.routes.is_member(packet.dst, device):
                self.machine.loop(packet, device)

    # For sockets

    def now(self) -> i64:
        return self.machine.now()

    def hash(self, sock: UdpSocket) -> None:
        port = sock.owner.local_port
        self.by_port.setdefault(port, []).insert(0, sock)

    def unhash(self, sock: UdpSocket) -> None:
        port = sock.owner.local_port
        socks = self.by_port[port]
        socks.remove(sock)
        if not socks:
            del self.by_port[port]

    def set_peer(self, sock: UdpSocket, flow: bytes) -> None:
        self.clear_peer(sock)
        self.connected[flow] = sock

    def clear_peer(self, sock: UdpSocket) -> None:
        if sock.flow and self.connected.get(sock.flow) is sock:
            del self.connected[sock.flow]

    # Inside

    def _receive_group(self, packet: Datagram, device: NetDevice, multicast: bool) -> Drop | None:
        """__udp4_lib_mcast_deliver: every socket that fits gets a copy; nobody is told if none does."""
        if multicast and not self.routes.is_member(packet.dst, device):
            return Drop.NOT_FOR_US
        delivered = False
        last: Drop | None = None
        for sock in list(self.by_port.get(packet.dport, ())):
            if sock.hears_group(packet, device, multicast):
                last = self._deliver(sock, packet)
                delivered = delivered or last is None
        if delivered:
            return None
        if last is not None:
            return last
        if len(packet.src) == 4:
            self.counters.UdpIgnoredMulti += 1
        else:
            self.counters.Udp6IgnoredMulti += 1
        return Drop.UDP_NO_SOCKET

    def _deliver(self, sock: UdpSocket, packet: Datagram) -> Drop | None:
        if sock.deliver(packet):
            return None
        if len(packet.src) == 4:
            self.counters.UdpInErrors += 1
            self.counters.UdpRcvbufErrors += 1
        else:
            self.counters.Udp6InErrors += 1
            self.counters.Udp6RcvbufErrors += 1
        return Drop.RCVBUF_FULL

    def _no_socket(self, packet: Datagram) -> Drop:
        message: IcmpMessage | None
        now = self.machine.now()
        if len(packet.src) == 4:
            self.counters.UdpNoPorts += 1
            message = self.icmp.error(packet, icmp_wire.UNREACHABLE, icmp_wire.PORT_UNREACHABLE, now)
        else:
            self.counters.Udp6NoPorts += 1
            message = self.icmp.error(packet, icmp_wire.V6_UNREACHABLE, icmp_wire.V6_PORT_UNREACHABLE, now)
        if message is not None:
            route = self.routes.find(message.dst)
            if route is not None:
                self.machine.output(message, route)
        return Drop.UDP_NO_SOCKET

    def _next_ident(self) -> i64:
        self.ident = (self.ident + 1) & 0xFFFF
        return self.ident
