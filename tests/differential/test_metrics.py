"""What a host remembers of its peers, by the kernel's own `ip tcp_metrics` and by the next connection."""

import pytest

from support.metric_stories import STORIES
from support.moments import Teller, differences, tell
from support.peer import PEER, Peer

V4 = "net.ipv4."
TELLINGS = 3
SPANS = {"rtt": 8_000, "rttvar": 8_000}
"""Microseconds by which figures may differ."""


def remembered(teller: Teller) -> dict[str, int]:
    """The entry of the peer, times in us; {} when there is none."""
    host = teller.peer.host
    kernel = teller.peer.kind == "kernel"
    text = host.namespace.run(["ip", "tcp_metrics", "show"]).stdout if kernel else host.tcp_metrics()
    for line in text.splitlines():
        words = line.split()
        if words[0] == PEER:
            assert words[1] == "age" and words[2].endswith("sec") and words[-2:] == ["source", "10.0.0.1"]
            return {
                name: int(value.removesuffix("us")) for name, value in zip(words[3:-2:2], words[4:-2:2], strict=True)
            }
    return {}


@pytest.mark.parametrize("sysctl", [{}, {"tcp_no_ssthresh_metrics_save": 0}, {"tcp_no_metrics_save": 1}], ids=str)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_both_remember_the_same(peers, story, sysctl):
    given = {V4 + name: value for name, value in sysctl.items()}
    for _ in range(TELLINGS):
        kernel = tell(story, peers(given))
        ours = tell(story, Peer.sim(given), kernel)
        found = differences(kernel, ours)
        theirs, own = remembered(kernel), remembered(ours)
        if theirs.keys() != own.keys():
            found.append(f"{theirs} in the kernel, {own} here")
        found += [
            f"{name}: {value} in the kernel, {own.get(name)} here"
            for name, value in theirs.items()
            if abs(value - own.get(name, 0)) > SPANS.get(name, 0)
        ]
        if not found:
            return
    pytest.fail("\n".join(found))
