"""How a connection ends: FINs, half-close, resets, giving up (CLS-01 to CLS-26)."""

import socket
import struct

import pytest

from support.ends import SHUT_WR, SOL_SOCKET, TCP, ends, fin_wait_2, half_closed, opened, time_wait, timed, times
from support.peer import both

RETRIES = "net.ipv4.tcp_orphan_retries"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
LINGER_0 = (SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# The four segments


@both
def test_four_segments_from_the_closing_side(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.state() == "FIN-WAIT-1"
    assert peer.inject("A", seq=1, ack=2) == []
    assert peer.state() == "FIN-WAIT-2"
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"


@both
def test_four_segments_from_the_other_side(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.inject("PA", seq=1, data=5) == ["A 1:1 ack 6"]
    assert peer.inject("FA", seq=6) == []
    assert peer.run(0.06) == ["A 1:1 ack 7"]
    assert peer.state() == "CLOSE-WAIT"
    assert peer.app.recv(fd, 100) == bytes(range(5))
    assert peer.app.recv(fd, 100) == b""
    assert peer.app.recv(fd, 100) == b"", "the end of the stream stays"
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 7"]
    assert peer.state() == "LAST-ACK"
    assert peer.inject("A", seq=7, ack=2) == []
    assert peer.state() == ""


@both
def test_a_fin_rides_on_the_last_data(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_CORK, 1)
    peer.app.send(fd, bytes(10))
    assert peer.take() == []
    peer.app.close(fd)
    assert peer.take() == ["FPA 1:11 ack 1"]
    assert peer.inject("FA", seq=1, ack=12) == ["A 12:12 ack 2"]
    assert peer.state() == "TIME-WAIT"


@both
def test_half_close_still_receives(peers):
    peer = peers()
    fd = opened(peer)
    fin_wait_2(peer, fd, close=False)
    for start in (1, 101, 201):
        assert peer.inject("PA", seq=start, ack=2, data=100) == [f"A 2:2 ack {start + 100}"]
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"
    assert len(peer.app.recv(fd, 1000)) == 300
    assert peer.inject("FA", seq=301, ack=2) == ["A 2:2 ack 302"]
    assert peer.state() == "TIME-WAIT"
    assert peer.app.recv(fd, 10) == b""


@both
def test_shutdown_of_the_receiving_side_sends_nothing(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.shutdown(fd, socket.SHUT_RD)
    assert peer.take() == []
    assert peer.state() == "ESTAB"
    assert peer.app.recv(fd, 10) == b""
    # What comes is still taken, and can be read.
    assert peer.inject("PA", seq=1, data=5) == ["A 1:1 ack 6"]
    assert len(peer.app.recv(fd, 10)) == 5
    peer.app.send(fd, b"x")
    assert peer.take() == ["PA 1:2 ack 6"]


@both
def test_close_waits_for_the_last_reference(peers):
    peer = peers()
    fd = opened(peer)
    child = peer.app.fork("child")
    peer.app.close(fd)
    assert peer.take() == []
    child.send(fd, b"x")
    assert peer.take() == ["PA 1:2 ack 1"]
    child.exit()
    assert peer.take() == ["FA 2:2 ack 1"]


@both
def test_shutdown_does_not_wait_for_other_references(peers):
    peer = peers()
    fd = opened(peer)
    child = peer.app.fork("child")
    peer.app.shutdown(fd, SHUT_WR)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.attempt(child.send, fd, b"x") == "EPIPE"


@both
def test_shutdown_twice_and_when_nothing_is_left(peers):
    peer = peers()
    fd = opened(peer)
    fin_wait_2(peer, fd, close=False)
    peer.app.shutdown(fd, SHUT_WR)
    assert peer.take() == []
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.attempt(peer.app.shutdown, fd, SHUT_WR) == "ENOTCONN"


@both
def test_simultaneous_close(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("FA", seq=1, ack=1) == ["A 2:2 ack 2"]
    assert peer.state() == "CLOSING"
    assert peer.inject("A", seq=2, ack=2) == []
    assert peer.state() == "TIME-WAIT"


@both
def test_fin_with_the_ack_of_ours_skips_fin_wait_2(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    peer.take()
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"


@both
def test_data_in_close_wait_after_the_fin_is_ignored(peers):
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    assert peer.inject("PA", seq=2, data=10) == []
    assert peer.state() == "CLOSE-WAIT"
    assert peer.app.recv(fd, 10) == b""


@both
def test_a_repeated_fin_in_close_wait_is_acknowledged_again(peers):
    peer = peers()
    fd = opened(peer, sack_ok=True)
    half_closed(peer, fd)
    assert peer.inject("FA", seq=1) == ["A 1:1 ack 2 sack 1-2"]
    assert peer.state() == "CLOSE-WAIT"


# Out of order


@both
def test_a_fin_ahead_of_data_waits_for_it(peers):
    peer = peers()
    fd = opened(peer, sack_ok=True)
    fin_wait_2(peer, fd, close=False)
    assert peer.inject("FA", seq=11, ack=2) == ["A 2:2 ack 1 sack 11-12"]
    assert peer.state() == "FIN-WAIT-2"
    # The acknowledgment of the FIN leaves before the island is forgotten.
    assert peer.inject("PA", seq=1, ack=2, data=10) == ["A 2:2 ack 12 sack 11-12"]
    assert peer.state() == "TIME-WAIT"
    assert len(peer.app.recv(fd, 100)) == 10
    assert peer.app.recv(fd, 100) == b""


@both
def test_a_fin_ahead_of_data_in_established(peers):
    peer = peers()
    fd = opened(peer, sack_ok=True)
    assert peer.inject("FA", seq=11) == ["A 1:1 ack 1 sack 11-12"]
    assert peer.state() == "ESTAB"
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 12"]
    assert peer.state() == "CLOSE-WAIT"
    assert len(peer.app.recv(fd, 100)) == 10
    assert peer.app.recv(fd, 100) == b""


@both
def test_a_fin_ahead_of_data_meets_an_orphan(peers):
    peer = peers()
    fd = opened(peer, sack_ok=True)
    fin_wait_2(peer, fd, close=True)
    assert peer.inject("FA", seq=11, ack=2) == ["R 2:2"]
    assert peer.state() == ""


@both
def test_data_behind_the_fin_is_dropped_with_it(peers):
    peer = peers()
    fd = opened(peer, sack_ok=True)
    assert peer.inject("PA", seq=21, data=10) == ["A 1:1 ack 1 sack 21-31"]
    # The island goes with the FIN, so no gap is filled and the acknowledgment waits.
    assert peer.inject("FPA", seq=1, data=10) == []
    assert peer.run(0.06) == ["A 1:1 ack 12"]
    assert peer.state() == "CLOSE-WAIT"
    assert len(peer.app.recv(fd, 100)) == 10
    assert peer.app.recv(fd, 100) == b""


# What does not count


@both
@pytest.mark.parametrize("state", ["ESTAB", "CLOSE-WAIT", "FIN-WAIT-2"])
@pytest.mark.parametrize("ack", [500, -70000])
def test_an_impossible_acknowledgment_is_challenged(peers, state, ack):
    peer = peers()
    fd = opened(peer)
    seq, answer = 1, "A 1:1 ack 1"
    if state == "CLOSE-WAIT":
        half_closed(peer, fd)
        seq, answer = 2, "A 1:1 ack 2"
    elif state == "FIN-WAIT-2":
        fin_wait_2(peer, fd, close=False)
        answer = "A 2:2 ack 1"
    assert peer.inject("A", seq=seq, ack=ack) == [answer]
    assert peer.inject("PA", seq=seq, ack=ack, data=5) == []
    assert peer.state() == state
    assert peer.counter("TcpExtTCPChallengeACK") == 1
    assert peer.counter("TcpExtTCPACKSkippedChallenge") == 1


@both
@pytest.mark.parametrize("seq", [1, -50, 70000])
@pytest.mark.parametrize("flags", [0, 1, 8])
def test_a_segment_with_neither_ack_nor_syn_nor_rst_is_never_answered(peers, flags, seq):
    peer = peers()
    opened(peer)
    segment = peer.flow.segment("A", seq=seq, data=5)
    segment.flags = flags
    assert peer.put(segment) == []
    assert peer.state() == "ESTAB"


@both
def test_shutdown_of_any_side_gives_a_connection_attempt_up(peers):
    peer = peers()
    fd = peer.connect()
    peer.take()
    peer.app.shutdown(fd, socket.SHUT_RD)
    assert peer.take() == []
    assert peer.states() == []
    assert peer.error(fd) == "ECONNRESET"
    assert peer.attempt(peer.app.recv, fd, 1) == "ENOTCONN"


@timed
def test_a_fin_that_does_not_fit_the_window_keeps_its_data_back(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.inject("PA", seq=1, data=1) == ["A 1:1 ack 2"]
    assert peer.inject("A", seq=2, window=10) == []
    assert peer.app.recv(fd, 10) == b"\0"
    peer.app.setsockopt(fd, TCP, socket.TCP_CORK, 1)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    peer.app.close(fd)
    # Data and FIN need 11: the probe timer sends what fits.
    seen = peer.run(0.3)
    assert times(seen, "PA 1:11 ack 2") == peer.about(0.2)
    assert peer.inject("A", seq=2, ack=11, window=10) == ["FPA 11:11 ack 2"]


# Data that nobody will read


@both
@pytest.mark.parametrize("state", ["FIN-WAIT-1", "FIN-WAIT-2"])
def test_data_after_close_is_answered_with_reset(peers, state):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]
    ack = 1
    if state == "FIN-WAIT-2":
        assert peer.inject("A", seq=1, ack=2) == []
        ack = 2
    assert peer.inject("PA", seq=1, ack=ack, data=10) == [f"R {ack}:{ack}"]
    assert peer.state() == ""
    # The compact record of an orphan in FIN-WAIT-2 does not count what it resets.
    assert peer.counter("TcpExtTCPAbortOnData") == (1 if state == "FIN-WAIT-1" else 0)
    assert peer.counter("TcpOutRsts") == 1


@both
def test_data_with_the_ack_of_our_fin_after_close(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.close(fd)
    peer.take()
    assert peer.inject("PA", seq=1, ack=2, data=10) == ["R 2:2"]
    assert peer.state() == ""


@both
def test_data_and_fin_after_close(peers):
    peer = peers()
    fd = opened(peer)
    fin_wait_2(peer, fd, close=True)
    assert peer.inject("FPA", seq=1, ack=2, data=10) == ["R 2:2"]
    assert peer.state() == ""


@both
def test_data_after_shutdown_both(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.shutdown(fd, socket.SHUT_RDWR)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["R 1:1"]
    assert peer.state() == ""
    assert peer.error(fd) == "ECONNRESET"


@both
def test_a_segment_straddling_the_fin_resets_a_closed_receiver(peers):
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    assert peer.inject("PA", seq=1, data=10) == ["R 1:1"]
    assert peer.state() == ""


@both
def test_close_with_unread_data_resets_at_once(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    peer.app.close(fd)
    assert peer.take() == ["RA 1:1 ack 11"]
    assert peer.state() == ""
    assert peer.counter("TcpExtTCPAbortOnClose") == 1
    assert peer.counter("TcpEstabResets") == 1


@both
def test_close_with_unread_data_in_close_wait(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("FPA", seq=1, data=10)
    peer.run(0.06)
    peer.app.close(fd)
    assert peer.take() == ["RA 1:1 ack 12"]
    assert peer.state() == ""


@both
def test_close_with_partly_read_data_resets(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PA", seq=1, data=10)
    assert len(peer.app.recv(fd, 9)) == 9
    peer.app.close(fd)
    assert peer.take() == ["RA 1:1 ack 11"]


@both
def test_close_with_data_out_of_order_only_is_a_normal_close(peers):
    peer = peers()
    fd = opened(peer)
    assert peer.inject("PA", seq=11, data=10) == ["A 1:1 ack 1"]
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]


# Abort


@both
def test_linger_0_resets(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, *LINGER_0)
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]
    peer.app.close(fd)
    assert peer.take() == ["RA 11:11 ack 1"]
    assert peer.state() == ""
    assert peer.counter("TcpExtTCPAbortOnData") == 1
    assert peer.counter("TcpEstabResets") == 1


@both
@pytest.mark.parametrize(("before", "sends"), [("FIN-WAIT-2", ["RA 2:2 ack 1"]), ("CLOSING", []), ("LAST-ACK", [])])
def test_linger_0_after_our_fin(peers, before, sends):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, *LINGER_0)
    if before == "LAST-ACK":
        half_closed(peer, fd)
    peer.app.shutdown(fd, SHUT_WR)
    peer.take()
    if before == "FIN-WAIT-2":
        assert peer.inject("A", seq=1, ack=2) == []
    elif before == "CLOSING":
        assert peer.inject("FA", seq=1, ack=1) == ["A 2:2 ack 2"]
    assert peer.state() == before
    peer.app.close(fd)
    assert peer.take() == sends
    assert peer.state() == ""


@both
def test_a_reset_discards_what_waits_to_be_sent(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_CORK, 1)
    peer.app.send(fd, bytes(10))
    peer.app.setsockopt(fd, *LINGER_0)
    peer.app.close(fd)
    assert peer.take() == ["RA 1:1 ack 1"]


@both
def test_closing_a_listener_resets_what_waits_to_be_accepted(peers):
    peer = peers()
    listener = peer.listen()
    peer.handshake()
    peer.app.close(listener)
    assert peer.take() == ["RA 1:1 ack 1"]
    assert peer.states() == []


# Resets that arrive


@both
@pytest.mark.parametrize(
    ("state", "error", "reads"),
    [
        ("ESTAB", "ECONNRESET", "ECONNRESET"),
        ("FIN-WAIT-1", "ECONNRESET", "ECONNRESET"),
        ("FIN-WAIT-2", "ECONNRESET", "ECONNRESET"),
        ("CLOSE-WAIT", "EPIPE", b""),
        ("LAST-ACK", "ECONNRESET", b""),
        ("CLOSING", "ECONNRESET", b""),
    ],
)
@pytest.mark.parametrize("ask", ["SO_ERROR", "recv"])
def test_a_reset_in_each_state(peers, state, error, reads, ask):
    peer = peers()
    fd = opened(peer)
    seq, ack = 1, 1
    if state in ("CLOSE-WAIT", "LAST-ACK"):
        half_closed(peer, fd)
        seq = 2
    if state not in ("ESTAB", "CLOSE-WAIT"):
        peer.app.shutdown(fd, SHUT_WR)
        peer.take()
    if state == "FIN-WAIT-2":
        peer.inject("A", seq=1, ack=2)
    elif state == "CLOSING":
        peer.inject("FA", seq=1, ack=1)
        seq = 2
    assert peer.state() == state
    assert peer.inject("R", seq=seq, ack=ack) == []
    assert peer.state() == ""
    if ask == "SO_ERROR":
        assert peer.error(fd) == error
        assert peer.error(fd) == ""
    else:
        # Once the peer's FIN was received a read gives the end of the stream, whatever came after it.
        assert peer.attempt(peer.app.recv, fd, 10) == reads
    assert peer.attempt(peer.app.recv, fd, 10) == b""
    assert peer.counter("TcpEstabResets") == (1 if state in ("ESTAB", "CLOSE-WAIT") else 0)


@both
def test_unread_data_survives_a_reset(peers):
    peer = peers()
    fd = opened(peer)
    peer.inject("PA", seq=1, data=10)
    assert peer.inject("R", seq=11) == []
    assert len(peer.app.recv(fd, 100)) == 10
    assert peer.attempt(peer.app.recv, fd, 100) == "ECONNRESET"
    assert peer.app.recv(fd, 100) == b""
    assert peer.attempt(peer.app.send, fd, b"x") == "EPIPE"


@both
def test_a_reset_one_below_after_the_fin_counts(peers):
    # Some stacks reset with the number of their FIN instead of the one after it.
    peer = peers()
    fd = opened(peer)
    half_closed(peer, fd)
    assert peer.inject("R", seq=1) == []
    assert peer.state() == ""


# TCP_LINGER2


@both
def test_negative_linger2_ends_fin_wait_1_with_the_ack(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_LINGER2, -1)
    peer.app.close(fd)
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("A", seq=1, ack=2) == ["R 2:2"]
    assert peer.state() == ""
    assert peer.counter("TcpExtTCPAbortOnData") == 1


@both
def test_negative_linger2_at_close_in_fin_wait_2(peers):
    peer = peers()
    fd = opened(peer)
    fin_wait_2(peer, fd, close=False)
    peer.app.setsockopt(fd, TCP, socket.TCP_LINGER2, -1)
    peer.app.close(fd)
    assert peer.take() == ["RA 2:2 ack 1"]
    assert peer.state() == ""
    assert peer.counter("TcpExtTCPAbortOnLinger") == 1


# An orphan's FIN-WAIT-2


@both
@pytest.mark.parametrize(
    ("flags", "given", "answer", "state"),
    [
        ("R", {"seq": 1}, [], ""),
        ("R", {"seq": 5}, [], ""),
        ("R", {"seq": 70001}, ["A 2:2 ack 1"], "FIN-WAIT-2"),
        ("S", {"seq": 1}, ["RA 0:0 ack 2"], ""),
        ("S", {"seq": -5}, ["A 2:2 ack 1"], "FIN-WAIT-2"),
        ("A", {"seq": 1, "ack": 2}, [], "FIN-WAIT-2"),
        ("PA", {"seq": -9, "ack": 2, "data": 10}, ["A 2:2 ack 1"], "FIN-WAIT-2"),
        ("PA", {"seq": -9, "ack": 2, "data": 5}, ["A 2:2 ack 1"], "FIN-WAIT-2"),
        ("FA", {"seq": 1, "ack": 1}, ["A 2:2 ack 2"], "TIME-WAIT"),
        ("F", {"seq": 1}, [], "FIN-WAIT-2"),
    ],
)
def test_segments_that_meet_an_orphan_in_fin_wait_2(peers, flags, given, answer, state):
    peer = peers()
    fd = opened(peer)
    fin_wait_2(peer, fd, close=True)
    assert peer.inject(flags, **given) == answer
    assert peer.state() == state


@both
def test_an_orphan_in_fin_wait_2_ends_when_there_are_too_many(peers):
    peer = peers({"net.ipv4.tcp_max_tw_buckets": 0})
    fd = opened(peer)
    peer.app.close(fd)
    peer.take()
    assert peer.inject("A", seq=1, ack=2) == []
    assert peer.state() == ""
    assert peer.counter("TcpExtTCPTimeWaitOverflow") == 1
    assert peer.inject("FA", seq=1, ack=2) == ["R 2:2"]


# Giving up: tcp_orphan_retries turned into time


@timed
@pytest.mark.parametrize(
    ("retries", "rtt", "sent", "gone"),
    [
        (1, 0.0, [0, 0.2, 0.6], 1.4),
        (2, 0.0, [0, 0.2, 0.6, 1.4], 3.0),
        (3, 0.0, [0, 0.2, 0.6, 1.4, 3.0], 6.2),
        (4, 0.0, [0, 0.2, 0.6, 1.4, 3.0], 6.2),
        (5, 0.0, [0, 0.2, 0.6, 1.4, 3.0, 6.2], 12.6),
        # RTO 290 ms: fewer retransmissions fit into the 3 s.
        (3, 0.09, [0, 0.29, 0.87, 2.03], 4.35),
    ],
)
def test_an_unacknowledged_fin_of_an_orphan(peers, retries, rtt, sent, gone):
    peer = peers({RETRIES: retries})
    fd = opened(peer, rtt=rtt)
    peer.reset_watch()
    peer.app.close(fd)
    end = ends(peer, gone + 2)
    at = times(peer.run(0.5), "FA 1:1 ack 1")
    # A kernel's RTO is what it measured: what stretches the first interval stretches all of them.
    stretch = (at[1] - at[0]) / sent[1] if peer.kind == "kernel" else 1.0
    assert 1.0 <= stretch < 1.12
    assert at == peer.about(*(stretch * each for each in sent))
    assert [end] == peer.about(stretch * gone + 0.01)
    assert peer.counter("TcpExtTCPAbortOnTimeout") == 1
    assert peer.counter("TcpExtTCPTimeouts") == len(sent)
    assert peer.counter("TcpOutRsts") == 0


def test_an_unacknowledged_fin_with_the_default_retries(peers):
    peer = peers()
    fd = opened(peer)
    peer.reset_watch()
    peer.app.close(fd)
    end = ends(peer, 200)
    assert times(peer.run(1), "FA 1:1 ack 1") == peer.about(0, 0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0)
    assert [end] == peer.about(102.21)


@timed
def test_last_ack_gives_up_likewise(peers):
    peer = peers({RETRIES: 3})
    fd = opened(peer)
    half_closed(peer, fd)
    peer.reset_watch()
    peer.app.close(fd)
    end = ends(peer, 8)
    assert times(peer.run(0.5), "FA 1:1 ack 2") == peer.about(0, 0.2, 0.6, 1.4, 3.0)
    assert [end] == peer.about(6.21)


@timed
def test_an_unacknowledged_fin_after_shutdown_has_the_retries_of_data(peers):
    peer = peers({RETRIES: 1, "net.ipv4.tcp_retries2": 3})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.shutdown(fd, SHUT_WR)
    end = ends(peer, 8)
    assert times(peer.run(0.5), "FA 1:1 ack 1") == peer.about(0, 0.2, 0.6, 1.4, 3.0)
    assert [end] == peer.about(6.21)
    assert peer.error(fd) == "ETIMEDOUT"


@timed
def test_unacknowledged_data_of_an_orphan_goes_by_orphan_retries(peers):
    peer = peers({RETRIES: 1})
    fd = opened(peer)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    peer.app.close(fd)
    end = ends(peer, 8)
    seen = peer.run(0.5)
    assert seen[0] == "PA 1:11 ack 1"
    assert seen[1] == "FA 11:11 ack 1"
    assert [end] == peer.about(1.41)


@timed
def test_the_lost_ack_of_a_fin_brings_the_fin_again(peers):
    peer = peers()
    fd = opened(peer)
    peer.reset_watch()
    peer.app.close(fd)
    assert times(peer.run(0.3), "FA 1:1 ack 1") == peer.about(0, 0.2)
    assert peer.inject("A", seq=1, ack=2) == []
    assert peer.state() == "FIN-WAIT-2"
    assert peer.run(2) == []


# FIN-WAIT-2


@timed
@pytest.mark.parametrize("timeout", [2, 3])
def test_an_orphan_leaves_fin_wait_2_after_tcp_fin_timeout(peers, timeout):
    peer = peers({FIN_TIMEOUT: timeout})
    fd = opened(peer)
    fin_wait_2(peer, fd, close=True)
    peer.reset_watch()
    assert [ends(peer, timeout + 2)] == peer.about(timeout)
    assert peer.take() == []
    assert peer.inject("FA", seq=1, ack=2) == ["R 2:2"]


@timed
def test_fin_wait_2_after_shutdown_has_no_limit(peers):
    peer = peers({FIN_TIMEOUT: 2})
    fd = opened(peer)
    fin_wait_2(peer, fd, close=False)
    assert peer.run(8) == []
    assert peer.state() == "FIN-WAIT-2"
    peer.reset_watch()
    peer.app.close(fd)
    assert [ends(peer, 4)] == peer.about(2)


@timed
def test_linger2_replaces_tcp_fin_timeout(peers):
    peer = peers()
    fd = opened(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_LINGER2, 1)
    fin_wait_2(peer, fd, close=True)
    peer.reset_watch()
    assert [ends(peer, 4)] == peer.about(1)


@timed
def test_fin_wait_2_lasts_at_least_three_and_a_half_rto(peers):
    peer = peers({FIN_TIMEOUT: 1})
    fd = opened(peer, rtt=0.3)
    peer.app.close(fd)
    assert peer.run(0.3) == ["FA 1:1 ack 1"]
    peer.inject("A", seq=1, ack=2)
    peer.reset_watch()
    # RTO: 300 ms plus four times the deviation, which began at 150 ms and has shrunk once.
    assert peer.wait_for(lambda: not peer.state(), 6)
    assert [peer.now] == peer.about(3.5 * 0.75) or [peer.now] == peer.about(3.5 * 0.9)


@timed
@pytest.mark.parametrize(("timeout", "real"), [(61, 2), (62, 4)])
def test_beyond_60_seconds_fin_wait_2_is_shorter_than_asked_for(peers, timeout, real):
    """Quirk CLS-15: T - 60 s on the keepalive timer, then T - 60 s as a compact record."""
    peer = peers({FIN_TIMEOUT: timeout})
    fd = opened(peer)
    fin_wait_2(peer, fd, close=True)
    peer.reset_watch()
    assert [ends(peer, real + 4)] == peer.about(real)


@pytest.mark.parametrize(("timeout", "real"), [(60, 60), (65, 10), (90, 60), (120, 120)])
def test_the_quirk_of_long_fin_timeouts(peers, timeout, real):
    peer = peers({FIN_TIMEOUT: timeout})
    fd = opened(peer)
    fin_wait_2(peer, fd, close=True)
    peer.reset_watch()
    assert [ends(peer, 200, 0.005)] == peer.about(real)


@timed
def test_a_fin_in_time_begins_a_whole_time_wait(peers):
    peer = peers({FIN_TIMEOUT: 2})
    fd = opened(peer)
    time_wait(peer, fd)
    assert peer.run(4) == []
    assert peer.state() == "TIME-WAIT"
