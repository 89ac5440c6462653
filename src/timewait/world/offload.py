"""Between packets and what a TUN with IFF_VNET_HDR exchanges: checksum trust and super-segments.

In: the vnet header in front of a datagram says whether its checksum can be trusted and
how large its segments are on a wire. Out: the header says the same to the kernel, and
the transport checksum is left to it (ours is only the sum of the pseudo-header).
"""

import struct
from typing import Final, TypeGuard

from timewait.base.errors import WireError
from timewait.wire.packet import ACE_REPEATED, CWR, Buffer, Datagram, IcmpMessage, Packet, RawPacket, Segment
from timewait.wire.parse import parse
from timewait.wire.serialize import header, serialize
from timewait.world.tun import VNET_LEN

# struct virtio_net_hdr, include/uapi/linux/virtio_net.h, in the machine's own byte order.
_VNET: Final = struct.Struct("=BBHHHH")
assert _VNET.size == VNET_LEN
VNET_NONE: Final = bytes(VNET_LEN)
"""In front of a complete datagram: nothing left to do."""

NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
GSO_ECN: Final = 0x80


def packet_of(data: Buffer) -> Packet:
    """The packet in a datagram read from a TUN, its vnet header in front. Payload is a view into `data`.

    A checksum is verified only where the kernel has not done so: packets of its own
    sockets carry partial ones. Raises WireError.
    """
    if len(data) <= VNET_LEN:
        raise WireError("vnet-short", f"{len(data)} bytes")
    packet = parse(memoryview(data)[VNET_LEN:], verify=not data[0] & (NEEDS_CSUM | DATA_VALID))
    if data[1] != GSO_NONE:
        gso_size: int = _VNET.unpack_from(data)[3]
        # A last piece that fits one segment is an ordinary one.
        if isinstance(packet, Segment):
            packet.gso_size = gso_size if packet.length > gso_size else 0
        elif isinstance(packet, Datagram) and data[1] == GSO_UDP_L4:
            packet.gso_size = gso_size if len(packet.payload) > gso_size else 0
    return packet


def vnet_header(packet: Packet, header_len: int) -> bytes:
    """The vnet header for a packet whose IP and transport headers are header_len octets, its checksum partial."""
    ip_len = 20 if len(packet.src) == 4 else 40
    if isinstance(packet, Segment):
        if packet.gso_size and packet.length > packet.gso_size:
            kind = GSO_TCPV4 if ip_len == 20 else GSO_TCPV6
            if packet.flags & CWR:
                kind |= GSO_ECN  # Only the first segment may carry CWR (SKB_GSO_TCP_ECN).
            return _VNET.pack(NEEDS_CSUM, kind, header_len, packet.gso_size, ip_len, 16)
        return _VNET.pack(NEEDS_CSUM, GSO_NONE, header_len, 0, ip_len, 16)
    assert isinstance(packet, Datagram), "only TCP and UDP leave their checksum to the kernel"
    if packet.gso_size and len(packet.payload) > packet.gso_size:
        return _VNET.pack(NEEDS_CSUM, GSO_UDP_L4, header_len, packet.gso_size, ip_len, 6)
    return _VNET.pack(NEEDS_CSUM, GSO_NONE, header_len, 0, ip_len, 6)


_SMALL: Final = 256
"""Up to so much payload one write of a copy is cheaper than a vector."""
_PLAIN4: Final = [_VNET.pack(NEEDS_CSUM, GSO_NONE, size, 0, 20, 16) for size in range(81)]
_PLAIN6: Final = [_VNET.pack(NEEDS_CSUM, GSO_NONE, size, 0, 40, 16) for size in range(101)]
"""The vnet headers of segments that are none of several, by the size of their headers."""


def small_datagram(packet: Packet | Buffer) -> bytes | None:
    """A segment with little or no payload as one piece for write(), the vnet header first; None for all else."""
    if not isinstance(packet, Segment) or packet.length > _SMALL or packet.gso_size:
        return None
    head = header(packet, partial=True)
    plain = _PLAIN4[len(head)] if len(packet.src) == 4 else _PLAIN6[len(head)]
    if packet.length:
        return b"".join((plain, head, packet.payload))
    return plain + head


def repeats_cwr(packet: Packet | Buffer) -> TypeGuard[Segment]:
    """Whether a super-segment has CWR as part of a counter: the kernel would keep it on the first piece only."""
    return isinstance(packet, Segment) and packet.flags & (ACE_REPEATED | CWR) == ACE_REPEATED | CWR


def vectors_of(packet: Packet | Buffer) -> tuple[Buffer, ...]:
    """What to hand to writev() for a packet, the vnet header first. Payload is not copied.

    Raw bytes, damaged or from outside, go as they are and the kernel judges their checksum.
    """
    if isinstance(packet, Segment):
        head = header(packet, partial=True)
        if packet.length:
            return vnet_header(packet, len(head)) + head, packet.payload
        return (vnet_header(packet, len(head)) + head,)
    if isinstance(packet, (bytes, memoryview)):
        return VNET_NONE, packet
    if isinstance(packet, Datagram) and not packet.no_checksum:
        head = header(packet, partial=True)
        return vnet_header(packet, len(head)) + head, packet.payload
    assert isinstance(packet, (Datagram, IcmpMessage, RawPacket)), f"not a packet: {packet!r}"
    return VNET_NONE, serialize(packet)
