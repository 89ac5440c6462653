"""UDP beside TCP (UDP-01 to UDP-15)."""

import socket

import pytest

from support.peer import HOST, PEER, both
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_UDP, Datagram, RawPacket
from timewait.wire.serialize import serialize

DGRAM = socket.SOCK_DGRAM


def receiver(peer, port=53):
    fd = peer.app.socket(socket.AF_INET, DGRAM)
    peer.app.bind(fd, ("0.0.0.0", port))
    return fd


def datagram(data=b"hello", *, sport=4000, dport=53, **fields):
    """A datagram from the peer to the host."""
    made = Datagram()
    made.src, made.dst, made.proto = pack(PEER), pack(HOST), PROTO_UDP
    made.sport, made.dport, made.payload = sport, dport, data
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def raw(peer, data):
    """Bytes of a datagram whose IP header is made to fit again."""
    total = len(data)
    header = bytearray(data[:20])
    header[2:4] = total.to_bytes(2, "big")
    header[10:12] = b"\0\0"
    words = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    header[10:12] = (words ^ 0xFFFF).to_bytes(2, "big")
    return peer.put(bytes(header) + data[20:])


@both
def test_one_packet_and_no_acknowledgment(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, DGRAM)
    assert peer.app.sendto(fd, b"hello", (PEER, 9)) == 5
    seen = peer.run(0.3)
    assert seen == ["Datagram"]
    assert bytes(seen[0].packet.payload) == b"hello"
    inbox = receiver(peer)
    assert peer.put(datagram()) == []
    assert peer.app.recvfrom(inbox, 100) == (b"hello", (PEER, 4000))


@both
def test_length_and_header_on_the_wire(peers):
    peer = peers()
    fd = receiver(peer, 4000)
    peer.app.sendto(fd, b"hello", (PEER, 9))
    (seen,) = peer.take()
    wire = serialize(seen.packet)[20:]
    assert len(wire) == 13
    assert [int.from_bytes(wire[i : i + 2], "big") for i in (0, 2, 4)] == [4000, 9, 13]


@both
def test_a_closed_port_is_told_by_icmp(peers):
    peer = peers()
    assert peer.put(datagram(dport=54)) == ["ICMP 3/3"]
    assert peer.counter("UdpNoPorts") == 1


@both
def test_an_icmp_error_reaches_a_connected_socket_only(peers):
    from timewait.wire import icmp

    peer = peers()
    for connected in (True, False):
        fd = peer.app.socket(socket.AF_INET, DGRAM)
        if connected:
            peer.app.connect(fd, (PEER, 9))
            peer.app.send(fd, b"x")
        else:
            peer.app.sendto(fd, b"x", (PEER, 9))
        (seen,) = peer.take()
        peer.put(icmp.error(seen.packet, serialize(seen.packet), pack(PEER), 3, 3))
        assert peer.attempt(peer.app.recv, fd, 100) == ("ECONNREFUSED" if connected else "EAGAIN")
        assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"


@both
def test_a_length_that_does_not_fit_is_dropped(peers):
    peer = peers()
    fd = receiver(peer)
    good = serialize(datagram())
    for length in (0, 7, 14, 2000):
        assert raw(peer, good[:24] + length.to_bytes(2, "big") + good[26:]) == [], length
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.counter("UdpInErrors") == 4


@both
def test_what_lies_behind_the_length_is_ignored(peers):
    peer = peers()
    fd = receiver(peer)
    assert raw(peer, serialize(datagram()) + b"surplus") == []
    assert peer.app.recv(fd, 100) == b"hello"


@both
def test_the_checksum_detects_and_does_not_repair(peers):
    peer = peers()
    fd = receiver(peer)
    good = bytearray(serialize(datagram()))
    good[-1] ^= 1
    assert peer.put(bytes(good)) == []
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"
    assert peer.counter("UdpInCsumErrors") == 1
    assert peer.counter("UdpInErrors") == 1


@both
def test_without_a_checksum_damage_is_delivered(peers):
    peer = peers()
    fd = receiver(peer)
    wire = bytearray(serialize(datagram(no_checksum=True)))
    assert wire[26:28] == b"\0\0"
    wire[-1] ^= 1
    assert peer.put(bytes(wire)) == []
    assert peer.app.recv(fd, 100) == b"helln"


@both
def test_datagrams_keep_their_boundaries(peers):
    peer = peers()
    fd = receiver(peer)
    for size in (100, 0, 1400):
        assert peer.put(datagram(bytes(size))) == []
    assert [len(peer.app.recv(fd, 2000)) for _ in range(3)] == [100, 0, 1400]


@both
def test_a_read_that_is_too_short_loses_the_rest(peers):
    peer = peers()
    fd = receiver(peer)
    peer.put(datagram(b"abcdef"))
    peer.put(datagram(b"g"))
    assert peer.app.recv(fd, 3) == b"abc"
    assert peer.app.recv(fd, 3) == b"g"


@both
def test_ip_fragments_what_exceeds_the_mtu(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, DGRAM)
    peer.app.sendto(fd, bytes(3000), (PEER, 9))
    seen = peer.take()
    assert len(seen) == 3
    assert all(isinstance(each.packet, RawPacket) for each in seen)
    assert [len(each.packet.payload) for each in seen] == [1480, 1480, 48]
    assert [each.packet.fragment_offset for each in seen] == [0, 1480, 2960]
    assert [each.packet.more_fragments for each in seen] == [True, True, False]
    assert not any(each.packet.dont_fragment for each in seen)
    assert len({each.packet.ident for each in seen}) == 1


@both
@pytest.mark.parametrize("lost", [0, 1, 2, None])
def test_a_lost_fragment_loses_the_datagram(peers, lost):
    peer = peers()
    fd = receiver(peer)
    payload = serialize(datagram(bytes(3000)))[20:]
    for number, start in enumerate(range(0, len(payload), 1480)):
        piece = RawPacket()
        piece.src, piece.dst, piece.proto, piece.ident = pack(PEER), pack(HOST), PROTO_UDP, 77
        piece.fragment_offset, piece.payload = start, payload[start : start + 1480]
        piece.more_fragments = start + 1480 < len(payload)
        if number != lost:
            assert peer.put(piece) == []
    received = peer.attempt(peer.app.recv, fd, 4000)
    assert received == bytes(3000) if lost is None else received == "EAGAIN"


@both
def test_tcp_and_udp_ports_are_separate(peers):
    peer = peers()
    listener = peer.listen(80)
    fd = receiver(peer, 80)
    assert peer.put(datagram(dport=80)) == []
    assert peer.app.recv(fd, 100) == b"hello"
    peer.handshake()
    peer.accept(listener)
    assert peer.attempt(peer.app.recv, fd, 100) == "EAGAIN"


@both
def test_the_largest_datagram(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, DGRAM)
    assert peer.attempt(peer.app.sendto, fd, bytes(65508), (PEER, 9)) == "EMSGSIZE"
    assert peer.app.sendto(fd, bytes(65507), (PEER, 9)) == 65507
    assert len(peer.take()) == 45


@both
def test_no_congestion_control(peers):
    peer = peers()
    fd = peer.app.socket(socket.AF_INET, DGRAM)
    for _ in range(100):
        assert peer.app.sendto(fd, bytes(1000), (PEER, 9)) == 1000
    assert len(peer.take()) == 100
