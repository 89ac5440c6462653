"""iperf3's own client measures our stack, both ways."""

import asyncio
import json

import pytest

from live.iperf import serve_once
from live.programs import output
from timewait.run.live import live
from timewait.world.driver import AsyncSocket

LEAST = 100e6
"""Bit/s that a broken window, timer or wake-up would not reach; the true figure is tens of times higher."""


@pytest.mark.parametrize("options", [[], ["-R"], ["-P", "3"], ["-P", "3", "-R"]], ids=" ".join)
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_iperf3(family: int, options: list[str]) -> None:
    async def run() -> None:
        async with live() as net:
            listener = AsyncSocket.listening(net.host.process("iperf"), (net.addresses[family], 5201))
            serving = asyncio.create_task(serve_once(listener))
            words = ["iperf3", "-c", net.addresses[family], "-t", "1", "-J", *options]
            text = await output(net, words)
            ours = await serving
            end = json.loads(text)["end"]
            sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
            way = "received by us" if "-R" not in options else "sent by us"
            print(f"{way}: {received * 8 / ours['seconds'] / 1e9:.2f} Gbit/s")
            assert received * 8 / ours["seconds"] > LEAST
            # Whoever receives has at most what the other one sent; what was under way at the end is missing.
            assert (sent if "-R" in options else received) == ours["octets"]
            assert received <= sent
            await net.settle()

    asyncio.run(asyncio.wait_for(run(), 30))
