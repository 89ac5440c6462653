"""Packets picked by words: 'second SYN-ACK', 'every FIN', 'first 3 data from server'.

A sentence is: [which] kind ['of each connection'] ['from' HOST | 'to' HOST], with

- which: 'every' (also 'all', 'any', or nothing), 'first', '2nd', 'every third', 'first 3', '3rd and later'
- kind: 'SYN', 'SYN-ACK', 'ACK' (nothing but an acknowledgment; also 'pure ACK'), 'FIN', 'RST', 'data',
  'segment', 'packet', 'retransmission', 'UDP', 'ICMP', 'fragment', or a reason of `tcp.reasons.Why` such as
  'handshake ACK', 'window probe', 'TLP'; a plural s is ignored.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from timewait.base.errors import UsageError
from timewait.base.ints import i64
from timewait.base.native import mypyc_attr
from timewait.tcp.reasons import Why
from timewait.wire.packet import ACK, FIN, RST, SYN, Datagram, IcmpMessage, Packet, RawPacket, Segment


class Kind(Enum):
    """What sort of packet is meant. The value is the word."""

    SYN = "SYN"
    SYN_ACK = "SYN-ACK"
    ACK = "ACK"
    FIN = "FIN"
    RST = "RST"
    DATA = "data"
    SEGMENT = "segment"
    PACKET = "packet"
    RETRANSMISSION = "retransmission"
    UDP = "UDP"
    ICMP = "ICMP"
    FRAGMENT = "fragment"
    REASON = "reason"


_RETRANSMISSIONS: Final = frozenset((Why.RTO, Why.FAST_RTX, Why.LOST_RTX, Why.TLP, Why.SYN_ACK_AGAIN))


def is_kind(packet: Packet, kind: Kind, why: Why | None = None) -> bool:
    """Whether the packet is of the kind; `why` is the reason Kind.REASON asks for."""
    if kind is Kind.PACKET:
        return True
    if kind is Kind.REASON:
        return packet.why is why
    if kind is Kind.RETRANSMISSION:
        return packet.why in _RETRANSMISSIONS
    if isinstance(packet, Segment):
        return _is_segment_kind(packet, kind)
    if kind is Kind.UDP:
        return isinstance(packet, Datagram)
    if kind is Kind.ICMP:
        return isinstance(packet, IcmpMessage)
    return kind is Kind.FRAGMENT and isinstance(packet, RawPacket) and _is_fragment(packet)


def _is_segment_kind(segment: Segment, kind: Kind) -> bool:
    flags = segment.flags & (SYN | ACK | FIN | RST)
    if kind is Kind.SEGMENT:
        return True
    if kind is Kind.SYN:
        return flags == SYN
    if kind is Kind.SYN_ACK:
        return flags == SYN | ACK
    if kind is Kind.ACK:
        return flags == ACK and segment.length == 0
    if kind is Kind.FIN:
        return flags & FIN != 0
    if kind is Kind.RST:
        return flags & RST != 0
    return kind is Kind.DATA and segment.length > 0


def _is_fragment(packet: Packet) -> bool:
    return packet.more_fragments or packet.fragment_offset > 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Matcher:
    """Picks packets. Asking counts: each packet is shown once."""

    def matches(self, packet: Packet) -> bool:
        """Whether this packet, the next on its way, is meant."""
        raise NotImplementedError


class Predicate(Matcher):
    """Picks what a function says, for all that words do not reach."""

    def __init__(self, function: Callable[[Packet], bool]) -> None:
        self.function = function

    def matches(self, packet: Packet) -> bool:
        return self.function(packet)


class Words(Matcher):
    """Picks by kind and by count; made by `parse_words`.

    Of the packets of its kind, counted from 1, it picks number n with first <= n <= last
    (last 0: no end) where n - first is a multiple of step.
    """

    def __init__(self, kind: Kind, why: Why | None = None) -> None:
        self.kind = kind
        self.why = why
        self.first: i64 = 1
        self.last: i64 = 0
        self.step: i64 = 1
        self.each: bool = False
        """Count for each connection by itself."""
        self.sender: str = ""
        """Only packets this host sends on the link; '' for all."""
        self.receiver: str = ""
        self.seen: i64 = 0
        self.seen_by: dict[bytes, int] = {}

    def matches(self, packet: Packet) -> bool:
        if not is_kind(packet, self.kind, self.why):
            return False
        if self.each:
            key = _connection(packet)
            number: i64 = self.seen_by.get(key, 0) + 1
            self.seen_by[key] = number
        else:
            number = self.seen + 1
        self.seen += 1
        if number < self.first or (self.last and number > self.last):
            return False
        return (number - self.first) % self.step == 0


def _connection(packet: Packet) -> bytes:
    """One key for both directions of a connection."""
    if isinstance(packet, (Segment, Datagram)):
        here = packet.src + int(packet.sport).to_bytes(2, "big")
        there = packet.dst + int(packet.dport).to_bytes(2, "big")
    else:
        here, there = packet.src, packet.dst
    return here + there if here < there else there + here


_ORDINALS: Final = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
    "ninth": 9,
    "tenth": 10,
}
_EVERY: Final = frozenset(("every", "all", "any", "each"))
_KINDS: Final = {
    "syn": Kind.SYN,
    "syn ack": Kind.SYN_ACK,
    "synack": Kind.SYN_ACK,
    "ack": Kind.ACK,
    "pure ack": Kind.ACK,
    "fin": Kind.FIN,
    "rst": Kind.RST,
    "reset": Kind.RST,
    "data": Kind.DATA,
    "data segment": Kind.DATA,
    "segment": Kind.SEGMENT,
    "packet": Kind.PACKET,
    "retransmission": Kind.RETRANSMISSION,
    "udp": Kind.UDP,
    "datagram": Kind.UDP,
    "icmp": Kind.ICMP,
    "fragment": Kind.FRAGMENT,
}
_REASONS: Final = {why.name.lower().replace("_", " "): why for why in Why}


def parse_words(text: str, hosts: tuple[str, ...] = ()) -> Words:
    """The matcher that a sentence describes; `hosts` are the names valid behind 'from' and 'to'.

    UsageError for what it does not understand, listing what is valid.
    """
    rest, sender, receiver = _take_ends(text.strip(), hosts)
    each = False
    for tail in (" of each connection", " of every connection", " per connection"):
        if rest.lower().endswith(tail):
            rest, each = rest[: -len(tail)], True
    words = rest.replace("-", " ").replace("_", " ").split()
    first, last, step, used = _take_which(words)
    kind, why = _kind(" ".join(words[used:]), text)
    matcher = Words(kind, why)
    matcher.first, matcher.last, matcher.step = first, last, step
    matcher.sender, matcher.receiver, matcher.each = sender, receiver, each
    return matcher


def _take_ends(text: str, hosts: tuple[str, ...]) -> tuple[str, str, str]:
    """Split 'from HOST' and 'to HOST' off the end."""
    sender = receiver = ""
    while True:
        found = re.fullmatch(r"(.*\S)\s+(from|to)\s+(\S+)", text, re.IGNORECASE)
        if found is None:
            return text, sender, receiver
        text, word, name = found.groups()
        if hosts and name not in hosts:
            raise UsageError(f"no host {name!r} on this link; there are {', '.join(hosts)}")
        if word.lower() == "from":
            sender = name
        else:
            receiver = name


def _ordinal(word: str) -> int:
    """3 for 'third' and '3rd'; 0 for no ordinal."""
    word = word.lower()
    found = re.fullmatch(r"([1-9][0-9]{0,8})(st|nd|rd|th|\.)", word)
    return int(found[1]) if found else _ORDINALS.get(word, 0)


def _take_which(words: list[str]) -> tuple[int, int, int, int]:
    """(first, last, step, words used) of the leading 'second', 'every 3rd', 'first 5', '2nd and later'."""
    lower = [word.lower() for word in words] + ["", "", ""]
    if lower[0] in _EVERY:
        step = _ordinal(lower[1])
        return (step, 0, step, 2) if step else (1, 0, 1, 1)
    if lower[0] == "first" and lower[1].isdigit() and int(lower[1]) > 0:
        return 1, int(lower[1]), 1, 2
    number = _ordinal(lower[0])
    if not number:
        return 1, 0, 1, 0
    if lower[1] == "and" and lower[2] in ("later", "following", "further"):
        return number, 0, 1, 3
    return number, number, 1, 1


def _kind(name: str, text: str) -> tuple[Kind, Why | None]:
    name = name.lower()
    for word in (name, name.removesuffix("s")):
        if word in _KINDS:
            return _KINDS[word], None
        if word in _REASONS:
            return Kind.REASON, _REASONS[word]
    raise UsageError(
        f"cannot tell which packets {text!r} means."
        f" A sentence is [which] kind [of each connection] [from HOST | to HOST]."
        f" which: every, first, 2nd, every third, first 3, 2nd and later. kind: {', '.join(sorted(_KINDS))};"
        f" or a reason: {', '.join(sorted(_REASONS))}"
    )
