"""The checkers themselves: they must bite."""

import pytest

from support.fake_host import FakeHost, segment
from timewait.base.instant import SEC
from timewait.tcp.states import Cause, State
from timewait.tcp.tap import Tap
from timewait.world.checkers import Conservation, Fan, LegalMoves, Stream, check_quiet
from timewait.world.network import World

FLOW = b"flow"


def test_legal_moves():
    checker = LegalMoves()
    checker.moved("a", FLOW, State.CLOSED, State.SYN_SENT, Cause.ACTIVE_OPEN, 0)
    checker.moved("a", FLOW, State.SYN_SENT, State.ESTABLISHED, Cause.RCV_SYN_ACK, 1)
    checker.verify()
    assert checker.open() == checker.open("a") == [State.ESTABLISHED] and checker.open("b") == []
    checker.moved("a", FLOW, State.ESTABLISHED, State.TIME_WAIT, Cause.RCV_FIN, 2)
    checker.moved("a", FLOW, State.CLOSE_WAIT, State.LAST_ACK, Cause.CLOSE_CALL, 3)
    with pytest.raises(AssertionError, match=r"ESTABLISHED -> TIME_WAIT.*not in TRANSITIONS\n.*it was in TIME_WAIT"):
        checker.verify()


def test_a_closed_tuple_may_start_anew():
    checker = LegalMoves()
    checker.moved("a", FLOW, State.LAST_ACK, State.CLOSED, Cause.RCV_ACK_OF_FIN, 0)
    checker.moved("a", FLOW, State.LISTEN, State.SYN_RCVD, Cause.RCV_SYN, 1)
    checker.verify()
    assert checker.checked == 2


def test_conservation():
    checker = Conservation()
    packet = segment()
    checker.sent("a", packet, 5)
    checker.received("b", packet, 6)
    checker.received("b", packet.copy(), 7)
    checker.verify()
    assert checker.arrivals == {1: 2}
    ghost = segment()
    ghost.uid = 77
    checker.received("b", ghost, 8)
    checker.received("b", segment("10.9.9.9"), 9)
    checker.received("b", packet, 1)
    checker.sent("a", packet, 9)
    assert [text.partition(" ")[2].partition(":")[0] for text in checker.problems] == [
        "ns b received what nobody sent",
        "ns b received what nobody sent",
        "ns b received packet 1 before it was sent",
        "ns a sent packet 1 twice",
    ]


def test_stream():
    stream = Stream("upload")
    stream.wrote(b"hello ")
    stream.wrote(b"world")
    stream.got(b"hel")
    with pytest.raises(AssertionError, match="upload: 8 of 11 octets were never read"):
        stream.finished()
    with pytest.raises(AssertionError, match="octet 5 differs"):
        stream.got(b"lox")
    stream.got(b"lo world")
    stream.finished()
    with pytest.raises(AssertionError, match="12 octets read of 11 written"):
        stream.got(b"!")


def test_rest():
    world = World(record=False)
    a = world.add(FakeHost("a", world.clock, "10.0.0.1/24"))
    world.add(FakeHost("b", world.clock, "10.0.0.2/24"))
    world.link("a", "b", delay=SEC)
    check_quiet(world)
    a.send(segment())
    a.due = 2 * SEC
    a.on_rearm()
    with pytest.raises(
        AssertionError, match="link a-b: 1 packets on the way; host a: a timer at 2 s; 1 s: packet a -> b"
    ):
        check_quiet(world)
    world.run()
    check_quiet(world)


def test_fan_tells_everybody():
    class Ear(Tap):
        def __init__(self):
            self.heard = []

        def sent(self, host, packet, now):
            self.heard.append(host)

        def noted(self, where, text, now):
            self.heard.append(text)

    ears = (Ear(), Ear())
    fan = Fan(ears)
    fan.sent("a", segment(), 0)
    fan.noted("link", "unplugged", 0)
    assert [ear.heard for ear in ears] == [["a", "unplugged"]] * 2
