"""One whole life of a connection, for the tour: handshake, data with a loss, close, TIME-WAIT to its end."""

from typing import Final

from timewait.base.instant import MSEC, SEC, show_ns
from timewait.lab.bench import Bench
from timewait.lab.frame import ANYWHERE, Lab, T, Verdict
from timewait.record import measure
from timewait.tcp.states import State

SIZE: Final = 7_000


def whole_life(bench: Bench) -> Verdict:
    """Five segments of data with the second one lost, then the four-way close."""
    pair = bench.open()
    bench.drop("2nd data from client")
    bench.write(pair.client, pair.cfd, bytes(SIZE))
    got = bench.read(pair.server, pair.sfd, SIZE)
    pair.client.close(pair.cfd)
    bench.read_end(pair.server, pair.sfd)
    bench.run(100 * MSEC)
    pair.server.close(pair.sfd)
    bench.until(lambda: bench.state("client") is State.TIME_WAIT, "TIME-WAIT")
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end of TIME-WAIT", 600 * SEC)
    again = len(measure.retransmissions(bench.connection()))
    waited = bench.moved_at("client", State.CLOSED) - bench.moved_at("client", State.TIME_WAIT)
    bench.check(T("octets that arrive", "到达字节"), len(got), SIZE)
    bench.check(T("segments sent again", "重传报文"), again, 1)
    bench.check_path(
        "client", State.SYN_SENT, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED
    )
    bench.check_path(
        "server", State.SYN_RCVD, State.ESTABLISHED, State.CLOSE_WAIT, State.LAST_ACK, State.CLOSED
    )  # fmt: skip
    bench.check_time(T("TIME-WAIT lasts", "TIME-WAIT 持续"), waited, 60 * SEC)
    whole = show_ns(round((bench.now - bench.sent()[0].time) / MSEC) * MSEC)
    return bench.verdict(
        T(
            f"{len(got)} octets, {again} segment lost and sent again, gone after {whole}",
            f"{len(got)} 字节，丢失并重传 {again} 个报文，{whole} 后彻底结束",
        )
    )


LIFE: Final = Lab(
    "LIFE",
    whole_life,
    title=T("The life of a connection, from SYN to the end of TIME-WAIT", "一条连接的一生：从 SYN 到 TIME-WAIT 结束"),
    claim=T(
        "Three segments open it, what is lost on the way is sent again, four segments close it, and who closed first"
        " remembers it for a minute.",
        "三个报文建立，途中丢失的会重传，四个报文关闭，先关闭的一方再记住它一分钟。",
    ),
    truth="true",
    source="RFC 9293 3.5, 3.6; RFC 8985; RFC 6675",
    why=T(
        "The segments behind the lost one arrive and are reported by SACK; that tells the sender what is missing long"
        " before its timeout.",
        "丢失报文之后的数据照常到达，并由 SACK 报告；发送方因此在超时之前很久就知道缺了什么。",
    ),
    practice=T(
        "`timewait lab` lists the experiments that take each of these steps apart.",
        "`timewait lab` 列出把每一步拆开来看的实验。",
    ),
    on=ANYWHERE,
    variants={},
    rtt=20 * MSEC,
    sysctl={},
    live={},
    topology="pair",
    profile="linux-6.18",
)
