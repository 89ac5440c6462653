"""TCP_MD5SIG on a host: setsockopt()'s keys, and signatures of what leaves without a connection (RFC 2385)."""

import errno
import struct
from typing import Final

from timewait.base.errors import os_error
from timewait.base.ints import i64
from timewait.tcp.md5 import KIND, MAX_KEY, MOST_KEYS, Md5Key, Md5Keys, digest, sign
from timewait.tcp.tcb import KIND_SIGNED, KIND_TCB, Tcb
from timewait.wire.packet import Segment

AF_INET: Final = 2
AF_INET6: Final = 10
SIZE: Final = 216
"""sizeof(struct tcp_md5sig): address, flags, prefix length, key length, interface, key."""
FLAG_PREFIX: Final = 1
FLAG_IFINDEX: Final = 2
_MAPPED: Final = bytes(10) + b"\xff\xff"


def with_key(keys: Md5Keys | None, value: int | bytes, extended: bool, v6: bool) -> Md5Keys | None:
    """The keys after setsockopt(TCP_MD5SIG or TCP_MD5SIG_EXT) with a struct tcp_md5sig; a key of no octets removes one.

    Raises EINVAL for what the struct may not say, ENOENT where nothing is to be removed, ENOMEM
    for too many keys (tcp_v4_parse_md5_keys, tcp_v6_parse_md5_keys).
    """
    if isinstance(value, int) or len(value) < SIZE:
        raise os_error(errno.EINVAL)
    flags, prefix_length, key_length = struct.unpack_from("=BBH", value, 128)
    family = int.from_bytes(value[:2], "little")
    if family != (AF_INET6 if v6 else AF_INET):
        raise os_error(errno.EINVAL)
    addr = value[8:24] if v6 else value[4:8]
    if v6 and addr[:12] == _MAPPED:
        addr = addr[12:]
    prefix = 8 * len(addr)
    if extended and flags & FLAG_PREFIX:
        if prefix_length > prefix:
            raise os_error(errno.EINVAL)
        prefix = prefix_length
    if key_length > MAX_KEY:
        raise os_error(errno.EINVAL)
    found = [] if keys is None else keys.keys
    device_bound = bool(flags & FLAG_IFINDEX)
    others = [key for key in found if not key.is_for(addr, prefix, device_bound)]
    if key_length == 0:
        if len(others) == len(found):
            raise os_error(errno.ENOENT)
        return Md5Keys(others) if others else None
    if len(others) >= MOST_KEYS:
        raise os_error(errno.ENOMEM)
    return Md5Keys([*others, Md5Key(addr, prefix, value[136 : 136 + key_length], device_bound)])


def settle(t: Tcb) -> None:
    """Whether this connection signs: its program gave a key for the peer."""
    keys = t.wishes.md5
    if keys is None or keys.find(t.raddr) is None:
        t.kind = KIND_TCB
        return
    t.kind = KIND_SIGNED
    # What is cut into segments further down cannot be signed (sk_gso_disable).
    t.gso_max = 0


def key_of_heir(keys: Md5Keys, peer: bytes) -> Md5Keys | None:
    """What an accepted connection has of its listener's keys: the one for its own peer (tcp_v4_syn_recv_sock)."""
    key = keys.find(peer)
    return None if key is None else Md5Keys([Md5Key(peer, i64(8 * len(peer)), key.key)])


def carries(seg: Segment, key: Md5Key) -> bool:
    """Whether a segment is signed with this key."""
    return any(kind == KIND and content == digest(seg, key.key) for kind, content in seg.other_options)


def is_signed(seg: Segment) -> bool:
    """Whether a segment has the option, be it right or wrong."""
    return any(kind == KIND for kind, _ in seg.other_options)


def with_signature(t: Tcb, seg: Segment) -> None:
    """Sign a segment of a connection, whose program may have taken the key away meanwhile."""
    keys = t.wishes.md5
    key = None if keys is None else keys.find(t.raddr)
    if key is not None:
        sign(seg, key.key)
