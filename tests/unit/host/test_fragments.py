import random

import pytest

from timewait.base.instant import NEVER, SEC
from timewait.host.fragments import FRAGMENT_OVERHEAD, Reassembler, fragment
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop
from timewait.tcp.sysctl import Sysctl
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_UDP, Datagram, RawPacket
from timewait.wire.parse import parse_transport


class Bench:
    def __init__(self):
        self.sysctl, self.counters = Sysctl(), Counters()
        self.drops, self.timeouts = [], []
        self.to = Reassembler(self.sysctl, self.counters, lambda p, d: self.drops.append(d), self.timeouts.append)


@pytest.fixture
def bench():
    return Bench()


def datagram(size=3000, v6=False):
    packet = Datagram()
    packet.src, packet.dst = (pack("fd00::1"), pack("fd00::2")) if v6 else (pack("10.0.0.1"), pack("10.0.0.2"))
    packet.proto, packet.sport, packet.dport = PROTO_UDP, 4000, 53
    packet.payload = bytes(random.Random(size).randbytes(size))
    return packet


def piece(offset, size, more=True, ident=1, tos=0):
    raw = RawPacket()
    raw.src, raw.dst, raw.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_UDP
    raw.fragment_offset, raw.more_fragments, raw.ident, raw.tos = offset, more, ident, tos
    raw.payload = bytes(size)
    return raw


def test_3000_octets_over_1500_make_1480_1480_and_48():
    pieces = fragment(datagram(), 1500, 7)
    assert [(len(p.payload), p.fragment_offset, p.more_fragments, p.ident) for p in pieces] == [
        (1480, 0, True, 7),
        (1480, 1480, True, 7),
        (48, 2960, False, 7),
    ]
    assert [len(p.payload) for p in fragment(datagram(v6=True), 1500, 7)] == [1448, 1448, 112]


@pytest.mark.parametrize("v6", [False, True])
def test_any_order_gives_the_datagram_back(bench, v6):
    original = datagram(20000, v6)
    pieces = fragment(original, 1500, 7)
    random.Random(1).shuffle(pieces)
    answers = [bench.to.add(p, 0) for p in pieces]
    assert answers[:-1] == [None] * (len(pieces) - 1)
    whole = parse_transport(answers[-1])
    assert (whole.sport, whole.dport, bytes(whole.payload)) == (4000, 53, original.payload)
    assert bench.to.memory == 0 and not bench.to.sources and bench.to.next_timeout() == NEVER


def test_a_fragment_cut_again_still_fits_together(bench):
    original = datagram(3000)
    pieces = [again for one in fragment(original, 1500, 7) for again in fragment(one, 576, 99)]
    assert {p.ident for p in pieces} == {7}
    assert bytes(parse_transport([bench.to.add(p, 0) for p in pieces][-1]).payload) == original.payload


def test_duplicates_are_ignored_and_overlaps_kill_the_datagram(bench):
    bench.to.add(piece(0, 800), 0)
    assert bench.to.add(piece(0, 800), 0) is Drop.FRAGMENT_DUPLICATE
    assert bench.to.add(piece(792, 800), 0) is Drop.FRAGMENT_OVERLAP
    assert bench.drops == [Drop.FRAGMENT_OVERLAP] and bench.to.memory == 0
    assert bench.counters.as_dict() == {"IpReasmReqds": 3, "IpReasmFails": 1, "IpExtReasmOverlaps": 1}


def test_a_second_end_or_data_beyond_it_is_refused(bench):
    bench.to.add(piece(800, 8, more=False), 0)
    assert bench.to.add(piece(1600, 8), 0) is Drop.BAD_PACKET
    bench.to.add(piece(800, 8, more=False), 0)
    assert bench.to.add(piece(1600, 8, more=False), 0) is Drop.BAD_PACKET
    assert bench.to.add(piece(65528, 100, more=False), 0) is Drop.BAD_PACKET


def test_timeout_reports_the_first_fragment_only_if_it_came(bench):
    first = piece(0, 800)
    bench.to.add(first, 0)
    bench.to.add(piece(800, 800, ident=2), SEC)
    assert bench.to.next_timeout() == 30 * SEC
    bench.to.expire(29 * SEC)
    assert bench.timeouts == []
    bench.to.expire(31 * SEC)
    assert bench.timeouts == [first] and bench.drops == [Drop.FRAGMENT_TIMEOUT] * 2
    assert bench.counters.IpReasmTimeout == 2


def test_memory_is_bounded_and_the_oldest_goes_first(bench):
    bench.sysctl.ipfrag_high_thresh = 3 * (800 + FRAGMENT_OVERHEAD)
    for ident in range(5):
        assert bench.to.add(piece(0, 800, ident=ident), ident) is None
        assert bench.to.memory <= bench.sysctl.ipfrag_high_thresh
    assert bench.drops == [Drop.FRAGMENT_LIMIT] * 2
    assert bench.to.add(piece(800, 8, more=False, ident=4), 9) is not None


def test_fragments_too_far_apart_are_of_different_datagrams(bench):
    bench.sysctl.ipfrag_max_dist = 4
    bench.to.add(piece(0, 800, ident=1), 0)
    for ident in range(2, 8):
        bench.to.add(piece(0, 800, ident=ident), 0)
    assert bench.to.add(piece(800, 8, more=False, ident=1), 0) is None
    assert bench.drops == [Drop.FRAGMENT_LIMIT]


def test_a_ce_mark_survives_reassembly(bench):
    bench.to.add(piece(0, 8, tos=2), 0)
    assert bench.to.add(piece(8, 8, more=False, tos=3), 0).tos == 3
    bench.to.add(piece(0, 8, tos=0), 0)
    assert bench.to.add(piece(8, 8, more=False, tos=3), 0) is Drop.BAD_PACKET
