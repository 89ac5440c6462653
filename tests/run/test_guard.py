"""What is legal but hardly meant is told with its line and remedy; what would leave the simulation is refused."""

import _socket
import asyncio
import inspect
import os
import socket
import time
import warnings

import pytest

from timewait.record.entries import Noted
from timewait.run import BlockedLoopWarning, ForgottenAwaitWarning, MisuseError, Net


def line(function, offset):
    return f"test_guard.py:{inspect.getsourcelines(function)[1] + offset} in {function.__name__}"


def run(*functions):
    """Programs on one host; the net they were in."""
    with Net(seed=1) as net:
        host = net.host("alone")
        for function in functions:
            host.run(function)
        net.run()
        return net


async def forgets():
    asyncio.sleep(1)
    await asyncio.sleep(0)


def test_a_forgotten_await_names_the_line_of_the_call():
    with pytest.warns(ForgottenAwaitWarning) as caught:
        net = run(forgets)
    text = str(caught[0].message)
    assert text.startswith(line(forgets, 1)) and "`await sleep(...)`" in text
    assert caught[0].filename.endswith("test_guard.py")
    assert [entry.text for entry in net.record.entries if isinstance(entry, Noted)] == [text]


async def sleeps():
    time.sleep(2.5)


async def calls_a_library():
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=3)
    except ConnectionRefusedError:
        pass
    a, b = socket.socketpair()
    a.settimeout(0.5)
    with pytest.raises(TimeoutError):
        a.recv(1)
    b.close()
    a.close()


def test_a_blocking_call_in_a_coroutine_names_the_line_and_what_to_await():
    with pytest.warns(BlockedLoopWarning) as caught:
        run(sleeps)
    text = str(caught[0].message)
    assert text.startswith(line(sleeps, 1)) and "for up to 2.5 s" in text and "await asyncio.sleep(...)" in text


def test_a_library_that_blocks_is_told_by_the_users_line():
    with pytest.warns(BlockedLoopWarning) as caught:
        run(calls_a_library)
    texts = [str(each.message) for each in caught]
    assert [text.partition(":")[2].partition(" ")[0] for text in texts] == [
        str(inspect.getsourcelines(calls_a_library)[1] + offset) for offset in (2, 8)
    ]
    assert "loop.sock_recv" in texts[1]


async def well_behaved():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(1)
    await asyncio.to_thread(time.sleep, 1)
    await loop.getaddrinfo("localhost", 80)
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    time.sleep(0)
    await loop.sock_sendall(left, b"x")
    assert await loop.sock_recv(right, 1) == b"x"
    left.close()
    right.close()


def blocking():
    time.sleep(1)


def test_who_awaits_or_is_no_coroutine_hears_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(well_behaved, blocking)


async def never_begins():
    asyncio.get_running_loop().create_task(asyncio.sleep(1))
    await asyncio.sleep(1000)


def test_a_killed_program_forgot_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Net() as net:
            host = net.host("alone")
            job = host.run(never_begins)
            net.at(0.5, job.kill)
            net.run()
            assert job.killed


def test_one_line_is_told_once_in_a_hundred_seeds():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            run(sleeps)
    assert len(caught) == 1


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: _socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: os.execv("/bin/true", ["true"]),
    ],
)
def test_ways_out_below_the_usual_functions_are_refused(misuse):
    with pytest.raises(MisuseError, match=r"test_guard.py:\d+ in <lambda>: .* inside the simulation; "):
        run(misuse)


class Counting(socket.socket):
    """A program's own kind of socket."""

    sent = 0

    def send(self, data, flags=0):
        self.sent += len(data)
        return super().send(data, flags)


def uses_its_own_class():
    with Counting() as door, Counting() as out:
        assert isinstance(door, Counting)
        door.bind(("127.0.0.1", 0))
        door.listen()
        out.connect(door.getsockname())
        conn, _ = door.accept()
        out.send(b"four")
        assert conn.recv(10) == b"four" and out.sent == 4
        conn.close()


def test_a_subclass_of_socket_is_simulated_too():
    net = run(uses_its_own_class)
    assert net.record.entries
    with Counting() as outside:
        assert type(outside) is Counting and outside.fileno() < 1_000_000
