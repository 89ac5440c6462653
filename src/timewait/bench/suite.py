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

TIMEOUT: Final = 60
"""Seconds after which a child is given up: ten times what the slowest takes."""


class Bench(NamedTuple):
    """What is measured: `key` of the child's answer, and the ceiling that it stands beside, if any."""

    key: str
    unit: str
    meaning: str
    ceiling: str = ""
    repeat: bool = True


BENCHES: Final[dict[str, Bench]] = {
    "segments": Bench("segments_per_s", "segments/s", "bulk between two simulated hosts, both directions counted"),
    "lifecycles": Bench("lifecycles_per_s", "lives/s", "connect, 1 KB each way, close, TIME-WAIT to its end"),
    "receive": Bench("gbit_per_s", "Gbit/s", "bulk from the kernel over TUN", "ceiling-receive"),
    "send": Bench("gbit_per_s", "Gbit/s", "bulk to the kernel over TUN", "ceiling-send"),
    "connections": Bench(
        "connections_per_s", "connections/s", "short connections of the kernel's client", "ceiling-connections"
    ),
    "idle": Bench("octets", "octets", "an idle connection with its socket", repeat=False),
    "time-wait": Bench("octets", "octets", "a TIME-WAIT record", repeat=False),
    "syn-queue": Bench("octets", "octets", "a SYN-queue entry", repeat=False),
}


class Result(TypedDict):
    """One figure: the median of the runs; `reference` is the bare loop's in the same run, `ratio` ours to it."""

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
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


def run(names: Sequence[str], *, seconds: float = 1.0, repeat: int = 3) -> Iterator[Result | str]:
    """Measure; a text instead of a result says why something cannot be measured here. UsageError: unknown name."""
    for name in names:
        if name not in BENCHES:
            raise UsageError(f"no benchmark {name!r}; there are {', '.join(BENCHES)}")
    missing = probe()
    for name in names or BENCHES:
        bench = BENCHES[name]
        if bench.ceiling and missing:
            yield f"{name}: not measured, {missing}"
            continue
        yield from _measure(name, bench, seconds, repeat if bench.repeat else 1)


def _measure(name: str, bench: Bench, seconds: float, repeat: int) -> Iterator[Result]:
    """Each build and the bare loop in turn, so that all see the same machine."""
    places = builds()
    values: dict[str, list[float]] = {build: [] for build in places}
    ceilings: list[float] = []
    for _ in range(repeat):
        if bench.ceiling:
            ceilings.append(child(next(iter(places.values())), bench.ceiling, seconds)[bench.key])
        for build, place in places.items():
            values[build].append(child(place, name, seconds)[bench.key])
    reference = statistics.median(ceilings) if ceilings else None
    for build, found in values.items():
        value = statistics.median(found)
        yield Result(
            name=name,
            value=_rounded(value),
            unit=bench.unit,
            reference=None if reference is None else _rounded(reference),
            ratio=None if reference is None else round(value / reference, 3),
            build=build,
        )


def child(place: Path, name: str, seconds: float) -> dict[str, float]:
    """What `python -m timewait.bench` says with the package of that place."""
    environment = {**os.environ, "PYTHONPATH": str(place)}
    command = [sys.executable, "-m", "timewait.bench", name, str(seconds)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise UsageError(f"benchmark {name} failed: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _rounded(value: float) -> float:
    return round(value, 2) if value < 100 else float(round(value))
