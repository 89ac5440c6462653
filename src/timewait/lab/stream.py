"""What TCP makes of IP: a stream, in order and whole, between two ends."""

import itertools
import random
import socket

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import acknowledgments, datagram_socket, datagrams, open_to_server
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.record.entries import Received, Sent
from timewait.tcp.states import State
from timewait.wire.packet import Segment
from timewait.world.link import Link

_PUPPET = ("sim", "kernel")


def spoil(link: Link) -> None:
    """Make a link as bad as links get: what both labs of reliability send over."""
    link.lossy(0.2)
    link.duplicate(0.1)
    link.reorder(0.3)
    link.corrupt(0.05)


@lab(
    "HDR-12",
    title=T("The address finds the host, the port the program", "地址找主机，端口找程序"),
    claim=T("IP has 32-bit addresses, TCP 16-bit ports.", "IP 首部 32 位地址，TCP 首部 16 位端口。"),
    truth="true",
    source="S1; RFC 791 3.1; RFC 9293 3.1",
    why=T(
        "IP delivers to a machine; which of its sockets is meant, the ports say. IPv6 has 128-bit addresses and the"
        " same ports.",
        "IP 送到机器；交给哪个套接字由端口决定。IPv6 地址为 128 位，端口相同。",
    ),
    practice=T("`ss -ltnp` shows which program has which port.", "`ss -ltnp` 可查看哪个程序占用哪个端口。"),
    on=ANYWHERE,
)
def ports_find_programs(bench: Bench) -> Verdict:
    one = bench.open(port=80)
    two = bench.open(port=81)
    one.client.send(one.cfd, b"for port 80")
    two.client.send(two.cfd, b"for port 81")
    got = [bench.read(one.server, one.sfd, 11), bench.read(two.server, two.sfd, 11)]
    bench.check(T("each program reads its own", "各程序读到自己的数据"), got, [b"for port 80", b"for port 81"])
    pairs = {(segment(entry).src, segment(entry).dst) for entry in bench.sent("client")}
    bench.check(T("address pairs in use", "使用的地址对"), len(pairs), 1)
    ports = sorted({int(segment(entry).dport) for entry in bench.sent("client")})
    bench.check(T("destination ports", "目的端口"), ports, [80, 81])
    return bench.verdict(
        T(
            f"{len(pairs)} address pair, ports {ports[0]} and {ports[1]}",
            f"{len(pairs)} 个地址对，端口 {ports[0]} 与 {ports[1]}",
        )
    )


@lab(
    "HDR-13",
    title=T("A whole stream over a bad link", "劣质链路上的完整数据流"),
    claim=T("TCP delivers undamaged, without gaps, once and in order.", "TCP 无差错、不丢失、不重复、按序交付。"),
    truth="true",
    source="S1; RFC 9293 2",
    why=T(
        "Numbers order and deduplicate, checksums reject what is damaged, timers and acknowledgments bring back what is"
        " missing. The checksum has 16 bits: one damaged segment in 65536 passes.",
        "序号用于排序与去重，校验和剔除损坏，定时器与确认补回缺失。校验和只有 16 位：65536 个损坏报文中约有一个漏过。",
    ),
    practice=T(
        "For files that must be right, compare a hash end to end (or use TLS, whose MAC does it).",
        "对必须正确的文件做端到端散列比对（或用 TLS，其 MAC 已包含）。",
    ),
    on=SIM,
)
def whole_stream(bench: Bench) -> Verdict:
    pair = bench.open()
    data = random.Random(13).randbytes(100_000)
    spoil(bench.link)
    got = bench.transfer(pair, data)
    bench.check(T("octets that arrive", "到达的字节"), len(got), len(data))
    bench.check(T("equal to what was sent", "与发送的相同"), got == data, True)
    sent = sum(int(segment(entry).length) for entry in bench.sent("client"))
    damaged = bench.counter("client", "TcpInCsumErrors") + bench.counter("server", "TcpInCsumErrors")
    bench.check_that(T("octets put on the wire", "线路上的字节"), sent > len(data), sent, f"more than {len(data)}")
    bench.check_that(T("damaged segments rejected", "被拒的损坏报文"), damaged > 0, damaged, "some")
    return bench.verdict(
        T(
            f"{len(got)} octets whole; {sent} sent, {damaged} damaged segments rejected",
            f"完整收到 {len(got)} 字节；共发送 {sent} 字节，拒收损坏报文 {damaged} 个",
        )
    )


@lab(
    "HDR-14",
    title=T("The same link without TCP", "同一链路，没有 TCP"),
    claim=T("IP guarantees neither delivery nor order nor integrity.", "IP 不保证交付、顺序与完整。"),
    truth="true",
    source="S1; RFC 791 1.2",
    why=T(
        "A datagram is on its own. UDP adds a checksum, so damaged ones are lost rather than wrong.",
        "每个数据报各自为政。UDP 只加了校验和：损坏的变成丢失，而不是错误内容。",
    ),
    practice=T(
        "Over UDP the program itself must number, acknowledge and repeat, or bear with losses.",
        "用 UDP 时，编号、确认、重发要由程序完成，或容忍丢失。",
    ),
    on=ANYWHERE,
)
def without_tcp(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, 53), datagram_socket(client)
    spoil(bench.link)
    count = 200
    for number in range(count):
        client.sendto(source, b"%d" % number, ("10.0.0.2", 53))
        bench.run(MSEC)
    bench.run(SEC)
    got = [int(each) for each in datagrams(server, sink)]
    lost = count - len(set(got))
    twice = len(got) - len(set(got))
    overtaken = sum(after < before for before, after in itertools.pairwise(got))
    for text, number in (
        (T("lost", "丢失"), lost),
        (T("came twice", "重复到达"), twice),
        (T("out of order", "乱序"), overtaken),
    ):
        bench.check_that(text, number > 0, number, "some")
    damaged = bench.counter("server", "UdpInCsumErrors")
    bench.check_that(T("damaged and rejected", "损坏被拒"), damaged > 0, damaged, "some")
    return bench.verdict(
        T(
            f"of {count} datagrams {lost} lost, {twice} twice, {overtaken} out of order",
            f"{count} 个数据报：丢失 {lost}，重复 {twice}，乱序 {overtaken}",
        )
    )


@lab(
    "HDR-17",
    title=T("A stream has no messages in it", "字节流中没有消息边界"),
    claim=T(
        "A message may become several segments; the reader must know his own boundaries.",
        "一条消息可能变成多个报文段；读者须自行判定边界。",
    ),
    truth="true",
    source="S0 S1; RFC 9293 3.8",
    why=T(
        "What three writes put in, one read may take out, and one write may take three segments. Only octets and their"
        " order are kept.",
        "三次写可被一次读取走，一次写也可分成三个报文。TCP 只保证字节及其顺序。",
    ),
    practice=T(
        "Frame messages: a length in front, or a delimiter. Reading 'until it looks whole' fails under load.",
        "给消息定界：长度前缀或分隔符。“读到看起来完整为止”在负载下会出错。",
    ),
    on=ANYWHERE,
    sysctl={"net.ipv4.tcp_timestamps": 0},
)
def no_messages(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server)
    server.setsockopt(listener, socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    cfd = bench.connect(client)
    bench.outcome(client, cfd)
    sfd = bench.accept(server, listener)
    for _ in range(3):
        client.send(cfd, b"x" * 100)
    bench.run(SEC)
    got = server.recv(sfd, 1000)
    mark = bench.now
    client.send(cfd, b"y" * 3000)
    bench.run(SEC)
    sizes = [int(segment(entry).length) for entry in bench.sent("client", payload=True, after=mark)]
    bench.check(T("three writes of 100, one read of", "三次写 100，一次读到"), len(got), 300)
    bench.check(T("one write of 3000, MSS 1000: segments of", "一次写 3000，MSS 1000：报文段"), sizes, [1000] * 3)
    return bench.verdict(
        T(
            f"3 writes, 1 read of {len(got)}; 1 write, {len(sizes)} segments",
            f"3 次写合为一次读 {len(got)} 字节；1 次写分成 {len(sizes)} 段",
        )
    )


@lab(
    "HDR-18",
    title=T("Out of order: held back. Twice: dropped", "乱序暂存，重复丢弃"),
    claim=T(
        "A later segment is not given to the program before the earlier one; duplicates are discarded.",
        "后面的报文不会先于前面的交给程序；重复报文被丢弃。",
    ),
    truth="true",
    source="S1; RFC 9293 3.10.7.4 SHLD-31; RFC 2018; RFC 2883",
    why=T(
        "The receiver keeps what comes early, repeats its acknowledgment and tells with SACK what it has. A duplicate"
        " is acknowledged again, with a DSACK block that names it.",
        "接收方保存提前到达的数据，重复确认，并用 SACK 说明已有的部分。重复报文再次确认，并用 DSACK 指明。",
    ),
    practice=T(
        "One lost segment stalls all behind it (head-of-line blocking): use several connections, or QUIC's streams.",
        "一个丢失会卡住其后所有数据（队头阻塞）：可用多个连接，或 QUIC 的多流。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def order_and_duplicates(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench, sack=True)
    puppet = bench.puppet
    base = puppet.iss
    begun = len(puppet.segments())

    def answer() -> str:
        bench.run(100 * MSEC)
        last = puppet.segments()[-1]
        blocks = " ".join(f"{left - base}-{right - base}" for left, right in last.sacks)
        return f"ack {puppet.relative(last)[1]} sack {blocks or 'none'}"

    puppet.send("PA", seq=11, ack=1, data=b"SECOND-10.")
    early = answer()
    blocked = bench.attempt(lambda: program.recv(fd, 100))
    puppet.send("PA", seq=1, ack=1, data=b"first-ten-")
    filled = answer()
    got = program.recv(fd, 100)
    puppet.send("PA", seq=1, ack=1, data=b"first-ten-")
    again = answer()
    more = bench.attempt(lambda: program.recv(fd, 100))
    bench.check(T("octets 11-20 first: answer", "先到 11-20：回应"), early, "ack 1 sack 11-21")
    bench.check(T("recv() then", "此时 recv()"), blocked, "EAGAIN")
    bench.check(T("octets 1-10: answer", "再到 1-10：回应"), filled, "ack 21 sack none")
    bench.check(T("recv() then", "此时 recv()"), got, b"first-ten-SECOND-10.")
    bench.check(T("octets 1-10 again: answer", "1-10 再次到达：回应"), again, "ack 21 sack 1-11")
    bench.check(T("recv() then", "此时 recv()"), more, "EAGAIN")
    acks = ", ".join(map(str, acknowledgments(bench, begun)))
    return bench.verdict(T(f"acks {acks}; {len(got)} octets in order", f"确认号 {acks}；按序交付 {len(got)} 字节"))


@lab(
    "HDR-19",
    title=T("What a connection consists of", "连接由什么构成"),
    claim=T(
        "A connection is the state kept for reliability and flow control: sockets, sequence numbers, window sizes.",
        "连接就是为可靠与流控而维护的状态：套接字对、序号、窗口大小。",
    ),
    truth="true",
    source="S1; RFC 9293 4",
    why=T(
        "No wire is reserved. Two hosts remember each other: who (four-tuple), how far (numbers), how much (windows).",
        "没有专线。只是两台主机互相记住：是谁（四元组）、到哪（序号）、还能收多少（窗口）。",
    ),
    practice=T(
        "`ss -ti` shows the numbers a kernel keeps for each connection.", "`ss -ti` 可查看内核为每个连接维护的数值。"
    ),
    on=ANYWHERE,
)
def state_of_a_connection(bench: Bench) -> Verdict:
    pair = bench.open()
    pair.client.send(pair.cfd, b"x" * 10)
    bench.run(200 * MSEC)
    here, there = pair.client.getsockname(pair.cfd), pair.client.getpeername(pair.cfd)
    bench.check(
        T("local and remote are swapped at the peer", "对端的本地与远端互换"),
        (pair.server.getpeername(pair.sfd), pair.server.getsockname(pair.sfd)),
        (here, there),
    )
    ends: dict[str, int] = {}
    windows: dict[str, int] = {}
    for entry in bench.record:
        if isinstance(entry, (Sent, Received)) and isinstance(entry.packet, Segment):
            packet = entry.packet
            end = (packet.seq + packet.seq_len) % 2**32
            if isinstance(entry, Sent):
                ends[entry.where + " SND.NXT"] = end
                ends[entry.where + " RCV.NXT"] = int(packet.ack)
                windows[entry.where] = bench.connection().window(packet)
    bench.check(
        T("client's SND.NXT is the server's RCV.NXT", "客户端 SND.NXT 等于服务端 RCV.NXT"),
        ends["client SND.NXT"],
        ends["server RCV.NXT"],
    )
    bench.check(
        T("server's SND.NXT is the client's RCV.NXT", "服务端 SND.NXT 等于客户端 RCV.NXT"),
        ends["server SND.NXT"],
        ends["client RCV.NXT"],
    )
    for host, window in windows.items():
        bench.check_that(
            T(f"window the {host} offers", f"{host} 提供的窗口"), window > 10_000, window, "more than 10000"
        )
    both = [bench.state(host) for host in ("client", "server")]
    bench.check(T("states", "状态"), both, [State.ESTABLISHED, State.ESTABLISHED])
    told = f"{here[0]}:{here[1]} - {there[0]}:{there[1]}"
    return bench.verdict(
        T(
            f"{told}; windows {windows['client']}, {windows['server']}",
            f"{told}；窗口 {windows['client']}、{windows['server']}",
        )
    )


@lab(
    "HDR-20",
    title=T("A window of 0 stops the sender", "窗口为 0 时发送方停下"),
    claim=T(
        "The handshake exchanges window sizes, which then control the flow.",
        "握手交换窗口大小，用于流量控制。",
    ),
    truth="true",
    source="S0 S1; RFC 9293 3.8.6; RFC 7323 2",
    why=T(
        "Window and scale are in the two SYNs; later each segment says the current window. At 0 the sender holds its"
        " data and asks again at doubling intervals, with an old number and no data, as long as it is answered.",
        "窗口与扩大因子在两个 SYN 中给出，之后每个报文携带当前窗口。为 0 时发送方按住数据，"
        "以加倍的间隔用旧序号空报文探测；只要有回应就不放弃。",
    ),
    practice=T(
        "A window of 0 in a capture: the receiving program does not read. Look there, not at the network.",
        "抓包见到窗口 0：接收程序没有在读。应查程序而不是网络。",
    ),
    on=_PUPPET,
    topology="puppet-client",
    rtt=0,
)
def window_of_zero(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench)
    puppet = bench.puppet
    answer = segment(bench.sent("server", flags="SA")[0])
    bench.check(T("window in the SYN-ACK", "SYN-ACK 中的窗口"), answer.window, 64240)
    puppet.window = 0
    puppet.send("A", seq=1, ack=1)
    bench.run(50 * MSEC)

    def closed(packet: object) -> None:
        if isinstance(packet, Segment) and packet.length == 0:
            puppet.send("A", seq=1, ack=1)

    puppet.on_packet = closed
    begun = bench.now
    program.send(fd, b"x" * 10)
    bench.run(4 * SEC)
    probes = bench.sent("server", after=begun)
    times = bench.times(probes, begun)
    expected = [200 * MSEC, 600 * MSEC, 1400 * MSEC, 3000 * MSEC]
    bench.check_times(T("window probes at", "窗口探测时刻"), times, expected)
    seen = {(bench.relative_seq(entry), int(segment(entry).length)) for entry in probes}
    bench.check(T("their seq and length", "其序号与长度"), seen, {(0, 0)})
    puppet.on_packet = None
    puppet.window = 1000
    mark = bench.now
    puppet.send("A", seq=1, ack=1)
    bench.run(10 * MSEC)
    data = bench.sent("server", payload=True, after=mark)
    bench.check(
        T("octets sent once it opens", "窗口打开后发送的字节"), [int(segment(entry).length) for entry in data], [10]
    )
    return bench.verdict(
        T(
            f"probes at {in_seconds(times)}, data only when the window opens",
            f"探测于 {in_seconds(times)}，窗口打开才发数据",
        )
    )
