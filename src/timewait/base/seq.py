"""Sequence number arithmetic modulo 2**32 (RFC 9293 section 3.4).

Sequence numbers have no total order, so they never meet `<`: these functions
compare by signed 32-bit difference, as RFC 1982 and Linux's before()/after() do.
"""

from typing import Final

from timewait.base.ints import i64

SEQ_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


def seq_lt(a: i64, b: i64) -> bool:
    """Whether a comes before b."""
    return ((a - b) & 0xFFFFFFFF) >= 0x80000000


def seq_leq(a: i64, b: i64) -> bool:
    """Whether a comes before b or is b."""
    return ((b - a) & 0xFFFFFFFF) < 0x80000000


def seq_gt(a: i64, b: i64) -> bool:
    """Whether a comes after b."""
    return ((b - a) & 0xFFFFFFFF) >= 0x80000000


def seq_geq(a: i64, b: i64) -> bool:
    """Whether a comes after b or is b."""
    return ((a - b) & 0xFFFFFFFF) < 0x80000000


def seq_add(a: i64, n: i64) -> i64:
    """a moved on by n octets; n may be negative."""
    return (a + n) & 0xFFFFFFFF


def seq_diff(a: i64, b: i64) -> i64:
    """The signed distance from b to a, in [-2**31, 2**31)."""
    d = (a - b) & 0xFFFFFFFF
    return d if d < 0x80000000 else d - 0x100000000


def seq_between(low: i64, x: i64, high: i64) -> bool:
    """Whether low <= x <= high on the circle (Linux's between())."""
    return ((high - low) & 0xFFFFFFFF) >= ((x - low) & 0xFFFFFFFF)


def seq_max(a: i64, b: i64) -> i64:
    """The later of the two."""
    return a if ((a - b) & 0xFFFFFFFF) < 0x80000000 else b


def seq_min(a: i64, b: i64) -> i64:
    """The earlier of the two."""
    return b if ((a - b) & 0xFFFFFFFF) < 0x80000000 else a
