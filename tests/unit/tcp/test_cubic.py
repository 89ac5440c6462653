"""CUBIC by itself: the curve of RFC 9438, Reno's pace below it, fast convergence, HyStart."""

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.tcp.cc import congestion_control
from timewait.tcp.cc.cubic import CUBE_FACTOR, _cube_root

INFINITE = 0x7FFFFFFF


def grow(cubic, cwnd, ssthresh, rtt, seconds, now=SEC):
    """The window at the end of each round trip in which all of it is acknowledged, segment by segment."""
    cnt, seen, end = 0, [], now + seconds * SEC
    while now < end:
        step = rtt // cwnd
        for _ in range(cwnd):
            now += step
            cubic.rtt_sample(rtt // 1000, cwnd, cwnd < ssthresh, 0, 1, now)
            cwnd, cnt = cubic.increase(cwnd, cnt, ssthresh, 1, now)
        seen.append((now - SEC, cwnd))
    return seen


def test_a_loss_leaves_seven_tenths():
    cubic = congestion_control("cubic").own()
    assert cubic.ssthresh(100, SEC) == 70
    assert cubic.ssthresh(2, SEC) == 2


def test_the_plateau_is_reached_after_k_and_left_by_the_cube():
    cubic = congestion_control("cubic").own()
    start = cubic.ssthresh(400, SEC)
    assert start == 280
    k = (0.3 * 400 / 0.4) ** (1 / 3)
    seen = grow(cubic, start, start, 100 * MSEC, 14)
    at_k = next(cwnd for at, cwnd in seen if at >= k * SEC)
    assert at_k == pytest.approx(400, rel=0.03)
    for at, cwnd in seen:
        curve = 400 + 0.4 * (at / SEC - k) ** 3
        assert cwnd == pytest.approx(curve, rel=0.06), f"at {at / SEC} s"


def test_short_round_trips_grow_as_reno_would():
    cubic = congestion_control("cubic").own()
    start = cubic.ssthresh(20, SEC)
    seen = grow(cubic, start, start, 2 * MSEC, 1)
    # W_est grows by 3 * (1 - 0.7) / (1 + 0.7) = 0.53 segments a round trip.
    rounds = 100
    assert seen[rounds - 1][1] == pytest.approx(start + 0.53 * rounds, rel=0.1)


def test_a_second_loss_below_the_first_gives_way():
    cubic = congestion_control("cubic").own()
    cubic.ssthresh(100, SEC)
    cubic.ssthresh(80, 2 * SEC)
    assert cubic.last_max == 80 * (1024 + 717) // 2048


def test_rising_delay_ends_slow_start_beyond_sixteen_segments():
    for cwnd, ends in ((15, False), (16, True)):
        cubic = congestion_control("cubic").own()
        cubic.rtt_sample(40_000, cwnd, True, 0, 1, SEC)
        rising = [cubic.rtt_sample(50_000, cwnd, True, 5, 100, SEC + n * 5 * MSEC) for n in range(2, 14)]
        assert any(rising) is ends


def test_acks_in_a_train_of_half_a_round_trip_end_slow_start():
    cubic = congestion_control("cubic").own()
    found = [cubic.rtt_sample(20_000, 64, True, 0, 1, SEC + n * MSEC) for n in range(30)]
    assert found.index(True) == 11


def test_a_timeout_forgets_and_idle_time_does_not_count():
    cubic = congestion_control("cubic").own()
    start = cubic.ssthresh(400, SEC)
    grow(cubic, start, start, 100 * MSEC, 1)
    epoch = cubic.epoch
    cubic.after_idle(10 * SEC, 60 * SEC)
    assert cubic.epoch == epoch + 2500
    cubic.loss_event(60 * SEC)
    assert cubic.epoch == cubic.last_max == 0


@pytest.mark.parametrize("value", [1, 7, 8, 26, 27, 10**6, CUBE_FACTOR * 10_000])
def test_cube_roots_are_exact(value):
    root = _cube_root(value)
    assert root**3 <= value < (root + 1) ** 3


def test_connections_that_sent_nothing_share_one():
    assert congestion_control("cubic") is congestion_control("cubic")
    assert congestion_control("cubic").own() is not congestion_control("cubic").own()
