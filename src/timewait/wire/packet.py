"""The values that travel: an IP datagram as one flat object, by transport.

A `Packet` is what a link carries and a host receives. Between simulated hosts the
object itself travels; where bytes are needed `wire.parse` and `wire.serialize`
convert. A packet that has been sent is never changed: who must change one (a router,
a NAT, a fault) makes a copy.

Attribute defaults stand on the class: an interpreted instance stores only what
differs, a compiled one has them filled in at once. Packets refer to bytes and never to
each other, so that the collector of reference cycles need not look at them (acyclic).
"""

import copy
from enum import Enum
from typing import Final, Self

from timewait.base.ints import i64
from timewait.base.native import mypyc_attr

Buffer = bytes | memoryview
"""Payload: bytes, or a view into a larger buffer that nobody writes to."""

PROTO_ICMP: Final = 1
PROTO_TCP: Final = 6
PROTO_UDP: Final = 17
PROTO_ICMPV6: Final = 58

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
ECE: Final = 0x40
CWR: Final = 0x80
AE: Final = 0x100
"""The accurate-ECN bit, formerly NS: the lowest of the four reserved header bits."""
ACE_REPEATED: Final = 0x200
"""Never on a wire: a super-segment's AE, CWR and ECE are a counter that stands on each of its pieces."""


@mypyc_attr(acyclic=True)
class Packet:
    """An IP datagram. Addresses are packed: 4 bytes for IPv4, 16 for IPv6."""

    src: bytes = b""
    dst: bytes = b""
    proto: i64 = 0
    ttl: i64 = 64
    """Time to live, hop limit in IPv6."""
    tos: i64 = 0
    """Type of service / traffic class: DSCP in the upper six bits, ECN in the lower two."""
    ident: i64 = 0
    """IPv4 identification, or the 32-bit one of an IPv6 fragment header."""
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: i64 = 0
    """Octets (a multiple of 8) into the original payload; with more_fragments it marks a fragment."""
    flow_label: i64 = 0
    why: Enum | None = None
    """Why it was sent (a `tcp.reasons.Why`), for the record; None for foreign packets."""
    uid: i64 = 0
    """The record's number for this transmission; 0 while nobody records."""

    def copy(self) -> Self:
        """A copy that may be changed; payload is shared."""
        return copy.copy(self)


@mypyc_attr(acyclic=True)
class RawPacket(Packet):
    """A datagram whose transport is not taken apart: a fragment, or an unknown protocol."""

    payload: Buffer = b""


@mypyc_attr(acyclic=True, free_list_len=1)
class Segment(Packet):
    """A TCP segment, or a super-segment: a run of segments that share one header (gso_size > 0)."""

    flow: bytes = b""
    """src + dst + sport + dport as on the wire: the receiver's demux key."""
    sport: i64 = 0
    dport: i64 = 0
    seq: i64 = 0
    ack: i64 = 0
    """Acknowledgment number; meaningful only with the ACK flag."""
    flags: i64 = 0
    window: i64 = 0
    """The raw 16-bit field, not scaled."""
    urgent: i64 = 0
    """Urgent pointer, an offset from seq; meaningful only with URG."""
    payload: Buffer = b""
    length: i64 = 0
    """Octets of payload. SYN and FIN are not counted here: see seq_len."""
    gso_size: i64 = 0
    """Payload octets per wire segment of a super-segment; 0 for a plain segment."""

    mss: i64 = 0
    """Maximum segment size option; 0 when absent."""
    wscale: i64 = -1
    """Window scale option; -1 when absent."""
    sack_permitted: bool = False
    has_ts: bool = False
    tsval: i64 = 0
    tsecr: i64 = 0
    sacks: tuple[tuple[int, int], ...] = ()
    """SACK blocks (left edge, right edge) in the order of the option."""
    fast_open: bytes | None = None
    """Fast Open cookie: b'' asks for one; None when the option is absent (RFC 7413)."""
    fast_open_exp: bool = False
    """The cookie travels in experimental option 254 with magic 0xF989 instead of kind 34."""
    other_options: tuple[tuple[int, bytes], ...] = ()
    """Options this stack has no field for, kept as (kind, content)."""
    raw_options: bytes | None = None
    """The option bytes exactly as received, or as they must be sent; None: encode from the fields."""

    def copy(self) -> Self:
        """A copy that may be changed; payload is shared. Field by field: twice to ten times as fast as copy.copy."""
        twin = type(self)()
        twin.src = self.src
        twin.dst = self.dst
        twin.proto = self.proto
        twin.ttl = self.ttl
        twin.tos = self.tos
        twin.ident = self.ident
        twin.dont_fragment = self.dont_fragment
        twin.more_fragments = self.more_fragments
        twin.fragment_offset = self.fragment_offset
        twin.flow_label = self.flow_label
        twin.why = self.why
        twin.uid = self.uid
        twin.flow = self.flow
        twin.sport = self.sport
        twin.dport = self.dport
        twin.seq = self.seq
        twin.ack = self.ack
        twin.flags = self.flags
        twin.window = self.window
        twin.urgent = self.urgent
        twin.payload = self.payload
        twin.length = self.length
        twin.gso_size = self.gso_size
        twin.mss = self.mss
        twin.wscale = self.wscale
        twin.sack_permitted = self.sack_permitted
        twin.has_ts = self.has_ts
        twin.tsval = self.tsval
        twin.tsecr = self.tsecr
        twin.sacks = self.sacks
        twin.fast_open = self.fast_open
        twin.fast_open_exp = self.fast_open_exp
        twin.other_options = self.other_options
        twin.raw_options = self.raw_options
        return twin

    @property
    def seq_len(self) -> i64:
        """SEG.LEN: payload octets plus one each for SYN and FIN (RFC 9293 section 3.4)."""
        return self.length + ((self.flags >> 1) & 1) + (self.flags & 1)

    @property
    def reply_flow(self) -> bytes:
        """The flow key of segments in the opposite direction."""
        return make_flow(self.dst, self.src, self.dport, self.sport)


@mypyc_attr(acyclic=True)
class Datagram(Packet):
    """A UDP datagram."""

    sport: i64 = 0
    dport: i64 = 0
    payload: Buffer = b""
    no_checksum: bool = False
    """The checksum field was 0: the sender computed none (IPv4 only)."""
    gso_size: i64 = 0
    """Payload octets per datagram of a super-datagram (UDP_SEGMENT); 0 for a plain one."""


@mypyc_attr(acyclic=True)
class IcmpMessage(Packet):
    """An ICMPv4 or ICMPv6 message; types and codes are those of the packet's own IP version."""

    type: i64 = 0
    code: i64 = 0
    rest: i64 = 0
    """The 32 bits behind the checksum: echo id << 16 | sequence, next-hop MTU, parameter pointer."""
    payload: Buffer = b""
    """Echo data, or for an error the start of the packet that caused it."""


def make_flow(src: bytes, dst: bytes, sport: i64, dport: i64) -> bytes:
    """The demux key of segments from src:sport to dst:dport: the bytes as they stand in the headers."""
    ports: int = sport << 16 | dport
    return src + dst + ports.to_bytes(4, "big")


def remote_end(flow: bytes) -> bytes:
    """The sender's address in a demux key."""
    return flow[:4] if len(flow) == 12 else flow[:16]


def local_end(flow: bytes) -> bytes:
    """The receiver's address in a demux key."""
    return flow[4:8] if len(flow) == 12 else flow[16:32]


def port_at(flow: bytes, back: i64) -> i64:
    """A port in a demux key, so many octets before its end: 4 for the sender's, 2 for the receiver's."""
    start: i64 = len(flow) - back
    high: i64 = flow[start]
    low: i64 = flow[start + 1]
    return high << 8 | low


def reversed_flow(flow: bytes) -> bytes:
    """The demux key of what goes the other way."""
    return local_end(flow) + remote_end(flow) + flow[-2:] + flow[-4:-2]
