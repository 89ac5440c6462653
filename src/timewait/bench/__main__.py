"""One measurement in a process of its own: `python -m timewait.bench NAME SECONDS` prints a JSON object."""

import json
import sys
from collections.abc import Callable
from typing import Final

from timewait.bench import bulk, ceiling, memory, nspy, rig, short, simulated, trips
from timewait.bench.suite import MISSING

MEMORY_LIMIT: Final = 5 << 30
MTU: Final = 1500
LARGE: Final = 65535

Measured = dict[str, float]

FUNCTIONS: Final[dict[str, Callable[[float], Measured]]] = {
    "segments": simulated.segments,
    "dumbbell": simulated.dumbbell,
    "ns.py": nspy.dumbbell,
    "lifecycles": simulated.lifecycles,
    "echo": lambda seconds: _echo("protocols", seconds),
    "echo-streams": lambda seconds: _echo("streams", seconds),
    "echo-blocking": lambda seconds: _echo("blocking", seconds),
    "echo-stack": lambda seconds: _echo("watchers", seconds),
    "asyncio-echo": lambda seconds: _echo("bare_protocols", seconds),
    "asyncio-echo-streams": lambda seconds: _echo("bare_streams", seconds),
    "receive": bulk.receive,
    "receive-8": lambda seconds: bulk.receive(seconds, streams=8),
    "receive-64k": lambda seconds: bulk.receive(seconds, LARGE),
    "send": bulk.send,
    "send-8": lambda seconds: bulk.send(seconds, streams=8),
    "send-64k": lambda seconds: bulk.send(seconds, LARGE),
    "kernels-bulk": bulk.kernels,
    "kernels-bulk-8": lambda seconds: bulk.kernels(seconds, streams=8),
    "kernels-bulk-64k": lambda seconds: bulk.kernels(seconds, LARGE),
    "iperf3": bulk.iperf3,
    "trips": trips.serve,
    "trips-p50": trips.serve,
    "trips-p99": trips.serve,
    "kernels-trips": trips.kernels,
    "connections": lambda seconds: short.serve(seconds, apart=True),
    "connections-mixed": short.serve,
    "connections-1": lambda seconds: short.serve(seconds, 1),
    "connections-2q": short.two_processes,
    "kernels-connections": short.kernels,
    "kernels-connections-1": lambda seconds: short.kernels(seconds, 1),
    "crowd-1": lambda seconds: simulated.crowd(seconds, 1),
    "crowd-100": lambda seconds: simulated.crowd(seconds, 100),
    "crowd-10000": lambda seconds: simulated.crowd(seconds, 10_000),
    "crowd-100000": lambda seconds: simulated.crowd(seconds, 100_000),
    "idle": memory.idle,
    "million": memory.million,
    "time-wait": memory.time_wait,
    "syn-queue": memory.syn_queue,
    "ceiling-receive": lambda seconds: _bare(ceiling.in_namespace(ceiling.receive_bulk, MTU, seconds)),
    "ceiling-connections": lambda seconds: _bare(ceiling.in_namespace(ceiling.connections, MTU, seconds)),
    "ceiling-send": lambda seconds: _windowed(ceiling.in_namespace(ceiling.send_bulk, MTU, seconds)),
}
"""What can be measured, references included."""

IN_REAL_TIME: Final = ("receive", "send", "trips", "connections", "kernels", "ceiling", "iperf3")


def main(name: str, seconds: float) -> int:
    """Measure, and print what came of it."""
    rig.limit_memory(MEMORY_LIMIT)
    if not name.startswith(IN_REAL_TIME):
        simulated.quiet()
    try:
        print(json.dumps(FUNCTIONS[name](seconds)))
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed", file=sys.stderr)
        return MISSING
    return 0


def _echo(kind: str, seconds: float) -> Measured:
    from timewait.bench import echo  # Needs greenlet, which the others do not.

    measure: Callable[[float], Measured] = getattr(echo, kind)
    return measure(seconds)


def _bare(found: object) -> Measured:
    assert isinstance(found, dict)
    return found


def _windowed(found: object) -> Measured:
    assert isinstance(found, dict)
    return _bare(found["windowed"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
