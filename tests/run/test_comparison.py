"""docs/comparison.md, row by row: what stream-level simulators cannot show, each shown here by ordinary programs."""

import asyncio
import errno
import socket
import struct

import pytest

from timewait.record import measure
from timewait.run import DeadlockError, Net
from timewait.run.asserts import no_reset, time_to_detect
from timewait.tcp.reasons import Drop, Why
from timewait.tcp.states import State

HOUR = 3600


def pair(**options):
    net = Net(seed=1)
    return net, net.host("client", **options), net.host("server")


def serve(handle, backlog=100):
    """A blocking server: `handle` gets each accepted socket, or None does not accept at all."""

    def program():
        import time

        listener = socket.create_server(("", 80), backlog=backlog)
        while handle is None:
            time.sleep(HOUR)
        while True:
            handle(listener.accept()[0])

    return program


def hold(sock):
    held.append(sock)


held = []


def dial(seconds=None):
    # By address: the name has an IPv6 address too, and create_connection would try both.
    return socket.create_connection(("10.0.1.2", 80), timeout=seconds)


def result(net, job):
    net.run_until(job)
    return job.result()


def test_connect_to_a_dead_host_fails_after_131_seconds_of_syn_retries():
    net, client, server = pair()
    server.power_off()

    def program():
        with pytest.raises(TimeoutError) as caught:
            dial()
        return caught.value.errno

    assert result(net, client.run(program)) == errno.ETIMEDOUT
    assert 130 < net.now < 135
    assert len(net.record.packets(host="client", flags="S")) > 6


def test_a_half_open_connection_is_found_only_by_sending():
    net, client, server = pair()
    server.run(serve(hold), daemon=True)

    def program():
        import time

        sock = dial()
        time.sleep(10)
        sock.settimeout(HOUR)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.sendall(b"still there?")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        return True

    job = client.run(program)
    net.at(5, net.reboot, server, down=1)
    assert result(net, job)


def test_a_full_backlog_drops_syns_and_connect_times_out():
    net, client, server = pair()
    server.run(serve(None, backlog=1), daemon=True)

    def program():
        found = []
        for _ in range(4):
            try:
                found.append(dial(10))
            except TimeoutError:
                found.append(None)
        return [each is not None for each in found]

    assert result(net, client.run(program)) == [True, True, False, False]
    assert net.record.drops(where="server", drop=Drop.ACCEPT_QUEUE_FULL)


def test_closing_with_unread_data_resets():
    net, client, server = pair()

    def rude(sock):
        import time

        time.sleep(1)
        sock.close()

    server.run(serve(rude), daemon=True)

    def program():
        sock = dial()
        sock.sendall(b"a request nobody reads")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        return True

    assert result(net, client.run(program))
    with pytest.raises(AssertionError, match="1 RST sent"):
        no_reset(net)


def test_ports_are_gone_in_time_wait():
    net, client, server = pair(sysctl={"net.ipv4.ip_local_port_range": "40000 40009"})
    server.run(serve(lambda sock: (sock.recv(1), sock.close())), daemon=True)

    def program():
        import time

        def visit():
            sock = dial()
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
            sock.close()

        for _ in range(10):
            visit()
        with pytest.raises(OSError) as caught:
            visit()
        time.sleep(61)
        visit()
        return caught.value.errno

    assert result(net, client.run(program)) == errno.EADDRNOTAVAIL


def test_a_reader_that_stops_stalls_the_writer_by_a_zero_window():
    net, client, server = pair()
    server.run(serve(hold), daemon=True)

    def program():
        sock = dial(60)
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                sent += sock.send(bytes(65536))
        return sent

    assert 100_000 < result(net, client.run(program)) < 10_000_000
    assert len(net.record.packets(host="client", why=Why.WINDOW_PROBE)) >= 5


def test_two_hours_of_silence_then_keepalive():
    net, client, server = pair()
    server.run(serve(hold), daemon=True)

    def program():
        sock = dial()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        return True

    job = client.run(program)
    net.at(1, net.power_off, server)
    assert result(net, job)
    assert 2 * HOUR + 11 * 60 <= net.now <= 2 * HOUR + 12 * 60
    time_to_detect(net, "client", at_most="2.2h")


def test_without_keepalive_nothing_ever_happens():
    net, client, server = pair()
    server.run(serve(hold), daemon=True)
    job = client.run(lambda: dial().recv(1))
    net.at(1, net.power_off, server)
    with pytest.raises(DeadlockError, match="recv"):
        net.run_until(job)


def test_linger_zero_resets_instead_of_closing():
    net, client, server = pair()
    got = []

    def read(sock):
        try:
            got.append(sock.recv(1))
        except OSError as error:
            got.append(error.errno)

    server.run(serve(read), daemon=True)

    def program():
        sock = dial()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    result(net, client.run(program))
    net.run(1)
    assert got == [errno.ECONNRESET]
    assert all(
        state is not State.TIME_WAIT
        for state in measure.path(net.record.connection(), net.record.connection().initiator)
    )


def test_a_lost_fin_is_sent_again():
    net, client, server = pair()
    ended = []

    async def handle(reader, writer):
        ended.append((await reader.read(), net.now))
        writer.close()

    async def main():
        await (await asyncio.start_server(handle, port=80)).serve_forever()

    server.run(main, daemon=True)
    net.drop("first FIN from client")

    async def program():
        _, writer = await asyncio.open_connection("server", 80)
        writer.close()
        await asyncio.sleep(5)

    result(net, client.run(program))
    assert ended[0][0] == b"" and ended[0][1] > 0.2
    assert len(measure.retransmissions(net.record.connection())) == 1


def test_a_path_mtu_black_hole_carries_the_handshake_and_no_data():
    net, client, server = pair()
    link = net.link(client, server, delay="5ms")
    server.run(serve(hold), daemon=True)
    net.narrow(1400, blackhole=True)

    def program():
        import time

        sock = dial()
        sock.sendall(bytes(5000))
        time.sleep(60)
        return sock.getpeername()[1]

    assert result(net, client.run(program)) == 80
    assert len(net.record.drops(where=link.name, drop=Drop.LINK_MTU)) > 5


def test_a_connection_gives_up_after_fifteen_minutes_of_retransmission():
    net, client, server = pair()
    server.run(serve(hold), daemon=True)

    def program():
        import time

        sock = dial()
        time.sleep(5)
        sock.sendall(b"x")
        with pytest.raises(TimeoutError):
            sock.recv(1)
        return True

    job = client.run(program)
    net.at(1, net.unplug, server)
    assert result(net, job)
    assert 900 < net.now < 1000
