"""The benchmarks by name, each run in child processes, compiled and interpreted, beside its reference."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

import timewait
from timewait.base.errors import UsageError
from timewait.world.netns import probe

TIMEOUT: Final = 300
"""Seconds after which a child is given up: several times what the slowest takes."""


class Bench(NamedTuple):
    """What is measured: `key` of the child's answer, and what it stands beside in the same run."""

    key: str
    unit: str
    meaning: str
    references: tuple[tuple[str, str], ...] = ()
    """(What it is called, the child that measures it); the first is what `ratio` is taken to."""
    live: bool = False
    """Needs root and a TUN."""
    repeat: bool = True
    compiled_only: bool = False
    """Interpreted it would take minutes."""


LOOP_IN: Final = ("bare loop", "ceiling-receive")
LOOP_OUT: Final = ("bare loop", "ceiling-send")
KERNELS: Final = ("kernels", "kernels-bulk")
IPERF: Final = ("iperf3", "iperf3")

MISSING: Final = 3
"""Exit status of a child that lacks a package or program; its last words say which."""

BENCHES: Final[dict[str, Bench]] = {
    "segments": Bench("segments_per_s", "segments/s", "bulk between two simulated hosts, both directions counted"),
    "dumbbell": Bench(
        "segments_per_s", "segments/s", "one flow through a simulated 100 Mbit/s bottleneck", (("ns.py", "ns.py"),)
    ),
    "lifecycles": Bench("lifecycles_per_s", "lives/s", "connect, 1 KB each way, close, TIME-WAIT to its end"),
    "echo": Bench(
        "round_trips_per_s",
        "round trips/s",
        "asyncio protocols on two simulated hosts, beside the same without a TCP",
        (("asyncio without TCP", "asyncio-echo"), ("the stack alone", "echo-stack")),
    ),
    "echo-streams": Bench(
        "round_trips_per_s",
        "round trips/s",
        "the same with asyncio streams",
        (("asyncio without TCP", "asyncio-echo-streams"), ("the stack alone", "echo-stack")),
    ),
    "echo-blocking": Bench(
        "round_trips_per_s", "round trips/s", "the same with blocking sockets", (("the stack alone", "echo-stack"),)
    ),
    "receive": Bench("gbit_per_s", "Gbit/s", "bulk from the kernel over TUN", (LOOP_IN, KERNELS, IPERF), live=True),
    "receive-8": Bench(
        "gbit_per_s", "Gbit/s", "the same over 8 connections", (("kernels", "kernels-bulk-8"),), live=True
    ),
    "receive-64k": Bench(
        "gbit_per_s", "Gbit/s", "the same at MTU 65535", (("kernels", "kernels-bulk-64k"),), live=True
    ),
    "send": Bench("gbit_per_s", "Gbit/s", "bulk to the kernel over TUN", (KERNELS, LOOP_OUT, IPERF), live=True),
    "send-8": Bench("gbit_per_s", "Gbit/s", "the same over 8 connections", (("kernels", "kernels-bulk-8"),), live=True),
    "send-64k": Bench("gbit_per_s", "Gbit/s", "the same at MTU 65535", (("kernels", "kernels-bulk-64k"),), live=True),
    "trips": Bench(
        "trips_per_s", "trips/s", "requests and answers of 100 octets", (("kernels", "kernels-trips"),), live=True
    ),
    "trips-p50": Bench("p50_us", "us", "the middle one of them", (("kernels", "kernels-trips"),), live=True),
    "trips-p99": Bench("p99_us", "us", "one in a hundred is slower", (("kernels", "kernels-trips"),), live=True),
    "connections": Bench(
        "connections_per_s",
        "connections/s",
        "short connections of the kernel's client, 32 at a time, on one core",
        (("kernels", "kernels-connections"), ("bare loop", "ceiling-connections")),
        live=True,
    ),
    "connections-1": Bench(
        "connections_per_s", "connections/s", "one at a time", (("kernels", "kernels-connections-1"),), live=True
    ),
    "connections-2q": Bench(
        "connections_per_s",
        "connections/s",
        "two processes, each on a queue of the device",
        (("one process", "connections-mixed"),),
        live=True,
    ),
    "crowd-100": Bench("segments_per_s", "segments/s", "`segments` beside 100 idle connections", (("1", "crowd-1"),)),
    "crowd-10000": Bench("segments_per_s", "segments/s", "beside 10,000", (("1", "crowd-1"),), compiled_only=True),
    "crowd-100000": Bench("segments_per_s", "segments/s", "beside 100,000", (("1", "crowd-1"),), compiled_only=True),
    "idle": Bench("octets", "octets", "an idle connection with its socket; 100,000 held", repeat=False),
    "million": Bench("gib", "GiB", "1,000,000 simulated connections, both ends", repeat=False, compiled_only=True),
    "time-wait": Bench("octets", "octets", "a TIME-WAIT record; 1,000,000 held", repeat=False, compiled_only=True),
    "syn-queue": Bench("octets", "octets", "a SYN-queue entry; 100,000 held", repeat=False),
}


class Result(TypedDict):
    """One figure: the median of the runs, and what it stands beside in the same run.

    `reference` is the first of `references`, `ratio` ours to it.
    """

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    references: dict[str, float]
    build: str


def builds() -> dict[str, Path]:
    """Where the package lies, by build: in a checkout compiled and interpreted, else what is installed."""
    own = Path(timewait.__file__).resolve().parent.parent
    root = own.parent if own.name == "src" else own.parent.parent
    found: dict[str, Path] = {}
    for build, place in (("compiled", root / "build" / "compiled"), ("interpreted", root / "src")):
        if (place / "timewait" / "bench").is_dir() and (build == "interpreted" or _compiled(place)):
            found[build] = place
    return found or {"compiled" if _compiled(own) else "interpreted": own}


def _compiled(place: Path) -> bool:
    return any((place / "timewait" / "tcp").glob("ack.*.so"))


def run(names: Sequence[str], *, seconds: float = 1.0, repeat: int = 5) -> Iterator[Result | str]:
    """Measure; a text instead of a result says why something cannot be measured here. UsageError: unknown name."""
    for name in names:
        if name not in BENCHES:
            raise UsageError(f"no benchmark {name!r}; there are {', '.join(BENCHES)}")
    return _run(names or tuple(BENCHES), seconds, repeat)


def _run(names: Sequence[str], seconds: float, repeat: int) -> Iterator[Result | str]:
    missing = probe()
    for name in names:
        bench = BENCHES[name]
        if bench.live and missing:
            yield f"{name}: not measured, {missing}"
            continue
        yield from _measure(name, bench, seconds, repeat if bench.repeat else 1)


def _measure(name: str, bench: Bench, seconds: float, repeat: int) -> Iterator[Result | str]:
    """Each build and each reference in turn, so that all see the same machine."""
    places = builds()
    if bench.compiled_only:
        if "compiled" not in places:
            yield f"{name}: measured in the compiled build only (make compile)"
            return
        places = {"compiled": places["compiled"]}
    first = next(iter(places.values()))
    values: dict[str, list[float]] = {build: [] for build in places}
    beside: dict[str, list[float]] = {label: [] for label, _ in bench.references}
    for _ in range(repeat):
        for label, other in bench.references:
            try:
                beside[label].append(child(first, other, seconds)[bench.key])
            except MissingError as missing:
                yield f"{name}: no {label} beside it, {missing}"
        for build, place in places.items():
            values[build].append(child(place, name, seconds)[bench.key])
    references = {label: _rounded(statistics.median(found)) for label, found in beside.items() if found}
    reference = next(iter(references.values()), None)
    for build, found in values.items():
        value = statistics.median(found)
        yield Result(
            name=name,
            value=_rounded(value),
            unit=bench.unit,
            reference=reference,
            ratio=None if reference is None else round(value / reference, 3),
            references=references,
            build=build,
        )


class MissingError(Exception):
    """A reference needs what is not installed here."""


def child(place: Path, name: str, seconds: float) -> dict[str, float]:
    """What `python -m timewait.bench` says with the package of that place."""
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, "-m", "timewait.bench", name, str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
    if done.returncode == MISSING:
        raise MissingError(done.stderr.decode(errors="replace").strip())
    if done.returncode:
        raise UsageError(f"benchmark {name} failed: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _rounded(value: float) -> float:
    return round(value, 2) if value < 100 else float(round(value))
