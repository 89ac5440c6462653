"""HTTP between our stack and the kernel's programs: whole, on a good line and on bad ones."""

import asyncio
import hashlib
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from live.programs import output
from timewait.run.http_client import Client, Response, Url
from timewait.run.http_server import Directory, Pattern, Server
from timewait.run.live import Live, live, stop
from timewait.world.driver import AsyncSocket
from timewait.world.link import LinkOptions
from timewait.world.netns import Namespace

BIG = 100_000_000
BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])


def digest_of(source: Pattern) -> str:
    hashed = hashlib.sha256()
    for piece in source.pieces():
        hashed.update(piece)
    return hashed.hexdigest()


def url(address: str, path: str = "/", port: int = 80) -> str:
    return f"http://[{address}]:{port}{path}" if ":" in address else f"http://{address}:{port}{path}"


@asynccontextmanager
async def serving(net: Live, source: Pattern | Directory, family: int):
    """Our server, for as long as the block takes."""
    listener = AsyncSocket.listening(net.host.process("httpd"), (net.addresses[family], 80))
    task = asyncio.create_task(Server(source).serve(listener))
    try:
        yield
    finally:
        task.cancel()


async def shell(net: Live, script: str) -> bytes:
    """What a shell script at the kernel's end prints."""
    return await output(net, ["sh", "-ec", script])


@BOTH
def test_curl_downloads_100_mb(family: int) -> None:
    async def run() -> None:
        async with live() as net:
            source = Pattern(BIG)
            async with serving(net, source, family):
                line = await shell(net, f"curl -sS -g '{url(net.addresses[family])}' | sha256sum")
                assert line.split()[0].decode() == digest_of(source)
            await net.settle()
            assert net.host.counters.TcpOutRsts == 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_curl_keeps_a_connection_for_three_files(tmp_path: Path) -> None:
    (tmp_path / "sub dir").mkdir()
    for number in range(3):
        (tmp_path / "sub dir" / str(number)).write_bytes(os.urandom(10_000 + number))

    async def run() -> None:
        async with live() as net:
            async with serving(net, Directory(tmp_path), 0):
                base = url(net.addresses[0], "/sub%20dir/")
                words = await shell(net, f"curl -sS -w '%{{num_connects}} ' '{base}[0-2]' -o '{tmp_path}/got#1'")
                assert words.split() == [b"1", b"0", b"0"]
                for number in range(3):
                    assert (tmp_path / f"got{number}").read_bytes() == (tmp_path / f"sub dir/{number}").read_bytes()
                missing = await shell(net, f"curl -sS -o /dev/null -w '%{{http_code}}' '{base}../../etc/passwd'")
                assert missing == b"404"
                again = await shell(net, f"curl -sS -L --path-as-is '{url(net.addresses[0])}sub%20dir'")
                assert b'href="2"' in again
            assert net.host.counters.TcpPassiveOpens == 3

    asyncio.run(asyncio.wait_for(run(), 30))


@asynccontextmanager
async def nginx(net: Live, root: Path, family: int):
    """A kernel's nginx with files of its own only; `.shtml` files come in chunks."""
    assert net.namespace is not None
    home = root / "nginx"
    (home / "temp").mkdir(parents=True)
    temporary = "".join(
        f"{kind}_temp_path {home}/temp/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    address = f"[{net.kernel[family]}]" if family else net.kernel[family]
    (home / "conf").write_text(
        f"daemon off; master_process off; pid {home}/pid; error_log stderr; events {{}}"
        f"http {{ access_log off; {temporary} server {{ listen {address}:80; root {root};"
        f" location ~ shtml$ {{ ssi on; ssi_types *; }} }} }}"
    )
    child = net.namespace.popen(["nginx", "-p", str(home), "-c", str(home / "conf")], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        await stop(child)


async def patiently(client: Client, address: str) -> Response:
    """The response; the server may not listen yet."""
    for _ in range(200):
        try:
            return await client.get(Url(address))
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    raise AssertionError("the server never listened")


@BOTH
def test_our_client_fetches_from_nginx(family: int, tmp_path: Path) -> None:
    data = os.urandom(30_000_000)
    (tmp_path / "big").write_bytes(data)
    (tmp_path / "page.shtml").write_bytes(b"x" * 50_000)

    async def run() -> None:
        async with live() as net, nginx(net, tmp_path, family):
            client = Client(net.host.process("fetch"))
            response = await patiently(client, url(net.kernel[family], "/big"))
            assert response.status == 200 and await response.read() == data
            tries = client.connects
            response = await client.get(Url(url(net.kernel[family], "/page.shtml")))
            assert response.head.fields["transfer-encoding"] == "chunked"
            assert await response.read() == b"x" * 50_000
            response = await client.get(Url(url(net.kernel[family], "/big")), method="HEAD")
            assert response.head.content_length() == len(data) and await response.read() == b""
            response = await client.get(Url(url(net.kernel[family], "/nothing")))
            assert response.status == 404
            await response.read()
            assert client.connects == tries, "the connection was not kept"
            client.close()
            await net.settle()

    asyncio.run(asyncio.wait_for(run(), 60))


@BOTH
def test_our_client_fetches_from_pythons_server(family: int, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "file").write_bytes(data)

    async def run() -> None:
        async with live() as net:
            assert net.namespace is not None
            words = [sys.executable, "-m", "http.server", "--bind", net.kernel[family], "--directory", str(tmp_path)]
            child = net.namespace.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            client = Client(net.host.process("fetch"))
            for _ in range(2):
                response = await patiently(client, url(net.kernel[family], "/file", 8000))
                assert await response.read() == data
            await stop(child)

    asyncio.run(asyncio.wait_for(run(), 60))


LOSSY: LinkOptions = {"loss": 0.05}
HORRID: LinkOptions = {"loss": 0.05, "duplicate": 0.02, "reorder": 0.05, "corrupt": 0.01, "delay": 1_000_000}


@BOTH
@pytest.mark.parametrize("faults", [LOSSY, HORRID], ids=["loss", "loss-reorder-duplicate-corrupt"])
def test_a_bad_line_changes_no_octet_of_what_we_send(family: int, faults: LinkOptions) -> None:
    async def run() -> None:
        async with live(faults=faults, seed=1) as net:
            source = Pattern(2_000_000)
            async with serving(net, source, family):
                line = await shell(net, f"curl -sS -g '{url(net.addresses[family])}' | sha256sum")
                assert line.split()[0].decode() == digest_of(source)
            assert net.host.counters.TcpRetransSegs > 0

    asyncio.run(asyncio.wait_for(run(), 60))


@BOTH
@pytest.mark.parametrize("faults", [LOSSY, HORRID], ids=["loss", "loss-reorder-duplicate-corrupt"])
def test_a_bad_line_changes_no_octet_of_what_we_receive(family: int, faults: LinkOptions, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    (tmp_path / "file").write_bytes(data)

    async def run() -> None:
        async with live(faults=faults, seed=1) as net, nginx(net, tmp_path, family):
            client = Client(net.host.process("fetch"))
            response = await patiently(client, url(net.kernel[family], "/file"))
            assert await response.read() == data
            assert net.host.counters.TcpExtTCPOFOQueue > 0
            if "corrupt" in faults:
                assert net.host.counters.TcpInCsumErrors > 0

    asyncio.run(asyncio.wait_for(run(), 60))


def test_serve_as_people_call_it() -> None:
    """The command: its namespace, the variable URL, the exit status of what ran inside."""
    words = [sys.executable, "-m", "timewait.cli.main", "serve", "--size", "1M", "--hash", "-v", "--exec"]
    done = subprocess.run([*words, "curl -sS $URL | sha256sum; exit 3"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 3, done.stderr
    digest = digest_of(Pattern(1_000_000))
    assert done.stdout.split()[0].decode() == digest
    text = done.stderr.decode()
    assert f"sha256 {digest}" in text
    assert "LISTEN -> SYN-RECEIVED  (SYN received)" in text


def test_fetch_as_people_call_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data := os.urandom(1_000_000))
    server = f"exec {sys.executable} -m http.server --directory {tmp_path} >/dev/null 2>&1"
    words = [sys.executable, "-m", "timewait.cli.main", "fetch", "http://10.77.0.1:8000/file", "--exec", server]
    done = subprocess.run([*words, "--hash", "-o", str(tmp_path / "got")], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == data
    assert hashlib.sha256(data).hexdigest() in done.stderr.decode()


def test_serve_on_a_device_that_somebody_else_has_made() -> None:
    """--tun: the device keeps its addresses and MTU, and is still there afterwards."""
    with Namespace("admin") as namespace:
        namespace.ip("tuntap add dev tw0 mode tun", "addr add 10.9.0.1/24 dev tw0", "link set tw0 mtu 1400 up")
        words = [sys.executable, "-m", "timewait.cli.main", "serve", "--tun", "tw0", "--address", "10.9.0.2", "--size"]
        got = namespace.run([*words, "300000", "--exec", "curl -sS $URL | wc -c; ip -br link show tw0"], timeout=30)
        lines = got.stdout.split()
        assert lines[0] == "300000" and lines[1] == "tw0"
        refused = namespace.run([*words[:5], "tw1", "--address", "10.9.0.2"], timeout=30, check=False)
        assert refused.returncode == 1 and "interface tw1" in refused.stderr
        assert "mtu 1400" in namespace.run(["ip", "link", "show", "tw0"]).stdout
