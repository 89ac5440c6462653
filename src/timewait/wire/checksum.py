"""The Internet checksum (RFC 1071), its pseudo-headers and its incremental update (RFC 1624).

Sums are 16-bit one's complement sums, not yet complemented. Since 2**16 is 1 modulo
0xFFFF, the sum of a buffer's 16-bit words is the buffer read as one big integer modulo
0xFFFF. Interpreted, that is forty times faster than a loop over octets (76 us for 64 KiB);
compiled, the loop is the faster one (27 us). Both are here; which one runs is decided once.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.wire.packet import Buffer

_HALVING_LIMIT: Final = 1024
"""Below so many octets one division costs less than halving the number first (measured)."""


def fold(total: i64) -> i64:
    """A sum of any size >= 0 folded to 16 bits; stays 0 only if it was 0."""
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def _sum_loop(data: bytes, start: i64, end: i64) -> i64:
    """The sum of data[start:end], octet by octet: for the compiled module."""
    total: i64 = 0
    at = start
    while at + 1 < end:
        a: i64 = data[at]
        b: i64 = data[at + 1]
        total += a << 8 | b
        at += 2
    if at < end:
        odd: i64 = data[at]
        total += odd << 8
    return fold(total)


def _sum_number(data: Buffer) -> int:
    """The sum of all of data by big-integer arithmetic: for the interpreted module."""
    size = len(data)
    number = int.from_bytes(data, "big")
    if size & 1:
        number <<= 8
        size += 1
    while size > _HALVING_LIMIT:
        # Adding the upper half to the lower one keeps the value modulo 0xFFFF, as long
        # as the cut is at a 16-bit boundary, and is cheaper than dividing everything.
        size = ((size >> 1) + 2) & ~1
        number = (number >> (size * 8)) + (number & ((1 << (size * 8)) - 1))
    # A sum of non-zero words is never 0 in one's complement: it is 0xFFFF there.
    return number % 0xFFFF or 0xFFFF if number else 0


COMPILED: Final = type(_sum_loop).__name__ != "function"
"""Whether this module runs compiled."""


def sum_range(data: Buffer, start: i64, end: i64) -> i64:
    """The folded sum of data[start:end], 0 <= start <= end <= len(data); an odd last octet is the upper half."""
    if COMPILED:
        if isinstance(data, bytes):
            return _sum_loop(data, start, end)
        return _sum_loop(bytes(data[start:end]), 0, end - start)
    return _sum_number(data[start:end])


def raw_sum(data: Buffer) -> i64:
    """The folded sum of all of data."""
    return sum_range(data, 0, len(data))


def pseudo_sum(src: bytes, dst: bytes, proto: i64, length: i64) -> i64:
    """The sum of the pseudo-header of RFC 9293 3.1 (4-octet addresses) or RFC 8200 8.1 (16 octets).

    `length` is that of the transport header and its payload.
    """
    return fold(sum_range(src, 0, len(src)) + sum_range(dst, 0, len(dst)) + proto + length)


def checksum(data: Buffer, initial: i64 = 0) -> i64:
    """The checksum to put into a field that is zero in data; `initial` is a pseudo-header's sum."""
    return 0xFFFF ^ fold(raw_sum(data) + initial)


def verify(data: Buffer, initial: i64 = 0) -> bool:
    """Whether data, its checksum field included, sums up to what it must."""
    return fold(raw_sum(data) + initial) == 0xFFFF


def update(old_checksum: i64, old: i64, new: i64) -> i64:
    """The checksum after a 16-bit word changed from old to new (RFC 1624 equation 3)."""
    return 0xFFFF ^ fold((0xFFFF ^ old_checksum) + (0xFFFF ^ old) + new)


def update32(old_checksum: i64, old: i64, new: i64) -> i64:
    """The same for an aligned 32-bit word: an address, a sequence number."""
    return update(update(old_checksum, old >> 16, new >> 16), old & 0xFFFF, new & 0xFFFF)
