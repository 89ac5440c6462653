"""Threads of programs: what was locked, pooled or kept before the simulation began, and what a dead program leaves."""

import concurrent.futures
import logging
import multiprocessing
import os
import threading
import time

import pytest

from timewait.run import MisuseError

OUTSIDE = threading.Lock()
LOCAL = threading.local()


def test_pools_of_two_programs_do_not_meet_in_the_librarys_own_locks(stage):
    def main():
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda n: (time.sleep(0.5), n)[1], range(6)))

    it = stage()
    jobs = [host.run(main) for host in (it.client, it.server) for _ in range(3)]
    it.net.run()
    assert [job.result() for job in jobs] == [list(range(6))] * 6
    assert it.net.now == pytest.approx(1.0)


def test_a_pool_that_nobody_shuts_down_ends_with_its_program(stage):
    def main():
        pool = concurrent.futures.ThreadPoolExecutor(2)
        late = [pool.submit(time.sleep, 3) for _ in range(4)]
        pool.submit(time.sleep, 0.1)
        return late

    it = stage()
    late = it.call(main)
    assert all(each.done() for each in late)
    assert 6 <= it.net.now < 7


def test_a_lock_made_before_the_simulation_keeps_programs_apart(stage):
    inside = []

    def main():
        with OUTSIDE:
            inside.append(len(inside) % 2)
            time.sleep(1)
            inside.append(len(inside) % 2)

    it = stage()
    it.client.run(main)
    it.server.run(main)
    it.net.run()
    assert inside == [0, 1, 0, 1] and it.net.now == pytest.approx(2)
    assert OUTSIDE.acquire(blocking=False)
    OUTSIDE.release()


def test_a_killed_program_holds_no_lock_any_more(stage):
    def holds():
        with OUTSIDE:
            time.sleep(100)

    def wants():
        time.sleep(1)
        return OUTSIDE.acquire(timeout=50) and (OUTSIDE.release(), time.monotonic())[1]

    it = stage()
    victim = it.server.run(holds)
    job = it.client.run(wants)
    it.net.run(2)
    victim.kill()
    it.net.run_until(job)
    assert job.result() == pytest.approx(1002)
    it.net.close()
    assert not OUTSIDE.locked()


def test_locals_made_before_the_simulation_belong_to_one_strand(stage):
    LOCAL.name = "test"

    def main(name):
        assert not hasattr(LOCAL, "name")
        LOCAL.name = name
        time.sleep(1)
        return LOCAL.name

    it = stage()
    jobs = [it.client.run(main, name) for name in ("one", "two")]
    it.net.run()
    assert [job.result() for job in jobs] == ["one", "two"]
    assert LOCAL.name == "test"


def test_a_condition_wakes_as_many_as_it_says(stage):
    def main():
        condition, woken = threading.Condition(), []

        def waits(n):
            with condition:
                if condition.wait(timeout=10):
                    woken.append(n)

        threads = [threading.Thread(target=waits, args=(n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        with condition:
            condition.notify(2)
        for thread in threads:
            thread.join()
        barrier, semaphore = threading.Barrier(3), threading.BoundedSemaphore(2)

        def meets():
            with semaphore:
                time.sleep(1)
            return barrier.wait()

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            places = sorted(job.result() for job in [pool.submit(meets) for _ in range(3)])
        return len(woken), places, time.monotonic()

    assert stage().call(main) == (2, [0, 1, 2], pytest.approx(1012))


def test_an_exception_in_a_thread_goes_to_the_excepthook_and_logging_works(stage, monkeypatch, caplog):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append((args.exc_type, args.thread.name)))

    def fails():
        logging.getLogger("sim").warning("about to fail")
        raise ZeroDivisionError

    def main():
        thread = threading.Thread(target=fails, name="doomed")
        thread.start()
        thread.join()
        assert thread not in threading.enumerate()

    stage().call(main)
    assert told == [(ZeroDivisionError, "doomed")]
    assert "about to fail" in caplog.text


def _process():
    multiprocessing.Process(target=print).start()


def _pool():
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(print)


def _exec():
    os.execv("/bin/true", ["true"])


def _spawn():
    os.posix_spawn("/bin/true", ["true"], {})


@pytest.mark.parametrize("misuse", [_process, _pool, _exec, _spawn])
def test_processes_are_refused_with_line_and_remedy(stage, misuse):
    with pytest.raises(MisuseError, match=rf"test_threads\.py:\d+ in {misuse.__name__}.*host\.run\(function\)"):
        stage().call(misuse)
