"""`md5 valid` and struct tcp_md5sig in scripts (RFC 2385); --tcp_md5_secret is the key of both sides."""

import struct

from timewait.base.errors import UsageError
from timewait.drill.nodes import Option, Struct, Text
from timewait.drill.values import number
from timewait.tcp.md5 import KIND, MAX_KEY, digest
from timewait.wire.address import pack
from timewait.wire.packet import Segment

VALID = Option("md5", (), None)
"""How `md5 valid` is parsed: whatever the digest must be."""


def fill_in(seg: Segment, options: list[Option], secret: bytes) -> None:
    """Put the right digest into an inbound segment whose options say `md5 valid`."""
    if VALID not in options:
        return
    if not secret:
        raise UsageError("`md5 valid` needs the key: --tcp_md5_secret=KEY at the head of the script")
    raw = seg.raw_options
    assert raw is not None
    at = raw.index(bytes((KIND, 18)) + bytes(16))
    found = digest(seg, secret)
    seg.raw_options = raw[: at + 2] + found + raw[at + 18 :]
    seg.other_options = tuple((kind, found if kind == KIND else content) for kind, content in seg.other_options)


def recognised(live: Segment, got: list[Option], secret: bytes) -> list[Option]:
    """The options of an outbound segment, with `md5 valid` where its digest is right."""
    if not secret or not any(option.kind == "md5" for option in got):
        return got
    right = digest(live, secret)
    return [VALID if option.kind == "md5" and option.data == right else option for option in got]


def pack_md5sig(literal: Struct) -> bytes:
    """{tcpm_addr="192.0.2.1", tcpm_key="secret"}, also tcpm_flags, tcpm_prefixlen, tcpm_keylen, tcpm_ifindex."""
    given = {member.name: member.value for member in literal.members}
    addr, key = given.pop("tcpm_addr", None), given.pop("tcpm_key", None)
    if not isinstance(addr, Text) or (key is not None and not isinstance(key, Text)):
        raise UsageError('tcp_md5sig takes tcpm_addr="ADDRESS" and tcpm_key="KEY"')
    secret = b"" if key is None else key.value.encode("latin-1")[:MAX_KEY]
    packed = pack(addr.value)
    if len(packed) == 4:
        where = struct.pack("=HH4s120x", 2, 0, packed)
    else:
        where = struct.pack("=HHI16sI100x", 10, 0, 0, packed, 0)
    numbers = {name: number(value) for name, value in given.items()}
    flags, prefix = numbers.pop("tcpm_flags", 0), numbers.pop("tcpm_prefixlen", 0)
    length, device = numbers.pop("tcpm_keylen", len(secret)), numbers.pop("tcpm_ifindex", 0)
    if numbers:
        raise UsageError(f"struct tcp_md5sig has no member {', '.join(numbers)}")
    return where + struct.pack("=BBHi80s", flags & 0xFF, prefix & 0xFF, length & 0xFFFF, device, secret)
