"""Timetables as the documentation gives them: what measured times are compared with.

Plain arithmetic on sysctls, from Documentation/networking/ip-sysctl.rst and what was
measured on Linux 6.18. Times in ns, counted from the first transmission.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from timewait.base.instant import MSEC, SEC

RTO_MIN: Final = 200 * MSEC
"""TCP_RTO_MIN: the unit in which Linux turns a count of retries into a time."""
RTO_MAX: Final = 120 * SEC
_DOUBLINGS: Final = 9
"""Doublings of RTO_MIN before RTO_MAX is reached (tcp_model_timeout)."""


def doubling(first: int, count: int) -> list[int]:
    """`count` transmissions, the first interval `first` and each twice the one before: 0, 1, 3, 7 ..."""
    return [first * (2**n - 1) for n in range(count)]


def syn(retries: int, linear: int, rto: int = SEC) -> tuple[list[int], int]:
    """When SYNs are sent and when connect() fails: tcp_syn_retries, tcp_syn_linear_timeouts.

    The first `linear` timeouts are not doubled. It ends at the expiry at which either the
    count (retries + linear) or the time without linear timeouts is used up.
    """
    times, now, interval = [0], rto, rto
    limit = ((2 << retries) - 1) * rto
    while len(times) - 1 < retries + linear and now < limit:
        times.append(now)
        if len(times) - 1 > linear:
            interval = min(2 * interval, RTO_MAX)
        now += interval
    return times, now


def patience(retries: int) -> int:
    """How long tcp_retries2 or tcp_orphan_retries lasts, counted from the first retransmission."""
    if retries <= _DOUBLINGS:
        return ((2 << retries) - 1) * RTO_MIN
    return ((2 << _DOUBLINGS) - 1) * RTO_MIN + (retries - _DOUBLINGS) * RTO_MAX


def data(retries: int, rto: int, probe: bool) -> tuple[list[int], int]:
    """When one segment of data or a FIN is sent and when it is given up, for a first timeout of `rto`.

    With `probe` the first retransmission is a tail loss probe (RFC 8985 7): of a single
    segment it comes when the timeout would, does not double it, and does not count.
    """
    times, now, interval = [0], rto, rto
    first = 2 * rto if probe else rto
    while now <= first or now - first < patience(retries):
        times.append(now)
        if not (probe and len(times) == 2):
            interval = min(2 * interval, RTO_MAX)
        now += interval
    return times, now


def first_timeout(times: Sequence[int]) -> int:
    """The timeout behind transmissions that were measured: of a real clock's intervals the one that is least late.

    Each interval is the first one times a power of two. What a busy machine adds to a single
    one would be doubled along with it. 0 for fewer than two transmissions.
    """
    if len(times) < 2:
        return 0
    base = max(times[1] - times[0], 1)
    # What has reached the longest timeout is doubled no more.
    intervals = [base, *(later - earlier for earlier, later in pairwise(times) if later - earlier < RTO_MAX)]
    return min(each >> max(round(math.log2(each / base)), 0) for each in intervals)


def orphan_retries(setting: int) -> int:
    """tcp_orphan_retries 0 means 8 (tcp_orphan_retries())."""
    return setting or 8
