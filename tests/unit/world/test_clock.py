"""The event queue: order, cancelling, budgets, lazy host timers, and the real clock's descriptors."""

import os

import pytest

from support.fake_host import FakeHost
from timewait.base.errors import BudgetError
from timewait.base.instant import MSEC, NEVER
from timewait.world import clock as clock_module
from timewait.world.clock import HostTimer, Line, RealClock, VirtualClock


def test_events_fire_in_order_of_time_and_ties_in_order_of_insertion():
    clock, seen = VirtualClock(), []
    for name, when in (("c", 20), ("a", 10), ("b", 10), ("d", 20)):
        clock.at(when, lambda name=name: seen.append((clock.now(), name)))
    clock.run_until(100)
    assert seen == [(10, "a"), (10, "b"), (20, "c"), (20, "d")]
    assert clock.now() == 100
    assert clock.live == 0


def test_an_event_scheduled_for_now_by_an_event_comes_after_those_already_waiting():
    clock, seen = VirtualClock(), []
    clock.at(5, lambda: (seen.append(1), clock.at(5, lambda: seen.append(3))))
    clock.at(5, lambda: seen.append(2))
    clock.run_until(5)
    assert seen == [1, 2, 3]


def test_the_past_means_at_once_and_time_does_not_go_back():
    clock, seen = VirtualClock(start=50), []
    clock.at(10, lambda: seen.append(clock.now()))
    clock.run_until(60)
    assert seen == [50]


def test_cancel_and_reschedule():
    clock, seen = VirtualClock(), []
    event = clock.at(10, lambda: seen.append(clock.now()))
    clock.schedule(event, 30)
    gone = clock.at(20, lambda: seen.append("never"))
    clock.cancel(gone)
    clock.cancel(gone)
    assert clock.live == 1 and event.pending and not gone.pending
    clock.run_until(NEVER)
    assert seen == [30] and clock.now() == 30


def test_many_cancelled_events_do_not_stay_in_the_queue():
    clock = VirtualClock()
    for _ in range(20_000):
        clock.cancel(clock.at(10**9, lambda: None))
    assert len(clock.heap) < 2_000


def test_run_while_stops_on_the_condition_at_the_deadline_or_without_events():
    clock, seen = VirtualClock(), []
    for when in (1, 2, 3):
        clock.at(when, lambda: seen.append(clock.now()))
    assert clock.run_while(lambda: len(seen) < 2, 100) is True
    assert clock.now() == 2
    assert clock.run_while(lambda: True, 2) is False
    assert clock.run_while(lambda: True, 100) is False
    assert seen == [1, 2, 3] and clock.now() == 3


def test_a_spinning_event_is_named():
    clock = VirtualClock()
    clock.max_events = 5_000

    def ping_for_ever():
        clock.at(clock.now(), ping_for_ever)

    clock.at(7, ping_for_ever)
    with pytest.raises(BudgetError, match=r"5000 events .* 7 ns: callback .*ping_for_ever \(\d+ of the last 1000\)"):
        clock.run_until(100)


def test_a_host_timer_moves_later_without_queue_entries_and_time_does_not_stop_for_the_old_one():
    clock = VirtualClock()
    host = FakeHost("a", clock)
    timer = HostTimer(clock, host)
    host.due = 100
    timer.rearm()
    for due in range(200, 1200, 100):
        host.due = due
        timer.rearm()
    assert len(clock.heap) == 1
    assert clock.next_time() == 1100
    host.due = 50
    timer.rearm()
    clock.run_until(NEVER)
    assert host.fired == [50] and clock.now() == 50 and clock.live == 0


def test_a_host_timer_that_was_taken_back_leaves_no_trace():
    clock = VirtualClock()
    host = FakeHost("a", clock)
    timer = HostTimer(clock, host)
    host.due = 100
    timer.rearm()
    host.due = NEVER
    clock.run_until(NEVER)
    assert host.fired == [] and clock.now() == 0 and not timer.pending


def test_the_real_clock_serves_descriptors_and_events():
    clock, seen = RealClock(), []
    here, there = os.pipe()
    try:
        clock.add_reader(here, lambda: seen.append(os.read(here, 100)))
        clock.at(clock.now() + MSEC, lambda: os.write(there, b"x"))
        assert clock.run_while(lambda: not seen, clock.now() + 5_000 * MSEC)
        assert seen == [b"x"]
        clock.remove_reader(here)
        clock.remove_reader(here)
        before = clock.now()
        assert clock.run_while(lambda: True, NEVER) is False
        clock.run_until(before + MSEC)
        assert clock.now() >= before + MSEC
    finally:
        clock.close()
        os.close(here)
        os.close(there)


@pytest.mark.skipif(
    not clock_module.__file__.endswith(".py"), reason="an interpreted Line cannot derive from the compiled one"
)
def test_packets_in_line_and_other_events_fire_in_the_order_they_were_scheduled():
    """A line stands in the queue with its first packet only, and yet ties break as if all stood there."""
    clock = VirtualClock()
    fired = []

    class Noting(Line):
        def served(self, item):
            fired.append(item)
            if item == b"0":
                self.join(b"late", clock.now() + 20)

    line, other = Noting(clock), Noting(clock)
    for n in range(3):
        line.join(str(n).encode(), 10)
        clock.at(10, lambda n=n: fired.append(n))
        other.join(b"other " + str(n).encode(), 10 + n)
    assert clock.live == 9
    clock.run_until(15)
    assert fired == [b"0", 0, b"other 0", b"1", 1, b"2", 2, b"other 1", b"other 2"]
    assert clock.next_time() == 30
    clock.run_until(40)
    assert fired[-1] == b"late" and clock.live == 0
