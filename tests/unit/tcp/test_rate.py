"""Delivery rate, pacing, and the order of transmissions within one instant."""

import pytest

from support.peer import Peer
from support.transfer import MBIT, transfer
from timewait.base.instant import MSEC
from timewait.tcp.rate import delivery_rate


def test_pacing_keeps_to_the_given_rate():
    """SO_MAX_PACING_RATE in octets a second: no more goes out, whatever the window admits."""
    found = transfer("cubic", pacing=250_000, seconds=3)
    assert found.goodput == pytest.approx(2 * MBIT, rel=0.06)


def test_bbr_fills_the_pipe_and_leaves_the_queue_short():
    bbr, cubic = transfer("bbr", queue=400, seconds=6), transfer("cubic", queue=400, seconds=6)
    assert bbr.goodput > 0.9 * 10 * MBIT * 1448 / 1500
    assert cubic.goodput > 0.9 * 10 * MBIT * 1448 / 1500
    # Two round trips of 20 ms against a queue of 400 packets, which takes 480 ms.
    assert bbr.tcb.srtt_us >> 3 < 60_000 < cubic.tcb.srtt_us >> 3


def test_bbr_does_not_take_losses_for_congestion():
    assert transfer("bbr", loss=0.02, seconds=5).goodput > 3 * transfer("reno", loss=0.02, delay=40 * MSEC).goodput


@pytest.mark.parametrize("delay", [0, 1000, 50_000, MSEC, 100 * MSEC])
@pytest.mark.parametrize("algorithm", ["reno", "cubic", "bbr"])
def test_no_round_trip_is_too_short_or_too_long(algorithm, delay):
    found = transfer(algorithm, delay=delay, seconds=3)
    assert found.goodput > 0.3 * 10 * MBIT, "stalled"


@pytest.mark.parametrize("algorithm", ["reno", "cubic"])
def test_a_queue_that_marks_loses_nothing(algorithm):
    """RFC 3168: the window shrinks before the queue overflows."""
    found = transfer(algorithm, above=20)
    assert found.tcb.total_retrans == 0
    assert found.tcb.delivered_ce > 0
    assert found.goodput > 0.85 * 10 * MBIT
    assert transfer(algorithm).tcb.total_retrans > 0


def test_the_delivery_rate_is_the_links():
    found = transfer("cubic", seconds=3)
    assert delivery_rate(found.tcb) * 8 == pytest.approx(10 * MBIT * 1448 / 1500, rel=0.05)


def test_new_data_sent_before_a_retransmission_in_the_same_instant_says_nothing_about_it():
    """RACK orders transmissions by their time, which here is the same (RFC 8985 5.2)."""
    peer = Peer.sim()
    listener = peer.listen()
    peer.handshake(sack_ok=True, mss=1000, window=65535)
    fd = peer.accept(listener)
    peer.app.send(fd, bytes(6000))
    assert len(peer.run(0.005)) == 6
    # Two segments more leave, and in the same instant the head once more.
    peer.app.send(fd, bytes(2000))
    assert [str(seen)[:9].strip() for seen in peer.take()][-1].startswith("PA 7001")
    seen = peer.inject("A", seq=1, ack=1, sack=[(1001, 6001)])
    assert any("1:1001" in text for text in seen)
    again = peer.inject("A", seq=1, ack=1, sack=[(1001, 8001)])
    assert not any("1:1001" in text for text in again)
    assert peer.counter("TcpExtTCPLostRetransmit") == 0
