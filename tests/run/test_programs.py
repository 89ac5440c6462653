"""Ordinary programs on simulated hosts: blocking and asyncio, their clocks, names, failures and ends."""

import asyncio
import gc
import os
import random
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref

import pytest

from timewait.run import DeadlockError, MisuseError, Net, OverdueError, SimulationError

PORT = 7000


async def echo_server():
    async def serve(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", PORT)
    await server.serve_forever()


def blocking_echo_server():
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("", PORT))
    door.listen()
    while True:
        conn, _ = door.accept()
        with conn:
            while data := conn.recv(1000):
                conn.sendall(data)


async def async_client(text=b"hello"):
    reader, writer = await asyncio.open_connection("server", PORT)
    writer.write(text)
    answer = await reader.readexactly(len(text))
    writer.close()
    await writer.wait_closed()
    return answer


def blocking_client(text=b"hello"):
    with socket.create_connection(("server", PORT), timeout=120) as conn:
        conn.sendall(text)
        answer = b""
        while len(answer) < len(text):
            answer += conn.recv(1000)
        return answer


def pair(seed=0, **link):
    net = Net(seed=seed)
    client, server = net.host("client"), net.host("server")
    if link:
        net.link(client, server, **link)
    return net, client, server


@pytest.mark.parametrize("serve", [echo_server, blocking_echo_server])
@pytest.mark.parametrize("call", [async_client, blocking_client])
def test_every_kind_of_client_talks_to_every_kind_of_server(serve, call):
    net, client, server = pair(seed=1, delay="20ms", loss="10%")
    server.run(serve, daemon=True)
    client.run(time.sleep, 0.1)
    net.run()
    text = random.Random(5).randbytes(20_000)
    job = client.run(call, text)
    net.run()
    assert job.result() == text
    assert net.record.packets()


def test_time_moves_only_when_everybody_waits():
    net, client, _ = pair()
    seen = []

    def sleeper():
        before = time.monotonic(), time.time(), time.perf_counter_ns()
        time.sleep(7200)
        after = time.monotonic(), time.time(), time.perf_counter_ns()
        seen.append([b - a for a, b in zip(before, after, strict=True)])

    real = time.monotonic()
    client.run(sleeper)
    net.run()
    assert seen == [[7200.0, 7200.0, 7200 * 10**9]]
    assert net.now == 7200.0
    assert time.monotonic() >= real


def test_the_wall_clock_may_be_ahead():
    net = Net()
    one, other = net.host("one"), net.host("other", skew="1h")
    jobs = [one.run(time.time), other.run(time.time)]
    net.run()
    assert jobs[1].result() - jobs[0].result() == 3600


def test_randomness_comes_from_the_seed():
    def draw():
        return random.random(), os.urandom(4), random.Random().random()

    def run(seed):
        net = Net(seed=seed)
        jobs = [net.host(name).run(draw) for name in ("a", "b")]
        net.run()
        return [job.result() for job in jobs]

    assert run(1) == run(1) != run(2)
    assert run(1)[0] != run(1)[1]


def test_names_resolve_from_the_network_alone():
    net, client, server = pair()
    net.name("api.example", server)
    net.name("dead.example", net.BLACK_HOLE)

    def look():
        found = socket.getaddrinfo("api.example", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == (server.address, 80)
        assert socket.gethostname() == "client"
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("nobody.example", 80)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            socket.create_connection(("dead.example", 80))
        return time.monotonic() - began

    job = client.run(look)
    net.run()
    assert 130 < job.result() < 135


def test_a_deadlock_says_who_waits_for_what_and_where():
    net, client, server = pair()
    server.run(blocking_echo_server, daemon=True)

    def waits_for_ever():
        conn = socket.create_connection(("server", PORT))
        conn.recv(1)

    async def awaits_for_ever():
        await asyncio.get_running_loop().create_future()

    client.run(waits_for_ever)
    client.run(awaits_for_ever)
    with pytest.raises(DeadlockError) as told:
        net.run()
    text = str(told.value)
    assert "waits_for_ever on client recv on" in text and "test_programs.py" in text
    assert "awaits_for_ever on client awaits at test_programs.py" in text


def test_a_run_may_be_bounded():
    net, client, _ = pair()

    async def ticks():
        while True:
            await asyncio.sleep(1)

    client.run(ticks)
    with pytest.raises(OverdueError, match="ticks on client"):
        net.run(timeout=10)
    net.run(5)
    assert net.now == pytest.approx(15)


def test_a_failure_that_nobody_asked_about_is_raised_by_the_run():
    net, client, _ = pair()
    client.run(blocking_client)
    with pytest.raises(ConnectionRefusedError) as told:
        net.run()
    assert "blocking_client on client" in told.value.__notes__[0]


def test_results_are_asked_for_once_there_are_any():
    net, client, _ = pair()
    job = client.run(time.sleep, 1)
    with pytest.raises(SimulationError, match="has not ended"):
        job.result()
    net.run()
    assert job.result() is None and job.state == "returned"


def test_programs_await_each_other():
    net, client, server = pair()
    server.run(echo_server, daemon=True)

    async def both():
        return await asyncio.gather(client.run(async_client, b"one"), client.run(blocking_client, b"two"))

    job = client.run(both)
    net.run()
    assert job.result() == [b"one", b"two"]


def test_awaiting_outside_runs_the_simulation():
    async def test():
        async with Net(seed=1) as net:
            client, server = net.host("client"), net.host("server")
            server.run(echo_server, daemon=True)
            return await client.run(async_client)

    assert asyncio.run(test()) == b"hello"


def test_a_killed_program_closes_its_sockets_and_runs_no_finally():
    net, client, server = pair()
    ran = []

    def careful():
        try:
            blocking_echo_server()
        finally:
            ran.append("finally")

    victim = server.run(careful)

    def call():
        conn = socket.create_connection(("server", PORT))
        conn.sendall(b"x")
        assert conn.recv(10) == b"x"
        victim.kill()
        return conn.recv(10)

    job = client.run(call)
    net.run()
    assert job.result() == b"" and victim.state == "killed" and not ran
    net.close()


def test_power_off_tells_nobody():
    net, client, server = pair()
    server.run(blocking_echo_server)

    def call():
        conn = socket.create_connection(("server", PORT), timeout=600)
        server.power_off()
        with pytest.raises(TimeoutError):
            conn.recv(10)

    job = client.run(call)
    net.run()
    assert job.result() is None and net.now >= 600


def test_a_host_boots_and_its_services_with_it():
    net, client, server = pair()
    server.run(blocking_echo_server, daemon=True, restart=True)
    assert _called(net, client) == b"hello"
    server.power_off()
    server.power_on()
    assert _called(net, client) == b"hello"


def _called(net, client):
    job = client.run(blocking_client)
    net.run()
    return job.result()


def test_a_frozen_program_still_has_a_kernel():
    net, client, server = pair()
    victim = server.run(blocking_echo_server, daemon=True)
    net.run(0.1)
    victim.freeze()

    def call():
        conn = socket.create_connection(("server", PORT), timeout=5)
        conn.sendall(b"x")
        with pytest.raises(TimeoutError):
            conn.recv(1)
        victim.thaw()
        return conn.recv(1)

    job = client.run(call)
    net.run()
    assert job.result() == b"x"


def test_a_blocking_send_waits_for_room_and_a_timeout_ends_it():
    net, client, server = pair()

    def deaf():
        door = socket.create_server(("", PORT))
        _held = door.accept()
        time.sleep(1000)

    def call():
        conn = socket.create_connection(("server", PORT))
        conn.settimeout(3)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            conn.sendall(bytes(50_000_000))
        return time.monotonic() - began

    server.run(deaf, daemon=True)
    job = client.run(call)
    net.run()
    assert job.result() == pytest.approx(3, abs=0.1)


def test_datagrams_and_socketpairs():
    net, client, server = pair()

    def answer():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("", 53))
        data, peer = sock.recvfrom(100)
        sock.sendto(data[::-1], peer)

    def ask():
        one, other = socket.socketpair()
        one.sendall(b"inside")
        assert other.recv(100) == b"inside"
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.sendto(b"abc", ("server", 53))
        return sock.recvfrom(100)[0]

    server.run(answer)
    job = client.run(ask)
    net.run()
    assert job.result() == b"cba"


def test_timers_run_when_their_time_has_come_and_not_before():
    net, client, _ = pair()

    async def timers():
        loop = asyncio.get_running_loop()
        late = []
        for n in range(200):
            when = loop.time() + random.random() * 3 ** (n % 10)
            future = loop.create_future()
            loop.call_at(when, lambda future=future, when=when: future.set_result(loop.time() - when))
            late.append(await future)
        return late

    job = client.run(timers)
    net.run()
    assert all(0 <= each < 2e-9 for each in job.result())


def test_the_executor_is_a_further_strand():
    net, client, server = pair()
    server.run(blocking_echo_server, daemon=True)

    async def main():
        return await asyncio.gather(asyncio.to_thread(blocking_client, b"a"), asyncio.to_thread(time.sleep, 5))

    job = client.run(main)
    net.run()
    assert job.result() == [b"a", None] and net.now == pytest.approx(5, abs=0.01)


def test_task_order_comes_from_the_seed():
    async def race():
        order = []

        async def step(name):
            await asyncio.sleep(0)
            order.append(name)

        await asyncio.gather(*(step(n) for n in range(6)))
        return tuple(order)

    def run(seed, **options):
        net = Net(seed=seed, **options)
        job = net.host("h").run(race)
        net.run()
        return job.result()

    assert run(3) == run(3)
    assert len({run(seed) for seed in range(20)}) > 5
    assert run(3, interleave=False) == (0, 1, 2, 3, 4, 5)


def _subprocess():
    subprocess.run(["true"], check=True)


async def _async_subprocess():
    await asyncio.create_subprocess_exec("true")


def _fork():
    os.fork()


def _unix():
    socket.socket(socket.AF_UNIX)


@pytest.mark.parametrize("misuse", [_subprocess, _async_subprocess, _fork, _unix])
def test_what_cannot_be_simulated_is_refused_with_line_and_remedy(misuse):
    net, client, _ = pair()
    client.run(misuse)
    with pytest.raises(MisuseError, match=r"test_programs\.py:\d+ in .*;"):
        net.run()


def test_outside_of_a_program_everything_is_real():
    net, client, _ = pair()
    client.run(time.sleep, 1)
    net.run()
    assert type(socket.socket()) is socket.socket
    one, other = socket.socketpair()
    one.send(b"x")
    assert other.recv(1) == b"x"
    assert abs(time.time() - time.time_ns() / 1e9) < 10
    with socket.socket() as sock:
        assert sock.fileno() < 1_000_000
    thread = threading.Thread(target=time.sleep, args=(0.001,))
    thread.start()
    thread.join()


SCRIPT = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from run.test_programs import *
net, client, server = pair(seed=11, delay="10ms", loss="15%")
server.run(echo_server, daemon=True)
client.run(time.sleep, 0.1)
net.run()
jobs = [client.run(async_client, bytes(5000)) for _ in range(5)]
net.run()
from timewait.record.jsonl import write_to
import hashlib, io
written = io.StringIO()
write_to(net.record, written)
print(hashlib.sha256(written.getvalue().encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    def digest(hashseed):
        tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hashseed,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        script = SCRIPT.format(tests=tests)
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
        ).stdout

    assert digest("1") == digest("2") != ""


def test_a_dual_stack_server_binds_in_the_same_order_in_every_process():
    program = """
import asyncio
from timewait.run import Net
async def serve():
    await asyncio.start_server(lambda r, w: None, port=80)
net = Net()
host = net.host("a")
host.run(serve)
net.run()
from timewait.record.entries import Called
print([(e.call, e.result) for e in net.record if isinstance(e, Called)])
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 3, 77)
    }
    assert len(found) == 1 and "bind(4, 0.0.0.0:80)" in found.pop()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("killed", [False, True])
def test_a_program_that_never_ended_leaves_nothing_behind(killed):
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # What tests before this one left to the collector is not counted here.
    kept = []

    async def holds(thing):
        try:
            kept.append(weakref.ref(asyncio.get_running_loop()))
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().create_task(asyncio.sleep(1))

    async def serve(reader, writer):
        await reader.read()
        writer.close()

    async def main():
        asyncio.get_running_loop().create_task(holds(1))
        await asyncio.start_server(serve, port=80)
        kept.append(await asyncio.open_connection("a", 80))
        await holds(2)

    with Net(seed=1) as net:
        job = net.host("a").run(main, daemon=True)
        net.run(5)
        if killed:
            job.kill()
            net.run(5)
    del net, job, kept[1]
    for _ in range(3):
        gc.collect()  # What a finalizer let go is found in the next round.
    assert len(kept) == 2 and not any(loop() for loop in kept)


def test_a_timer_that_nobody_waits_for_any_more_takes_no_time():
    async def quick():
        async with asyncio.timeout(1000):
            for _ in range(5):
                await asyncio.sleep(0.2)

    def sleeps():
        time.sleep(1000)

    with Net(seed=1) as net:
        host = net.host("a")
        host.run(quick)
        net.run()
        assert net.now == pytest.approx(1)
        net.settle(5000)
        assert net.now == pytest.approx(1)
        job = host.run(sleeps, daemon=True)
        net.at(5, job.kill)
        net.settle(5000)
        assert net.now == 5


def test_timers_of_a_loop_are_due_to_the_nanosecond():
    async def program():
        loop, found = asyncio.get_running_loop(), []
        begun = time.monotonic_ns()
        for wait in (1e-9, 3e-9, 0.1, 1 / 3, 0.0, 7.000000001, 1e-6):
            await asyncio.sleep(wait)
            found.append(time.monotonic_ns() - begun)
        short = loop.call_later(3, found.append, "cancelled")
        loop.call_later(5, found.append, "five")
        await asyncio.sleep(1)
        short.cancel()
        loop.call_later(1, found.append, "two")
        await asyncio.sleep(4)
        return found

    with Net(seed=1) as net:
        job = net.host("a").run(program)
        net.run()
        *times, two, five = job.result()
    waits = [1, 3, 10**8, 333333333, 0, 7000000001, 1000]
    # A float tells a time of a thousand seconds to a tenth of a microsecond; no timer comes early by more.
    assert all(0 <= taken - sum(waits[: n + 1]) + 120 * (n + 1) <= 240 * (n + 1) for n, taken in enumerate(times))
    assert (two, five) == ("two", "five")
