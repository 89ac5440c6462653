"""A `Packet` to the bytes of an IP datagram.

Values outside their field's range are the caller's mistake and raise struct.error.
"""

from timewait.base.ints import i64
from timewait.wire import icmp, ipv4, ipv6, tcp, udp
from timewait.wire.packet import Buffer, Datagram, IcmpMessage, Packet, RawPacket, Segment


def payload(packet: Packet) -> Buffer:
    """What stands behind the headers."""
    if isinstance(packet, Segment):
        return packet.payload
    if isinstance(packet, Datagram):
        return packet.payload
    if isinstance(packet, IcmpMessage):
        return packet.payload
    if isinstance(packet, RawPacket):
        return packet.payload
    return b""


def transport_header(packet: Packet, *, partial: bool = False) -> bytes:
    """The transport header alone; b'' for a RawPacket. `partial` as in header()."""
    if isinstance(packet, Segment):
        return tcp.encode(packet, partial)
    if isinstance(packet, Datagram):
        return udp.encode(packet, partial)
    if isinstance(packet, IcmpMessage):
        return icmp.encode(packet)
    return b""


def header(packet: Packet, *, partial: bool = False) -> bytes:
    """IP and transport headers: the payload is to be written behind them.

    With `partial` the checksum field of TCP and UDP holds the sum of the pseudo-header
    only, and whoever takes the packet over completes it (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    """
    upper = transport_header(packet, partial=partial)
    size: i64 = len(upper) + len(payload(packet))
    if len(packet.src) == 4:
        return ipv4.encode(packet, size) + upper
    return ipv6.encode(packet, size) + upper


def serialize(packet: Packet) -> bytes:
    """The whole datagram with its checksums."""
    return b"".join((header(packet), payload(packet)))


def ip_payload(packet: Packet) -> bytes:
    """Transport header and payload: what is cut into fragments."""
    return b"".join((transport_header(packet), payload(packet)))


def ip_header_length(packet: Packet) -> i64:
    """20 for IPv4, 40 for IPv6, 48 for its fragments."""
    return ipv4.HEADER_LENGTH if len(packet.src) == 4 else ipv6.header_length(packet)


def wire_length(packet: Packet) -> i64:
    """Octets of the whole datagram, as serialize() would make it."""
    size = ip_header_length(packet)
    if isinstance(packet, Segment):
        return size + tcp.header_length(packet) + len(packet.payload)
    if isinstance(packet, Datagram):
        return size + udp.HEADER_LENGTH + len(packet.payload)
    if isinstance(packet, IcmpMessage):
        return size + icmp.HEADER_LENGTH + len(packet.payload)
    return size + len(payload(packet))
