"""The TUN device: what the kernel sends is read, what is written it receives."""

import select
import socket
import struct

import pytest

from timewait.wire.packet import ACK, PROTO_TCP, SYN, IcmpMessage, Packet, Segment, make_flow
from timewait.wire.parse import parse
from timewait.wire.serialize import serialize
from timewait.world.netns import Namespace
from timewait.world.offload import packet_of, vectors_of
from timewait.world.procnet import parse_counters
from timewait.world.tun import TUN_F_CSUM, TUN_F_TSO4, VNET_LEN, Tun

KERNEL, US = socket.inet_aton("10.8.0.1"), socket.inet_aton("10.8.0.2")


def next_packet(tun: Tun, seconds: float = 5.0) -> Packet:
    assert select.select([tun.fd], [], [], seconds)[0], "nothing came out of the TUN"
    return packet_of(tun.read())


def test_ping_is_answered_by_hand(namespace: Namespace) -> None:
    with Tun(namespace) as tun:
        tun.add_address("10.8.0.1/24")
        with pytest.raises(BlockingIOError):
            tun.read()
        with namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ping:
            ping.settimeout(5)
            body = struct.pack(">BBHHH", 8, 0, 0, 77, 1) + b"hello"
            total = sum(struct.unpack(">6H", body[:12])) + (body[12] << 8)
            total = (total & 0xFFFF) + (total >> 16)
            ping.sendto(body[:2] + struct.pack(">H", ~total & 0xFFFF) + body[4:], ("10.8.0.2", 0))
            request = next_packet(tun)
            assert isinstance(request, IcmpMessage)
            assert (request.type, request.rest, bytes(request.payload)) == (8, 77 << 16 | 1, b"hello")
            reply = request.copy()
            reply.src, reply.dst, reply.type = US, KERNEL, 0
            tun.write(*vectors_of(reply))
            data, address = ping.recvfrom(100)
        assert address[0] == "10.8.0.2"
        assert data[20:21] == b"\0"
        assert data.endswith(b"hello")
        assert tun.statistics()["rx_packets"] == 1


def handshake(tun: Tun, namespace: Namespace) -> tuple[socket.socket, Segment]:
    """A kernel's connection to us, answered by hand: its socket and our last segment."""
    client = namespace.socket()
    client.setblocking(False)
    assert client.connect_ex(("10.8.0.2", 80)) == 115  # EINPROGRESS
    syn = next_packet(tun)
    assert isinstance(syn, Segment)
    assert syn.flags & SYN and syn.mss == tun.mtu - 40
    ours = Segment()
    ours.src, ours.dst, ours.proto, ours.sport, ours.dport = US, KERNEL, PROTO_TCP, 80, syn.sport
    ours.flow = make_flow(US, KERNEL, 80, syn.sport)
    ours.flags, ours.seq, ours.ack, ours.window = SYN | ACK, 2**32 - 1, (syn.seq + 1) & 0xFFFFFFFF, 65535
    ours.mss, ours.wscale = 1460, 8
    tun.write(*vectors_of(ours))
    answer = next_packet(tun)
    assert isinstance(answer, Segment)
    assert (answer.ack, answer.length) == (0, 0)  # wrapped around
    client.settimeout(5)
    ours = ours.copy()
    ours.flags, ours.seq, ours.mss, ours.wscale = ACK, 0, 0, -1
    return client, ours


def test_super_segments_both_ways(namespace: Namespace) -> None:
    with Tun(namespace) as tun:
        assert tun.features & TUN_F_CSUM and tun.features & TUN_F_TSO4
        tun.add_address("10.8.0.1/24")
        client, ours = handshake(tun, namespace)
        with client:
            client.sendall(bytes(60000))
            came = next_packet(tun)
            assert isinstance(came, Segment)
            assert came.gso_size == 1460 and came.length >= 5 * came.gso_size
            big = ours.copy()
            big.payload = bytes(range(256)) * 200
            big.length, big.gso_size = len(big.payload), 1460
            tun.write(*vectors_of(big))
            got = b""
            while len(got) < 51200:
                got += client.recv(100000)
            assert got == big.payload


def test_without_offload_packets_fit_the_mtu_and_are_complete(namespace: Namespace) -> None:
    with Tun(namespace, mtu=1000, offload=False) as tun:
        tun.add_address("10.8.0.1/24")
        client, ours = handshake(tun, namespace)
        with client:
            client.sendall(bytes(5000))
            data = tun.read()
            assert data[:VNET_LEN] == bytes(VNET_LEN)
            assert len(data) == VNET_LEN + 1000
            packet = parse(data[VNET_LEN:])  # with its checksums verified
            assert isinstance(packet, Segment) and packet.gso_size == 0
            ours.payload, ours.length = b"whole", 5
            tun.write(bytes(VNET_LEN), serialize(ours))
            assert client.recv(100) == b"whole"


def test_a_wrong_checksum_is_the_kernels_to_find(namespace: Namespace) -> None:
    with Tun(namespace) as tun:
        tun.add_address("10.8.0.1/24")
        client, ours = handshake(tun, namespace)
        with client:
            ours.payload, ours.length = b"right", 5
            damaged = bytearray(serialize(ours))
            damaged[-1] ^= 1
            tun.write(*vectors_of(bytes(damaged)))
            tun.write(*vectors_of(ours))
            assert client.recv(100) == b"right"
        counters = parse_counters(namespace.read("/proc/net/snmp"))
        assert counters["TcpInCsumErrors"] == counters["TcpInErrs"] == 1


def test_several_queues_of_one_device(namespace: Namespace) -> None:
    before = namespace.run(["ip", "-br", "link"]).stdout.count("\n")
    with Tun(namespace, queues=2) as tun:
        assert len(tun.fds) == 2
        assert namespace.run(["ip", "-br", "link"]).stdout.count("\n") == before + 1
    assert namespace.run(["ip", "-br", "link"]).stdout.count("\n") == before
