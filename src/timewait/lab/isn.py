"""Initial sequence numbers: a clock, a secret, and what goes wrong without them."""

import socket
import struct

from timewait.base.instant import MSEC, SEC, USEC
from timewait.lab.bench import Bench
from timewait.lab.byhand import SPORT
from timewait.lab.forge import Forger
from timewait.lab.frame import ANYWHERE, SIM, T, Verdict, lab
from timewait.lab.hypothetical import with_clock_isn, with_fixed_isn
from timewait.lab.judge import segment
from timewait.lab.timestamps import TIMESTAMPS
from timewait.tcp.profile import profile_named
from timewait.wire.address import show

_ABORT = struct.pack("ii", 1, 0)
_WRAP = 2**32


def _syn_once(bench: Bench, sport: int = SPORT) -> tuple[int, int]:
    """Open from one port and abort: the ISNs of client and server. The server must listen."""
    client = bench.program("client")
    mark = bench.now
    fd = bench.connect(client, sport=sport)
    bench.outcome(client, fd)
    bench.run(bench.lab.rtt)
    client.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    client.close(fd)
    bench.run(bench.lab.rtt)
    own, other = (bench.sent(host, flags=flags, after=mark)[0] for host, flags in (("client", "S"), ("server", "SA")))
    return int(segment(own).seq), int(segment(other).seq)


@lab(
    "ISN-01",
    title=T("Every connection begins at another number", "每个连接的初始序号都不同"),
    claim=T(
        "The ISN changes with time, differs for each connection, is not fixed.",
        "ISN 随时间变化，每个连接不同，不固定。",
    ),
    truth="true",
    source="S0 S1 S3; RFC 9293 3.4.1 MUST-8 SHLD-1",
    why=T("A clock that never stands still plus a hash of the four-tuple.", "由不停的时钟加四元组散列构成。"),
    practice=T("Nothing to set; it cannot be turned off.", "无需设置，也无法关闭。"),
    on=ANYWHERE,
)
def all_different(bench: Bench) -> Verdict:
    server, client = bench.program("server"), bench.program("client")
    bench.listen(server)
    count = 20
    for _ in range(count):
        bench.outcome(client, bench.connect(client))
    numbers = {segment(entry).seq for flags in ("S", "SA") for entry in bench.sent(flags=flags)}
    bench.check(T("different numbers in SYNs and SYN-ACKs", "SYN 与 SYN-ACK 中不同的序号"), len(numbers), 2 * count)
    return bench.verdict(T(f"{len(numbers)} numbers, all different", f"{len(numbers)} 个序号全不相同"))


@lab(
    "ISN-02",
    title=T("How fast the ISN clock ticks", "ISN 时钟多快"),
    claim=T(
        "The counter adds 1 every 4 ms (two articles); every 4 microseconds (one).",
        "两文说每 4 毫秒加 1，一文说每 4 微秒。",
    ),
    truth="sources disagree",
    source="S0 S1 S3; RFC 9293 3.4.1; secure_tcp_seq",
    why=T(
        "RFC: every 4 microseconds; 4 ms is wrong by a thousand. Linux ticks every 64 ns: 15.625 in a microsecond.",
        "RFC 为每 4 微秒；4 毫秒差了一千倍。Linux 每 64 纳秒一跳：每微秒 15.625。",
    ),
    practice=T(
        "Devices that compare ISNs to fingerprint hosts or count them behind a NAT rely on this slope.",
        "据 ISN 斜率可识别系统或统计 NAT 后的主机数。",
    ),
    on=ANYWHERE,
)
def ticks(bench: Bench) -> Verdict:
    told = []
    worlds = [(bench, 15.625)]
    if bench.on == "sim":
        worlds = [(bench, USEC / int(profile_named(bench.profile).isn_tick))]
        worlds.append((bench.another(T("rfc9293", "rfc9293"), profile="rfc9293"), 0.25))
    for world, expected in worlds:
        world.listen(world.program("server"))
        found = []
        for _ in range(2):
            mark = world.now
            own, other = _syn_once(world)
            times = [
                entry.time
                for entry in (
                    *world.sent("client", flags="S", after=mark),
                    *world.sent("server", flags="SA", after=mark),
                )
            ]
            found.append((own, other, *times[:2]))
            world.run(100 * MSEC)
        slopes = []
        for side in (0, 1):
            ticked = (found[1][side] - found[0][side]) % _WRAP
            slopes.append(ticked * USEC / int(found[1][side + 2] - found[0][side + 2]))
        near = all(abs(slope - expected) <= expected * (0.0001 if world.on == "sim" else 0.02) for slope in slopes)
        measured = ", ".join(f"{slope:.3f}" for slope in slopes)
        world.check_that(
            T("ISN per microsecond, client and server", "每微秒 ISN 增量，客户端与服务端"),
            near,
            measured,
            f"{expected:.3f}",
        )
        told.append(f"{slopes[0]:.3f}")
    more = f"; rfc9293 {told[1]}" if len(told) > 1 else ""
    return bench.verdict(T(f"{told[0]} per microsecond{more}", f"每微秒 {told[0]}{more}"))


@lab(
    "ISN-03",
    title=T("How long the ISN clock takes for a turn", "ISN 时钟一圈多久"),
    claim=T("One turn takes 4.55 hours.", "一个周期 4.55 小时。"),
    truth="wrong",
    source="S1; RFC 9293 3.4.1; secure_tcp_seq",
    why=T(
        "2^32 ticks of 4 microseconds are 17179.87 s = 4.77 h; 4.55 is a rounding in the RFC's own text. Linux's ticks"
        " of 64 ns make 274.9 s.",
        "2^32 个 4 微秒是 17179.87 秒 = 4.77 小时；4.55 是 RFC 原文的舍入。Linux 每跳 64 纳秒，一圈 274.9 秒。",
    ),
    practice=T(
        "After a turn numbers come again: timestamps (PAWS) decide then, see ISN-08.",
        "一圈之后序号重现：此时靠时间戳（PAWS）判断，见 ISN-08。",
    ),
    on=SIM,
)
def one_turn(bench: Bench) -> Verdict:
    told = []
    for world, name in ((bench, bench.profile), (bench.another(T("rfc9293", "rfc9293"), profile="rfc9293"), "rfc9293")):
        turn = _WRAP * profile_named(name).isn_tick
        world.listen(world.program("server"))
        begun = world.now
        first = _syn_once(world)
        world.run(begun + turn // 2 - world.now)
        half = _syn_once(world)
        world.run(begun + turn - world.now)
        last = _syn_once(world)
        world.check(
            T("ISNs after half a turn are half of 2^32 away", "半圈后 ISN 相差 2^32 的一半"),
            [(b - a) % _WRAP for a, b in zip(first, half, strict=True)],
            [_WRAP // 2] * 2,
        )
        world.check(T(f"ISNs after {turn / SEC:.3f} s are the same", f"{turn / SEC:.3f} 秒后 ISN 相同"), last, first)
        told.append(f"{turn / SEC:.1f} s")
    return bench.verdict(
        T(
            f"the same number after {told[0]}; rfc9293 {told[1]} = {17179.869 / 3600:.2f} h",
            f"{told[0]} 后序号重现；rfc9293 {told[1]} = {17179.869 / 3600:.2f} 小时",
        )
    )


@lab(
    "ISN-04",
    title=T("ISN = clock + hash(four-tuple, secret)", "ISN = 时钟 + 散列（四元组，密钥）"),
    claim=T(
        "RFC 793: ISN = M + F(addresses, ports), F for example MD5.", "RFC 793：ISN = M + F(地址与端口)，F 如 MD5。"
    ),
    truth="simplification",
    source="S1; RFC 6528 3; RFC 1948; secure_tcp_seq (SipHash)",
    why=T(
        "The formula is of RFC 1948 and 6528, and needs a secret key, or anybody could compute it; RFC 793 had"
        " the clock"
        " only. MD5 was an example, Linux uses SipHash.",
        "公式出自 RFC 1948 与 6528，且必须有密钥，否则人人可算；RFC 793 只有时钟。MD5 只是示例，Linux 用 SipHash。",
    ),
    practice=T(
        "Nothing to set. The key is drawn at the first connection after boot.", "无需设置。密钥在开机后首个连接时生成。"
    ),
    on=SIM,
)
def clock_and_hash(bench: Bench) -> Verdict:
    tick = int(profile_named(bench.profile).isn_tick)
    server = bench.program("server")
    bench.listen(server)

    def base(sport: int) -> int:
        """The server's ISN with the clock taken off."""
        mark = bench.now
        number = _syn_once(bench, sport)[1]
        return (number - bench.sent("server", flags="SA", after=mark)[0].time // tick) % _WRAP

    same = [base(40000) for _ in range(3)]
    others = [base(port) for port in range(40001, 40009)]
    bench.power_off("server")
    bench.power_on("server")
    bench.listen(bench.program("server"))
    rebooted = base(40000)
    bench.check(T("different hashes of one four-tuple", "同一四元组的不同散列值"), len(set(same)), 1)
    bench.check(T("different hashes of 9 ports", "9 个端口的不同散列值"), len({same[0], *others}), 9)
    near = sum(min((other - same[0]) % _WRAP, (same[0] - other) % _WRAP) < 65536 for other in others)
    bench.check(T("of these within 65536 of the first", "其中与首个相差 65536 以内的"), near, 0)
    bench.check(T("after a reboot it is another", "重启后不同"), rebooted != same[0], True)
    return bench.verdict(
        T(
            f"one hash for one four-tuple, {len(set(others))} for {len(others)} others, a new one after a reboot",
            f"同一四元组一个散列值，另外 {len(others)} 个四元组 {len(set(others))} 个，重启后又不同",
        )
    )


def _old_data_meets_new_connection(bench: Bench, gap: int, sport: int) -> tuple[bytes, int]:
    """Ten octets of an aborted connection arrive `gap` ns later in the next one of the same four-tuple.

    What its program reads, and how many ACKs the server sent for the old segment.
    """
    server, client = bench.program("server"), bench.program("client")
    listener = bench.listen(server, port=sport)
    begun = bench.now
    old = bench.connect(client, port=sport, sport=sport)
    bench.outcome(client, old)
    held = bench.link.hold("first data from client", gap + 20 * MSEC)
    client.send(old, b"OLD-OLD-OL")
    bench.run(50 * MSEC)
    client.setsockopt(old, socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    client.close(old)
    held.undo()
    bench.run(50 * MSEC)
    while server.poll([(listener, 1)]):
        server.close(server.accept(listener)[0])
    bench.run(begun + gap - bench.now)
    new = bench.connect(client, port=sport, sport=sport)
    bench.outcome(client, new)
    sfd = bench.accept(server, listener)
    mark = bench.now
    bench.run(100 * MSEC)
    got = server.recv(sfd, 100) if server.poll([(sfd, 1)]) else b""
    answers = len([entry for entry in bench.sent("server", flags="A", after=mark) if segment(entry).sport == sport])
    client.close(new)
    server.close(sfd)
    server.close(listener)
    return got, answers


@lab(
    "ISN-05",
    title=T("Equal ISNs let old segments in", "ISN 相同会让旧报文混入"),
    claim=T(
        "With the same ISN each time a delayed segment of the old connection is accepted by the new one.",
        "若每次 ISN 相同，旧连接迟到的报文会被新连接接收。",
    ),
    truth="true",
    source="S1; RFC 9293 3.4.3; RFC 6528",
    why=T(
        "The segment's number lies where the new connection expects its first octet. With a clock and a hash the new"
        " one begins elsewhere; the odds that the old number hits are window / 2^32.",
        "旧报文的序号正好是新连接期待的首字节。有时钟与散列时新连接从别处开始，碰巧命中的概率为 窗口 / 2^32。",
    ),
    practice=T(
        "Timestamps close the rest (ISN-08): keep net.ipv4.tcp_timestamps=1.",
        "其余由时间戳解决（ISN-08）：保持 net.ipv4.tcp_timestamps=1。",
    ),
    on=SIM,
    sysctl={TIMESTAMPS: 0},
    variants={
        "fixed": T("a hypothetical host with a fixed ISN", "假想主机：ISN 固定"),
        "hashed": T("as it is", "实际情况"),
    },
)
def equal_numbers(bench: Bench) -> Verdict:
    if bench.variant == "fixed":
        with_fixed_isn(bench.simulated("client"), bench.simulated("server"))
    tries = 8
    results = [_old_data_meets_new_connection(bench, 2 * SEC, 5000 + number) for number in range(tries)]
    polluted = sum(got == b"OLD-OLD-OL" for got, _ in results)
    wanted = tries if bench.variant == "fixed" else 0
    bench.check(T(f"of {tries} new connections read old data", f"{tries} 个新连接中读到旧数据的"), polluted, wanted)
    answered = sum(count > 0 for _, count in results)
    bench.check(T("times the old segment is answered by an ACK", "旧报文被 ACK 回应的次数"), answered, tries)
    return bench.verdict(
        T(f"{polluted} of {tries} new connections read old data", f"{tries} 个新连接中 {polluted} 个读到旧数据")
    )


@lab(
    "ISN-06",
    title=T("A predictable ISN can be attacked blindly", "可预测的 ISN 可被盲攻击"),
    claim=T("A fixed ISN lets attackers guess the number and forge segments.", "ISN 固定，攻击者可猜中并伪造报文。"),
    truth="true",
    source="S0 S1 S3; RFC 6528 1; CVE-1999-0077",
    why=T(
        "The attacker writes from a trusted address and never sees the answers; he needs the server's number for the"
        " third segment. From his own connection he learns the clock, and with the clock alone he has it.",
        "攻击者冒用可信地址，看不到应答，第三个报文需要服务端的序号。他用自己的连接得知时钟；若只有时钟，就能算出。",
    ),
    practice=T(
        "Trust no address: authenticate. Networks should filter forged sources (BCP 38, net.ipv4.conf.*.rp_filter).",
        "不要信任地址，要做认证。网络应过滤伪造源地址（BCP 38，net.ipv4.conf.*.rp_filter）。",
    ),
    on=SIM,
    variants={
        "clock": T("a hypothetical server whose ISN is a clock only", "假想服务端：ISN 只有时钟"),
        "hashed": T("as it is", "实际情况"),
    },
)
def blind_attack(bench: Bench) -> Verdict:
    if bench.variant == "clock":
        with_clock_isn(bench.simulated("server"))
    tick = int(profile_named(bench.profile).isn_tick)
    server = bench.program("server")
    listener = bench.listen(server)
    _, seen = _syn_once(bench)
    at = bench.sent("server", flags="SA")[0].time
    while server.poll([(listener, 1)]):
        server.close(server.accept(listener)[0])
    attacker = Forger(bench)
    trusted = "10.0.0.100"
    bench.note(f"from its own connection the attacker knows: {seen} at {at} ns")
    arrives = bench.now + bench.lab.rtt // 2
    guess = (seen + arrives // tick - at // tick) % _WRAP
    attacker.send("S", src=trusted, sport=600, seq=1000)
    attacker.send("PA", src=trusted, sport=600, seq=1001, ack=guess + 1, data=b"rm -rf /")
    bench.run(200 * MSEC)
    got = b""
    if server.poll([(listener, 1)]):
        fd, _ = server.accept(listener)
        got = server.recv(fd, 100)
    bench.check(
        T("the server's program reads", "服务端程序读到"), got, b"rm -rf /" if bench.variant == "clock" else b""
    )
    answers = [each for each in bench.sent("server", flags="SA") if show(segment(each).dst) == trusted]
    bench.check(
        T("SYN-ACKs sent to the trusted address, unseen", "发往可信地址、攻击者看不到的 SYN-ACK"), len(answers), 1
    )
    told = len(got)
    return bench.verdict(T(f"{told} forged octets accepted", f"接受了 {told} 个伪造字节"))


@lab(
    "ISN-07",
    title=T("Can an ISN come again?", "ISN 会重复吗？"),
    claim=T("A random ISN practically cannot repeat.", "随机 ISN 基本不可能重复。"),
    truth="simplification",
    source="S1; RFC 9293 3.4.1; secure_tcp_seq",
    why=T(
        "For one four-tuple it is no dice but a clock: within a turn it only grows (so no repetition), after a turn it"
        " passes the same values again.",
        "对同一四元组它不是掷骰子而是时钟：一圈之内只增不重复，一圈之后重走同样的值。",
    ),
    practice=T(
        "That growth is what lets a new SYN end an old TIME-WAIT (TW-23).",
        "正因单调增长，新 SYN 才能结束旧的 TIME-WAIT（TW-23）。",
    ),
    on=SIM,
)
def coming_again(bench: Bench) -> Verdict:
    turn = _WRAP * int(profile_named(bench.profile).isn_tick)
    bench.listen(bench.program("server"))
    begun = bench.now
    found = []
    steps = 10
    for number in range(steps):
        bench.run(begun + turn * number // steps - bench.now)
        found.append(_syn_once(bench)[0])
    bench.run(begun + turn - bench.now)
    again = _syn_once(bench)[0]
    grown = [(value - found[0]) % _WRAP for value in found]
    bench.check(T("it only grows within a turn", "一圈之内只增"), grown == sorted(set(grown)), True)
    bench.check(T("and after a turn it is the first again", "一圈之后重现首个"), again, found[0])
    return bench.verdict(
        T(
            f"{len(set(found))} of {steps} different within {turn / SEC:.1f} s, then again",
            f"{turn / SEC:.1f} 秒内 {steps} 个各不相同，之后重现",
        )
    )


@lab(
    "ISN-08",
    title=T("Different ISNs are not enough", "ISN 不同仍不够"),
    claim=T(
        "They reduce stale acceptance but do not end it; timestamps are needed.",
        "只能减少旧报文混入，不能根除；需要时间戳。",
    ),
    truth="true",
    source="S1; RFC 7323 5",
    why=T(
        "A segment held for exactly one turn of the clock meets a connection with its own numbers. Without timestamps"
        " its data is read; with them PAWS sees that it is old.",
        "恰好滞留一圈的报文会遇到序号相同的新连接。无时间戳则数据被读入；有时间戳，PAWS 认出它旧。",
    ),
    practice=T(
        "Keep net.ipv4.tcp_timestamps=1; the cost is 12 octets a segment.",
        "保持 net.ipv4.tcp_timestamps=1；代价每段 12 字节。",
    ),
    on=SIM,
    variants={"bare": T("without timestamps", "无时间戳"), "paws": T("with timestamps", "有时间戳")},
)
def not_enough(bench: Bench) -> Verdict:
    if bench.variant == "bare":
        bench.configure({TIMESTAMPS: 0})
    turn = _WRAP * int(profile_named(bench.profile).isn_tick)
    got, _ = _old_data_meets_new_connection(bench, turn, 5000)
    bench.check(
        T("the new connection's program reads", "新连接的程序读到"),
        got,
        b"OLD-OLD-OL" if bench.variant == "bare" else b"",
    )
    rejected = bench.counter("server", "TcpExtPAWSEstab")
    bench.check(T("PAWSEstab", "PAWSEstab"), rejected, int(bench.variant == "paws"))
    return bench.verdict(
        T(
            f"{len(got)} old octets read, {rejected} rejected by PAWS",
            f"读到 {len(got)} 个旧字节，PAWS 拒绝 {rejected} 个报文",
        )
    )
