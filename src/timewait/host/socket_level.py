"""SOL_SOCKET options of a TCP socket (sk_getsockopt), and what its calls make of their arguments."""

import errno
from typing import Final

from timewait.base.errors import os_error
from timewait.base.instant import SEC
from timewait.base.ints import i64
from timewait.host.ports import PortOwner
from timewait.host.sockopt import (
    SO_DOMAIN,
    SO_KEEPALIVE,
    SO_MAX_PACING_RATE,
    SO_OOBINLINE,
    SO_PROTOCOL,
    SO_RCVBUF,
    SO_RCVLOWAT,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SO_SNDBUF,
    SO_TIMESTAMPING,
    SO_TYPE,
    SO_ZEROCOPY,
    SOL_SOCKET,
)
from timewait.host.tcp_options import TcpOptions
from timewait.tcp.sysctl import Sysctl
from timewait.tcp.tcb import Tcb
from timewait.wire.packet import Buffer

MIN_SNDBUF: Final = 4608
"""SOCK_MIN_SNDBUF, rounded as Linux shows it."""
MIN_RCVBUF: Final = 2304
"""SOCK_MIN_RCVBUF."""


MAX_BUFFER: Final = 4 << 20
"""net.core.wmem_max and rmem_max since Linux 6.17."""


def buffer_size(number: int, least: int, most: int, sysctl: Sysctl) -> int:
    """Linux doubles what is asked for, to make room for overhead, at most `most`; FreeBSD takes it as it is.

    Without CAP_NET_ADMIN's options the number is unsigned: a negative one is the largest.
    """
    bsd = sysctl.bsd
    if bsd is None:
        if number < 0:
            number = most if most == MAX_BUFFER else 0
        return max(2 * min(number, most), least)
    if not 0 < number <= bsd.maxsockbuf:
        raise os_error(errno.ENOBUFS)
    return number


def socket_option(name: int, options: TcpOptions, bound: PortOwner, t: Tcb | None, sysctl: Sysctl) -> int:
    """An option that is not about the socket's fate; ENOPROTOOPT for one that is not known."""
    if name == SO_REUSEADDR:
        return int(bound.reuse_addr)
    if name == SO_REUSEPORT:
        return int(bound.reuse_port)
    if name == SO_KEEPALIVE:
        return int(options.keepalive)
    if name == SO_TYPE:
        return 1
    if name == SO_PROTOCOL:
        return 6
    if name == SO_DOMAIN:
        return int(bound.family)
    if name == SO_SNDBUF:
        return int(t.sndbuf if t is not None else options.sndbuf or sysctl.tcp_wmem[1])
    if name == SO_RCVBUF:
        return int(t.rcvbuf if t is not None else options.rcvbuf or sysctl.tcp_rmem[1])
    if name == SO_OOBINLINE:
        return int(options.oob_inline)
    if name == SO_RCVLOWAT:
        return int(options.rcvlowat)
    if name == SO_MAX_PACING_RATE:
        return min(int(options.max_pacing_rate), 0xFFFFFFFF)
    if name == SO_ZEROCOPY:
        return int(options.zerocopy)
    if name == SO_TIMESTAMPING:
        return int(options.timestamping)
    return options.kept_value(SOL_SOCKET, name)


def linger_of(value: int | bytes) -> int:
    """SO_LINGER in ns from struct linger; -1: off. EINVAL for what is none."""
    if isinstance(value, int) or len(value) < 8:
        raise os_error(errno.EINVAL, "SO_LINGER takes struct linger: two ints")
    on = int.from_bytes(value[:4], "little")
    return int.from_bytes(value[4:8], "little") * SEC if on else -1


def unchanging(data: Buffer, space: i64) -> Buffer:
    """What the caller may still change must not reach the wire later: a copy, unless it is a view of bytes."""
    view = memoryview(data).cast("B")
    if isinstance(view.obj, bytes):
        return view
    # One octet more than there is room for, so that whoever queues it still sees that not everything fits.
    return bytes(view[: max(space, 0) + 1])
