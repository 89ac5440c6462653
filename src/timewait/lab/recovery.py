"""Loss and its repair: duplicate acknowledgments, fast retransmit, back-off."""

import itertools
import random

from timewait.base.instant import MSEC, SEC
from timewait.lab import nominal
from timewait.lab.bench import Bench
from timewait.lab.byhand import open_to_server
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.judge import in_seconds, segment
from timewait.lab.timestamps import TIMESTAMPS
from timewait.record.entries import Received, Sent
from timewait.tcp.reasons import Why
from timewait.tcp.states import State
from timewait.wire.packet import Segment

_PUPPET = ("sim", "kernel")


@lab(
    "RTX-01",
    title=T("A large write: cut, numbered, put in order", "大块数据：切分、编号、还原"),
    claim=T(
        "The first octet has seq ISN+1; large data is split, numbered and reassembled.",
        "首字节序号 ISN+1；大数据被切分、编号、重组。",
    ),
    truth="true",
    source="S0 S1; RFC 9293 3.4",
    why=T(
        "Each segment carries the number of its first octet, and the next begins where it ends: no segment needs"
        " to know"
        " of another.",
        "每段携带首字节的序号，下一段从其末尾开始：各段互不依赖。",
    ),
    practice=T(
        "Sum of segments against what was written: `ss -ti` bytes_sent, bytes_acked, bytes_retrans.",
        "核对收发：`ss -ti` 的 bytes_sent、bytes_acked、bytes_retrans。",
    ),
    on=ANYWHERE,
)
def cut_and_numbered(bench: Bench) -> Verdict:
    pair = bench.open()
    data = random.Random(1).randbytes(5000)
    bench.write(pair.client, pair.cfd, data)
    got = bench.read(pair.server, pair.sfd, 5000)
    parts = [(bench.relative_seq(entry), int(segment(entry).length)) for entry in bench.sent("client", payload=True)]
    gaps = [after[0] - sum(before) for before, after in itertools.pairwise(parts)]
    bench.check(T("first octet", "首字节序号"), parts[0][0], 1)
    bench.check(T("gaps between segments", "各段之间的空隙"), set(gaps), {0})
    bench.check(T("end", "末尾"), sum(parts[-1]), 5001)
    bench.check(T("read as written", "读到与写入相同"), got == data, True)
    return bench.verdict(
        T(f"{len(parts)} segments from 1 to {sum(parts[-1]) - 1}", f"{len(parts)} 段，从 1 到 {sum(parts[-1]) - 1}")
    )


@lab(
    "RTX-02",
    title=T("The acknowledgment is the sender's next number", "确认号就是发送方的下一个序号"),
    claim=T("ACK = sequence + length.", "ACK = 序号 + 长度。"),
    truth="true",
    source="S0; RFC 9293 3.4",
    why=T(
        "It is cumulative: with several segments under way it is the end of the last one in order.",
        "确认是累积的：多段在途时为最后一个按序段的末尾。",
    ),
    practice=T(
        "An ACK behind what was sent shows what is on its way: SND.NXT - SND.UNA.",
        "确认号与已发序号之差就是在途数据：SND.NXT - SND.UNA。",
    ),
    on=ANYWHERE,
)
def next_number(bench: Bench) -> Verdict:
    pair = bench.open()
    pairs = []
    for size in (10, 200, 1000, 1):
        pair.client.send(pair.cfd, b"x" * size)
        bench.run(200 * MSEC)
        data, ack = bench.sent("client", payload=True)[-1], bench.sent("server", flags="A")[-1]
        pairs.append((bench.relative_seq(data), int(segment(data).length), bench.relative_ack(ack)))
    bench.check(T("acknowledged", "确认号"), [ack for _, _, ack in pairs], [seq + length for seq, length, _ in pairs])
    bench.check(T("and sent next", "下一段序号"), [seq for seq, _, _ in pairs[1:]], [ack for _, _, ack in pairs[:-1]])
    told = ", ".join(str(ack) for _, _, ack in pairs)
    return bench.verdict(T(f"acks {told}", f"确认号 {told}"))


@lab(
    "RTX-04",
    title=T("Three duplicate ACKs: sent again at once", "三个重复 ACK：立即重传"),
    claim=T(
        "After three duplicate ACKs the missing segment is resent before the timeout.",
        "收到三个重复 ACK，不等超时立即重传。",
    ),
    truth="true",
    source="S0; RFC 5681 3.2; RFC 6675; RFC 8985; tcp_reordering",
    why=T(
        "One or two may come of reordering; three make a loss likely. With SACK Linux counts what was received behind"
        " the hole, and RACK may decide by time.",
        "一两个可能只是乱序，三个则多半丢失。有 SACK 时 Linux 按缺口之后已收到的来判断，RACK 还可按时间判断。",
    ),
    practice=T(
        "net.ipv4.tcp_reordering rises by itself where a path reorders; `nstat TcpExtTCPFastRetrans` counts repairs.",
        "路径乱序时 net.ipv4.tcp_reordering 会自动上调；`nstat TcpExtTCPFastRetrans` 统计快速重传。",
    ),
    on=_PUPPET,
    topology="puppet-client",
    variants={"sack": T("with SACK", "有 SACK"), "bare": T("without SACK", "无 SACK")},
)
def three_duplicates(bench: Bench) -> Verdict:
    sack = bench.variant == "sack"
    program, fd = open_to_server(bench, sack=sack, mss=1000)
    puppet = bench.puppet
    program.send(fd, b"x" * 5000)
    bench.until(lambda: len(bench.sent("server", payload=True)) == 5, "five segments")
    bench.run(bench.lab.rtt)
    base = puppet.irs or 0
    begun = bench.now
    for number in range(1, 4):
        made = puppet.segment("A", seq=1, ack=1)
        if sack:
            made.sacks = (((base + 1001) % 2**32, (base + 1001 + 1000 * number) % 2**32),)
        puppet.put(made)
        # Closer together than a quarter of the RTT, after which RACK would not wait for the third.
        bench.run(MSEC)
    bench.run(bench.lab.rtt)
    repeated = bench.sent("server", payload=True, after=begun)
    bench.check(T("segments sent again", "重传的段"), [bench.relative_seq(entry) for entry in repeated][:1], [1])
    came = [entry.time for entry in bench.record if isinstance(entry, Received) and entry.where == "server"][-3:]
    took = repeated[0].time - came[-1] if repeated else -1
    before = sum(time <= repeated[0].time for time in came) if repeated else 0
    bench.check(T("duplicate ACKs that had come by then", "此时已到的重复 ACK"), before, 3)
    bench.check_that(T("after the third came", "距第三个到达"), 0 <= took < 10 * MSEC, in_seconds([took]), "at once")
    return bench.verdict(
        T(
            f"sent again {took / MSEC:.1f} ms after the third duplicate ACK",
            f"第三个重复 ACK 后 {took / MSEC:.1f} ms 重传",
        )
    )


@lab(
    "RTX-05",
    title=T("One duplicate ACK for each segment behind a gap", "缺口之后每段一个重复 ACK"),
    claim=T(
        "The receiver gets 1, 3, 4 but not 2, and repeats its ACK for 2.", "收到 1、3、4 而缺 2，则重复对 2 的确认。"
    ),
    truth="true",
    source="S0; RFC 5681 4.2; RFC 2018",
    why=T(
        "It must not wait (no delayed ACK): the sender counts these. With SACK each also names what has come.",
        "不得延迟：发送方要靠它计数。有 SACK 时还指明已收到的部分。",
    ),
    practice=T(
        "Bursts of duplicate ACKs in a capture: the hole before them is where the packet was lost.",
        "抓包见成串重复 ACK：其确认号处就是丢失的位置。",
    ),
    on=_PUPPET,
    topology="puppet-client",
)
def duplicate_per_segment(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench, sack=True)
    puppet = bench.puppet
    puppet.send("PA", seq=1, ack=1, data=b"1" * 100)
    bench.read(program, fd, 100)
    bench.run(100 * MSEC)
    acks = []
    waits = []
    for number in (3, 4, 5):
        before, begun = len(puppet.segments()), bench.now
        puppet.send("PA", seq=1 + 100 * (number - 1), ack=1, data=b"%d" % number * 100)
        bench.until(lambda before=before: len(puppet.segments()) > before, "a duplicate ACK", SEC)  # type: ignore[misc]
        waits.append(bench.now - begun - bench.lab.rtt)
        acks.append(puppet.relative(puppet.segments()[-1])[1])
    puppet.send("PA", seq=101, ack=1, data=b"2" * 100)
    got = bench.read(program, fd, 400)
    bench.run(100 * MSEC)
    acks.append(puppet.relative(puppet.segments()[-1])[1])
    bench.check(T("acks for segments 3, 4, 5, then 2", "对 3、4、5 与随后 2 的确认号"), acks, [101, 101, 101, 501])
    longest = max(waits)
    bench.check_that(
        T("longest delay of a duplicate", "重复 ACK 的最长延迟"), longest < 20 * MSEC, in_seconds([longest]), "none"
    )
    bench.check(T("read in order", "按序读到"), got, b"2" * 100 + b"3" * 100 + b"4" * 100 + b"5" * 100)
    told = ", ".join(map(str, acks))
    return bench.verdict(T(f"acks {told}", f"确认号 {told}"))


@lab(
    "RTX-06",
    title=T("What numbers are good for", "序号有什么用"),
    claim=T(
        "Numbers remove duplicates, restore order, and mark what was received.",
        "序号用于去重、排序、标记已收到的部分。",
    ),
    truth="true",
    source="S1; RFC 9293 3.4",
    why=T("All three follow from one thing: each octet has a place.", "三者都源于一点：每个字节都有自己的位置。"),
    practice=T(
        "`nstat TcpExtTCPOFOQueue TcpExtTCPDSACKOldSent` counts disorder and duplicates.",
        "`nstat TcpExtTCPOFOQueue TcpExtTCPDSACKOldSent` 统计乱序与重复。",
    ),
    on=SIM,
)
def three_uses(bench: Bench) -> Verdict:
    pair = bench.open()
    link = bench.link
    link.lossy(0.1, sender="client")
    link.duplicate(0.3, sender="client")
    link.reorder(0.3, sender="client")
    data = random.Random(6).randbytes(60_000)
    got = bench.transfer(pair, data)
    numbers = [
        bench.relative_seq(Sent(entry.time, "client", entry.packet))
        for entry in bench.record
        if isinstance(entry, Received)
        and entry.where == "server"
        and isinstance(entry.packet, Segment)
        and entry.packet.length
    ]  # fmt: skip
    twice = len(numbers) - len(set(numbers))
    disorder = sum(after < before for before, after in itertools.pairwise(numbers))
    marked = sum(bool(segment(entry).sacks) for entry in bench.sent("server"))
    bench.check(T("the program reads what was sent", "程序读到的与发送的相同"), got == data, True)
    for text, count in (
        (T("segments that came twice", "重复到达的段"), twice),
        (T("steps backwards", "乱序次数"), disorder),
        (T("ACKs that mark what has come", "标记已收到部分的 ACK"), marked),
    ):
        bench.check_that(text, count > 0, count, "some")
    return bench.verdict(
        T(
            f"{twice} duplicates, {disorder} out of order, {marked} SACKs; read whole",
            f"重复 {twice}，乱序 {disorder}，SACK {marked}；完整读出",
        )
    )


@lab(
    "RTX-07",
    title=T("Each timeout twice the last, up to 120 s", "超时逐次加倍，最多 120 秒"),
    claim=T("Every retransmission timeout is twice the previous one.", "每次重传超时是上次的两倍。"),
    truth="simplification",
    source="S0 S1 S4; RFC 6298 5.5; tcp_rto_max_ms; tcp_syn_linear_timeouts; tcp_thin_linear_timeouts",
    why=T(
        "Linux caps at tcp_rto_max_ms (120 s). The first SYN timeouts are not doubled since 6.5, and thin"
        " streams may be"
        " told not to.",
        "Linux 以 tcp_rto_max_ms（120 秒）封顶。6.5 起最初几次 SYN 超时不加倍，细流也可设为不加倍。",
    ),
    practice=T(
        "After an outage TCP may sleep for up to 2 min although the path is back: net.ipv4.tcp_rto_max_ms=10000 (6.15)"
        " wakes it sooner, at the cost of more packets into dead paths.",
        "断网恢复后 TCP 可能还要睡 2 分钟：net.ipv4.tcp_rto_max_ms=10000（6.15 起）可缩短，代价是向死路径多发包。",
    ),
    on=SIM,
    sysctl={"net.ipv4.tcp_early_retrans": 0, TIMESTAMPS: 1},
    variants={"default": T("up to 120 s", "上限 120 秒"), "capped": T("tcp_rto_max_ms=10000", "tcp_rto_max_ms=10000")},
)
def doubling_and_cap(bench: Bench) -> Verdict:
    cap = 120 * SEC
    if bench.variant == "capped":
        bench.configure({"net.ipv4.tcp_rto_max_ms": 10_000})
        cap = 10 * SEC
    pair = bench.open()
    bench.drop("every data from client")
    pair.client.send(pair.cfd, b"x")
    bench.until(lambda: bench.state("client") is State.CLOSED, "the end", 3600 * SEC)
    times = bench.times(bench.sent("client", payload=True))
    intervals = [after - before for before, after in itertools.pairwise(times)]
    expected = [min(intervals[0] * 2**number, cap) for number in range(len(intervals))]
    bench.check_times(T("intervals", "间隔"), intervals, expected)
    bench.check_that(
        T("first", "首次"),
        abs(intervals[0] - nominal.RTO_MIN - bench.lab.rtt) < 40 * MSEC,
        in_seconds(intervals[:1]),
        "RTT + 0.2 s",
    )
    timeouts = len(bench.sent("client", why=Why.RTO))
    bench.check(T("timeouts", "超时次数"), timeouts, len(intervals))
    capped = intervals.count(max(intervals))
    return bench.verdict(
        T(
            f"{in_seconds(intervals[:3])} doubling to {in_seconds([max(intervals)])}, {capped} times",
            f"{in_seconds(intervals[:3])} 加倍至 {in_seconds([max(intervals)])}，共 {capped} 次",
        )
    )
