"""Random walks: the same marks, echoes, counters and options put to both stacks, and the same said of them."""

import random

import pytest

from rfc.test_accecn import BEACON, CE, ECN, OPTION, RENO, START, Info, fields, order_0, order_1, put, shown, soon, tell
from support.peer import Peer

STEPS = 20
QUIET = 0.26
"""Seconds after each step: longer than an acknowledgment is delayed, so that no step finds one pending."""
MSS = 1000


class Walk:
    """One connection and what was drawn for it; `steps` is what can be compared."""

    def __init__(self, make, seed, accurate):
        self.random = random.Random(seed)
        self.accurate = accurate
        self.peer = make({ECN: 1, OPTION: self.random.choice((0, 1, 2)), BEACON: 0, RENO: "reno"})
        self.next, self.acked = 1, 0
        self.ce, self.ce_octets, self.other_octets = 0, 0, 0
        self.steps = []
        self.fd = self._open()

    def _open(self):
        option, mark = self.random.choice((b"", START, order_1(), order_0(1, 0, 1))), self.random.choice((0, 1, 2, CE))
        if self.accurate:
            fd = self.peer.connect()
            soon(self.peer)
            self._note("open", put(self.peer, "SA", 2, option, ack=1, tos=mark, mss=MSS), fd)
            return fd
        listener = self.peer.listen()
        put(self.peer, "S", 3, mss=MSS)
        tell(self.peer, "A", 0, seq=1, ack=1)
        self.peer.wait_for(lambda: self.peer.states() == ["ESTAB"])
        return self.peer.accept(listener)

    def _note(self, what, seen, fd):
        info = Info(self.peer, fd)
        said = [(shown([each])[0], fields(each), each.segment.sacks != ()) for each in seen]
        figures = (info.received_ce, info.received, info.delivered_ce, info.delivered)
        self.steps.append((what, said, figures, info.failures, info.seen, info.options & 24))

    def step(self):
        what = self.random.choices(("data", "duplicate", "gap", "nothing", "send"), (45, 10, 10, 10, 25))[0]
        mark, size = self.random.choice((0, 1, 2, 2, 2, CE, CE)), self.random.choice((1, 10, 100, 988))
        echo = self.random.choice((0, 0, 0, 1, 2, 3))
        told = self.random.random() < 0.5
        if what == "send":
            self.peer.app.send(self.fd, bytes(500))
            seen = soon(self.peer)
            self.acked += 500
            self.ce += mark == CE
            self.ce_octets += 500 * (mark == CE)
            self.other_octets += 500 * (mark != CE)
            seen += self._inject(echo, told, seq=self.next)
        elif what == "data":
            seen = self._inject(echo, told, seq=self.next, data=size, tos=mark)
            self.next += size
        elif what == "duplicate":
            again = min(size, self.next - 1)
            seen = self._inject(echo, told, seq=self.next - again, data=again, tos=mark)
        elif what == "gap":
            seen = self._inject(echo, told, seq=self.next + 200, data=size, tos=mark)
        else:
            seen = self._inject(echo, told, seq=self.next, tos=mark)
        self._note(f"{what} {mark}", seen + self.peer.run(QUIET), self.fd)

    def _inject(self, echo, told, **given):
        if not self.accurate:
            return tell(self.peer, "A", echo, ack=1 + self.acked, **given)
        option = order_1(1, self.ce_octets, 1 + self.other_octets) if told else b""
        return tell(self.peer, "A", (5 + self.ce) % 8, option, ack=1 + self.acked, **given)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("accurate", [False, True])
def test_both_stacks_say_the_same(peers, accurate, seed):
    ours, theirs = Walk(Peer.sim, seed, accurate), Walk(peers, seed, accurate)
    for number in range(STEPS):
        ours.step()
        theirs.step()
        assert ours.steps[-1] == theirs.steps[-1], f"step {number}"
    assert ours.steps == theirs.steps
