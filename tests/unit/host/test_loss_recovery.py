"""Fast recovery over a link that loses: once an episode, undone for a reason only, no reordering seen where none is."""

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.host.host import Host
from timewait.host.process import Process
from timewait.world.link import Link
from timewait.world.network import World


def connected() -> tuple[World, Link, Host, Process, int, Process, int]:
    """A sender and a receiver 10 ms apart, there and back, with a connection between them."""
    world = World(1)
    a, b = world.host("a", "10.0.0.1/24"), world.host("b", "10.0.0.2/24")
    # With a rate no two packets arrive at the same instant, at which RACK would take one for overtaken.
    link = world.link(a, b, delay=5 * MSEC, rate=100_000_000)
    client, server = a.process(), b.process()
    listener = server.socket(2, 1)
    server.bind(listener, ("10.0.0.2", 80))
    server.listen(listener)
    fd = client.socket(2, 1)
    with pytest.raises(BlockingIOError):
        client.connect(fd, ("10.0.0.2", 80))
    world.run(SEC)
    return world, link, a, client, fd, server, server.accept(listener)[0]


def transfer(world: World, client: Process, fd: int, server: Process, far: int, octets: int) -> None:
    """Send so much as fast as it goes, and see that it arrives; at most 60 s."""
    data = bytes(range(256)) * (octets // 256)
    sent, got = 0, bytearray()
    until = world.now + 60 * SEC
    while len(got) < len(data) and world.now < until:
        try:
            sent += client.send(fd, data[sent:]) if sent < len(data) else 0
        except BlockingIOError:
            pass
        world.run(MSEC)
        try:
            got += server.recv(far, 1 << 20)
        except BlockingIOError:
            pass
    assert got == data


def test_one_loss_is_one_recovery_with_one_retransmission() -> None:
    world, link, a, client, fd, server, far = connected()
    link.drop("fifth data from a")
    transfer(world, client, fd, server, far, 512_000)
    counters = a.counters
    assert counters.TcpRetransSegs == counters.TcpExtTCPFastRetrans == 1
    assert counters.TcpExtTCPSackRecovery == 1
    # The retransmission under way is no sign that it was needless.
    assert counters.TcpExtTCPDSACKUndo == counters.TcpExtTCPFullUndo == 0


def test_an_acknowledgment_lost_on_the_way_back_is_no_reordering() -> None:
    world, link, a, client, fd, server, far = connected()
    link.drop("fifth data from a")
    link.drop("ninth data from a")
    # The SACK that would have told of the first island: the next one has two blocks, the newest first.
    for which in ("6th", "7th", "8th", "9th"):
        link.drop(f"{which} ACK from b")
    transfer(world, client, fd, server, far, 512_000)
    assert a.counters.TcpExtTCPFastRetrans >= 2
    assert a.counters.TcpExtTCPSACKReorder == 0


def test_random_loss_without_reordering() -> None:
    world, link, a, client, fd, server, far = connected()
    link.lossy(0.05)
    transfer(world, client, fd, server, far, 1_024_000)
    counters = a.counters
    assert counters.TcpExtTCPSACKReorder == 0
    # Recovery begins with a loss that is repaired; one episode may repair several.
    assert 0 < counters.TcpExtTCPSackRecovery <= counters.TcpExtTCPFastRetrans
    assert counters.TcpExtTCPFastRetrans + counters.TcpExtTCPSlowStartRetrans <= counters.TcpRetransSegs


def test_reordering_is_seen_where_it_is() -> None:
    world, link, a, client, fd, server, far = connected()
    link.reorder(0.1, by=MSEC)
    transfer(world, client, fd, server, far, 1_024_000)
    assert a.counters.TcpExtTCPSACKReorder > 0
