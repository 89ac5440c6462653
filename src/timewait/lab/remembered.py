"""Stories of OPS-04: what a host remembers of its peers and paths when a connection ends."""

import socket

from timewait.base.instant import MSEC, SEC
from timewait.host.sockopt import MSG_FASTOPEN, TCP_FASTOPEN
from timewait.lab.bench import PORT, Bench, Pair, Program
from timewait.lab.frame import T, Verdict
from timewait.lab.judge import segment
from timewait.record.entries import Sent
from timewait.tcp.info import unpack_info
from timewait.tcp.reasons import Why

V4 = "net.ipv4."


def remembered(bench: Bench) -> Verdict:
    """tcp_no_metrics_save, tcp_no_ssthresh_metrics_save: what a second connection knows of the first.

    The first one has a long round trip and a loss. The second one's is short, but its first
    segment is lost: how soon that is noticed depends on what is remembered.
    """
    # A tail loss probe would come before the timeout.
    bench.set_sysctl("client", V4 + "tcp_early_retrans", 0)
    with bench.link.slow(150 * MSEC):
        first = bench.open()
        bench.drop("20th data from client")
        bench.transfer(first, bytes(200_000))
        first.client.close(first.cfd)
        bench.read_end(first.server, first.sfd)
        first.server.close(first.sfd)
        bench.run(SEC)
    kept = bench.simulated("client").tcp_metrics().strip()
    first.server.close(first.listener)
    second = bench.open()
    threshold = _info(second)["tcpi_snd_ssthresh"]
    bench.drop("1st data from client")
    begun = bench.now
    bench.transfer(second, bytes(1000))
    late = [
        entry.time - begun
        for entry in bench.record
        if isinstance(entry, Sent) and entry.time >= begun and segment(entry).why is Why.RTO
    ]
    bench.transfer(second, bytes(300_000))
    forgets = bench.sysctl(V4 + "tcp_no_metrics_save", "client")
    bench.check(T("timeouts", "超时次数"), len(late), 1)
    bench.check(T("is anything remembered", "是否留下记录"), bool(kept), not forgets)
    limit = 400 * MSEC
    bench.check_that(
        T("the first timeout after", "首次超时"),
        late[0] < limit if forgets else late[0] > limit,
        f"{late[0] // MSEC} ms",
        "below 400 ms" if forgets else "above 400 ms",
    )
    known = threshold < 2**31 - 1
    expected = not forgets and not bench.sysctl(V4 + "tcp_no_ssthresh_metrics_save", "client")
    bench.check(T("is the threshold known", "慢启动阈值是否已知"), known, expected)
    return bench.verdict(
        T(
            f"the second connection first times out after {late[0] // MSEC} ms; remembered: {kept or 'nothing'}",
            f"第二条连接首次超时为 {late[0] // MSEC} 毫秒；留下的记录：{kept or '无'}",
        )
    )


def given_up(bench: Bench) -> Verdict:
    """tcp_fastopen_blackhole_timeout_sec: after three timeouts in a row fast open is not tried for a while."""
    bench.set_sysctl("server", V4 + "tcp_fastopen", 3)
    server = bench.program("server")
    listener = bench.listen(server)
    server.setsockopt(listener, socket.IPPROTO_TCP, TCP_FASTOPEN, 5)
    _open_fast(bench)
    client, opened = _open_fast(bench)
    with bench.link.partition():
        bench.write(client, opened, bytes(1000))
        bench.run(10 * SEC)
    begun = bench.now
    _open_fast(bench)
    last = [
        segment(entry)
        for entry in bench.record
        if isinstance(entry, Sent) and entry.time >= begun and segment(entry).flags & 0x12 == 2
    ]
    limit = bench.sysctl(V4 + "tcp_fastopen_blackhole_timeout_sec", "client")
    seen = bench.counter("client", "TcpExtTCPFastOpenBlackhole")
    bench.check(T("black holes seen", "发现的黑洞"), seen, int(limit > 0))
    used = last[0].length > 0
    bench.check(T("data on the next SYN", "下一个 SYN 是否带数据"), used, limit == 0)
    return bench.verdict(
        T(
            f"after three timeouts the next SYN {'carries data all the same' if used else 'is a plain one'}",
            f"三次超时后，下一个 SYN {'仍带数据' if used else '不带数据'}",
        )
    )


def _open_fast(bench: Bench) -> tuple[Program, int]:
    client = bench.program("client")
    fd = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    bench.attempt(lambda: client.sendto(fd, b"request", (bench.world.address("server"), PORT), MSG_FASTOPEN))
    bench.run(SEC)
    return client, fd


def _info(pair: Pair) -> dict[str, int]:
    raw = pair.client.getsockopt(pair.cfd, socket.IPPROTO_TCP, socket.TCP_INFO, 280)
    assert isinstance(raw, bytes)
    return unpack_info(raw)
