"""ICMP for both IP versions (RFC 792, RFC 4443): messages, their names, and errors with what they quote."""

from struct import Struct
from typing import Final

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire import checksum, ipv6
from timewait.wire.address import is_broadcast, is_multicast, is_unspecified
from timewait.wire.octets import u16, u32
from timewait.wire.packet import (
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    Buffer,
    IcmpMessage,
    Packet,
)

HEADER_LENGTH: Final = 8

ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
SOURCE_QUENCH: Final = 4
REDIRECT: Final = 5
ECHO: Final = 8
TIME_EXCEEDED: Final = 11
PARAMETER_PROBLEM: Final = 12

V6_UNREACHABLE: Final = 1
V6_PACKET_TOO_BIG: Final = 2
V6_TIME_EXCEEDED: Final = 3
V6_PARAMETER_PROBLEM: Final = 4
V6_ECHO: Final = 128
V6_ECHO_REPLY: Final = 129

NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
ADMIN_PROHIBITED: Final = 13
V6_NO_ROUTE: Final = 0
V6_ADMIN_PROHIBITED: Final = 1
V6_ADDRESS_UNREACHABLE: Final = 3
V6_PORT_UNREACHABLE: Final = 4

V4_ERRORS: Final = frozenset({UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})

V4_TYPES: Final[dict[int, str]] = {
    ECHO_REPLY: "echo reply",
    UNREACHABLE: "destination unreachable",
    SOURCE_QUENCH: "source quench",
    REDIRECT: "redirect",
    ECHO: "echo request",
    9: "router advertisement",
    10: "router solicitation",
    TIME_EXCEEDED: "time exceeded",
    PARAMETER_PROBLEM: "parameter problem",
    13: "timestamp request",
    14: "timestamp reply",
}
V6_TYPES: Final[dict[int, str]] = {
    V6_UNREACHABLE: "destination unreachable",
    V6_PACKET_TOO_BIG: "packet too big",
    V6_TIME_EXCEEDED: "time exceeded",
    V6_PARAMETER_PROBLEM: "parameter problem",
    V6_ECHO: "echo request",
    V6_ECHO_REPLY: "echo reply",
    130: "multicast listener query",
    131: "multicast listener report",
    132: "multicast listener done",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    137: "redirect",
    143: "multicast listener report v2",
}
V4_CODES: Final[dict[tuple[int, int], str]] = {
    (UNREACHABLE, 0): "net unreachable",
    (UNREACHABLE, 1): "host unreachable",
    (UNREACHABLE, 2): "protocol unreachable",
    (UNREACHABLE, 3): "port unreachable",
    (UNREACHABLE, 4): "fragmentation needed",
    (UNREACHABLE, 5): "source route failed",
    (UNREACHABLE, 6): "net unknown",
    (UNREACHABLE, 7): "host unknown",
    (UNREACHABLE, 8): "source host isolated",
    (UNREACHABLE, 9): "net administratively prohibited",
    (UNREACHABLE, 10): "host administratively prohibited",
    (UNREACHABLE, 11): "net unreachable for this type of service",
    (UNREACHABLE, 12): "host unreachable for this type of service",
    (UNREACHABLE, 13): "communication administratively filtered",
    (UNREACHABLE, 14): "host precedence violation",
    (UNREACHABLE, 15): "precedence cutoff",
    (REDIRECT, 0): "redirect for the net",
    (REDIRECT, 1): "redirect for the host",
    (REDIRECT, 2): "redirect for the type of service and net",
    (REDIRECT, 3): "redirect for the type of service and host",
    (TIME_EXCEEDED, 0): "time to live exceeded in transit",
    (TIME_EXCEEDED, 1): "fragment reassembly time exceeded",
    (PARAMETER_PROBLEM, 0): "parameter problem: pointer says where",
    (PARAMETER_PROBLEM, 1): "parameter problem: required option missing",
    (PARAMETER_PROBLEM, 2): "parameter problem: bad length",
}
V6_CODES: Final[dict[tuple[int, int], str]] = {
    (V6_UNREACHABLE, 0): "no route",
    (V6_UNREACHABLE, 1): "administratively prohibited",
    (V6_UNREACHABLE, 2): "beyond the scope of the source address",
    (V6_UNREACHABLE, 3): "address unreachable",
    (V6_UNREACHABLE, 4): "port unreachable",
    (V6_UNREACHABLE, 5): "source address failed policy",
    (V6_UNREACHABLE, 6): "reject route",
    (V6_PACKET_TOO_BIG, 0): "packet too big",
    (V6_TIME_EXCEEDED, 0): "hop limit exceeded in transit",
    (V6_TIME_EXCEEDED, 1): "fragment reassembly time exceeded",
    (V6_PARAMETER_PROBLEM, 0): "parameter problem: erroneous header field",
    (V6_PARAMETER_PROBLEM, 1): "parameter problem: unknown next header",
    (V6_PARAMETER_PROBLEM, 2): "parameter problem: unknown IPv6 option",
}

V4_QUOTE_LIMIT: Final = 576
"""An IPv4 error is at most so long in all (RFC 1812 4.3.2.3; Linux's __icmp_send)."""
V6_QUOTE_LIMIT: Final = ipv6.MIN_MTU
"""An IPv6 error is at most so long in all (RFC 4443 2.4 c)."""
V4_MINIMAL: Final = 20 + HEADER_LENGTH + 20 + 8
"""With this limit an IPv4 error quotes the header (without options) and 8 octets, as RFC 792 had it."""

_HEADER: Final = Struct("!BBHI")


def decode(data: Buffer, head: bytes, start: i64, end: i64, addresses: bytes, verify: bool) -> IcmpMessage:
    """The message in data[start:end]; parameters as in tcp.decode. Raises WireError: 'icmp-short', 'icmp-checksum'."""
    size = end - start
    if size < HEADER_LENGTH:
        raise WireError("icmp-short")
    if verify:
        total = checksum.sum_range(data, start, end)
        if len(addresses) == 32:
            total += checksum.raw_sum(addresses) + PROTO_ICMPV6 + size
        if checksum.fold(total) != 0xFFFF:
            raise WireError("icmp-checksum")
    message = IcmpMessage()
    message.type = head[start]
    message.code = head[start + 1]
    message.rest = u32(head, start + 4)
    if size > HEADER_LENGTH:
        if isinstance(data, memoryview):
            message.payload = data[start + HEADER_LENGTH : end]
        else:
            message.payload = memoryview(data)[start + HEADER_LENGTH : end]
    return message


def encode(message: IcmpMessage) -> bytes:
    """The ICMP header with its checksum."""
    payload = message.payload
    size: i64 = len(payload)
    total = (message.type << 8 | message.code) + message.rest + checksum.sum_range(payload, 0, size)
    if len(message.src) == 16:
        total += checksum.pseudo_sum(message.src, message.dst, PROTO_ICMPV6, HEADER_LENGTH + size)
    return _HEADER.pack(message.type, message.code, 0xFFFF ^ checksum.fold(total), message.rest)


def is_error(message: IcmpMessage) -> bool:
    """Whether it reports about another packet; such a message is never answered with an error."""
    if len(message.src) == 16:
        return message.type < 128
    return int(message.type) in V4_ERRORS


def describe(message: IcmpMessage) -> str:
    """What it says, in words: 'port unreachable', 'fragmentation needed (mtu 1400)'."""
    v6 = len(message.src) == 16
    key = (int(message.type), int(message.code))
    text = (V6_CODES if v6 else V4_CODES).get(key)
    if text is None:
        name = (V6_TYPES if v6 else V4_TYPES).get(key[0], f"ICMP type {key[0]}")
        text = name if key[1] == 0 else f"{name}, code {key[1]}"
    mtu = next_hop_mtu(message)
    return text if mtu < 0 else f"{text} (mtu {mtu})"


def next_hop_mtu(message: IcmpMessage) -> i64:
    """The MTU of 'fragmentation needed' (0 from routers older than RFC 1191) or 'packet too big'; else -1."""
    if len(message.src) == 16:
        return message.rest if message.type == V6_PACKET_TOO_BIG else -1
    if message.type == UNREACHABLE and message.code == FRAGMENTATION_NEEDED:
        return message.rest & 0xFFFF
    return -1


def echo_reply(request: IcmpMessage) -> IcmpMessage:
    """The answer to an echo request: same identifier, sequence and data (RFC 1122 3.2.2.6, RFC 4443 4.2)."""
    v6 = len(request.src) == 16
    reply = IcmpMessage()
    reply.src = request.dst
    reply.dst = request.src
    reply.proto = PROTO_ICMPV6 if v6 else PROTO_ICMP
    reply.tos = request.tos
    reply.type = V6_ECHO_REPLY if v6 else ECHO_REPLY
    reply.rest = request.rest
    reply.payload = request.payload
    return reply


def error_allowed(packet: Packet) -> bool:
    """Whether an ICMP error may be sent about a packet at all (RFC 1122 3.2.2, RFC 4443 2.4 e).

    Not about another error, a fragment that is not the first, or a source that is not
    one host. A packet to a group counts as not allowed: IPv6's exceptions are the caller's.
    """
    if isinstance(packet, IcmpMessage) and is_error(packet):
        return False
    if packet.fragment_offset:
        return False
    if is_multicast(packet.src) or is_broadcast(packet.src) or is_unspecified(packet.src):
        return False
    return not (is_multicast(packet.dst) or is_broadcast(packet.dst))


def error(
    original: Packet, datagram: Buffer, src: bytes, kind: i64, code: i64, *, rest: i64 = 0, limit: i64 = 0
) -> IcmpMessage:
    """An ICMP error from `src` to the sender of `original`, quoting the start of its bytes `datagram`.

    The message as a whole takes at most `limit` octets: 0 stands for 576 in IPv4 and
    1280 in IPv6, as Linux quotes. The type of service is Linux's: in IPv4 precedence
    'internetwork control' with the original's TOS bits, in IPv6 zero.
    """
    message = IcmpMessage()
    message.src = src
    message.dst = original.src
    message.type = kind
    message.code = code
    message.rest = rest
    if len(src) == 16:
        message.proto = PROTO_ICMPV6
        room = (limit or V6_QUOTE_LIMIT) - ipv6.HEADER_LENGTH - HEADER_LENGTH
    else:
        message.proto = PROTO_ICMP
        message.tos = (original.tos & 0x1E) | 0xC0
        room = (limit or V4_QUOTE_LIMIT) - 20 - HEADER_LENGTH
    message.payload = datagram[:room]
    return message


class Quote:
    """What an ICMP error tells about the packet that caused it."""

    def __init__(self, src: bytes, dst: bytes, proto: i64) -> None:
        self.src = src
        """Who sent the packet: us, if the error is for us."""
        self.dst = dst
        self.proto: i64 = proto
        self.ident: i64 = 0
        """IPv4 identification."""
        self.length: i64 = 0
        """Octets the quoted IP header announced for the whole datagram."""
        self.fragment_offset: i64 = 0
        self.sport: i64 = -1
        """Ports; -1 where the quote is too short, or a later fragment, or has no ports."""
        self.dport: i64 = -1
        self.seq: i64 = -1
        """TCP sequence number; -1 where the quote does not reach it."""
        self.transport = b""
        """What the error quotes behind the IP header."""

    @property
    def reply_flow(self) -> bytes:
        """The demux key (see packet.Segment.flow) of the packets we receive on that connection; b'' without ports."""
        if self.sport < 0:
            return b""
        ports = bytes((self.dport >> 8, self.dport & 0xFF, self.sport >> 8, self.sport & 0xFF))
        return self.dst + self.src + ports


def parse_quote(message: IcmpMessage) -> Quote:
    """The packet quoted by an error. Raises WireError: 'icmp-quote' where not even its IP header is there."""
    data = bytes(message.payload)
    size: i64 = len(data)
    if len(message.src) == 16:
        if size < ipv6.HEADER_LENGTH or data[0] >> 4 != 6:
            raise WireError("icmp-quote")
        return _quote6(data, size)
    if size < 20 or data[0] >> 4 != 4:
        raise WireError("icmp-quote")
    first: i64 = data[0]
    start = (first & 0x0F) * 4
    if start < 20 or start > size:
        raise WireError("icmp-quote")
    quote = Quote(data[12:16], data[16:20], data[9])
    quote.length = u16(data, 2)
    quote.ident = u16(data, 4)
    quote.fragment_offset = (u16(data, 6) & 0x1FFF) * 8
    quote.transport = data[start:]
    _quote_ports(quote, data, start, size)
    return quote


def _quote6(data: bytes, size: i64) -> Quote:
    quote = Quote(data[8:24], data[24:40], data[6])
    quote.length = ipv6.HEADER_LENGTH + u16(data, 4)
    try:
        found = ipv6.walk(data, quote.proto, ipv6.HEADER_LENGTH, size)
    except WireError:
        # The quote may end inside an extension header: addresses are then all it tells.
        return quote
    quote.proto = found.proto
    quote.fragment_offset = found.fragment_offset
    quote.transport = data[found.start :]
    _quote_ports(quote, data, found.start, size)
    return quote


def _quote_ports(quote: Quote, data: bytes, start: i64, size: i64) -> None:
    if quote.fragment_offset or (quote.proto != PROTO_TCP and quote.proto != PROTO_UDP):
        return
    if start + 4 <= size:
        quote.sport = u16(data, start)
        quote.dport = u16(data, start + 2)
    if quote.proto == PROTO_TCP and start + 8 <= size:
        quote.seq = u32(data, start + 4)
