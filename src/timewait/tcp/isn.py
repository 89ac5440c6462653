"""Initial sequence numbers and timestamp offsets (RFC 9293 section 3.4.1, RFC 6528, RFC 7323 section 5.4).

ISN = M + F(addresses, ports, secret): M is a clock, F a keyed hash. The clock ticks each
4 us in the RFC and each 64 ns on Linux (ktime >> 6), so Linux wraps in 274.9 s and not
in 4.77 h; the profile says which.
"""

from typing import Final

from timewait.base.ints import i64
from timewait.base.rng import keyed_hash
from timewait.base.seq import seq_add
from timewait.tcp.net import Net

NO_ISN: Final = -1
"""No ISN is given: generate one."""
MAX_TS_OFFSETS: Final = 4096
"""Timestamp offsets kept at hand; computed anew when there are more address pairs."""


def initial_sequence_number(net: Net, laddr: bytes, lport: i64, raddr: bytes, rport: i64, now: i64) -> i64:
    """The ISN of a connection opened now. Monotonic in time for one four-tuple until the clock wraps."""
    clock: i64 = now // net.profile.isn_tick
    if not net.profile.keyed_isn:
        return clock & 0xFFFFFFFF
    tuple_bytes = laddr + raddr + bytes((lport >> 8, lport & 255, rport >> 8, rport & 255))
    return seq_add(keyed_hash(net.isn_key, tuple_bytes) & 0xFFFFFFFF, clock)


def timestamp_offset(net: Net, laddr: bytes, raddr: bytes) -> i64:
    """What is added to the millisecond clock in TSval: per address pair, as in Linux (secure_tcp_ts_off).

    0 when tcp_timestamps is 2 or the profile's kernel knew no offsets.
    """
    if net.sysctl.tcp_timestamps != 1 or not net.profile.random_ts_offset:
        return 0
    pair = laddr + raddr
    known = net.ts_offsets.get(pair)
    if known is None:
        if len(net.ts_offsets) >= MAX_TS_OFFSETS:
            net.ts_offsets.clear()
        known = keyed_hash(net.ts_key, pair) & 0xFFFFFFFF
        net.ts_offsets[pair] = known
    return known
