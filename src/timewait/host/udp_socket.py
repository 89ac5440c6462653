"""A UDP socket: bound, connected or neither; a queue of datagrams; options."""

import errno
from collections import deque
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.host.file import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM, Socket
from timewait.host.icmp import Reported
from timewait.host.ports import AF_INET, AF_INET6, ANY4, ANY6, PortOwner, UdpPortTable
from timewait.host.route import LOOPBACK4, LOOPBACK6, AddressKind, NetDevice, Reach, RouteTable
from timewait.host.sockopt import (
    IP_ADD_MEMBERSHIP,
    IP_DROP_MEMBERSHIP,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_MULTICAST_ALL,
    IP_MULTICAST_IF,
    IP_MULTICAST_LOOP,
    IP_MULTICAST_TTL,
    IP_RECVERR,
    IP_TOS,
    IP_TTL,
    IPV6_JOIN_GROUP,
    IPV6_LEAVE_GROUP,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_MULTICAST_HOPS,
    IPV6_MULTICAST_IF,
    IPV6_MULTICAST_LOOP,
    IPV6_RECVERR,
    IPV6_TCLASS,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    NUMBERS,
    PMTUDISC_WANT,
    SO_ACCEPTCONN,
    SO_BINDTODEVICE,
    SO_BROADCAST,
    SO_DOMAIN,
    SO_ERROR,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_TYPE,
    SOL_IP,
    SOL_IPV6,
    SOL_SOCKET,
)
from timewait.tcp.counters import Counters
from timewait.tcp.sysctl import Sysctl
from timewait.wire.packet import PROTO_UDP, Buffer, Datagram, make_flow

DEFAULT_BUFFER: Final = 212992
"""net.core.rmem_default and wmem_default; also rmem_max and wmem_max, which limit SO_RCVBUF before it is doubled."""
MIN_RCVBUF: Final = 2304
MIN_SNDBUF: Final = 4608
DATAGRAM_OVERHEAD: Final = 768
"""What a waiting datagram costs beside its payload: the truesize of a small sk_buff on x86-64."""
MAX_ERRORS: Final = 64
"""Entries of a socket's error queue; Linux bounds it by the receive buffer."""


class UdpTransport:
    """What a socket asks of the layer below; `UdpLayer` is it."""

    routes: RouteTable
    sysctl: Sysctl
    counters: Counters
    ports: UdpPortTable

    def send(self, sock: "UdpSocket", data: bytes, dst: bytes, dport: i64) -> None:
        """Send one datagram."""
        raise NotImplementedError

    def now(self) -> i64:
        """The time in ns."""
        raise NotImplementedError

    def hash(self, sock: "UdpSocket") -> None:
        """The socket got a port: find it from now on."""
        raise NotImplementedError

    def unhash(self, sock: "UdpSocket") -> None:
        """The socket is about to lose its port."""
        raise NotImplementedError

    def set_peer(self, sock: "UdpSocket", flow: bytes) -> None:
        """The socket is connected: `flow` is the key of what its peer sends."""
        raise NotImplementedError

    def clear_peer(self, sock: "UdpSocket") -> None:
        """The socket is no longer connected to `sock.flow`."""
        raise NotImplementedError


class SockError:
    """An entry of the error queue (struct sock_extended_err)."""

    def __init__(self, number: int, origin: int, type: int, code: int, info: int, offender: bytes) -> None:
        self.errno = number
        self.origin = origin
        """1 local, 2 ICMP, 3 ICMPv6."""
        self.type = type
        self.code = code
        self.info = info
        """The MTU for EMSGSIZE."""
        self.offender = offender
        """Who sent the ICMP message; b'' for a local error."""
        self.data: bytes = b""
        self.dst: bytes = b""
        """Where the datagram that failed was going."""
        self.dport: int = 0


class UdpSocket(Socket):
    """One UDP socket. Calls return at once; see `file.Socket` for addresses and errors."""

    def __init__(self, layer: UdpTransport, family: int) -> None:
        self.layer: UdpTransport = layer
        self.family = family
        self.type = 2
        self.proto = PROTO_UDP
        self.owner: PortOwner = PortOwner()
        self.owner.family = family
        self.owner.local_addr = ANY6 if family == AF_INET6 else ANY4
        self.bound_addr: bool = False
        """bind() named an address or a port, which disconnecting therefore keeps."""
        self.bound_port: bool = False
        self.peer: bytes = b""
        self.peer_port: i64 = 0
        self.flow: bytes = b""
        """Demux key of what the peer sends; b'' while not connected."""
        self.queue: deque[Datagram] | None = None
        self.queued: i64 = 0
        """Octets charged to the receive buffer."""
        self.rcvbuf: i64 = DEFAULT_BUFFER
        self.sndbuf: i64 = DEFAULT_BUFFER
        self.broadcast: bool = False
        self.error: i64 = 0
        """sk_err: reported once, by the next call."""
        self.errors: list[SockError] = []
        self.closed_in: bool = False
        self.closed_out: bool = False
        self.device: NetDevice | None = None
        self.group_device: NetDevice | None = None
        self.groups: list[tuple[bytes, NetDevice]] = []
        self.options: dict[tuple[int, int], int] = {}

    # What the layer asks

    def score(self, raddr: bytes, rport: i64, laddr: bytes, device: NetDevice | None) -> i64:
        """How well it fits a datagram; -1 not at all (compute_score, with a bound address above all else)."""
        owner = self.owner
        v4 = len(laddr) == 4
        score: i64 = 1
        own = owner.local_addr
        if own == laddr:
            score += 16
        elif any(own) or (v4 and len(own) == 16 and owner.v6only) or (not v4 and len(own) == 4):
            return -1
        if v4 and self.family == AF_INET:
            score += 1
        if self.peer:
            if self.peer != raddr or self.peer_port != rport:
                return -1
            score += 8
        if self.device is not None:
            if not self.hears_device(device):
                return -1
            score += 4
        return score

    def hears_device(self, device: NetDevice | None) -> bool:
        """Whether SO_BINDTODEVICE lets datagrams from this device in."""
        return self.device is None or device is None or self.device is device

    def hears_group(self, packet: Datagram, device: NetDevice, multicast: bool) -> bool:
        """Whether a datagram to a group or to everybody is for this socket too (__udp_is_mcast_sock)."""
        if self.score(packet.src, packet.sport, packet.dst, device) < 0:
            return False
        if not multicast:
            return True
        if (packet.dst, device) in self.groups:
            return True
        # Linux's IP_MULTICAST_ALL: groups that other sockets joined are heard as well, unless turned off.
        return self.option(SOL_IP, IP_MULTICAST_ALL) != 0

    def deliver(self, packet: Datagram) -> bool:
        """Queue a datagram; False where the receive buffer is full (one more than fits is taken, as Linux does)."""
        if self.queued > self.rcvbuf:
            return False
        if self.queue is None:
            self.queue = deque()
        self.queue.append(packet)
        self.queued += len(packet.payload) + DATAGRAM_OVERHEAD
        self.wake(EPOLLIN | EPOLLRDNORM)
        return True

    def icmp_error(self, reported: Reported, fatal: bool) -> None:
        """__udp4_lib_err: a connected socket hears hard errors, one with IP_RECVERR all of them."""
        message = reported.message
        v6 = len(message.src) == 16
        wanted = self.option(SOL_IPV6, IPV6_RECVERR) if v6 else self.option(SOL_IP, IP_RECVERR)
        if wanted:
            quote = reported.quote
            entry = SockError(reported.errno, 3 if v6 else 2, message.type, message.code, reported.mtu, message.src)
            entry.dst = quote.dst
            entry.dport = quote.dport
            self._queue_error(entry)
        elif not fatal or not self.peer:
            return
        self.error = reported.errno
        self.wake(EPOLLERR | EPOLLIN)

    def note_mtu(self, dst: bytes, dport: i64, mtu: i64) -> None:
        """A datagram larger than the path MTU was refused: with IP_RECVERR the MTU goes to the error queue."""
        wanted = self.option(SOL_IPV6, IPV6_RECVERR) if len(dst) == 16 else self.option(SOL_IP, IP_RECVERR)
        if wanted:
            entry = SockError(errno.EMSGSIZE, 1, 0, 0, mtu, b"")
            entry.dst = dst
            entry.dport = dport
            self._queue_error(entry)

    def source(self, dst: bytes) -> bytes:
        """The address it is bound to; b'' where routing decides."""
        own = self.owner.local_addr
        if not any(own) or self.layer.routes.classify(own) is not AddressKind.LOCAL:
            return b""
        return own

    def out_device(self, multicast: bool) -> NetDevice | None:
        """The device its datagrams have to leave by, if it named one."""
        if multicast and self.group_device is not None:
            return self.group_device
        return self.device

    def hop_limit(self, v6: bool, multicast: bool) -> i64:
        """TTL or hop limit of its datagrams."""
        if multicast:
            chosen = self.option(SOL_IPV6, IPV6_MULTICAST_HOPS) if v6 else self.option(SOL_IP, IP_MULTICAST_TTL)
            return 1 if chosen < 0 else chosen
        chosen = self.option(SOL_IPV6, IPV6_UNICAST_HOPS) if v6 else self.option(SOL_IP, IP_TTL)
        return self.layer.sysctl.ip_default_ttl if chosen < 0 else chosen

    def traffic_class(self, v6: bool) -> i64:
        """IP_TOS or IPV6_TCLASS."""
        return max(0, self.option(SOL_IPV6, IPV6_TCLASS) if v6 else self.option(SOL_IP, IP_TOS))

    def multicast_loop(self, v6: bool) -> bool:
        """Whether what it sends to groups comes back to this host."""
        return bool(self.option(SOL_IPV6, IPV6_MULTICAST_LOOP) if v6 else self.option(SOL_IP, IP_MULTICAST_LOOP))

    def pmtu_discovery(self) -> int:
        """IP_MTU_DISCOVER: by default IP_PMTUDISC_WANT, or DONT with ip_no_pmtu_disc."""
        v6 = self.family == AF_INET6
        chosen = self.option(SOL_IPV6, IPV6_MTU_DISCOVER) if v6 else self.option(SOL_IP, IP_MTU_DISCOVER)
        if chosen >= 0:
            return chosen
        return 0 if self.layer.sysctl.ip_no_pmtu_disc else PMTUDISC_WANT

    def option(self, level: int, name: int) -> int:
        """A numeric option's value or default."""
        found = self.options.get((level, name))
        return NUMBERS[(level, name)][0] if found is None else found

    # Calls

    def bind(self, addr: bytes, port: int) -> None:
        """EINVAL when bound already, EADDRNOTAVAIL for an address that is not ours, EADDRINUSE, EACCES."""
        if self.owner.kind is not None:
            raise os_error(errno.EINVAL, "already bound")
        kind = self.layer.routes.classify(addr)
        if kind is AddressKind.UNICAST and not self.layer.sysctl.ip_nonlocal_bind:
            raise os_error(errno.EADDRNOTAVAIL)
        if self.owner.v6only and len(addr) == 4:
            raise os_error(errno.EINVAL)
        self.layer.ports.bind(self.owner, addr, port)
        self.bound_addr = any(addr)
        self.bound_port = port != 0
        self.layer.hash(self)

    def connect(self, addr: bytes, port: int) -> bool:
        """Set the peer. ENETUNREACH without a route, EACCES for broadcast without SO_BROADCAST."""
        self._report_error()
        if len(addr) == 4 and self.owner.v6only:
            raise os_error(errno.ENETUNREACH)
        if not any(addr):
            addr = LOOPBACK4 if len(addr) == 4 else LOOPBACK6
        route = self.layer.routes.lookup(addr, self.device)
        if route.reach is Reach.BROADCAST and not self.broadcast:
            raise os_error(errno.EACCES)
        self._autobind()
        if not any(self.owner.local_addr):
            self.owner.local_addr = route.source
            self.layer.ports.refresh(self.owner)
        flow = make_flow(addr, self.owner.local_addr, port, self.owner.local_port)
        self.layer.set_peer(self, flow)
        self.flow = flow
        self.peer = addr
        self.peer_port = port
        return False

    def disconnect(self) -> None:
        """Forget the peer, and the address and port unless bind() named them (__udp_disconnect)."""
        self.layer.clear_peer(self)
        self.flow = b""
        self.peer = b""
        self.peer_port = 0
        if self.owner.kind is None:
            return
        if not self.bound_addr:
            self.owner.local_addr = ANY6 if self.family == AF_INET6 else ANY4
            self.layer.ports.refresh(self.owner)
        if not self.bound_port:
            self.layer.unhash(self)
            self.layer.ports.release(self.owner)
            self.owner.local_port = 0

    def send(self, data: Buffer, flags: int) -> int:
        """To the peer. EDESTADDRREQ without one; an error that ICMP reported; EPIPE after shutdown."""
        if not self.peer:
            raise os_error(errno.EDESTADDRREQ)
        return self.sendto(data, flags, self.peer, self.peer_port)

    def sendto(self, data: Buffer, flags: int, addr: bytes, port: int) -> int:
        """One datagram. EINVAL for port 0, EMSGSIZE over 65507 octets; see UdpLayer.send."""
        if flags & MSG_OOB:
            raise os_error(errno.EOPNOTSUPP)
        if len(data) > 0xFFFF:
            raise os_error(errno.EMSGSIZE)
        if port == 0:
            raise os_error(errno.EINVAL)
        self._report_error()
        if self.closed_out:
            raise os_error(errno.EPIPE)
        if len(addr) == 4 and self.owner.v6only:
            raise os_error(errno.ENETUNREACH)
        if not any(addr):
            addr = LOOPBACK4 if len(addr) == 4 else LOOPBACK6
        self._autobind()
        self.layer.send(self, bytes(data), addr, port)
        return len(data)

    def recv(self, size: int, flags: int) -> bytes:
        """As recvfrom, without the sender."""
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size: int, flags: int) -> tuple[bytes, bytes, int]:
        """The oldest datagram, cut off at `size`. EAGAIN without one; with MSG_ERRQUEUE the oldest error's target."""
        if flags & MSG_ERRQUEUE:
            if not self.errors:
                raise os_error(errno.EAGAIN)
            entry = self.errors.pop(0)
            return entry.data[:size], entry.dst, entry.dport
        self._report_error()
        queue = self.queue
        if not queue:
            if self.closed_in:
                return b"", b"", 0
            raise os_error(errno.EAGAIN)
        packet = queue[0]
        if not flags & MSG_PEEK:
            queue.popleft()
            if not queue:
                self.queue = None
            self.queued -= len(packet.payload) + DATAGRAM_OVERHEAD
            if len(packet.src) == 4:
                self.layer.counters.UdpInDatagrams += 1
            else:
                self.layer.counters.Udp6InDatagrams += 1
        return bytes(packet.payload[:size]), packet.src, packet.sport

    def next_error(self) -> SockError | None:
        """recvmsg(MSG_ERRQUEUE) with all it tells; None where Linux says EAGAIN."""
        return self.errors.pop(0) if self.errors else None

    def shutdown(self, how: int) -> None:
        """Takes effect even on an unconnected socket, which gets ENOTCONN all the same (inet_shutdown)."""
        if how not in (0, 1, 2):
            raise os_error(errno.EINVAL)
        self.closed_in = self.closed_in or how != 1
        self.closed_out = self.closed_out or how != 0
        self.wake(EPOLLHUP | EPOLLIN | EPOLLOUT)
        if not self.peer:
            raise os_error(errno.ENOTCONN)

    def released(self) -> None:
        """close(): give up port and groups; what is queued is lost."""
        for group, device in self.groups:
            self.layer.routes.leave(group, device)
        self.groups = []
        self.queue = None
        self.layer.clear_peer(self)
        if self.owner.kind is not None:
            self.layer.unhash(self)
            self.layer.ports.release(self.owner)

    def poll(self) -> i64:
        """Always writable; readable with a datagram waiting."""
        mask: i64 = EPOLLOUT | EPOLLWRNORM
        if self.queue:
            mask |= EPOLLIN | EPOLLRDNORM
        if self.error or self.errors:
            mask |= EPOLLERR
        if self.closed_in:
            mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP
            if self.closed_out:
                mask |= EPOLLHUP
        return mask

    def getsockname(self) -> tuple[bytes, int]:
        return self.owner.local_addr, self.owner.local_port

    def getpeername(self) -> tuple[bytes, int]:
        if not self.peer:
            raise os_error(errno.ENOTCONN)
        return self.peer, self.peer_port

    def inq(self) -> int:
        """FIONREAD: octets of the next datagram."""
        return len(self.queue[0].payload) if self.queue else 0

    # Options

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Set an option. ENOPROTOOPT for an unknown one, EINVAL for a value out of range."""
        if level == SOL_SOCKET and name == SO_BINDTODEVICE:
            self.device = self._device_named(value)
            return
        if isinstance(value, bytes) and len(value) != 4:
            self._set_group(level, name, value)
            return
        number = value if isinstance(value, int) else int.from_bytes(value, "little", signed=True)
        if level == SOL_SOCKET:
            self._set_socket_option(name, number)
        elif (level, name) == (SOL_IPV6, IPV6_V6ONLY):
            if self.family != AF_INET6:
                raise os_error(errno.ENOPROTOOPT)
            if self.owner.kind is not None:
                raise os_error(errno.EINVAL)
            self.owner.v6only = bool(number)
        elif (level, name) in ((SOL_IP, IP_MULTICAST_IF), (SOL_IPV6, IPV6_MULTICAST_IF)):
            self._set_group_device(value)
        elif (level, name) in NUMBERS and not (level == SOL_IPV6 and self.family == AF_INET):
            _, low, high = NUMBERS[(level, name)]
            if high == 1:
                number = int(bool(number))
            if not low <= number <= high or (name == IP_TTL and level == SOL_IP and number == 0):
                raise os_error(errno.EINVAL)
            self.options[(level, name)] = number
        else:
            raise os_error(errno.ENOPROTOOPT)

    def getsockopt(self, level: int, name: int, size: int) -> int | bytes:
        """An option's value; `size` > 0 gives it as C's int."""
        number = self._get_option(level, name)
        return number if size == 0 else (number & 0xFFFFFFFF).to_bytes(4, "little")[:size]

    def _get_option(self, level: int, name: int) -> int:
        if level == SOL_SOCKET:
            return self._get_socket_option(name)
        if (level, name) == (SOL_IPV6, IPV6_V6ONLY):
            return int(self.owner.v6only)
        if (level, name) in ((SOL_IP, IP_MTU), (SOL_IPV6, IPV6_MTU)):
            if not self.peer:
                raise os_error(errno.ENOTCONN)
            return self.layer.routes.mtu(self.peer, self.layer.now())
        if (level, name) not in NUMBERS:
            raise os_error(errno.ENOPROTOOPT)
        number = self.option(level, name)
        if (level, name) in ((SOL_IP, IP_TTL), (SOL_IPV6, IPV6_UNICAST_HOPS)) and number < 0:
            return self.layer.sysctl.ip_default_ttl
        if name in (IP_MTU_DISCOVER, IPV6_MTU_DISCOVER) and number < 0:
            return self.pmtu_discovery()
        return number

    def _set_socket_option(self, name: int, number: int) -> None:
        if name == SO_REUSEADDR:
            self.owner.reuse_addr = bool(number)
            self.layer.ports.refresh(self.owner)
        elif name == SO_REUSEPORT:
            self.owner.reuse_port = bool(number)
            self.layer.ports.refresh(self.owner)
        elif name == SO_BROADCAST:
            self.broadcast = bool(number)
        elif name == SO_RCVBUF:
            self.rcvbuf = max(2 * min(number, DEFAULT_BUFFER), MIN_RCVBUF)
        elif name == SO_SNDBUF:
            self.sndbuf = max(2 * min(number, DEFAULT_BUFFER), MIN_SNDBUF)
        else:
            raise os_error(errno.ENOPROTOOPT)

    def _get_socket_option(self, name: int) -> int:
        if name == SO_ERROR:
            pending = int(self.error)
            self.error = 0
            return pending
        values: dict[int, int] = {
            SO_REUSEADDR: self.owner.reuse_addr,
            SO_REUSEPORT: self.owner.reuse_port,
            SO_BROADCAST: self.broadcast,
            SO_RCVBUF: self.rcvbuf,
            SO_SNDBUF: self.sndbuf,
            SO_TYPE: self.type,
            SO_PROTOCOL: self.proto,
            SO_DOMAIN: self.family,
            SO_ACCEPTCONN: 0,
        }
        if name not in values:
            raise os_error(errno.ENOPROTOOPT)
        return int(values[name])

    def _set_group(self, level: int, name: int, value: bytes) -> None:
        """Join or leave: struct ip_mreq (group, own address), ip_mreqn (and index), or ipv6_mreq (group, index)."""
        v6 = level == SOL_IPV6
        joins = (level, name) in ((SOL_IP, IP_ADD_MEMBERSHIP), (SOL_IPV6, IPV6_JOIN_GROUP))
        if not joins and (level, name) not in ((SOL_IP, IP_DROP_MEMBERSHIP), (SOL_IPV6, IPV6_LEAVE_GROUP)):
            raise os_error(errno.ENOPROTOOPT if (level, name) not in NUMBERS else errno.EINVAL)
        if len(value) < (20 if v6 else 8):
            raise os_error(errno.EINVAL)
        group = value[:16] if v6 else value[:4]
        routes = self.layer.routes
        if routes.classify(group) is not AddressKind.MULTICAST:
            raise os_error(errno.EINVAL)
        index = int.from_bytes(value[16:20] if v6 else value[8:12], "little")
        device = self._device_for(group, b"" if v6 else value[4:8], index)
        if joins:
            if (group, device) in self.groups:
                raise os_error(errno.EADDRINUSE)
            self.groups.append((group, device))
            routes.join(group, device)
        else:
            if (group, device) not in self.groups:
                raise os_error(errno.EADDRNOTAVAIL)
            self.groups.remove((group, device))
            routes.leave(group, device)

    def _device_for(self, group: bytes, own: bytes, index: int) -> NetDevice:
        """The device an index, an address of ours or the route to a group means. OSError ENODEV."""
        routes = self.layer.routes
        if index:
            if index > len(routes.devices):
                raise os_error(errno.ENODEV)
            return routes.devices[index - 1]
        device = routes.local.get(own)
        if device is None and not any(own):
            route = routes.find(group)
            device = None if route is None else route.device
        if device is None:
            raise os_error(errno.ENODEV)
        return device

    def _set_group_device(self, value: int | bytes) -> None:
        """IP_MULTICAST_IF takes an address of ours, IPV6_MULTICAST_IF an index; zero undoes it."""
        if isinstance(value, bytes) and self.family == AF_INET:
            self.group_device = self._device_for(b"", value, 0) if any(value) else None
            return
        index = value if isinstance(value, int) else int.from_bytes(value, "little")
        self.group_device = self._device_for(b"", b"\xff", index) if index else None

    def _device_named(self, value: int | bytes) -> NetDevice | None:
        name = value.rstrip(b"\0").decode() if isinstance(value, bytes) else ""
        if not name:
            return None
        for device in self.layer.routes.devices:
            if device.name == name:
                return device
        raise os_error(errno.ENODEV)

    # Inside

    def _autobind(self) -> None:
        if self.owner.kind is None:
            self.layer.ports.autobind(self.owner, self.owner.local_addr)
            self.layer.hash(self)

    def _report_error(self) -> None:
        if self.error:
            pending = int(self.error)
            self.error = 0
            raise os_error(pending)

    def _queue_error(self, entry: SockError) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(entry)
