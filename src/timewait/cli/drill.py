"""`timewait drill`: run packetdrill scripts on this stack, in virtual time, or on the running kernel."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timewait.tcp.sysctl import PROFILES

if TYPE_CHECKING:
    from timewait.drill.runner import Result
    from timewait.drill.suite import Outcome, Setting

_VALUED = (
    ("ip_version", "ipv4|ipv6|ipv4-mapped-ipv6", "What is on the wire, and the family of `socket(..., )`."),
    ("local_ip", "ADDRESS", "Address of the stack under test."),
    ("remote_ip", "ADDRESS", "Address of the scripted peer."),
    ("gateway_ip", "ADDRESS", "Next hop."),
    ("bind_port", "N", "Port of bind(..., ) [8080]."),
    ("connect_port", "N", "Port of connect(..., ) [8080]."),
    ("mtu", "N", "MTU of the interface [1500]."),
    ("mss", "N", "Inject longer packets as super-segments of this size."),
    ("tolerance_usecs", "N", "How early or late an event may be [4000]."),
    ("tolerance_percent", "N", "The same as a share of the time since the event before [12.5]."),
    ("tcp_ts_tick_usecs", "N", "Compare outbound timestamps, with this many us per tick."),
    ("non_fatal", "packet,syscall", "Mismatches of these kinds only warn."),
    ("udp_encapsulation", "tcp", "Packets travel in UDP."),
    ("tcp_md5_secret", "KEY", "The key of `md5 valid` (RFC 2385)."),
)
_FLAGS = (
    ("strict_segments", "Do not put several segments together to meet one expected."),
    ("tcp_ts_ecr_scaled", "Infer an inbound ecr that no packet named."),
)


def _original_options(function: "click.decorators.FC") -> "click.decorators.FC":
    """The original tool's options, under its names."""
    for name, metavar, text in reversed(_VALUED):
        function = click.option(f"--{name}", name, metavar=metavar, default=None, help=text)(function)
    for name, text in reversed(_FLAGS):
        function = click.option(f"--{name}", name, is_flag=True, help=text)(function)
    return function


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE-or-DIR...")
@click.option(
    "--on",
    type=click.Choice(("sim", "kernel")),
    default="sim",
    show_default=True,
    help="Our stack in virtual time, or the running kernel in a namespace (root).",
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default=None,
    help="The system that our stack imitates [linux-6.18; freebsd for scripts that set its sysctls].",
)
@click.option("--define", "-D", "defines", multiple=True, metavar="NAME=VALUE", help="Replace a word of the scripts.")
@click.option("--seed", default=1, show_default=True, help="Equal seeds give equal runs.")
@click.option("--jobs", "-j", default=1, show_default=True, type=click.IntRange(1, 64), help="Scripts at a time.")
@click.option("--check", is_flag=True, help="Only parse.")
@click.option("--shell", is_flag=True, help="Run commands that are not understood in a real shell, on this computer.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the results as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="Print the results for programs.")
@click.option("--pcap", type=click.Path(dir_okay=False, path_type=Path), help="Write the packets of one script.")
@click.option("--ladder", is_flag=True, help="Draw the packets of one script.")
@click.option("--verbose", "-v", is_flag=True, help="Name every script, and what its code printed.")
@_original_options
def command(
    paths: tuple[str, ...], on: str, profile: str | None, defines: tuple[str, ...], seed: int, jobs: int, check: bool,
    shell: bool, junit: Path | None, as_json: bool, pcap: Path | None, ladder: bool, verbose: bool, **given: object,
) -> None:  # fmt: skip
    """Run packetdrill scripts: each event at its time, each packet and each result compared.

    \b
    timewait drill tests/drill/handshake          every .pkt file below
    timewait drill one.pkt -D TFO_COOKIE=0123456789abcdef --ip_version=ipv6
    timewait drill one.pkt --on kernel            the same script on the running kernel (root)
    timewait drill one.pkt --ladder --pcap one.pcapng
    timewait drill scripts/ -j 2 --junit report.xml

    Exits 0 when all pass, 1 when one does not, 2 when one cannot be parsed.
    """
    from timewait.drill import report
    from timewait.drill.junit import junit as junit_xml
    from timewait.drill.suite import Setting, collect, run_all

    setting = Setting(_pairs(defines), _given(given), on, profile or "", seed, shell)
    files = collect(paths)
    if check:
        sys.exit(_check(files, setting))
    if (pcap or ladder) and len(files) != 1:
        raise click.UsageError("--pcap and --ladder belong to one script")
    progress = sys.stderr.isatty() and not as_json and len(files) > 1
    done = 0

    def told(result: "Result") -> None:
        nonlocal done
        done += 1
        if as_json:
            return
        if progress:
            click.echo(f"\r\x1b[K{done}/{len(files)} {result.path}", nl=False, err=True)
        shown = report.text(result)
        if shown or verbose:
            click.echo(("\r\x1b[K" if progress else "") + shown, nl=False)
        if verbose:
            click.echo(f"{result.status:6} {result.path} ({result.virtual:.3f} s in {result.duration * 1000:.0f} ms)")
            click.echo(result.printed, nl=False)

    results = (
        _run_one(files[0], setting, pcap, ladder, told) if len(files) == 1 else run_all(files, setting, jobs, told)
    )
    if progress:
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        click.echo(json.dumps([report.as_json(result) for result in results], indent=1, ensure_ascii=False))
    else:
        click.echo(report.summary(results))
    if junit is not None:
        try:
            junit.write_text(junit_xml(results), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"cannot write {junit}: {error.strerror}") from error
    sys.exit(_status(results))


def _status(results: "list[Result]") -> int:
    if any(result.status == "error" for result in results):
        return 2
    return 0 if all(result.passed for result in results) else 1


def _run_one(
    path: str, setting: "Setting", pcap: Path | None, ladder: bool, told: "object"
) -> "list[Result]":  # fmt: skip
    from timewait.drill.suite import run_file

    outcome = run_file(path, setting)
    assert callable(told)
    if ladder:
        from timewait.draw.ladder import ladder as draw

        click.echo(draw(outcome.record), nl=False)
    told(outcome.result)
    if setting.on == "kernel" and not outcome.result.passed:
        _show_both(path, setting, outcome)
    if pcap is not None:
        from timewait.record.pcap import write_pcapng

        write_pcapng(outcome.record, pcap)
    return [outcome.result]


def _show_both(path: str, setting: "Setting", kernel: "Outcome") -> None:
    """The same script on our stack, and both runs as ladders: where they part is where the two stacks differ."""
    from dataclasses import replace

    from timewait.draw.ladder import ladder as draw
    from timewait.drill import report
    from timewait.drill.suite import run_file

    ours = run_file(path, replace(setting, on="sim"))
    verdict = "passes" if ours.result.passed else "fails too"
    click.echo(f"\nThe same script on our stack {verdict}.")
    click.echo(report.text(ours.result), nl=False)
    for name, outcome in (("the running kernel", kernel), ("our stack", ours)):
        click.echo(f"\n{name}:")
        click.echo(draw(outcome.record, calls=False, summary=False), nl=False)


def _check(files: list[str], setting: "Setting") -> int:
    """Parse only."""
    from timewait.base.errors import UsageError
    from timewait.drill.suite import load

    bad = 0
    for path in files:
        try:
            load(path, setting)
        except (UsageError, OSError) as error:
            bad += 1
            click.echo(str(error))
    click.echo(f"{len(files) - bad} passed, {bad} failed")
    return 2 if bad else 0


def _pairs(defines: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in defines:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="-D")
        found.append((name, value))
    return tuple(found)


def _given(options: dict[str, object]) -> tuple[tuple[str, str], ...]:
    found = []
    for name, value in options.items():
        if value is True:
            found.append((name, ""))
        elif value not in (None, False):
            found.append((name, str(value)))
    return tuple(found)
