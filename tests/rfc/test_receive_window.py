"""The share of the receive buffer that counts as window is measured from the segments that come (Linux since 6.6)."""

import socket
from contextlib import suppress

import pytest

from support.peer import both
from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import SOL_TCP, TCP_INFO
from timewait.record.match import Match
from timewait.tcp.info import unpack_info
from timewait.wire.packet import Segment
from timewait.world.network import World


def answers_to_two_segments(profile: str) -> list[tuple[int, int]]:
    """(delay in ms, window field) of what a server that delays its ACKs and does not read sends for two segments."""
    world = World(seed=1)
    a = world.host("client", "10.0.0.1/24")
    b = world.host("server", "10.0.0.2/24", profile=profile)
    world.link(a, b, delay=10 * MSEC)
    client, server = a.process("client"), b.process("server")
    listener = server.socket(2, 1)
    server.bind(listener, ("10.0.0.2", 80))
    server.listen(listener, 5)
    fd = client.socket(2, 1)
    with pytest.raises(BlockingIOError):
        client.connect(fd, ("10.0.0.2", 80))
    world.run(SEC)
    peer, _ = server.accept(listener)
    for _ in range(2):
        client.send(fd, b"request")
        world.run(15 * MSEC)
        server.recv(peer, 10)
        server.send(peer, b"answer")
        world.run(100 * MSEC)
    world.run(SEC)
    begun = world.now
    client.send(fd, b"x" * 2896)
    world.run(200 * MSEC)
    found = [entry for entry in world.record.select(Match("sent", host="server")) if entry.time >= begun]
    assert all(isinstance(entry.packet, Segment) for entry in found)
    return [(round((entry.time - begun) / MSEC), int(entry.packet.window)) for entry in found]


def test_a_second_full_segment_is_acknowledged_at_once_although_nobody_reads():
    # Measured on Linux 6.18: the ACK leaves at once, with a window of 70 units of 1024 octets.
    assert answers_to_two_segments("linux-6.18") == [(10, 70)]


def test_older_kernels_count_a_fixed_share_so_that_the_window_cannot_grow_unread():
    (delay, window), *_ = answers_to_two_segments("linux-5.15")
    assert delay >= 50
    assert window < 512


def test_a_taken_over_time_wait_reckons_with_timestamps_in_its_first_window():
    # Measured on Linux 6.18 with tcp_tw_reuse=1: 64240 = 44 x 1460 at first, 65160 = 45 x 1448 when a port is reused.
    world = World(seed=1)
    sysctl = {"net.ipv4.tcp_tw_reuse": 1, "net.ipv4.ip_local_port_range": "40000 40000"}
    a = world.host("client", "10.0.0.1/24", sysctl=sysctl)
    b = world.host("server", "10.0.0.2/24")
    world.link(a, b, delay=10 * MSEC)
    client, server = a.process("client"), b.process("server")
    listener = server.socket(2, 1)
    server.bind(listener, ("10.0.0.2", 80))
    server.listen(listener, 5)
    for _ in range(2):
        fd = client.socket(2, 1)
        with pytest.raises(BlockingIOError):
            client.connect(fd, ("10.0.0.2", 80))
        world.run(SEC)
        peer, _ = server.accept(listener)
        client.close(fd)
        world.run(100 * MSEC)
        server.close(peer)
        world.run(2 * SEC)
    windows = [int(entry.packet.window) for entry in world.record.select(Match("sent", host="client", flags="S"))]
    assert windows == [64240, 65160]


def fed(peer, *, hole_at=0):
    """SO_RCVBUF after each of seven bursts, which a program reads when they are complete."""
    listener = peer.listen()
    flow = peer.new_flow(40000)
    flow.handshake(mss=1460, wscale=10, sack_ok=True, ts=1000)
    fd = peer.accept(listener)

    def inject(seq):
        peer.cable.pipe.send(flow.segment("A", seq=seq, data=1448, ts=(1001, flow.tsval)))

    sizes, seq = [], 1
    # What comes before the first echo of a later timestamp is no sample of the round trip.
    peer.run(0.01)
    for count in (1, 10, 20, 30, 40, 40, 40):
        hole = 0
        for number in range(count):
            if count == hole_at and number == 3 and not hole:
                hole = seq
            else:
                inject(seq)
            seq += 1448
        peer.take()
        if hole:
            inject(hole)
            peer.take()
        with suppress(BlockingIOError):
            while peer.app.recv(fd, 1 << 20):
                pass
        peer.run(0.04)
        sizes.append(peer.app.getsockopt(fd, socket.SOL_SOCKET, socket.SO_RCVBUF))
        hole_at = 0 if hole else hole_at
    return sizes


@both
def test_a_program_that_reads_late_needs_no_larger_buffer(peers):
    # What still waits when it begins to read is subtracted from what it has read (tcp_rcv_space_adjust since 6.16).
    assert fed(peers()) == [131072] * 7


@both
def test_the_buffer_grows_for_what_is_out_of_order(peers):
    # 36 segments beyond a gap, and twice the ten that were assumed at first (tcp_rcvbuf_grow).
    larger = (2 * 14480 + 37 * 1448) * 256 // 160
    assert fed(peers(), hole_at=40) == [131072] * 4 + [larger] * 3


@both
def test_a_whole_window_tells_the_round_trip_beside_timestamps(peers):
    # Echoes count in milliseconds, and those of less than one not at all: on a short path only windows tell.
    peer = peers()
    listener = peer.listen()
    flow = peer.new_flow(40000)
    flow.handshake(mss=1460, wscale=10, sack_ok=True, ts=1000)
    fd = peer.accept(listener)
    echo = flow.tsval
    peer.run(0.3)

    def receive(first, count):
        for number in range(first, first + count):
            flow.inject("A", seq=1 + 1448 * number, data=1448, ts=(1001, echo))
        with suppress(BlockingIOError):
            while peer.app.recv(fd, 1 << 20):
                pass
        return unpack_info(peer.app.getsockopt(fd, SOL_TCP, TCP_INFO, 280))["tcpi_rcv_rtt"]

    assert receive(0, 1) >= 300_000  # Since the SYN-ACK whose timestamp it echoes.
    peer.run(0.05)
    assert 40_000 <= receive(1, 60) <= 250_000  # Since the first segment, 50 ms ago.
