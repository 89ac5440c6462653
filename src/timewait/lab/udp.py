"""UDP's header and checksum: eight octets in front of what IP does."""

from timewait.base.instant import MSEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import datagram_socket, datagrams
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.record.entries import Sent
from timewait.wire.address import pack
from timewait.wire.packet import PROTO_UDP, Datagram, IcmpMessage, Packet
from timewait.wire.serialize import ip_header_length, serialize
from timewait.wire.tcp import header_length

_PUPPET = ("sim", "kernel")
_DNS = 53


def packets(bench: Bench, after: int = -1) -> list[Packet]:
    """Everything put on the wire, of whatever protocol."""
    return [entry.packet for entry in bench.record if isinstance(entry, Sent) and entry.time >= after]


def by_hand(payload: bytes, *, checksum: bool = True) -> bytes:
    """A datagram from 10.0.0.1:4000 to the server's port 53, as bytes."""
    made = Datagram()
    made.src, made.dst, made.proto = pack("10.0.0.1"), pack("10.0.0.2"), PROTO_UDP
    made.sport, made.dport, made.payload, made.no_checksum = 4000, _DNS, payload, not checksum
    return serialize(made)


def _deliver(bench: Bench, data: bytes) -> None:
    bench.link.direction("client").send_bytes(data)
    bench.run(100 * MSEC)


@lab(
    "UDP-01",
    title=T("No handshake, no acknowledgment", "无握手，无确认"),
    claim=T("Data goes out at once; the receiver acknowledges nothing.", "数据直接发出，接收方不做确认。"),
    truth="true",
    source="S0 S1; RFC 768; RFC 1122 4.1.3",
    why=T(
        "UDP adds ports and a checksum to IP and nothing else. Only a closed port is answered, by ICMP, which a"
        " connected socket reports as ECONNREFUSED on its next call.",
        "UDP 只在 IP 上加了端口与校验和。仅端口关闭时有 ICMP 应答，connect() 过的套接字下次调用得 ECONNREFUSED。",
    ),
    practice=T(
        "Call connect() on a UDP client socket: else it never hears that nobody listens.",
        "UDP 客户端套接字应先 connect()，否则永远不知道对端无人监听。",
    ),
    on=ANYWHERE,
)
def no_handshake(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client)
    client.sendto(source, b"0123456789", ("10.0.0.2", _DNS))
    bench.run(200 * MSEC)
    alone = len(packets(bench))
    got = datagrams(server, sink)
    bench.check(T("packets for 10 octets by UDP", "UDP 发 10 字节用的包"), alone, 1)
    bench.check(T("delivered", "交付"), got, [b"0123456789"])
    client.connect(source, ("10.0.0.2", 54))
    mark = bench.now
    client.send(source, b"anybody?")
    bench.run(200 * MSEC)
    told = [f"{each.type}/{each.code}" for each in packets(bench, mark) if isinstance(each, IcmpMessage)]
    error = bench.attempt(lambda: client.recv(source, 10))
    bench.check(T("a closed port answers with ICMP", "关闭的端口回 ICMP"), told, ["3/3"])
    bench.check(T("which the program sees as", "程序看到"), error, "ECONNREFUSED")
    mark = bench.now
    pair = bench.open()
    pair.client.send(pair.cfd, b"0123456789")
    bench.run(200 * MSEC)
    for program, fd in ((pair.client, pair.cfd), (pair.server, pair.sfd)):
        program.close(fd)
        bench.run(200 * MSEC)
    stream = len(packets(bench, mark))
    bench.check_that(T("packets for the same by TCP", "TCP 做同样的事用的包"), stream >= 8, stream, "at least 8")
    return bench.verdict(
        T(
            f"UDP {alone} packet, TCP {stream}; closed port: {error}",
            f"UDP {alone} 个包，TCP {stream} 个；关闭端口：{error}",
        )
    )


@lab(
    "UDP-02",
    title=T("The UDP header: 8 octets", "UDP 首部：8 字节"),
    claim=T(
        "Source port, destination port, length, checksum: 64 bits, fixed.",
        "源端口、目的端口、长度、校验和：共 64 位，固定。",
    ),
    truth="true",
    source="S1; RFC 768",
    why=T("Four fields of 16 bits and no options.", "四个 16 位字段，没有选项。"),
    practice=T(
        "1472 octets of payload fit one Ethernet frame (1500 - 20 - 8); stay below 1232 where the path is unknown.",
        "以太网一帧可带 1472 字节（1500 - 20 - 8）；路径未知时建议不超过 1232。",
    ),
    on=ANYWHERE,
)
def udp_header(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    datagram_socket(server, _DNS)
    source = datagram_socket(client, 4000)
    for size in (0, 1, 1000):
        client.sendto(source, b"x" * size, ("10.0.0.2", _DNS))
        bench.run(50 * MSEC)
    sizes = []
    for packet in packets(bench):
        assert isinstance(packet, Datagram)
        sizes.append(len(serialize(packet)) - int(ip_header_length(packet)) - len(packet.payload))
    bench.check(T("header of payloads of 0, 1, 1000", "载荷 0、1、1000 时的首部"), sizes, [8, 8, 8])
    raw = serialize(packets(bench)[1])[20:28]
    fields = [int.from_bytes(raw[at : at + 2], "big") for at in (0, 2, 4)]
    bench.check(T("source port, destination port, length", "源端口、目的端口、长度"), fields, [4000, _DNS, 9])
    return bench.verdict(T(f"{sizes[0]} octets whatever the payload", f"无论载荷多少都是 {sizes[0]} 字节"))


@lab(
    "UDP-03",
    title=T("Its length counts header and data", "长度字段含首部与数据"),
    claim=T("The length field holds header plus data.", "长度字段是首部加数据的长度。"),
    truth="true",
    source="S1; RFC 768",
    why=T(
        "So 8 is the smallest value. A length below that or beyond what IP carries is an error, and dropped.",
        "所以最小为 8。小于 8 或超出 IP 载荷都是错误，丢弃。",
    ),
    practice=T("`nstat -az UdpInErrors` counts what was dropped so.", "`nstat -az UdpInErrors` 统计此类丢弃。"),
    on=_PUPPET,
    topology="puppet-client",
)
def udp_length(bench: Bench) -> Verdict:
    server = bench.program("server")
    sink = datagram_socket(server, _DNS)
    good = by_hand(b"hello", checksum=False)
    field = int.from_bytes(good[24:26], "big")
    bench.check(T("length of a datagram with 5 octets", "5 字节数据报的长度字段"), field, 13)
    taken = {}
    for length in (13, 14, 7):
        _deliver(bench, good[:24] + length.to_bytes(2, "big") + good[26:])
        taken[length] = len(datagrams(server, sink))
    bench.check(T("delivered with length 13, 14, 7", "长度写 13、14、7 时交付"), list(taken.values()), [1, 0, 0])
    return bench.verdict(T(f"length {field}: delivered; 14 and 7: dropped", f"长度 {field}：交付；14 与 7：丢弃"))


@lab(
    "UDP-04",
    title=T("The checksum detects, it does not repair", "校验和只检测，不修复"),
    claim=T(
        "One article: the checksum makes header and data reliable. Another: UDP does not guarantee correctness.",
        "一文说校验和使首部与数据可靠，一文说 UDP 不保证数据正确。",
    ),
    truth="sources disagree",
    source="S0 S1; RFC 768; RFC 8200 8.1",
    why=T(
        "A datagram with a wrong checksum is dropped: what arrives is right (but for 1 in 65536), what is wrong is"
        " missing. On IPv4 a sender may leave the checksum out (0), and then damage is delivered.",
        "校验和不符就丢弃：到达的是对的（漏检率 1/65536），错的变成丢失。IPv4 允许不计算（填 0），此时损坏会被交付。",
    ),
    practice=T(
        "Never set SO_NO_CHECK to save time; on IPv6 it is forbidden but for tunnels (RFC 6935).",
        "不要为省时设置 SO_NO_CHECK；IPv6 上除隧道外禁止（RFC 6935）。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def udp_checksum(bench: Bench) -> Verdict:
    server = bench.program("server")
    sink = datagram_socket(server, _DNS)
    found = []
    for checksum in (True, False):
        data = bytearray(by_hand(b"right", checksum=checksum))
        data[-1] ^= 1
        _deliver(bench, bytes(data))
        found.append(datagrams(server, sink))
    errors = bench.counter("server", "UdpInCsumErrors")
    bench.check(T("one bit flipped, with checksum: delivered", "翻转一位，有校验和：交付"), len(found[0]), 0)
    bench.check(T("UdpInCsumErrors", "UdpInCsumErrors"), errors, 1)
    bench.check(T("one bit flipped, checksum 0: delivered", "翻转一位，校验和为 0：交付"), found[1], [b"righu"])
    return bench.verdict(
        T(
            f"with checksum {len(found[0])} delivered, without {len(found[1])}, damaged",
            f"有校验和交付 {len(found[0])} 个，无校验和交付 {len(found[1])} 个（已损坏）",
        )
    )


@lab(
    "UDP-05",
    title=T("UDP needs no header length", "UDP 不需要首部长度字段"),
    claim=T("A UDP header never changes its size; TCP has options.", "UDP 首部长度固定；TCP 有选项。"),
    truth="true",
    source="S1; RFC 768; RFC 9293 3.1",
    why=T(
        "TCP's Data Offset says where the data begins, since options vary from segment to segment.",
        "TCP 的选项随报文变化，故需 Data Offset 指明数据起点。",
    ),
    practice=T(
        "A filter that looks into TCP data must use the offset: `tcp[12] >> 4`.",
        "过滤 TCP 数据内容时必须用偏移：`tcp[12] >> 4`。",
    ),
    on=ANYWHERE,
)
def no_header_length(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    sink, source = datagram_socket(server, _DNS), datagram_socket(client)
    for size in (1, 100):
        client.sendto(source, b"x" * size, ("10.0.0.2", _DNS))
    bench.run(100 * MSEC)
    udp = {len(serialize(each)) - 20 - len(each.payload) for each in packets(bench) if isinstance(each, Datagram)}
    pair = bench.open()
    pair.client.send(pair.cfd, b"x")
    bench.run(100 * MSEC)
    tcp = {int(header_length(segment(entry))) for entry in bench.sent(flags=None) if entry.packet.proto == 6}
    bench.check(T("datagrams delivered", "交付的数据报"), len(datagrams(server, sink)), 2)
    bench.check(T("sizes of UDP headers", "UDP 首部长度"), sorted(udp), [8])
    bench.check_that(T("sizes of TCP headers", "TCP 首部长度"), len(tcp) > 1, sorted(tcp), "more than one")
    told = ", ".join(map(str, sorted(tcp)))
    return bench.verdict(T(f"UDP {min(udp)}; TCP {told}", f"UDP {min(udp)}；TCP {told}"))


@lab(
    "UDP-06",
    title=T("A length that IP knows already", "IP 已知的长度，为何再写一遍"),
    claim=T(
        "The field pads the header to a multiple of 4, or is there for layers without a length.",
        "该字段为了凑 4 字节对齐，或为了适配没有长度的下层。",
    ),
    truth="simplification",
    source="S1; RFC 768; draft-ietf-tsvwg-udp-options",
    why=T(
        "RFC 768 gives no reason; both are guesses. What the field does: it may be smaller than IP's payload. The"
        " surplus behind is no data and is ignored, which is where UDP options are being put now.",
        "RFC 768 未给理由，两种说法都是猜测。事实是：它可以小于 IP 载荷，其后的余量不是数据，被忽略，"
        "如今的 UDP 选项就放在那里。",
    ),
    practice=T(
        "Middleboxes that check 'UDP length = IP length - 20' break UDP options.",
        "检查“UDP 长度 = IP 长度 - 20”的中间设备会破坏 UDP 选项。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def surplus(bench: Bench) -> Verdict:
    server = bench.program("server")
    sink = datagram_socket(server, _DNS)
    data = bytearray(by_hand(b"hello" + b"surplus", checksum=False))
    data[24:26] = (13).to_bytes(2, "big")
    _deliver(bench, bytes(data))
    got = datagrams(server, sink)
    bench.check(T("IP payload 20, UDP length 13: read", "IP 载荷 20，UDP 长度 13：读到"), got, [b"hello"])
    size = len(got[0]) if got else 0
    return bench.verdict(T(f"{size} of {len(data) - 28} octets delivered", f"{len(data) - 28} 字节中交付 {size} 字节"))


@lab(
    "UDP-15",
    title=T("TCP and UDP on the same port", "TCP 与 UDP 可用同一端口号"),
    claim=T(
        "The kernel looks at IP's protocol number first, then at the port; the two port spaces are independent.",
        "内核先看 IP 协议号，再看端口；两套端口空间互相独立。",
    ),
    truth="true",
    source="S1; RFC 1122 3.4",
    why=T(
        "Protocol 6 goes to TCP's table, 17 to UDP's: two tables with no knowledge of each other.",
        "协议号 6 查 TCP 表，17 查 UDP 表：两张表互不相干。",
    ),
    practice=T(
        "DNS uses 53 of both, HTTP/3 UDP 443 beside TCP 443: open both in the firewall.",
        "DNS 同时用两种 53，HTTP/3 用 UDP 443：防火墙要同时放行。",
    ),
    on=ANYWHERE,
)
def same_port(bench: Bench) -> Verdict:
    server = bench.program("server")
    sink = datagram_socket(server, 80)
    pair = bench.open(port=80)
    source = datagram_socket(pair.client)
    pair.client.sendto(source, b"by UDP", ("10.0.0.2", 80))
    pair.client.send(pair.cfd, b"by TCP")
    got = bench.read(pair.server, pair.sfd, 6)
    bench.run(50 * MSEC)
    told = datagrams(server, sink)
    bench.check(T("the UDP socket on port 80 reads", "UDP 80 读到"), told, [b"by UDP"])
    bench.check(T("the TCP socket on port 80 reads", "TCP 80 读到"), got, b"by TCP")
    return bench.verdict(
        T(
            f"port 80 twice: {len(told)} datagram here, {len(got)} octets there",
            f"端口 80 用了两次：一边 {len(told)} 个数据报，一边 {len(got)} 字节",
        )
    )
