"""`timewait bench`: what the stack does per second and what a connection costs."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from timewait.bench.picture import svg
from timewait.bench.suite import BENCHES, Result, run

HELP = """Measure speed and memory, compiled and interpreted, beside what else can do it here.

Each figure is the median of several runs in processes of their own; what it stands
beside is measured in between. `bare loop` is a Python loop without any TCP on the same
device: the ceiling. `kernels` is the kernel at both ends of a cable, with the same
programs. Live figures need root and /dev/net/tun.

\b
  timewait bench
  timewait bench segments lifecycles
  timewait bench receive send --svg bulk.svg
  timewait bench --json

\b
Benchmarks:
""" + "\n".join(f"  {name:<14} {bench.meaning} ({bench.unit})" for name, bench in BENCHES.items())


@click.command("bench", help=HELP)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--json", "as_json", is_flag=True, help="a list of objects instead of the table")
@click.option("--svg", "picture", type=click.Path(dir_okay=False, path_type=Path), help="draw the figures into a file")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.1, 20), help="of each run")
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1, 20), help="runs; the median counts")
def command(names: Sequence[str], as_json: bool, picture: Path | None, seconds: float, repeat: int) -> None:
    results: list[Result] = []
    measured = run(names, seconds=seconds, repeat=repeat)
    if not as_json:
        click.echo(f"{'benchmark':<14} {'build':<11} {'value':>11} {'unit':<13} beside (and ours to it)")
    for found in measured:
        if isinstance(found, str):
            click.echo(found, err=as_json)
            continue
        results.append(found)
        if not as_json:
            click.echo(_line(found))
    if as_json:
        click.echo(json.dumps(results, indent=2))
    if picture is not None:
        picture.write_text(svg(results))


def _line(found: Result) -> str:
    """A row of the table."""
    beside = ", ".join(
        f"{label} {_figure(value)} ({found['value'] / value:.2f})" for label, value in found["references"].items()
    )
    row = f"{found['name']:<14} {found['build']:<11} {_figure(found['value']):>11} {found['unit']:<13} {beside}"
    return row.rstrip()


def _figure(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
