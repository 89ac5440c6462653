"""The virtio-net header that a TUN device with IFF_VNET_HDR puts before each packet.

It says what the checksum is worth and how a super-segment is to be cut. Layout and
constants: virtio 1.2 section 5.1.6, include/uapi/linux/virtio_net.h. A TUN device uses
the machine's own byte order unless told otherwise (TUNSETVNETLE).
"""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import serialize, tcp
from timewait.wire.packet import CWR, Buffer, Datagram, Packet, Segment

LENGTH: Final = 10
LENGTH_MERGED: Final = 12
"""With the num_buffers field behind it (virtio 1.0, or TUNSETVNETHDRSZ 12)."""

NEEDS_CSUM: Final = 1
"""The checksum field holds the pseudo-header's sum: the rest from csum_start on is still to be added."""
DATA_VALID: Final = 2
"""Whoever hands the packet over has verified its checksum."""

GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_UDP: Final = 3
"""UDP fragmentation offload, given up by Linux 4.14; refused here."""
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
GSO_ECN: Final = 0x80
"""Added to the type where the super-segment carries CWR."""

TCP_CSUM_OFFSET: Final = 16
UDP_CSUM_OFFSET: Final = 6

_HEADER: Final = Struct("=BBHHHH")
_HEADER_MERGED: Final = Struct("=BBHHHHH")
_NOTHING: Final = bytes(LENGTH)
_NOTHING_MERGED: Final = bytes(LENGTH_MERGED)


class VnetHeader:
    """The header's fields."""

    def __init__(
        self,
        flags: i64 = 0,
        gso_type: i64 = 0,
        hdr_len: i64 = 0,
        gso_size: i64 = 0,
        csum_start: i64 = 0,
        csum_offset: i64 = 0,
        num_buffers: i64 = 0,
    ) -> None:
        self.flags: i64 = flags
        self.gso_type: i64 = gso_type
        self.hdr_len: i64 = hdr_len
        """IP and transport header together, in octets; a hint."""
        self.gso_size: i64 = gso_size
        """Payload octets per piece; meaningful unless gso_type is GSO_NONE."""
        self.csum_start: i64 = csum_start
        """Where the checksummed part starts, counted from the packet's start."""
        self.csum_offset: i64 = csum_offset
        """Where in that part the checksum field is."""
        self.num_buffers: i64 = num_buffers

    @property
    def partial(self) -> bool:
        """Whether the transport checksum is incomplete: such a packet was never on a wire."""
        return self.flags & NEEDS_CSUM != 0

    @property
    def trusted(self) -> bool:
        """Whether wire.parse need not verify: the checksum is partial, or was found right before."""
        return self.flags & (NEEDS_CSUM | DATA_VALID) != 0

    @property
    def segment_size(self) -> i64:
        """What to set as the packet's gso_size: 0 for a plain packet."""
        return self.gso_size if self.gso_type & ~GSO_ECN else 0

    def encode(self, length: i64 = LENGTH) -> bytes:
        """The header as 10 or 12 octets."""
        if length == LENGTH:
            return _HEADER.pack(
                self.flags, self.gso_type, self.hdr_len, self.gso_size, self.csum_start, self.csum_offset
            )
        assert length == LENGTH_MERGED, "a virtio-net header has 10 or 12 octets"
        return _HEADER_MERGED.pack(
            self.flags,
            self.gso_type,
            self.hdr_len,
            self.gso_size,
            self.csum_start,
            self.csum_offset,
            self.num_buffers,
        )


def decode(data: Buffer, length: i64 = LENGTH) -> VnetHeader:
    """The header at the start of data, 10 or 12 octets long. Raises WireError: 'vnet-short', 'vnet-gso'."""
    if len(data) < length:
        raise WireError("vnet-short")
    head = VnetHeader()
    (
        head.flags,
        head.gso_type,
        head.hdr_len,
        head.gso_size,
        head.csum_start,
        head.csum_offset,
    ) = _HEADER.unpack_from(data)
    if length == LENGTH_MERGED:
        head.num_buffers = int.from_bytes(data[10:12], "little" if _LITTLE else "big")
    kind = head.gso_type & ~GSO_ECN
    if kind != GSO_NONE and (head.gso_size == 0 or kind not in (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4)):
        raise WireError("vnet-gso")
    return head


_LITTLE: Final = _HEADER.pack(0, 0, 1, 0, 0, 0)[2] == 1


def is_plain(data: Buffer) -> bool:
    """Whether the header at the start of data is all zero: one packet, checksum to be verified. Quick."""
    return data[:LENGTH] == _NOTHING


def gso_size_of(packet: Packet) -> i64:
    """The gso_size that matters: 0 also where the payload fits into one piece."""
    if isinstance(packet, Segment):
        return packet.gso_size if packet.gso_size < packet.length else 0
    if isinstance(packet, Datagram):
        return packet.gso_size if packet.gso_size < len(packet.payload) else 0
    return 0


def header_for(packet: Packet, length: i64 = LENGTH) -> bytes:
    """The octets to put before serialize.header(packet, partial=True).

    TCP and UDP leave their checksum to the receiver (NEEDS_CSUM); everything else goes
    with its checksum complete and an all-zero header.
    """
    ip_size = serialize.ip_header_length(packet)
    gso = gso_size_of(packet)
    kind: i64 = GSO_NONE
    if isinstance(packet, Segment):
        header_size = ip_size + tcp.header_length(packet)
        offset: i64 = TCP_CSUM_OFFSET
        if gso:
            kind = GSO_TCPV4 if len(packet.src) == 4 else GSO_TCPV6
            if packet.flags & CWR:
                kind |= GSO_ECN
    elif isinstance(packet, Datagram) and not packet.no_checksum:
        header_size = ip_size + 8
        offset = UDP_CSUM_OFFSET
        if gso:
            kind = GSO_UDP_L4
    else:
        return _NOTHING if length == LENGTH else _NOTHING_MERGED
    if length == LENGTH:
        return _HEADER.pack(NEEDS_CSUM, kind, header_size, gso, ip_size, offset)
    assert length == LENGTH_MERGED, "a virtio-net header has 10 or 12 octets"
    return _HEADER_MERGED.pack(NEEDS_CSUM, kind, header_size, gso, ip_size, offset, 0)
