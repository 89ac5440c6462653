"""Packets in a script: TCP with flags, numbers and options; UDP; ICMP with what it quotes."""

import re
from typing import Final

from timewait.drill.lexer import Lexer
from timewait.drill.nodes import Event, IcmpPacket, IpInfo, Option, Place, TcpPacket, UdpPacket, When
from timewait.wire.packet import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG

FLAG_LETTERS: Final = {"F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR, "A": AE}
ECN_WORDS: Final = ("noecn", "ect0", "ect1", "ect01", "ce")
MAX_LENGTH: Final = 1 << 30

_PORTS: Final = re.compile(r"(\d+)\s*>\s*(\d+)(?=\s)")
_FLAGS: Final = re.compile(r"-(?=\s)|(?:[FSRPUEWA]|\.(?!\.)|[0-7](?=[.\sFSRPU]))+(?=\s)")
_RANGE: Final = re.compile(r"(\d+)\s*:\s*(\d+)\s*\(\s*(\d+)\s*\)(!)?")
_ANY_RANGE: Final = re.compile(r"\.\.\.\s*\(\s*(\d+)\s*\)")
_HEX: Final = re.compile(r"(?:0x)?([0-9a-fA-F]+)(?![\w])")
_UDP_SUFFIX: Final = re.compile(r"/\s*udp\s*\(\s*(\d+)\s*>\s*(\d+)\s*\)")


def parse_packet(lexer: Lexer, when: When, place: Place) -> Event:
    """Behind the time: direction, IP details, then TCP, `udp (n)` or `icmp ...`."""
    inbound = lexer.accept("<")
    if not inbound:
        lexer.expect(">")
    ip = _ip_info(lexer)
    word = lexer.peek_word()
    if word == "icmp":
        lexer.word()
        return _icmp(lexer, IcmpPacket(when, place, inbound, "", ip=ip))
    ports = _ports(lexer)
    if lexer.peek_word() == "udp":
        lexer.word()
        lexer.expect("(", "and the datagram's length")
        length = lexer.integer("the datagram's length")
        lexer.expect(")")
        return UdpPacket(when, place, inbound, length, ip, ports)
    packet = TcpPacket(when, place, inbound, 0, ip=ip, ports=ports)
    _flags(lexer, packet)
    _numbers(lexer, packet)
    _fields(lexer, packet)
    return packet


def _ports(lexer: Lexer) -> tuple[int, int] | None:
    found = lexer.match(_PORTS)
    if found is None:
        return None
    ports = int(found.group(1)), int(found.group(2))
    if max(ports) > 65535:
        raise lexer.error("a port beyond 65535", found.start())
    return ports


def _ip_info(lexer: Lexer) -> IpInfo:
    """`[ect0]`, `(tos 0x10)`, `(ttl 3, ce)`, as many as there are."""
    info = IpInfo()
    while True:
        if lexer.accept("["):
            closing = "]"
        elif lexer.accept("("):
            closing = ")"
        else:
            return info
        while not lexer.accept(closing):
            _ip_word(lexer, info)
            lexer.accept(",")


def _ip_word(lexer: Lexer, info: IpInfo) -> None:
    begin = lexer.at
    word = lexer.word()
    if word in ECN_WORDS:
        info.ecn = word
    elif word in ("tos", "class"):
        info.tos = lexer.integer("the type of service")
    elif word in ("ttl", "hlim"):
        info.ttl = lexer.integer("the time to live")
    elif word == "flowlabel":
        info.flow_label = lexer.integer("the flow label")
    else:
        raise lexer.error(
            f"expected tos N, ttl N, flowlabel N or one of {', '.join(ECN_WORDS)}; found {word or lexer.found()}", begin
        )


def _flags(lexer: Lexer, packet: TcpPacket) -> None:
    begin = lexer.at
    found = lexer.match(_FLAGS)
    if found is None:
        raise lexer.error(f"expected flags (letters of FSRPUEWA, '.' for ACK, or '-'), found {lexer.found()}")
    text = found.group()
    digits = [letter for letter in text if letter.isdigit()]
    if len(digits) > 1 or (digits and set("EWA") & set(text)):
        raise lexer.error("one digit 0-7 is the accurate-ECN counter; it stands instead of E, W and A", begin)
    for letter in text:
        if letter in FLAG_LETTERS:
            packet.flags |= FLAG_LETTERS[letter]
    if digits:
        packet.ace = int(digits[0])


def _numbers(lexer: Lexer, packet: TcpPacket) -> None:
    loose = lexer.match(_ANY_RANGE)
    if loose is not None:
        if packet.inbound:
            raise lexer.error("a packet to inject needs its sequence number", loose.start())
        packet.any_seq = True
        packet.length = int(loose.group(1))
        return
    found = lexer.match(_RANGE)
    if found is None:
        raise lexer.error(f"expected START:END(LENGTH), as in 1:1001(1000); found {lexer.found()}")
    start, end, length = (int(group) for group in found.groups()[:3])
    if length > MAX_LENGTH or max(start, end) > 0xFFFFFFFF:
        raise lexer.error("a sequence number beyond 32 bits", found.start())
    if (start + length) & 0xFFFFFFFF != end:
        raise lexer.error(f"the end {end} is not the start {start} plus the length {length}", found.start())
    packet.seq, packet.length = start, length
    packet.absolute = found.group(4) is not None


def _fields(lexer: Lexer, packet: TcpPacket) -> None:
    if _keyword(lexer, "ack"):
        packet.ack = lexer.integer("the acknowledgment number") & 0xFFFFFFFF
    if _keyword(lexer, "win"):
        packet.window = lexer.integer("the window")
        if packet.window > 0xFFFF:
            raise lexer.error(f"the window field has 16 bits, {packet.window} does not fit; the script's is not scaled")
    elif packet.inbound:
        raise lexer.error(f"expected 'win N': a packet to inject needs its window; found {lexer.found()}")
    if _keyword(lexer, "urg"):
        packet.urgent = lexer.integer("the urgent pointer")
    if lexer.peek("<") and not re.compile(r"<\s*(?:\(|\[|[FSRPUEWA.\-0-7]+\s|icmp)").match(lexer.text, lexer.at):
        _options(lexer, packet)
    encapsulated = lexer.match(_UDP_SUFFIX)
    if encapsulated is not None:
        packet.extra["udp_sport"], packet.extra["udp_dport"] = (int(group) for group in encapsulated.groups())


def _keyword(lexer: Lexer, word: str) -> bool:
    if lexer.peek_word() != word:
        return False
    lexer.word()
    return True


def _options(lexer: Lexer, packet: TcpPacket) -> None:
    lexer.expect("<")
    if lexer.accept("..."):
        if packet.inbound:
            raise lexer.error("a packet to inject needs its options, or <> for none")
        lexer.expect(">")
        packet.options = None
        return
    found: list[Option] = []
    while not lexer.accept(">"):
        found.append(_option(lexer))
        if not lexer.accept(",") and not lexer.peek(">"):
            raise lexer.error(f"expected ',' or '>' behind an option, found {lexer.found()}")
    packet.options = found


def _option(lexer: Lexer) -> Option:
    begin = lexer.at
    word = lexer.word()
    if word in ("nop", "eol", "sackOK"):
        return Option(word)
    if word in ("mss", "wscale"):
        return Option(word, (lexer.integer(f"the value of {word}"),))
    if word == "TS":
        numbers = []
        for name in ("val", "ecr"):
            if not _keyword(lexer, name):
                raise lexer.error(f"expected TS val N ecr N, found {lexer.found()}")
            numbers.append(lexer.integer(f"TS {name}"))
        return Option(word, tuple(numbers))
    if word == "sack":
        return Option(word, _blocks(lexer))
    if word in ("FO", "FOEXP"):
        return Option(word, (), _hex(lexer))
    if word in ("md5", "md5sig"):
        if lexer.peek_word() == "valid":
            lexer.word()
            return Option("md5", (), None)
        return Option("md5", (), _hex(lexer) or bytes(16))
    if word == "ECN":
        return Option(word, _counters(lexer))
    raise lexer.error(
        "expected an option: mss N, wscale N, sackOK, sack A:B, TS val N ecr N, nop, eol, FO hex, FOEXP hex, md5 hex,"
        f" ECN e0b N ceb N e1b N; found {word or lexer.found()}",
        begin,
    )


def _blocks(lexer: Lexer) -> tuple[int, ...]:
    numbers: list[int] = []
    block = re.compile(r"(\d+)\s*:\s*(\d+)")
    while True:
        found = lexer.match(block)
        if found is None:
            break
        numbers += [int(found.group(1)), int(found.group(2))]
    if not numbers or len(numbers) > 8:
        raise lexer.error("expected one to four blocks LEFT:RIGHT behind 'sack'")
    return tuple(numbers)


def _hex(lexer: Lexer) -> bytes:
    """A cookie in hexadecimal, or a -D name for one; nothing is an empty one."""
    begin = lexer.at
    replaced = lexer.defines.get(lexer.peek_word())
    if replaced is not None:
        lexer.word()
        text = replaced.strip('"').removeprefix("0x")
    else:
        found = lexer.match(_HEX)
        if found is None:
            return b""
        text = found.group(1)
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise lexer.error("hexadecimal needs two digits for each octet", begin) from None


def _counters(lexer: Lexer) -> tuple[int, ...]:
    """AccECN: `e0b N ceb N e1b N` (order 0, option 172) or `e1b N ceb N e0b N` (order 1, option 174)."""
    names: list[str] = []
    numbers: list[int] = []
    while lexer.peek_word() in ("e0b", "ceb", "e1b"):
        names.append(lexer.word())
        numbers.append(lexer.integer(names[-1]))
    order = 1 if names[:1] == ["e1b"] else 0
    if names != ["e1b", "ceb", "e0b"][: len(names)] and names != ["e0b", "ceb", "e1b"][: len(names)]:
        raise lexer.error("the counters are e0b, ceb, e1b in this order or in the opposite one")
    return (order, *numbers)


# ICMP


def _icmp(lexer: Lexer, packet: IcmpPacket) -> IcmpPacket:
    packet.type_name = lexer.word()
    if not packet.type_name:
        raise lexer.error(
            f"expected the ICMP type, as in 'icmp unreachable frag_needed mtu 1200'; found {lexer.found()}"
        )
    from timewait.drill.icmp_names import check_names

    if lexer.peek_word() not in ("", "mtu", "id"):
        packet.code_name = lexer.word()
    problem = check_names(packet.type_name, packet.code_name)
    if problem:
        raise lexer.error(problem)
    while lexer.peek_word() in ("mtu", "id"):
        if lexer.word() == "mtu":
            packet.mtu = lexer.integer("the MTU")
        else:
            packet.ident = lexer.integer("the identifier")
    if lexer.accept("["):
        found = lexer.match(_RANGE)
        if found is None:
            raise lexer.error(f"expected the quoted START:END(LENGTH), found {lexer.found()}")
        packet.quote = int(found.group(1)), int(found.group(3))
        encapsulated = lexer.match(_UDP_SUFFIX)
        if encapsulated is not None:
            packet.extra["udp_sport"], packet.extra["udp_dport"] = (int(group) for group in encapsulated.groups())
        lexer.expect("]")
    return packet
