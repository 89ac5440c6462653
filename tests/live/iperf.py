"""As much of iperf3's server as its client needs for TCP, as a program on one of our hosts.

The protocol: a control connection begins with a cookie of 37 octets; states are single
octets, parameters and results JSON behind a length of four. Each stream begins with the
same cookie. (esnet/iperf: iperf_api.h, iperf_server_api.c; BSD licence.)
"""

import asyncio
import contextlib
import json
import time
from typing import Any

from timewait.world.driver import AsyncSocket

COOKIE = 37
TEST_START, TEST_RUNNING, TEST_END, PARAM_EXCHANGE, CREATE_STREAMS = 1, 2, 4, 9, 10
EXCHANGE_RESULTS, DISPLAY_RESULTS, IPERF_DONE = 13, 14, 16
BLOCK = bytes(128 << 10)
PATIENCE = 20.0


class Stream:
    """One data connection and how much went over it."""

    def __init__(self, sock: AsyncSocket) -> None:
        self.sock = sock
        self.octets = 0

    async def drain(self) -> None:
        while data := await self.sock.recv():
            self.octets += len(data)

    async def fill(self) -> None:
        # The client closes in the middle when the test ends.
        with contextlib.suppress(ConnectionError):
            while True:
                self.octets += await self.sock.send(BLOCK)


async def serve_once(listener: AsyncSocket) -> dict[str, Any]:
    """Serve one test. What came of it: our octets and seconds, and the client's results."""
    control, _ = await listener.accept()
    cookie = await exactly(control, COOKIE)
    await control.sendall(bytes((PARAM_EXCHANGE,)))
    wishes = await receive_json(control)
    await control.sendall(bytes((CREATE_STREAMS,)))
    streams = []
    for _ in range(wishes.get("parallel", 1)):
        sock, _ = await listener.accept()
        assert await exactly(sock, COOKIE) == cookie
        streams.append(Stream(sock))
    reverse = bool(wishes.get("reverse"))
    await control.sendall(bytes((TEST_START, TEST_RUNNING)))
    begun = time.monotonic()
    tasks = [asyncio.create_task(stream.fill() if reverse else stream.drain()) for stream in streams]
    assert await exactly(control, 1) == bytes((TEST_END,))
    seconds = time.monotonic() - begun
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if ended is not None and not isinstance(ended, asyncio.CancelledError):
            raise ended
    # Closed before the results: a client that receives waits for whole blocks, or for the end.
    for stream in streams:
        stream.sock.close()
    await control.sendall(bytes((EXCHANGE_RESULTS,)))
    theirs = await receive_json(control)
    await send_json(control, results(streams, seconds))
    await control.sendall(bytes((DISPLAY_RESULTS,)))
    assert await exactly(control, 1) == bytes((IPERF_DONE,))
    control.close()
    return {"octets": sum(stream.octets for stream in streams), "seconds": seconds, "client": theirs}


def results(streams: list[Stream], seconds: float) -> dict[str, Any]:
    """Our side of the results. Stream numbers are 1, 3, 4 ...: iperf3's own habit."""
    numbers = [1, *range(3, len(streams) + 2)]
    return {
        "cpu_util_total": 0, "cpu_util_user": 0, "cpu_util_system": 0, "sender_has_retransmits": 0,
        "streams": [
            {"id": number, "bytes": stream.octets, "retransmits": -1, "jitter": 0, "errors": 0, "packets": 0,
             "start_time": 0, "end_time": seconds}
            for number, stream in zip(numbers, streams, strict=True)
        ],
    }  # fmt: skip


async def exactly(sock: AsyncSocket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part = await asyncio.wait_for(sock.recv(count - len(got)), PATIENCE)
        assert part, "iperf3 closed its connection"
        got += part
    return got


async def receive_json(sock: AsyncSocket) -> dict[str, Any]:
    length = int.from_bytes(await exactly(sock, 4), "big")
    assert length < 1 << 20
    found: dict[str, Any] = json.loads(await exactly(sock, length))
    return found


async def send_json(sock: AsyncSocket, value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    await sock.sendall(len(data).to_bytes(4, "big") + data)
