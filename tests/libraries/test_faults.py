"""Faults in the middle: what unmodified libraries make of a peer that dies, hangs or cannot be reached for a while."""

import asyncio
import http.client
import socket
import time

import aiohttp
import pytest
import redis.asyncio
import redis.exceptions
import websockets

from libraries.test_http import BODY, aiohttp_server, stdlib_server
from libraries.test_others import resp_server


async def websocket_server():
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    async with websockets.serve(echo, "0.0.0.0", 80):
        await asyncio.Event().wait()


def test_a_websocket_whose_server_is_killed_is_closed_without_a_goodbye(stage):
    it = stage()
    job = it.serve(websocket_server)

    async def talk():
        async with websockets.connect("ws://server:80") as connection:
            await connection.send("one")
            assert await connection.recv() == "one"
            job.kill()
            with pytest.raises(websockets.ConnectionClosedError) as told:
                await connection.recv()
            return told.value.rcvd

    assert it.call(talk) is None


def test_a_websocket_outlives_a_partition_shorter_than_its_pings(stage):
    it = stage()
    it.serve(websocket_server)

    async def talk():
        async with websockets.connect("ws://server:80", ping_interval=20, ping_timeout=20) as connection:
            with it.net.partition("client", "server"):
                await connection.send("through")
                await asyncio.sleep(10)
            began = time.monotonic()
            return await connection.recv(), time.monotonic() - began

    answer, took = it.call(talk)
    # The retransmission that gets through is the first after the partition: the timeouts double.
    assert answer == "through" and 0 < took < 10
    assert it.net.record.retransmissions(host="client")


def test_redis_retries_on_a_new_connection_when_the_server_was_restarted(stage):
    it = stage()
    jobs = [it.serve(resp_server)]

    async def work():
        client = redis.asyncio.Redis(host="server", protocol=2)
        await client.set("name", "value")
        jobs[0].kill()
        # What the kernel still holds of the old connection (FIN-WAIT) does not keep the port: SO_REUSEADDR.
        jobs.append(it.server.run(resp_server, daemon=True))
        await asyncio.sleep(1)
        found = await client.get("name")
        await client.aclose()
        return found

    assert it.call(work) is None


def test_redis_without_a_server_is_refused(stage):
    async def work():
        await redis.asyncio.Redis(host="server", protocol=2, retry=None).ping()

    with pytest.raises(redis.exceptions.ConnectionError, match=r"(?i)connect"):
        stage().call(work)


@pytest.mark.parametrize("server", [aiohttp_server, stdlib_server])
def test_a_frozen_server_holds_the_client_until_its_timeout(stage, server):
    it = stage()
    job = it.serve(server)

    async def fetch():
        timeout = aiohttp.ClientTimeout(total=9)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            job.freeze()
            began = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await session.get("http://server/")
            took = time.monotonic() - began
            job.thaw()
            async with session.get("http://server/") as response:
                return took, await response.read()

    took, body = it.call(fetch)
    assert 9 <= took < 10.001 and body == BODY


def test_a_body_that_breaks_off_is_no_complete_answer(stage):
    def serve():
        with socket.create_server(("", 80)) as door:
            while True:
                conn, _ = door.accept()
                conn.recv(1000)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50_000))
                conn.close()

    it = stage(loss="5%")
    it.serve(serve)

    def blocking():
        connection = http.client.HTTPConnection("server")
        connection.request("GET", "/")
        with pytest.raises(http.client.IncompleteRead) as told:
            connection.getresponse().read()
        return len(told.value.partial)

    async def asynchronous():
        async with aiohttp.ClientSession() as session, session.get("http://server/") as response:
            await response.read()

    assert it.call(blocking) == 50_000
    with pytest.raises(aiohttp.ClientPayloadError):
        it.call(asynchronous)
