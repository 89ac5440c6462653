"""What `timewait verify` calls a difference, with runs in virtual time on both sides."""

from collections.abc import Iterator

import pytest

import timewait.lab.verify as verifying
from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Setting
from timewait.lab.frame import Lab
from timewait.lab.judge import late
from timewait.lab.nominal import doubling, first_timeout
from timewait.lab.run import Result, find, run
from timewait.lab.verify import differences, verify

SIM = (("sim", "server"),)


def record(id: str, **setting: object):
    return run(id, Setting(**setting)).records[0][1]


def test_the_same_run_has_no_differences() -> None:
    assert differences(record("CLS-01"), record("CLS-01", seed=2)) == []


def test_another_packet_is_a_difference() -> None:
    found = differences(record("FAIL-03", variant="exit"), record("FAIL-03", variant="linger"))
    assert [str(each) for each in found if "client" in each.lane]
    assert not all(each.late for each in found)


def test_another_time_is_a_difference() -> None:
    found = differences(record("KA-05"), record("KA-05", sysctl=(("", "net.ipv4.tcp_keepalive_time", 3),)))
    assert found and all(each.late for each in found)


def test_every_lane_of_a_shorter_record_is_compared() -> None:
    found = differences(record("CW-03"), record("CW-06"))
    assert found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Runs with a 'kernel' that keeps another time, as often as the number in the list says."""
    times = [0]

    def late(lab: Lab, setting: Setting) -> Result:
        if not setting.hurried and times[0] > 0:
            times[0] -= 1
            setting = Setting(sysctl=(("", "net.ipv4.tcp_keepalive_time", 3),))
        return run(lab, setting)

    monkeypatch.setattr(verifying, "run", late)
    yield times


def test_what_differs_once_is_looked_at_again(slow: list[int]) -> None:
    slow[0] = 1
    (compared,) = verify(find("KA-05"), SIM)
    assert compared.agrees and compared.runs == 2


def test_what_differs_twice_is_a_disagreement(slow: list[int]) -> None:
    slow[0] = 2
    (compared,) = verify(find("KA-05"), SIM)
    assert not compared.agrees and compared.differences
    assert slow[0] == 0


def test_how_late_a_kernel_may_be() -> None:
    """A slot of the timer wheel for HZ=250, or 4 % where that is more."""
    assert late(40 * MSEC) == 4 * MSEC
    assert late(SEC) == 40 * MSEC, "the slot is 32 ms"
    assert late(3 * SEC) == 256 * MSEC
    assert late(60 * SEC) == 2400 * MSEC, "the slot is 2048 ms"
    assert late(1000 * SEC) < 65 * SEC


def test_the_timeout_behind_a_timetable() -> None:
    late_once = [0, 230, 640, 1440, 3050]
    assert first_timeout([each * MSEC for each in late_once]) == 200 * MSEC
    capped = doubling(1020 * MSEC, 7)
    capped += [capped[-1] + 120 * SEC * n for n in (1, 2, 3)]
    assert first_timeout(capped) == 1020 * MSEC
    assert first_timeout([0]) == 0
