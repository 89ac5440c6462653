"""The share of the receive buffer that counts as window is measured from the segments that come (Linux since 6.6)."""

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.record.match import Match
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
