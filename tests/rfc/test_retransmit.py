"""Sequencing and retransmission (RTX-01 to RTX-07)."""

import socket
from itertools import pairwise

import pytest

from support.peer import both

TCP = socket.IPPROTO_TCP
NO_TLP = {"net.ipv4.tcp_early_retrans": 0}


def connected(peer, rtt=0.0, **options):
    """The host's descriptor of a connection whose handshake took `rtt` seconds."""
    fd = peer.connect()
    peer.take()
    if rtt:
        peer.run(rtt)
    (ack,) = peer.inject("SA", ack=1, mss=1460, **options)
    assert ack == "A 1:1 ack 1"
    return fd


@both
def test_octets_are_numbered_from_the_isn_and_acknowledged_by_the_next(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.send(fd, bytes(3000))
    assert peer.take() == ["A 1:1461 ack 1", "A 1461:2921 ack 1", "PA 2921:3001 ack 1"]
    assert peer.row().send_q == 3000
    peer.inject("A", seq=1, ack=2921)
    assert peer.row().send_q == 80
    peer.inject("A", seq=1, ack=3001)
    assert peer.row().send_q == 0
    assert peer.run(0.5) == []


@both
@pytest.mark.parametrize(("rtt", "timeout"), [(0.0, 0.2), (0.1, 0.3)])
def test_the_timeout_follows_the_round_trip_time(peers, rtt, timeout):
    peer = peers(NO_TLP)
    fd = connected(peer, rtt)
    peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]
    peer.reset_watch()
    (again,) = peer.run(timeout * 2)
    assert again == "PA 1:11 ack 1"
    assert [again.at] == peer.about(timeout)


def test_a_long_round_trip_time_after_four_samples(peers):
    peer = peers(NO_TLP)
    fd = connected(peer, 0.3)
    for number in range(3):
        peer.app.send(fd, bytes(10))
        peer.take()
        peer.run(0.3)
        peer.inject("A", seq=1, ack=11 + 10 * number)
    peer.app.send(fd, bytes(10))
    peer.take()
    peer.reset_watch()
    (again,) = peer.run(1.0)
    # The variance decays slowly from half of the first sample: 300 ms and 4 times 117 ms (RFC 6298 section 2.3).
    assert 0.7 < again.at < 0.8


@both
@pytest.mark.parametrize("sack", [False, True])
def test_the_third_duplicate_brings_the_retransmission(peers, sack):
    peer = peers()
    fd = connected(peer, 0.02, sack_ok=sack)
    # The first segment after the SYN-ACK is a window update, whatever it says: no duplicate.
    peer.inject("A", seq=1, ack=1)
    peer.app.send(fd, bytes(5 * 1460))
    sent = peer.take()
    assert [each.segment.length for each in sent] == [1460] * 5
    peer.run(0.02)

    def duplicate(number):
        blocks = [(1461, 1461 + 1460 * number)] if sack else []
        return peer.inject("A", seq=1, ack=1, sack=blocks)

    assert duplicate(1) == []
    assert duplicate(2) == []
    assert duplicate(3) == ["A 1:1461 ack 1"]
    assert peer.counter("TcpExtTCPFastRetrans") == 1
    assert peer.inject("A", seq=1, ack=7301) == []
    assert peer.run(0.3) == []


@both
def test_each_segment_beyond_a_gap_is_answered_at_once(peers):
    peer = peers()
    connected(peer, sack_ok=True)
    for number in range(1, 4):
        answer = peer.inject("A", seq=1 + 1000 * number, data=1000)
        assert answer == [f"A 1:1 ack 1 sack 1001-{1001 + 1000 * number}"]
    assert peer.inject("A", seq=1, data=1000) == ["A 1:1 ack 4001"]


@both
def test_several_islands_are_told_newest_first(peers):
    peer = peers()
    connected(peer, sack_ok=True)
    assert peer.inject("A", seq=11, data=10) == ["A 1:1 ack 1 sack 11-21"]
    assert peer.inject("A", seq=31, data=10) == ["A 1:1 ack 1 sack 31-41 11-21"]
    assert peer.inject("A", seq=51, data=10) == ["A 1:1 ack 1 sack 51-61 31-41 11-21"]
    # Three left at once, the next are held back for a moment (tcp_comp_sack_slack_ns).
    fourth = peer.inject("A", seq=71, data=10) + peer.run(0.001)
    assert fourth == ["A 1:1 ack 1 sack 71-81 51-61 31-41 11-21"]
    fifth = peer.inject("A", seq=91, data=10) + peer.run(0.001)
    assert fifth == ["A 1:1 ack 1 sack 91-101 71-81 51-61 31-41"]
    # One repeated: DSACK comes first, and takes a place.
    repeated = peer.inject("A", seq=31, data=10) + peer.run(0.001)
    assert repeated == ["A 1:1 ack 1 sack 31-41 31-41 91-101 71-81"]
    # 11-21 has fallen out of the list of four, though its octets are held.
    joined = peer.inject("A", seq=21, data=10) + peer.run(0.001)
    assert joined == ["A 1:1 ack 1 sack 21-41 91-101 71-81 51-61"]
    assert peer.inject("A", seq=1, data=10) == ["A 1:1 ack 41 sack 91-101 71-81 51-61"]


@both
def test_timeouts_double(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    sent = peer.run(1.7)
    assert sent == ["PA 1:11 ack 1"] * 4
    assert [each.at for each in sent] == peer.about(0, 0.2, 0.6, 1.4)
    row = peer.row()
    assert row.timer == "retransmit" and row.retrans == 3
    # Karn: what was sent twice measures nothing, so the timeout stays backed off (RFC 6298 section 3 and 5).
    assert peer.inject("A", seq=1, ack=11) == []
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    sent = peer.run(1.9)
    assert [each.at for each in sent] == peer.about(0, 1.6)


@both
def test_timestamps_measure_what_was_sent_twice(peers):
    peer = peers()
    fd = connected(peer, ts=5)
    peer.app.send(fd, bytes(10))
    peer.run(0.65)
    assert peer.inject("A", seq=1, ack=11, ts=6) == []
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    sent = peer.run(0.4)
    assert [each.at for each in sent] == peer.about(0, 0.206)


@both
@pytest.mark.parametrize(("ts", "timeout"), [({}, 3.0), ({"ts": 5}, 0.3)])
def test_after_a_repeated_syn_data_waits_three_seconds(peers, ts, timeout):
    """RFC 6298 section 5.7, unless timestamps tell how long the round trip took."""
    peer = peers()
    fd = peer.connect()
    assert peer.run(1.1) == ["S 0:0", "S 0:0"]
    peer.inject("SA", ack=1, mss=1460, **ts)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    sent = peer.run(timeout * 1.15)
    assert [each.at for each in sent] == peer.about(0, timeout)


@both
@pytest.mark.parametrize(("ts", "timeout"), [({}, 3.0), ({"ts": 5}, 0.3)])
def test_after_a_repeated_syn_ack_data_waits_three_seconds(peers, ts, timeout):
    peer = peers()
    listener = peer.listen()
    peer.inject("S", mss=1460, **ts)
    assert peer.run(1.1) == ["SA 0:0 ack 1"]
    peer.inject("A", seq=1, ack=1, **ts)
    peer.app.send(peer.accept(listener), bytes(10))
    peer.reset_watch()
    sent = peer.run(timeout * 1.15)
    assert [each.at for each in sent] == peer.about(0, timeout)


def test_timeouts_end_at_two_minutes(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    times = [each.at for each in peer.run(600)]
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps == peer.about(*[0.2 * 2**n for n in range(10)], 120, 120, 120)


@both
def test_a_lower_maximum(peers):
    peer = peers({"net.ipv4.tcp_rto_max_ms": 1000})
    fd = connected(peer)
    peer.app.send(fd, bytes(10))
    peer.reset_watch()
    sent = peer.run(3.7)
    assert [each.at for each in sent] == peer.about(0, 0.2, 0.6, 1.4, 2.4, 3.4)


@both
def test_a_tail_loss_probe_comes_before_the_timeout(peers):
    """RFC 8985 section 7: with several segments out the last one is sent again after two round trips."""
    peer = peers()
    fd = connected(peer, 0.1, sack_ok=True)
    peer.app.send(fd, bytes(2920))
    assert peer.take() == ["A 1:1461 ack 1", "PA 1461:2921 ack 1"]
    peer.reset_watch()
    (probe,) = peer.run(0.25)
    assert probe == "PA 1461:2921 ack 1"
    assert [probe.at] == peer.about(0.2)
    assert peer.counter("TcpExtTCPLossProbes") == 1


@both
def test_an_acknowledgment_of_what_was_never_sent_is_refused(peers):
    """RFC 9293 section 3.10.7.4: send an ACK, drop the segment. The ACK is a challenge and as such limited."""
    peer = peers()
    connected(peer)
    assert peer.inject("A", seq=1, ack=1000) == ["A 1:1 ack 1"]
    assert peer.inject("PA", seq=1, ack=1000, data=10) == []
    assert peer.run(0.6) == []
    assert peer.inject("PA", seq=1, ack=1000, data=10) == ["A 1:1 ack 1"]
    assert peer.inject("PA", seq=1, ack=1, data=10) == ["A 1:1 ack 11"]


@both
def test_an_old_acknowledgment_of_data_is_taken_and_a_far_older_one_is_challenged(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.send(fd, bytes(100))
    peer.take()
    peer.inject("A", seq=1, ack=101)
    assert peer.inject("PA", seq=1, ack=50, data=10) == ["A 101:101 ack 11"]
    # RFC 5961 section 5: not older than the largest window the peer offered.
    assert peer.inject("PA", seq=12, ack=-100_000, data=10) == ["A 101:101 ack 11"]
    assert peer.counter("TcpExtTCPChallengeACK") == 1
    assert peer.row().recv_q == 10


@both
def test_data_is_acknowledged_at_once_at_first_and_late_after(peers):
    """The first segments are acknowledged at once; in a conversation an ACK waits 40 ms for an answer to ride on."""
    peer = peers()
    fd = connected(peer)
    assert peer.inject("PA", seq=1, data=10) == ["A 1:1 ack 11"]
    assert len(peer.app.recv(fd, 100)) == 10
    peer.app.send(fd, bytes(5))
    assert peer.take() == ["PA 1:6 ack 11"]
    peer.reset_watch()
    assert peer.inject("PA", seq=11, ack=6, data=10) == []
    (late,) = peer.run(0.1)
    assert late == "A 6:6 ack 21" and [late.at] == peer.about(0.04)


@both
def test_two_full_segments_are_acknowledged_at_once(peers):
    peer = peers()
    fd = connected(peer)
    peer.inject("PA", seq=1, data=1460)
    peer.app.recv(fd, 2000)
    peer.app.send(fd, bytes(5))
    peer.take()
    peer.inject("A", seq=1461, ack=6, data=1460)
    answers = peer.inject("A", seq=2921, ack=6, data=1460)
    assert answers == ["A 6:6 ack 4381"]


@both
def test_nagle_holds_the_second_small_segment(peers):
    peer = peers()
    fd = connected(peer)
    for _ in range(3):
        peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1"]
    assert peer.inject("A", seq=1, ack=11) == ["PA 11:31 ack 1"]


@both
def test_without_nagle_each_write_leaves(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_NODELAY, 1)
    for _ in range(3):
        peer.app.send(fd, bytes(10))
    assert peer.take() == ["PA 1:11 ack 1", "PA 11:21 ack 1", "PA 21:31 ack 1"]


@both
def test_cork_waits_200_ms_for_a_whole_segment(peers):
    peer = peers()
    fd = connected(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_CORK, 1)
    peer.reset_watch()
    peer.app.send(fd, bytes(10))
    (sent,) = peer.run(0.4)
    assert sent == "PA 1:11 ack 1" and [sent.at] == peer.about(0.2)


@both
def test_ten_segments_may_leave_at_first(peers):
    """RFC 6928."""
    peer = peers()
    fd = connected(peer)
    peer.app.send(fd, bytes(30_000))
    sent = peer.take()
    assert [each.segment.length for each in sent] == [1460] * 10
