"""Writing pcapng, and reading pcapng and classic pcap.

Written files have one interface per host or link, nanosecond times and a comment per
packet. Format: draft-ietf-opsawg-pcapng; link types: the tcpdump.org registry.
"""

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, NamedTuple

from timewait.base.errors import WireError
from timewait.base.ints import i64
from timewait.wire.packet import Buffer

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
OLD_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
ENHANCED_PACKET: Final = 6
MAGIC: Final = 0x1A2B3C4D

OPT_END: Final = 0
OPT_COMMENT: Final = 1
OPT_USERAPPL: Final = 4
OPT_IF_NAME: Final = 2
OPT_IF_DESCRIPTION: Final = 3
OPT_IF_TSRESOL: Final = 9
OPT_IF_TSOFFSET: Final = 14
OPT_EPB_FLAGS: Final = 2

INBOUND: Final = 1
OUTBOUND: Final = 2

LINKTYPE_NULL: Final = 0
LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
LINKTYPE_LOOP: Final = 108
LINKTYPE_LINUX_SLL: Final = 113
LINKTYPE_IPV4: Final = 228
LINKTYPE_IPV6: Final = 229
LINKTYPE_LINUX_SLL2: Final = 276
_RAW_TYPES: Final = frozenset({LINKTYPE_RAW, 12, 14, LINKTYPE_IPV4, LINKTYPE_IPV6})
"""12 and 14 are what some BSDs write for RAW."""

MAX_BLOCK: Final = 16 * 1024 * 1024
"""No block of a sane file is longer (Wireshark's limit); a longer one means a damaged file."""

_BLOCK_HEAD: Final = Struct("<II")
_SECTION_BODY: Final = Struct("<IHHq")
_INTERFACE_BODY: Final = Struct("<HHI")
_PACKET_BODY: Final = Struct("<IIIII")
_OPTION: Final = Struct("<HH")
_LENGTH: Final = Struct("<I")


class Captured(NamedTuple):
    """One packet out of a capture."""

    time_ns: int
    """Nanoseconds since 1970, or since whatever the writer counts from."""
    interface: str
    """The interface's name, else 'if0', 'if1', ... by number."""
    data: bytes
    """The IP datagram; where the capture cut it short, filled up with zeros to its length."""
    comment: str
    complete: bool = True
    """False when the capture kept only the start: do not verify checksums then."""


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + value + bytes(-len(value) % 4)


def _text(value: str, limit: int = 65535) -> bytes:
    """UTF-8, cut at a character so that it fits an option's 16-bit length."""
    return value.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return _BLOCK_HEAD.pack(kind, size) + body + _LENGTH.pack(size)


class PcapngWriter:
    """Writes one section to a binary file object, packet by packet; the caller owns the file."""

    def __init__(self, out: BinaryIO, application: str = "timewait", comment: str = "") -> None:
        self.out = out
        self.interfaces: list[str] = []
        options = _option(OPT_COMMENT, _text(comment)) if comment else b""
        options += _option(OPT_USERAPPL, _text(application)) + _option(OPT_END, b"")
        out.write(_block(SECTION, _SECTION_BODY.pack(MAGIC, 1, 0, -1) + options))

    def add_interface(self, name: str, description: str = "", linktype: int = LINKTYPE_RAW) -> int:
        """Declare an interface (times in ns) and return its number for write()."""
        options = _option(OPT_IF_NAME, _text(name))
        if description:
            options += _option(OPT_IF_DESCRIPTION, _text(description))
        options += _option(OPT_IF_TSRESOL, b"\x09") + _option(OPT_END, b"")
        self.out.write(_block(INTERFACE, _INTERFACE_BODY.pack(linktype, 0, 0) + options))
        self.interfaces.append(name)
        return len(self.interfaces) - 1

    def write(self, time_ns: i64, interface: int, data: Buffer, comment: str = "", direction: int = 0) -> None:
        """One packet: time >= 0 in ns, direction INBOUND, OUTBOUND or 0 for unknown."""
        assert 0 <= interface < len(self.interfaces), "add_interface() comes first"
        size = len(data)
        options = b""
        if comment:
            options += _option(OPT_COMMENT, _text(comment))
        if direction:
            options += _option(OPT_EPB_FLAGS, _LENGTH.pack(direction))
        if options:
            options += _option(OPT_END, b"")
        head = _PACKET_BODY.pack(interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
        self.out.write(_block(ENHANCED_PACKET, b"".join((head, data, bytes(-size % 4), options))))


class _Interface:
    """What a reader must know of an interface."""

    def __init__(self, name: str, linktype: int, snaplen: int) -> None:
        self.name = name
        self.linktype = linktype
        self.snaplen = snaplen
        self.ticks = 1_000_000
        """Ticks per second."""
        self.offset = 0
        """Seconds to add."""

    def time(self, ticks: int) -> int:
        return ticks * 1_000_000_000 // self.ticks + self.offset * 1_000_000_000


def read_capture(source: BinaryIO) -> Iterator[Captured]:
    """The IP datagrams of a pcapng or pcap file, in its order; frames of other protocols are skipped.

    A file that ends or breaks in the middle yields what is whole before it raises
    WireError: 'capture-empty', 'capture-format' (no such format), 'capture-truncated',
    'capture-block' (impossible lengths), each with the offset in its text.
    """
    magic = source.read(4)
    if not magic:
        raise WireError("capture-empty", "the file has no bytes")
    if len(magic) == 4:
        if magic == b"\x0a\x0d\x0d\x0a":
            yield from _read_pcapng(source)
            return
        for order in ("<", ">"):
            number = Struct(order + "I").unpack(magic)[0]
            if number in (0xA1B2C3D4, 0xA1B23C4D):
                yield from _read_pcap(source, order, 1000 if number == 0xA1B2C3D4 else 1)
                return
    hint = "; it is compressed: gunzip it first" if magic[:2] == b"\x1f\x8b" else ""
    raise WireError("capture-format", f"neither pcapng nor pcap: starts with {magic.hex()}{hint}")


def _exactly(source: BinaryIO, size: int, at: int, what: str) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise WireError("capture-truncated", f"the file ends inside {what} at offset {at}")
    return data


def _read_pcap(source: BinaryIO, order: str, unit: int) -> Iterator[Captured]:
    head = _exactly(source, 20, 0, "the file header")
    linktype = Struct(order + "I").unpack_from(head, 16)[0] & 0x0FFFFFFF
    record = Struct(order + "IIII")
    at = 24
    while True:
        start = source.read(16)
        if not start:
            return
        if len(start) < 16:
            raise WireError("capture-truncated", f"the file ends inside a packet's header at offset {at}")
        sec, fraction, size, original = record.unpack(start)
        if size > MAX_BLOCK:
            raise WireError("capture-block", f"a packet of {size} octets at offset {at}")
        frame = _exactly(source, size, at, "a packet")
        at += 16 + size
        data = ip_datagram(linktype, frame)
        if data is not None:
            yield _captured(sec * 1_000_000_000 + fraction * unit, "if0", data, "", original > size)


def _captured(time_ns: int, name: str, data: bytes, comment: str, cut: bool) -> Captured:
    if cut:
        missing = _announced(data) - len(data)
        return Captured(time_ns, name, data + bytes(max(0, missing)), comment, missing <= 0)
    return Captured(time_ns, name, data, comment)


def _announced(data: bytes) -> int:
    """The length that the datagram's own header gives; 0 where even that is cut off."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return data[2] << 8 | data[3]
    if len(data) >= 40 and data[0] >> 4 == 6:
        return 40 + (data[4] << 8 | data[5])
    return 0


def _read_pcapng(source: BinaryIO) -> Iterator[Captured]:
    order = "<"
    interfaces: list[_Interface] = []
    at = 0
    kind_bytes = b"\x0a\x0d\x0d\x0a"
    while kind_bytes:
        if len(kind_bytes) < 4:
            raise WireError("capture-truncated", f"the file ends inside a block's header at offset {at}")
        size_bytes = _exactly(source, 4, at, "a block's header")
        lead = b""
        if kind_bytes == b"\x0a\x0d\x0d\x0a":
            # A section's byte order shows in the magic behind its length.
            lead = _exactly(source, 4, at, "a section header")
            order = "<" if Struct("<I").unpack(lead)[0] == MAGIC else ">"
            if Struct(order + "I").unpack(lead)[0] != MAGIC:
                raise WireError("capture-format", f"no byte-order magic at offset {at}")
            interfaces = []
        kind = Struct(order + "I").unpack(kind_bytes)[0]
        size = Struct(order + "I").unpack(size_bytes)[0]
        if size < 12 + len(lead) or size % 4 or size > MAX_BLOCK:
            raise WireError("capture-block", f"a block of {size} octets at offset {at}")
        body = lead + _exactly(source, size - 12 - len(lead), at, "a block")
        if _exactly(source, 4, at, "a block") != size_bytes:
            raise WireError("capture-block", f"the two lengths of a block differ at offset {at}")
        if kind == INTERFACE:
            interfaces.append(_read_interface(body, order, len(interfaces), at))
        elif kind in (ENHANCED_PACKET, SIMPLE_PACKET, OLD_PACKET):
            found = _read_packet(kind, body, order, interfaces, at)
            if found is not None:
                yield found
        at += size
        kind_bytes = source.read(4)


def _options(body: bytes, at: int, order: str) -> list[tuple[int, bytes]]:
    """The options at the end of a block; a broken list ends where it breaks."""
    found: list[tuple[int, bytes]] = []
    head = Struct(order + "HH")
    while at + 4 <= len(body):
        code, size = head.unpack_from(body, at)
        if code == OPT_END or at + 4 + size > len(body):
            break
        found.append((code, body[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return found


def _read_interface(body: bytes, order: str, number: int, at: int) -> _Interface:
    if len(body) < 8:
        raise WireError("capture-block", f"an interface block too short at offset {at}")
    linktype, _, snaplen = Struct(order + "HHI").unpack_from(body)
    found = _Interface(f"if{number}", linktype, snaplen)
    for code, value in _options(body, 8, order):
        if code == OPT_IF_NAME:
            found.name = value.decode("utf-8", "replace")
        elif code == OPT_IF_TSRESOL and len(value) == 1:
            exponent = value[0] & 0x7F
            found.ticks = 1 << exponent if value[0] & 0x80 else int(10**exponent)
        elif code == OPT_IF_TSOFFSET and len(value) == 8:
            found.offset = Struct(order + "q").unpack(value)[0]
    return found


def _read_packet(kind: int, body: bytes, order: str, interfaces: list[_Interface], at: int) -> Captured | None:
    """The datagram in a packet block; None when the frame holds none."""
    fixed = 4 if kind == SIMPLE_PACKET else 20
    if len(body) < fixed:
        raise WireError("capture-block", f"a packet block too short at offset {at}")
    ticks = 0
    number = 0
    if kind == SIMPLE_PACKET:
        original = Struct(order + "I").unpack_from(body)[0]
        size = min(original, len(body) - 4)
        if interfaces and interfaces[0].snaplen:
            size = min(size, interfaces[0].snaplen)
    else:
        number, high, low, size, original = Struct(order + "IIIII").unpack_from(body)
        if kind == OLD_PACKET:
            # Its second half word counts drops, where the newer block has a wider number.
            number = Struct(order + "H").unpack_from(body)[0]
        ticks = high << 32 | low
    if number >= len(interfaces):
        raise WireError("capture-block", f"a packet of undeclared interface {number} at offset {at}")
    if fixed + size > len(body):
        raise WireError("capture-block", f"a packet longer than its block at offset {at}")
    interface = interfaces[number]
    data = ip_datagram(interface.linktype, body[fixed : fixed + size])
    if data is None:
        return None
    comments: list[str] = []
    if kind != SIMPLE_PACKET:
        for code, value in _options(body, fixed + size + -size % 4, order):
            if code == OPT_COMMENT:
                comments.append(value.decode("utf-8", "replace"))
    return _captured(interface.time(ticks), interface.name, data, "\n".join(comments), original > size)


def ip_datagram(linktype: int, frame: bytes) -> bytes | None:
    """The IP datagram in a link-layer frame (padding may follow it); None when there is none."""
    if linktype in _RAW_TYPES:
        at = 0
    elif linktype == LINKTYPE_ETHERNET:
        at = 14
        while frame[at - 2 : at] in (b"\x81\x00", b"\x88\xa8") and at < 14 + 4 * 4:
            at += 4
        if frame[at - 2 : at] not in (b"\x08\x00", b"\x86\xdd"):
            return None
    elif linktype == LINKTYPE_LINUX_SLL:
        at = 16
        if frame[14:16] not in (b"\x08\x00", b"\x86\xdd"):
            return None
    elif linktype == LINKTYPE_LINUX_SLL2:
        at = 20
        if frame[0:2] not in (b"\x08\x00", b"\x86\xdd"):
            return None
    elif linktype in (LINKTYPE_NULL, LINKTYPE_LOOP):
        at = 4
    else:
        return None
    if len(frame) <= at or frame[at] >> 4 not in (4, 6):
        return None
    return frame[at:]
