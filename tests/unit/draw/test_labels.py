"""What a packet is called on a drawing, where ECN is concerned."""

import pytest

from timewait.draw.labels import head, options_text
from timewait.wire.accecn import ace_flags
from timewait.wire.packet import ACK, SYN, Segment


def segment(**fields):
    made = Segment()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("mark", "shown"), [(0, "ACK seq=5 ack=7 len=9"), (2, "ACK seq=5 ack=7 len=9"), (3, "ACK seq=5 ack=7 len=9 CE")]
)
def test_a_marked_packet_is_shown_as_such(mark, shown):
    assert head(segment(flags=ACK, seq=5, ack=7, length=9, payload=bytes(9), tos=mark), None) == shown


def test_the_flags_of_accurate_ecn_have_names():
    assert head(segment(flags=SYN | ace_flags(7)), None) == "SYN-ECE-CWR-AE seq=0"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (((174, bytes((0, 0, 1, 0, 0, 0, 0, 1, 1))),), "e1b=1,ceb=0,e0b=257"),
        (((172, bytes((0, 0, 9))),), "e0b=9"),
        (((174, b""),), "accecn"),
        (((77, b"ab"),), "opt77"),
    ],
)
def test_counters_stand_as_they_are_on_the_wire(options, shown):
    assert options_text(segment(other_options=options), None) == shown
