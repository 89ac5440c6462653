"""A world on an asyncio loop: its events fire while programs await."""

import asyncio

from timewait.base.instant import MSEC, SEC
from timewait.world.driver import AsyncSocket, LoopClock
from timewait.world.network import World


def test_events_fire_in_order_and_never_early() -> None:
    async def run() -> None:
        clock = LoopClock()
        seen: list[tuple[str, int]] = []
        start = clock.now()
        clock.at(start + 20 * MSEC, lambda: seen.append(("late", clock.now() - start)))
        cancelled = clock.at(start + 5 * MSEC, lambda: seen.append(("never", 0)))
        clock.at(start + 10 * MSEC, lambda: seen.append(("early", clock.now() - start)))
        clock.at(start + 10 * MSEC, lambda: seen.append(("second", clock.now() - start)))
        clock.cancel(cancelled)
        await asyncio.sleep(0.05)
        assert [name for name, _ in seen] == ["early", "second", "late"]
        assert [when >= due * MSEC for (_, when), due in zip(seen, (10, 10, 20), strict=True)] == [True] * 3
        clock.at(clock.now() + MSEC, lambda: seen.append(("closed", 0)))
        clock.close()
        await asyncio.sleep(0.01)
        assert len(seen) == 3

    asyncio.run(run())


def test_programs_await_across_a_lossy_link() -> None:
    async def run() -> None:
        clock = LoopClock()
        world = World(3, clock, record=False)
        a, b = world.host("a", "10.0.0.1/24"), world.host("b", "10.0.0.2/24")
        link = world.link(a, b, delay=MSEC)
        link.drop("third data")
        listener = AsyncSocket.listening(b.process(), ("10.0.0.2", 80))
        client = AsyncSocket.stream(a.process())
        begun = clock.now()
        await client.connect(("10.0.0.2", 80))
        assert 2 * MSEC <= clock.now() - begun < SEC
        server, _ = await listener.accept()
        data = bytearray(range(256)) * 1000
        sending = asyncio.create_task(client.sendall(data))
        got = bytearray()
        while len(got) < len(data):
            got += await server.recv()
        await sending
        assert got == data
        clock.close()

    asyncio.run(asyncio.wait_for(run(), 10))
