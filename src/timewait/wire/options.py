"""TCP options: read as Linux's tcp_parse_options() does, laid out as its tcp_options_write() does."""

from struct import Struct
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64
from timewait.wire.octets import u16, u32
from timewait.wire.packet import Segment

EOL: Final = 0
NOP: Final = 1
MSS: Final = 2
WSCALE: Final = 3
SACK_PERMITTED: Final = 4
SACK: Final = 5
TIMESTAMPS: Final = 8
FAST_OPEN: Final = 34
EXPERIMENTAL: Final = 254
FAST_OPEN_MAGIC: Final = 0xF989
"""What marks option 254 as Fast Open (RFC 7413 appendix A, RFC 6994)."""

COOKIE_MIN: Final = 4
COOKIE_MAX: Final = 16
"""A Fast Open cookie has 4 to 16 octets, an even number (RFC 7413 4.1.1)."""

MAX_LENGTH: Final = 40
"""A header of 15 words leaves room for so many octets (RFC 9293 3.1)."""

NAMES: Final[dict[int, str]] = {
    EOL: "eol",
    NOP: "nop",
    MSS: "mss",
    WSCALE: "wscale",
    SACK_PERMITTED: "sackOK",
    SACK: "sack",
    TIMESTAMPS: "TS",
    FAST_OPEN: "fast open",
    EXPERIMENTAL: "experimental",
    19: "md5",
    29: "ao",
    30: "mptcp",
    172: "accecn0",
    174: "accecn1",
}
"""What tools call the kinds."""

_TS: Final = Struct("!III")
_BLOCK: Final = Struct("!II")
_TS_HEAD: Final = 0x0101080A
_SACK_OK_TS_HEAD: Final = 0x0402080A


def decode(segment: Segment, raw: bytes) -> None:
    """Fill the segment's option fields from the octets behind its fixed header.

    A list that is broken (an option shorter than 2 octets, or reaching past the end)
    counts up to there; a known option of a wrong length is as if absent; of an option
    given twice the last one counts. All of it as in Linux. Where the fields would not
    be laid out in exactly these octets again, they are kept as `raw_options`.
    """
    end: i64 = len(raw)
    at: i64 = 0
    while at < end:
        kind: i64 = raw[at]
        if kind == EOL:
            break
        if kind == NOP:
            at += 1
            continue
        if at + 1 >= end:
            break
        size: i64 = raw[at + 1]
        if size < 2 or at + size > end:
            break
        _decode_one(segment, kind, raw, at + 2, size - 2)
        at += size
    if _encode(segment) != raw:
        segment.raw_options = raw


def _decode_one(segment: Segment, kind: i64, raw: bytes, at: i64, size: i64) -> None:
    """One option whose content is raw[at : at + size]."""
    if kind == TIMESTAMPS:
        if size == 8:
            segment.has_ts = True
            segment.tsval = u32(raw, at)
            segment.tsecr = u32(raw, at + 4)
    elif kind == SACK:
        if size >= 8 and size % 8 == 0:
            blocks: list[tuple[int, int]] = []
            stop = at + size
            while at < stop:
                blocks.append((u32(raw, at), u32(raw, at + 4)))
                at += 8
            segment.sacks = tuple(blocks)
    elif kind == MSS:
        if size == 2:
            segment.mss = u16(raw, at)
    elif kind == WSCALE:
        if size == 1:
            segment.wscale = raw[at]
    elif kind == SACK_PERMITTED:
        if size == 0:
            segment.sack_permitted = True
    elif kind == FAST_OPEN:
        _decode_cookie(segment, raw[at : at + size], False)
    elif kind == EXPERIMENTAL and size >= 2 and u16(raw, at) == FAST_OPEN_MAGIC:
        _decode_cookie(segment, raw[at + 2 : at + size], True)
    else:
        segment.other_options = (*segment.other_options, (int(kind), raw[at : at + size]))


def _decode_cookie(segment: Segment, cookie: bytes, experimental: bool) -> None:
    """tcp_parse_fastopen_option(): an odd or impossible length is as if the option were absent."""
    size = len(cookie)
    if size == 0 or (COOKIE_MIN <= size <= COOKIE_MAX and size % 2 == 0):
        segment.fast_open = cookie
        segment.fast_open_exp = experimental


def encode(segment: Segment) -> bytes:
    """The option octets of a segment, a multiple of 4 long.

    `raw_options`, where set, are sent as they are (filled up with EOL). Raises
    UsageError when they do not fit into 40 octets.
    """
    raw = segment.raw_options
    found = _encode(segment) if raw is None else raw
    if len(found) % 4:
        found += bytes(-len(found) % 4)
    if len(found) > MAX_LENGTH:
        raise UsageError(f"TCP options take {len(found)} octets, only {MAX_LENGTH} fit")
    return found


def _encode(segment: Segment) -> bytes:
    """The fields in Linux's order: MSS, SACK permitted with timestamps, window scale, SACK, Fast Open."""
    if segment.has_ts and segment.mss == 0 and not segment.sacks and _only_ts(segment):
        return _TS.pack(_TS_HEAD, segment.tsval, segment.tsecr)
    parts: list[bytes] = []
    if segment.mss:
        parts.append(bytes((MSS, 4, segment.mss >> 8, segment.mss & 0xFF)))
    if segment.has_ts:
        head = _SACK_OK_TS_HEAD if segment.sack_permitted else _TS_HEAD
        parts.append(_TS.pack(head, segment.tsval, segment.tsecr))
    elif segment.sack_permitted:
        parts.append(b"\x01\x01\x04\x02")
    if segment.wscale >= 0:
        parts.append(bytes((NOP, WSCALE, 3, segment.wscale)))
    if segment.sacks:
        parts.append(bytes((NOP, NOP, SACK, 2 + 8 * len(segment.sacks))))
        for left, right in segment.sacks:
            parts.append(_BLOCK.pack(left, right))
    if segment.fast_open is not None:
        parts.append(_encode_cookie(segment.fast_open, segment.fast_open_exp))
    for kind, content in segment.other_options:
        parts.append(bytes((kind, 2 + len(content))) + content)
    found = b"".join(parts)
    # What does not fill a word is padded with NOP, as Linux pads Fast Open cookies.
    return found if len(found) % 4 == 0 else found + b"\x01" * (-len(found) % 4)


def _only_ts(segment: Segment) -> bool:
    """Whether nothing rarer than a timestamp, an MSS or SACK blocks is set."""
    return segment.wscale < 0 and not segment.sack_permitted and segment.fast_open is None and not segment.other_options


def _encode_cookie(cookie: bytes, experimental: bool) -> bytes:
    if experimental:
        return bytes((EXPERIMENTAL, 4 + len(cookie), FAST_OPEN_MAGIC >> 8, FAST_OPEN_MAGIC & 0xFF)) + cookie
    return bytes((FAST_OPEN, 2 + len(cookie))) + cookie


def option_length(segment: Segment) -> i64:
    """How many octets encode() returns, without building them."""
    raw = segment.raw_options
    if raw is not None:
        raw_size: i64 = len(raw)
        return (raw_size + 3) & ~3
    size: i64 = 12 if segment.has_ts else 0
    blocks: i64 = len(segment.sacks)
    if blocks:
        size += 4 + 8 * blocks
    if segment.mss:
        size += 4
    if segment.has_ts and segment.mss == 0 and _only_ts(segment):
        return size
    if segment.sack_permitted and not segment.has_ts:
        size += 4
    if segment.wscale >= 0:
        size += 4
    cookie = segment.fast_open
    if cookie is not None:
        size += len(cookie) + (4 if segment.fast_open_exp else 2)
    for _, content in segment.other_options:
        size += 2 + len(content)
    return (size + 3) & ~3
