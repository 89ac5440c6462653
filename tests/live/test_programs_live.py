"""The same programs on real time: asyncio servers on our stack, and the kernel's curl as their client."""

import asyncio
import http.server

import pytest

from timewait.run import Net

pytestmark = pytest.mark.live
BODY = b"0123456789" * 50_000


async def aiohttp_server():
    from aiohttp import web

    async def body(request):
        return web.Response(body=BODY)

    app = web.Application()
    app.router.add_get("/", body)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 80).start()
    await asyncio.Event().wait()


async def uvicorn_server():
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def body(request):
        return Response(BODY)

    app = Starlette(routes=[Route("/", body)])
    await uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=80, log_level="warning")).serve()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


def stdlib_server():
    http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()


@pytest.mark.parametrize("serve", [aiohttp_server, uvicorn_server, stdlib_server])
@pytest.mark.parametrize("loss", [0, 0.02])
def test_curl_fetches_from_a_program_on_our_stack(serve, loss):
    with Net(seed=1, clock="real") as net:
        server = net.host("server", "10.88.0.2/24")
        kernel = net.kernel("curl", "10.88.0.1/24")
        net.link(kernel, server, delay="1ms", loss=loss)
        server.run(serve, daemon=True)
        net.run(0.5)
        done = kernel.run(["curl", "-s", "--max-time", "20", "-w", "%{http_code} %{size_download}", "-o", "/dev/null",
                           "http://10.88.0.2/"])  # fmt: skip
        assert done.stdout == f"200 {len(BODY)}", done
        assert net.record.packets(), "the packets of both are in the record"
