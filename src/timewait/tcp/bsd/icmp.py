"""What FreeBSD takes for a hard ICMP error while a connection is opened (tcp_ctlinput, icmp_errmap)."""

import errno
from typing import Final

from timewait.wire import icmp
from timewait.wire.packet import IcmpMessage

V4_REFUSED: Final = frozenset({2, 3, 9, 10, 13})
"""Protocol, port; network, host and communication administratively prohibited."""
V6_REFUSED: Final = frozenset({1, 4, 5, 6})
"""Administratively prohibited, port, source address failed policy, reject route."""


def icmp_hard_error(message: IcmpMessage) -> int:
    """The errno with which an attempt ends, or 0 where the error is soft or says nothing about it."""
    kind, code = message.type, message.code
    if len(message.src) == 16:
        if kind == icmp.V6_UNREACHABLE and code in V6_REFUSED:
            return errno.ECONNREFUSED
        if kind == icmp.V6_PARAMETER_PROBLEM and code == 1:
            return errno.ECONNREFUSED
        return errno.EHOSTUNREACH if kind == icmp.V6_TIME_EXCEEDED and code == 0 else 0
    if kind == icmp.UNREACHABLE and code in V4_REFUSED:
        return errno.ECONNREFUSED
    return errno.EHOSTUNREACH if kind == icmp.TIME_EXCEEDED and code == 0 else 0
