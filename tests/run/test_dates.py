"""Time, dates and randomness of a program are its host's: virtual, seeded, the same in every process."""

import asyncio
import datetime
import email.utils
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
import warnings

import pytest

from timewait.run import Net

NEW_YEAR = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def tell(function, *, seed=1, skew=0, before=0):
    """What a program says, after so many seconds."""
    with Net(seed=seed) as net:
        host = net.host("a", skew=skew)

        def program():
            time.sleep(before)
            return function()

        job = host.run(program)
        net.run()
        return job.result()


class Own(datetime.datetime):
    """A program's own kind of date."""


@pytest.mark.parametrize("kind", [datetime.datetime, Own])
@pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
def test_dates_are_the_hosts(kind):
    def dates():
        zone = datetime.timezone(datetime.timedelta(hours=2))
        return (
            [kind.now(datetime.UTC), kind.now(tz=zone), kind.utcnow().replace(tzinfo=datetime.UTC)],
            [kind.now().astimezone(datetime.UTC), kind.today().astimezone(datetime.UTC)],
            datetime.date.today(),
        )

    aware, local, day = tell(dates, before=1.25)
    expected = NEW_YEAR + datetime.timedelta(seconds=1.25)
    assert aware == [expected] * 3 and local == [expected] * 2
    assert {type(each) for each in aware + local} == {kind} and aware[1].utcoffset() == datetime.timedelta(hours=2)
    assert day == expected.astimezone().date()


def test_dates_are_as_skewed_as_the_clock():
    assert tell(lambda: datetime.datetime.now(datetime.UTC), skew="1h") == NEW_YEAR + datetime.timedelta(hours=1)


def test_dates_are_exact_to_the_microsecond():
    def ticks():
        found = []
        for _ in range(1000):
            time.sleep(1e-6)
            found.append(datetime.datetime.now(datetime.UTC))
        return found

    assert tell(ticks) == [NEW_YEAR + datetime.timedelta(microseconds=n + 1) for n in range(1000)]


def test_outside_dates_are_the_machines():
    with Net():
        before = time.time()
        found = [datetime.datetime.now(datetime.UTC), datetime.datetime.now().astimezone(), Own.now(tz=datetime.UTC)]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found.append(datetime.datetime.utcnow().replace(tzinfo=datetime.UTC))
        assert all(before - 1e-5 <= each.timestamp() <= time.time() + 1e-5 for each in found)
        assert [each.filename for each in told] == ([__file__] if sys.version_info >= (3, 12) else [])
    assert type(found[2]) is Own and datetime.datetime.now().tzinfo is None
    with pytest.raises(TypeError):
        datetime.datetime.now(5)


def test_clocks_agree():
    def clocks():
        return (
            [time.time_ns() - round(time.time() * 1e9), time.time_ns() - time.clock_gettime_ns(time.CLOCK_REALTIME)],
            time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC),
            [time.process_time(), time.thread_time_ns(), time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)],
            [time.gmtime()[:6], time.strftime("%S"), time.asctime() == time.ctime()],
            email.utils.formatdate(),
        )

    real, passing, busy, shown, mailed = tell(clocks, before=30)
    assert abs(real[0]) < 1000 and real[1] == passing == 0
    assert busy == [30.0, 30 * 10**9, 30.0]
    assert shown == [(2026, 1, 1, 0, 0, 30), "30", True]
    assert mailed == "Thu, 01 Jan 2026 00:00:30 -0000"
    with pytest.raises(OSError):
        tell(lambda: time.clock_gettime(99))


def draws():
    """Randomness of every kind."""
    return [
        random.random(), random.SystemRandom().random(), random.Random().random(), random.randbytes(4),
        secrets.token_hex(8), secrets.randbelow(1000), secrets.choice("abcdefgh"), os.urandom(8), os.getrandom(8),
        str(uuid.uuid4()), str(uuid.uuid1()), str(uuid.uuid1(node=1)), str(uuid.uuid1(clock_seq=1)), uuid.getnode(),
        email.utils.make_msgid(domain="x").split(".")[2],
    ]  # fmt: skip


def draws_after_a_file():
    """The names of real files are the machine's, and draw nothing from the host."""
    with tempfile.NamedTemporaryFile():
        return random.random()


def test_randomness_hangs_on_the_seed_alone():
    assert tell(draws, seed=4) == tell(draws, seed=4)
    same = [
        at for at, pair in enumerate(zip(tell(draws, seed=4), tell(draws, seed=5), strict=True)) if len({*pair}) < 2
    ]
    assert same == []


def test_randomness_is_the_same_in_every_process():
    program = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_dates import draws, draws_after_a_file, tell
assert tell(draws_after_a_file, seed=9) == tell(draws_after_a_file, seed=9)
print(tell(draws, seed=9))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in (0, 3)
    }  # fmt: skip
    assert len(found) == 1 and len(found.pop()) > 100


def test_two_hosts_draw_differently():
    with Net(seed=1) as net:
        jobs = [net.host(name).run(draws) for name in ("a", "b")]
        net.run()
        one, other = (job.result() for job in jobs)
    assert all(mine != yours for mine, yours in zip(one, other, strict=True))


def test_uuids_of_a_time_are_never_the_same():
    def many():
        made = [uuid.uuid1() for _ in range(100)]
        time.sleep(1)
        return [*made, uuid.uuid1()]

    made = tell(many)
    assert len(set(made)) == 101 and [each.time for each in made] == sorted(each.time for each in made)
    assert {(each.version, each.variant, each.node >> 40 & 1) for each in made} == {(1, uuid.RFC_4122, 1)}
    passed = datetime.timedelta(microseconds=made[-1].time // 10)
    assert datetime.datetime(1582, 10, 15, tzinfo=datetime.UTC) + passed == NEW_YEAR + datetime.timedelta(seconds=1)


def test_asyncio_programs_too():
    async def program():
        await asyncio.sleep(2)
        return datetime.datetime.now(datetime.UTC), uuid.uuid4(), secrets.token_bytes(4)

    first, second = (tell(lambda: asyncio.run(program())) for _ in range(2))
    assert first == second and first[0] == NEW_YEAR + datetime.timedelta(seconds=2)
