"""Profile freebsd: what each state makes of each segment (RFC 9293 3.10.7, RFC 5961, FreeBSD tcp_input)."""

import socket

import pytest

from support.peer import Peer

SHUT_WR = socket.SHUT_WR
ACTIVE = {"mss": 1460, "sack_ok": True}
STATES = ("ESTAB", "CLOSE-WAIT", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "LAST-ACK")
LEFT = {"ESTAB": 1, "FIN-WAIT-1": 1, "FIN-WAIT-2": 1}
"""RCV.NXT; 2 where the peer's FIN came."""


def bsd(**sysctl: object) -> Peer:
    """A FreeBSD host; sysctl names without 'net.inet.tcp.', '_' for '.' in none of them."""
    return Peer.sim({f"net.inet.tcp.{name}": value for name, value in sysctl.items()}, profile="freebsd")


def syn_sent(peer: Peer) -> int:
    fd = peer.connect()
    assert peer.take() == ["S 0:0"]
    return fd


def connected(peer: Peer) -> int:
    """An active open, answered by a SYN-ACK with MSS and SACK only."""
    fd = syn_sent(peer)
    assert peer.inject("SA", seq=0, ack=1, **ACTIVE) == ["A 1:1 ack 1"]
    assert peer.state() == "ESTAB"
    return fd


def brought_to(peer: Peer, state: str) -> int:
    """An actively opened connection in one of STATES or TIME-WAIT; the program keeps its descriptor."""
    fd = connected(peer)
    if state in ("CLOSE-WAIT", "LAST-ACK"):
        assert peer.inject("FA", seq=1, ack=1) == ["A 1:1 ack 2"]
        if state == "LAST-ACK":
            peer.app.shutdown(fd, SHUT_WR)
            assert peer.take() == ["FA 1:1 ack 2"]
    elif state != "ESTAB":
        peer.app.shutdown(fd, SHUT_WR)
        assert peer.take() == ["FA 1:1 ack 1"]
        if state == "CLOSING":
            assert peer.inject("FA", seq=1, ack=1) == ["A 2:2 ack 2"]
        if state in ("FIN-WAIT-2", "TIME-WAIT"):
            assert peer.inject("A", seq=1, ack=2) == []
        if state == "TIME-WAIT":
            assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == state
    return fd


def own(state: str) -> int:
    """SND.NXT in a state."""
    return 1 if state in ("ESTAB", "CLOSE-WAIT") else 2


def nxt(state: str) -> int:
    return LEFT.get(state, 2)


# CLOSED and LISTEN


@pytest.mark.parametrize(
    ("flags", "length", "answer"),
    [
        ("S", 0, "RA 0:0 ack 8"),
        ("S", 10, "RA 0:0 ack 18"),
        ("SF", 10, "RA 0:0 ack 19"),
        ("F", 0, "RA 0:0 ack 8"),
        ("P", 0, "RA 0:0 ack 7"),
    ],
)
def test_closed_answers_what_has_no_ack(flags: str, length: int, answer: str) -> None:
    assert bsd().inject(flags, seq=7, data=length) == [answer]


@pytest.mark.parametrize("flags", ["A", "FA", "SA"])
def test_closed_answers_an_ack_with_its_number(flags: str) -> None:
    (reset,) = bsd().inject(flags, seq=7, ack=99)
    assert reset == "R 99:99"
    assert (reset.window, reset.options) == (0, "")


@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize("listening", [False, True])
def test_closed_and_listen_ignore_resets(flags: str, listening: bool) -> None:
    peer = bsd()
    if listening:
        peer.listen()
    assert peer.inject(flags, seq=0, ack=0) == []
    assert peer.inject("S", mss=1460) == (["SA 0:0 ack 1"] if listening else ["RA 0:0 ack 1"])


@pytest.mark.parametrize(
    ("level", "flags", "silent"), [(1, "S", True), (1, "A", False), (2, "A", True), (2, "S", True)]
)
def test_a_black_hole_keeps_silent(level: int, flags: str, silent: bool) -> None:
    assert (bsd(blackhole=level).inject(flags, ack=9) == []) == silent


@pytest.mark.parametrize(
    ("flags", "answer"), [("A", ["R 99:99"]), ("FA", ["R 99:99"]), ("SA", []), ("F", []), ("P", [])]
)
def test_listen(flags: str, answer: list[str]) -> None:
    peer = bsd()
    peer.listen()
    assert peer.inject(flags, ack=99) == answer
    assert peer.inject("S", mss=1460) == ["SA 0:0 ack 1"]


@pytest.mark.parametrize("dropped", [0, 1])
def test_listen_takes_a_syn_with_fin_unless_told_not_to(dropped: int) -> None:
    peer = bsd(drop_synfin=dropped)
    peer.listen()
    assert peer.inject("SF", mss=1460) == ([] if dropped else ["SA 0:0 ack 1"])


def test_data_in_a_syn_to_a_listener_has_to_come_again() -> None:
    peer = bsd()
    fd = peer.listen()
    assert peer.inject("S", data=100, mss=1460) == ["SA 0:0 ack 1"]
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.attempt(peer.app.recv, peer.accept(fd), 10) == "EAGAIN"
    assert peer.inject("A", seq=1, ack=1, data=100) == ["A 1:1 ack 101"]


# SYN-SENT


@pytest.mark.parametrize("flags", ["SA", "A", "FA"])
@pytest.mark.parametrize("ack", [0, 2])
def test_syn_sent_resets_a_bad_ack_and_stays(flags: str, ack: int) -> None:
    peer = bsd()
    syn_sent(peer)
    assert peer.inject(flags, seq=0, ack=ack) == [f"R {ack}:{ack}"]
    assert peer.state() == "SYN-SENT"
    (again,) = peer.run(1.1)
    assert (again, round(again.at, 3)) == ("S 0:0", 1.0)


@pytest.mark.parametrize(("flags", "ack"), [("A", 1), ("FA", 1), ("R", 0), ("F", 0), ("RA", 0), ("RA", 2), ("P", 0)])
def test_syn_sent_ignores(flags: str, ack: int) -> None:
    peer = bsd()
    syn_sent(peer)
    assert peer.inject(flags, seq=0, ack=ack) == []
    assert peer.state() == "SYN-SENT"


def test_syn_sent_is_refused() -> None:
    peer = bsd()
    fd = syn_sent(peer)
    assert peer.inject("RA", seq=0, ack=1) == []
    assert (peer.error(fd), peer.state()) == ("ECONNREFUSED", "")


@pytest.mark.parametrize("flags", ["S", "SF"])
def test_simultaneous_open_with_data(flags: str) -> None:
    peer = bsd()
    fd = syn_sent(peer)
    (answer,) = peer.inject(flags, seq=0, data=50, **ACTIVE)
    assert (answer, answer.options, answer.window) == ("SA 0:0 ack 1", "mss 1460,sackOK,eol,eol", 65535)
    assert peer.state() == "SYN-RECV"
    assert peer.inject("A", seq=1, ack=1) == []
    assert len(peer.app.recv(fd, 100)) == 50
    # The FIN of the SYN does not count.
    assert peer.state() == "ESTAB"


def test_simultaneous_open_repeats_its_syn_ack() -> None:
    peer = bsd()
    syn_sent(peer)
    peer.inject("S", seq=0, **ACTIVE)
    peer.reset_watch()
    assert [round(seen.at, 2) for seen in peer.run(4)] == [1.0, 3.2]


def test_syn_fin_in_syn_sent_is_ignored_with_drop_synfin() -> None:
    peer = bsd(drop_synfin=1)
    syn_sent(peer)
    assert peer.inject("SF", seq=0, **ACTIVE) == []
    assert peer.state() == "SYN-SENT"


def test_data_and_fin_of_a_syn_ack_are_taken() -> None:
    peer = bsd()
    fd = syn_sent(peer)
    assert peer.inject("SFA", seq=0, ack=1, data=30, **ACTIVE) == ["A 1:1 ack 32"]
    assert peer.state() == "CLOSE-WAIT"
    assert len(peer.app.recv(fd, 100)) == 30


# SYN-RECEIVED


@pytest.mark.parametrize("insecure", [0, 1])
@pytest.mark.parametrize(("flags", "ack"), [("R", 0), ("RA", 1), ("RA", 77)])
@pytest.mark.parametrize(("seq", "where"), [(0, "out"), (1, "exact"), (2, "in"), (65535, "in"), (65536, "out")])
def test_reset_in_syn_received_of_a_listener(insecure: int, flags: str, ack: int, seq: int, where: str) -> None:
    peer = bsd(insecure_rst=insecure)
    peer.listen()
    peer.inject("S", **ACTIVE)
    answer = peer.inject(flags, seq=seq, ack=ack)
    gone = where == "exact" or (where == "in" and insecure)
    assert answer == (["A 1:1 ack 1"] if where == "in" and not insecure else [])
    assert peer.state() == ("" if gone else "SYN-RECV")


@pytest.mark.parametrize("insecure", [0, 1])
@pytest.mark.parametrize(("flags", "ack"), [("R", 0), ("RA", 1), ("RA", 77)])
@pytest.mark.parametrize(("seq", "where"), [(0, "out"), (1, "exact"), (2, "in"), (65700, "in"), (65701, "out")])
def test_reset_in_syn_received_of_a_connect(insecure: int, flags: str, ack: int, seq: int, where: str) -> None:
    peer = bsd(insecure_rst=insecure)
    fd = syn_sent(peer)
    peer.inject("S", seq=0, **ACTIVE)
    answer = peer.inject(flags, seq=seq, ack=ack)
    gone = where == "exact" or (where == "in" and insecure)
    assert answer == (["A 1:1 ack 1"] if where == "in" and not insecure else [])
    assert (peer.state(), peer.error(fd)) == (("", "ECONNREFUSED") if gone else ("SYN-RECV", ""))


@pytest.mark.parametrize(("seq", "ack"), [(1, 0), (1, 2), (0, 1), (65536, 1), (70000, 1)])
def test_syn_received_resets_what_does_not_fit(seq: int, ack: int) -> None:
    peer = bsd()
    peer.listen()
    peer.inject("S", **ACTIVE)
    assert peer.inject("A", seq=seq, ack=ack) == [f"R {ack}:{ack}"]
    assert peer.state() == "SYN-RECV"
    assert peer.inject("A", seq=1, ack=1) == []
    assert peer.state() == "ESTAB"


def test_syn_received_answers_a_repeated_syn_and_no_syn_ack() -> None:
    peer = bsd()
    peer.listen()
    peer.inject("S", **ACTIVE)
    assert peer.inject("S", **ACTIVE) == ["SA 0:0 ack 1"]
    assert peer.inject("SA", seq=0, ack=1) == []
    assert peer.state() == ""


def test_syn_ack_times() -> None:
    peer = bsd()
    peer.listen()
    peer.inject("S", **ACTIVE)
    peer.reset_watch()
    assert [round(seen.at, 2) for seen in peer.run(60)] == [1.0, 3.2, 7.4]
    assert peer.state() == ""


def test_fin_completes_the_handshake() -> None:
    peer = bsd()
    peer.listen()
    peer.inject("S", **ACTIVE)
    assert peer.inject("FA", seq=1, ack=1, data=5) == ["A 1:1 ack 7"]
    assert peer.state() == "CLOSE-WAIT"


# RST and SYN in the synchronized states


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("insecure", [0, 1])
@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize(("offset", "where"), [(-1, "out"), (0, "exact"), (1, "in"), (65699, "in"), (65700, "out")])
def test_reset(state: str, insecure: int, flags: str, offset: int, where: str) -> None:
    peer = bsd(insecure_rst=insecure)
    fd = brought_to(peer, state)
    answer = peer.inject(flags, seq=nxt(state) + offset, ack=own(state))
    gone = where == "exact" or (where == "in" and insecure)
    assert answer == ([f"A {own(state)}:{own(state)} ack {nxt(state)}"] if where == "in" and not insecure else [])
    assert (peer.state(), peer.error(fd)) == (("", "ECONNRESET") if gone else (state, ""))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("insecure", [0, 1])
@pytest.mark.parametrize("flags", ["S", "SA", "SF"])
@pytest.mark.parametrize(("offset", "inside"), [(-1, False), (0, True), (1, True), (65699, True), (65700, False)])
def test_syn(state: str, insecure: int, flags: str, offset: int, inside: bool) -> None:
    peer = bsd(insecure_syn=insecure)
    fd = brought_to(peer, state)
    (answer,) = peer.inject(flags, seq=nxt(state) + offset, ack=own(state))
    numbers = f"{own(state)}:{own(state)} ack {nxt(state)}"
    if insecure and inside:
        assert (answer, answer.window, answer.options) == (f"RA {numbers}", 0, "")
        assert (peer.state(), peer.error(fd)) == ("", "ECONNRESET")
    else:
        assert (answer, answer.window, answer.options) == (f"A {numbers}", 65535, "")
        assert (peer.state(), peer.error(fd)) == (state, "")


@pytest.mark.parametrize("state", STATES)
def test_syn_fin_is_ignored_with_drop_synfin(state: str) -> None:
    peer = bsd(drop_synfin=1)
    brought_to(peer, state)
    assert peer.inject("SF", seq=nxt(state)) == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("seq", "answered"), [(0, True), (1, False)])
def test_fin_without_ack(state: str, seq: int, answered: bool) -> None:
    peer = bsd()
    brought_to(peer, state)
    numbers = f"{own(state)}:{own(state)} ack {nxt(state)}"
    assert peer.inject("F", seq=nxt(state) - 2 + seq * 2) == ([f"A {numbers}"] if not seq else [])
    assert peer.state() == state


@pytest.mark.parametrize("state", STATES)
def test_an_ack_of_what_was_never_sent(state: str) -> None:
    peer = bsd()
    brought_to(peer, state)
    assert peer.inject("A", seq=nxt(state), ack=99) == [f"A {own(state)}:{own(state)} ack {nxt(state)}"]
    assert peer.state() == state


# The ways through the states


def test_fin_with_the_acknowledgment_of_ours_ends_at_once() -> None:
    peer = bsd()
    brought_to(peer, "FIN-WAIT-1")
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    assert peer.state() == "TIME-WAIT"


def test_closing_ends_in_time_wait_in_silence() -> None:
    peer = bsd()
    brought_to(peer, "CLOSING")
    assert peer.inject("A", seq=2, ack=2) == []
    assert peer.state() == "TIME-WAIT"


def test_last_ack_ends() -> None:
    peer = bsd()
    brought_to(peer, "LAST-ACK")
    assert peer.inject("A", seq=2, ack=2) == []
    assert peer.state() == ""


def test_close_with_unread_data_sends_a_fin_all_the_same() -> None:
    peer = bsd()
    fd = connected(peer)
    peer.inject("PA", seq=1, ack=1, data=10)
    peer.app.close(fd)
    (fin,) = peer.take()
    assert (fin, fin.options) == ("FA 1:1 ack 11", "")


def test_data_after_close_is_reset() -> None:
    peer = bsd()
    peer.app.close(connected(peer))
    assert peer.take() == ["FA 1:1 ack 1"]
    assert peer.inject("A", seq=1, ack=2) == []
    assert peer.inject("PA", seq=1, ack=2, data=10) == ["R 2:2"]
    assert peer.state() == ""


@pytest.mark.parametrize(("recycle", "wait"), [(0, 600.0), (1, 60.0)])
def test_an_orphan_leaves_fin_wait_2_in_silence(recycle: int, wait: float) -> None:
    peer = bsd(fast_finwait2_recycle=recycle)
    peer.app.close(connected(peer))
    peer.inject("A", seq=1, ack=2)
    assert peer.run(wait - 0.5) == ["FA 1:1 ack 1"][:0]
    assert peer.state() == "FIN-WAIT-2"
    assert peer.run(1) == []
    assert peer.state() == ""


def test_linger_0_resets() -> None:
    peer = bsd()
    fd = connected(peer)
    peer.app.setsockopt(fd, socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.app.close(fd)
    (reset,) = peer.take()
    assert (reset, reset.window, reset.options) == ("RA 1:1 ack 1", 0, "")


# TIME-WAIT


@pytest.mark.parametrize("flags", ["R", "RA"])
@pytest.mark.parametrize("seq", [1, 2, 3, 65701, 65702])
def test_time_wait_ignores_resets(flags: str, seq: int) -> None:
    peer = bsd()
    brought_to(peer, "TIME-WAIT")
    assert peer.inject(flags, seq=seq, ack=2) == []
    assert peer.state() == "TIME-WAIT"


@pytest.mark.parametrize(
    ("flags", "seq", "ack", "answered"),
    [
        ("A", 2, 2, False),
        ("A", 1, 2, True),
        ("A", 3, 2, True),
        ("A", 65702, 2, True),
        ("A", 2, 1, True),
        ("FA", 1, 2, True),
        ("FA", 2, 2, True),
        ("FA", 70000, 2, True),
        ("SA", 2, 2, True),
        ("SA", 9, 2, True),
        ("F", 1, 0, False),
        ("F", 2, 0, False),
        ("S", 2, 0, False),
        ("S", 1, 0, False),
        ("SF", 2, 0, False),
    ],
)
def test_time_wait(flags: str, seq: int, ack: int, answered: bool) -> None:
    peer = bsd()
    brought_to(peer, "TIME-WAIT")
    assert peer.inject(flags, seq=seq, ack=ack) == (["A 2:2 ack 2"] if answered else [])
    assert peer.state() == "TIME-WAIT"


@pytest.mark.parametrize("flags", ["S", "SF"])
@pytest.mark.parametrize("dropped", [0, 1])
def test_a_newer_syn_ends_time_wait_and_begins_anew(flags: str, dropped: int) -> None:
    peer = bsd(drop_synfin=dropped)
    listener = peer.listen()
    peer.inject("S", **ACTIVE)
    peer.inject("A", seq=1, ack=1)
    peer.app.close(peer.accept(listener))
    peer.take()
    assert peer.inject("FA", seq=1, ack=2) == ["A 2:2 ack 2"]
    old = peer.flow.irs
    answer = peer.inject(flags, seq=3, **ACTIVE)
    if flags == "SF" and dropped:
        assert (answer, peer.state()) == ([], "TIME-WAIT")
    else:
        assert (answer, peer.state()) == (["SA 0:0 ack 4"], "SYN-RECV")
        assert peer.flow.irs != old


def test_a_newer_syn_without_a_listener_is_refused() -> None:
    peer = bsd()
    brought_to(peer, "TIME-WAIT")
    assert peer.inject("S", seq=3) == ["RA 0:0 ack 4"]
    assert peer.state() == ""


@pytest.mark.parametrize(("msl", "length"), [(30000, 60.0), (2000, 4.0)])
def test_time_wait_lasts_two_msl(msl: int, length: float) -> None:
    peer = bsd(msl=msl)
    brought_to(peer, "TIME-WAIT")
    peer.run(length - 0.1)
    assert peer.state() == "TIME-WAIT"
    peer.run(0.2)
    assert peer.state() == ""


def test_a_repeated_fin_restarts_the_clock_and_a_stray_ack_does_not() -> None:
    peer = bsd(msl=1000)
    brought_to(peer, "TIME-WAIT")
    peer.run(1)
    peer.inject("FA", seq=1, ack=2)
    peer.run(1.5)
    peer.inject("A", seq=1, ack=2)
    assert peer.state() == "TIME-WAIT"
    peer.run(0.6)
    assert peer.state() == ""


@pytest.mark.parametrize(("flags", "answer"), [("S", "RA 0:0 ack 1"), ("A", "R 1:1"), ("R", None)])
def test_a_half_open_connection_without_its_listener(flags: str, answer: str | None) -> None:
    peer = bsd()
    fd = peer.listen()
    peer.inject("S", **ACTIVE)
    peer.app.close(fd)
    assert peer.inject(flags, seq=0 if flags == "S" else 1, ack=1) == ([answer] if answer else [])


@pytest.mark.parametrize("state", ["CLOSE-WAIT", "LAST-ACK", "CLOSING"])
def test_behind_the_fin_nothing_is_taken_or_answered(state: str) -> None:
    peer = bsd()
    brought_to(peer, state)
    assert peer.inject("PA", seq=2, ack=1, data=10) == []
    assert peer.inject("FA", seq=2, ack=1) == []
    assert peer.state() == state


@pytest.mark.parametrize("state", ["FIN-WAIT-1", "FIN-WAIT-2"])
def test_data_after_our_fin_is_still_read(state: str) -> None:
    peer = bsd()
    fd = brought_to(peer, state)
    ack = 1 if state == "FIN-WAIT-1" else 2
    assert peer.inject("PA", seq=1, ack=ack, data=10) == ["A 2:2 ack 11"]
    assert len(peer.app.recv(fd, 99)) == 10
    peer.app.shutdown(fd, socket.SHUT_RD)
    assert peer.inject("PA", seq=11, ack=ack, data=10) == ["A 2:2 ack 21"]
    assert peer.inject("FA", seq=21, ack=2) == ["A 2:2 ack 22"]
    assert peer.state() == "TIME-WAIT"


def test_close_before_the_handshake_is_complete_says_nothing() -> None:
    peer = bsd()
    fd = syn_sent(peer)
    peer.inject("S", seq=0, **ACTIVE)
    peer.app.close(fd)
    assert peer.take() == []
    assert peer.inject("A", seq=1, ack=1) == ["R 1:1"]


def test_shutdown_in_syn_sent_lets_the_fin_follow() -> None:
    peer = bsd()
    peer.app.shutdown(syn_sent(peer), SHUT_WR)
    assert peer.take() == []
    assert peer.inject("SA", seq=0, ack=1, **ACTIVE) == ["FA 1:1 ack 1"]
    assert peer.state() == "FIN-WAIT-1"


def test_a_reset_is_told_even_behind_the_fin() -> None:
    peer = bsd()
    fd = brought_to(peer, "CLOSE-WAIT")
    peer.inject("R", seq=2)
    assert peer.attempt(peer.app.recv, fd, 10) == "ECONNRESET"
