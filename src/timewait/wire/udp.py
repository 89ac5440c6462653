"""The UDP header (RFC 768): bytes to a Datagram and back."""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import checksum
from timewait.wire.octets import u16
from timewait.wire.packet import PROTO_UDP, Buffer, Datagram

HEADER_LENGTH: Final = 8

_HEADER: Final = Struct("!HHHH")


def decode(data: Buffer, head: bytes, start: i64, end: i64, addresses: bytes, verify: bool) -> Datagram:
    """The datagram in data[start:end]; parameters as in tcp.decode.

    What the IP payload has beyond UDP's own length is ignored (RFC 1122 leaves it open,
    Linux trims it). Raises WireError: 'udp-short', 'udp-length' (less than 8, or more
    than there is), 'udp-checksum', 'udp-no-checksum' (zero over IPv6, RFC 8200 8.1).
    """
    if end - start < HEADER_LENGTH:
        raise WireError("udp-short")
    size = u16(head, start + 4)
    if size < HEADER_LENGTH or size > end - start:
        raise WireError("udp-length")
    end = start + size
    datagram = Datagram()
    if u16(head, start + 6) == 0:
        if len(addresses) == 32:
            raise WireError("udp-no-checksum")
        datagram.no_checksum = True
    elif verify:
        total = checksum.raw_sum(addresses) + PROTO_UDP + size + checksum.sum_range(data, start, end)
        if checksum.fold(total) != 0xFFFF:
            raise WireError("udp-checksum")
    datagram.sport = u16(head, start)
    datagram.dport = u16(head, start + 2)
    if size > HEADER_LENGTH:
        if isinstance(data, memoryview):
            datagram.payload = data[start + HEADER_LENGTH : end]
        else:
            datagram.payload = memoryview(data)[start + HEADER_LENGTH : end]
    return datagram


def encode(datagram: Datagram, partial: bool = False) -> bytes:
    """The UDP header. With `partial` the checksum field holds the pseudo-header's sum only."""
    payload = datagram.payload
    size: i64 = HEADER_LENGTH + len(payload)
    total: i64 = 0
    if not datagram.no_checksum:
        total = checksum.pseudo_sum(datagram.src, datagram.dst, PROTO_UDP, size)
        if not partial:
            total += datagram.sport + datagram.dport + size + checksum.sum_range(payload, 0, len(payload))
            # Zero on the wire means 'none', so a checksum of zero travels as its equal (RFC 768).
            total = 0xFFFF ^ checksum.fold(total)
            if total == 0:
                total = 0xFFFF
    return _HEADER.pack(datagram.sport, datagram.dport, size, total)
