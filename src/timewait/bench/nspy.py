"""The reference for simulated speed: ns.py (PyPI), one flow through a bottleneck, as `simulated.dumbbell` has it."""

import time
from typing import Any, Final

RATE: Final = 100_000_000
"""Bits per second of the bottleneck."""
ONE_WAY: Final = 0.01
"""Seconds."""
QUEUE: Final = 100
"""Packets."""


def dumbbell(seconds: float) -> dict[str, float]:
    """Packets of both directions per second of processor time. ImportError where ns.py is not installed."""
    import simpy
    from ns.flow.cc import TCPReno
    from ns.flow.flow import Flow
    from ns.packet.tcp_generator import TCPPacketGenerator
    from ns.packet.tcp_sink import TCPSink
    from ns.port.port import Port
    from ns.port.wire import Wire

    env: Any = simpy.Environment()
    flow = Flow(fid=0, src="a", dst="b", start_time=0.0, finish_time=1e9)
    sender = TCPPacketGenerator(env, flow=flow, cc=TCPReno(), element_id="a")
    there, back = Wire(env, lambda: ONE_WAY), Wire(env, lambda: ONE_WAY)
    port = Port(env, RATE, qlimit=QUEUE)
    sink = TCPSink(env)
    sender.out, port.out, there.out, sink.out, back.out = port, there, sink, back, sender
    env.run(until=1)
    before, began, until = _packets(sink), time.process_time(), 1.0
    while (elapsed := time.process_time() - began) < seconds:
        until += 0.1
        env.run(until=until)
    return {"segments_per_s": (_packets(sink) - before) / elapsed}


def _packets(sink: Any) -> int:
    """Data that arrived, and an acknowledgment for each."""
    arrived: int = sum(sink.packets_received.values())
    return 2 * arrived
