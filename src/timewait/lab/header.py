"""The header's fields: numbers, flags, options, lengths."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT, acknowledgments, open_to_server
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.record.entries import Received, Sent
from timewait.tcp.states import State
from timewait.wire.address import pack
from timewait.wire.packet import ACK, PROTO_TCP, RST, SYN, Segment, make_flow
from timewait.wire.serialize import serialize
from timewait.wire.tcp import header_length

_PUPPET = ("sim", "kernel")


@lab(
    "HDR-01",
    title=T("Sequence numbers count octets", "序号按字节计数"),
    claim=T(
        "Numbers start at a random value carried in the SYN and advance by the octets sent.",
        "序号从 SYN 携带的随机值开始，随发送的字节数增长。",
    ),
    truth="true",
    source="S1; RFC 9293 3.4",
    why=T(
        "Each octet has a number, so the receiver can order what comes and see what is missing. SYN and FIN count as"
        " one octet each.",
        "每个字节都有编号，接收方据此排序并发现缺失。SYN 与 FIN 各算一个字节。",
    ),
    practice=T(
        "A capture tool shows relative numbers; raw ones differ in each connection.",
        "抓包工具显示相对序号；原始值每个连接都不同。",
    ),
    on=ANYWHERE,
)
def numbers_count_octets(bench: Bench) -> Verdict:
    pair = bench.open()
    for size in (10, 20):
        pair.client.send(pair.cfd, b"x" * size)
        bench.run(200 * MSEC)
    pair.client.close(pair.cfd)
    bench.run(200 * MSEC)
    taken = [entry for entry in bench.sent("client") if segment(entry).seq_len]
    numbers = [bench.relative_seq(entry) for entry in taken]
    lengths = [int(segment(entry).seq_len) for entry in taken]
    bench.check(
        T("seq of SYN, 10 octets, 20 octets, FIN", "SYN、10 字节、20 字节、FIN 的序号"), numbers, [0, 1, 11, 31]
    )
    ends = [number + length for number, length in zip(numbers, lengths, strict=True)]
    bench.check(T("each begins where the one before ended", "每个都从前一个的末尾开始"), numbers[1:], ends[:-1])
    told = ", ".join(map(str, numbers))
    return bench.verdict(T(f"seq {told}", f"序号 {told}"))


@lab(
    "HDR-02",
    title=T("An acknowledgment is cumulative", "确认号是累积的"),
    claim=T(
        "Ack is the next number expected: everything before it has come.",
        "确认号是期待的下一个序号：之前的全部已收到。",
    ),
    truth="true",
    source="S0 S1; RFC 9293 3.4",
    why=T(
        "With a hole, the number stays at the hole whatever comes behind it, and jumps once it is filled. It says that"
        " the host has the data, not that the program has read it.",
        "有缺口时确认号停在缺口处，补上后一次跳到末尾。它只表示主机收到了，不表示程序读过。",
    ),
    practice=T(
        "Need to know that the peer's program has worked on a request? Let it answer: TCP's ACK does not say so.",
        "想知道对端程序是否处理了请求，应让它应答：TCP 的 ACK 不表示这一点。",
    ),
    on=ANYWHERE,
)
def cumulative(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.setsockopt(pair.cfd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with bench.drop("second data from client"):
        for _ in range(3):
            pair.client.send(pair.cfd, b"x" * 10)
        bench.run(2 * SEC)
    acks = [bench.relative_ack(entry) for entry in bench.sent("server", flags="A")]
    bench.check(T("the second of three segments is lost: acks", "三段中第二段丢失：确认号依次为"), acks, [11, 11, 31])
    unread = bench.sockets("server", State.ESTABLISHED)[0].recv_q
    bench.check(T("acknowledged but not read by the program", "已确认但程序未读的字节"), unread, 30)
    told = ", ".join(map(str, acks))
    return bench.verdict(T(f"acks {told} with {unread} octets unread", f"确认号 {told}，未读 {unread} 字节"))


def _answer_to(bench: Bench, flags: str, port: int, data: bytes = b"") -> str:
    """What the server says to one segment out of the blue: 'RST seq=7 ack=0', or 'nothing'."""
    puppet = bench.puppet
    before = len(puppet.segments())
    puppet.port, puppet.peer_port = SPORT, port
    made = puppet.segment(flags, seq=1000, ack=5000 if "A" in flags else None, data=data, absolute=True)
    puppet.put(made)
    bench.run(100 * MSEC)
    found = puppet.segments()[before:]
    if not found:
        return "nothing"
    reply = found[0]
    return f"{bench.flags(reply)} seq={reply.seq} ack={reply.ack if reply.flags & ACK else 0}"


@lab(
    "HDR-03",
    title=T("Which segments have no ACK", "哪些报文没有 ACK 位"),
    claim=T("ACK is set on every segment except the first SYN.", "除首个 SYN 外，所有报文 ACK=1。"),
    truth="simplification",
    source="S1; RFC 9293 3.10.7.1",
    why=T(
        "A reset that answers a segment with ACK takes its number from there and needs no ACK itself; the first SYN of"
        " each side of a simultaneous open has none either.",
        "对带 ACK 的报文回 RST 时，序号取自该 ACK，自身不带 ACK；同时打开时双方的 SYN 也没有 ACK。",
    ),
    practice=T(
        "A filter that drops 'segments without ACK' also drops such resets: programs then hang instead of failing.",
        "若防火墙丢弃“无 ACK 的报文”，也会丢掉这种 RST：程序会挂住而不是立即报错。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def segments_without_ack(bench: Bench) -> Verdict:
    bench.listen(bench.program("server"))
    found = {
        "data with ACK": _answer_to(bench, "A", 81, b"x" * 10),
        "bare ACK": _answer_to(bench, "A", 81),
        "SYN-ACK": _answer_to(bench, "SA", 81),
        "SYN": _answer_to(bench, "S", 81),
        "FIN without ACK": _answer_to(bench, "F", 81),
        "RST": _answer_to(bench, "R", 81),
    }
    bare, full = "RST seq=5000 ack=0", "RST-ACK seq=0 ack=1001"
    wanted = dict(zip(found, (bare, bare, bare, full, full, "nothing"), strict=True))
    for name, answer in found.items():
        bench.check(T(f"{name} to a closed port", f"{name} 发往关闭的端口"), answer, wanted[name])
    silent = _answer_to(bench, "F", 80)
    bench.check(T("FIN without ACK to a listener", "无 ACK 的 FIN 发往监听端口"), silent, "nothing")
    count = sum(answer.startswith("RST seq") for answer in found.values())
    return bench.verdict(
        T(f"{count} of {len(found)} answers are RSTs without ACK", f"{len(found)} 个回应中 {count} 个是不带 ACK 的 RST")
    )


@lab(
    "HDR-04",
    title=T("Only a RST with the exact number resets", "只有序号精确的 RST 才会复位"),
    claim=T("RST=1 forces the connection down.", "RST=1 强制断开连接。"),
    truth="true",
    source="S1; RFC 9293 3.5.3; RFC 5961 3",
    why=T(
        "A RST at RCV.NXT is obeyed. Elsewhere in the window it may be forged: a challenge ACK asks the peer, who will"
        " reset with the right number if he means it. Outside the window it is ignored.",
        "序号等于 RCV.NXT 的 RST 生效。窗口内别处可能是伪造：回 challenge ACK 询问，对端若真要复位会用正确序号再发。"
        "窗口外的忽略。",
    ),
    practice=T(
        "Nothing to set. Protect long-lived sessions over untrusted paths with TLS, and BGP with TCP-AO: a blind reset"
        " is hard, one by a man in the middle is not.",
        "无需设置。不可信路径上的长连接用 TLS，BGP 用 TCP-AO：盲目复位很难，中间人复位不难。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def exact_reset(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench)
    puppet = bench.puppet
    answers: dict[int, str] = {}
    for offset in (1, 1000, 60_000, 100_000, -1):
        before = len(puppet.segments())
        puppet.send("R", seq=1 + offset)
        bench.run(600 * MSEC)
        found = puppet.segments()[before:]
        answers[offset] = bench.flags(found[0]) if found else "nothing"
    for offset, answer in answers.items():
        inside = 0 < offset < 64_000
        bench.check(
            T(f"RST at RCV.NXT{offset:+}", f"RST 位于 RCV.NXT{offset:+}"), answer, "ACK" if inside else "nothing"
        )
    bench.check(T("and the connection is", "此时连接状态"), bench.state("server"), State.ESTABLISHED)
    puppet.send("R", seq=1)
    bench.run(100 * MSEC)
    error = bench.attempt(lambda: program.recv(fd, 10))
    bench.check(T("RST at RCV.NXT: recv()", "RST 位于 RCV.NXT：recv()"), error, "ECONNRESET")
    challenged = sum(answer == "ACK" for answer in answers.values())
    return bench.verdict(
        T(
            f"{challenged} of {len(answers)} inexact RSTs challenged, the rest ignored; the exact one: {error}",
            f"{len(answers)} 个不精确的 RST 中 {challenged} 个被质询，其余忽略；精确的：{error}",
        )
    )


@lab(
    "HDR-05",
    title=T("SYN sets the initial sequence number", "SYN 设定初始序号"),
    claim=T("SYN=1 asks for a connection and synchronises sequence numbers.", "SYN=1 请求连接并同步序号。"),
    truth="true",
    source="S0 S1; RFC 9293 3.1",
    why=T(
        "The number in a SYN is its sender's first; the first octet of data has the next. Each direction has its own.",
        "SYN 中的序号是发送方的起点，首个数据字节是下一个。两个方向各有一套。",
    ),
    practice=T("In a capture, filter for SYNs with `tcp[13] & 2 != 0`.", "抓包过滤 SYN：`tcp[13] & 2 != 0`。"),
    on=ANYWHERE,
)
def syn_synchronises(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"question")
    bench.run(200 * MSEC)
    pair.server.send(pair.sfd, b"answer")
    bench.run(200 * MSEC)
    offsets = []
    for host, flags in (("client", "S"), ("server", "SA")):
        syn = segment(bench.sent(host, flags=flags)[0])
        data = segment(bench.sent(host, payload=True)[0])
        offset = (data.seq - syn.seq) % 2**32
        offsets.append(offset)
        bench.check(T(f"{host}: first octet minus SYN", f"{host}：首字节序号减 SYN 序号"), offset, 1)
    numbers = {segment(entry).seq for entry in bench.sent() if segment(entry).flags & SYN}
    bench.check(T("different initial numbers", "不同的初始序号"), len(numbers), 2)
    return bench.verdict(T(f"data begins at ISN+{offsets[0]} both ways", f"双向数据都从 ISN+{offsets[0]} 开始"))


@lab(
    "HDR-06",
    title=T("FIN closes one direction only", "FIN 只关闭一个方向"),
    claim=T("FIN=1: its sender has no more data.", "FIN=1：发送方不再发送数据。"),
    truth="true",
    source="S0 S1; RFC 9293 3.6",
    why=T(
        "The other direction is closed by the other side's FIN. Until then its data is received and acknowledged.",
        "另一方向由对端的 FIN 关闭；在那之前其数据仍被接收并确认。",
    ),
    practice=T(
        "shutdown(SHUT_WR) says 'that was my request' and still reads the answer; close() gives up reading too.",
        "shutdown(SHUT_WR) 表示“请求发完”，仍可读应答；close() 连读也放弃。",
    ),
    on=ANYWHERE,
)
def fin_closes_one_direction(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.shutdown(pair.cfd, socket.SHUT_WR)
    bench.run(100 * MSEC)
    refused = bench.attempt(lambda: pair.client.send(pair.cfd, b"more"))
    end = pair.server.recv(pair.sfd, 10)
    pair.server.send(pair.sfd, b"0123456789")
    got = bench.read(pair.client, pair.cfd, 10)
    bench.check(T("send() after shutdown(SHUT_WR)", "shutdown(SHUT_WR) 之后 send()"), refused, "EPIPE")
    bench.check(T("the peer's recv()", "对端 recv() 得到字节"), len(end), 0)
    bench.check(T("octets that still come the other way", "反方向仍收到的字节"), len(got), 10)
    bench.check(T("client", "客户端状态"), bench.state("client"), State.FIN_WAIT_2)
    return bench.verdict(
        T(
            f"send(): {refused}; {len(got)} octets received after the FIN",
            f"send()：{refused}；FIN 之后仍收到 {len(got)} 字节",
        )
    )


@lab(
    "HDR-07",
    title=T("ack = seq + octets + SYN + FIN", "ack = seq + 字节数 + SYN + FIN"),
    claim=T("The responder's ack is the initiator's seq + 1 for a SYN.", "对 SYN 的确认号是 seq + 1。"),
    truth="true",
    source="S0; RFC 9293 3.1",
    why=T(
        "The flag ACK says that the field counts; the field holds the end of what came in order.",
        "标志 ACK 表示该字段有效；字段 ack 是按序收到的末尾。",
    ),
    practice=T(
        "Do not read the field where the flag is not set: it is rubbish.", "标志未置位时不要读该字段：它没有意义。"
    ),
    on=ANYWHERE,
)
def ack_is_the_end(bench: Bench) -> Verdict:
    pair = bench.open()
    for program, fd, size in ((pair.client, pair.cfd, 100), (pair.server, pair.sfd, 1000), (pair.client, pair.cfd, 7)):
        program.send(fd, b"x" * size)
        bench.run(200 * MSEC)
    for program, fd in ((pair.client, pair.cfd), (pair.server, pair.sfd)):
        program.close(fd)
        bench.run(200 * MSEC)
    ends: dict[str, int] = {}
    held = wrong = 0
    for entry in bench.record:
        if isinstance(entry, Received) and isinstance(entry.packet, Segment):
            ends[entry.where] = (entry.packet.seq + entry.packet.seq_len) % 2**32
        elif isinstance(entry, Sent) and isinstance(entry.packet, Segment) and entry.packet.flags & ACK:
            held += 1
            wrong += entry.packet.ack != ends[entry.where]
    bench.check(T("segments whose ack is anything else", "确认号不等于该值的报文"), wrong, 0)
    bench.check_that(T("segments looked at", "检查的报文数"), held >= 9, held, "at least 9")
    return bench.verdict(T(f"holds for {held - wrong} of {held} segments", f"{held} 个报文中 {held - wrong} 个成立"))


def _probe(bench: Bench, options: bytes) -> None:
    """A SYN from an unused port of the client to a closed port of the server, with these option bytes."""
    made = Segment()
    made.src, made.dst, made.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_TCP
    made.sport, made.dport, made.flags, made.seq = 5555, 81, SYN, 1
    made.flow = make_flow(made.src, made.dst, 5555, 81)
    made.raw_options = options
    if bench.world.tap is not None:
        bench.world.tap.sent("attacker", made, bench.now)
    bench.link.direction("client").send(made)


def _forge_offset(bench: Bench, words: int) -> None:
    """The same with a Data Offset that cannot be, and a checksum that fits."""
    made = Segment()
    made.src, made.dst, made.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_TCP
    made.sport, made.dport, made.flags, made.seq = 5555, 81, SYN, 1
    data = bytearray(serialize(made))
    # The checksum makes up for the change: 16-bit word 6 of the TCP header holds Data Offset.
    old = data[32] << 8
    data[32] = words << 4 | data[32] & 15
    total = (~int.from_bytes(data[36:38], "big") & 0xFFFF) + (data[32] << 8) + (~old & 0xFFFF)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[36:38] = (~total & 0xFFFF).to_bytes(2, "big")
    bench.link.direction("client").send_bytes(bytes(data))


@lab(
    "HDR-08",
    title=T("A TCP header is 20 to 60 octets long", "TCP 首部长 20 到 60 字节"),
    claim=T(
        "20 octets without options; a length field exists because options vary.",
        "无选项时 20 字节；因为选项可变，所以有首部长度字段。",
    ),
    truth="true",
    source="S1; RFC 9293 3.1",
    why=T(
        "Data Offset counts words of 4 octets, from 5 to 15. Linux's SYN has 40 octets (MSS, SACK, timestamps, window"
        " scale), its data segments 32 (timestamps).",
        "Data Offset 以 4 字节为单位，从 5 到 15。Linux 的 SYN 首部 40 字节（MSS、SACK、时间戳、窗口扩大），"
        "数据报文 32 字节（时间戳）。",
    ),
    practice=T(
        "Timestamps cost 12 octets a segment (0.8 %); turning them off (tcp_timestamps=0) loses PAWS and good RTTs.",
        "时间戳每段占 12 字节（0.8 %）；关闭（tcp_timestamps=0）则失去 PAWS 与准确的 RTT。",
    ),
    on=ANYWHERE,
)
def header_lengths(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"x" * 10)
    bench.run(200 * MSEC)
    syn = int(header_length(segment(bench.sent("client", flags="S")[0])))
    data = int(header_length(segment(bench.sent("client", payload=True)[0])))
    bench.check(T("header of a SYN", "SYN 的首部"), syn, 40)
    stamped = bench.sysctl("net.ipv4.tcp_timestamps", "client") and bench.sysctl("net.ipv4.tcp_timestamps", "server")
    bench.check(T("header of a data segment", "数据报文的首部"), data, 32 if stamped else 20)
    for words in (5, 15, 4):
        mark = bench.now
        if words < 5:
            _forge_offset(bench, words)
        else:
            _probe(bench, b"\1" * (4 * words - 20))
        bench.run(100 * MSEC)
        replies = [each for each in bench.sent("server", after=mark) if segment(each).flags & RST]
        bench.check(T(f"Data Offset {words}: answers", f"Data Offset {words}：回应数"), len(replies), int(words >= 5))
    return bench.verdict(T(f"SYN {syn}, data {data} octets of header", f"SYN 首部 {syn} 字节，数据首部 {data} 字节"))


@lab(
    "HDR-09",
    title=T("TCP has no length field", "TCP 没有长度字段"),
    claim=T("Data length = IP total length - IP header - TCP header.", "数据长度 = IP 总长度 - IP 首部 - TCP 首部。"),
    truth="true",
    source="S1; RFC 9293 3.1",
    why=T(
        "IP's total length says where the datagram ends. What a link appends behind it (Ethernet pads to 60 octets) is"
        " no part of it.",
        "IP 总长度决定数据报的结尾。链路在其后填充的内容（以太网补足 60 字节）不属于它。",
    ),
    practice=T(
        "Frame sizes in a capture may exceed the datagram: trust the IP length.",
        "抓包中的帧可能比数据报长：以 IP 长度为准。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def length_comes_from_ip(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench)
    puppet = bench.puppet
    made = puppet.segment("PA", seq=1, ack=1, data=b"0123456789")
    padding = b"\xff" * 6
    bench.link.direction("client").send_bytes(serialize(made) + padding)
    got = bench.read(program, fd, 10)
    bench.run(100 * MSEC)
    more = bench.attempt(lambda: program.recv(fd, 10))
    acks = acknowledgments(bench)
    bench.check(T("read, with 6 octets of padding behind", "附加 6 字节填充时读到"), got, b"0123456789")
    bench.check(T("nothing more is there", "没有更多数据"), more, "EAGAIN")
    bench.check(T("acknowledged", "确认号"), acks[-1], 11)
    return bench.verdict(
        T(
            f"{len(got)} octets of {len(got) + len(padding)} are data",
            f"{len(got) + len(padding)} 字节中 {len(got)} 字节是数据",
        )
    )
