"""Packed addresses: 4 octets for IPv4, 16 for IPv6. Reading, showing and classifying them."""

import socket
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64

ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
LOOPBACK4: Final = b"\x7f\x00\x00\x01"
LOOPBACK6: Final = bytes(15) + b"\x01"
BROADCAST4: Final = b"\xff\xff\xff\xff"
MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
"""::ffff:0:0/96, under which IPv6 sockets see IPv4 peers (RFC 4291 2.5.5.2)."""


def pack(text: str) -> bytes:
    """'10.0.0.1' or 'fd00::1' packed. Raises UsageError for anything else (names, scopes, '127.1')."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        raise UsageError(f"not an IP address: {text!r}") from None


def show(address: bytes) -> str:
    """A packed address for people, IPv6 as RFC 5952 writes it; '*' when empty."""
    if len(address) == 4:
        return socket.inet_ntop(socket.AF_INET, address)
    if len(address) == 16:
        return socket.inet_ntop(socket.AF_INET6, address)
    return "*" if not address else "?" + address.hex()


def show_endpoint(address: bytes, port: i64) -> str:
    """'10.0.0.1:80' or '[fd00::1]:80'."""
    return f"[{show(address)}]:{port}" if len(address) == 16 else f"{show(address)}:{port}"


def parse_prefix(text: str) -> tuple[bytes, int]:
    """'10.0.0.1/24' as (address, 24), host bits kept; without '/' the whole address. Raises UsageError."""
    name, slash, digits = text.partition("/")
    address = pack(name)
    bits = len(address) * 8
    if not slash:
        return address, bits
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= bits):
        raise UsageError(f"prefix length must be 0..{bits}: {text!r}")
    return address, int(digits)


def network(address: bytes, length: i64) -> bytes:
    """The address with everything behind the first `length` bits cleared."""
    bits = len(address) * 8
    host = bits - int(length)
    return ((int.from_bytes(address, "big") >> host) << host).to_bytes(len(address), "big")


def in_prefix(address: bytes, prefix: bytes, length: i64) -> bool:
    """Whether address shares the first `length` bits of prefix and is of the same IP version."""
    if len(address) != len(prefix):
        return False
    host = len(address) * 8 - int(length)
    return (int.from_bytes(address, "big") ^ int.from_bytes(prefix, "big")) >> host == 0


def is_multicast(address: bytes) -> bool:
    """224.0.0.0/4 or ff00::/8; also when mapped."""
    if len(address) == 16:
        if address.startswith(MAPPED_PREFIX):
            return address[12] & 0xF0 == 0xE0
        return address[0] == 0xFF
    return len(address) == 4 and address[0] & 0xF0 == 0xE0


def is_broadcast(address: bytes) -> bool:
    """The limited broadcast address 255.255.255.255. For a subnet's own see is_directed_broadcast."""
    return address == BROADCAST4


def is_directed_broadcast(address: bytes, local: bytes, length: i64) -> bool:
    """Whether address is the all-ones address of local's IPv4 subnet; /31 and /32 have none (RFC 3021)."""
    if len(address) != 4 or length >= 31 or not in_prefix(address, local, length):
        return False
    hosts = (1 << (32 - int(length))) - 1
    return int.from_bytes(address, "big") & hosts == hosts


def is_loopback(address: bytes) -> bool:
    """127.0.0.0/8 or ::1; also when mapped."""
    if len(address) == 16:
        return address == LOOPBACK6 or (address.startswith(MAPPED_PREFIX) and address[12] == 127)
    return len(address) == 4 and address[0] == 127


def is_unspecified(address: bytes) -> bool:
    """0.0.0.0 or ::."""
    return address in (ANY4, ANY6)


def is_link_local(address: bytes) -> bool:
    """169.254.0.0/16 or fe80::/10."""
    if len(address) == 16:
        return address[0] == 0xFE and address[1] & 0xC0 == 0x80
    return len(address) == 4 and address[0] == 169 and address[1] == 254


def is_mapped(address: bytes) -> bool:
    """Whether it is an IPv4 address in IPv6 form, ::ffff:a.b.c.d."""
    return len(address) == 16 and address.startswith(MAPPED_PREFIX)


def to_mapped(address: bytes) -> bytes:
    """An IPv4 address in IPv6 form; an IPv6 address as it is."""
    return MAPPED_PREFIX + address if len(address) == 4 else address


def from_mapped(address: bytes) -> bytes:
    """The IPv4 address in a mapped one; any other address as it is."""
    return address[12:] if is_mapped(address) else address
