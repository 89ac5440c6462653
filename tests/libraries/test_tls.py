"""TLS in virtual time: certificates against the host's clock, octets from the seed, and what faults do to it."""

import asyncio
import datetime
import socket
import ssl
import time

import aiohttp
import httpx
import pytest
import requests

from libraries.test_http import BODY, aiohttp_server
from timewait.run import openssl


def day(year, month=1, number=1):
    return datetime.datetime(year, month, number, tzinfo=datetime.UTC)


def context_of(authority, first, last):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("server", not_before=first, not_after=last).configure_cert(context)
    return context


def blocking_server(context, port=443):
    with socket.create_server(("", port)) as door:
        while True:
            conn, _ = door.accept()
            try:
                with context.wrap_socket(conn, server_side=True) as wrapped:
                    wrapped.sendall(wrapped.recv(100).upper())
            except OSError as error:
                print(error)


async def asynchronous_server(context, port=443):
    async def upper(reader, writer):
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(upper, "0.0.0.0", port, ssl=context)
    await server.serve_forever()


def blocking_client(context):
    with socket.create_connection(("server", 443)) as raw, context.wrap_socket(raw, server_hostname="server") as conn:
        conn.sendall(b"hello")
        return conn.recv(100)


async def asynchronous_client(context):
    reader, writer = await asyncio.open_connection("server", 443, ssl=context)
    writer.write(b"hello")
    answer = await reader.read(100)
    writer.close()
    return answer


CLIENTS = [blocking_client, asynchronous_client]
SERVERS = [blocking_server, asynchronous_server]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (day(2025), day(2025, 12, 31), "certificate has expired"),
        (day(2026, 2), day(2027), "certificate is not yet valid"),
        (day(2026), day(2026, 1, 2), None),
    ],
)
def test_certificates_are_judged_by_the_hosts_clock(
    stage, authority, client_context, client, first, last, said, capsys
):
    it = stage()
    it.serve(blocking_server, context_of(authority, first, last))
    if said is None:
        assert it.call(client, client_context) == b"HELLO"
        return
    with pytest.raises(ssl.SSLCertVerificationError, match=said) as told:
        it.call(client, client_context)
    assert told.value.verify_message == said
    if client is blocking_client:
        it.net.run(1)
        assert "alert" in capsys.readouterr().out


def test_a_certificate_expires_while_the_simulation_runs(stage, authority, client_context):
    it = stage()
    it.serve(asynchronous_server, context_of(authority, day(2026), day(2026, 1, 2)))
    assert it.call(blocking_client, client_context) == b"HELLO"
    it.net.run(86_400)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        it.call(blocking_client, client_context)
    assert client_context.verify_flags & openssl.NO_CHECK_TIME == 0


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_same_seed_gives_the_same_octets(stage, server_context, client_context, server, client):
    if not openssl.deterministic:
        pytest.skip("this Python hides its OpenSSL's RAND_set_rand_method: octets of TLS differ")

    def run(seed):
        it = stage(seed=seed, loss="10%")
        it.serve(server, server_context)
        assert it.call(client, client_context) == b"HELLO"
        return it.digest()

    assert run(3) == run(3) != run(4)


def test_randomness_outside_of_programs_stays_the_machines(stage):
    def main():
        return ssl.RAND_bytes(16)

    found = [stage(seed=5).call(main) for _ in range(2)]
    assert len(set(found)) == (1 if openssl.deterministic else 2)
    assert ssl.RAND_bytes(16) != ssl.RAND_bytes(16)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_handshake_into_a_dead_line_ends_by_its_timeout(stage, server_context, client_context, client):
    it = stage()
    it.serve(blocking_server, server_context)

    def blocking():
        raw = socket.create_connection(("server", 443), timeout=7)
        it.server.power_off()
        with pytest.raises(TimeoutError, match="timed out"):
            client_context.wrap_socket(raw, server_hostname="server")
        return time.monotonic()

    async def asynchronous():
        raw = await asyncio.to_thread(socket.create_connection, ("server", 443))
        raw.setblocking(False)
        it.server.power_off()
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
            await asyncio.open_connection(
                sock=raw, ssl=client_context, server_hostname="server", ssl_handshake_timeout=7
            )
        return time.monotonic()

    before = it.net.now + 1000
    took = it.call(blocking if client is blocking_client else asynchronous) - before
    assert 7 <= took < 8


def test_non_blocking_tls_by_hand(stage, server_context, client_context):
    import select

    it = stage(loss="10%")
    it.serve(asynchronous_server, server_context)

    def main():
        raw = socket.create_connection(("server", 443))
        conn = client_context.wrap_socket(raw, server_hostname="server", do_handshake_on_connect=False)
        conn.setblocking(False)

        def insist(call, *args):
            while True:
                try:
                    return call(*args)
                except ssl.SSLWantReadError:
                    select.select([conn], [], [])
                except ssl.SSLWantWriteError:
                    select.select([], [conn], [])

        with pytest.raises(ssl.SSLWantReadError):
            conn.do_handshake()
        insist(conn.do_handshake)
        insist(conn.send, b"by hand")
        return insist(conn.recv, 100)

    assert it.call(main) == b"BY HAND"


def test_the_server_is_killed_in_the_middle_of_tls(stage, server_context, client_context):
    it = stage()
    job = it.serve(aiohttp_server, server_context)

    async def asynchronous():
        async with aiohttp.ClientSession() as http:
            async with http.get("https://server/", ssl=client_context) as response:
                assert await response.read() == BODY
            job.kill()
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get("https://server/", ssl=client_context)

    it.call(asynchronous)
    with pytest.raises(httpx.ConnectError):
        it.call(lambda: httpx.get("https://server/", verify=client_context))


def test_requests_over_tls_with_a_file_of_authorities(stage, authority, server_context, tmp_path):
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    it = stage(loss="5%")
    it.serve(aiohttp_server, server_context)
    assert it.call(lambda: requests.get("https://server/", verify=str(file)).content) == BODY
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        it.call(lambda: requests.get("https://server/").content)
