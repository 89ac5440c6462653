# ruff: noqa: T201
"""What the other tools of comparison.md do: pip install simloop detangle seedloop; python comparison_others.py simloop.

Ordinary asyncio programs, each printing one line; the tool is named on the command line (simloop, detangle, seedloop).
seedloop has no streams: there, messages between reliable endpoints stand for a connection.
"""

import asyncio
import socket
import struct
import sys

DAY = 86_400
TOOL = sys.argv[1] if len(sys.argv) > 1 else "simloop"


if TOOL == "simloop":
    from simloop import sim_test

    def simulate(main):
        sim_test(seeds=1)(main)()

    def spawn(name, coroutine):
        return asyncio.get_running_loop().net.host(name).create_task(coroutine)

    def network():
        return asyncio.get_running_loop().net

    def ensure(name):
        network().host(name)

elif TOOL == "seedloop":
    import seedloop

    def simulate(main):
        seedloop.check(main, seeds=1)

else:
    import detangle

    def simulate(main):
        detangle.run(main, max_time=1e12, max_steps=10**8)

    def spawn(name, coroutine):
        ensure(name)
        return detangle.spawn(coroutine, host=name)

    def network():
        return detangle.network()

    def ensure(name):
        network().ensure_host(name)


async def with_server(handle, client, **options):
    """Run `client` on host a while `handle` serves on host server, for a day at most."""

    async def serve():
        await (await asyncio.start_server(handle, port=80, **options)).serve_forever()

    spawn("server", serve())
    await asyncio.sleep(1)
    await asyncio.wait_for(spawn("a", client()), DAY)


async def silent(reader, writer):
    await asyncio.sleep(1e9)


async def unreachable():
    ensure("server")
    ensure("a")
    network().partition(["a"], ["server"])
    start = asyncio.get_running_loop().time()

    async def client():
        try:
            await asyncio.open_connection("server", 80)
        except BaseException as error:
            print("unreachable:", repr(error), "after", asyncio.get_running_loop().time() - start)

    await asyncio.wait_for(spawn("a", client()), DAY)


async def crash():
    async def client():
        loop = asyncio.get_running_loop()
        reader, _ = await asyncio.open_connection("server", 80)
        start = loop.time()
        loop.call_later(5, network().crash, "server")
        try:
            print("crash: read", await reader.read(), "after", loop.time() - start)
        except BaseException as error:
            print("crash:", repr(error), "after", loop.time() - start)

    await with_server(silent, client)


async def backlog():
    async def client():
        for _ in range(20):
            await asyncio.open_connection("server", 80)
        print("backlog: 20 connected")

    await with_server(silent, client, backlog=1)


async def unread():
    async def close(reader, writer):
        await asyncio.sleep(1)
        writer.close()

    async def client():
        reader, writer = await asyncio.open_connection("server", 80)
        writer.write(b"unread")
        try:
            print("unread: read", await reader.read())
        except OSError as error:
            print("unread:", repr(error))

    await with_server(close, client)


async def linger():
    async def client():
        _, writer = await asyncio.open_connection("server", 80)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        print("linger: accepted by", sock)

    await with_server(silent, client)


async def stall():
    async def client():
        _, writer = await asyncio.open_connection("server", 80)
        taken = 0
        try:
            async with asyncio.timeout(100):
                for _ in range(200):
                    writer.write(bytes(65536))
                    await writer.drain()
                    taken += 65536
            print("stall: none,", taken, "octets taken")
        except TimeoutError:
            print("stall: after", taken, "octets")

    await with_server(silent, client)


async def ports():
    async def close(reader, writer):
        await reader.read()
        writer.close()

    async def client():
        for _ in range(30_000):
            _, writer = await asyncio.open_connection("server", 80)
            writer.close()
        print("ports: 30000 connected")

    await with_server(close, client)


def endpoints(world):
    return world.net.bind(0, reliable=True), world.net.bind(1, reliable=True)


async def no_streams(world):
    await asyncio.open_connection("server", 80)


async def unreachable_endpoint(world):
    one, other = endpoints(world)
    world.net.partition({0}, {1})
    await one.send(1, b"hello")
    await asyncio.sleep(1)
    world.net.heal()
    try:
        print("unreachable:", await asyncio.wait_for(other.recv(), DAY))
    except TimeoutError:
        print("unreachable: the receiver waits after a day, though the network has healed")


async def crashed_endpoint(world):
    one, other = endpoints(world)

    class Server:
        async def run(self):
            while True:
                await other.recv()

    world.start(Server())
    reading = asyncio.ensure_future(one.recv())
    await world.run_for(seconds=DAY, faults=[world.crash(1, at=5.0)])
    await one.send(1, b"are you there?")
    await asyncio.sleep(DAY)
    print("crash: the receiver", "has an answer" if reading.done() else "still waits after a day")
    reading.cancel()


async def endpoint_that_never_reads(world):
    one, _ = endpoints(world)
    for _ in range(200):
        await one.send(1, bytes(65536))
    await asyncio.sleep(1)
    print("stall: none,", 200 * 65536, "octets taken")


STREAMS = (unreachable, crash, backlog, unread, linger, stall, ports)
ENDPOINTS = (no_streams, unreachable_endpoint, crashed_endpoint, endpoint_that_never_reads)

for each in ENDPOINTS if TOOL == "seedloop" else STREAMS:
    try:
        simulate(each)
    except BaseException as error:
        print(f"{each.__name__}: the run ended with {type(error).__name__}: {str(error)[:120]}")
