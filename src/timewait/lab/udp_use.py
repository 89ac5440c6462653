"""What UDP is used for, and what it costs or saves against TCP on the same link."""

import random
import socket
import struct

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Program
from timewait.lab.byhand import datagram_socket, datagrams
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.lab.stream import spoil
from timewait.lab.udp import packets
from timewait.record.entries import Dropped, Sent
from timewait.tcp.reasons import Drop
from timewait.wire.packet import RawPacket

_DNS = 53
_SERVER = "10.0.0.2"


@lab(
    "UDP-07",
    title=T("One datagram for three receivers", "一个数据报，三个接收者"),
    claim=T("UDP supports one-to-one, one-to-many and many-to-many.", "UDP 支持一对一、一对多、多对多。"),
    truth="true",
    source="S1; RFC 1112; RFC 1122 4.1",
    why=T(
        "Nothing in UDP belongs to one peer, so the destination may be a group. The link or the switch makes the"
        " copies.",
        "UDP 不绑定单一对端，目的地可以是组；复制由链路或交换机完成。",
    ),
    practice=T(
        "Multicast crosses routers only with PIM configured, and no public internet: use it inside one network.",
        "组播需要路由器配置 PIM，公网不通：仅限内网使用。",
    ),
    on=SIM,
    topology="own",
)
def one_to_many(bench: Bench) -> Verdict:
    names = ("sender", "a", "b", "c")
    for number, name in enumerate(names, 1):
        bench.machine(name, f"10.0.0.{number}/24")
    bench.world.switch(*names, delay=MSEC)
    sender = bench.program("sender")
    group = "239.1.2.3"
    sinks: list[tuple[Program, int]] = []
    for number, name in enumerate(names[1:], 2):
        program = bench.program(name)
        fd = datagram_socket(program, 5000)
        joined = socket.inet_aton(group) + socket.inet_aton(f"10.0.0.{number}")
        program.setsockopt(fd, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        sinks.append((program, fd))
    source = datagram_socket(sender)
    sender.setsockopt(source, socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.1"))
    sender.sendto(source, b"to a group", (group, 5000))
    bench.run(SEC)
    heard = [len(datagrams(program, fd)) for program, fd in sinks]
    sender.setsockopt(source, socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.sendto(source, b"to everybody", ("10.0.0.255", 5000))
    bench.run(SEC)
    all_heard = [len(datagrams(program, fd)) for program, fd in sinks]
    sent = [entry for entry in bench.record if isinstance(entry, Sent) and entry.where == "sender"]
    bench.check(T("one sendto() to a group reaches", "一次 sendto() 到组，到达"), heard, [1, 1, 1])
    bench.check(T("one broadcast reaches", "一次广播，到达"), all_heard, [1, 1, 1])
    bench.check(T("packets sent", "发出的包"), len(sent), 2)
    return bench.verdict(
        T(
            f"{len(sent)} packets sent, {sum(heard) + sum(all_heard)} received",
            f"发出 {len(sent)} 个包，收到 {sum(heard) + sum(all_heard)} 个",
        )
    )


@lab(
    "UDP-08",
    title=T("Datagrams keep their boundaries, not their order", "数据报保边界，不保顺序"),
    claim=T(
        "Sent packet by packet, with boundaries; may be lost or reordered.",
        "一包一包地发送，有边界，但可能丢失或乱序。",
    ),
    truth="true",
    source="S0 S1; RFC 768",
    why=T(
        "Each send is one datagram and each is routed for itself. It may also arrive twice.",
        "一次发送就是一个数据报，各自独立传送；也可能重复到达。",
    ),
    practice=T(
        "Number your datagrams, and give recv() a buffer as large as the largest: the rest of one is thrown away.",
        "给数据报编号；recv() 的缓冲区要足够大：放不下的部分会被丢弃。",
    ),
    on=ANYWHERE,
)
def boundaries(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client)
    orders = []
    for held in (False, True):
        if held:
            bench.link.hold("first UDP from client", 100 * MSEC)
        for letter in (b"a", b"b", b"c"):
            client.sendto(source, letter * 100, (_SERVER, _DNS))
        bench.run(300 * MSEC)
        got = datagrams(server, sink)
        bench.check(T("three sends of 100: read", "三次发送 100：读到"), [len(each) for each in got], [100] * 3)
        orders.append("".join(each[:1].decode() for each in got))
    bench.check(
        T("order on a plain link, with the first held up", "普通链路与首包被延迟时的顺序"), orders, ["abc", "bca"]
    )
    cut = len(_short_read(bench, client, source, server, sink))
    rest = bench.attempt(lambda: server.recv(sink, 100))
    bench.check(
        T("recv(10) of a datagram of 100, and then", "对 100 字节的数据报 recv(10)，再读"), (cut, rest), (10, "EAGAIN")
    )
    return bench.verdict(
        T(
            f"3 datagrams of 100; order {orders[0]}, then {orders[1]}",
            f"3 个 100 字节数据报；顺序 {orders[0]}，其后 {orders[1]}",
        )
    )


def _short_read(bench: Bench, client: Program, source: int, server: Program, sink: int) -> bytes:
    """Read the start of a datagram into a buffer of 10 octets."""
    client.sendto(source, b"x" * 100, (_SERVER, _DNS))
    bench.run(200 * MSEC)
    return server.recv(sink, 10)


@lab(
    "UDP-09",
    title=T("A narrow link: UDP keeps pushing, TCP adapts", "窄链路：UDP 照发，TCP 适应"),
    claim=T(
        "However congested the network, UDP's sending rate is unaffected.",
        "无论网络多拥塞，UDP 的发送速率不受影响。",
    ),
    truth="true",
    source="S1; RFC 8085 3.1; RFC 5681",
    why=T(
        "UDP has neither congestion control nor flow control: what the link cannot carry is lost in its queue. TCP"
        " takes losses as a sign to halve its rate and settles near what the link carries.",
        "UDP 没有拥塞控制与流量控制：链路带不动的在队列中丢弃。TCP 视丢包为信号降速，稳定在链路能力附近。",
    ),
    practice=T(
        "RFC 8085: a program that sends much over UDP must control congestion itself. Use QUIC, or pace.",
        "RFC 8085：大量使用 UDP 的程序必须自行做拥塞控制。可用 QUIC，或限速发送。",
    ),
    on=SIM,
)
def narrow_link(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client)
    size, offered = 972, 1000
    # 100 datagrams of 1000 octets a second.
    bench.link.throttle(100 * 1000 * 8, queue=10, sender="client")
    for _ in range(offered):
        client.sendto(source, b"x" * size, (_SERVER, _DNS))
        bench.run(MSEC)
        datagrams(server, sink)
    delivered = offered - sum(entry.drop is Drop.LINK_QUEUE_FULL for entry in _drops(bench))
    lost = 100 * (offered - delivered) // offered
    bench.run(SEC)
    mark = bench.now
    pair = bench.open()
    amount = 200_000
    got = len(bench.transfer(pair, b"x" * amount))
    took = bench.now - mark
    rate = got * 10 * SEC // took // 10_000
    again = sum(int(segment(entry).length) for entry in bench.sent("client", payload=True, after=mark)) - amount
    bench.check_that(
        T("UDP at ten times the rate loses (percent)", "UDP 以十倍速率发送，丢失（%）"),
        85 <= lost <= 92,
        lost,
        "about 90",
    )
    bench.check_that(
        T("TCP's rate (percent of the link's)", "TCP 的速率（占链路 %）"), 80 <= rate <= 100, rate, "80 to 100"
    )
    share = 100 * again // amount
    bench.check_that(T("of which resent (percent)", "其中重传（%）"), share < 30, share, "under 30")
    return bench.verdict(
        T(f"UDP loses {lost} %; TCP settles at {rate} % of the link", f"UDP 丢失 {lost} %；TCP 稳定在链路的 {rate} %")
    )


def _drops(bench: Bench) -> list[Dropped]:
    return [entry for entry in bench.record if isinstance(entry, Dropped)]


@lab(
    "UDP-10",
    title=T("3000 octets: TCP segments, UDP is fragmented", "3000 字节：TCP 分段，UDP 被 IP 分片"),
    claim=T(
        "TCP cuts at the MSS and resends only what was lost; a large datagram is fragmented by IP.",
        "TCP 按 MSS 分段，只重传丢失的一段；大的 UDP 数据报由 IP 分片。",
    ),
    truth="true",
    source="S1; RFC 9293 3.7; RFC 791 3.2; RFC 8900",
    why=T(
        "A fragment has no number of its own that anybody could ask for again: one lost, and the whole datagram is"
        " thrown away after ipfrag_time.",
        "分片没有可供请求重发的编号：丢一片，整个数据报在 ipfrag_time 后作废。",
    ),
    practice=T(
        "Keep datagrams below the path MTU (1232 octets is safe). Firewalls often drop fragments altogether.",
        "数据报不要超过路径 MTU（1232 字节是安全值）。许多防火墙直接丢弃分片。",
    ),
    on=ANYWHERE,
    sysctl={"net.ipv4.tcp_timestamps": 0},
)
def segments_or_fragments(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client)
    counts = []
    for lossy in (False, True):
        if lossy:
            bench.drop("second fragment from client")
        mark = bench.now
        client.sendto(source, b"x" * 3000, (_SERVER, _DNS))
        bench.run(300 * MSEC)
        pieces = [len(each.payload) for each in packets(bench, mark) if isinstance(each, RawPacket)]
        counts.append(len(datagrams(server, sink)))
        bench.check(T("fragments of a datagram of 3000", "3000 字节数据报的分片"), pieces, [1480, 1480, 48])
    bench.check(T("delivered: all fragments, one lost", "交付：分片齐全、丢一片"), counts, [1, 0])
    pair = bench.open()
    bench.drop("second data from client")
    mark = bench.now
    pair.client.send(pair.cfd, b"x" * 3000)
    got = len(bench.read(pair.server, pair.sfd, 3000))
    lengths = [int(segment(entry).length) for entry in bench.sent("client", payload=True, after=mark)]
    bench.check(
        T("segments of 3000 octets of stream, the second lost", "3000 字节流的分段，第二段丢失"),
        lengths[:3],
        [1460, 1460, 80],
    )
    # A tail loss probe may repeat the last, small one first.
    again = [length for length in lengths[3:] if length == 1460]
    bench.check(T("of the lost ones sent again", "丢失段的重传"), again, [1460])
    bench.check(T("delivered", "交付"), got, 3000)
    return bench.verdict(
        T(
            f"one loss: UDP delivers {counts[1]}, TCP resends {sum(lengths[3:])} of {got} octets",
            f"丢一个：UDP 交付 {counts[1]}，TCP 重传 {sum(lengths[3:])}/{got} 字节",
        )
    )


@lab(
    "UDP-11",
    title=T("A call over TCP and over UDP", "语音走 TCP 与走 UDP"),
    claim=T(
        "Files, mail and Web bear no loss and use TCP; calls and games bear loss but no delay and use UDP.",
        "文件、邮件、网页不容丢失，用 TCP；通话、游戏容忍丢失但怕延迟，用 UDP。",
    ),
    truth="simplification",
    source="S0; RFC 9000; RFC 9114",
    why=T(
        "TCP must deliver what was lost before what came after it, so one loss delays all behind it. UDP leaves a gap"
        " and is in time. But stored video is HTTP over TCP or QUIC today, and the Web QUIC too.",
        "TCP 必须先补回丢失的才交付后面的，一次丢失拖住其后全部。UDP 留下缺口但准时。"
        "不过今天的点播视频是基于 TCP 或 QUIC 的 HTTP，网页也用 QUIC。",
    ),
    practice=T(
        "For a call use RTP/WebRTC; for everything else decide by what a late octet is worth.",
        "通话用 RTP/WebRTC；其余看迟到的数据是否还有价值。",
    ),
    on=SIM,
    rtt=100 * MSEC,
)
def call_over_both(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.setsockopt(pair.cfd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sink, source = datagram_socket(pair.server, _DNS), datagram_socket(pair.client)
    bench.link.lossy(0.05, sender="client")
    frames, size = 200, 160
    stream = b""
    late: dict[str, list[int]] = {"tcp": [], "udp": []}
    times: list[int] = []

    def listen() -> None:
        nonlocal stream
        for each in datagrams(pair.server, sink):
            late["udp"].append(bench.now - times[struct.unpack(">I", each[:4])[0]])
        while pair.server.poll([(pair.sfd, 1)]):
            stream += pair.server.recv(pair.sfd, 65536)
        while len(late["tcp"]) < len(stream) // size:
            late["tcp"].append(bench.now - times[len(late["tcp"])])

    for number in range(frames):
        frame = struct.pack(">I", number).ljust(size, b"v")
        times.append(bench.now)
        pair.client.send(pair.cfd, frame)
        pair.client.sendto(source, frame, (_SERVER, _DNS))
        for _ in range(4):
            bench.run(5 * MSEC)
            listen()
    for _ in range(400):
        bench.run(5 * MSEC)
        listen()
    gaps = frames - len(late["udp"])
    worst = {name: max(found) for name, found in late.items()}
    waiting = sum(delay > 100 * MSEC for delay in late["tcp"])
    bench.check(T("frames by TCP", "TCP 送达的帧"), len(late["tcp"]), frames)
    bench.check_that(T("frames that UDP lost", "UDP 丢失的帧"), 0 < gaps < 30, gaps, "some")
    bench.check_that(
        T("longest delay by UDP", "UDP 最长延迟"),
        worst["udp"] <= 60 * MSEC,
        in_seconds([worst["udp"]]),
        "one way: 0.05 s",
    )
    bench.check_that(
        T("longest delay by TCP", "TCP 最长延迟"),
        worst["tcp"] > 100 * MSEC,
        in_seconds([worst["tcp"]]),
        "more than a round trip",
    )
    return bench.verdict(
        T(
            f"UDP: {gaps} of {frames} frames missing, none later than {in_seconds([worst['udp']])}; TCP: none missing,"
            f" {waiting} late, the worst {in_seconds([worst['tcp']])}",
            f"UDP：{frames} 帧缺 {gaps} 帧，最迟 {in_seconds([worst['udp']])}；TCP：不缺，{waiting} 帧迟到，"
            f"最迟 {in_seconds([worst['tcp']])}",
        )
    )


@lab(
    "UDP-12",
    title=T("A question and its answer: 2 packets or 11", "一问一答：2 个包还是 11 个"),
    claim=T(
        "TCP for FTP and HTTP; UDP for DNS, SNMP, media, broadcast.",
        "FTP、HTTP 用 TCP；DNS、SNMP、多媒体、广播用 UDP。",
    ),
    truth="simplification",
    source="S1; RFC 7766; RFC 9114",
    why=T(
        "For one small question UDP's 2 packets beat TCP's handshake and close. But DNS must speak TCP too (RFC 7766),"
        " and HTTP/3 is UDP.",
        "小问答用 UDP 只需 2 个包，胜过 TCP 的握手与挥手。但 DNS 也必须支持 TCP（RFC 7766），HTTP/3 则基于 UDP。",
    ),
    practice=T(
        "Open TCP 53 for resolvers as well: large or truncated answers need it.",
        "解析器也要放行 TCP 53：应答过大或被截断时需要。",
    ),
    on=ANYWHERE,
)
def question_and_answer(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client, 4000)
    client.sendto(source, b"question", (_SERVER, _DNS))
    bench.run(100 * MSEC)
    question, sender = server.recvfrom(sink, 512)
    assert sender is not None
    server.sendto(sink, b"answer", sender)
    bench.run(100 * MSEC)
    bench.check(T("UDP's answer", "UDP 的应答"), datagrams(client, source), [b"answer"])
    alone = len(packets(bench))
    mark = bench.now
    pair = bench.open(port=_DNS)
    pair.client.send(pair.cfd, question)
    bench.read(pair.server, pair.sfd, 8)
    pair.server.send(pair.sfd, b"answer")
    got = bench.read(pair.client, pair.cfd, 6)
    pair.client.close(pair.cfd)
    bench.run(100 * MSEC)
    pair.server.close(pair.sfd)
    bench.run(100 * MSEC)
    stream = len(packets(bench, mark))
    bench.check(T("TCP's answer", "TCP 的应答"), got, b"answer")
    bench.check(T("packets by UDP", "UDP 的包"), alone, 2)
    bench.check_that(T("packets by TCP", "TCP 的包"), 9 <= stream <= 11, stream, "9 to 11")
    return bench.verdict(T(f"UDP {alone} packets, TCP {stream}", f"UDP {alone} 个包，TCP {stream} 个"))


@lab(
    "UDP-13",
    title=T("Reliability built on UDP", "在 UDP 上实现可靠传输"),
    claim=T(
        "UDP is best effort, but a reliable protocol can be built on it (QUIC).",
        "UDP 尽力而为，但其上可构建可靠协议（QUIC）。",
    ),
    truth="true",
    source="S1; RFC 9000",
    why=T(
        "Numbers, acknowledgments and a timer in the program do what TCP does in the kernel. Shown here with the"
        " simplest of all, stop-and-wait, over the link of HDR-13.",
        "在程序中加入编号、确认与定时器，就能做到内核里 TCP 做的事。此处用最简单的停等协议，链路与 HDR-13 相同。",
    ),
    practice=T(
        "Use a finished one: QUIC, SCTP over UDP, KCP. Congestion control is the hard part.",
        "用现成的：QUIC、SCTP over UDP、KCP。难点在拥塞控制。",
    ),
    on=SIM,
)
def stop_and_wait(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client, 4000)
    spoil(bench.link)
    data = random.Random(13).randbytes(10_000)
    pieces = [data[at : at + 500] for at in range(0, len(data), 500)]
    got: list[bytes] = []
    sent = 0
    for number, piece in enumerate(pieces):
        done = False
        while not done and sent < 1000:
            client.sendto(source, struct.pack(">I", number) + piece, (_SERVER, _DNS))
            sent += 1
            for _ in range(10):
                bench.run(10 * MSEC)
                _answer(server, sink, got)
                done = any(struct.unpack(">I", each)[0] == number for each in datagrams(client, source))
                if done:
                    break
    bench.check(T("equal to what was sent", "与发送的相同"), b"".join(got) == data, True)
    bench.check_that(T("datagrams it took", "用掉的数据报"), sent > len(pieces), sent, f"more than {len(pieces)}")
    return bench.verdict(
        T(
            f"{len(data)} octets whole, in {sent} datagrams for {len(pieces)} pieces",
            f"{len(data)} 字节完整送达，{len(pieces)} 块用了 {sent} 个数据报",
        )
    )


def _answer(server: Program, sink: int, got: list[bytes]) -> None:
    """The receiver: take the next piece, acknowledge what is known."""
    while server.poll([(sink, 1)]):
        message, sender = server.recvfrom(sink, 1024)
        number = struct.unpack(">I", message[:4])[0]
        if number == len(got):
            got.append(message[4:])
        if number < len(got) and sender is not None:
            server.sendto(sink, message[:4], sender)


@lab(
    "UDP-14",
    title=T("UDP answers one round trip sooner", "UDP 早一个往返得到应答"),
    claim=T("UDP saves overhead and is faster; TCP is slower but stable.", "UDP 开销小更快；TCP 慢但稳定。"),
    truth="true",
    source="S0 S1; RFC 768; RFC 9293 3.5",
    why=T(
        "A TCP client waits for the SYN-ACK before it may ask. That is one round trip, once; for long transfers UDP has"
        " no advantage, and kernels often move TCP faster (offload).",
        "TCP 客户端要等 SYN-ACK 才能提问，多一个往返，只此一次；长传输中 UDP 并无优势，内核搬运 TCP 往往更快（卸载）。",
    ),
    practice=T(
        "Keep TCP connections open, or use QUIC 0-RTT or TCP Fast Open where the first answer counts.",
        "复用 TCP 连接；看重首包时用 QUIC 0-RTT 或 TCP Fast Open。",
    ),
    on=ANYWHERE,
    rtt=100 * MSEC,
)
def first_answer(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client, 4000)
    begun = bench.now
    client.sendto(source, b"question", (_SERVER, _DNS))
    bench.until(lambda: server.poll([(sink, 1)]), "the question")
    _, sender = server.recvfrom(sink, 512)
    assert sender is not None
    server.sendto(sink, b"answer", sender)
    bench.until(lambda: client.poll([(source, 1)]), "the answer")
    by_udp = bench.now - begun
    listener = bench.listen(server)
    begun = bench.now
    cfd = bench.connect(client)
    bench.outcome(client, cfd)
    client.send(cfd, b"question")
    sfd = bench.accept(server, listener)
    bench.read(server, sfd, 8)
    server.send(sfd, b"answer")
    bench.read(client, cfd, 6)
    by_tcp = bench.now - begun
    bench.check_time(T("answer by UDP after", "UDP 得到应答"), by_udp, bench.lab.rtt)
    bench.check_time(T("answer by TCP after", "TCP 得到应答"), by_tcp, 2 * bench.lab.rtt)
    return bench.verdict(
        T(
            f"UDP {in_seconds([by_udp])}, TCP {in_seconds([by_tcp])}",
            f"UDP {in_seconds([by_udp])}，TCP {in_seconds([by_tcp])}",
        )
    )
