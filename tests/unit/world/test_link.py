"""Links: what each fault does, who draws what, and that nothing vanishes without a reason."""

from itertools import pairwise

import pytest

from support.fake_host import FakeHost, datagram, segment
from timewait.base.errors import UsageError, WireError
from timewait.base.instant import MSEC, SEC
from timewait.tcp.reasons import Drop
from timewait.tcp.tap import Tap
from timewait.wire.packet import ACK, SYN, IcmpMessage, RawPacket
from timewait.wire.parse import parse
from timewait.wire.serialize import ip_payload, wire_length
from timewait.world.network import World


class Ear(Tap):
    def __init__(self):
        self.drops = []
        self.notes = []

    def dropped(self, where, packet, drop, now):
        self.drops.append(drop)

    def noted(self, where, text, now):
        self.notes.append(text)


class Pair:
    """Two hosts and a link."""

    def __init__(self, seed=0, **options):
        self.ear = Ear()
        self.world = World(seed, record=self.ear)
        self.a = self.world.add(FakeHost("a", self.world.clock, "10.0.0.1/24", tap=self.ear))
        self.b = self.world.add(FakeHost("b", self.world.clock, "10.0.0.2/24", tap=self.ear))
        self.link = self.world.link("a", "b", **options)

    def flood(self, count=200, gap=MSEC, sender="a"):
        """Send `count` numbered segments and return the numbers that arrived intact, in order."""
        source, target = (self.a, self.b) if sender == "a" else (self.b, self.a)
        for number in range(count):
            packet = segment(seq=number, payload=b"x" * 100)
            self.world.at(self.world.now + number * gap, lambda packet=packet: source.send(packet))
        self.world.run()
        return [packet.seq for packet in target.packets if not isinstance(packet, bytes)]


def test_a_plain_link_delivers_the_object_itself_after_the_delay_and_draws_nothing():
    pair = Pair(delay=5 * MSEC)
    states = [pipe.loss_draws.getstate() for pipe in pair.link.directions(None)]
    sent = [segment(seq=n) for n in range(3)]
    for packet in sent:
        pair.a.send(packet)
    assert pair.link.in_flight == 3
    pair.world.run()
    assert [a is b for a, b in zip(sent, pair.b.packets, strict=True)] == [True] * 3
    assert pair.b.times == [5 * MSEC] * 3
    assert pair.link.there.plain and pair.link.in_flight == 0
    assert states == [pipe.loss_draws.getstate() for pipe in pair.link.directions(None)]


def test_a_delay_that_becomes_shorter_lets_nobody_overtake():
    pair = Pair(delay=5 * MSEC)
    with pair.link.slow(50 * MSEC):
        pair.a.send(segment(seq=1))
    pair.a.send(segment(seq=2))
    pair.world.run()
    assert [p.seq for p in pair.b.packets] == [1, 2] and pair.b.times == [55 * MSEC] * 2


@pytest.mark.parametrize("options", [{"loss": 0.3}, {"burst": (0.1, 0.3)}, {"jitter": 5 * MSEC, "overtake": True}])
def test_equal_seeds_give_equal_runs_and_others_differ(options):
    runs = [(pair.flood(), pair.b.times) for pair in (Pair(1, **options), Pair(1, **options), Pair(2, **options))]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_loss_is_counted_and_about_as_asked():
    pair = Pair(3, loss=0.3)
    got = pair.flood(1000)
    assert 230 < 1000 - len(got) < 370
    assert pair.ear.drops == [Drop.LINK_LOSS] * (1000 - len(got))


def test_burst_loss_comes_in_runs():
    pair = Pair(3, burst=(0.05, 0.25))
    got = pair.flood(2000)
    lost = sorted(set(range(2000)) - set(got))
    runs = 1 + sum(1 for x, y in pairwise(lost) if y != x + 1)
    assert len(lost) / runs > 2, "independent losses of this number would come nearly alone"


def test_a_fault_in_one_direction_changes_nothing_in_the_other():
    quiet, busy = Pair(5, loss=0.3, delay=1), Pair(5, loss=0.3, delay=1)
    for pair in (quiet, busy):
        pair.world.at(0, lambda pair=pair: [pair.b.send(segment("10.0.0.2", "10.0.0.1", seq=n)) for n in range(100)])
    busy.link.corrupt(0.5, sender="a")
    busy.link.lossy(0.9, sender="a")
    busy.flood(100)
    quiet.world.run()
    assert [p.seq for p in quiet.a.packets] == [p.seq for p in busy.a.packets]


def test_a_new_fault_moves_no_draw_of_another():
    one, two = Pair(5, loss=0.3), Pair(5, loss=0.3, duplicate=0.5, corrupt=0.5, jitter=MSEC, reorder=0.5)
    one.flood(300)
    two.flood(300)
    lost = [pair.ear.drops.count(Drop.LINK_LOSS) for pair in (one, two)]
    assert lost[0] == lost[1] > 0


def test_jitter_keeps_the_order_unless_overtaking_is_allowed():
    calm = Pair(4, jitter=20 * MSEC)
    assert calm.flood() == list(range(200))
    wild = Pair(4, jitter=20 * MSEC, overtake=True)
    got = wild.flood()
    assert got != sorted(got) and sorted(got) == list(range(200))


def test_reorder_holds_back_some():
    pair = Pair(4, delay=MSEC, reorder=0.2, reorder_delay=10 * MSEC)
    got = pair.flood()
    assert sorted(got) == list(range(200)) and got != sorted(got)
    late = [n for n, when in zip(got, pair.b.times, strict=True) if when == (n + 11) * MSEC]
    assert 20 < len(late) < 60


def test_duplicates_follow_the_original():
    pair = Pair(4, duplicate=1.0)
    assert pair.flood(3) == [0, 0, 1, 1, 2, 2]


def test_corruption_flips_one_bit_and_is_noted():
    pair = Pair(4, corrupt=1.0)
    pair.flood(50)
    assert len(pair.b.got) == len(pair.ear.notes) == 50
    for data in pair.b.packets:
        assert isinstance(data, bytes)
        with pytest.raises(WireError):
            parse(data)


def test_the_rate_spaces_packets_and_the_queue_drops_the_tail():
    pair = Pair(rate=1_120_000, queue=2)
    assert wire_length(segment(payload=b"x" * 100)) == 140
    for n in range(5):
        pair.a.send(segment(seq=n, payload=b"x" * 100))
    pair.world.run()
    assert [p.seq for p in pair.b.packets] == [0, 1, 2], "one at the transmitter, two waiting"
    assert pair.b.times == [MSEC, 2 * MSEC, 3 * MSEC]
    assert pair.ear.drops == [Drop.LINK_QUEUE_FULL] * 2


def test_a_queue_in_bytes():
    pair = Pair(rate=1_120_000, queue_bytes=300)
    for n in range(5):
        pair.a.send(segment(seq=n, payload=b"x" * 100))
    pair.world.run()
    assert [p.seq for p in pair.b.packets] == [0, 1, 2]


def test_mtu_with_df_is_answered_by_icmp():
    pair = Pair(mtu=1000)
    pair.a.send(segment(payload=b"x" * 1000))
    pair.a.send(segment(payload=b"x" * 960))
    pair.world.run()
    assert [p.length for p in pair.b.packets] == [960]
    (error,) = pair.a.packets
    assert isinstance(error, IcmpMessage)
    assert (error.type, error.code, error.rest) == (3, 4, 1000)
    assert pair.ear.drops == [Drop.LINK_MTU]


def test_mtu_in_ipv6_is_answered_by_packet_too_big():
    pair = Pair(mtu=1280)
    pair.a.send(segment("fd00::1", "fd00::2", payload=b"x" * 1400))
    pair.world.run()
    assert pair.b.got == []
    (error,) = pair.a.packets
    assert (error.type, error.code, error.rest, error.proto) == (2, 0, 1280, 58)


def test_mtu_as_a_black_hole_is_silent():
    pair = Pair(mtu=1000, blackhole=True)
    pair.a.send(segment(payload=b"x" * 1000))
    pair.world.run()
    assert pair.a.got == pair.b.got == []
    assert pair.ear.drops == [Drop.LINK_MTU]


def test_mtu_without_df_fragments():
    pair = Pair(mtu=500)
    packet = datagram(payload=bytes(range(250)) * 5, ident=7)
    pair.a.send(packet)
    pair.world.run()
    parts = pair.b.packets
    assert all(isinstance(part, RawPacket) and wire_length(part) <= 500 for part in parts)
    assert [part.more_fragments for part in parts] == [True, True, False]
    assert b"".join(part.payload for part in parts) == ip_payload(packet)


def test_super_segments_are_split_for_who_takes_none_and_for_faults():
    pair = Pair()
    whole = segment(payload=b"x" * 2500, gso_size=1000)
    pair.a.send(whole)
    pair.world.run()
    assert [(p.seq, p.length) for p in pair.b.packets] == [(0, 1000), (1000, 1000), (2000, 500)]
    pair.link.there.sink.takes_super = True
    pair.a.send(whole)
    pair.world.run()
    assert pair.b.packets[-1] is whole
    pair.link.drop("second data")
    pair.a.send(whole)
    pair.world.run()
    assert [p.seq for p in pair.b.packets[-2:]] == [0, 2000]


def test_partition_both_ways_one_way_and_undone():
    pair = Pair()
    with pair.link.partition():
        pair.a.send(segment())
        pair.b.send(segment())
    with pair.link.partition(sender="a") as outer, pair.link.partition(sender="a"):
        outer.undo()
        outer.undo()
        pair.a.send(segment())
        pair.b.send(segment(seq=9))
    pair.a.send(segment(seq=8))
    pair.world.run()
    assert [p.seq for p in pair.a.packets] == [9]
    assert [p.seq for p in pair.b.packets] == [8]
    assert pair.ear.drops == [Drop.LINK_PARTITION] * 3


def test_the_cable():
    pair = Pair()
    pair.link.unplug()
    pair.a.send(segment(seq=1))
    pair.world.after(SEC, pair.link.plug)
    pair.world.after(2 * SEC, lambda: pair.a.send(segment(seq=2)))
    pair.world.run()
    assert [p.seq for p in pair.b.packets] == [2]
    assert pair.ear.drops == [Drop.LINK_DOWN]
    assert pair.ear.notes == ["cable unplugged", "cable plugged in"]


def test_rules_drop_hold_repeat_and_damage():
    pair = Pair()
    drop = pair.link.drop("second SYN-ACK from b")
    pair.link.hold("2nd data", 10 * MSEC)
    pair.link.repeat("3rd data", 2)
    pair.link.damage(lambda packet: packet.seq == 4)
    for n in range(3):
        pair.b.send(segment(seq=n, flags=SYN | ACK))
        pair.a.send(segment(seq=n, flags=SYN | ACK))
    for n in range(1, 5):
        pair.a.send(segment(seq=n, payload=b"x"))
    pair.world.run()
    assert [p.seq for p in pair.a.packets] == [0, 2]
    assert [p if isinstance(p, bytes) else p.seq for p in pair.b.packets[3:]] == [1, 3, 3, 3, pair.b.packets[-2], 2]
    assert isinstance(pair.b.packets[-2], bytes)
    assert drop.hits == 1 and pair.ear.drops == [Drop.LINK_RULE]


def test_faults_are_undone_on_leaving_and_the_fast_path_returns():
    pair = Pair(delay=7, loss=0.25)
    before = (pair.link.there.delay, pair.link.there.loss)
    verbs = [
        lambda link: link.slow(5),
        lambda link: link.jitter(5),
        lambda link: link.throttle(1000, queue=3),
        lambda link: link.duplicate(0.5),
        lambda link: link.reorder(0.5, by=3),
        lambda link: link.narrow(1000),
        lambda link: link.lossy(0.5, burst=(0.1, 0.2)),
        lambda link: link.corrupt(0.5),
        lambda link: link.hold("data", 3),
        lambda link: link.drop("data"),
        lambda link: link.partition(sender="b"),
        lambda link: link.unplug(),
    ]
    for verb in verbs:
        with verb(pair.link):
            pass
    assert before == (pair.link.there.delay, pair.link.there.loss)
    pair.link.configure()
    assert pair.link.there.plain and pair.link.back.plain


@pytest.mark.parametrize(
    "options",
    [{"loss": 1.5}, {"delay": -1}, {"mtu": 20}, {"burst": (0.1,)}, {"rate": -1}, {"drop": "nonsense"}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError):
        Pair(**options)


def test_time_is_whole_nanoseconds():
    with pytest.raises((UsageError, TypeError)):
        Pair(delay=0.5)


def test_a_stranger_is_named():
    with pytest.raises(UsageError, match="'c' is not on link a-b; a and b are"):
        Pair().link.lossy(0.1, sender="c")


def test_a_rule_may_not_be_for_nobody():
    with pytest.raises(UsageError, match="no direction"):
        Pair().link.drop("SYN from a", sender="b")


def test_a_dropped_packet_still_has_its_kind():
    pair = Pair(drop="every second ACK")
    for n in range(4):
        pair.a.send(segment(seq=n, flags=ACK))
    pair.world.run()
    assert [p.seq for p in pair.b.packets] == [0, 2]
