"""`timewait sim FILE.py`: a network of hosts and programs that a file describes, run in virtual time."""

import asyncio
import importlib.util
import inspect
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click

from timewait.base.errors import UsageError

EXAMPLE = """
    async def serve():
        server = await asyncio.start_server(echo, "0.0.0.0", 7)
        await server.serve_forever()

    def simulate(net):
        client, server = net.host("client"), net.host("server")
        net.link(client, server, delay="20ms", loss="5%")
        server.run(serve, daemon=True)
        client.run(talk)
"""

HELP = f"""Run hosts and ordinary programs, as FILE describes them, in virtual time.

FILE defines simulate(net), a function or a coroutine function, which makes hosts and
starts programs on them; then the network runs until every program that is no daemon has
ended. Programs are unmodified: asyncio or blocking, with their sockets, clocks and
randomness those of their host.

\b
{EXAMPLE}
\b
  timewait sim chat.py
  timewait sim chat.py --seed 7 --ladder --pcap chat.pcapng
  timewait sim chat.py --seeds 100          the first seed that fails is shown

Exit status: 0 every program returned, 1 one failed or all waited for ever, 2 the command line or FILE was not
understood.
"""


@click.command("sim", help=HELP)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True, help="of everything random: losses, interleavings, random()")
@click.option("--seeds", default=0, metavar="N", type=click.IntRange(0), help="run N seeds, from --seed on")
@click.option("--timeout", default="30d", show_default=True, help="virtual time after which a run is given up")
@click.option("--ladder", is_flag=True, help="draw the packets")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="draw them into a file")
@click.option("--pcap", type=click.Path(dir_okay=False, path_type=Path), help="write them as pcapng")
@click.option("--json", "as_json", is_flag=True, help="one object for each run, instead of text")
def command(
    file: Path, seed: int, seeds: int, timeout: str, ladder: bool, svg: Path | None, pcap: Path | None, as_json: bool
) -> None:
    function = _load(file)
    status = 0
    for number in range(seed, seed + max(seeds, 1)):
        net, wall, error = _run(function, number, timeout)
        failed = error is not None
        last = failed or number == seed + max(seeds, 1) - 1
        if as_json:
            click.echo(json.dumps(_told(net, number, wall, error)))
        elif last or seeds == 0:
            _tell(net, number, wall, error)
        if last:
            _write(net, ladder and not as_json, svg, pcap)
        net.close()
        if failed:
            status = 1
            break
    else:
        if seeds and not as_json:
            click.echo(f"{seeds} seeds, none failed")
    sys.exit(status)


def _load(file: Path) -> Any:
    """The file's simulate(). UsageError for a file without one, or that cannot be imported."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(f"{error.filename}:{error.lineno}:{error.offset}: {error.msg}") from None
    function = getattr(module, "simulate", None)
    if not callable(function):
        raise UsageError(
            f"{file} defines no simulate(net); it should make hosts and start programs on them:\n{EXAMPLE}"
        )
    return function


def _run(function: Any, seed: int, timeout: str) -> tuple[Any, float, BaseException | None]:
    """One run: the network, the seconds it took, and what went wrong."""
    try:
        from timewait.run import Net
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: pip install 'timewait[sim]'") from None
    net = Net(seed=seed)
    begun = time.perf_counter()
    failure: BaseException | None = None
    try:
        made = function(net)
        if inspect.iscoroutine(made):
            asyncio.run(made)
        net.run(timeout=timeout)
    except Exception as error:
        failure = error
    return net, time.perf_counter() - begun, failure


def _told(net: Any, seed: int, wall: float, error: BaseException | None) -> dict[str, object]:
    programs = [{"host": each.host.name, "name": each.name, "state": each.state} for each in net.programs]
    return {
        "seed": seed,
        "passed": error is None,
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "virtual_s": net.now,
        "wall_s": round(wall, 6),
        "packets": len(net.record.packets()),
        "connections": len(net.record.connections()),
        "programs": programs,
    }


def _tell(net: Any, seed: int, wall: float, error: BaseException | None) -> None:
    for program in net.programs:
        mark = "✗" if program.error is not None else "✓" if program.state == "returned" else "·"
        value = f" {program.value!r}" if program.state == "returned" and program.value is not None else ""
        click.echo(f"{mark} {program.label}: {program.state}{value}")
    if error is not None:
        shown = traceback.format_exception(error)
        click.echo("".join(shown[-6:]).rstrip(), err=True)
    packets, connections = len(net.record.packets()), len(net.record.connections())
    click.echo(
        f"seed {seed}: {net.now:g} s of virtual time in {wall * 1000:.0f} ms,"
        f" {connections} connections, {packets} packets"
    )


def _write(net: Any, ladder: bool, svg: Path | None, pcap: Path | None) -> None:
    from timewait.draw.ladder import ladder as drawn
    from timewait.draw.ladder_svg import ladder_svg
    from timewait.record.pcap import write_pcapng

    if ladder:
        click.echo(drawn(net.record))
    if svg is not None:
        svg.write_text(ladder_svg(net.record), encoding="utf-8")
    if pcap is not None:
        write_pcapng(net.record, pcap)
