"""asyncio's promises: each scenario runs as a program on a simulated host, and may run on the machine itself."""

import asyncio
import contextvars
import gc
import os
import socket
import struct
import tempfile

import pytest

from timewait.run import MisuseError, Net

HOST = "127.0.0.1"
BIG = bytes(range(256)) * 4096
"""A megabyte."""
MANY = 8
"""So many of them are more than the buffers of a reader that does not read take."""


def on_the_machine(scenario):
    """What a scenario tells on the machine's own loop and sockets."""
    return asyncio.run(scenario())


def simulated(scenario):
    """What it tells as a program on a simulated host."""
    with Net(seed=5) as net:
        job = net.host("a").run(scenario)
        net.run(timeout=10_000)
        return job.result()


@pytest.fixture(params=[simulated, pytest.param(on_the_machine, marks=pytest.mark.slow)])
def told(request):
    """Runs a scenario in one of both places. The machine's time passes as it likes, so it is asked by `make soak`."""
    return request.param


class Teller(asyncio.Protocol):
    """Tells what it is called with; data that follows data is told as one."""

    def __init__(self, name, log, keep_open=False):
        self.name, self.log, self.keep_open = name, log, keep_open
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()
        self.got = asyncio.Event()

    def tell(self, *words):
        self.log.append((self.name, *words))

    def connection_made(self, transport):
        self.transport = transport
        self.tell("made")

    def data_received(self, data):
        assert type(data) is bytes
        if not self.data:
            self.tell("data")
        self.data += data
        self.got.set()

    def eof_received(self):
        self.tell("eof", len(self.data))
        return self.keep_open

    def pause_writing(self):
        self.tell("pause")

    def resume_writing(self):
        self.tell("resume")

    def connection_lost(self, error):
        self.tell("lost", type(error).__name__)
        if not self.lost.done():
            self.lost.set_result(None)

    async def received(self, count):
        while len(self.data) < count:
            self.got.clear()
            await self.got.wait()


class Meeting:
    """A server and a client of one loop that have met."""

    def __init__(self, server=Teller, client=Teller, keep_open=False):
        self.kinds, self.keep_open, self.log = (server, client), keep_open, []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        met = loop.create_future()

        def accept():
            made = self.kinds[0]("server", self.log, self.keep_open)
            met.set_result(made)
            return made

        self.door = await loop.create_server(accept, HOST, 0)
        self.port = self.door.sockets[0].getsockname()[1]
        _, self.client = await loop.create_connection(lambda: self.kinds[1]("client", self.log), HOST, self.port)
        self.server = await met
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *error):
        for end in (self.client, self.server):
            if not end.lost.done():
                end.transport.abort()
        self.door.close()
        await asyncio.sleep(0)

    def of(self, name):
        """What one side told."""
        return [words for who, *words in self.log if who == name]

    def sides(self):
        return self.of("client"), self.of("server")


def test_a_connection_from_its_beginning_to_its_end(told):
    async def scenario():
        async with Meeting() as it:
            it.client.transport.write(b"hello")
            await it.server.received(5)
            it.server.transport.write(bytearray(b"wor"))
            it.server.transport.write(memoryview(b"ld"))
            it.server.transport.writelines([b"!", b"", bytearray(b"?")])
            await it.client.received(7)
            it.client.transport.close()
            it.client.transport.close()
            closing = it.client.transport.is_closing(), it.client.transport.is_reading()
            await asyncio.gather(it.client.lost, it.server.lost)
            return it.sides(), it.client.data, it.server.data, closing

    sides, *rest = told(scenario)
    assert rest == [b"world!?", b"hello", (True, False)]
    assert sides == (
        [["made"], ["data"], ["lost", "NoneType"]],
        [["made"], ["data"], ["eof", 5], ["lost", "NoneType"]],
    )


def test_half_a_connection_goes_on(told):
    async def scenario():
        async with Meeting(keep_open=True) as it:
            it.client.transport.write(b"question")
            can = it.client.transport.can_write_eof()
            it.client.transport.write_eof()
            it.client.transport.write_eof()
            await it.server.received(8)
            await asyncio.sleep(0.05)
            for _ in range(3):
                it.server.transport.write(b"answer")
            it.server.transport.close()
            await asyncio.gather(it.client.lost, it.server.lost)
            return it.sides(), it.client.data, can

    assert told(scenario) == (
        (
            [["made"], ["data"], ["eof", 18], ["lost", "NoneType"]],
            [["made"], ["data"], ["eof", 8], ["lost", "NoneType"]],
        ),
        b"answer" * 3,
        True,
    )


def test_a_reader_that_pauses_stops_its_writer(told):
    async def scenario():
        async with Meeting() as it:
            it.server.transport.pause_reading()
            it.client.transport.set_write_buffer_limits(high=100_000, low=10_000)
            limits = it.client.transport.get_write_buffer_limits()
            for _ in range(MANY):
                it.client.transport.write(BIG)
            full = it.client.transport.get_write_buffer_size() > 100_000
            await asyncio.sleep(0.05)
            nothing = it.server.data
            it.server.transport.resume_reading()
            await it.server.received(MANY * len(BIG))
            await asyncio.sleep(0.05)
            whole = it.server.data == BIG * MANY
            return it.sides(), limits, full, nothing, whole, it.client.transport.get_write_buffer_size()

    sides, limits, full, nothing, whole, left = told(scenario)
    assert sides[0] == [["made"], ["pause"], ["resume"]]
    assert (limits, full, nothing, whole, left) == ((10_000, 100_000), True, b"", True, 0)


def test_a_connection_closed_with_a_full_buffer_sends_it_first(told):
    async def scenario():
        async with Meeting() as it:
            it.server.transport.pause_reading()
            for _ in range(MANY):
                it.client.transport.write(BIG)
            it.client.transport.close()
            it.server.transport.resume_reading()
            await asyncio.gather(it.client.lost, it.server.lost)
            return it.sides(), it.server.data == BIG * MANY

    sides, whole = told(scenario)
    assert whole and [side[-1] for side in sides] == [["lost", "NoneType"]] * 2


def test_half_closing_with_a_full_buffer_sends_it_first(told):
    async def scenario():
        async with Meeting(keep_open=True) as it:
            it.server.transport.pause_reading()
            for _ in range(MANY):
                it.client.transport.write(BIG)
            it.client.transport.write_eof()
            it.server.transport.resume_reading()
            await it.server.received(MANY * len(BIG))
            await asyncio.sleep(0.05)
            return it.sides()

    assert told(scenario)[1][-1] == ["eof", MANY * len(BIG)]


def test_aborting_forgets_what_was_not_sent(told):
    async def scenario():
        async with Meeting() as it:
            it.server.transport.pause_reading()
            for _ in range(MANY):
                it.client.transport.write(BIG)
            it.client.transport.abort()
            it.client.transport.abort()
            await it.client.lost
            it.server.transport.resume_reading()
            await it.server.lost
            return it.sides()[0], len(it.server.data) < MANY * len(BIG)

    assert told(scenario) == ([["made"], ["pause"], ["lost", "NoneType"]], True)


def test_a_reset_is_told_as_the_error_it_is(told):
    async def scenario():
        async with Meeting() as it:
            sock = it.client.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            it.client.transport.abort()
            await it.server.lost
            # Writing to what is lost is not an error, and is forgotten.
            it.server.transport.write(b"too late")
            return it.sides()

    assert told(scenario)[1] == [["made"], ["lost", "ConnectionResetError"]]


def test_writing_to_a_peer_that_is_gone(told):
    async def scenario():
        async with Meeting(keep_open=True) as it:
            it.client.transport.abort()
            await it.client.lost
            await asyncio.sleep(0.05)
            for _ in range(3):
                it.server.transport.write(b"are you there?")
                await asyncio.sleep(0.05)
            await it.server.lost
            return it.sides()

    # The first message is answered by RST, the second meets it.
    assert told(scenario)[1] == [["made"], ["eof", 0], ["lost", "BrokenPipeError"]]


def test_what_write_refuses(told):
    async def scenario():
        async with Meeting() as it:
            found = []
            write = it.client.transport.write
            for data in ("text", 5, None, [b"x"]):
                with pytest.raises(TypeError) as refused:
                    write(data)
                found.append(str(refused.value))
            write(b"")
            write(bytearray())
            it.client.transport.write_eof()
            for data in (b"more", bytearray(b"more"), b""):
                try:
                    write(data)
                    found.append("nothing")
                except RuntimeError as refused:
                    found.append(str(refused))
            return found

    words = "data argument must be a bytes-like object, not"
    assert told(scenario) == [
        *[f"{words} {kind!r}" for kind in ("str", "int", "NoneType", "list")],
        *["Cannot call write() after write_eof()"] * 3,
    ]


class Buffered(asyncio.BufferedProtocol):
    """Takes what arrives into a buffer of its own, a hundred octets at a time."""

    def __init__(self, name, log, keep_open=False):
        self.buffer, self.data, self.log = bytearray(100), b"", log
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]

    def connection_lost(self, error):
        self.lost.set_result(len(self.data))


def test_buffered_protocols(told):
    async def scenario():
        async with Meeting(server=Buffered) as it:
            it.client.transport.write(BIG[:50_000])
            it.client.transport.close()
            return await it.server.lost, it.server.data == BIG[:50_000]

    assert told(scenario) == (50_000, True)


def test_another_protocol_takes_over_in_the_middle(told):
    async def scenario():
        async with Meeting() as it:
            it.client.transport.write(b"first")
            await it.server.received(5)
            second = Buffered("second", it.log)
            second.transport = it.server.transport
            it.server.transport.set_protocol(second)
            it.client.transport.write(b"second")
            await asyncio.sleep(0.05)
            third = Teller("third", it.log)
            it.server.transport.set_protocol(third)
            it.client.transport.write(b"third")
            await third.received(5)
            it.client.transport.close()
            await third.lost
            return it.server.data, second.data, third.data, it.sides(), it.server.transport.get_protocol() is None

    assert told(scenario)[:3] == (b"first", b"second", b"third")


def test_a_protocol_that_raises_loses_its_connection(told):
    async def scenario():
        log = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: log.append((context["message"], str(context["exception"]))))

        class Raises(Teller):
            def data_received(self, data):
                raise ValueError("not like this")

        async with Meeting(server=Raises) as it:
            it.client.transport.write(b"x")
            await asyncio.gather(it.client.lost, it.server.lost)
            return log, it.sides()

    assert told(scenario)[0] == [("Fatal error: protocol.data_received() call failed.", "not like this")]


def test_reading_paused_from_within(told):
    async def scenario():
        class Sips(Teller):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()
                asyncio.get_running_loop().call_later(0.01, self.transport.resume_reading)

        async with Meeting(server=Sips) as it:
            for _ in range(5):
                it.client.transport.write(b"drop")
                await asyncio.sleep(0.03)
            await it.server.received(20)
            reading = it.server.transport.is_reading()
            it.client.transport.close()
            await it.server.lost
            return it.sides(), it.server.data, reading in (True, False)

    assert told(scenario)[1] == b"drop" * 5


def test_what_a_transport_says_of_itself(told):
    async def scenario():
        async with Meeting() as it:
            found = []
            for end in (it.client, it.server):
                info = end.transport.get_extra_info
                sock = info("socket")
                found += [info("peername")[0], info("sockname")[0], info("nothing", "else")]
                found += [sock.family, sock.type, sock.proto, sock.gettimeout(), sock.fileno() >= 0]
                found += [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0]
            crossed = it.client.transport.get_extra_info("peername") == it.server.transport.get_extra_info("sockname")
            shown = repr(it.client.transport)
            return found, crossed, "read=polling" in shown and "write=<idle, bufsize=0>" in shown

    found, *rest = told(scenario)
    of_one = [HOST, HOST, "else", socket.AF_INET, socket.SOCK_STREAM, 6, 0.0, True, True]
    assert found == of_one * 2 and rest == [True, True]


def test_a_file_is_sent(told):
    async def scenario():
        async with Meeting() as it:
            with tempfile.TemporaryFile() as file:
                file.write(BIG)
                file.flush()
                loop = asyncio.get_running_loop()
                it.client.transport.write(b"head")
                count = await loop.sendfile(it.client.transport, file, 1000, 500_000)
                it.client.transport.write(b"tail")
                await it.server.received(500_008)
                return count, it.server.data == b"head" + BIG[1000:501_000] + b"tail", file.tell()

    assert told(scenario) == (500_000, True, 501_000)


def test_servers_end(told):
    async def scenario():
        async with Meeting() as it:
            it.door.close()
            refused = None
            try:
                await asyncio.open_connection(HOST, it.port)
            except OSError as error:
                refused = type(error).__name__
            it.client.transport.write(b"still here")
            await it.server.received(10)
            serving = it.door.is_serving(), it.door.sockets
            it.client.transport.close()
            await it.server.lost
            await it.door.wait_closed()
            return refused, serving

    assert told(scenario) == ("ConnectionRefusedError", (False, ()))


def test_socket_calls(told):
    async def scenario():
        loop = asyncio.get_running_loop()
        with socket.socket() as door, socket.socket() as one:
            for each in (door, one):
                each.setblocking(False)
            door.bind((HOST, 0))
            door.listen()
            accepting = loop.create_task(loop.sock_accept(door))
            await loop.sock_connect(one, door.getsockname())
            other, _ = await accepting
            with other:
                reading = loop.create_task(loop.sock_recv(one, 100))
                await asyncio.sleep(0.01)
                await loop.sock_sendall(other, b"hello")
                found = [await reading]
                sending = loop.create_task(loop.sock_sendall(one, BIG * MANY))
                buffer, count = bytearray(100_000), 0
                while count < MANY * len(BIG):
                    count += await loop.sock_recv_into(other, buffer)
                await sending
                cancelled = loop.create_task(loop.sock_recv(one, 100))
                await asyncio.sleep(0.01)
                cancelled.cancel()
                await asyncio.gather(cancelled, return_exceptions=True)
                await loop.sock_sendall(other, b"later")
                found.append(await loop.sock_recv(one, 100))
                other.shutdown(socket.SHUT_WR)
                found.append(await loop.sock_recv(one, 100))
        with socket.socket() as nobody:
            nobody.setblocking(False)
            try:
                await loop.sock_connect(nobody, (HOST, 1))
            except OSError as error:
                found.append(type(error).__name__)
        return found

    assert told(scenario) == [b"hello", b"later", b"", "ConnectionRefusedError"]


def test_readers_and_writers_of_a_socket(told):
    async def scenario():
        loop, log = asyncio.get_running_loop(), []
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)
            full = loop.create_future()
            readable = asyncio.Event()

            def write():
                log.append("writable")
                loop.remove_writer(one)
                full.set_result(None)

            def read(word):
                log.append((word, one.recv(2)))
                if len(log) > 4:
                    readable.set()

            loop.add_writer(one, write)
            loop.add_reader(one.fileno(), read, "never")
            loop.add_reader(one.fileno(), read, "reads")
            await full
            other.send(b"abcdefgh")
            await readable.wait()
            removed = loop.remove_reader(one), loop.remove_reader(one), loop.remove_writer(one.fileno())
            other.send(b"unread")
            await asyncio.sleep(0.02)
            return log, removed

    log, removed = told(scenario)
    assert log == ["writable", *[("reads", piece) for piece in (b"ab", b"cd", b"ef", b"gh")]]
    assert removed == (True, False, False)


def test_a_transports_descriptor_is_its_own(told):
    async def scenario():
        async with Meeting() as it:
            fd = it.client.transport.get_extra_info("socket").fileno()
            loop, found = asyncio.get_running_loop(), []
            for call in (lambda: loop.add_reader(fd, print), lambda: loop.remove_writer(fd)):
                with pytest.raises(RuntimeError) as refused:
                    call()
                found.append("is used by transport" in str(refused.value))
            return found

    assert told(scenario) == [True, True]


def test_datagram_endpoints(told):
    async def scenario():
        loop, log = asyncio.get_running_loop(), []
        done = asyncio.Event()

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                log.append(("server", data))
                self.transport.sendto(data.upper(), address)

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                log.append(("client", data, address[0]))
                done.set()

            def error_received(self, error):
                log.append(("client", type(error).__name__))
                done.set()

            def connection_lost(self, error):
                log.append(("client lost", error))

        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
        port = server.get_extra_info("sockname")[1]
        client, _ = await loop.create_datagram_endpoint(Client, remote_addr=(HOST, port))
        client.sendto(b"hello")
        await done.wait()
        server.close()
        await asyncio.sleep(0.01)
        done.clear()
        client.sendto(b"anybody?")
        await done.wait()
        client.close()
        await asyncio.sleep(0.01)
        return log

    assert told(scenario) == [
        ("server", b"hello"), ("client", b"HELLO", HOST), ("client", "ConnectionRefusedError"), ("client lost", None),
    ]  # fmt: skip


def test_callbacks_and_timers_keep_their_order(told):
    async def scenario():
        loop, log = asyncio.get_running_loop(), []
        variable = contextvars.ContextVar("variable", default="outer")
        context = contextvars.copy_context()
        context.run(variable.set, "inner")
        for n in range(3):
            loop.call_soon(log.append, ("soon", n))
        loop.call_soon(lambda: log.append(variable.get()), context=context)
        loop.call_soon(lambda: log.append(variable.get()))
        loop.call_soon(log.append, "cancelled").cancel()
        for n in (3, 1, 2):
            loop.call_later(n / 100, log.append, ("later", n))
        timers = [loop.call_later(5, log.append, "never") for _ in range(300)]
        loop.call_at(loop.time() + 0.04, log.append, "at")
        for timer in timers:
            timer.cancel()
        loop.call_soon(lambda: loop.call_soon(log.append, "next round"))
        loop.call_soon(log.append, "this round")
        loop.call_soon_threadsafe(log.append, "from a thread")
        await asyncio.sleep(0.06)
        return log

    assert told(scenario) == [
        *[("soon", n) for n in range(3)], "inner", "outer", "this round", "from a thread", "next round",
        *[("later", n) for n in (1, 2, 3)], "at",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_debug_mode_works_and_tells_of_what_failed(told):
    async def scenario():
        log = []
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda loop, context: log.append(("source_traceback" in context, len(context))))
        loop.call_soon(lambda: 1 / 0)
        async with Meeting() as it:
            it.client.transport.write(b"x")
            await it.server.received(1)
            with pytest.raises(TypeError):
                loop.call_soon(None)
        loop.set_debug(False)
        return log

    assert told(scenario) == [(True, 4)]


def test_a_generator_left_behind_is_closed_by_its_loop(told):
    async def scenario():
        log = []

        async def numbers():
            try:
                for n in range(10):
                    yield n
            finally:
                await asyncio.sleep(0.01)
                log.append("closed")

        async for n in numbers():
            if n == 2:
                break
        gc.collect()
        await asyncio.sleep(0.05)
        return log

    assert told(scenario) == ["closed"]


def test_real_descriptors_are_refused():
    async def program():
        read, write = os.pipe()
        try:
            with pytest.raises(MisuseError, match="simulated sockets only"):
                asyncio.get_running_loop().add_reader(read, print)
        finally:
            os.close(read)
            os.close(write)
        return "refused"

    with Net(seed=1) as net:
        job = net.host("a").run(program)
        net.run()
        assert job.result() == "refused"
