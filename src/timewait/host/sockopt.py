"""Numbers of socket options and flags as Linux has them on every architecture that matters here."""

from typing import Final

SOL_IP: Final = 0
SOL_SOCKET: Final = 1
SOL_IPV6: Final = 41
SO_REUSEADDR: Final = 2
SO_TYPE: Final = 3
SO_ERROR: Final = 4
SO_BROADCAST: Final = 6
SO_SNDBUF: Final = 7
SO_RCVBUF: Final = 8
SO_KEEPALIVE: Final = 9
SO_OOBINLINE: Final = 10
SO_LINGER: Final = 13
SO_REUSEPORT: Final = 15
SO_RCVLOWAT: Final = 18
SO_MAX_PACING_RATE: Final = 47
SO_BINDTODEVICE: Final = 25
SO_ACCEPTCONN: Final = 30
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39
SO_PEEK_OFF: Final = 42
IP_TOS: Final = 1
IP_TTL: Final = 2
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_MTU: Final = 14
IP_MINTTL: Final = 21
IP_MULTICAST_IF: Final = 32
IP_MULTICAST_TTL: Final = 33
IP_MULTICAST_LOOP: Final = 34
IP_ADD_MEMBERSHIP: Final = 35
IP_DROP_MEMBERSHIP: Final = 36
IP_MULTICAST_ALL: Final = 49
IPV6_UNICAST_HOPS: Final = 16
IPV6_MULTICAST_IF: Final = 17
IPV6_MULTICAST_HOPS: Final = 18
IPV6_MULTICAST_LOOP: Final = 19
IPV6_JOIN_GROUP: Final = 20
IPV6_LEAVE_GROUP: Final = 21
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_RECVERR: Final = 25
IPV6_V6ONLY: Final = 26
IPV6_TCLASS: Final = 67
IPV6_MINHOPCOUNT: Final = 73
PMTUDISC_DONT: Final = 0
PMTUDISC_WANT: Final = 1
PMTUDISC_DO: Final = 2
PMTUDISC_PROBE: Final = 3
PMTUDISC_INTERFACE: Final = 4
SOL_TCP: Final = 6
TCP_NODELAY: Final = 1
TCP_MAXSEG: Final = 2
TCP_CORK: Final = 3
TCP_KEEPIDLE: Final = 4
TCP_KEEPINTVL: Final = 5
TCP_KEEPCNT: Final = 6
TCP_SYNCNT: Final = 7
TCP_LINGER2: Final = 8
TCP_DEFER_ACCEPT: Final = 9
TCP_WINDOW_CLAMP: Final = 10
TCP_INFO: Final = 11
TCP_QUICKACK: Final = 12
TCP_CONGESTION: Final = 13
TCP_MD5SIG: Final = 14
TCP_USER_TIMEOUT: Final = 18
TCP_FASTOPEN: Final = 23
TCP_NOTSENT_LOWAT: Final = 25
TCP_FASTOPEN_CONNECT: Final = 30
FREEBSD: Final = 0x10000
"""Added to the numbers of FreeBSD's own TCP options, which Linux uses otherwise."""
TCP_NOOPT: Final = FREEBSD + 8
TCP_MD5SIG_BSD: Final = FREEBSD + 16
TCP_REMOTE_UDP_ENCAPS_PORT: Final = FREEBSD + 71
TCP_KEEPINIT: Final = FREEBSD + 128
TCP_FUNCTION_BLK: Final = FREEBSD + 8192
TCP_MD5SIG_EXT: Final = 32
TCP_FASTOPEN_KEY: Final = 33
TCP_INQ: Final = 36
SO_RCVTIMEO: Final = 20
SO_SNDTIMEO: Final = 21
SO_TIMESTAMPING: Final = 37
SO_ZEROCOPY: Final = 60
MSG_EOR: Final = 0x80
MSG_ZEROCOPY: Final = 0x4000000
MSG_FASTOPEN: Final = 0x20000000
MSG_MORE: Final = 0x8000
MSG_OOB: Final = 0x1
MSG_PEEK: Final = 0x2
MSG_ERRQUEUE: Final = 0x2000

TCP_THIN_LINEAR_TIMEOUTS: Final = 16
TCP_THIN_DUPACK: Final = 17
TCP_CC_INFO: Final = 26
TCP_FASTOPEN_NO_COOKIE: Final = 34
TCP_RTO_MAX_MS: Final = 44
TCP_RTO_MIN_US: Final = 45
TCP_DELACK_MAX_US: Final = 46
SO_SNDLOWAT: Final = 19
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_TXREHASH: Final = 74

_ANY: Final = (0, -(2**31), 2**31 - 1)
_TRUTH: Final = (0, 1, 0)
"""Any number will do; it reads back as 0 or 1."""
_FIXED: Final = (0, 2, 1)
"""It can only be read."""

KEPT: Final[dict[tuple[int, int], tuple[int, int, int]]] = {
    (SOL_SOCKET, 1): _TRUTH,
    (SOL_SOCKET, 5): _TRUTH,
    (SOL_SOCKET, SO_BROADCAST): _TRUTH,
    (SOL_SOCKET, 11): _TRUTH,
    (SOL_SOCKET, 12): _ANY,
    (SOL_SOCKET, SO_SNDLOWAT): (1, 2, 1),
    (SOL_SOCKET, 29): _TRUTH,
    (SOL_SOCKET, 35): _TRUTH,
    (SOL_SOCKET, 36): _ANY,
    (SOL_SOCKET, 40): _TRUTH,
    (SOL_SOCKET, SO_PEEK_OFF): (-1, -(2**31), 2**31 - 1),
    (SOL_SOCKET, 46): (0, 0, 2**31 - 1),
    (SOL_SOCKET, 49): (-1, -(2**31), 2**31 - 1),
    (SOL_SOCKET, SO_TXREHASH): (1, -1, 1),
    (SOL_IP, 3): _FIXED,
    (SOL_IP, 6): _TRUTH,
    (SOL_IP, 8): _TRUTH,
    (SOL_IP, IP_RECVERR): _TRUTH,
    (SOL_IP, 12): _TRUTH,
    (SOL_IP, 13): _TRUTH,
    (SOL_IP, 15): _TRUTH,
    (SOL_IP, 19): _TRUTH,
    (SOL_IP, IP_MINTTL): (0, 0, 255),
    (SOL_IP, 22): _FIXED,
    (SOL_IP, 24): _TRUTH,
    (SOL_IP, IP_MTU_DISCOVER): (PMTUDISC_WANT, 0, 5),
    (SOL_IPV6, IPV6_MTU_DISCOVER): (PMTUDISC_WANT, 0, 5),
    (SOL_IPV6, IPV6_RECVERR): _TRUTH,
    (SOL_IPV6, 49): _TRUTH,
    (SOL_IPV6, 66): _TRUTH,
    (SOL_IPV6, 70): (1, 1, 0),
    (SOL_IPV6, IPV6_MINHOPCOUNT): (0, 0, 255),
    (SOL_IPV6, 78): _TRUTH,
    (SOL_TCP, 27): (0, 0, 2),
    (SOL_TCP, 37): (0, 0, (1 << 28) - 1),
}
"""Options of a TCP socket that are remembered and read back, and change nothing else here: (default, low, high).

Low beyond high: see `_TRUTH` and `_FIXED`.
"""

NUMBERS: Final[dict[tuple[int, int], tuple[int, int, int]]] = {
    (SOL_IP, IP_TOS): (0, 0, 255),
    (SOL_IP, IP_TTL): (-1, -1, 255),
    (SOL_IP, IP_RECVERR): (0, 0, 1),
    (SOL_IP, IP_MULTICAST_TTL): (1, -1, 255),
    (SOL_IP, IP_MULTICAST_LOOP): (1, 0, 1),
    (SOL_IP, IP_MULTICAST_ALL): (1, 0, 1),
    (SOL_IP, IP_MTU_DISCOVER): (-1, 0, 5),
    (SOL_IPV6, IPV6_UNICAST_HOPS): (-1, -1, 255),
    (SOL_IPV6, IPV6_MULTICAST_HOPS): (1, -1, 255),
    (SOL_IPV6, IPV6_MULTICAST_LOOP): (1, 0, 1),
    (SOL_IPV6, IPV6_MTU_DISCOVER): (-1, 0, 5),
    (SOL_IPV6, IPV6_RECVERR): (0, 0, 1),
    (SOL_IPV6, IPV6_TCLASS): (0, -1, 255),
}
"""Options that are a number: (default, lowest, highest); -1 stands for the host's default."""
