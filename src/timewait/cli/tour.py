"""`timewait tour`: what `make run` shows. Labs in virtual time, then the real kernel where it is allowed."""

import os
import shutil
import sys

import click

from timewait.lab.frame import LANGUAGES, T

STOPS = ("LIFE", "EST-27", "KA-02")
"""The labs of the tour: a whole life, a connect() that fails, a peer that loses power."""

_INTRO = T(
    "Two hosts, one link and a clock that jumps: what takes hours below takes milliseconds here.",
    "两台主机、一条链路、一个会跳跃的时钟：下面历时数小时的事，这里只要几毫秒。",
)
_NO_KERNEL = T(
    "The live part of the tour (this stack against the kernel) was left out: {}",
    "巡览的实机部分（本协议栈对内核）已跳过：{}",
)


@click.command()
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of the texts.")
@click.option("--width", type=click.IntRange(80, 140), default=None, help="Columns of the ladders.")
@click.option("--no-live", is_flag=True, help="Virtual time only, even where the kernel could be used.")
def command(lang: str, width: int | None, no_live: bool) -> None:
    """Watch TCP live: three connections in virtual time, then the real kernel.

    The second part needs root and /dev/net/tun; without them one line says what is missing.
    """
    sys.exit(0 if _virtual(lang, width) & _live(lang, no_live) else 1)


def _virtual(lang: str, width: int | None) -> bool:
    from timewait.lab import report
    from timewait.lab.life import LIFE
    from timewait.lab.run import run

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    columns = width or min(140, max(80, shutil.get_terminal_size((100, 40)).columns))
    click.echo(_INTRO.to(lang) + "\n")
    passed = True
    for number, stop in enumerate(STOPS, 1):
        click.echo(f"━━ {number}/{len(STOPS)} " + "━" * (columns - 8))
        result = run(LIFE if stop == "LIFE" else stop)
        click.echo(report.text(result, lang=lang, width=columns, colour=colour))
        passed &= result.passed
    return passed


def _live(lang: str, left_out: bool) -> bool:
    """The second part; True where it was as it should be, or could not be had."""
    from timewait.world.netns import probe

    missing = "--no-live" if left_out else probe()
    if missing:
        click.echo(_NO_KERNEL.to(lang).format(missing))
        return True
    from timewait.run.live_tour import tour

    return tour(click.echo)
