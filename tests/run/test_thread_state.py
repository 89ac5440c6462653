"""`threading.local` is each strand's own, on every Python, and goes with it."""

import asyncio
import gc
import sys
import threading
import time
import weakref

import pytest

from timewait.run import Net, thread_state

shared = threading.local()


class Deep(threading.local):
    """A subclass with values of its own from the beginning."""

    def __init__(self):
        self.steps = []


deep = Deep()


class Value:
    """Something whose end can be seen."""


def test_the_way_python_keeps_them_is_known():
    assert isinstance(
        thread_state.thread_locals(), thread_state.KeyLocals if sys.version_info >= (3, 13) else thread_state.DictLocals
    )


def test_each_strand_has_its_own():
    shared.value = "outside"
    seen = []

    def thread(name):
        seen.append((name, hasattr(shared, "value"), list(deep.steps)))
        shared.value = name
        deep.steps.append(name)
        time.sleep(1)
        seen.append((name, shared.value, list(deep.steps)))

    def program(name):
        threads = [threading.Thread(target=thread, args=(f"{name}{number}",)) for number in range(2)]
        for each in threads:
            each.start()
        shared.value = name
        for each in threads:
            each.join()
        return shared.value

    with Net(seed=3) as net:
        a, b = net.host("a"), net.host("b")
        one, other = a.run(program, "x"), b.run(program, "y")
        net.run()
        assert (one.result(), other.result()) == ("x", "y")
    assert shared.value == "outside"
    names = ["x0", "x1", "y0", "y1"]
    assert sorted(seen[:4]) == [(name, False, []) for name in names]
    assert sorted(seen[4:]) == [(name, name, [name]) for name in names]


def test_a_second_run_finds_them_as_they_were():
    def program():
        shared.value = "kept"
        time.sleep(10)
        return shared.value

    with Net(seed=3) as net:
        job = net.host("a").run(program)
        net.run(5)
        assert getattr(shared, "value", "") != "kept"
        net.run()
        assert job.result() == "kept"


@pytest.mark.parametrize("killed", [False, True])
def test_they_go_with_the_strand(killed):
    ends = []

    def program():
        shared.held = Value()
        ends.append(weakref.ref(shared.held))
        time.sleep(10)

    with Net(seed=3) as net:
        job = net.host("a").run(program)
        net.run(5)
        assert ends[0]() is not None
        if killed:
            job.kill()
        net.run()
    del net, job
    gc.collect()
    assert ends[0]() is None


def test_real_threads_beside_the_simulation_keep_theirs():
    found = []

    def real():
        shared.value = "thread"
        with Net(seed=1) as net:
            job = net.host("a").run(lambda: getattr(shared, "value", "nothing"))
            net.run()
            found.append((job.result(), shared.value))

    thread = threading.Thread(target=real)
    shared.value = "main"
    thread.start()
    thread.join()
    assert found == [("nothing", "thread")] and shared.value == "main"


def test_unwinding_what_was_killed_leaves_the_loop_outside_alone():
    async def waits():
        try:
            await asyncio.sleep(1000)
        finally:
            shared.value = "unwound"

    async def outside():
        shared.value = "outside"
        with Net(seed=1) as net:
            net.host("a").run(waits, daemon=True)
            net.run(5)
            assert asyncio.get_running_loop() is asyncio.get_event_loop()
        return asyncio.get_running_loop() is not None, shared.value

    assert asyncio.run(outside()) == (True, "outside")
