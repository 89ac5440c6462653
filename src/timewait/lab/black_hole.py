"""A path that swallows large segments without a word, and how a sender finds out."""

from typing import Final

from timewait.base.instant import SEC
from timewait.lab.bench import READABLE, WRITABLE, Bench, Pair
from timewait.lab.frame import SIM, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.world.faults import Fault

PROBING: Final = "net.ipv4.tcp_mtu_probing"
AMOUNT: Final = 40_000
PATIENCE: Final = 60 * SEC
MANY: Final = 1_000_000
VALUES: Final = {"0": 0, "1": 1, "narrow": 1, "2": 2, "wider": 2}
"""What each variant sets tcp_mtu_probing to."""


def _push(bench: Bench, pair: Pair, amount: int, patience: int) -> tuple[int, int]:
    """Send so many octets, for as long as patience lasts: how many arrive, and in which time."""
    begun, left, got = bench.now, memoryview(bytes(amount)), 0
    while got < amount and bench.now - begun < patience:
        if left and pair.client.poll([(pair.cfd, WRITABLE)]):
            left = left[pair.client.send(pair.cfd, left) :]
        elif pair.server.poll([(pair.sfd, READABLE)]):
            got += len(pair.server.recv(pair.sfd, 1 << 20))
        else:
            writer = [(pair.cfd, WRITABLE)] if left else []
            bench.within(
                lambda writer=writer: pair.server.poll([(pair.sfd, READABLE)]) or pair.client.poll(writer),  # type: ignore[misc]
                begun + patience - bench.now,
            )
    return got, bench.now - begun


def _sizes(bench: Bench) -> list[int]:
    """Payload of the client's segments, in order."""
    return [int(segment(entry).length) for entry in bench.sent("client", payload=True)]


@lab(
    "MSS-06",
    title=T("A black hole for large segments", "吞掉大报文段的“黑洞”"),
    claim=T(
        "Where a firewall drops ICMP, path MTU discovery fails: the handshake works, the first large reply hangs.",
        "防火墙丢弃 ICMP 时路径 MTU 发现失效：握手正常，第一个大响应卡住。",
    ),
    truth="true",
    source="RFC 2923 2.1; RFC 4821; net/ipv4/tcp_timer.c tcp_mtu_probing()",
    why=T(
        "The sender resends the same large segment and nobody tells it why none arrives. tcp_mtu_probing=1 suspects the"
        " size after tcp_retries1 timeouts and goes on with tcp_base_mss octets, then with half; 2 begins small and"
        " probes larger segments with real data, halfway through the range each time. A probe that alone is lost is no"
        " congestion.",
        "发送方反复重传同样大的报文段，无人告知原因。tcp_mtu_probing=1 在 tcp_retries1 次超时后怀疑是大小问题，改用"
        " tcp_base_mss 字节，再不行减半；2 则从小开始，用真实数据对半探测更大的段。仅探测段丢失不算拥塞。",
    ),
    practice=T(
        "Let ICMP 'fragmentation needed' through; where you cannot, set net.ipv4.tcp_mtu_probing=1 or clamp the MSS.",
        "放行 ICMP “需要分片”；做不到时设 net.ipv4.tcp_mtu_probing=1 或钳制 MSS。",
    ),
    on=SIM,
    variants={
        "0": T("tcp_mtu_probing=0, the default", "tcp_mtu_probing=0，默认"),
        "1": T("1: suspects the size", "1：怀疑大小"),
        "narrow": T("1, and the path takes even less than tcp_base_mss", "1，且路径比 tcp_base_mss 更窄"),
        "2": T("2: searches from the start", "2：一开始就探测"),
        "wider": T("2, and the path becomes wider later", "2，之后路径变宽"),
    },
)
def black_hole(bench: Bench) -> Verdict:
    bench.configure({PROBING: VALUES[bench.variant]})
    pair = bench.open()
    narrow = bench.link.narrow(600 if bench.variant == "narrow" else 1300, blackhole=True)
    if bench.variant == "2":
        return _search(bench, pair)
    if bench.variant == "wider":
        return _wider(bench, pair, narrow)
    got, took = _push(bench, pair, AMOUNT, PATIENCE)
    sizes = _sizes(bench)
    hangs = bench.sysctl(PROBING, "client") == 0
    bench.check(T("octets that arrive within a minute", "一分钟内到达的字节"), got, 0 if hangs else AMOUNT)
    tries = len(sizes)
    if hangs:
        bench.check(T("sizes of what is sent again", "重传段的大小"), sorted(set(sizes[-3:])), [sizes[0]])
    else:
        bench.check_that(T("smaller segments", "更小的段"), min(sizes) < sizes[0], min(sizes), f"less than {sizes[0]}")
    tried = ", ".join(map(str, dict.fromkeys(sizes)))
    return bench.verdict(
        T(
            f"{got} of {AMOUNT} octets in {in_seconds([took])}, {tries} segments of {tried}",
            f"{in_seconds([took])}内到达 {got}/{AMOUNT} 字节，{tries} 段，大小 {tried}",
        )
    )


def _search(bench: Bench, pair: Pair) -> Verdict:
    """A path of 1300 octets, found by probes with data."""
    got, took = _push(bench, pair, MANY, 10 * PATIENCE)
    found = bench.counter("client", "TcpExtTCPMTUPSuccess")
    failed = bench.counter("client", "TcpExtTCPMTUPFail")
    size = max(_sizes(bench)[-20:])
    bench.check(T("octets that arrive", "到达的字节"), got, MANY)
    bench.check_that(T("probes that arrived", "到达的探测"), found > 0, found, "1 or more")
    bench.check_that(T("probes that did not", "未到达的探测"), failed > 0, failed, "1 or more")
    bench.check_that(T("segment size in the end", "最终段大小"), 1200 < size <= 1260, size, "1201 to 1260")
    return bench.verdict(
        T(
            f"segments grow to {size} ({found} probes arrived, {failed} did not), {in_seconds([took])} in all",
            f"段增大到 {size}（探测到达 {found} 个，未到达 {failed} 个），共 {in_seconds([took])}",
        )
    )


def _wider(bench: Bench, pair: Pair, narrow: Fault) -> Verdict:
    """A path that carries 1300 octets and later 1500: nothing is tried before tcp_probe_interval has passed."""
    _push(bench, pair, MANY, 10 * PATIENCE)
    before = max(_sizes(bench)[-20:])
    narrow.undo()
    _push(bench, pair, MANY, PATIENCE)
    soon = max(_sizes(bench)[-20:])
    bench.run(bench.sysctl("net.ipv4.tcp_probe_interval", "client") * SEC)
    for _ in range(3):
        _push(bench, pair, MANY, PATIENCE)
    later = max(_sizes(bench)[-20:])
    bench.check(T("soon after it became wider", "刚变宽之后"), soon, before)
    bench.check_that(T("once the interval is over", "间隔过后"), later > soon, later, f"more than {soon}")
    return bench.verdict(T(f"segments of {before}, {soon} and then {later}", f"段大小 {before}、{soon}，之后 {later}"))
