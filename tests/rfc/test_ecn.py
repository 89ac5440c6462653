"""RFC 3168: negotiation with its fallback, ECT on new data, ECE until CWR, one reduction per window; on both stacks."""

import socket
import struct

import pytest

from support.peer import both

MSS = 1000
CE, ECT0 = 3, 2
TCP_CONGESTION = 13


def tos(seen):
    return [each.segment.tos & 3 for each in seen]


def flags(seen):
    return [each.split()[0] for each in seen]


def agreed(peer, algorithm=b"cubic"):
    """A connection whose peer asked for ECN."""
    listener = peer.listen()
    (answer,) = peer.inject("SYN-ECE-CWR", mss=MSS, sack_ok=True, window=65535)
    assert answer.startswith("SAE 0:0")
    assert peer.inject("A", seq=1, ack=1, window=65535) == []
    fd = peer.accept(listener)
    peer.app.setsockopt(fd, socket.IPPROTO_TCP, TCP_CONGESTION, algorithm)
    return fd


@both
@pytest.mark.parametrize(
    ("given", "mark", "answer"),
    [("SYN-ECE-CWR", 0, "SAE"), ("SYN-ECE", 0, "SA"), ("S", 0, "SA"), ("SYN-ECE-CWR", 2, "SA")],
)
def test_a_listener_agrees_when_asked(peers, given, mark, answer):
    peer = peers()
    peer.listen()
    (seen,) = peer.inject(given, mss=MSS, tos=mark)
    assert flags([seen]) == [answer]
    assert tos([seen]) == [0]


@both
def test_a_listener_refuses_with_tcp_ecn_0(peers):
    peer = peers({"net.ipv4.tcp_ecn": 0})
    peer.listen()
    assert flags(peer.inject("SYN-ECE-CWR", mss=MSS)) == ["SA"]


@both
def test_a_repeated_syn_asks_no_more(peers):
    peer = peers({"net.ipv4.tcp_ecn": 1})
    peer.connect()
    assert flags(peer.run(1.5)) == ["SEC", "S"]


@both
def test_without_fallback_a_repeated_syn_asks_again(peers):
    peer = peers({"net.ipv4.tcp_ecn": 1, "net.ipv4.tcp_ecn_fallback": 0})
    peer.connect()
    assert flags(peer.run(1.5)) == ["SEC", "SEC"]


@both
def test_new_data_is_ect_and_nothing_else(peers):
    peer = peers()
    fd = agreed(peer)
    peer.app.send(fd, bytes(3 * MSS))
    first = peer.take()
    assert tos(first) == [ECT0] * 3
    again = peer.inject("A", seq=1, ack=1, window=65535, sack=[(1 + MSS, 1 + 3 * MSS)]) + peer.run(0.1)
    assert [str(each)[:8] for each in again][:1] == ["A 1:1001"]
    assert tos(again[:1]) == [0]
    (ack,) = peer.inject("PA", seq=1, ack=3 * MSS + 1, window=65535, data=10, tos=ECT0)
    assert tos([ack]) == [0]


@both
def test_a_mark_is_echoed_until_cwr(peers):
    peer = peers()
    agreed(peer)
    assert flags(peer.inject("A", seq=1, ack=1, data=MSS, tos=CE)) == ["AE"]
    assert flags(peer.inject("A", seq=1 + MSS, ack=1, data=MSS, tos=ECT0)) == ["AE"]
    assert flags(peer.inject("ACK-CWR", seq=1 + 2 * MSS, ack=1, data=MSS, tos=ECT0)) == ["A"]
    assert flags(peer.inject("A", seq=1 + 3 * MSS, ack=1, data=MSS, tos=CE)) == ["AE"]


@both
def test_an_echo_reduces_the_window_once_and_is_answered_with_cwr(peers):
    peer = peers()
    fd = agreed(peer, b"reno")
    peer.app.send(fd, bytes(40 * MSS))
    assert len(peer.take()) == 10
    seen = []
    for n in range(1, 11):
        seen += peer.inject("ACK-ECE", seq=1, ack=1 + n * MSS, window=65535)
    raw = peer.app.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    state, options = raw[1], raw[5]
    cwnd, ssthresh = struct.unpack_from("I", raw, 80)[0], struct.unpack_from("I", raw, 76)[0]
    assert options & 8
    assert (state, ssthresh) == (2, 5)
    assert cwnd <= 6
    assert [text for text in flags(seen) if "C" in text] == [flags(seen)[0]]
    assert flags(seen)[0] in ("AC", "PAC")
    assert struct.unpack_from("I", raw, 196)[0] == 10, "tcpi_delivered_ce"
