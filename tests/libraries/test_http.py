"""HTTP libraries, unmodified, against each other: on clean, lossy and slow lines, and when the server goes away."""

import asyncio
import http.client
import http.server
import socketserver
import time

import aiohttp
import httpx
import pytest
import requests
import urllib3
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

BODY = b"0123456789" * 2000


async def aiohttp_server(context=None):
    async def body(request):
        return web.Response(body=await request.read() or BODY)

    app = web.Application()
    app.router.add_route("*", "/", body)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 443 if context else 80, ssl_context=context).start()
    await asyncio.Event().wait()


async def uvicorn_server():
    async def body(request):
        return PlainTextResponse(await request.body() or BODY)

    def in_a_thread(request):
        time.sleep(1)
        return PlainTextResponse(BODY)

    app = Starlette(routes=[Route("/", body, methods=["GET", "POST"]), Route("/thread", in_a_thread)])
    await uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=80, log_level="warning")).serve()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def stdlib_server():
    http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()


async def aiohttp_client(method="GET", data=None):
    async with aiohttp.ClientSession() as session, session.request(method, "http://server/", data=data) as response:
        return await response.read()


async def httpx_client(method="GET", data=None):
    async with httpx.AsyncClient(timeout=60) as client:
        return (await client.request(method, "http://server/", content=data)).content


def httpx_blocking(method="GET", data=None):
    with httpx.Client(timeout=60) as client:
        return client.request(method, "http://server/", content=data).content


def requests_client(method="GET", data=None):
    with requests.Session() as session:
        return session.request(method, "http://server/", data=data).content


def urllib3_client(method="GET", data=None):
    return urllib3.PoolManager().request(method, "http://server/", body=data).data


def stdlib_client(method="GET", data=None):
    connection = http.client.HTTPConnection("server")
    connection.request(method, "/", body=data)
    return connection.getresponse().read()


SERVERS = [aiohttp_server, uvicorn_server, stdlib_server]
CLIENTS = [aiohttp_client, httpx_client, httpx_blocking, requests_client, urllib3_client, stdlib_client]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_gets_and_posts_to_each_server(on_each, server, client):
    on_each.serve(server)
    assert on_each.call(client) == BODY
    assert on_each.call(client, "POST", BODY[::-1]) == BODY[::-1]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_the_same_seed_gives_the_same_packets(stage, server, client):
    def run():
        it = stage(seed=3, loss="5%")
        it.serve(server)
        assert it.call(client) == BODY
        return it.digest()

    assert run() == run()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_killed_server_refuses_the_next_request(stage, client):
    it = stage()
    job = it.serve(aiohttp_server)
    assert it.call(client) == BODY
    job.kill()
    with pytest.raises(Exception, match=r"(?i)connect|refused"):
        it.call(client)


@pytest.mark.parametrize("client", [httpx_client, httpx_blocking])
def test_a_dead_server_is_noticed_by_the_clients_timeout(stage, client):
    it = stage()
    it.serve(uvicorn_server)
    it.server.power_off()
    before = it.net.now
    with pytest.raises(httpx.ConnectTimeout):
        it.call(client)
    # Once for each address that the name has.
    assert (it.net.now - before) % 60 < 1 and it.net.now - before >= 60


def test_a_pooled_connection_to_a_rebooted_server_is_reset(stage):
    it = stage()
    it.server.run(stdlib_server, daemon=True, restart=True)

    def visit():
        time.sleep(0.5)
        with requests.Session() as session:
            assert session.get("http://server/").content == BODY
            time.sleep(1)  # An acknowledgment on its way would meet the new kernel's RST at once.
            it.server.power_off()
            it.server.power_on()
            time.sleep(1)
            with pytest.raises(requests.ConnectionError, match=r"(?i)reset"):
                session.post("http://server/", data=b"x")
            return session.get("http://server/").content

    assert it.call(visit) == BODY


def test_sync_endpoints_run_in_threads_of_the_program(stage):
    it = stage()
    it.serve(uvicorn_server)

    async def both():
        async with httpx.AsyncClient(timeout=60) as client:
            began = time.monotonic()
            found = await asyncio.gather(*(client.get("http://server/thread") for _ in range(5)))
            return time.monotonic() - began, {response.content for response in found}

    took, bodies = it.call(both)
    assert bodies == {BODY} and 1 < took < 2


def test_https(stage, server_context, client_context):
    it = stage(loss="5%")
    it.serve(aiohttp_server, server_context)

    async def asynchronous():
        async with aiohttp.ClientSession() as http, http.get("https://server/", ssl=client_context) as response:
            return await response.read()

    def blocking():
        connection = http.client.HTTPSConnection("server", context=client_context)
        connection.request("GET", "/")
        return connection.getresponse().read()

    def pooled():
        return httpx.get("https://server/", verify=client_context, timeout=60).content

    assert it.call(asynchronous) == it.call(blocking) == it.call(pooled) == BODY


def test_socketserver_with_threads(on_each):
    class Upper(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                time.sleep(1)
                self.wfile.write(line.upper())

    def serve():
        class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
            allow_reuse_address = True
            daemon_threads = True

        Server(("", 9000), Upper).serve_forever()

    async def ask(word):
        reader, writer = await asyncio.open_connection("server", 9000)
        writer.write(word + b"\n")
        answer = await reader.readline()
        writer.close()
        return answer

    async def crowd():
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(b"word%d" % n) for n in range(10)))
        return answers, time.monotonic() - began

    on_each.serve(serve)
    answers, took = on_each.call(crowd)
    assert answers == [b"WORD%d\n" % n for n in range(10)]
    assert took < 9, "ten clients at once do not wait for each other"
