"""Unmodified servers as programs of a simulated host in real time, asked by the kernel's curl."""

import asyncio
import hashlib
import subprocess

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("uvicorn")

import uvicorn
from aiohttp import web

from timewait.run import Net

BODY = bytes(range(256)) * 1000


async def aiohttp_server():
    async def body(request):
        return web.Response(body=await request.read() or BODY)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/", body)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 80).start()
    await asyncio.Event().wait()


async def uvicorn_server():
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        found, more = b"", True
        while more:
            message = await receive()
            found, more = found + message.get("body", b""), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": found or BODY})

    await uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=80, log_level="warning", lifespan="off")).serve()


@pytest.mark.parametrize("serve", [aiohttp_server, uvicorn_server])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_the_kernels_curl_is_served(serve, loss, tmp_path):
    with Net(seed=1, clock="real") as net:
        server, kernel = net.host("server", "10.78.0.2/24"), net.kernel("kernel", "10.78.0.1/24")
        net.link(kernel, server, delay="2ms", loss=loss)
        server.run(serve, daemon=True)
        net.run(0.3)
        (tmp_path / "sent").write_bytes(BODY[::-1])
        for extra, wanted in (((), BODY), (("--data-binary", f"@{tmp_path}/sent"), BODY[::-1])):
            got = tmp_path / "got"
            command = ["curl", "-sS", "--max-time", "30", "-o", str(got), *extra, "http://10.78.0.2/"]
            child = kernel.host.namespace.popen(command, stderr=subprocess.PIPE)
            for _ in range(400):
                net.run(0.05)
                if child.poll() is not None:
                    break
            assert child.wait(1) == 0, child.stderr.read()
            assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(wanted).digest()
