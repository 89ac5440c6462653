"""`timewait serve`: HTTP/1.1 from our stack to a real kernel."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

from timewait.cli.on_tun import Wishes, options, run, say, shell
from timewait.cli.units import show_octets, show_rate
from timewait.cli.units import size as size_of
from timewait.run.http_server import Directory, Pattern, Served, Server, Source
from timewait.run.live import Live
from timewait.wire.address import pack, show_endpoint
from timewait.world.driver import AsyncSocket


@click.command()
@click.option(
    "--dir", "directory", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve the files below this directory. [default: the current one]",
)  # fmt: skip
@click.option("--size", type=size_of, help="Instead of files serve so many octets, made up on the way: 100M.")
@click.option("--port", default=80, show_default=True, type=click.IntRange(1, 65535))
@click.option("--exec", "command_line", metavar="COMMAND", help="Run a shell command at the kernel's end; then end.")
@click.option("--hash", "digest", is_flag=True, help="Print the SHA-256 of each body that was sent.")
@options
def command(
    directory: Path | None, size: int | None, port: int, command_line: str | None, digest: bool, **shared: Any
) -> None:
    """Serve HTTP from this stack to the real kernel.

    The host gets a network namespace of its own with a TUN device, so nothing of this
    machine's network is touched; programs reach it from inside. With --exec a shell
    command runs inside, with $URL set, and its exit status is ours.

    \b
    timewait serve --size 100M --hash --exec 'curl -s $URL | sha256sum'
    timewait serve --dir docs                          prints how to reach it; Ctrl-C ends it
    timewait serve --size 1M --loss 5% --delay 20ms -v --exec 'curl -so /dev/null $URL'
    timewait serve --size 1G --address 10.0.0.2/24 --exec 'curl -o /dev/null $URL'

    \b
    On a TUN that you have made (as root, once):
      ip tuntap add dev tw0 mode tun user $USER
      ip addr add 10.9.0.1/24 dev tw0; ip link set tw0 up
      timewait serve --tun tw0 --address 10.9.0.2
    """
    if directory is not None and size is not None:
        raise click.UsageError("either --dir or --size, not both")
    wishes = Wishes(**shared)
    source: Source = Pattern(size) if size is not None else Directory(directory or Path())

    async def program(net: Live) -> int:
        return await _serve(net, source, port, command_line, digest)

    sys.exit(run(wishes, program))


async def _serve(net: Live, source: Source, port: int, command_line: str | None, digest: bool) -> int:
    server = Server(source, digest=digest, served=_report)
    process = net.host.process("httpd")
    urls = []
    tasks = []
    for address in net.addresses:
        tasks.append(asyncio.create_task(server.serve(AsyncSocket.listening(process, (address, port), 1024))))
        where = f"[{address}]" if ":" in address else address
        urls.append(f"http://{where}/" if port == 80 else f"http://{where}:{port}/")
    try:
        if command_line is not None:
            status = await net.run(shell(command_line, URL=urls[0], URL6=next((u for u in urls if "[" in u), "")))
        else:
            _explain(net, urls)
            await asyncio.gather(*tasks)
            status = 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await net.settle()
    return status


def _explain(net: Live, urls: list[str]) -> None:
    """How programs reach the server."""
    say(f"serving on {' and '.join(urls)}; Ctrl-C ends it")
    if net.namespace is not None:
        say(f"inside: nsenter --net=/proc/{os.getpid()}/fd/{net.namespace.fd} curl -o /dev/null {urls[0]}")


def _report(about: Served) -> None:
    address, port = about.peer
    words = [show_endpoint(pack(address), port), f'"{about.method} {about.target}"', str(about.status or "-")]
    if about.status:
        words.append(f"{show_octets(about.octets)} in {about.seconds:.3f} s")
    if about.octets > 1_000_000:
        words.append(f"({show_rate(about.octets, about.seconds)})")
    if about.digest:
        words.append(f"sha256 {about.digest}")
    if about.error:
        words.append(f"failed: {about.error}")
    say("  ".join(words))
