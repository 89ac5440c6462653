"""Big-endian integers out of bytes, and the version of a packed address."""

from timewait.base.ints import i64


def u16(data: bytes, at: i64) -> i64:
    """The 16-bit integer at an offset; both octets must exist (IndexError else)."""
    a: i64 = data[at]
    b: i64 = data[at + 1]
    return a << 8 | b


def u32(data: bytes, at: i64) -> i64:
    """The 32-bit integer at an offset; all four octets must exist (IndexError else)."""
    a: i64 = data[at]
    b: i64 = data[at + 1]
    c: i64 = data[at + 2]
    d: i64 = data[at + 3]
    return a << 24 | b << 16 | c << 8 | d
