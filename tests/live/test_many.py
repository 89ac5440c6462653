"""A thousand connections at the same time, each with data of its own."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from timewait.host.process import Process
from timewait.run.live import ended, live, stop
from timewait.world.driver import AsyncSocket

HERE = Path(__file__).parent
COUNT = 1000
OCTETS = 5000
"""Of the first connection; each next one has one more."""


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_kernels_client_with_a_thousand_connections(family: int) -> None:
    async def run() -> None:
        async with live(seed=1) as net:
            assert net.namespace is not None
            process = net.host.process("echo")
            process.nofile = COUNT + 100
            address = net.addresses[family]
            listener = AsyncSocket.listening(process, (address, 7), COUNT)
            connections: set[asyncio.Task[None]] = set()
            serving = asyncio.create_task(echo(listener, connections))
            command = [sys.executable, str(HERE / "echo_client.py"), address, "7", str(COUNT), str(OCTETS)]
            child = net.namespace.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert child.stdin is not None and child.stdout is not None
            try:
                assert await asyncio.to_thread(child.stdout.readline) == b"all open\n"
                while len(connections) < COUNT:
                    await asyncio.sleep(0.01)
                assert not any(task.done() for task in connections)
                child.stdin.write(b"go\n")
                child.stdin.flush()
                assert await asyncio.to_thread(child.stdout.readline) == f"{COUNT} right\n".encode()
                assert await ended(child) == 0
            finally:
                # Ended before its pipes are closed: closing waits for the thread that reads.
                await stop(child)
                child.stdin.close()
                child.stdout.close()
            serving.cancel()
            await net.settle()
            # The kernel's client closes first: the peers' TIME-WAIT records are the kernel's, and we keep nothing.
            assert len(net.host.tcp.endpoints) == 0
            assert net.host.counters.TcpPassiveOpens == COUNT

    asyncio.run(asyncio.wait_for(run(), 60))


async def echo(listener: AsyncSocket, connections: "set[asyncio.Task[None]]") -> None:
    """Send everything back on every connection, each of which is a task."""
    while True:
        connection, _ = await listener.accept()
        connections.add(asyncio.create_task(answer(connection)))


async def answer(connection: AsyncSocket) -> None:
    while data := await connection.recv():
        await connection.sendall(data)
    connection.close()


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_our_client_with_a_thousand_connections(family: int) -> None:
    async def run() -> None:
        async with live(seed=1) as net:
            assert net.namespace is not None
            address = net.kernel[family]
            command = [sys.executable, str(HERE / "echo_server.py"), address, "7", str(COUNT)]
            child = net.namespace.popen(command, stdout=subprocess.PIPE)
            assert child.stdout is not None
            with child.stdout:
                assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
            process = net.host.process("client")
            process.nofile = COUNT + 100
            sockets = [AsyncSocket.stream(process, 10 if family else 2) for _ in range(COUNT)]
            await asyncio.gather(*(sock.connect((address, 7)) for sock in sockets))
            ports = {process.getsockname(sock.fd)[1] for sock in sockets}
            assert len(ports) == COUNT
            right = await asyncio.gather(*(ask(process, number, sock) for number, sock in enumerate(sockets)))
            assert all(right)
            await stop(child)
            assert net.host.counters.TcpActiveOpens == COUNT
            assert net.host.counters.TcpAttemptFails == 0

    asyncio.run(asyncio.wait_for(run(), 60))


async def ask(process: Process, number: int, sock: AsyncSocket) -> bool:
    """Send this connection's own data and say whether exactly that came back."""
    data = random.Random(number).randbytes(OCTETS + number)

    async def send() -> None:
        await sock.sendall(data)
        sock.shutdown()

    sending = asyncio.create_task(send())
    got = bytearray()
    while part := await sock.recv():
        got += part
    await sending
    sock.close()
    return got == data
