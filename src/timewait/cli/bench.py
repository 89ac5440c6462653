"""`timewait bench`: what the stack does per second and what a connection costs."""

import json
from collections.abc import Sequence

import click

from timewait.bench.suite import BENCHES, Result, run

HELP = """Measure speed and memory, compiled and interpreted, beside what a bare loop can do here.

Each figure is the median of several runs in processes of their own. `bare loop` is a
Python loop without any TCP on the same device in the same run: the ceiling. Live
figures need root and /dev/net/tun.

\b
  timewait bench
  timewait bench segments lifecycles
  timewait bench receive --json

\b
Benchmarks:
""" + "\n".join(f"  {name:<12} {bench.meaning} ({bench.unit})" for name, bench in BENCHES.items())


@click.command("bench", help=HELP)
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--json", "as_json", is_flag=True, help="a list of objects instead of the table")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0.1, 20), help="of each run")
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1, 20), help="runs; the median counts")
def command(names: Sequence[str], as_json: bool, seconds: float, repeat: int) -> None:
    results: list[Result] = []
    if not as_json:
        click.echo(f"{'benchmark':<12} {'build':<12} {'value':>12} {'unit':<14} {'bare loop':>10} {'ratio':>6}")
    for found in run(names, seconds=seconds, repeat=repeat):
        if isinstance(found, str):
            click.echo(found, err=as_json)
            continue
        results.append(found)
        if not as_json:
            click.echo(_line(found))
    if as_json:
        click.echo(json.dumps(results, indent=2))


def _line(found: Result) -> str:
    """A row of the table."""
    reference = "" if found["reference"] is None else f"{found['reference']:,g}"
    ratio = "" if found["ratio"] is None else f"{found['ratio']:.2f}"
    value = f"{found['value']:,.2f}" if found["value"] < 100 else f"{found['value']:,.0f}"
    return (
        f"{found['name']:<12} {found['build']:<12} {value:>12} {found['unit']:<14} {reference:>10} {ratio:>6}".rstrip()
    )
