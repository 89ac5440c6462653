"""The live half of the tour: this stack serves the kernel's curl and fetches from a kernel's server.

Everything happens in a network namespace of its own, joined to our host by a TUN; what
moves a connection from one state to another is told as it happens.
"""

import asyncio
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Final

from timewait.base.ints import i64
from timewait.host.host import Host
from timewait.run.http_client import Client, Url
from timewait.run.http_server import Pattern, Server
from timewait.tcp.states import Cause, State
from timewait.tcp.tap import Tap
from timewait.wire.address import show_endpoint
from timewait.world.driver import AsyncSocket, Driver, LoopClock
from timewait.world.netns import Namespace
from timewait.world.procnet import parse_sockets
from timewait.world.tun import Tun

SIZE: Final = 100_000_000
PORT: Final = 80
KERNEL: Final = {4: "10.99.0.1", 6: "fd99::1"}
OURS: Final = {4: "10.99.0.2", 6: "fd99::2"}
PATIENCE: Final = 120.0
"""Seconds that a transfer may take: a slow machine moves 100 MB in a tenth of it."""

_CURL: Final = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())"
"""What takes curl's place where it is not installed: the kernel's TCP all the same."""

Say = Callable[[str], object]


class Teller(Tap):
    """Says each change of state of our host's connections."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.begun: i64 = -1

    def moved(self, host: str, flow: bytes, old: State, new: State, cause: Cause, now: i64) -> None:
        if self.begun < 0:
            self.begun = now
        if len(flow) < 12:
            return
        size = (len(flow) - 4) // 2
        peer = show_endpoint(flow[:size], int.from_bytes(flow[-4:-2], "big"))
        own = show_endpoint(flow[size : 2 * size], int.from_bytes(flow[-2:], "big"))
        seconds = int(now - self.begun) / 1e9
        self.say(f"  {seconds:8.4f} s  {own} - {peer}  {old.rfc_name} -> {new.rfc_name}  ({cause.value})")


def tour(say: Say, *, size: int = SIZE) -> bool:
    """Serve and fetch `size` octets over IPv4 and IPv6; whether every digest was equal. Needs root and TUN."""
    return asyncio.run(_tour(say, size))


async def _tour(say: Say, size: int) -> bool:
    with Namespace("tour") as namespace, Tun(namespace) as tun:
        for version, length in ((4, 24), (6, 64)):
            tun.add_address(f"{KERNEL[version]}/{length}")
        host = Host("ours", LoopClock(), tap=Teller(say))
        iface = host.add_interface("eth0", f"{OURS[4]}/24", f"{OURS[6]}/64", mtu=tun.mtu)
        with Driver(host) as driver:
            driver.attach(iface, tun)
            equal = [await _serve(host, namespace, say, version, size) for version in (4, 6)]
            equal += [await _fetch(host, namespace, say, version, size) for version in (4, 6)]
    return all(equal)


def _digest_of(size: int) -> str:
    digest = hashlib.sha256()
    for piece in Pattern(size).pieces():
        digest.update(piece)
    return digest.hexdigest()


async def _serve(host: Host, namespace: Namespace, say: Say, version: int, size: int) -> bool:
    """Our server, the kernel's client."""
    url = f"http://{_in_url(OURS[version])}:{PORT}/"
    curl = shutil.which("curl")
    command = [curl, "--silent", "--show-error", url] if curl else [sys.executable, "-c", _CURL, url]
    say(f"━━ this stack serves {'curl' if curl else 'urllib (no curl here)'} on the kernel, IPv{version}: {url}")
    listener = AsyncSocket.listening(host.process("server"), (OURS[version], PORT))
    serving = asyncio.create_task(Server(Pattern(size)).serve(listener))
    try:
        begun = perf_counter()
        child = namespace.popen(command, stdout=subprocess.PIPE)
        digest, count = await asyncio.wait_for(asyncio.to_thread(_drain, child), PATIENCE)
        seconds = perf_counter() - begun
        # The close goes on for a round trip after curl has gone.
        await asyncio.sleep(0.2)
    finally:
        serving.cancel()
        listener.close()
    return _told(say, count, seconds, digest, _digest_of(size))


def _drain(child: "subprocess.Popen[bytes]") -> tuple[str, int]:
    """Read a program's output to its end: its digest and length."""
    digest, count = hashlib.sha256(), 0
    out = child.stdout
    assert out is not None
    while piece := out.read(1 << 20):
        digest.update(piece)
        count += len(piece)
    out.close()
    child.wait()
    return digest.hexdigest(), count


async def _fetch(host: Host, namespace: Namespace, say: Say, version: int, size: int) -> bool:
    """The kernel's server, our client."""
    port = 8000 + version
    url = f"http://{_in_url(KERNEL[version])}:{port}/data"
    say(f"━━ this stack fetches from python -m http.server on the kernel, IPv{version}: {url}")
    with tempfile.TemporaryDirectory(prefix="timewait-") as folder:
        with (Path(folder) / "data").open("wb") as file:
            for piece in Pattern(size).pieces():
                file.write(piece)
        command = [sys.executable, "-m", "http.server", str(port), "--bind", KERNEL[version], "--directory", folder]
        child = namespace.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await asyncio.wait_for(_listening(namespace, version, port), PATIENCE)
            client, digest, count = Client(host.process("client")), hashlib.sha256(), 0
            begun = perf_counter()
            response = await client.get(Url(url))
            async for piece in response.body:
                digest.update(piece)
                count += len(piece)
            seconds = perf_counter() - begun
            client.close()
            await asyncio.sleep(0.2)
        finally:
            child.kill()
            child.wait()
    return _told(say, count, seconds, digest.hexdigest(), _digest_of(size))


async def _listening(namespace: Namespace, version: int, port: int) -> None:
    """Nothing on the wire tells that a program listens, so the kernel is asked."""
    file = "/proc/net/tcp" if version == 4 else "/proc/net/tcp6"
    while True:
        sockets = parse_sockets(await asyncio.to_thread(namespace.read, file))
        if any(entry.state is State.LISTEN and entry.local[1] == port for entry in sockets):
            return
        await asyncio.sleep(0.02)


def _told(say: Say, count: int, seconds: float, digest: str, expected: str) -> bool:
    equal = digest == expected
    rate = count * 8 / seconds / 1e9
    verdict = "equal" if equal else "DIFFERS"
    say(f"  {count / 1e6:.0f} MB in {seconds:.2f} s, {rate:.1f} Gbit/s; sha256 {verdict}: {digest}")
    return equal


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
