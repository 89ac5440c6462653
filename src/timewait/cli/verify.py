"""`timewait verify`: hold our stack to the running kernel."""

import json
import sys
from collections.abc import Sequence
from itertools import zip_longest

import click

from timewait.draw.ladder import ladder
from timewait.lab.frame import Lab
from timewait.lab.report import columns
from timewait.lab.run import find, load_all
from timewait.lab.verify import INTENDED, PLACES, Comparison, verify
from timewait.world.netns import probe

SHOWN = 6
"""Differences that are told one by one: each side of each connection may have one."""

HELP = """Run labs on our stack and on the running kernel, and compare the packets.

Each lab that a kernel can run is run four times: on our stack alone in virtual time, on
two kernels, and with our stack on either side of a kernel. Records are aligned by
relative sequence numbers, times within a timer's tolerance; where they disagree, the run
with the kernel is repeated once. Without ids every lab that can run on a kernel is taken.
Needs root and /dev/net/tun.

\b
  timewait verify EST-01 CLS-01
  timewait verify --both-kernel --json
  timewait verify CW-07 --variants
"""


@click.command("verify", help=HELP)
@click.argument("ids", nargs=-1)
@click.option("--both-kernel", is_flag=True, help="only compare with two kernels, not with one of each")
@click.option("--variants", is_flag=True, help="every variant of each lab, not only the first")
@click.option("--ladders/--no-ladders", default=True, help="where records differ, show both ladders")
@click.option("--json", "as_json", is_flag=True, help="a list of objects instead of the table")
@click.option("--width", default=80, show_default=True, help="columns of each ladder")
def command(ids: Sequence[str], both_kernel: bool, variants: bool, ladders: bool, as_json: bool, width: int) -> None:
    missing = probe()
    if missing:
        raise click.ClickException(f"there is no kernel to compare with: {missing}")
    chosen = [find(id) for id in ids] if ids else [lab for lab in load_all().values() if set(lab.on) - {"sim"}]
    places = PLACES[:1] if both_kernel else PLACES
    rows: list[dict[str, object]] = []
    disagreeing = 0
    for number, lab in enumerate(chosen):
        if sys.stderr.isatty():
            click.echo(f"\r{number + 1}/{len(chosen)} {lab.id:<10}", nl=False, err=True)
        for variant in (*lab.variants,)[: None if variants else 1] or ("",):
            for comparison in verify(lab, places, variant):
                rows.append(_row(lab, comparison))
                if not comparison.agrees and lab.id not in INTENDED:
                    disagreeing += 1
                if not as_json:
                    _show(lab, comparison, ladders, width)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{len(rows)} comparisons, {disagreeing} disagreements")
    sys.exit(1 if disagreeing else 0)


def _where(comparison: Comparison) -> str:
    return "two kernels" if comparison.place == "kernel" else f"kernel {comparison.kernel}"


def _row(lab: Lab, comparison: Comparison) -> dict[str, object]:
    return {
        "id": lab.id,
        "variant": comparison.theirs.setting.variant,
        "with": _where(comparison),
        "agrees": comparison.agrees,
        "runs": comparison.runs,
        "quirk": INTENDED.get(lab.id, ""),
        "ours": comparison.ours.verdict.figure.en,
        "kernel": comparison.theirs.verdict.figure.en,
        "differences": [str(difference) for difference in comparison.differences],
    }


def _show(lab: Lab, comparison: Comparison, ladders: bool, width: int) -> None:
    mark = "✓" if comparison.agrees else "≠" if lab.id in INTENDED else "✗"
    variant = comparison.theirs.setting.variant
    figure = comparison.theirs.verdict.figure.en
    again = " (second run)" if comparison.runs > 1 and comparison.agrees else ""
    click.echo(f"{mark} {lab.id:<8} {_where(comparison):<14} {variant + ': ' if variant else ''}{figure}{again}")
    if comparison.agrees:
        return
    for name, result in (("ours", comparison.ours), ("with the kernel", comparison.theirs)):
        for check in result.verdict.checks:
            if not check.ok:
                click.echo(f"    {name}: {check.text.en}: {check.measured} (expected: {check.expected})")
    for difference in comparison.differences[:SHOWN]:
        click.echo(f"    first difference, {difference}")
    if len(comparison.differences) > SHOWN:
        click.echo(f"    and {len(comparison.differences) - SHOWN} more (all of them with --json)")
    if ladders and comparison.differences:
        click.echo(_side_by_side(comparison, width))


def _side_by_side(comparison: Comparison, width: int) -> str:
    """Our ladder at the left, the one with the kernel at the right."""
    left = ladder(comparison.ours.records[0][1], width=width, max_rows=60).splitlines()
    right = ladder(comparison.theirs.records[0][1], width=width, max_rows=60).splitlines()
    lines = [f"{'our stack':<{width}} | {_where(comparison)}"]
    for mine, other in zip_longest(left, right, fillvalue=""):
        lines.append(f"{mine}{' ' * (width - columns(mine))} | {other}")
    return "\n".join(lines)
