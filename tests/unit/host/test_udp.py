import errno
import socket

import pytest

from timewait.base.errors import WireError
from timewait.base.instant import ManualClock
from timewait.base.rng import Streams
from timewait.host.file import EPOLLERR, EPOLLIN, EPOLLOUT
from timewait.host.icmp import IcmpLayer, read_error
from timewait.host.machine import Machine
from timewait.host.process import Process
from timewait.host.route import NetDevice, RouteTable
from timewait.host.udp import UdpLayer
from timewait.tcp.counters import Counters
from timewait.tcp.sysctl import Sysctl
from timewait.wire import parse, serialize
from timewait.wire.address import pack, parse_prefix
from timewait.wire.packet import Datagram, IcmpMessage, RawPacket

DGRAM = socket.SOCK_DGRAM


class Host(Machine):
    """Two of these on one wire make a network: what one puts out the other takes in, through bytes."""

    def __init__(self, *addresses):
        self.name, self.tap, self.clock = addresses[0], None, ManualClock()
        self.sysctl, self.counters, self.routes = Sysctl(), Counters(), RouteTable()
        self.eth = NetDevice("eth0")
        for device, texts in ((NetDevice("lo", 65536, True), ("127.0.0.1/8", "::1/128")), (self.eth, addresses)):
            self.routes.add_device(device)
            for text in texts:
                self.routes.add_address(device, *parse_prefix(text))
        self.icmp = IcmpLayer(self.sysctl, self.counters, self.routes)
        self.udp = UdpLayer(self, self.icmp, Streams(1))
        self.sent, self.drops, self.peer = [], [], None

    def now(self):
        return self.clock.now()

    def make_socket(self, family, type, proto):
        return self.udp.make_socket(family, proto)

    def output(self, packet, route):
        self.sent.append(packet)
        if route.local:
            self.take(packet, route.device)
        elif self.peer is not None and not isinstance(packet, RawPacket):
            self.peer.take(parse.parse(serialize.serialize(packet)), self.peer.eth)

    def loop(self, packet, device):
        self.take(packet, device)

    def take(self, packet, device):
        if isinstance(packet, Datagram):
            drop = self.udp.receive(packet, device)
            if drop is not None:
                self.drops.append(drop.name)
        elif isinstance(packet, IcmpMessage):
            self.udp.error(read_error(packet))


@pytest.fixture
def a():
    return Host("10.0.0.1/24", "fd00::1/64")


@pytest.fixture
def b(a):
    other = Host("10.0.0.2/24", "fd00::2/64")
    a.peer, other.peer = other, a
    return other


@pytest.fixture
def app(a):
    return Process(a)


@pytest.fixture
def server(b):
    return Process(b)


def errno_of(call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    return caught.value.errno


def bound(process, addr="", port=53, family=2, **options):
    fd = process.socket(family, DGRAM)
    for name, value in options.items():
        process.setsockopt(fd, 1, getattr(socket, name), value)
    process.bind(fd, (addr, port))
    return fd


def test_datagrams_keep_their_boundaries_and_their_sender(app, server):
    fd, there = app.socket(2, DGRAM), bound(server)
    for n in range(3):
        assert app.sendto(fd, b"%d" % n * 100, ("10.0.0.2", 53)) == 100
    assert len(app.host.sent) == 3
    me = ("10.0.0.1", app.getsockname(fd)[1])
    assert [server.recvfrom(there, 10) for _ in range(3)] == [(b"%d" % n * 10, me) for n in range(3)]
    assert errno_of(server.recv, there, 10) == errno.EAGAIN
    assert server.host.counters.as_dict() == {"UdpInDatagrams": 3}
    assert app.host.counters.as_dict() == {"UdpOutDatagrams": 3}


@pytest.mark.parametrize("family, addr", [(2, "10.0.0.2"), (10, "fd00::2")])
def test_a_closed_port_refuses_a_connected_socket(app, server, family, addr):
    fd = app.socket(family, DGRAM)
    app.connect(fd, (addr, 53))
    app.send(fd, b"x")
    assert app.poll([(fd, EPOLLOUT)]) == [(fd, EPOLLOUT | EPOLLERR)]
    assert errno_of(app.send, fd, b"x") == errno.ECONNREFUSED
    app.send(fd, b"x")
    assert errno_of(app.recv, fd, 10) == errno.ECONNREFUSED
    assert server.host.drops == ["UDP_NO_SOCKET"] * 2


def test_an_unconnected_socket_hears_of_it_only_with_ip_recverr(app, server):
    fd = app.socket(2, DGRAM)
    app.sendto(fd, b"x", ("10.0.0.2", 53))
    assert app.getsockopt(fd, 1, socket.SO_ERROR) == 0
    app.setsockopt(fd, 0, 11, 1)
    app.sendto(fd, b"x", ("10.0.0.2", 53))
    assert app.getsockopt(fd, 1, socket.SO_ERROR) == errno.ECONNREFUSED
    assert app.recvfrom(fd, 10, 0x2000)[1] == ("10.0.0.2", 53)


def test_connected_beats_bound_beats_wildcard(app, server):
    fds = [bound(server, addr, SO_REUSEADDR=1) for addr in ("", "10.0.0.2", "10.0.0.2")]
    client = bound(app, "", 4000)
    server.connect(fds[2], ("10.0.0.1", 4000))
    for fd in (fds[2], fds[1], fds[0]):
        app.sendto(client, b"x", ("10.0.0.2", 53))
        assert server.recv(fd, 1) == b"x"
        server.close(fd)


def test_reuseport_spreads_clients(app, server):
    fds = [bound(server, SO_REUSEPORT=1) for _ in range(4)]
    for _ in range(64):
        app.sendto(app.socket(2, DGRAM), b"x", ("10.0.0.2", 53))
    counts = [len(server.file(fd).queue or ()) for fd in fds]
    assert sum(counts) == 64 and min(counts) > 4


def test_dual_stack(app, server):
    there = bound(server, "", 53, 10)
    app.sendto(app.socket(2, DGRAM), b"4", ("10.0.0.2", 53))
    app.sendto(app.socket(10, DGRAM), b"6", ("fd00::2", 53))
    app.sendto(app.socket(10, DGRAM), b"m", ("::ffff:10.0.0.2", 53))
    assert [server.recvfrom(there, 1)[1][0] for _ in range(3)] == ["::ffff:10.0.0.1", "fd00::1", "::ffff:10.0.0.1"]


def test_sizes_and_fragments(app, a):
    fd = app.socket(2, DGRAM)
    app.sendto(fd, bytes(1472), ("10.0.0.2", 53))
    app.sendto(fd, bytes(3000), ("10.0.0.2", 53))
    assert a.sent[0].dont_fragment
    assert [(len(p.payload), p.dont_fragment) for p in a.sent[1:]] == [(1480, False), (1480, False), (48, False)]
    assert a.counters.IpFragCreates == 3
    assert errno_of(app.sendto, fd, bytes(65508), ("10.0.0.2", 53)) == errno.EMSGSIZE
    assert app.sendto(fd, bytes(65507), ("127.0.0.1", 53)) == 65507
    app.setsockopt(fd, 0, 10, 2)
    assert errno_of(app.sendto, fd, bytes(1473), ("10.0.0.2", 53)) == errno.EMSGSIZE


def test_broadcast_needs_permission_and_reaches_all(app, a, b, server):
    there, here, fd = bound(server), bound(app), app.socket(2, DGRAM)
    assert errno_of(app.sendto, fd, b"x", ("10.0.0.255", 53)) == errno.EACCES
    app.setsockopt(fd, 1, socket.SO_BROADCAST, 1)
    app.sendto(fd, b"x", ("10.0.0.255", 53))
    assert server.recv(there, 9) == app.recv(here, 9) == b"x"
    app.sendto(fd, b"x", ("10.0.0.255", 54))
    assert b.counters.UdpIgnoredMulti == 1 and len(b.sent) == 0


def test_multicast_membership(app, a, server, b):
    a.routes.add_default(pack("10.0.0.254"), a.eth)
    there, fd = bound(server), app.socket(2, DGRAM)
    app.sendto(fd, b"x", ("224.1.2.3", 53))
    assert b.drops == ["NOT_FOR_US"] and a.sent[0].ttl == 1
    group = socket.inet_aton("224.1.2.3") + socket.inet_aton("10.0.0.2")
    server.setsockopt(there, 0, socket.IP_ADD_MEMBERSHIP, group)
    assert errno_of(server.setsockopt, there, 0, socket.IP_ADD_MEMBERSHIP, group) == errno.EADDRINUSE
    app.sendto(fd, b"y", ("224.1.2.3", 53))
    assert server.recv(there, 9) == b"y"
    server.close(there)
    assert not b.routes.groups


def test_the_receive_buffer_is_bounded(app, server, b):
    there, fd = bound(server, SO_RCVBUF=1), app.socket(2, DGRAM)
    for _ in range(10):
        app.sendto(fd, bytes(1000), ("10.0.0.2", 53))
    assert b.counters.as_dict() == {"UdpInErrors": 8, "UdpRcvbufErrors": 8}
    assert server.host.drops == ["RCVBUF_FULL"] * 8
    assert server.inq(there) == 1000


def test_errors_of_calls(app, a):
    fd = app.socket(2, DGRAM)
    assert errno_of(app.send, fd, b"x") == errno.EDESTADDRREQ
    assert errno_of(app.getpeername, fd) == errno.ENOTCONN
    assert errno_of(app.sendto, fd, b"x", ("10.0.0.2", 0)) == errno.EINVAL
    assert errno_of(app.sendto, fd, b"x", ("8.8.8.8", 53)) == errno.ENETUNREACH
    assert errno_of(app.bind, app.socket(2, DGRAM), ("10.0.0.9", 53)) == errno.EADDRNOTAVAIL
    assert errno_of(app.listen, fd) == errno.EOPNOTSUPP
    assert errno_of(app.setsockopt, fd, 1, 9999, 1) == errno.ENOPROTOOPT
    assert errno_of(app.shutdown, fd, 0) == errno.ENOTCONN
    assert app.recv(fd, 1) == b""
    assert errno_of(app.socket, 2, DGRAM, 6) == errno.EPROTONOSUPPORT


def test_disconnect_forgets_what_bind_did_not_name(app, a):
    fd = app.socket(2, DGRAM)
    app.connect(fd, ("10.0.0.2", 53))
    assert app.getsockname(fd)[0] == "10.0.0.1"
    app.connect(fd, None)
    assert app.getsockname(fd) == ("0.0.0.0", 0) and not a.udp.by_port and not a.udp.connected


def test_closing_gives_everything_back(app, a):
    fd = app.socket(2, DGRAM)
    app.connect(fd, ("10.0.0.2", 53))
    app.kill()
    assert not a.udp.by_port and not a.udp.connected and not a.udp.ports.held()


def test_a_path_mtu_is_learned_and_the_datagram_fragmented(app, a):
    fd = app.socket(2, DGRAM)
    app.connect(fd, ("10.0.0.2", 53))
    app.send(fd, bytes(1400))
    error = IcmpMessage()
    error.src, error.dst, error.type, error.code, error.rest = pack("10.0.0.254"), pack("10.0.0.1"), 3, 4, 1000
    error.payload = serialize.serialize(a.sent[0])[:28]
    a.take(error, a.eth)
    assert errno_of(app.send, fd, bytes(1400)) == errno.EMSGSIZE
    app.send(fd, bytes(1400))
    assert len(a.sent) == 3 and app.getsockopt(fd, 0, 14) == 1000


def test_wrong_checksums_are_counted(a):
    packet = Datagram()
    packet.src, packet.dst, packet.proto, packet.payload = pack("10.0.0.2"), pack("10.0.0.1"), 17, b"data"
    data = bytearray(serialize.serialize(packet))
    data[-1] ^= 1
    with pytest.raises(WireError) as caught:
        parse.parse(bytes(data))
    a.udp.bad_datagram(False, caught.value.reason in parse.CHECKSUM_REASONS)
    assert a.counters.as_dict() == {"UdpInErrors": 1, "UdpInCsumErrors": 1}


def test_tcp_like_polling(app, server):
    there, fd = bound(server), app.socket(2, DGRAM)
    assert server.poll([(there, EPOLLIN)]) == []
    app.sendto(fd, b"x", ("10.0.0.2", 53))
    assert server.poll([(there, EPOLLIN)]) == [(there, EPOLLIN)]
