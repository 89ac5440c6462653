"""Using TIME-WAIT's port again: tcp_tw_reuse, tcp_tw_recycle behind a NAT, and what timestamps protect from."""

from timewait.base.instant import MSEC, SEC
from timewait.host.host import Host
from timewait.lab.bench import PORT, Bench, Program
from timewait.lab.forge import Forger
from timewait.lab.frame import ANYWHERE, T, Verdict, lab
from timewait.lab.judge import segment
from timewait.lab.timewait_cost import PORTS, Visits
from timewait.record.entries import packet_of
from timewait.record.match import Match
from timewait.tcp.reasons import Drop
from timewait.tcp.states import State
from timewait.tcp.sysctl import Sysctl
from timewait.wire.packet import Segment

REUSE = "net.ipv4.tcp_tw_reuse"
DELAY = "net.ipv4.tcp_tw_reuse_delay"
TIMESTAMPS = "net.ipv4.tcp_timestamps"
_ONE_PORT = {PORTS: "40000 40000"}


@lab(
    "TW-23",
    title=T("tcp_tw_reuse: the port again after a second", "tcp_tw_reuse：一秒后复用端口"),
    claim=T(
        "With tcp_tw_reuse=1 connect() takes at random a connection that is in TIME-WAIT for more than 1 s.",
        "tcp_tw_reuse=1 时，connect() 会随机找一个 TIME-WAIT 超过 1 秒的连接复用。",
    ),
    truth="simplification",
    source="S1 S4; tcp_twsk_unique, __inet_hash_connect; tcp_tw_reuse_delay (Linux 6.14)",
    why=T(
        "Not at random: the usual search for a port accepts one whose four-tuple is in TIME-WAIT, if timestamps were on"
        " and it is older than tcp_tw_reuse_delay. The new ISN lies 65537 above all the old one sent.",
        "并非随机：通常的端口搜索在四元组处于 TIME-WAIT 时，若曾启用时间戳且超过 tcp_tw_reuse_delay 就接受。"
        "新 ISN 比旧连接发送过的一切再大 65537。",
    ),
    practice=T(
        "Set 1 on clients and proxies that run out of ports; it does nothing for listeners. The cost: an old RST can"
        " end"
        " the new connection.",
        "端口不够的客户端与代理可设为 1；对监听方无效。代价：旧的 RST 可能终止新连接。",
    ),
    on=ANYWHERE,
    sysctl=_ONE_PORT,
    variants={
        "1": T("tcp_tw_reuse=1", "tcp_tw_reuse=1"),
        "0": T("0: off", "0：关闭"),
        "2": T("2: loopback only", "2：仅环回"),
        "200ms": T("1, with tcp_tw_reuse_delay=200", "1，且 tcp_tw_reuse_delay=200"),
    },
)
def reuse_after_a_second(bench: Bench) -> Verdict:
    bench.configure({REUSE: 1 if bench.variant == "200ms" else int(bench.variant)})
    if bench.variant == "200ms":
        bench.configure({DELAY: 200})
    visits = Visits(bench)
    visits.one(10)
    bench.run(300 * MSEC)
    early = visits.one(10)
    if early != "OK":
        bench.run(1300 * MSEC)
    late = visits.one(10) if early != "OK" else "OK"
    works = {"1": ("EADDRNOTAVAIL", "OK"), "200ms": ("OK", "OK")}
    none = ("EADDRNOTAVAIL", "EADDRNOTAVAIL")
    bench.check(
        T("connect() after 0.3 and 1.6 s", "0.3 秒与 1.6 秒后 connect()"), (early, late), works.get(bench.variant, none)
    )
    if late == "OK":
        syns = bench.sent("client", flags="S")
        used = [segment(entry) for entry in bench.sent("client") if entry.time < syns[1].time]
        beyond = (
            segment(syns[1]).seq - max(each.seq + each.seq_len - used[0].seq for each in used) - used[0].seq
        ) % 2**32
        bench.check(T("new ISN above the old SND.NXT", "新 ISN 超出旧 SND.NXT"), beyond, 65537)
    return bench.verdict(
        T(
            f"{bench.variant}: after 0.3 s {early}, after 1.6 s {late}",
            f"{bench.variant}：0.3 秒后 {early}，1.6 秒后 {late}",
        )
    )


@lab(
    "TW-24",
    title=T("tcp_tw_reuse needs timestamps", "tcp_tw_reuse 依赖时间戳"),
    claim=T(
        "tcp_tw_reuse works only with tcp_timestamps=1 on both sides, which is the default.",
        "tcp_tw_reuse 需要双方都开启 tcp_timestamps=1（默认）。",
    ),
    truth="true",
    source="S1 S4; tcp_twsk_unique (tw_ts_recent_stamp)",
    why=T(
        "Only timestamps tell old segments from those of the new connection (PAWS).",
        "只有时间戳能区分旧报文与新连接的报文（PAWS）。",
    ),
    practice=T("Check that the other side answers with timestamps, too.", "确认对端的应答也带时间戳。"),
    on=ANYWHERE,
    sysctl={**_ONE_PORT, REUSE: 1},
    variants={
        "none": T("no timestamps", "无时间戳"),
        "server-off": T("only the server has none", "仅服务端关闭"),
        "both": T("with timestamps", "有时间戳"),
    },
)
def needs_timestamps(bench: Bench) -> Verdict:
    if bench.variant != "both":
        bench.set_sysctl("server", TIMESTAMPS, 0)
    if bench.variant == "none":
        bench.set_sysctl("client", TIMESTAMPS, 0)
    visits = Visits(bench)
    visits.one(10)
    bench.run(2 * SEC if bench.hurried else 5 * SEC)
    came = visits.one(10)
    bench.check(
        T("connect() seconds later", "数秒后 connect()"), came, "OK" if bench.variant == "both" else "EADDRNOTAVAIL"
    )
    return bench.verdict(T(f"timestamps {bench.variant}: {came}", f"时间戳 {bench.variant}：{came}"))


@lab(
    "TW-25",
    title=T("What timestamps protect from, and what not", "时间戳能防什么、不能防什么"),
    claim=T(
        "With timestamps the 2 MSL problem no longer exists: old packets are dropped.",
        "有了时间戳，2MSL 问题就不存在了：旧报文会被丢弃。",
    ),
    truth="simplification",
    source="S1 S4; RFC 7323 5.2, 5.3; RFC 5961 3.2; tcp_validate_incoming",
    why=T(
        "PAWS drops old data. It does not hold for RSTs: one with exactly the expected number ends the connection"
        " whatever its timestamp.",
        "PAWS 丢弃旧数据，但不适用于 RST：序号恰好匹配的 RST 不论时间戳多旧都会终止连接。",
    ),
    practice=T(
        "tcp_tw_reuse accepts this risk; it is small, as the number must fit exactly.",
        "使用 tcp_tw_reuse 就接受了这个风险；由于序号必须恰好匹配，风险很小。",
    ),
    on=ANYWHERE,
    variants={"data": T("old data", "旧数据"), "rst": T("an old RST", "旧 RST")},
)
def what_paws_covers(bench: Bench) -> Verdict:
    pair = bench.open()
    syn = segment(bench.sent("client", flags="S")[0])
    answer = segment(bench.sent("server", flags="SA")[0])
    bench.run(100 * MSEC)
    forger = Forger(bench)
    old = (syn.tsval - 10_000, answer.tsval)
    before = bench.counter("server", "TcpExtPAWSEstab")
    if bench.variant == "data":
        seq, ack, data = syn.seq + 1, answer.seq + 1, b"old data!!"
        forger.send("PA", sport=syn.sport, seq=seq, ack=ack, data=data, ts=old)
    else:
        forger.send("R", sport=syn.sport, seq=syn.seq + 1, ts=old)
    bench.run(100 * MSEC)
    read = bench.attempt(lambda: pair.server.recv(pair.sfd, 100))
    state, paws = bench.state("server"), bench.counter("server", "TcpExtPAWSEstab") - before
    data_case = bench.variant == "data"
    bench.check(T("recv() at the server", "服务端 recv()"), read, "EAGAIN" if data_case else "ECONNRESET")
    bench.check(T("the server", "服务端"), state, State.ESTABLISHED if data_case else State.CLOSED)
    bench.check(T("PAWSEstab", "PAWSEstab"), paws, 1 if data_case else 0)
    return bench.verdict(
        T(
            f"old {bench.variant}: {state.rfc_name}, recv(): {read}",
            f"旧 {bench.variant}：{state.rfc_name}，recv()：{read}",
        )
    )


@lab(
    "TW-28",
    title=T("tcp_tw_recycle behind a NAT", "NAT 之后的 tcp_tw_recycle"),
    claim=T(
        "Enable tcp_tw_recycle for fast recycling of TIME-WAIT; it is off by default.",
        "开启 tcp_tw_recycle 以快速回收 TIME-WAIT；默认关闭。",
    ),
    truth="true-on-older-Linux",
    source="S3; Linux 4.12, commit 4396e46187ca (removed); tcp_peer_is_proven",
    why=T(
        "It remembered the last timestamp of each address and dropped SYNs with an older one. Behind a NAT many"
        " machines"
        " with different clocks share one address: the slower ones are dropped in silence.",
        "它按地址记住最后的时间戳，丢弃时间戳更旧的 SYN。NAT 之后多台时钟不同的机器共用一个地址："
        "时钟较慢者被静默丢弃。",
    ),
    practice=T(
        "Never set it. Since Linux 4.12 the parameter does not exist, and `sysctl -p` reports an error.",
        "永远不要设置。自 Linux 4.12 起该参数不存在，`sysctl -p` 会报错。",
    ),
    topology="own",
    profile="linux-3.10",
    variants={"1": T("tcp_tw_recycle=1", "tcp_tw_recycle=1"), "0": T("tcp_tw_recycle=0", "tcp_tw_recycle=0")},
)
def recycle_behind_nat(bench: Bench) -> Verdict:
    world = bench.world
    nat = world.nat("nat", "198.51.100.1/24")
    server = bench.machine("server", "198.51.100.2/24")
    assert isinstance(server, Host)
    # Each client's timestamps start at an offset of its own, as since Linux 4.10.
    clients = [world.host(name, f"192.168.{n}.2/24", profile="linux-6.18") for n, name in enumerate(("alice", "bob"))]
    for client in clients:
        world.link(client, nat, delay=5 * MSEC)
    world.link(nat, server, delay=5 * MSEC)
    server.sysctl["net.ipv4.tcp_tw_recycle"] = int(bench.variant)
    program = server.process("server")
    listener = bench.listen(program)
    stamps = {client.name: _visit(bench, client, program, listener) for client in clients}
    fast, slow = sorted(clients, key=lambda each: -_age(stamps[each.name], stamps[clients[0].name]))
    _visit(bench, fast, program, listener)
    again = slow.process("again")
    fd = bench.connect(again, to="198.51.100.2", port=PORT)
    world.run(3 * SEC)
    connected = bool(again.poll([(fd, 4)]))
    drops = len(bench.record.drops(where="server", drop=Drop.PAWS_PASSIVE))
    sources = {bytes(packet.src) for packet in _syns(bench, "server")}
    on = bench.variant == "1"
    bench.check(T("addresses the server sees", "服务端看到的地址数"), len(sources), 1)
    bench.check(T("the machine with the slower clock connects", "时钟较慢的机器能连上"), connected, not on)
    bench.check_that(
        T("its SYNs dropped in silence", "被静默丢弃的 SYN"), (drops >= 3) is on, drops, "3 or more" if on else "none"
    )
    exists = "net.ipv4.tcp_tw_recycle" in Sysctl("linux-6.18").names()
    bench.check(T("the parameter exists on Linux 6.18", "Linux 6.18 有此参数"), exists, False)
    return bench.verdict(
        T(
            f"tcp_tw_recycle={bench.variant}, two clients behind one address: {drops} SYNs dropped, connected:"
            f" {connected}",
            f"tcp_tw_recycle={bench.variant}，同一地址后两台客户端：丢弃 {drops} 个 SYN，"
            f"{'已' if connected else '未'}连上",
        )
    )


def _visit(bench: Bench, client: Host, program: Program, listener: int) -> int:
    """A connection that the server closes first; gives the TSval of its SYN, -1 if it did not come about."""
    visitor = client.process("visit")
    fd = bench.connect(visitor, to="198.51.100.2", port=PORT)
    syn = bench.sent(client.name, flags="S")[-1]
    if bench.within(lambda: program.poll([(listener, 1)]), 2 * SEC):
        peer = program.accept(listener)[0]
        program.close(peer)
        bench.read_end(visitor, fd)
    visitor.close(fd)
    bench.run(2 * SEC)
    return int(segment(syn).tsval)


def _age(stamp: int, reference: int) -> int:
    """A timestamp relative to another, as PAWS compares them."""
    return (stamp - reference + 2**31) % 2**32 - 2**31


def _syns(bench: Bench, host: str) -> list[Segment]:
    """The SYNs that reached a host."""
    found = map(packet_of, bench.record.select(Match("received", host=host, flags="S")))
    return [packet for packet in found if isinstance(packet, Segment)]


@lab(
    "TW-33",
    title=T("What tcp_tw_reuse is by default", "tcp_tw_reuse 的默认值"),
    claim=T("'tcp_tw_reuse: default 0, off.'", "“tcp_tw_reuse：默认为 0，表示关闭。”"),
    truth="true-on-older-Linux",
    source="S3; Linux 4.19 (default 2)",
    why=T(
        "Since Linux 4.19 the default is 2: on for loopback, where no old duplicate can be on its way for long.",
        "自 Linux 4.19 起默认为 2：仅对环回地址启用，那里不会有长时间滞留的旧报文。",
    ),
    practice=T(
        "Local proxies and databases profit without any setting; for other destinations set 1.",
        "本机代理与数据库无需设置即受益；其他目的地需设为 1。",
    ),
    sysctl=_ONE_PORT,
)
def default_of_reuse(bench: Bench) -> Verdict:
    default = bench.sysctl(REUSE, "client")
    old = Sysctl("linux-3.10")[REUSE]
    visits = Visits(bench)
    visits.one(10)
    bench.run(2 * SEC)
    outside = visits.one(10)
    local = bench.program("client", "local")
    listener = bench.listen(local, port=8080)
    inside = []
    for _ in range(2):
        fd = bench.connect(local, to="127.0.0.1", port=8080)
        inside.append(bench.outcome(local, fd))
        peer = bench.accept(local, listener)
        local.close(fd)
        bench.read_end(local, peer)
        local.close(peer)
        bench.run(2 * SEC)
    bench.check(T("the default on Linux 6.18 and 3.10", "Linux 6.18 与 3.10 的默认值"), [default, old], [2, 0])
    bench.check(T("the same port again, to the server", "再次用同一端口连服务端"), outside, "EADDRNOTAVAIL")
    bench.check(T("to loopback, twice", "连环回地址，两次"), inside, ["OK", "OK"])
    return bench.verdict(
        T(
            f"default {default}: loopback {inside[1]}, elsewhere {outside}",
            f"默认 {default}：环回 {inside[1]}，其他 {outside}",
        )
    )
