"""One measurement in a process of its own: `python -m timewait.bench NAME SECONDS` prints a JSON object."""

import json
import sys
from collections.abc import Callable

from timewait.bench import ceiling, live, memory, simulated

MEMORY_LIMIT = 4 << 30
MTU = 1500


def main(name: str, seconds: float) -> None:
    """Measure, and print what came of it."""
    live.limit_memory(MEMORY_LIMIT)
    if name.startswith("ceiling-"):
        print(json.dumps(bare_loop(name, seconds)))
        return
    if name not in ("receive", "send", "connections"):
        simulated.quiet()
    functions: dict[str, Callable[[float], dict[str, float]]] = {
        "segments": simulated.segments,
        "lifecycles": simulated.lifecycles,
        "receive": live.receive_bulk,
        "send": live.send_bulk,
        "connections": live.connections,
        "idle": memory.idle,
        "time-wait": memory.time_wait,
        "syn-queue": memory.syn_queue,
    }
    print(json.dumps(functions[name](seconds)))


def bare_loop(name: str, seconds: float) -> dict[str, float]:
    """A ceiling: what a loop without any TCP manages on a TUN here."""
    if name == "ceiling-receive":
        found = ceiling.in_namespace(ceiling.receive_bulk, MTU, seconds)
    elif name == "ceiling-connections":
        found = ceiling.in_namespace(ceiling.connections, MTU, seconds)
    else:
        both = ceiling.in_namespace(ceiling.send_bulk, MTU, seconds)
        assert isinstance(both, dict)
        found = both["windowed"]
    assert isinstance(found, dict)
    return found


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
