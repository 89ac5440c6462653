"""Accurate ECN over links that mark at random: the sender is told what came, packet by packet and octet by octet."""

import socket
import struct

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.world.network import World

NAMES = ("received_ce", "told_e1", "told_e0", "told_ceb", "came_e1", "came_e0", "came_ceb")
SIZE = 150_000


def figures(program, fd):
    raw = program.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)
    found = dict(zip(NAMES, struct.unpack_from("<7I", raw, 248), strict=True))
    found["delivered_ce"] = struct.unpack_from("<I", raw, 196)[0]
    found["failures"] = struct.unpack_from("<H", raw, 276)[0]
    return found


def transfer(seed, *, mark, loss=0.0, option=2, beacon=3, algorithm="reno", net="10.0.0.{}/24"):
    """A file from one host to another over 5 ms; the figures of both ends."""
    world = World(seed=seed)
    hosts = [world.host(name, net.format(n)) for n, name in enumerate(("sender", "receiver"), 1)]
    for host in hosts:
        host.sysctl["net.ipv4.tcp_ecn"] = 3
        host.sysctl["net.ipv4.tcp_ecn_option"] = option
        host.sysctl["net.ipv4.tcp_ecn_option_beacon"] = beacon
        host.sysctl["net.ipv4.tcp_congestion_control"] = algorithm
    link = world.link(*hosts, delay=5 * MSEC, rate=10_000_000)
    sender, receiver = (host.process("app") for host in hosts)
    family, anywhere = (socket.AF_INET6, "::") if ":" in net else (socket.AF_INET, "0.0.0.0")
    door = receiver.socket(family, socket.SOCK_STREAM)
    receiver.bind(door, (anywhere, 80))
    receiver.listen(door, 8)
    out = sender.socket(family, socket.SOCK_STREAM)
    with pytest.raises(BlockingIOError):
        sender.connect(out, (net.partition("/")[0].format(2), 80))
    world.run(SEC)
    into = receiver.accept(door)[0]
    link.mark(mark, sender="sender")
    if loss:
        link.lossy(loss)
    left, came = SIZE, 0
    deadline = world.now + 600 * SEC
    while came < SIZE and world.now < deadline:
        if left:
            try:
                left -= sender.send(out, bytes(left))
            except BlockingIOError:
                pass
        try:
            came += len(receiver.recv(into, SIZE))
        except BlockingIOError:
            pass
        world.run(5 * MSEC)
    assert came == SIZE
    world.run(5 * SEC)
    return figures(sender, out), figures(receiver, into)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("option", "beacon"), [(2, 3), (1, 3), (1, 0)])
@pytest.mark.parametrize("loss", [0.0, 0.02])
@pytest.mark.parametrize(("mark", "algorithm"), [(0.05, "reno"), (0.5, "cubic"), (1.0, "bbr")])
def test_the_sender_knows_every_mark(seed, option, beacon, loss, mark, algorithm):
    sender, receiver = transfer(seed, mark=mark, loss=loss, option=option, beacon=beacon, algorithm=algorithm)
    assert sender["delivered_ce"] == receiver["received_ce"] > 0
    assert (sender["told_e1"], sender["told_e0"], sender["told_ceb"]) == (0, receiver["came_e0"], receiver["came_ceb"])
    assert receiver["came_e0"] + receiver["came_ceb"] >= SIZE
    assert sender["failures"] == receiver["failures"] == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("mark", [0.02, 0.2, 1.0])
def test_without_options_it_never_believes_too_few(seed, mark):
    """Where the counter may have wrapped the safe side is more marks, by whole turns of the counter."""
    sender, receiver = transfer(seed, mark=mark, option=0)
    more = sender["delivered_ce"] - receiver["received_ce"]
    assert more >= 0 and more % 8 == 0
    assert (sender["told_e0"], sender["told_ceb"]) == (0, 0)


def test_ipv6_has_the_same_bits():
    sender, receiver = transfer(1, mark=0.2, net="fd00::{}/64")
    assert sender["delivered_ce"] == receiver["received_ce"] > 0
    assert sender["told_ceb"] == receiver["came_ceb"]


def test_nothing_is_marked_where_nothing_is():
    sender, receiver = transfer(1, mark=0.0)
    assert (sender["delivered_ce"], receiver["received_ce"]) == (0, 0)
    assert sender["told_e0"] == receiver["came_e0"] == SIZE
