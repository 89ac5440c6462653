"""`timewait replay TOKEN`: run exactly the case that a failed test named."""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import click

from timewait.base.errors import UsageError


@click.command(epilog="Exit status: that of the test: 0 it passed, 1 it failed; 2 the token cannot be replayed here.")
@click.argument("token")
@click.option("--any-version", is_flag=True, help="Try a token of another version, whose run may differ.")
@click.option("--ladder", is_flag=True, help="Draw every connection, not only what the failure is about.")
@click.option("--svg", type=click.Path(dir_okay=False), metavar="FILE", help="Draw the connection that matters most.")
@click.option("--pcap", type=click.Path(dir_okay=False), metavar="FILE", help="Write the packets as pcapng.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), metavar="FILE", help="Write the record.")
@click.option("--show", is_flag=True, help="Say what the token holds, and run nothing.")
@click.option("--pdb", is_flag=True, help="Stop in the debugger where it fails.")
def command(
    token: str,
    any_version: bool,
    ladder: bool,
    svg: str | None,
    pcap: str | None,
    json_file: str | None,
    show: bool,
    pdb: bool,
) -> None:
    """Run the failing case of a test again: the same seed, the same faults, the same packets.

    The token is printed by the pytest plugin when a test with a `net` fails. Run it where pytest was
    run, or anywhere below.

    \b
      timewait replay tw1-eJyr...
      timewait replay tw1-eJyr... --ladder --pcap failing.pcapng
    """
    from timewait.run.case import check_version, read_token
    from timewait.run.explore import describe

    found = read_token(token)
    if show:
        click.echo(f"test     {found.test}\nseed     {found.case.seed}")
        for fault in found.case.faults:
            click.echo(f"fault    {describe(fault)}")
        click.echo(f"version  timewait {found.version}, Python {found.python}")
        return
    if not any_version:
        check_version(found)
    with tempfile.TemporaryDirectory(prefix="timewait-") as scratch:
        path = Path(scratch, "record.jsonl")
        status = _run(token, found.test, path, pdb)
        if path.exists():
            _tell(path, ladder, svg, pcap, json_file)
        elif ladder or svg or pcap or json_file:
            click.echo("the run left no record", err=True)
    sys.exit(status)


def _run(token: str, test: str, record: Path, pdb: bool) -> int:
    """Run the one test under pytest; its exit status."""
    try:
        import pytest
    except ModuleNotFoundError:
        raise UsageError("pytest is not installed, and the token names a test: pip install pytest") from None
    root = _root(test)
    arguments = [test, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(root)]
    arguments += ["--timewait-replay", token, "--timewait-record", str(record)]
    if pdb:
        arguments.append("--pdb")
    former = Path.cwd()
    os.chdir(root)
    try:
        return int(pytest.main(arguments, plugins=_plugins()))
    finally:
        os.chdir(former)


def _plugins() -> list[object]:
    """The plugin itself where it is not installed as an entry point, as in a source tree."""
    from importlib.metadata import entry_points

    if any(each.value == "timewait.run.plugin" for each in entry_points(group="pytest11")):
        return []
    from timewait.run import plugin

    return [plugin]


def _root(test: str) -> Path:
    """The directory, here or above, that the test's file is relative to. UsageError where there is none."""
    file = test.partition("::")[0]
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / file).exists():
            return directory
    raise UsageError(f"{file} is neither here nor above: run it where pytest ran (the token names {test})")


def _tell(path: Path, ladder: bool, svg: str | None, pcap: str | None, json_file: str | None) -> None:
    """Draw and write what was asked for, from the record the run left."""
    from timewait.draw.ladder import ladder as draw
    from timewait.draw.ladder_svg import ladder_svg
    from timewait.record.jsonl import read_jsonl
    from timewait.record.pcap import write_pcapng
    from timewait.run.report import relevant

    data = path.read_bytes()
    record = read_jsonl(path)
    if ladder:
        click.echo(draw(record))
    if svg:
        matters = relevant(record, most=1)
        Path(svg).write_text(ladder_svg(record, matters[0] if matters else None), encoding="utf-8")
    if pcap:
        write_pcapng(record, pcap)
    if json_file:
        Path(json_file).write_bytes(data)
    click.echo(f"record: {len(record)} entries, blake2b {hashlib.blake2b(data, digest_size=8).hexdigest()}")
