"""`timewait fetch`: an HTTP/1.1 client on our stack, and a real kernel's server."""

import asyncio
import hashlib
import socket
import sys
import time
from typing import IO, Any, Final

import click

from timewait.base.errors import UsageError
from timewait.cli.on_tun import Wishes, options, run, say, shell
from timewait.cli.units import show_octets, show_rate
from timewait.run.http import HttpError
from timewait.run.http_client import Client, Response, Url
from timewait.run.live import Live, stop

WAIT: Final = 10.0
"""Seconds that a server started with --exec gets until it listens."""


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option("--output", "-o", type=click.Path(dir_okay=False, allow_dash=True), help="Write bodies to this file.")
@click.option("--exec", "command_line", metavar="COMMAND", help="Start a server at the kernel's end first.")
@click.option("--hash", "digest", is_flag=True, help="Print the SHA-256; without -o, instead of the body.")
@options
def command(urls: tuple[str, ...], output: str | None, command_line: str | None, digest: bool, **shared: Any) -> None:
    """Fetch URLs with this stack, from a server of a real kernel.

    Our host gets a network namespace of its own with a TUN device. Its kernel has the
    first other address of each of our prefixes (10.77.0.1 and fd77::1), and --exec starts
    a server there. Several URLs of one server share a connection. Exits 1 where a
    request fails or the status is 400 or above.

    \b
    timewait fetch http://10.77.0.1:8000/ --exec 'python3 -m http.server'
    timewait fetch http://10.77.0.1:8000/big -o big --hash --exec 'python3 -m http.server' --loss 5% -v

    With --tun the host is on a TUN that you have made and may reach whatever you route to it.
    """
    try:
        wanted = [Url(text) for text in urls]
    except UsageError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    wishes = Wishes(**shared)

    async def program(net: Live) -> int:
        server = net.start(shell(command_line)) if command_line is not None else None
        try:
            if output is None:
                return await _fetch(net, wanted, None if digest else sys.stdout.buffer, digest, server is not None)
            with click.open_file(output, "wb") as file:
                return await _fetch(net, wanted, file, digest, server is not None)
        finally:
            if server is not None:
                await stop(server)

    sys.exit(run(wishes, program))


async def _fetch(net: Live, urls: list[Url], file: IO[bytes] | None, digest: bool, starting: bool) -> int:
    client = Client(net.host.process("fetch"))
    status = 0
    for url in urls:
        try:
            begun = time.monotonic()
            response = await _ask(client, url, begun + WAIT if starting else begun)
            status |= response.status >= 400
            await _store(response, url, file, digest)
        except (HttpError, OSError, TimeoutError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            say(f"http://{url.authority}{url.target}  failed: {text or f'nothing came for {client.timeout:.0f} s'}")
            status = 1
    client.close()
    await net.settle()
    return int(status)


async def _ask(client: Client, url: Url, until: float) -> Response:
    """The response; a server that has just been started may need some time before it listens."""
    address = await _resolve(url)
    while True:
        try:
            return await client.get(url, address)
        except ConnectionRefusedError:
            if time.monotonic() >= until:
                raise
            await asyncio.sleep(0.05)


async def _resolve(url: Url) -> str:
    """The address of a URL's host, from this machine's resolver where it is a name."""
    try:
        return url.address()
    except UsageError:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        return str(found[0][4][0])


async def _store(response: Response, url: Url, file: IO[bytes] | None, digest: bool) -> None:
    """Write the body while it arrives, and say what it was."""
    begun = time.monotonic()
    hashed = hashlib.sha256()
    total = 0
    async for piece in response.body:
        total += len(piece)
        if digest:
            hashed.update(piece)
        if file is not None:
            file.write(piece)
    if file is not None:
        file.flush()
    seconds = time.monotonic() - begun
    words = [f"http://{url.authority}{url.target}", f"{response.status} {response.reason}"]
    words.append(f"{show_octets(total)} in {seconds:.3f} s")
    if total > 1_000_000:
        words.append(f"({show_rate(total, seconds)})")
    if digest:
        words.append(f"sha256 {hashed.hexdigest()}")
    say("  ".join(words))
