"""What a program is told when its connection ends badly, and options set on a listener that listens already."""

import errno
import socket

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Setting
from timewait.lab.frame import Lab, T
from timewait.lab.judge import segment


def bench() -> Bench:
    text = T("a test", "测试")
    made = Lab(
        "TEST-1", lambda bench: bench.verdict(text), title=text, claim=text, truth="true", source="RFC 9293", why=text,
        practice=text, on=("sim",), variants={}, rtt=20 * MSEC, sysctl={}, live={}, topology="pair",
        profile="linux-6.18",
    )  # fmt: skip
    return Bench(made, Setting())


def reset_pair() -> tuple[Bench, object, int]:
    """A connection that the client has reset: close() with unread data."""
    world = bench()
    pair = world.open()
    pair.server.send(pair.sfd, b"unread")
    world.run(100 * MSEC)
    pair.client.close(pair.cfd)
    world.run(100 * MSEC)
    return world, pair.server, pair.sfd


@pytest.mark.parametrize("call", ["recv", "send"])
def test_a_reset_is_reported_once(call: str) -> None:
    _, server, fd = reset_pair()

    def again() -> object:
        return server.recv(fd, 10) if call == "recv" else server.send(fd, b"x")

    with pytest.raises(ConnectionResetError):
        again()
    if call == "recv":
        assert again() == b""
    else:
        with pytest.raises(BrokenPipeError):
            again()


def test_so_error_takes_the_error() -> None:
    _, server, fd = reset_pair()
    assert server.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert server.getsockopt(fd, socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert server.recv(fd, 10) == b""


def test_max_segment_size_may_be_set_on_a_listener_that_listens() -> None:
    world = bench()
    server, client = world.program("server"), world.program("client")
    listener = world.listen(server)
    server.setsockopt(listener, socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    world.connect(client)
    world.run(SEC)
    assert segment(world.sent("server", flags="SA")[0]).mss == 1000


@pytest.mark.parametrize("no_discovery", [0, 1])
def test_segments_may_be_fragmented_without_path_mtu_discovery(no_discovery: int) -> None:
    world = bench()
    for host in ("client", "server"):
        world.set_sysctl(host, "net.ipv4.ip_no_pmtu_disc", no_discovery)
    pair = world.open()
    pair.client.send(pair.cfd, b"x")
    world.run(SEC)
    assert {entry.packet.dont_fragment for entry in world.sent()} == {not no_discovery}


@pytest.mark.parametrize(("timeout", "expected"), [(3000, 3200), (2000, 2200)])
def test_user_timeout_ends_on_time_and_not_at_the_next_retransmission(timeout: int, expected: int) -> None:
    """Measured on Linux 6.18: TCP_USER_TIMEOUT=3000 gives ETIMEDOUT after 3.2 s, the first timeout included."""
    world = bench()
    world.set_sysctl("client", "net.ipv4.tcp_early_retrans", 0)
    world.link.configure(delay=0)
    pair = world.open()
    pair.client.setsockopt(pair.cfd, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
    world.drop("every data")
    begun = world.now
    pair.client.send(pair.cfd, b"x")
    world.until(lambda: pair.client.poll([(pair.cfd, 1)]), "the end")
    assert world.error(pair.client, pair.cfd) == "ETIMEDOUT"
    assert abs(world.now - begun - expected * MSEC) <= 2 * MSEC
