"""Accurate ECN on the wire (RFC 9768): the counter in AE, CWR and ECE, and the options of kinds 172 and 174.

Of the option's three 24-bit counters of payload octets, order 0 (kind 172) begins with those
that came as ECT(0), order 1 (kind 174) with those that came as ECT(1); the CE counter is in
the middle, and fields may be missing from the end.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.wire.options import SACK, SACK_PERMITTED, encode
from timewait.wire.packet import AE, CWR, ECE, Segment

ORDER_0: Final = 172
ORDER_1: Final = 174
KINDS: Final = (ORDER_0, ORDER_1)
FIELD: Final = 3
"""Octets of one counter."""
NOP: Final = 1

ECT_1: Final = 1
ECT_0: Final = 2
CE: Final = 3
MARKS: Final = {ORDER_0: (ECT_0, CE, ECT_1), ORDER_1: (ECT_1, CE, ECT_0)}
"""Which IP codepoint each field of an option counts (RFC 9768 table 5)."""
COUNTERS: Final = {ECT_1: "e1b", ECT_0: "e0b", CE: "ceb"}
"""RFC 9768's names of the counters."""
OFFSETS: Final = (0, 1, 1, 0)
"""What a counter of a codepoint starts from, so that a middlebox which zeroes options is found out."""


def ace_of(flags: i64) -> i64:
    """The three-bit counter of a segment's flags, 0 to 7."""
    return (4 if flags & AE else 0) | (2 if flags & CWR else 0) | (1 if flags & ECE else 0)


def ace_flags(ace: i64) -> i64:
    """The flags that show a counter; only its three low bits count."""
    return (AE if ace & 4 else 0) | (CWR if ace & 2 else 0) | (ECE if ace & 1 else 0)


def option_of(segment: Segment) -> tuple[int, bytes] | None:
    """(kind, content) of the accurate-ECN option; of several the last, as for all options. None without one."""
    found: tuple[int, bytes] | None = None
    for option in segment.other_options:
        if option[0] in KINDS:
            found = option
    return found


def counters(kind: int, content: bytes) -> list[tuple[int, int]]:
    """[(codepoint, the field as it stands)] of the fields that are there; what is left over is ignored."""
    return [
        (mark, int.from_bytes(content[at : at + FIELD], "big"))
        for mark, at in zip(MARKS[kind], range(0, len(content) - FIELD + 1, FIELD), strict=False)
    ]


def content_of(received: list[int], fields: i64) -> bytes:
    """An option of order 1 with so many fields, from octets by codepoint."""
    marks = MARKS[ORDER_1][:fields]
    return b"".join(((received[mark] + OFFSETS[mark]) & 0xFFFFFF).to_bytes(FIELD, "big") for mark in marks)


def lay_out(segment: Segment, content: bytes) -> None:
    """Put an option of order 1 into a segment, behind the timestamp, where Linux has it.

    What of it does not fill a word takes the place of the NOPs that would stand before SACK permitted
    or the SACK blocks, a single octet that before the window scale too.
    """
    option = bytes((ORDER_1, 2 + len(content))) + content
    segment.raw_options = None
    plain = encode(segment)
    at: i64 = 0
    if segment.mss:
        at += 4
    if segment.has_ts:
        at += 12
    before, behind = plain[:at], plain[at:]
    whole = len(option) & ~3
    left = option[whole:]
    option = option[:whole]
    if len(left) == 3:
        option, left = option + left + b"\x01", b""
    if not left:
        pass
    elif len(behind) > 2 and behind[:2] == b"\x01\x01" and behind[2] in (SACK_PERMITTED, SACK):
        behind = left + behind[len(left) :]
    elif behind[:2] == b"\x01\x03" and len(left) == 1:
        behind = left + behind[1:]
    elif behind[:2] == b"\x01\x03":
        # The window scale keeps its NOP: two octets are not torn apart.
        behind = behind[:4] + left + b"\x01\x01" + behind[4:]
    else:
        behind = left + b"\x01" * (4 - len(left)) + behind
    segment.raw_options = before + option + behind
    segment.other_options = (*segment.other_options, (ORDER_1, content))


def shorten(segment: Segment, room: i64) -> None:
    """Leave out fields of a segment's option, or all of it, until its options fit `room` octets."""
    option = option_of(segment)
    if option is None:
        return
    others = tuple(other for other in segment.other_options if other[0] not in KINDS)
    size: i64 = len(option[1])
    while size >= 0:
        segment.other_options = others
        lay_out(segment, option[1][:size])
        if len(encode(segment)) <= room:
            return
        size -= FIELD
    segment.other_options = others
    segment.raw_options = None


def fit(room: i64, saving: i64, required: i64, blocks: i64) -> tuple[i64, i64, i64]:
    """(fields, octets taken, SACK blocks left) of the largest option for `room` free octets; fields -1: none fits.

    `saving` octets may stand where NOPs would. Where fewer than `required` fields fit, SACK blocks beyond
    the second give way; if that is no help either, none does (tcp_options_fit_accecn).
    """
    fields: i64 = 3
    left = blocks
    while fields >= required:
        size = 2 + FIELD * fields
        taken = size & ~3 if size & 3 <= saving else (size + 3) & ~3
        if room >= taken:
            return fields, taken, left
        if fields == required and left > 2 and required > 0:
            left -= 1
            room += 8
            fields = 3
            continue
        fields -= 1
    return -1, 0, blocks
