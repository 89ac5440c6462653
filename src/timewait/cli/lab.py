"""`timewait lab`: list the experiments, run one, or run them all."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timewait.lab.frame import LANGUAGES, PLACES
from timewait.lab.index import INDEX
from timewait.tcp.sysctl import PROFILES

if TYPE_CHECKING:
    from timewait.lab.bench import Setting
    from timewait.lab.run import Result


def _ids(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [id for id in INDEX if id.startswith(incomplete.upper())]


def _sysctl_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from timewait.tcp.sysctl import SPECS

    return [name + "=" for name in sorted(SPECS) if name.startswith(incomplete)]


def _assignments(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str, str], ...]:
    """'client:net.ipv4.tcp_sack=0' as (host, name, value)."""
    found = []
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE, such as net.ipv4.tcp_syn_retries=3")
        host, colon, rest = name.strip().partition(":")
        if not colon:
            host, rest = "", name.strip()
        found.append((host, rest, value.strip()))
    return tuple(found)


@click.command()
@click.argument("id", required=False, shell_complete=_ids)
@click.option("--all", "everything", is_flag=True, help="Run every lab and print a table (with --json: a list).")
@click.option("--on", type=click.Choice(PLACES), default="sim", show_default=True, help="What the hosts are.")
@click.option(
    "--kernel",
    type=click.Choice(["client", "server"]),
    default="server",
    show_default=True,
    help="With --on live: which side is the kernel's.",
)
@click.option(
    "--set",
    "sysctls",
    multiple=True,
    metavar="[HOST:]NAME=VALUE",
    callback=_assignments,
    shell_complete=_sysctl_names,
    help="Set a sysctl, on both hosts or on one.",
)
@click.option("--profile", type=click.Choice(PROFILES), default=None, help="The kernel that our hosts imitate.")
@click.option("--variant", default="", metavar="NAME", help="Another variant of the lab; the default is its first.")
@click.option("--seed", default=1, show_default=True, help="Equal seeds give equal runs.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the ladder as a picture.")
@click.option("--pcap", type=click.Path(dir_okay=False, path_type=Path), help="Write the packets for Wireshark.")
@click.option(
    "--drill", type=click.Path(dir_okay=False, path_type=Path), help="Write the connection as a packetdrill script."
)
@click.option("--drill-host", default="", metavar="HOST", help="Whose script: the default is who was connected to.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
@click.option("--lang", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of the texts.")
@click.option("--width", type=click.IntRange(80, 140), default=None, help="Columns of the ladder.")
@click.option("--no-ladder", is_flag=True, help="Leave the ladder out.")
def command(
    id: str | None, everything: bool, on: str, kernel: str, sysctls: tuple[tuple[str, str, str], ...],
    profile: str | None, variant: str, seed: int, svg: Path | None, pcap: Path | None, drill: Path | None,
    drill_host: str, as_json: bool, lang: str, width: int | None, no_ladder: bool,
) -> None:  # fmt: skip
    """List the experiments, or run the one with this ID.

    \b
    timewait lab                                   what there is
    timewait lab EST-27                            run one in virtual time
    timewait lab EST-27 --set net.ipv4.tcp_syn_retries=3
    timewait lab CLS-01 --variant server           the other side closes
    timewait lab CLS-12 --on kernel                the running kernel, both sides (root)
    timewait lab CLS-12 --on live --kernel client  the kernel as client, our stack as server
    timewait lab TW-03 --svg tw.svg --pcap tw.pcapng
    timewait lab CLS-01 --drill close.pkt          its packets as a script for `timewait drill`
    timewait lab --all --json                      everything, for programs

    Exits 0 when the measured record meets what the lab expects, 1 when it does not, 2 for a bad command line.
    """
    if id is not None and everything:
        raise click.UsageError("either an ID or --all, not both")
    if id is None and not everything:
        if svg or pcap or drill or sysctls or variant:
            raise click.UsageError("which lab? Give an ID; `timewait lab` alone lists them")
        click.echo(_listing(as_json, lang), nl=False)
        return
    from timewait.lab.bench import Setting

    setting = Setting(
        on=on, kernel=kernel, profile=profile or "", sysctl=sysctls, variant=variant, seed=seed
    )  # fmt: skip
    if everything:
        if svg or pcap or drill or variant:
            raise click.UsageError("--svg, --pcap, --drill and --variant belong to one lab: give its ID")
        sys.exit(_run_all(setting, as_json, lang))
    assert id is not None
    sys.exit(_run_one(id, setting, as_json, lang, width, not no_ladder, svg, pcap, drill, drill_host))


def _listing(as_json: bool, lang: str) -> str:
    if as_json:
        rows = [
            {
                "id": id, "title": entry.title_zh if lang == "zh" else entry.title, "verdict": entry.truth,
                "runs_on": entry.on.split(), "variants": entry.variants.split(),
            }
            for id, entry in INDEX.items()
        ]  # fmt: skip
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    lines = []
    for id, entry in INDEX.items():
        title = entry.title_zh if lang == "zh" else entry.title
        variants = f"  [{entry.variants.replace(' ', '|')}]" if entry.variants else ""
        lines.append(f"{id:<8}  {title}{variants}")
    lines += ["", f"{len(INDEX)} labs. timewait lab ID runs one; timewait lab --help shows how.", ""]
    return "\n".join(lines)


def _run_one(
    id: str, setting: "Setting", as_json: bool, lang: str, width: int | None, ladders: bool,
    svg: Path | None, pcap: Path | None, drill: Path | None, drill_host: str,
) -> int:  # fmt: skip
    from timewait.lab import report
    from timewait.lab.run import run

    result = run(id, setting)
    if as_json:
        click.echo(json.dumps(report.as_json([result], lang), indent=1, ensure_ascii=False))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        columns = width or min(140, max(80, shutil.get_terminal_size((100, 40)).columns))
        click.echo(report.text(result, lang=lang, width=columns, colour=colour, ladders=ladders), nl=False)
    _write_files(result, lang, svg, pcap)
    if drill is not None:
        _write_script(result, drill, drill_host)
    return 0 if result.passed else 1


def _write_files(result: "Result", lang: str, svg: Path | None, pcap: Path | None) -> None:
    record = result.records[0][1]
    try:
        if svg is not None:
            from timewait.draw.ladder_svg import ladder_svg

            lab = result.lab
            svg.write_text(ladder_svg(record, title=f"{lab.id} {lab.title.to(lang)}"), encoding="utf-8")
        if pcap is not None:
            from timewait.record.pcap import write_pcapng

            write_pcapng(record, pcap)
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from error


def _write_script(result: "Result", path: Path, host: str) -> None:
    """The lab's first connection as a script that `timewait drill` runs."""
    from timewait.drill.convert import script_of

    lab, setting = result.lab, result.setting
    sysctl = tuple((name, str(value)) for _, name, value in setting.sysctl)
    text = script_of(result.records[0][1], host, title=f"{lab.id}: {lab.title.to('en')}", sysctl=sysctl)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


def _run_all(setting: "Setting", as_json: bool, lang: str) -> int:
    from timewait.lab import report
    from timewait.lab.run import run_all

    rows, objects, begun = [], [], _clock()
    for results in run_all(setting):
        lab = results[0].lab
        passed = all(result.passed for result in results)
        # The figure of the run that failed says more than that of the one that did not.
        shown = next((result for result in results if not result.passed), results[0])
        rows.append((lab.id, passed, report.TRUTHS[lab.truth].to(lang), shown.verdict.figure.to(lang)))
        if as_json:
            objects.append(report.as_json(results, lang))
    failed = [id for id, passed, _, _ in rows if not passed]
    if as_json:
        click.echo(json.dumps(objects, indent=1, ensure_ascii=False))
    else:
        click.echo(report.table(rows), nl=False)
        seconds = _clock() - begun
        click.echo(f"{len(rows)} labs in {seconds:.2f} s, {len(rows) - len(failed)} met", nl=False)
        click.echo(f"; not met: {', '.join(failed)}" if failed else "")
    return 1 if failed or not rows else 0


def _clock() -> float:
    import time

    return time.perf_counter()
