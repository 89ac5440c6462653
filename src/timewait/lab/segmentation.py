"""How large a segment may be, and what one lost packet costs."""

import socket
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import open_to_server
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.lab.timestamps import TIMESTAMPS
from timewait.record.entries import Dropped, Sent
from timewait.wire.packet import RawPacket
from timewait.wire.serialize import wire_length

NO_PMTU_DISC: Final = "net.ipv4.ip_no_pmtu_disc"


def _set_mtu(bench: Bench, mtu: int) -> None:
    """Give both hosts' interfaces another MTU, before any connection."""
    for host in ("client", "server"):
        for iface in bench.simulated(host).interfaces:
            if not iface.loopback:
                iface.mtu = mtu


@lab(
    "MSS-01",
    title=T("MSS = MTU - 40", "MSS 等于 MTU - 40"),
    claim=T(
        "MTU 1500 on Ethernet; MSS = MTU - IP header - TCP header.", "以太网 MTU 1500；MSS = MTU - IP 首部 - TCP 首部。"
    ),
    truth="true",
    source="S1; RFC 6691; RFC 9293 3.7.1",
    why=T(
        "What is announced leaves options out of account; the sender takes them off, so that with timestamps a segment"
        " carries 1448 octets.",
        "通告值不计选项；发送时再扣除，所以带时间戳的报文段携带 1448 字节。",
    ),
    practice=T(
        "Behind a tunnel clamp it (`iptables ... TCPMSS --clamp-mss-to-pmtu`): paths that drop ICMP else lose large"
        " segments.",
        "隧道后应钳制 MSS（`iptables ... TCPMSS --clamp-mss-to-pmtu`）：否则丢弃 ICMP 的路径会丢大报文。",
    ),
    on=SIM,
)
def mtu_less_headers(bench: Bench) -> Verdict:
    told = []
    for number, (mtu, expected) in enumerate(((1500, 1460), (1400, 1360), (9000, 8960))):
        world = bench if number == 0 else bench.another(T(f"MTU {mtu}", f"MTU {mtu}"))
        _set_mtu(world, mtu)
        pair = world.open()
        pair.client.send(pair.cfd, b"x" * 20_000)
        world.run(SEC)
        announced = [
            int(segment(world.sent(host, flags=flags)[0]).mss) for host, flags in (("client", "S"), ("server", "SA"))
        ]
        largest = max(int(segment(entry).length) for entry in world.sent("client", payload=True))
        world.check(T(f"MTU {mtu}: MSS announced by both", f"MTU {mtu}：双方通告的 MSS"), announced, [expected] * 2)
        stamped = world.sysctl(TIMESTAMPS, "client") and world.sysctl(TIMESTAMPS, "server")
        world.check(T("octets in a full segment", "满报文段的字节数"), largest, expected - (12 if stamped else 0))
        told.append(f"{mtu}: {announced[0]}/{largest}")
    return bench.verdict(T("MTU: MSS/octets " + ", ".join(told), "MTU：MSS/字节 " + "，".join(told)))


@lab(
    "MSS-02",
    title=T("MSS is announced, not negotiated", "MSS 是通告，不是协商"),
    claim=T("Both ends negotiate the MSS at setup.", "双方在建立时协商 MSS。"),
    truth="simplification",
    source="S1; RFC 9293 3.7.1 MUST-15 MUST-16",
    why=T(
        "Each end says what it can take; the two directions are independent. A sender uses the smaller of what was"
        " announced and what its own path allows; without the option 536.",
        "各自说明能接收多大，两个方向独立。发送方取对端通告与自身路径允许的较小者；无该选项则为 536。",
    ),
    practice=T(
        "TCP_MAXSEG on a socket, or `ip route ... advmss`, makes what you announce smaller.",
        "套接字 TCP_MAXSEG 或 `ip route ... advmss` 可减小自己的通告值。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={"small": T("the peer announces 500", "对端通告 500"), "none": T("the peer announces none", "对端未通告")},
)
def announced(bench: Bench) -> Verdict:
    mss = 500 if bench.variant == "small" else 0
    program, fd = open_to_server(bench, mss=mss)
    own = int(segment(bench.sent("server", flags="SA")[0]).mss)
    program.send(fd, b"x" * 3000)
    bench.run(100 * MSEC)
    largest = max(int(segment(entry).length) for entry in bench.sent("server", payload=True))
    bench.check(T("the server announces", "服务端通告"), own, 1460)
    bench.check(T("and sends segments of", "而发送的报文段"), largest, mss or 536)
    return bench.verdict(T(f"announces {own}, sends {largest}", f"通告 {own}，发送 {largest}"))


def _transfer(bench: Bench, amount: int) -> tuple[int, int]:
    """Send a stream from client to server: octets resent, octets lost on the link."""
    pair = bench.open()
    bench.link.lossy(0.05, sender="client")
    got = len(bench.transfer(pair, b"x" * amount))
    bench.check(T("octets that arrive", "到达的字节"), got, amount)
    wired = 0
    for entry in bench.record:
        if isinstance(entry, Sent) and entry.where == "client" and not isinstance(entry.packet, RawPacket):
            wired += int(segment(entry).length)
    lost = sum(
        int(wire_length(entry.packet)) - 20
        for entry in bench.record
        if isinstance(entry, Dropped) and entry.where == bench.link.name and entry.packet is not None
    )
    return wired - amount, lost


@lab(
    "MSS-03",
    title=T("One lost fragment costs the whole segment", "丢一个分片，整段重传"),
    claim=T(
        "IP has no retransmission: if a fragment is lost, the segment cannot be put together and all is sent again.",
        "IP 没有重传：丢一个分片，整个报文段无法重组，全部重发。",
    ),
    truth="true",
    source="S1; RFC 8900; RFC 791 3.2; ipfrag_time",
    why=T(
        "A segment of 8960 octets travels in 7 fragments. At 5 % loss 30 % of such segments lose one at least, and then"
        " all 8960 octets go again; with segments of 1460 only what was lost does.",
        "8960 字节的报文段要 7 个分片。丢包率 5 % 时约 30 % 的段至少丢一片，整段 8960 字节重传；1460"
        " 字节的段只重传丢失的。",
    ),
    practice=T(
        "Linux sets DF (ip_no_pmtu_disc=0), so its TCP is never fragmented: do not turn that off. Where ICMP is"
        " lost set"
        " net.ipv4.tcp_mtu_probing=1.",
        "Linux 设 DF（ip_no_pmtu_disc=0），TCP 不会被分片：不要关闭。ICMP 被丢弃的路径设 net.ipv4.tcp_mtu_probing=1。",
    ),
    on=SIM,
    sysctl={NO_PMTU_DISC: 1},
)
def cost_of_a_fragment(bench: Bench) -> Verdict:
    amount = 400_000
    other = bench.another(T("segments of 1460", "1460 字节报文段"))
    _set_mtu(bench, 9000)
    results = []
    for world in (bench, other):
        world.link.narrow(1500)
        results.append(_transfer(world, amount))
    (large, large_lost), (small, small_lost) = results
    split = sum(
        entry.drop.name == "LINK_LOSS" and isinstance(entry.packet, RawPacket)
        for entry in bench.record
        if isinstance(entry, Dropped)
    )
    bench.check_that(T("fragments lost", "丢失的分片"), split > 0, split, "some")
    ratio = large / large_lost
    bench.check_that(
        T("MSS 8960, fragmented: octets resent for each octet lost", "MSS 8960，分片：每丢 1 字节重传"),
        ratio > 2,
        f"{ratio:.1f}",
        "more than 2",
    )
    fair = small / small_lost
    other.check_that(T("octets resent for each octet lost", "每丢 1 字节重传"), fair < 2, f"{fair:.1f}", "less than 2")
    return bench.verdict(
        T(
            f"of {amount}: fragmented {large} octets resent for {large_lost} lost, segmented {small} for {small_lost}",
            f"共 {amount} 字节：分片时丢 {large_lost} 重传 {large}，分段时丢 {small_lost} 重传 {small}",
        )
    )


@lab(
    "MSS-04",
    title=T("One segment lost, one segment resent", "丢一段，只重传一段"),
    claim=T("Packets never exceed the MTU; only the lost segment is resent.", "包不超过 MTU；只重传丢失的一段。"),
    truth="true",
    source="S1; RFC 9293 3.7; RFC 2018",
    why=T(
        "Each segment is a datagram of its own with its own numbers, so the receiver can say exactly what it misses.",
        "每段都是独立的数据报、有自己的序号，接收方能准确说出缺什么。",
    ),
    practice=T(
        "Keep net.ipv4.tcp_sack=1: without it a sender can only guess what else was lost.",
        "保持 net.ipv4.tcp_sack=1：否则发送方只能猜测还丢了什么。",
    ),
    on=ANYWHERE,
    sysctl={TIMESTAMPS: 0},
)
def one_segment(bench: Bench) -> Verdict:
    pair = bench.open()
    bench.drop("second data from client")
    amount = 3 * 1460
    pair.client.send(pair.cfd, b"x" * amount)
    got = len(bench.read(pair.server, pair.sfd, amount))
    bench.run(SEC)
    sent = [(bench.relative_seq(entry), int(segment(entry).length)) for entry in bench.sent("client", payload=True)]
    again = [each for each in sent[3:] if each[0] == 1461]
    largest = max(int(wire_length(entry.packet)) for entry in bench.sent("client"))
    bench.check(T("segments", "报文段"), sent[:3], [(1, 1460), (1461, 1460), (2921, 1460)])
    bench.check(T("the lost one is resent", "丢失的一段被重传"), again, [(1461, 1460)])
    # A tail loss probe may come first, and repeats the last segment.
    others = sum(length for _, length in sent[3:]) - 1460
    bench.check_that(T("anything else resent (a probe)", "此外重传（探测）"), others in (0, 1460), others, "0 or 1460")
    bench.check(T("largest datagram", "最大的数据报"), largest, 1500)
    bench.check(T("octets that arrive", "到达的字节"), got, amount)
    return bench.verdict(
        T(
            f"{again[0][1]} of {amount} octets resent, largest datagram {largest}",
            f"{amount} 字节中重传 {again[0][1]}，最大数据报 {largest}",
        )
    )


@lab(
    "MSS-05",
    title=T("Segments are not put together again", "报文段并不会“还原”"),
    claim=T("The target host assembles TCP packets in the transport layer.", "目标主机在传输层重组 TCP 包。"),
    truth="simplification",
    source="S1; RFC 9293 3.8; tcp_retrans_collapse",
    why=T(
        "The receiver merges octets by number; where segments began is lost. A retransmission may even be cut"
        " otherwise:"
        " small neighbours ride along in one segment.",
        "接收方按序号合并字节，段的边界不保留。重传时甚至会改变切法：相邻的小段合并成一个。",
    ),
    practice=T(
        "Never take a segment for a message: neither in a program nor in a firewall rule.",
        "不要把报文段当消息：程序与防火墙规则都不行。",
    ),
    on=ANYWHERE,
    variants={
        "collapse": T("tcp_retrans_collapse=1, the default", "tcp_retrans_collapse=1，默认"),
        "apart": T("tcp_retrans_collapse=0", "tcp_retrans_collapse=0"),
    },
    sysctl={"net.ipv4.tcp_early_retrans": 0},
)
def boundaries_change(bench: Bench) -> Verdict:
    if bench.variant == "apart":
        bench.configure({"net.ipv4.tcp_retrans_collapse": 0})
    pair = bench.open()
    pair.client.setsockopt(pair.cfd, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bench.drop("first 3 data from client")
    for letter in (b"a", b"b", b"c"):
        pair.client.send(pair.cfd, letter * 100)
    got = bench.read(pair.server, pair.sfd, 300)
    bench.run(SEC)
    sizes = [int(segment(entry).length) for entry in bench.sent("client", payload=True)]
    merged = bench.sysctl("net.ipv4.tcp_retrans_collapse", "client") != 0
    bench.check(T("first sent as", "首次发送"), sizes[:3], [100, 100, 100])
    bench.check(T("sent again as", "重传为"), sizes[3:], [300] if merged else [100, 100, 100])
    bench.check(T("the stream is the same", "数据流不变"), got, b"a" * 100 + b"b" * 100 + b"c" * 100)
    told = ", ".join(map(str, sizes[3:]))
    return bench.verdict(T(f"three segments of 100, sent again as {told}", f"三段各 100，重传为 {told}"))
