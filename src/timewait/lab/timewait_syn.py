"""What TIME-WAIT makes of a SYN, of an RST, and of timestamps."""

from timewait.base.instant import MSEC, SEC
from timewait.lab.bench import Bench
from timewait.lab.forge import Dialog
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.tcp.states import State

SPORT = 40000
RFC1337 = "net.ipv4.tcp_rfc1337"


def time_wait(bench: Bench, sport: int, *, ts: int | None = None, listener: int = -1) -> Dialog:
    """Bring the server into TIME-WAIT for this port of the puppet: the server closes first."""
    program = bench.computer("server").processes[0] if bench.computer("server").processes else bench.program("server")
    if listener < 0:
        listener = bench.listen(program)
    dialog = Dialog(bench, sport)
    if ts is not None:
        dialog.ts = (ts, 0)
    dialog.shake()
    program.close(bench.accept(program, listener))
    bench.run(bench.lab.rtt)
    if ts is not None:
        dialog.echo(dialog.last())
    dialog.send("A", seq=1, ack=2)
    dialog.send("FA", seq=1, ack=2)
    bench.until(lambda: _is_waiting(bench, sport), "TIME-WAIT")
    bench.run(2 * bench.lab.rtt)
    return dialog


def _is_waiting(bench: Bench, sport: int) -> bool:
    return any(view.remote[1] == sport for view in bench.sockets("server", State.TIME_WAIT))


@lab(
    "TW-10",
    title=T("Using the four-tuple again within 2 MSL", "2MSL 之内复用四元组"),
    claim=T(
        "'During 2 MSL the four-tuple cannot be used again.'",
        "“2MSL 期间该四元组不能再使用。”",
    ),
    truth="wrong",
    source="S0 S3; RFC 1122 4.2.2.13; RFC 6191 2; tcp_timewait_state_process",
    why=T(
        "A SYN that is newer by timestamp or by number proves that it is no old duplicate, and opens a new"
        " connection at"
        " once. The server's ISN starts beyond everything of the old one.",
        "时间戳或序号更新的 SYN 足以证明它不是旧报文，可立即打开新连接。服务端新的 ISN 越过旧连接的全部序号。",
    ),
    practice=T(
        "A client that reuses its port while the server is in TIME-WAIT is served. Keep timestamps on: they decide"
        " where"
        " numbers cannot.",
        "服务端处于 TIME-WAIT 时，客户端复用端口仍可连上。保持时间戳开启：序号无法判断时由它决定。",
    ),
    on=ANYWHERE,
)
def four_tuple_again(bench: Bench) -> Verdict:
    pair = bench.open(sport=SPORT)
    pair.server.send(pair.sfd, b"welcome")
    bench.read(pair.client, pair.cfd, 7)
    bench.run(100 * MSEC)
    pair.server.close(pair.sfd)
    bench.read_end(pair.client, pair.cfd)
    pair.client.close(pair.cfd)
    bench.run(100 * MSEC)
    before = bench.state("server")
    begun = bench.now
    again = bench.connect(pair.client, sport=SPORT)
    came = bench.outcome(pair.client, again)
    waited = bench.now - begun
    fd = bench.accept(pair.server, pair.listener)
    pair.client.send(again, b"0123456789")
    got = bench.read(pair.server, fd, 10)
    after = bench.state("server")
    bench.check(T("the server before", "此前服务端"), before, State.TIME_WAIT)
    bench.check(T("connect() from the same port", "从同一端口 connect()"), came, "OK")
    bench.check_time(T("after one round trip", "一个往返之后"), waited, bench.lab.rtt)
    bench.check(T("octets over it", "传送字节"), len(got), 10)
    bench.check(T("the server after", "此后服务端"), after, State.ESTABLISHED)
    return bench.verdict(
        T(
            f"wrong: {before.rfc_name} -> connect() {came} after {waited / MSEC:.0f} ms -> {after.rfc_name}",
            f"说法有误：{before.rfc_name} -> {waited / MSEC:.0f} ms 后 connect() {came} -> {after.rfc_name}",
        )
    )


def _matrix(bench: Bench, cases: list[tuple[str, str, str]]) -> list[str]:
    """A SYN with (seq, timestamp) above, at or below what TIME-WAIT expects: what each is answered with."""
    program = bench.program("server")
    listener = bench.listen(program)
    found = []
    for number, (seq, ts, expected) in enumerate(cases):
        base = None if ts == "none" else 5_000_000
        dialog = time_wait(bench, SPORT + number, ts=base, listener=listener)
        moved = {">": 100_000, "=": 0, "<": -1000}
        if dialog.ts is not None and base is not None:
            dialog.ts = (base + moved[ts] // 100, dialog.ts[1])
        old_isn, count = dialog.irs or 0, len(dialog.received())
        dialog.syn(seq=dialog.iss + 2 + moved[seq])
        bench.run(3 * bench.lab.rtt)
        answers = dialog.answers(count)
        name = bench.flags(answers[0]) if answers else "nothing"
        found.append(name)
        bench.check(T(f"seq {seq}, ts {ts}", f"seq {seq}，时间戳 {ts}"), name, expected)
        if name == "SYN-ACK":
            beyond = (answers[0].seq - old_isn) % 2**32
            bench.check(T("new ISN above the old SND.NXT by", "新 ISN 超出旧 SND.NXT"), beyond - 2, 65537)
    return found


@lab(
    "TW-12",
    title=T("Which SYN ends TIME-WAIT", "哪些 SYN 能结束 TIME-WAIT"),
    claim=T(
        "'A legal SYN needs a greater sequence number and a greater timestamp.'",
        "“合法的 SYN 需要序号更大且时间戳更大。”",
    ),
    truth="wrong",
    source="S2; RFC 6191 2; tcp_timewait_state_process",
    why=T(
        "Either suffices: the timestamp must not be older, and then a greater number or a newer timestamp is enough.",
        "满足其一即可：时间戳不能更旧；在此前提下，序号更大或时间戳更新就够了。",
    ),
    practice=T(
        "Keep timestamps on: a busy client comes back with any random number and is still served.",
        "保持时间戳开启：繁忙客户端以任意随机序号回来也能被接受。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def which_syn(bench: Bench) -> Verdict:
    good, bad = "SYN-ACK", "ACK"
    cases = [(">", ">", good), (">", "=", good), ("=", ">", good), ("<", ">", good)]
    cases += [("=", "=", bad), ("<", "=", bad), (">", "<", bad), ("=", "<", bad), ("<", "<", bad)]
    found = _matrix(bench, cases)
    accepted = [f"seq{a} ts{b}" for (a, b, _), name in zip(cases, found, strict=True) if name == good]
    told = ", ".join(accepted)
    return bench.verdict(T(f"wrong: accepted are {told}", f"说法有误：被接受的有 {told}"))


@lab(
    "TW-13",
    title=T("A SYN that TIME-WAIT refuses", "TIME-WAIT 拒绝的 SYN"),
    claim=T(
        "An illegal SYN is answered with the last ACK of the close; the client then resets.",
        "非法的 SYN 得到第四次挥手的 ACK；客户端随后回 RST。",
    ),
    truth="true",
    source="S2; RFC 9293 3.10.7.4; RFC 1337",
    why=T(
        "To a client in SYN-SENT that ACK acknowledges nothing it sent: it answers with an RST, which ends"
        " TIME-WAIT, and"
        " its next SYN connects. With tcp_rfc1337=1 the RST is ignored, and the client goes on in vain.",
        "对处于 SYN-SENT 的客户端，该 ACK 确认的不是它所发：它回 RST，TIME-WAIT 因此结束，下一个 SYN 即连上。"
        "tcp_rfc1337=1 时 RST 被忽略，客户端只能徒劳重试。",
    ),
    practice=T(
        "Leave tcp_rfc1337 at 0, unless forged RSTs are a concern; the cost of 1 is up to 60 s for such a client.",
        "tcp_rfc1337 保持 0，除非担心伪造 RST；设为 1 时这种客户端最多要等 60 秒。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={"0": T("tcp_rfc1337=0", "tcp_rfc1337=0"), "1": T("tcp_rfc1337=1", "tcp_rfc1337=1")},
)
def refused_syn(bench: Bench) -> Verdict:
    bench.configure({RFC1337: int(bench.variant)})
    dialog = time_wait(bench, SPORT)
    old = dialog.iss
    count = len(dialog.received())
    dialog.syn(seq=old - 1000)
    bench.run(2 * bench.lab.rtt)
    answer = dialog.last()
    numbers = (int(answer.seq - (dialog.irs or 0)) % 2**32, int(answer.ack - old) % 2**32)
    names = [bench.flags(each) for each in dialog.answers(count)]
    made = bench.puppet.segment("R", seq=int(answer.ack), absolute=True)
    bench.puppet.put(made)
    bench.run(2 * bench.lab.rtt)
    then = bench.state("server")
    bench.run(SEC - 4 * bench.lab.rtt)
    count = len(dialog.received())
    dialog.syn()
    bench.run(2 * bench.lab.rtt)
    retry = [bench.flags(each) for each in dialog.answers(count)]
    ended = bench.variant == "0"
    bench.check(T("the refused SYN gets", "被拒 SYN 得到"), names, ["ACK"])
    bench.check(T("with seq, ack", "其 seq、ack"), numbers, (2, 2))
    bench.check(T("after the client's RST", "客户端 RST 之后"), then, State.CLOSED if ended else State.TIME_WAIT)
    bench.check(T("the SYN a second later gets", "一秒后的 SYN 得到"), retry, ["SYN-ACK" if ended else "ACK"])
    return bench.verdict(
        T(
            f"SYN: {names[0]}; RST: {then.rfc_name}; next SYN: {', '.join(retry)}",
            f"SYN：{names[0]}；RST 之后 {then.rfc_name}；下一个 SYN：{'、'.join(retry)}",
        )
    )


@lab(
    "TW-14",
    title=T("Without timestamps only numbers count", "没有时间戳时只比较序号"),
    claim=T(
        "Where timestamps are off, only the sequence number of a SYN is compared.",
        "未开启时间戳时，只比较 SYN 的序号。",
    ),
    truth="true",
    source="S2; RFC 1122 4.2.2.13; tcp_timewait_state_process",
    why=T(
        "Nothing else tells old from new. A client with random ISNs is then refused every second time.",
        "没有别的依据区分新旧。此时使用随机 ISN 的客户端约有一半会被拒绝。",
    ),
    practice=T(
        "Leave net.ipv4.tcp_timestamps at 1; the cost is 12 octets a segment.",
        "net.ipv4.tcp_timestamps 保持 1，代价是每段 12 字节。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
)
def only_numbers(bench: Bench) -> Verdict:
    cases = [(">", "none", "SYN-ACK"), ("=", "none", "ACK"), ("<", "none", "ACK")]
    found = _matrix(bench, cases)
    told = ", ".join(f"seq{a}: {name}" for (a, _, _), name in zip(cases, found, strict=True))
    return bench.verdict(T(told, told.replace(", ", "，")))


@lab(
    "TW-15",
    title=T("An RST in TIME-WAIT", "TIME-WAIT 收到 RST"),
    claim=T(
        "It depends on net.ipv4.tcp_rfc1337: 1 drops the RST, 0 frees the connection.",
        "取决于 net.ipv4.tcp_rfc1337：1 丢弃 RST，0 释放连接。",
    ),
    truth="true",
    source="S2; RFC 1337; tcp_timewait_state_process",
    why=T(
        "RFC 1337 calls it TIME-WAIT assassination: an old duplicate provokes an ACK, the ACK an RST, and the"
        " protection"
        " is gone. The RST must have exactly the expected number.",
        "RFC 1337 称之为 TIME-WAIT 暗杀：旧报文引出 ACK，ACK 引出 RST，保护随之消失。RST 的序号必须恰为所期待的。",
    ),
    practice=T(
        "1 is the safer value, 0 the default; the cost of 1 is that refused clients wait (TW-13).",
        "1 更安全，0 是默认；设为 1 的代价是被拒客户端要等待（TW-13）。",
    ),
    on=("sim", "kernel"),
    topology="puppet-client",
    variants={
        "0": T("tcp_rfc1337=0", "tcp_rfc1337=0"),
        "1": T("tcp_rfc1337=1", "tcp_rfc1337=1"),
        "off": T("the RST's number is off by one", "RST 序号差一"),
    },
)
def reset_in_time_wait(bench: Bench) -> Verdict:
    bench.configure({RFC1337: 1 if bench.variant == "1" else 0})
    dialog = time_wait(bench, SPORT)
    dialog.send("R", seq=3 if bench.variant == "off" else 2)
    bench.run(2 * bench.lab.rtt)
    state = bench.state("server")
    bench.check(T("after the RST", "RST 之后"), state, State.CLOSED if bench.variant == "0" else State.TIME_WAIT)
    setting = bench.sysctl(RFC1337)
    if not bench.hurried and state is State.TIME_WAIT:
        began = bench.moved_at("server", State.TIME_WAIT)
        bench.finish()
        lasted = bench.moved_at("server", State.CLOSED) - began
        bench.check_that(
            T("ends after 60 s", "60 秒后结束"), 60 * SEC <= lasted < 61 * SEC, f"{lasted / SEC:.2f} s", "60 s"
        )
    return bench.verdict(T(f"tcp_rfc1337={setting}: {state.rfc_name}", f"tcp_rfc1337={setting}：{state.rfc_name}"))
