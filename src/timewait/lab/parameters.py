"""Short stories that show what a parameter does where no claim of the catalogue needs it: variants of OPS-04."""

import socket
from collections.abc import Callable
from typing import Final

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench, Program
from timewait.lab.frame import T, Verdict
from timewait.lab.judge import in_seconds, segment
from timewait.lab.remembered import given_up, remembered
from timewait.record.entries import Sent
from timewait.tcp.info import unpack_info
from timewait.wire.accecn import option_of
from timewait.wire.icmp import ECHO
from timewait.wire.packet import ECE, PROTO_ICMP, IcmpMessage, Segment

V4: Final = "net.ipv4."
ECN_OPTION: Final = V4 + "tcp_ecn_option"
SO_MAX_PACING_RATE: Final = 47
PAYLOAD: Final = bytes(4000)


def nonlocal_bind(bench: Bench) -> Verdict:
    """ip_nonlocal_bind: bind() to an address that nobody has yet, as a standby load balancer does."""
    program = bench.program("client")
    fd = program.socket(socket.AF_INET, socket.SOCK_STREAM)
    answer = bench.attempt(lambda: program.bind(fd, ("203.0.113.9", 8080)))
    allowed = bench.sysctl(V4 + "ip_nonlocal_bind", "client")
    bench.check(T("bind() to a foreign address", "绑定非本机地址"), answer, "OK" if allowed else "EADDRNOTAVAIL")
    return bench.verdict(
        T(f"ip_nonlocal_bind={allowed}: bind() {answer}", f"ip_nonlocal_bind={allowed}：bind() {answer}")
    )


def echo(bench: Bench) -> Verdict:
    """icmp_echo_ignore_all: whether ping is answered."""
    client, server = bench.simulated("client"), bench.simulated("server")
    request = IcmpMessage()
    request.src, request.dst = client.interfaces[-1].addresses[0][0], server.interfaces[-1].addresses[0][0]
    request.proto, request.ttl, request.type, request.payload = PROTO_ICMP, 64, ECHO, b"ping"
    route = client.routes.find(request.dst)
    assert route is not None
    client.output(request, route)
    bench.run(SEC)
    replies = [entry for entry in _sent(bench, "server") if isinstance(entry.packet, IcmpMessage)]
    ignored = bench.sysctl(V4 + "icmp_echo_ignore_all")
    bench.check(T("echo replies", "回显应答"), len(replies), 0 if ignored else 1)
    return bench.verdict(T(f"{len(replies)} echo replies", f"回显应答 {len(replies)} 个"))


def unreachable(bench: Bench) -> Verdict:
    """icmp_ratelimit: how often one sender is told that its port is closed."""
    told = _knock(bench)
    interval = bench.sysctl(V4 + "icmp_ratelimit")
    if interval == 1000:
        # A bucket of six, then one a second.
        bench.check(T("answers to 100 datagrams in 10 s", "10 秒 100 个数据报得到的应答"), told, 6 + 9)
    else:
        bench.check_that(
            T("answers to 100 datagrams in 10 s", "10 秒 100 个数据报得到的应答"), told <= 100, told, "at most 100"
        )
    return bench.verdict(
        T(
            f"icmp_ratelimit={interval} ms: {told} of 100 answered",
            f"icmp_ratelimit={interval} 毫秒：100 个应答 {told} 个",
        )
    )


def all_unreachable(bench: Bench) -> Verdict:
    """icmp_msgs_per_sec: how many errors a host sends altogether."""
    bench.set_sysctl("server", V4 + "icmp_ratelimit", 0)
    told = _knock(bench)
    rate, burst = bench.sysctl(V4 + "icmp_msgs_per_sec"), bench.sysctl(V4 + "icmp_msgs_burst")
    most = min(100, burst + 10 * rate)
    bench.check_that(
        T("answers to 100 datagrams in 10 s", "10 秒 100 个数据报得到的应答"), told <= most, told, f"at most {most}"
    )
    return bench.verdict(T(f"{rate} a second: {told} of 100 answered", f"每秒 {rate} 个：100 个应答 {told} 个"))


def _knock(bench: Bench) -> int:
    """A hundred datagrams to a closed port, ten a second: how many ICMP errors came of them."""
    client = bench.program("client")
    fd = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(100):
        bench.attempt(lambda: client.sendto(fd, b"knock", (bench.world.address("server"), 9)))
        bench.run(100 * MSEC)
    return sum(isinstance(entry.packet, IcmpMessage) for entry in _sent(bench, "server"))


def spurious_timeout(bench: Bench) -> Verdict:
    """tcp_frto: a timeout that was not a loss is recognised by the acknowledgments that still come (RFC 5682)."""
    for host in ("client", "server"):
        # Timestamps would tell by themselves (Eifel, RFC 3522).
        bench.set_sysctl(host, V4 + "tcp_timestamps", 0)
    pair = bench.open()
    bench.transfer(pair, bytes(20_000))
    bench.run(SEC)
    bench.write(pair.client, pair.cfd, bytes(14_600))
    bench.link.slow(SEC)
    bench.write(pair.client, pair.cfd, bytes(60_000))
    got = bench.read(pair.server, pair.sfd, 74_600)
    bench.run(5 * SEC)
    seen = bench.counter("client", "TcpExtTCPSpuriousRTOs")
    again = bench.counter("client", "TcpRetransSegs")
    enabled = bench.sysctl(V4 + "tcp_frto", "client")
    bench.check(T("octets that arrived", "到达的字节"), len(got), 74_600)
    bench.check_that(T("segments sent again", "重传段数"), again >= 1, again, "1 or more")
    return bench.verdict(
        T(
            f"tcp_frto={enabled}: {again} sent again, {seen} timeouts found needless",
            f"tcp_frto={enabled}：重传 {again} 段，识别虚假超时 {seen} 次",
        )
    )


def paced(bench: Bench) -> Verdict:
    """tcp_pacing_ss_ratio, tcp_pacing_ca_ratio, tcp_min_tso_segs, tcp_tso_rtt_log: how a paced sender spreads data."""
    pair = bench.open()
    pair.client.setsockopt(pair.cfd, socket.SOL_SOCKET, SO_MAX_PACING_RATE, 1_000_000_000)
    bench.drop("40th data from client")
    begun = bench.now
    got = bench.transfer(pair, bytes(600_000))
    took = bench.now - begun
    sent = [entry.time for entry in _sent(bench, "client", after=begun) if isinstance(entry.packet, Segment)]
    instants = len(set(sent))
    bench.check(T("octets that arrived", "到达的字节"), len(got), 600_000)
    bench.check_that(T("instants at which something left", "发送时刻数"), instants >= 20, instants, "20 or more")
    return bench.verdict(
        T(
            f"{len(sent)} segments left at {instants} instants in {in_seconds([took])}",
            f"{in_seconds([took])}内 {len(sent)} 段在 {instants} 个时刻发出",
        )
    )


def reordered(bench: Bench) -> Verdict:
    """tcp_max_reordering: how much reordering a connection learns to bear before it takes it for loss."""
    pair = bench.open()
    bench.link.reorder(0.3, by=3 * MSEC)
    got = bench.transfer(pair, bytes(300_000))
    most = bench.sysctl(V4 + "tcp_max_reordering", "client")
    needless = bench.counter("client", "TcpRetransSegs")
    bench.check(T("octets that arrived", "到达的字节"), len(got), 300_000)
    return bench.verdict(T(f"limit {most}: {needless} sent again for nothing", f"上限 {most}：无谓重传 {needless} 段"))


def holes(bench: Bench) -> Verdict:
    """tcp_comp_sack_nr, _delay_ns, _slack_ns: how many acknowledgments tell of one hole."""
    pair = bench.open()
    bench.transfer(pair, bytes(200_000))
    begun = bench.now
    bench.drop("30th data from client")
    got = bench.transfer(pair, bytes(300_000))
    bench.run(SEC)
    merged = bench.counter("server", "TcpExtTCPAckCompressed")
    told = [entry for entry in _sent(bench, "server", after=begun) if isinstance(entry.packet, Segment)]
    telling = [entry for entry in told if segment(entry).sacks]
    most = bench.sysctl(V4 + "tcp_comp_sack_nr")
    bench.check(T("octets that arrived", "到达的字节"), len(got), 300_000)
    bench.check_that(T("acknowledgments of the hole", "报告空洞的确认"), len(telling) >= 3, len(telling), "3 or more")
    if most == 0:
        bench.check(T("acknowledgments merged", "合并的确认"), merged, 0)
    return bench.verdict(
        T(
            f"tcp_comp_sack_nr={most}: {len(telling)} acknowledgments of the hole left, {merged} were merged",
            f"tcp_comp_sack_nr={most}：报告空洞的确认 {len(telling)} 个，另有 {merged} 个被合并",
        )
    )


def after_silence(bench: Bench) -> Verdict:
    """tcp_slow_start_after_idle: how much leaves at once after a pause longer than the timeout."""
    pair = bench.open()
    bench.transfer(pair, bytes(200_000))
    bench.run(5 * SEC)
    begun = bench.now
    bench.write(pair.client, pair.cfd, bytes(60_000))
    bench.run(bench.lab.rtt // 2)
    burst = sum(
        -(-entry.packet.length // max(entry.packet.gso_size, 1460)) if isinstance(entry.packet, Segment) else 0
        for entry in _sent(bench, "client", after=begun)
    )
    restart = bench.sysctl(V4 + "tcp_slow_start_after_idle", "client")
    if restart:
        bench.check(T("segments in the first burst", "首次突发的段数"), burst, 10)
    else:
        bench.check_that(T("segments in the first burst", "首次突发的段数"), burst > 10, burst, "more than 10")
    return bench.verdict(T(f"{burst} segments at once after 5 s of silence", f"静默 5 秒后一次发出 {burst} 段"))


def urgent(bench: Bench) -> Verdict:
    """tcp_stdurg: whether the urgent pointer names the last urgent octet or the one behind it (RFC 6093)."""
    pair = bench.open()
    pair.client.send(pair.cfd, b"abc", socket.MSG_OOB)
    bench.run(SEC)
    octet = bench.attempt(lambda: pair.server.recv(pair.sfd, 1, socket.MSG_OOB))
    rest = pair.server.recv(pair.sfd, 10)
    strict = bench.sysctl(V4 + "tcp_stdurg")
    bench.check(T("recv(MSG_OOB)", "recv(MSG_OOB)"), octet, "EAGAIN" if strict else "OK")
    bench.check(T("what recv() gives", "recv() 得到"), rest, b"abc" if strict else b"ab")
    return bench.verdict(T(f"tcp_stdurg={strict}: recv() gives {rest!r}", f"tcp_stdurg={strict}：recv() 得到 {rest!r}"))


def fragments(bench: Bench) -> Verdict:
    """ipfrag_max_dist: how many other fragments may pass before a datagram is given up."""
    server, client = bench.program("server"), bench.program("client")
    door = server.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(door, ("0.0.0.0", 53))
    fd = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bench.link.reorder(0.5, by=30 * MSEC, sender="client")
    for _ in range(20):
        client.sendto(fd, PAYLOAD, (bench.world.address("server"), 53))
        bench.run(MSEC)
    bench.run(SEC)
    whole = 0
    while bench.attempt(lambda: server.recvfrom(door, 65536)) == "OK":
        whole += 1
    limit = bench.sysctl(V4 + "ipfrag_max_dist")
    if limit == 0 or limit >= 64:
        bench.check(T("datagrams put together", "重组的数据报"), whole, 20)
    else:
        bench.check_that(T("datagrams put together", "重组的数据报"), whole <= 20, whole, "20 at most")
    return bench.verdict(T(f"distance {limit}: {whole} of 20 put together", f"距离 {limit}：20 个中重组 {whole} 个"))


def without_ecn(bench: Bench) -> Verdict:
    """tcp_ecn_fallback: a SYN that asks for ECN and is lost is repeated without asking (RFC 3168 6.1.1.1)."""
    bench.set_sysctl("client", V4 + "tcp_ecn", 1)
    bench.drop("first SYN")
    pair = bench.open()
    asked = [bool(segment(entry).flags & ECE) for entry in bench.sent("client", flags="S")]
    falls_back = bench.sysctl(V4 + "tcp_ecn_fallback", "client")
    bench.check(T("SYNs that ask for ECN", "请求 ECN 的 SYN"), asked, [True, not falls_back])
    bench.check(T("the connection opens", "连接建立"), pair.sfd >= 0, True)
    return bench.verdict(
        T(
            f"tcp_ecn_fallback={falls_back}: the second SYN {'asks again' if asked[-1] else 'asks no more'}",
            f"tcp_ecn_fallback={falls_back}：第二个 SYN {'仍' if asked[-1] else '不再'}请求 ECN",
        )
    )


def accurate_ecn(bench: Bench) -> Verdict:
    """tcp_ecn=3 and tcp_ecn_option: the sender learns how many packets and octets were marked (RFC 9768)."""
    return _marked_transfer(bench, bench.sysctl(ECN_OPTION, "server"))


def beacon(bench: Bench) -> Verdict:
    """tcp_ecn_option_beacon: how often the option comes where it is sent sparingly."""
    for host in ("client", "server"):
        if bench.sysctl(ECN_OPTION, host):
            bench.set_sysctl(host, ECN_OPTION, 1)
    return _marked_transfer(bench, bench.sysctl(ECN_OPTION, "server"))


def _marked_transfer(bench: Bench, option: int) -> Verdict:
    """A file over a link that marks one packet in ten: what the receiver counted, what the sender knows of it."""
    accurate = ECN_OPTION in bench.simulated("server").sysctl.names()
    for host in ("client", "server"):
        bench.set_sysctl(host, V4 + "tcp_ecn", 3 if accurate else 1)
    pair = bench.open()
    bench.link.mark(0.1, sender="client")
    data = bytes(300_000)
    bench.transfer(pair, data)
    bench.run(SEC)
    knows, came = _info(pair.client, pair.cfd), _info(pair.server, pair.sfd)
    if not accurate:
        return bench.verdict(T("this kernel has classic ECN only", "此内核只有经典 ECN"))
    marked = came["tcpi_received_ce"]
    bench.check_that(T("packets that came marked", "到达时带标记的包"), marked > 0, marked, "some")
    bench.check(T("marked, as the sender knows", "发送方得知的带标记包数"), knows["tcpi_delivered_ce"], marked)
    octets = [came[f"tcpi_received_{kind}_bytes"] for kind in ("e0", "ce")]
    bench.check(T("octets received", "收到的字节"), sum(octets), len(data))
    told = [knows[f"tcpi_delivered_{kind}_bytes"] for kind in ("e0", "ce")]
    # Without options nobody knows of octets; with few of them the last ones are not told.
    if option == 2:
        bench.check(T("octets, as the sender knows", "发送方得知的字节"), told, octets)
    carriers = [entry for entry in bench.sent("server") if option_of(segment(entry))]
    return bench.verdict(
        T(
            f"{marked} packets marked, the sender knows of {knows['tcpi_delivered_ce']};"
            f" {len(carriers)} acknowledgments carried the option",
            f"{marked} 个包带标记，发送方得知 {knows['tcpi_delivered_ce']} 个；{len(carriers)} 个确认带有该选项",
        )
    )


def _info(program: Program, fd: int) -> dict[str, int]:
    """TCP_INFO by name."""
    raw = program.getsockopt(fd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)
    assert isinstance(raw, bytes)
    return unpack_info(raw)


def _sent(bench: Bench, host: str, *, after: int = 0) -> list[Sent]:
    return [entry for entry in bench.record if isinstance(entry, Sent) and entry.where == host and entry.time >= after]


STORIES: Final[dict[str, Callable[[Bench], Verdict]]] = {
    "nonlocal": nonlocal_bind,
    "echo": echo,
    "unreachable": unreachable,
    "all-unreachable": all_unreachable,
    "frto": spurious_timeout,
    "paced": paced,
    "reordering": reordered,
    "holes": holes,
    "idle": after_silence,
    "urgent": urgent,
    "ecn-fallback": without_ecn,
    "accurate-ecn": accurate_ecn,
    "ecn-beacon": beacon,
    "fragments": fragments,
    "remembered": remembered,
    "given-up": given_up,
}
MEANINGS: Final[dict[str, T]] = {
    "nonlocal": T("what ip_nonlocal_bind does", "ip_nonlocal_bind 的作用"),
    "echo": T("what icmp_echo_ignore_all does", "icmp_echo_ignore_all 的作用"),
    "unreachable": T("what icmp_ratelimit does", "icmp_ratelimit 的作用"),
    "all-unreachable": T("what icmp_msgs_per_sec does", "icmp_msgs_per_sec 的作用"),
    "frto": T("what tcp_frto does", "tcp_frto 的作用"),
    "paced": T("what pacing's parameters do", "pacing 各参数的作用"),
    "reordering": T("what tcp_max_reordering does", "tcp_max_reordering 的作用"),
    "holes": T("how acknowledgments of one hole are merged", "同一空洞的确认如何合并"),
    "given-up": T("when fast open is given up for a while", "何时暂停快速打开"),
    "remembered": T("what a connection leaves to the next", "一条连接给下一条留下什么"),
    "idle": T("what tcp_slow_start_after_idle does", "tcp_slow_start_after_idle 的作用"),
    "urgent": T("what tcp_stdurg does", "tcp_stdurg 的作用"),
    "ecn-fallback": T("what tcp_ecn_fallback does", "tcp_ecn_fallback 的作用"),
    "accurate-ecn": T("what tcp_ecn=3 and tcp_ecn_option do", "tcp_ecn=3 与 tcp_ecn_option 的作用"),
    "ecn-beacon": T("what tcp_ecn_option_beacon does", "tcp_ecn_option_beacon 的作用"),
    "fragments": T("what ipfrag_max_dist does", "ipfrag_max_dist 的作用"),
}
"""What each story shows."""
