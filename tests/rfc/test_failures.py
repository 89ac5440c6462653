"""Crashes, silence, unreachable networks, closed windows (FAIL-01 to FAIL-07, RFC 1122 4.2.3.9, RFC 5482, RFC 6069)."""

import socket
from itertools import pairwise

import pytest

from support.ends import TCP, ends, opened, timed, times
from support.peer import PEER, both
from timewait.wire import icmp
from timewait.wire.address import pack
from timewait.wire.serialize import serialize

NO_TLP = {"net.ipv4.tcp_early_retrans": 0}
"""Without tail loss probes the first retransmission is the RTO's."""
DATA = "PA 1:11 ack 1"
PROBE = "A 0:0 ack 1"
UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM = icmp.UNREACHABLE, icmp.TIME_EXCEEDED, icmp.PARAMETER_PROBLEM


def complain(peer, seen, kind, code, rest=0, seq=None):
    """An ICMP error about a segment the host sent; `seq` is added to the number it quotes."""
    about = seen.segment.copy()
    about.seq = (about.seq + (seq or 0)) % 2**32
    return peer.put(icmp.error(about, serialize(about), pack(PEER), kind, code, rest=rest))


# Programs and hosts that crash


@both
def test_a_killed_program_is_closed_by_the_kernel(peers):
    peer = peers()
    opened(peer)
    peer.app.kill()
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"


@both
def test_a_killed_program_with_unread_data_resets(peers):
    peer = peers()
    opened(peer)
    peer.inject("PA", seq=1, data=10)
    peer.app.kill()
    assert peer.take() == ["RA 1:1 ack 11"]


@both
def test_a_program_that_exits_sends_fin(peers):
    peer = peers()
    opened(peer)
    peer.app.exit()
    assert peer.take() == ["FA 1:1 ack 1"]


@both
@pytest.mark.parametrize("listening", [False, True])
def test_a_rebooted_host_resets_whatever_comes(peers, listening):
    peer = peers()
    if listening:
        peer.listen()
    peer.flow.irs = 5000
    assert peer.inject("PA", seq=1, ack=101, data=10) == ["R 101:101"]


@both
def test_a_reset_for_data_in_flight(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.send(fd, bytes(10))
    assert peer.take() == [DATA]
    assert peer.inject("R", seq=1) == []
    assert peer.attempt(peer.app.recv, fd, 10) == "ECONNRESET"
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"


def test_a_vanished_peer_is_not_noticed_without_data(peers):
    peer = peers()
    opened(peer)
    assert peer.run(86400) == []
    assert peer.state() == "ESTAB"


@timed
def test_data_into_silence_until_tcp_retries2(peers):
    peer = peers({**NO_TLP, "net.ipv4.tcp_retries2": 3})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    end = ends(peer, 9)
    assert times(peer.run(0.5), DATA) == peer.about(0, 0.2, 0.6, 1.4, 3.0)
    assert [end] == peer.about(6.21)
    assert peer.attempt(peer.app.recv, fd, 10) == "ETIMEDOUT"
    assert peer.counter("TcpOutRsts") == 0


@timed
def test_silence_that_ends_in_time(peers):
    peer = peers(NO_TLP)
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    assert times(peer.run(2), DATA) == peer.about(0, 0.2, 0.6, 1.4)
    assert peer.wait_for(lambda: peer.fresh, 3)
    assert times(peer.take(), DATA) == peer.about(3.0)
    assert peer.inject("A", seq=1, ack=11) == []
    peer.app.send(fd, bytes(5))
    assert peer.take() == ["PA 11:16 ack 1"]


# TCP_USER_TIMEOUT


@timed
def test_the_user_timeout_ends_data_in_flight(peers):
    peer = peers(NO_TLP)
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_USER_TIMEOUT, 1000)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    end = ends(peer, 5)
    assert times(peer.run(0.3), DATA) == peer.about(0, 0.2, 0.6)
    # Counted from the first retransmission, and the last wait is cut short.
    assert [end] == peer.about(1.21)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
def test_the_user_timeout_may_be_longer_than_the_retries(peers):
    peer = peers({**NO_TLP, "net.ipv4.tcp_retries2": 1})
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_USER_TIMEOUT, 3000)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    end = ends(peer, 6)
    assert times(peer.run(0.3), DATA) == peer.about(0, 0.2, 0.6, 1.4, 3.0)
    assert [end] == peer.about(3.21)


# Zero windows


def shut(peer, fd, count=10):
    """The peer closes its window, then the program writes."""
    assert peer.inject("A", seq=1, ack=1, window=0) == []
    peer.reset_watch()
    assert peer.app.send(fd, bytes(count)) == count


@timed
def test_a_closed_window_is_probed(peers):
    peer = peers()
    fd = opened(peer)
    shut(peer, fd)
    seen = peer.run(2)
    assert times(seen, PROBE) == peer.about(0.2, 0.6, 1.4)
    assert peer.counter("TcpExtTCPWinProbe") == 3
    assert peer.inject("A", seq=1, ack=1, window=100) == [DATA]


@timed
def test_answered_probes_keep_the_connection_and_their_pace(peers):
    peer = peers({"net.ipv4.tcp_retries2": 2})
    fd = opened(peer)
    shut(peer, fd)
    at = []
    for _ in range(4):
        assert peer.wait_for(lambda: peer.fresh, 5)
        seen = peer.take()
        assert seen == [PROBE]
        at.append(seen[0].at)
        assert peer.inject("A", seq=1, ack=1, window=0) == []
    # The interval stops growing at tcp_retries2 doublings.
    assert [b - a for a, b in pairwise(at)] == peer.about(0.4, 0.8, 0.8)
    assert peer.state() == "ESTAB"


@timed
def test_unanswered_probes_end_it_after_tcp_retries2(peers):
    peer = peers({"net.ipv4.tcp_retries2": 2})
    fd = opened(peer)
    shut(peer, fd)
    end = ends(peer, 5)
    assert times(peer.run(0.3), PROBE) == peer.about(0.2, 0.6)
    assert [end] == peer.about(1.41)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
def test_an_orphan_probes_by_tcp_orphan_retries(peers):
    peer = peers({"net.ipv4.tcp_orphan_retries": 1})
    fd = opened(peer)
    shut(peer, fd)
    peer.app.close(fd)
    end = ends(peer, 5)
    assert times(peer.run(0.3), PROBE) == peer.about(0.2)
    assert [end] == peer.about(0.61)


@timed
def test_the_user_timeout_ends_probing_even_if_answered(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_USER_TIMEOUT, 1000)
    shut(peer, fd)
    while peer.state() and peer.now < 4:
        if peer.run(0.02):
            peer.inject("A", seq=1, ack=1, window=0)
    assert [peer.now] == peer.about(1.21)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
def test_a_part_of_the_data_fits_the_window(peers):
    peer = peers()
    fd = opened(peer)
    # A smaller window counts only from a segment behind the last that was believed (SND.WL1).
    assert peer.inject("PA", seq=1, ack=1, data=1) == ["A 1:1 ack 2"]
    assert peer.inject("A", seq=2, ack=1, window=4) == []
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    seen = peer.run(0.25)
    assert seen == ["PA 1:5 ack 2"]
    assert [seen[0].at] == peer.about(0.2)


# ICMP errors


@both
@pytest.mark.parametrize(
    ("kind", "code", "error"),
    [
        (UNREACHABLE, 0, "ENETUNREACH"),
        (UNREACHABLE, 1, "EHOSTUNREACH"),
        (UNREACHABLE, 2, "ENOPROTOOPT"),
        (UNREACHABLE, 3, "ECONNREFUSED"),
        (UNREACHABLE, 13, "EHOSTUNREACH"),
        (TIME_EXCEEDED, 0, "EHOSTUNREACH"),
        (PARAMETER_PROBLEM, 0, "EPROTO"),
    ],
)
def test_an_error_ends_a_connection_attempt(peers, kind, code, error):
    peer = peers()
    fd = peer.connect()
    (syn,) = peer.take()
    assert complain(peer, syn, kind, code) == []
    assert peer.error(fd) == error
    assert peer.states() == []


@both
def test_source_quench_and_foreign_numbers_are_ignored(peers):
    peer = peers()
    fd = peer.connect()
    (syn,) = peer.take()
    assert complain(peer, syn, icmp.SOURCE_QUENCH, 0) == []
    assert complain(peer, syn, UNREACHABLE, 3, seq=5) == []
    assert peer.counter("TcpExtOutOfWindowIcmps") == 1
    assert complain(peer, syn, UNREACHABLE, 99) == []
    assert peer.error(fd) == ""
    assert peer.state() == "SYN-SENT"


@timed
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(("code", "error"), [(1, "EHOSTUNREACH"), (3, "ECONNREFUSED"), (2, "ENOPROTOOPT")])
def test_an_error_is_only_remembered_once_connected(peers, code, error, asked):
    peer = peers({**NO_TLP, "net.ipv4.tcp_retries2": 1})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    (data,) = peer.take()
    assert complain(peer, data, UNREACHABLE, code) == []
    assert peer.state() == "ESTAB"
    assert peer.attempt(peer.app.recv, fd, 10) == "EAGAIN"
    if asked:
        # SO_ERROR takes the remembered error too.
        assert peer.error(fd) == error
        assert peer.error(fd) == ""
    end = ends(peer, 5)
    assert [end] == peer.about(1.41)
    # ETIMEDOUT is replaced by what the network said.
    assert peer.error(fd) == ("ETIMEDOUT" if asked else error)


@both
def test_an_acknowledgment_forgets_the_error(peers):
    peer = peers({**NO_TLP})
    fd = opened(peer)
    peer.app.send(fd, bytes(10))
    (data,) = peer.take()
    complain(peer, data, UNREACHABLE, 1)
    assert peer.inject("A", seq=1, ack=11) == []
    peer.app.setsockopt(fd, TCP, socket.TCP_USER_TIMEOUT, 100)
    peer.app.send(fd, bytes(10))
    peer.run(0.6)
    assert peer.error(fd) == "ETIMEDOUT"


@both
@pytest.mark.parametrize(("code", "kept"), [(0, False), (1, False), (3, True)])
def test_an_error_about_a_syn_ack(peers, code, kept):
    peer = peers()
    peer.listen()
    (syn_ack,) = peer.inject("S", mss=1460)
    assert complain(peer, syn_ack, UNREACHABLE, code) == []
    assert peer.state() == ("SYN-RECV" if kept else "")


@both
def test_fragmentation_needed_makes_segments_smaller(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.send(fd, bytes(1400))
    (data,) = peer.take()
    assert data == "PA 1:1401 ack 1"
    assert complain(peer, data, UNREACHABLE, 4, rest=1000) == ["A 1:961 ack 1", "PA 961:1401 ack 1"]
    assert peer.state() == "ESTAB"
    assert peer.app.getsockopt(fd, TCP, socket.TCP_MAXSEG) == 960


@both
def test_fragmentation_needed_has_a_floor(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.send(fd, bytes(1400))
    (data,) = peer.take()
    complain(peer, data, UNREACHABLE, 4, rest=68)
    # min_pmtu: 552 less 40.
    assert peer.app.getsockopt(fd, TCP, socket.TCP_MAXSEG) == 512


@both
def test_fragmentation_needed_about_foreign_numbers(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.send(fd, bytes(1400))
    (data,) = peer.take()
    assert complain(peer, data, UNREACHABLE, 4, rest=1000, seq=5000) == []
    assert peer.app.getsockopt(fd, TCP, socket.TCP_MAXSEG) == 1460


@timed
def test_unreachable_undoes_a_doubling(peers):
    """RFC 6069: a retransmission that the network could not deliver says nothing about congestion."""
    peer = peers({**NO_TLP})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    seen = peer.run(0.8)
    assert times(seen, DATA) == peer.about(0, 0.2, 0.6)
    # The next would come at 1.4; with one doubling less it is due 0.4 s after the last.
    complain(peer, seen[-1], UNREACHABLE, 1)
    seen = peer.run(0.4)
    assert times(seen, DATA) == peer.about(1.0)


@timed
def test_a_port_unreachable_does_not(peers):
    peer = peers({**NO_TLP})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    seen = peer.run(0.8)
    complain(peer, seen[-1], UNREACHABLE, 3)
    assert times(peer.run(0.8), DATA) == peer.about(1.4)


@both
def test_errors_leave_records_alone(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    (fin,) = peer.take()
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert complain(peer, fin, UNREACHABLE, 3) == []
    assert peer.state() == "TIME-WAIT"
