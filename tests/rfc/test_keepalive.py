"""Keepalive: probes, answers, the end (KA-01 to KA-10)."""

import socket

import pytest

from support.ends import SOL_SOCKET, TCP, opened, timed, times
from support.peer import PEER, both
from timewait.wire import icmp
from timewait.wire.address import pack
from timewait.wire.serialize import serialize

TIME, INTVL, PROBES = (f"net.ipv4.tcp_keepalive_{name}" for name in ("time", "intvl", "probes"))
PROBE = "A 0:0 ack 1"
SMALL = {TIME: 2, INTVL: 1, PROBES: 3}


def keep(peer, fd, idle=0, interval=0, count=0):
    for name, value in ((socket.TCP_KEEPIDLE, idle), (socket.TCP_KEEPINTVL, interval), (socket.TCP_KEEPCNT, count)):
        if value:
            peer.app.setsockopt(fd, TCP, name, value)
    peer.app.setsockopt(fd, SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.reset_watch()


@timed
def test_a_dead_peer(peers):
    peer = peers(SMALL)
    fd = opened(peer)
    keep(peer, fd)
    seen = peer.run(5.6)
    assert times(seen[:-1], PROBE) == peer.about(2, 3, 4)
    assert seen[-1] == "RA 1:1 ack 1"
    assert [seen[-1].at] == peer.about(5)
    assert peer.state() == ""
    assert peer.attempt(peer.app.recv, fd, 10) == "ETIMEDOUT"
    assert peer.counter("TcpExtTCPKeepAlive") == 3
    assert peer.counter("TcpExtTCPAbortOnTimeout") == 1


@timed
def test_a_living_peer(peers):
    peer = peers(SMALL)
    fd = opened(peer)
    keep(peer, fd)
    at = []
    for number in range(3):
        assert peer.wait_for(lambda: peer.fresh, 3)
        seen = peer.take()
        assert seen == [PROBE]
        at.append(seen[0].at)
        assert peer.inject("A", seq=1, ack=1) == [], number
    assert at == peer.about(2, 4, 6)
    assert peer.state() == "ESTAB"


@timed
def test_a_rebooted_peer(peers):
    peer = peers()
    fd = opened(peer)
    keep(peer, fd, 1)
    assert peer.wait_for(lambda: peer.fresh, 3)
    assert peer.take() == [PROBE]
    assert peer.inject("R", seq=1) == []
    assert peer.attempt(peer.app.recv, fd, 10) == "ECONNRESET"


@timed
def test_nothing_happens_without_so_keepalive(peers):
    peer = peers({TIME: 1, INTVL: 1, PROBES: 1})
    opened(peer)
    assert peer.run(4) == []
    assert peer.state() == "ESTAB"


@timed
def test_data_in_flight_replaces_probes(peers):
    peer = peers({TIME: 1, INTVL: 1, PROBES: 1, "net.ipv4.tcp_early_retrans": 0})
    fd = opened(peer)
    keep(peer, fd)
    peer.app.send(fd, bytes(10))
    assert set(peer.run(4)) == {"PA 1:11 ack 1"}
    assert peer.state() == "ESTAB"


@timed
def test_data_that_arrives_restarts_the_clock(peers):
    peer = peers()
    fd = opened(peer)
    keep(peer, fd, 2)
    peer.run(1)
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    seen = peer.run(2.4)
    assert times(seen, "A 0:0 ack 11") == peer.about(3)


@timed
def test_what_was_idle_already_counts(peers):
    peer = peers()
    fd = opened(peer)
    peer.reset_watch()
    peer.run(1.2)
    peer.app.setsockopt(fd, SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.app.setsockopt(fd, TCP, socket.TCP_KEEPIDLE, 2)
    assert times(peer.run(1.3), PROBE) == peer.about(2)


@timed
def test_switched_off_in_time(peers):
    peer = peers()
    fd = opened(peer)
    keep(peer, fd, 1, 1, 1)
    peer.run(0.5)
    peer.app.setsockopt(fd, SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    assert peer.run(3) == []
    assert peer.state() == "ESTAB"


@timed
def test_the_user_timeout_replaces_the_count(peers):
    peer = peers()
    fd = opened(peer)
    keep(peer, fd, 1, 1, 9)
    peer.app.setsockopt(fd, TCP, socket.TCP_USER_TIMEOUT, 2500)
    seen = peer.run(3.6)
    assert times(seen[:-1], PROBE) == peer.about(1, 2)
    assert seen[-1] == "RA 1:1 ack 1"
    assert [seen[-1].at] == peer.about(3)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
def test_an_icmp_error_about_a_probe_is_no_answer(peers):
    """Its number lies before SND.UNA: tcp_v4_err takes the error for a forgery, and ETIMEDOUT stays ETIMEDOUT."""
    peer = peers()
    fd = opened(peer)
    keep(peer, fd, 1, 1, 2)
    for _ in range(2):
        assert peer.wait_for(lambda: peer.fresh, 3)
        (probe,) = peer.take()
        peer.put(icmp.error(probe.packet, serialize(probe.packet), pack(PEER), icmp.UNREACHABLE, 1))
    assert peer.wait_for(lambda: peer.fresh, 3)
    assert peer.take() == ["RA 1:1 ack 1"]
    assert peer.error(fd) == "ETIMEDOUT"
    assert peer.counter("TcpExtOutOfWindowIcmps") == 2


@timed
def test_accepted_sockets_inherit_keepalive(peers):
    peer = peers()
    listener = peer.listen()
    keep(peer, listener, 1, 2, 1)
    peer.handshake()
    fd = peer.accept(listener)
    peer.reset_watch()
    seen = peer.run(3.6)
    assert times(seen[:-1], PROBE) == peer.about(1)
    assert seen[-1] == "RA 1:1 ack 1"
    assert [seen[-1].at] == peer.about(3)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
@pytest.mark.parametrize("state", ["CLOSE-WAIT", "FIN-WAIT-2"])
def test_keepalive_ends_half_closed_connections(peers, state):
    peer = peers()
    fd = opened(peer)
    if state == "CLOSE-WAIT":
        peer.inject("FA", seq=1)
        peer.run(0.06)
    else:
        peer.app.shutdown(fd, socket.SHUT_WR)
        peer.take()
        peer.inject("A", seq=1, ack=2)
    assert peer.state() == state
    keep(peer, fd, 1, 1, 1)
    seen = peer.run(2.6)
    assert seen == (["A 0:0 ack 2", "RA 1:1 ack 2"] if state == "CLOSE-WAIT" else ["A 1:1 ack 1", "RA 2:2 ack 1"])
    assert peer.state() == ""
    assert peer.error(fd) == "ETIMEDOUT"


@both
def test_options_are_checked_and_default_to_the_sysctls(peers):
    peer = peers()
    fd = peer.app.socket(2, 1)
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    assert [peer.app.getsockopt(fd, TCP, name) for name in names] == [7200, 75, 9]
    for name, most in zip(names, (32767, 32767, 127), strict=True):
        assert peer.attempt(peer.app.setsockopt, fd, TCP, name, 0) == "EINVAL"
        assert peer.attempt(peer.app.setsockopt, fd, TCP, name, most + 1) == "EINVAL"
        peer.app.setsockopt(fd, TCP, name, most)
        assert peer.app.getsockopt(fd, TCP, name) == most


def test_the_defaults_take_two_hours_eleven_minutes_fifteen_seconds(peers):
    peer = peers()
    fd = opened(peer)
    keep(peer, fd)
    seen = peer.run(8000)
    assert times(seen[:-1], PROBE) == peer.about(*range(7200, 7801, 75))
    assert [seen[-1].at] == peer.about(7875)
    assert peer.error(fd) == "ETIMEDOUT"


def test_silence_for_ten_hours_without_keepalive(peers):
    peer = peers()
    opened(peer)
    assert peer.run(36000) == []
    assert peer.state() == "ESTAB"
