"""The timestamp option, and the numbers that wrap without it."""

from timewait.base.instant import MSEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import open_to_server, stamp
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment

TIMESTAMPS = "net.ipv4.tcp_timestamps"


@lab(
    "HDR-10",
    title=T("Numbers wrap at 4 GB: old or new?", "序号 4 GB 回绕：新还是旧？"),
    claim=T(
        "Sequence numbers wrap, so they alone cannot tell old from new; timestamps can.",
        "序号会回绕，单凭序号无法判断新旧，需要时间戳。",
    ),
    truth="true",
    source="S1; RFC 7323 5",
    why=T(
        "A segment exactly 2^32 octets old has a number inside the window. Its timestamp is older than the last one"
        " seen, and PAWS drops it; without timestamps its octets enter the stream.",
        "恰好旧 2^32 字节的报文，序号落在窗口内。它的时间戳比最近的旧，PAWS 将其丢弃；没有时间戳则其字节混入数据流。",
    ),
    practice=T(
        "Keep net.ipv4.tcp_timestamps=1: at 10 Gbit/s numbers wrap in 3.4 s. It costs 12 octets a segment.",
        "保持 net.ipv4.tcp_timestamps=1：10 Gbit/s 下 3.4 秒就回绕一圈。代价是每段 12 字节。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={
        "paws": T("with timestamps", "有时间戳"),
        "bare": T("without timestamps", "无时间戳"),
        "wrap": T("the stream itself crosses 2^32", "数据流本身跨越 2^32"),
    },
)
def wrapped_numbers(bench: Bench) -> Verdict:
    if bench.variant == "wrap":
        return _across_the_wrap(bench)
    first = 1_000_000 if bench.variant == "paws" else None
    program, fd = open_to_server(bench, tsval=first)
    puppet = bench.puppet
    puppet.put(stamp(bench, puppet.segment("PA", seq=1, ack=1, data=b"n" * 10), None if first is None else first + 5))
    bench.read(program, fd, 10)
    bench.run(100 * MSEC)
    before = len(puppet.segments())
    bench.note("a segment of 2^32 octets ago arrives: its number is the next one expected")
    old = puppet.segment("PA", seq=11, ack=1, data=b"old")
    puppet.put(stamp(bench, old, None if first is None else first - 5000))
    bench.run(100 * MSEC)
    got = bench.attempt(lambda: program.recv(fd, 100))
    answers = puppet.segments()[before:]
    acks = [puppet.relative(each)[1] for each in answers]
    paws = bench.variant == "paws"
    bench.check(T("recv() after the old segment", "旧报文之后 recv()"), got, "EAGAIN" if paws else "OK")
    bench.check(T("acknowledged", "确认号"), acks, [11] if paws else [14])
    if paws:
        bench.check(T("PAWSEstab", "计数器 PAWSEstab"), bench.counter("server", "TcpExtPAWSEstab"), 1)
    taken = 0 if got == "EAGAIN" else 3
    return bench.verdict(
        T(f"{taken} old octets delivered, ack {acks[0]}", f"交付了 {taken} 个旧字节，确认号 {acks[0]}")
    )


def _across_the_wrap(bench: Bench) -> Verdict:
    program, fd = open_to_server(bench, iss=0xFFFFFFF8)
    puppet = bench.puppet
    puppet.send("PA", seq=1, ack=1, data=b"0123456789abcdef")
    got = bench.read(program, fd, 16)
    bench.run(100 * MSEC)
    last = puppet.segments()[-1]
    bench.check(T("octets read in order", "按序读到的字节"), got, b"0123456789abcdef")
    bench.check(T("absolute ack behind the wrap", "回绕之后的绝对确认号"), last.ack, 9)
    return bench.verdict(
        T(
            f"from 4294967288 to {last.ack}: {len(got)} octets read",
            f"从 4294967288 到 {last.ack}：读到 {len(got)} 字节",
        )
    )


@lab(
    "HDR-11",
    title=T("Timestamps: my clock and your last one", "时间戳：我的时钟与你的最近值"),
    claim=T(
        "Two values of 4 octets: the time of sending and an echo of the last one received; tcp_timestamps is 1.",
        "两个 4 字节值：发送时间，以及最近收到的时间戳的回显；tcp_timestamps 默认 1。",
    ),
    truth="true",
    source="S1 S4; RFC 7323 3",
    why=T(
        "The option is on every segment once both SYNs had it. The echo is of the segment that moved the left edge of"
        " the window, which makes an RTT sample count a delayed acknowledgment in.",
        "双方 SYN 都带该选项后，每个报文都有。回显的是推动窗口左沿的那个报文的值，因此 RTT 样本包含延迟确认。",
    ),
    practice=T(
        "net.ipv4.tcp_timestamps=1 (the default) hides the uptime behind an offset; 2 shows it; 0 turns PAWS off.",
        "net.ipv4.tcp_timestamps=1（默认）用随机偏移隐藏开机时间；2 则暴露；0 关闭 PAWS。",
    ),
    on=ANYWHERE,
)
def timestamps(bench: Bench) -> Verdict:
    counts = []
    for world in (bench, bench.another(T("tcp_timestamps=0", "tcp_timestamps=0"), sysctl={TIMESTAMPS: 0})):
        pair = world.open()
        for program, fd in ((pair.client, pair.cfd), (pair.server, pair.sfd)):
            program.send(fd, b"x" * 10)
            world.run(200 * MSEC)
        segments = [segment(entry) for entry in world.sent()]
        stamped = [each for each in segments if each.has_ts]
        counts.append((len(stamped), len(segments)))
        if world is not bench:
            world.check(T("segments with the option", "带该选项的报文"), len(stamped), 0)
            continue
        world.check(T("segments with the option, of", "带该选项的报文，总数"), len(stamped), len(segments))
        strange = 0
        values: dict[bytes, set[int]] = {}
        for each in segments:
            values.setdefault(each.src, set()).add(each.tsval)
            strange += each.tsecr not in values.get(each.dst, {0})
        world.check(T("echoes of what the peer never sent", "回显了对端从未发送的值"), strange, 0)
    (on, all_on), (off, all_off) = counts
    return bench.verdict(
        T(
            f"{on} of {all_on} segments; with tcp_timestamps=0 {off} of {all_off}",
            f"{all_on} 个报文中 {on} 个；tcp_timestamps=0 时 {all_off} 个中 {off} 个",
        )
    )
