"""Fast open is given up for a while where something swallows it (tcp_fastopen_blackhole_timeout_sec)."""

import errno
import socket

import pytest

from support.peer import PEER, both
from timewait.host.sockopt import MSG_FASTOPEN, TCP_INFO
from timewait.tcp.info import unpack_info

V4 = "net.ipv4."
COOKIE = b"abcdefgh"
MSS = 1000
PAUSES = {V4 + "tcp_fastopen_blackhole_timeout_sec": 1}
COUNTER = "TcpExtTCPFastOpenBlackhole"


def open_fast(peer, local, data=b"hello"):
    """sendto(MSG_FASTOPEN) from a port: the descriptor and the SYN."""
    peer.outgoing(local, 80)
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.app.bind(fd, ("0.0.0.0", local))
    peer.attempt(peer.app.sendto, fd, data, (PEER, 80), MSG_FASTOPEN)
    (syn,) = [each for each in peer.take() if each.startswith("S ")]
    return fd, syn


def taught(peer):
    """The host has a cookie."""
    fd, syn = open_fast(peer, 40_100)
    assert syn.segment.fast_open == b""
    peer.inject("SA", seq=0, ack=1, mss=MSS, fast_open=COOKIE)
    peer.inject("R", seq=1)
    peer.app.close(fd)


def with_data(peer, local):
    """A connection whose SYN carried data, which the SYN-ACK takes."""
    fd, syn = open_fast(peer, local)
    assert (syn.segment.fast_open, syn.segment.length) == (COOKIE, 5)
    peer.inject("SA", seq=0, ack=6, mss=MSS)
    return fd


def is_paused(peer, local):
    """Whether the next SYN is a plain one."""
    fd, syn = open_fast(peer, local)
    peer.inject("RA", seq=0, ack=1)
    peer.app.close(fd)
    return syn.segment.fast_open is None and syn.segment.length == 0


@both
def test_a_reset_out_of_order_pauses_fast_open(peers):
    peer = peers(PAUSES)
    taught(peer)
    with_data(peer, 40_200)
    peer.inject("R", seq=50)
    assert peer.counter(COUNTER) == 1
    assert is_paused(peer, 40_300)
    peer.run(1.1)
    assert not is_paused(peer, 40_400)


@both
def test_the_pause_doubles(peers):
    peer = peers(PAUSES)
    taught(peer)
    with_data(peer, 40_200)
    peer.inject("R", seq=50)
    peer.run(1.1)
    with_data(peer, 40_300)
    peer.inject("R", seq=50)
    assert peer.counter(COUNTER) == 2
    peer.run(1.3)
    assert is_paused(peer, 40_400)
    peer.run(1.0)
    assert not is_paused(peer, 40_500)


@both
def test_a_fin_alone_out_of_order_pauses_fast_open(peers):
    peer = peers(PAUSES)
    taught(peer)
    fd = with_data(peer, 40_200)
    peer.inject("FA", seq=50, ack=6)
    peer.inject("R", seq=1)
    peer.app.close(fd)
    peer.take()
    assert peer.counter(COUNTER) == 1
    assert is_paused(peer, 40_300)


@both
def test_data_that_came_through_is_no_black_hole(peers):
    peer = peers(PAUSES)
    taught(peer)
    with_data(peer, 40_200)
    peer.inject("PA", seq=1, ack=6, data=10)
    peer.inject("R", seq=500)
    assert peer.counter(COUNTER) == 0
    assert not is_paused(peer, 40_300)


@both
def test_without_the_parameter_nothing_is_given_up(peers):
    peer = peers()
    taught(peer)
    with_data(peer, 40_200)
    peer.inject("R", seq=50)
    assert peer.counter(COUNTER) == 0
    assert not is_paused(peer, 40_300)


@both
def test_the_third_timeout_pauses_fast_open(peers):
    peer = peers({V4 + "tcp_fastopen_blackhole_timeout_sec": 60})
    taught(peer)
    fd = with_data(peer, 40_200)
    peer.app.send(fd, bytes(500))
    assert peer.wait_for(lambda: peer.counter(COUNTER) == 1, 12)
    assert is_paused(peer, 40_300)
    assert peer.counter("TcpExtTCPFastOpenActiveFail") == 1


@both
@pytest.mark.parametrize(("ack", "failure"), [(1, 2), (6, 0)])
def test_tcp_info_says_why_data_was_not_taken(peers, ack, failure):
    peer = peers()
    fd, _ = open_fast(peer, 40_100)
    assert unpack_info(peer.app.getsockopt(fd, 6, TCP_INFO, 280))["tcpi_fastopen_client_fail"] == 1
    peer.inject("SA", seq=0, ack=1, mss=MSS, fast_open=COOKIE)
    fd, _ = open_fast(peer, 40_200)
    peer.inject("SA", seq=0, ack=ack, mss=MSS)
    assert unpack_info(peer.app.getsockopt(fd, 6, TCP_INFO, 280))["tcpi_fastopen_client_fail"] == failure


@both
def test_connect_with_fast_open_connect_is_not_deferred_in_a_pause(peers):
    peer = peers(PAUSES)
    taught(peer)
    with_data(peer, 40_200)
    peer.inject("R", seq=50)
    peer.outgoing(40_300, 80)
    fd = peer.app.socket(socket.AF_INET, socket.SOCK_STREAM)
    peer.app.bind(fd, ("0.0.0.0", 40_300))
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, 30, 1)
    assert peer.attempt(peer.app.connect, fd, (PEER, 80)) == errno.errorcode[errno.EINPROGRESS]
    (syn,) = peer.take()
    assert syn.segment.fast_open is None
