"""WebSockets, Redis, HTTP/2, gRPC-like streams, selectors and TLS echo: unmodified libraries on simulated hosts."""

import asyncio
import concurrent.futures
import queue
import selectors
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest
import redis.asyncio
import redis.exceptions
import websockets


def test_websockets(on_each):
    async def serve():
        async def upper(connection):
            async for message in connection:
                await connection.send(message.upper())

        async with websockets.serve(upper, "0.0.0.0", 80):
            await asyncio.Event().wait()

    async def talk():
        async with websockets.connect("ws://server:80") as connection:
            found = []
            for n in range(20):
                await connection.send(f"message {n}")
                found.append(await connection.recv())
            return found

    on_each.serve(serve)
    assert on_each.call(talk) == [f"MESSAGE {n}" for n in range(20)]


def test_a_websocket_notices_a_dead_peer_by_its_pings(stage):
    async def serve():
        async with websockets.serve(lambda connection: connection.wait_closed(), "0.0.0.0", 80):
            await asyncio.Event().wait()

    it = stage()
    it.serve(serve)

    async def listen():
        async with websockets.connect("ws://server:80", ping_interval=20, ping_timeout=20) as connection:
            it.server.power_off()
            began = time.monotonic()
            with pytest.raises(websockets.ConnectionClosed):
                await connection.recv()
            return time.monotonic() - began

    assert 20 <= it.call(listen) <= 60


async def resp_server():
    """A small Redis: PING, SET, GET, INCRBY and the handshake of clients, in RESP2."""
    data = {}

    async def command(reader):
        line = await reader.readline()
        if not line:
            return None
        words = []
        for _ in range(int(line[1:])):
            size = int((await reader.readline())[1:])
            words.append(await reader.readexactly(size))
            await reader.readexactly(2)
        return words

    def answer(words):
        name, *rest = words[0].upper(), *words[1:]
        if name == b"PING":
            return b"+PONG\r\n"
        if name == b"SET":
            data[rest[0]] = rest[1]
            return b"+OK\r\n"
        if name == b"GET":
            value = data.get(rest[0])
            return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
        if name == b"INCRBY":
            data[rest[0]] = b"%d" % (int(data.get(rest[0], b"0")) + int(rest[1]))
            return b":%s\r\n" % data[rest[0]]
        return b"+OK\r\n" if name in (b"CLIENT", b"SELECT") else b"-ERR unknown command\r\n"

    async def serve(reader, writer):
        while (words := await command(reader)) is not None:
            writer.write(answer(words))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 6379)
    await server.serve_forever()


def test_redis(on_each):
    async def work():
        client = redis.asyncio.Redis(host="server", protocol=2)
        await client.set("name", "value")
        counts = await asyncio.gather(*(client.incr("n") for _ in range(20)))
        found = await client.get("name"), await client.get("nothing"), sorted(counts)
        await client.aclose()
        return found

    on_each.serve(resp_server)
    assert on_each.call(work) == (b"value", None, list(range(1, 21)))


def test_redis_whose_server_loses_power_times_out(stage):
    it = stage()
    it.serve(resp_server)

    async def work():
        client = redis.asyncio.Redis(host="server", protocol=2, socket_timeout=5)
        await client.ping()
        it.server.power_off()
        began = time.monotonic()
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.get("x")
        return time.monotonic() - began

    assert it.call(work) >= 5


def test_http2_with_h2(on_each):
    body = bytes(range(256)) * 100

    async def pump(reader, writer, connection, handle):
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if await handle(connection, event):
                    writer.write(connection.data_to_send())
                    return
            writer.write(connection.data_to_send())
            await writer.drain()

    async def serve():
        async def on_connection(reader, writer):
            connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False))
            connection.initiate_connection()
            waiting = {}

            def send_more(connection):
                for stream, rest in list(waiting.items()):
                    while rest and (room := min(connection.local_flow_control_window(stream), 16384)):
                        connection.send_data(stream, rest[:room])
                        rest = waiting[stream] = rest[room:]
                    if not rest:
                        connection.end_stream(stream)
                        del waiting[stream]

            async def handle(connection, event):
                if isinstance(event, h2.events.RequestReceived):
                    connection.send_headers(event.stream_id, [(":status", "200")])
                    waiting[event.stream_id] = body
                send_more(connection)
                return False

            await pump(reader, writer, connection, handle)
            writer.close()

        server = await asyncio.start_server(on_connection, "0.0.0.0", 8080)
        await server.serve_forever()

    async def fetch():
        reader, writer = await asyncio.open_connection("server", 8080)
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        headers = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "server")]
        found = {}
        for _ in range(3):
            stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, headers, end_stream=True)
            found[stream] = b""
        open_streams = set(found)

        async def handle(connection, event):
            if isinstance(event, h2.events.DataReceived):
                found[event.stream_id] += event.data
            if isinstance(event, h2.events.StreamEnded):
                open_streams.discard(event.stream_id)
            return not open_streams

        await pump(reader, writer, connection, handle)
        writer.close()
        return list(found.values())

    on_each.serve(serve)
    assert on_each.call(fetch) == [body] * 3


def test_a_server_on_selectors(on_each):
    def serve():
        chooser = selectors.DefaultSelector()
        door = socket.create_server(("", 7))
        door.setblocking(False)
        chooser.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in chooser.select():
                if key.fileobj is door:
                    conn, _ = door.accept()
                    conn.setblocking(False)
                    chooser.register(conn, selectors.EVENT_READ)
                    continue
                data = key.fileobj.recv(4096)
                if data:
                    key.fileobj.setblocking(True)
                    key.fileobj.sendall(data)
                    key.fileobj.setblocking(False)
                else:
                    chooser.unregister(key.fileobj)
                    key.fileobj.close()

    def ask(text):
        with socket.create_connection(("server", 7)) as conn:
            conn.sendall(text)
            conn.shutdown(socket.SHUT_WR)
            return conn.makefile("rb").read()

    on_each.serve(serve)
    texts = [bytes([n]) * 3000 for n in range(5)]
    jobs = [on_each.client.run(ask, text) for text in texts]
    on_each.net.run()
    assert [job.result() for job in jobs] == texts


@pytest.mark.parametrize("method", ["select", "poll", "epoll"])
def test_select_poll_and_epoll(stage, method):
    import select

    def wait(fds, timeout):
        if method == "select":
            return list(select.select(fds, [], [], timeout)[0])
        chooser = getattr(select, method)()
        for fd in fds:
            chooser.register(fd, select.POLLIN)
        return [fd for fd, _ in chooser.poll(timeout * 1000 if method == "poll" else timeout)]

    def main():
        one, other = socket.socketpair()
        began = time.monotonic()
        assert wait([other.fileno()], 2.5) == [] and time.monotonic() - began == 2.5
        one.send(b"x")
        return wait([other.fileno()], 2.5) == [other.fileno()]

    assert stage().call(main)


def test_tls_echo_blocking_and_asyncio_in_every_combination(on_each, server_context, client_context):
    text = b"secret " * 5000

    async def asynchronous_server(port):
        async def echo(reader, writer):
            writer.write(await reader.readexactly(len(text)))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, "0.0.0.0", port, ssl=server_context)
        await server.serve_forever()

    def blocking_server(port):
        with socket.create_server(("", port)) as door, server_context.wrap_socket(door, server_side=True) as wrapped:
            while True:
                conn, _ = wrapped.accept()
                with conn:
                    assert isinstance(conn, ssl.SSLSocket)
                    data = b""
                    while len(data) < len(text):
                        data += conn.recv(65536)
                    conn.sendall(data)

    async def asynchronous_client(port):
        reader, writer = await asyncio.open_connection("server", port, ssl=client_context)
        writer.write(text)
        found = await reader.readexactly(len(text))
        writer.close()
        return found

    def blocking_client(port):
        raw = socket.create_connection(("server", port))
        with client_context.wrap_socket(raw, server_hostname="server") as conn:
            conn.sendall(text)
            assert conn.version() == "TLSv1.3" and conn.getpeercert()
            return conn.makefile("rb").read(len(text))

    on_each.server.run(asynchronous_server, 1, daemon=True)
    on_each.serve(blocking_server, 2)
    for client in (asynchronous_client, blocking_client):
        assert on_each.call(client, 1) == on_each.call(client, 2) == text


def test_start_tls(stage, server_context, client_context):
    async def serve():
        async def upgrade(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(server_context)
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(upgrade, "0.0.0.0", 25)
        await server.serve_forever()

    async def call():
        reader, writer = await asyncio.open_connection("server", 25)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context, server_hostname="server")
        writer.write(b"hello\n")
        return await reader.readline()

    it = stage()
    it.serve(serve)
    assert it.call(call) == b"hello\n"


def test_a_certificate_of_somebody_else_is_refused(stage, server_context):
    def serve():
        wrapped = server_context.wrap_socket(socket.create_server(("", 1)), server_side=True)
        with pytest.raises(ssl.SSLError):
            wrapped.accept()

    def call():
        raw = socket.create_connection(("server", 1))
        ssl.create_default_context().wrap_socket(raw, server_hostname="server")

    it = stage()
    job = it.serve(serve)
    with pytest.raises(ssl.SSLCertVerificationError):
        it.call(call)
    it.net.run_until(job)
    assert job.result() is None


def test_threads_locks_queues_and_pools(stage):
    def main():
        found, lock, ready = [], threading.Lock(), threading.Event()
        work = queue.Queue(maxsize=2)
        mine = threading.local()

        def worker(n):
            mine.number = n
            ready.wait()
            while (item := work.get()) is not None:
                with lock:
                    time.sleep(0.1)
                    found.append((item, mine.number == n))
            assert threading.current_thread().name == f"worker {n}"

        threads = [threading.Thread(target=worker, args=(n,), name=f"worker {n}") for n in range(3)]
        for thread in threads:
            thread.start()
        ready.set()
        for item in range(20):
            work.put(item)
        for _ in threads:
            work.put(None)
        for thread in threads:
            thread.join()
            assert not thread.is_alive()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            began = time.monotonic()
            squares = list(pool.map(lambda n: (time.sleep(1), n * n)[1], range(8)))
            took = time.monotonic() - began
        fired = []
        timer = threading.Timer(3, fired.append, ["timer"])
        timer.start()
        timer.join()
        condition = threading.Condition()
        with condition:
            assert not condition.wait(timeout=0.5)
        return sorted(found), squares, took, fired

    it = stage()
    found, squares, took, fired = it.call(main)
    assert found == [(item, True) for item in range(20)]
    assert squares == [n * n for n in range(8)] and took == pytest.approx(2)
    assert fired == ["timer"]


def test_a_program_waits_for_its_threads_at_the_end(stage):
    it = stage()
    ended = []

    def main():
        threading.Thread(target=lambda: (time.sleep(5), ended.append("thread"))).start()
        threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()
        return "main"

    assert it.call(main) == "main"
    assert ended == ["thread"] and it.net.now == pytest.approx(5)


def test_two_threads_that_hold_what_the_other_wants_are_a_deadlock(stage):
    from timewait.run import DeadlockError

    def main():
        one, other = threading.Lock(), threading.Lock()

        def grab(first, second):
            with first:
                time.sleep(1)
                second.acquire()

        threads = [threading.Thread(target=grab, args=locks) for locks in ((one, other), (other, one))]
        for thread in threads:
            thread.start()

    with pytest.raises(DeadlockError, match=r"a lock at test_others\.py:\d+ in grab"):
        stage().call(main)
