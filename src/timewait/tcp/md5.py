"""Segments signed with a shared key (RFC 2385, Linux's TCP_MD5SIG): the option, its digest, and who has which key.

The digest covers pseudo-header, fixed header, data and key, but no options. A program gives
keys for the addresses of peers. Towards an address with a key every segment is signed, and
from it only segments with the right digest count; without a key a signed segment is as
wrong as an unsigned one with it.
"""

import hashlib
import hmac
from typing import Final

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.counters import Counters
from timewait.tcp.reasons import Drop
from timewait.wire import options, tcp
from timewait.wire.accecn import option_of, shorten
from timewait.wire.packet import PROTO_TCP, Segment

KIND: Final = 19
LENGTH: Final = 20
"""Octets that the option takes with the two NOPs before it (TCPOLEN_MD5SIG_ALIGNED)."""
MAX_KEY: Final = 80
"""TCP_MD5SIG_MAXKEYLEN."""
MOST_KEYS: Final = 962
"""So many fit into net.core.optmem_max (131072) on Linux 6.18; more give ENOMEM."""
_HEAD: Final = bytes((1, 1, KIND, 18))


@mypyc_attr(acyclic=True)
class Md5Key:
    """A key for the peers whose addresses begin with `prefix` bits of `addr`."""

    def __init__(self, addr: bytes, prefix: i64, key: bytes, device_bound: bool = False) -> None:
        self.addr: bytes = addr
        self.prefix: i64 = prefix
        self.key: bytes = key
        self.device_bound = device_bound
        """TCP_MD5SIG_FLAG_IFINDEX: a key of its own beside one without the flag."""

    def covers(self, addr: bytes) -> bool:
        """Whether the address lies in its prefix."""
        if len(addr) != len(self.addr):
            return False
        shift = 8 * len(addr) - self.prefix
        return int.from_bytes(addr, "big") >> shift == int.from_bytes(self.addr, "big") >> shift

    def is_for(self, addr: bytes, prefix: i64, device_bound: bool) -> bool:
        """Whether it is the very key that setsockopt() means."""
        return self.prefix == prefix and self.device_bound == device_bound and self.addr == addr


@mypyc_attr(acyclic=True)
class Md5Keys:
    """The keys of one socket."""

    def __init__(self, keys: list[Md5Key]) -> None:
        self.keys: list[Md5Key] = keys

    def find(self, addr: bytes) -> Md5Key | None:
        """The key for a peer: the longest prefix (__tcp_md5_do_lookup)."""
        best: Md5Key | None = None
        for key in self.keys:
            if key.covers(addr) and (best is None or key.prefix > best.prefix):
                best = key
        return best


def digest(seg: Segment, key: bytes) -> bytes:
    """The sixteen octets of RFC 2385 section 2.0 for a segment whose options are laid out already."""
    header = tcp.encode(seg, True)
    size = len(header) + int(seg.length)
    if len(seg.src) == 4:
        pseudo = seg.src + seg.dst + bytes((0, PROTO_TCP, size >> 8, size & 0xFF))
    else:
        pseudo = seg.src + seg.dst + size.to_bytes(4, "big") + bytes((0, 0, 0, PROTO_TCP))
    found = hashlib.md5(pseudo, usedforsecurity=False)
    # The checksum counts as zero.
    found.update(header[:16] + b"\0\0" + header[18:20])
    found.update(seg.payload)
    found.update(key)
    return found.digest()


def sign(seg: Segment, key: bytes, timestamps_first: bool = False) -> None:
    """Add the option, before all others as Linux does, but behind the timestamps of what no socket sends."""
    own = options.encode(seg)
    if len(own) > options.MAX_LENGTH - LENGTH and option_of(seg) is not None:
        shorten(seg, options.MAX_LENGTH - LENGTH)
        own = options.encode(seg)
    if len(own) > options.MAX_LENGTH - LENGTH:
        # A cookie or counters have no room beside it.
        seg.fast_open = None
        seg.other_options = ()
        own = options.encode(seg)
    seg.raw_options = _laid_out(own, bytes(16), timestamps_first)
    found = digest(seg, key)
    seg.raw_options = _laid_out(own, found, timestamps_first)
    seg.other_options = (*seg.other_options, (KIND, found))


def _laid_out(own: bytes, found: bytes, timestamps_first: bool) -> bytes:
    return own + _HEAD + found if timestamps_first else _HEAD + found + own


def judge(seg: Segment, keys: Md5Keys | None, counters: Counters) -> Drop | None:
    """Why a segment does not count for a socket with these keys; None if it does (tcp_inbound_hash)."""
    given: bytes | None = None
    for kind, content in seg.other_options:
        if kind != KIND or len(content) != 16:
            continue
        if given is not None:
            return Drop.MD5_TWICE
        given = content
    key = None if keys is None else keys.find(seg.src)
    if given is None:
        if key is None:
            return None
        counters.TcpExtTCPMD5NotFound += 1
        return Drop.MD5_NOT_FOUND
    if key is None:
        counters.TcpExtTCPMD5Unexpected += 1
        return Drop.MD5_UNEXPECTED
    if not hmac.compare_digest(digest(seg, key.key), given):
        counters.TcpExtTCPMD5Failure += 1
        return Drop.MD5_FAILURE
    return None
