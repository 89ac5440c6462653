"""Every construct of the language, as a node; and what is refused, with its place."""

import pytest

from timewait.drill.lexer import ScriptError
from timewait.drill.nodes import (
    Apply,
    Call,
    Code,
    Command,
    Ellipsis_,
    IcmpPacket,
    List,
    Number,
    Or,
    Struct,
    Symbol,
    TcpPacket,
    Text,
    UdpPacket,
)
from timewait.drill.parser import parse
from timewait.wire.packet import ACK, CWR, ECE, FIN, PSH, SYN, URG

S = 1_000_000_000
CALL = "0 close(3) = 0\n"


def event(text):
    return parse("0 close(3) = 0\n+0 " + text).events[1]


def packet(text) -> TcpPacket:
    found = event(text)
    assert isinstance(found, TcpPacket)
    return found


def call(text) -> Call:
    found = event(text)
    assert isinstance(found, Call)
    return found


# The file


def test_options_init_events_and_cleanup():
    script = parse(
        "// words\n--tolerance_usecs=9000\n--strict_segments\n`one`\n/* more */ 0 close(3) = 0\n+1 `two`\n`three`"
    )
    assert [(name, value) for name, value, _ in script.options] == [
        ("tolerance_usecs", "9000"),
        ("strict_segments", ""),
    ]
    assert script.init is not None and script.init.text == "one"
    assert [type(event) for event in script.events] == [Call, Command]
    assert script.cleanup is not None and script.cleanup.text == "three"
    assert (script.events[0].place.line, script.events[0].place.column) == (5, 12)


def test_defines_replace_bare_words():
    text = '-D SIZE=20\n--define=NAME="tun0"\n0 write(3, ..., SIZE) = WANTED\n+0 open(NAME, FLAGS) = 4'
    first, second = parse(text, defines={"WANTED": "0x14", "FLAGS": "O_RDONLY"}).events
    assert isinstance(first, Call) and isinstance(second, Call)
    assert first.arguments[2] == Number(20) and first.result == Number(20)
    assert second.arguments == (Text("tun0"), Symbol("O_RDONLY"))


def test_a_define_from_outside_wins():
    (event,) = parse("-D N=1\n0 close(N) = 0", defines={"N": "7"}).events
    assert isinstance(event, Call) and event.arguments == (Number(7),)


def test_a_define_may_be_a_command_and_a_cookie():
    script = parse(
        "0 SETUP\n+0 < S 0:0(0) win 1 <FO COOKIE,nop,nop>", defines={"SETUP": "`sysctl x`", "COOKIE": "0a0b0c0d"}
    )
    assert isinstance(script.events[0], Command) and script.events[0].text == "sysctl x"
    syn = script.events[1]
    assert isinstance(syn, TcpPacket) and syn.options is not None and syn.options[0].data == bytes.fromhex("0a0b0c0d")


# Times


@pytest.mark.parametrize(
    "text, start, relative",
    [
        ("1.25", 5 * S // 4, False),
        ("+.02", S // 50, True),
        ("+ .02", S // 50, True),
        ("+3", 3 * S, True),
        ("7.", 7 * S, False),
    ],
)
def test_times(text, start, relative):
    when = parse(f"{CALL}{text} close(3) = 0").events[1].when
    assert (when.start, when.relative, when.end, when.blocking) == (start, relative, None, False)


def test_ranges_for_expected_packets():
    relative = parse(f"{CALL}+.01~+.03 > . 1:1(0) ack 1").events[1].when
    assert (relative.start, relative.end, relative.relative) == (S // 100, 3 * S // 100, True)
    absolute = parse(f"{CALL}.1~.3 > . 1:1(0) ack 1").events[1].when
    assert (absolute.start, absolute.end, absolute.relative) == (S // 10, 3 * S // 10, False)
    assert parse(f"{CALL}* > . 1:1(0) ack 1").events[1].when.any_time


@pytest.mark.parametrize("text, relative", [("+0...0.200", True), ("1.0...6.0", False), ("+.1...+.2", True)])
def test_blocking_calls(text, relative):
    when = parse(f"{CALL}{text} read(4, ..., 10) = 10").events[1].when
    assert when.blocking and when.relative is relative and when.end is not None and when.end > when.start


@pytest.mark.parametrize(
    "text, words",
    [
        ("1 close(3) = 0", "first event must be at time 0"),
        ("0 close(3) = 0\n2 close(3) = 0\n1 close(3) = 0", "time goes backwards"),
        ("0 close(3) = 0\n+.1~+.2 close(3) = 0", "expected packet"),
        ("0 close(3) = 0\n* < . 1:1(0) ack 1 win 1", "any time"),
        ("0 close(3) = 0\n+.2~+.1 > . 1:1(0)", "ends before it begins"),
        ("0 close(3) = 0\n+.2~.1 > . 1:1(0)", "both ends"),
        ("0 close(3) = 0\n+0...1 > . 1:1(0)", "only a system call"),
        ("", "no event"),
    ],
)
def test_times_that_are_refused(text, words):
    with pytest.raises(ScriptError, match=words):
        parse(text)


# Calls


def test_arguments():
    found = call(
        'ioctl(3, SIOCINQ|FIONBIO, [1], "a" "b", 0x1F, -1, NULL, ..., ~1, 1 << 4) = -1 EAGAIN (Resource (try) again)'
    )
    assert found.arguments == (
        Number(3), Or((Symbol("SIOCINQ"), Symbol("FIONBIO"))), List((Number(1),)), Text("ab"), Number(31), Number(-1),
        Symbol("NULL"), Ellipsis_(), Apply("~", (Number(1),)), Number(16),
    )  # fmt: skip
    assert (found.result, found.errno, found.note) == (Number(-1), "EAGAIN", "Resource (try) again")


def test_results():
    assert call("fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)").result == Number(2)
    assert call("read(3, ..., 1) = ?").result is None


def test_structs():
    found = call("poll([{fd=3, events=POLLIN, revents=0}, {fd=4, events=POLLOUT}], 2, 0) = 1").arguments[0]
    assert isinstance(found, List) and len(found.items) == 2
    first = found.items[0]
    assert isinstance(first, Struct) and [member.name for member in first.members] == ["fd", "events", "revents"]


def test_messages():
    found = call(
        "recvmsg(3, {msg_name(...)=..., msg_iov(2)=[{..., 10}, {..., 20}], msg_flags=MSG_EOR,"
        " msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=4},"
        " {cmsg_level=SOL_SOCKET, cmsg_type=SCM_TIMESTAMPING, cmsg_data={scm_sec=0,scm_nsec=5}}]}, 0) = 30"
    ).arguments[1]
    assert isinstance(found, Struct)
    assert [member.name for member in found.members] == ["msg_name", "msg_iov", "msg_flags", "msg_control"]
    assert found.members[1].size == Number(2)


def test_addresses():
    found = call('bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.1")}, 16) = 0').arguments[
        1
    ]
    assert isinstance(found, Struct) and found.get("sin_port") == Apply("htons", (Number(80),))


@pytest.mark.parametrize(
    "text, words",
    [
        ("close(3)", "expected '='"),
        ("close 3 = 0", "expected '\\('"),
        ("close(3 4) = 0", "expected '\\)'"),
        ("poll({POLLIN 3}, 1, 0) = 0", "in a struct"),
        ("clse(3) = 0", "unknown system call clse"),
        (
            "setsockopt(3, SOL_SOCKET, SO_REUSEADR, [1], 4) = 0",
            "unknown symbol 'SO_REUSEADR'; did you mean SO_REUSEADDR",
        ),
        ("close(3) = -1 EBADFF (x)", "unknown symbol 'EBADFF'"),
        ("close(3) = -1 EBADF (never closed", "closing"),
        ("`never closed", "closing"),
        ("%{ never closed", "closing"),
        ("&", "expected"),
    ],
)
def test_calls_that_are_refused(text, words):
    with pytest.raises(ScriptError, match=words):
        event(text)


def test_nested_structs_are_bounded():
    with pytest.raises(ScriptError, match="levels"):
        event("close(" + "{" * 60 + "1" + "}" * 60 + ") = 0")


def test_code_and_commands_span_lines():
    found = event("%{\nassert 1\nassert 2 }%")
    assert isinstance(found, Code) and found.text == "\nassert 1\nassert 2 "
    found = event("`sysctl a=1\nsysctl b=2`")
    assert isinstance(found, Command) and found.text == "sysctl a=1\nsysctl b=2"


# Packets


def test_a_packet_with_everything():
    found = packet("< [ect0] 5000 > 8080 FP.U 1:101(100) ack 5 win 600 urg 3 <nop,nop,TS val 4 ecr 5>")
    assert found.inbound and found.ports == (5000, 8080) and found.ip.ecn == "ect0"
    assert found.flags == FIN | PSH | ACK | URG
    assert (found.seq, found.length, found.ack, found.window, found.urgent) == (1, 100, 5, 600, 3)
    assert found.options is not None and [option.kind for option in found.options] == ["nop", "nop", "TS"]


@pytest.mark.parametrize(
    "text, flags, ace",
    [
        ("SEW", SYN | ECE | CWR, -1), ("S.", SYN | ACK, -1), ("-", 0, -1), (".", ACK, -1), ("5.", ACK, 5),
        ("P0.", PSH | ACK, 0), ("SFE.", SYN | FIN | ECE | ACK, -1),
    ],
)  # fmt: skip
def test_flags(text, flags, ace):
    found = packet(f"> {text} 0:0(0)")
    assert (found.flags, found.ace) == (flags, ace)


def test_ack_is_0_where_it_is_missing():
    assert packet("< . 1:1(0) win 5").ack is None


@pytest.mark.parametrize(
    "text, kind, numbers, data",
    [
        ("mss 1460", "mss", (1460,), None), ("wscale 8", "wscale", (8,), None), ("sackOK", "sackOK", (), None),
        ("sack 1:2 3:4", "sack", (1, 2, 3, 4), None), ("TS val 1 ecr 2", "TS", (1, 2), None), ("eol", "eol", (), None),
        ("FO", "FO", (), b""), ("FO 0a0b", "FO", (), b"\x0a\x0b"), ("FOEXP 0a0b", "FOEXP", (), b"\x0a\x0b"),
        ("md5 00112233445566778899aabbccddeeff", "md5", (), bytes.fromhex("00112233445566778899aabbccddeeff")),
        ("md5 valid", "md5", (), None), ("ECN e0b 1 ceb 2 e1b 3", "ECN", (0, 1, 2, 3), None),
        ("ECN e1b 3 ceb 2", "ECN", (1, 3, 2), None),
    ],
)  # fmt: skip
def test_options(text, kind, numbers, data):
    options = packet(f"< . 1:1(0) ack 1 win 5 <{text}>").options
    assert options is not None
    assert (options[0].kind, options[0].numbers, options[0].data) == (kind, numbers, data)


def test_no_options_and_any_options():
    assert packet("> . 1:1(0) ack 1").options == []
    assert packet("> . 1:1(0) ack 1 <>").options == []
    assert packet("> . 1:1(0) ack 1 <...>").options is None


def test_what_follows_a_packet_without_options_is_the_next_event():
    script = parse("0 > . 1:1(0) ack 1\n+0 < . 1:1(0) ack 1 win 5\n+0 < icmp unreachable [1:1(0)]")
    assert len(script.events) == 3


@pytest.mark.parametrize(
    "text, field, value", [("(tos 0x10)", "tos", 16), ("(ttl 3)", "ttl", 3), ("(flowlabel 0x1)", "flow_label", 1)]
)
def test_ip_details(text, field, value):
    assert getattr(packet(f"> {text} . 1:1(0) ack 1").ip, field) == value


@pytest.mark.parametrize("word", ["noecn", "ect0", "ect1", "ect01", "ce"])
def test_ecn_words(word):
    assert packet(f"> [{word}] . 1:1(0) ack 1").ip.ecn == word


def test_udp():
    found = event("> udp (100)")
    assert isinstance(found, UdpPacket) and found.length == 100 and not found.inbound


def test_icmp():
    found = event("< icmp unreachable frag_needed mtu 900 [1:901(900)]")
    assert isinstance(found, IcmpPacket)
    assert (found.type_name, found.code_name, found.mtu, found.quote) == ("unreachable", "frag_needed", 900, (1, 900))
    found = event("< icmp packet_too_big mtu 1280 [1:1(0)]")
    assert isinstance(found, IcmpPacket) and found.code_name == "" and found.mtu == 1280
    found = event("< icmp type_3 code_1")
    assert isinstance(found, IcmpPacket) and (found.type_name, found.code_name) == ("type_3", "code_1")


@pytest.mark.parametrize(
    "text, words",
    [
        ("< . 1:2(0) ack 1 win 1", "is not the start"),
        ("< . 1:1(0) ack 1", "needs its window"),
        ("< . 1:1(0) ack 1 win 70000", "16 bits"),
        ("< . 1:1(0) ack 1 win 1 <...>", "needs its options"),
        ("< . 1:1(0) ack 1 win 1 <what>", "expected an option"),
        ("< . 1:1(0) ack 1 win 1 <FO abc>", "two digits"),
        ("< . 1:1(0) ack 1 win 1 <sack>", "blocks"),
        ("> Z 1:1(0)", "expected flags"),
        ("> E5. 1:1(0)", "one digit"),
        ("> (what 1) . 1:1(0)", "tos N"),
        ("> 70000 > 1 . 1:1(0)", "port"),
        ("< ...(0) ack 1 win 1", "expected flags"),
        ("< icmp nonsense", "unknown ICMP type"),
        ("< icmp unreachable nonsense", "unknown code"),
    ],
)
def test_packets_that_are_refused(text, words):
    with pytest.raises(ScriptError, match=words):
        event(text)


def test_an_error_names_its_place_and_shows_it():
    with pytest.raises(ScriptError) as caught:
        parse("0 close(3) = 0\n+0 > . 1:1(0) ack\n", "some.pkt")
    assert (caught.value.line, caught.value.path) == (3, "some.pkt")
    with pytest.raises(ScriptError) as caught:
        parse("0 close(3) = 0\n   +0 > Q 1:1(0)", "some.pkt")
    assert (caught.value.line, caught.value.column) == (2, 9)
    assert str(caught.value).endswith("   +0 > Q 1:1(0)\n            ^")
