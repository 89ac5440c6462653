"""SYN cookies: a connection request kept in the sequence number and timestamp we send (RFC 4987 3.6).

The layout is Linux's: 8 bits of a minute counter and 24 bits of keyed hash plus MSS
index in the ISN; window scale, SACK and ECN in the low six bits of TSval. The counter
is the rotating part of the secret: a cookie is good for about two minutes.
"""

from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.base.ints import i64
from timewait.base.rng import keyed_hash
from timewait.tcp.net import Net
from timewait.wire.packet import Segment

MSS_V4: Final = (536, 1300, 1440, 1460)
MSS_V6: Final = (1220, 1420, 1440, 8940)
"""The MSS values a cookie can carry: the largest not above the peer's is taken."""
PERIOD: Final = 60 * SEC
MAX_AGE: Final = 2
"""MAX_SYNCOOKIE_AGE: periods for which a cookie is good."""
TS_BITS: Final = 6
TS_NO_WSCALE: Final = 0xF


def _hash(net: Net, flow: bytes, count: i64, irs: i64) -> i64:
    """A keyed hash of the connection and a period.

    It covers the peer's ISN, unlike Linux's: there an ACK whose sequence number is one to
    three octets on, because the first octets were overtaken, passes for a cookie of
    another MSS, and those octets are lost in silence (quirks.md: COOKIE-1).
    """
    return keyed_hash(net.cookie_key, flow + int(count).to_bytes(8, "big") + int(irs).to_bytes(4, "big")) & 0xFFFFFFFF


def make_cookie(net: Net, flow: bytes, irs: i64, mss: i64, now: i64) -> tuple[i64, i64]:
    """(ISN, MSS it stands for) for a SYN of `flow` with sequence number irs."""
    table = MSS_V4 if len(flow) == 12 else MSS_V6
    index: i64 = 3
    while index > 0 and table[index] > mss:
        index -= 1
    count: i64 = now // PERIOD
    cookie = _hash(net, flow, 0, 0) + irs + (count << 24) + ((_hash(net, flow, count, irs) + index) & 0xFFFFFF)
    return cookie & 0xFFFFFFFF, table[index]


def check_cookie(net: Net, flow: bytes, irs: i64, cookie: i64, now: i64) -> i64:
    """The MSS that an acknowledged ISN stands for; 0 when it is no cookie of ours or too old."""
    table = MSS_V4 if len(flow) == 12 else MSS_V6
    count: i64 = now // PERIOD
    value = (cookie - _hash(net, flow, 0, 0) - irs) & 0xFFFFFFFF
    age = (count - (value >> 24)) & 0xFF
    if age >= MAX_AGE:
        return 0
    index = (value - _hash(net, flow, count - age, irs)) & 0xFFFFFF
    return table[index] if index < len(table) else 0


def cookie_timestamp(wscale: i64, sack_ok: bool, ecn: bool, ts_offset: i64, now: i64) -> i64:
    """TSval of a cookie SYN-ACK: the clock with its low six bits replaced by what the peer's SYN offered."""
    options = (wscale if wscale >= 0 else TS_NO_WSCALE) | (0x10 if sack_ok else 0) | (0x20 if ecn else 0)
    clock: i64 = now // MSEC
    value = (clock >> TS_BITS << TS_BITS) | options
    if value > clock:
        value -= 1 << TS_BITS
    return (value + ts_offset) & 0xFFFFFFFF


def decode_timestamp(net: Net, tsecr: i64, ts_offset: i64) -> tuple[i64, bool, bool] | None:
    """(window scale or -1, SACK, ECN) from an echoed cookie timestamp; None if we would not have offered them."""
    options = (tsecr - ts_offset) & 0x3F
    sack_ok = bool(options & 0x10)
    ecn = bool(options & 0x20)
    wscale = options & 0xF
    if sack_ok and not net.sysctl.tcp_sack:
        return None
    if wscale == TS_NO_WSCALE:
        return -1, sack_ok, ecn
    if not net.sysctl.tcp_window_scaling:
        return None
    return wscale, sack_ok, ecn


def wants_cookie_check(net: Net, seg: Segment) -> bool:
    """Whether an ACK that fits no half-open connection may carry a cookie."""
    return net.sysctl.tcp_syncookies != 0 and seg.flags & 0x16 == 0x10
