"""Delayed acknowledgments and the close in three segments (DACK-01 to DACK-04)."""

import socket

import pytest

from support.ends import TCP, opened, timed
from support.peer import both

MSS = 1460


def talked(peer):
    """A connection on which the program has answered one request: interactive, as most are (pingpong)."""
    fd = opened(peer)
    assert peer.inject("PA", seq=1, data=5) == ["A 1:1 ack 6"]
    assert len(peer.app.recv(fd, 100)) == 5
    peer.app.send(fd, bytes(5))
    assert peer.take() == ["PA 1:6 ack 6"]
    assert peer.inject("A", seq=6, ack=6) == []
    return fd


@both
def test_three_segments_when_the_program_closes_at_once(peers):
    peer = peers()
    fd = talked(peer)
    assert peer.inject("FA", seq=6, ack=6) == []
    assert peer.app.recv(fd, 10) == b""
    peer.app.close(fd)
    assert peer.take() == ["FA 6:6 ack 7"]
    assert peer.inject("A", seq=7, ack=7) == []
    assert peer.state() == ""


@timed
@pytest.mark.parametrize(
    ("pause", "sent"), [(0.02, ["FA 6:6 ack 7"]), (0.1, ["A 6:6 ack 7", "FA 6:6 ack 7"])], ids=["20 ms", "100 ms"]
)
def test_three_or_four_segments_by_how_soon_the_program_closes(peers, pause, sent):
    peer = peers()
    fd = talked(peer)
    peer.reset_watch()
    assert peer.inject("FA", seq=6, ack=6) == []
    seen = peer.run(pause)
    peer.app.close(fd)
    seen += peer.take()
    assert seen == sent
    if len(sent) == 2:
        assert [seen[0].at] == peer.about(0.04)


@both
def test_quickack_before_the_fin_does_not_prevent_the_merge(peers):
    peer = peers()
    fd = talked(peer)
    peer.app.setsockopt(fd, TCP, socket.TCP_QUICKACK, 1)
    assert peer.inject("FA", seq=6, ack=6) == []
    peer.app.close(fd)
    assert peer.take() == ["FA 6:6 ack 7"]


@both
def test_quickack_after_the_end_of_the_stream_forces_the_ack_out(peers):
    peer = peers()
    fd = talked(peer)
    assert peer.inject("FA", seq=6, ack=6) == []
    assert peer.app.recv(fd, 10) == b""
    peer.app.setsockopt(fd, TCP, socket.TCP_QUICKACK, 1)
    assert peer.take() == ["A 6:6 ack 7"]
    peer.app.close(fd)
    assert peer.take() == ["FA 6:6 ack 7"]


@both
def test_data_that_waited_carries_the_ack_of_the_fin(peers):
    peer = peers()
    fd = talked(peer)
    assert peer.inject("FA", seq=6, ack=6) == []
    peer.app.send(fd, bytes(4))
    assert peer.take() == ["PA 6:10 ack 7"]
    peer.app.close(fd)
    assert peer.take() == ["FA 10:10 ack 7"]


@both
def test_a_connection_begins_in_quick_mode(peers):
    peer = peers()
    opened(peer)
    for number in range(8):
        assert peer.inject("PA", seq=1 + 10 * number, data=10) == [f"A 1:1 ack {11 + 10 * number}"]


@both
def test_a_reply_carries_the_acknowledgment(peers):
    peer = peers()
    fd = talked(peer)
    assert peer.inject("PA", seq=6, ack=6, data=5) == []
    peer.app.send(fd, bytes(5))
    assert peer.take() == ["PA 6:11 ack 11"]


@timed
def test_without_a_reply_the_acknowledgment_comes_after_40_ms(peers):
    peer = peers()
    fd = talked(peer)
    peer.reset_watch()
    assert peer.inject("PA", seq=6, ack=6, data=5) == []
    seen = peer.run(0.1)
    assert seen == ["A 6:6 ack 11"]
    assert [seen[0].at] == peer.about(0.04)
    assert peer.counter("TcpExtDelayedACKs") == 1
    # The guess that the program answers soon was wrong: from now on at once again.
    assert len(peer.app.recv(fd, 100)) == 5
    assert peer.take() == []
    assert peer.inject("PA", seq=11, ack=6, data=5) == ["A 6:6 ack 16"]


@both
def test_every_second_full_segment_is_acknowledged_at_once(peers):
    peer = peers()
    fd = talked(peer)
    assert peer.inject("A", seq=6, ack=6, data=MSS) == []
    assert peer.inject("A", seq=6 + MSS, ack=6, data=MSS) == [f"A 6:6 ack {6 + 2 * MSS}"]
    assert len(peer.app.recv(fd, 10000)) == 2 * MSS


@both
def test_a_pure_acknowledgment_takes_40_or_52_octets(peers):
    peer = peers()
    opened(peer)
    (ack,) = peer.inject("PA", seq=1, data=10)
    assert (ack.options, ack.segment.length) == ("", 0)
    peer.flow = peer.new_flow(40001)
    opened(peer, ts=1000)
    (ack,) = peer.inject("PA", seq=1, data=10, ts=1001)
    assert ack.options == "nop,nop,TS"
