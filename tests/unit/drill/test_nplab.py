"""The nplab dialect: #ifdef, FreeBSD's names and commands, and what is refused."""

import pytest

from timewait.drill.lexer import ScriptError
from timewait.drill.nplab import conditional, defined_names, for_freebsd
from timewait.drill.parser import parse
from timewait.drill.runner import Result
from timewait.drill.suite import Setting, prepare, run_script
from timewait.drill.symbols import symbol

START = """
 0.00 `sysctl -w net.inet.tcp.ecn.enable=0`
+0.00 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0.00 bind(3, ..., ...) = 0
+0.00 listen(3, 1) = 0
"""
ACCEPTED = (
    START
    + """
+0.00 < S 0:0(0) win 65535 <mss 1460,sackOK,eol,eol>
+0.00 > S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,eol,eol>
+0.00 < . 1:1(0) ack 1 win 65535
+0.00 accept(3, ..., ...) = 4
"""
)


def run(text: str, profile: str = "") -> Result:
    script, options = prepare(text, "test.pkt", Setting(profile=profile))
    return run_script(script, options).result


def test_ifdef_keeps_the_numbers_of_lines() -> None:
    text = "a\n#ifdef FreeBSD\nb\n#else\nc\n#endif\nd"
    assert conditional(text, "x", frozenset({"FreeBSD"})) == "a\n\nb\n\n\n\nd"
    assert conditional(text, "x", frozenset()) == "a\n\n\n\nc\n\nd"


def test_ifdefs_inside_one_another_and_ifndef() -> None:
    text = "#ifdef A\n#ifndef B\nx\n#else\ny\n#endif\n#endif\nz"
    assert conditional(text, "t", frozenset({"A"})).split() == ["x", "z"]
    assert conditional(text, "t", frozenset({"A", "B"})).split() == ["y", "z"]
    assert conditional(text, "t", frozenset({"B"})).split() == ["z"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x\n#endif", 2, "without #ifdef"),
        ("#ifdef A\nx", 1, "without #endif"),
        ("#ifdef A\n#else\n#else\n#endif", 3, "second #else"),
        ("#ifdef\n#endif", 1, "takes a name"),
    ],
)
def test_bad_ifdefs_are_told_with_their_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ScriptError, match=words) as caught:
        conditional(text, "t", frozenset())
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("profile", "name"), [("freebsd", "FreeBSD"), ("linux-6.18", "Linux"), ("rfc9293", "STANDARD")]
)
def test_each_profile_defines_its_name(profile: str, name: str) -> None:
    assert name in defined_names(profile)


def test_a_script_with_freebsd_sysctls_runs_under_that_profile() -> None:
    assert for_freebsd(START) and not for_freebsd("0 `sysctl -w net.ipv4.tcp_sack=0`")
    assert run(START + "+0 < S 0:0(0) win 1000 <mss 1460>\n+0 > S. 0:0(0) ack 1 win 65535 <mss 1460>").passed
    assert prepare(START, "t", Setting(profile="linux-6.18"))[1].profile == "linux-6.18"


def test_freebsd_sysctls_under_linux_are_refused_in_words() -> None:
    result = run(START, "linux-6.18")
    assert result.status != "passed" and "net.inet.tcp.ecn.enable" in result.what


@pytest.mark.parametrize("name", ["TCP_NOOPT", "TCP_KEEPINIT", "TCP_REMOTE_UDP_ENCAPS_PORT", "TCP_FUNCTION_BLK"])
def test_freebsd_socket_options_have_numbers_of_their_own(name: str) -> None:
    assert symbol(name) > 0xFFFF


@pytest.mark.parametrize(
    ("state", "count", "passes"),
    [("ESTABLISHED", 1, True), ("ESTABLISHED", 2, False), ("LISTEN", 1, True), ("TIME_WAIT", 1, False)],
)
def test_sockstat_counts_states(state: str, count: int, passes: bool) -> None:
    result = run(ACCEPTED + f"+0 `sockstat -4 -l -c -P tcp -s | grep -c {state} | grep {count}`")
    assert result.passed == passes, result.what


def test_sockstat_shows_half_open_ones_and_filters() -> None:
    half = START + "+0.00 < S 0:0(0) win 65535 <mss 1460>\n+0.00 > S. 0:0(0) ack 1 win 65535 <mss 1460>\n"
    assert run(half + "+0 `sockstat -4 -c -s -n -p 8080 | grep -c SYN_RCVD | grep 1`").passed
    assert not run(half + "+0 `sockstat -6 -c -s | grep SYN_RCVD`").passed
    assert not run(half + "+0 `sockstat -4 -c -s -p 9 | grep SYN_RCVD`").passed


def test_tcpdrop_ends_time_wait_in_silence() -> None:
    end = """
+0.00 close(4) = 0
+0.00 > F. 1:1(0) ack 1 win 65535
+0.00 < F. 1:1(0) ack 2 win 65535
+0.00 > . 2:2(0) ack 2 win 65535
+0.00 `sockstat -4 -c -s | grep -c TIME_WAIT | grep 1`
+0.00 `tcpdrop -s TIME_WAIT`
+0.00 `sockstat -4 -c -s | grep -c TIME_WAIT | grep 0`
+0.00 < . 2:2(0) ack 2 win 65535
+0.00 > R 2:2(0) win 0
"""
    result = run(ACCEPTED + end)
    assert result.passed, result.what


def test_tcpdrop_resets_a_connection() -> None:
    result = run(
        ACCEPTED
        + """
+0.00 `tcpdrop -a`
+0.00 > R. 1:1(0) ack 1 win 0
+0.00 getsockopt(4, SOL_SOCKET, SO_ERROR, [ECONNABORTED], [4]) = 0
"""
    )
    assert result.passed, result.what


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("kldstat -q -m tcp_rack", "exit status 1"),
        ("kldload tcp_rack", "no kernel modules"),
        ("setkey -c", "not implemented"),
        ("tcpdrop -s NOWHERE", "unknown state"),
        ("sysctl -w net.inet.tcp.udp_tunneling_port=9899", "not implemented"),
    ],
)
def test_what_is_refused_says_why(command: str, words: str) -> None:
    assert words in run(START + f"+0.00 `{command}`").what


def test_tcp_over_udp_is_refused_where_the_script_asks_for_it() -> None:
    with pytest.raises(ScriptError, match="not implemented") as caught:
        prepare("--udp_encapsulation=tcp\n" + START, "t", Setting())
    assert caught.value.line == 1


@pytest.mark.parametrize("name", ["TCPI_ESTABLISHED", "TCPI_SYN_RECEIVED", "TCPI_FIN_WAIT_1", "TCPI_TIME_WAIT"])
def test_code_sees_freebsd_state_names(name: str) -> None:
    result = run(ACCEPTED + f"+0 %{{ assert (tcpi_state == {name}) == ('{name}' == 'TCPI_ESTABLISHED') }}%")
    assert result.passed, result.what


def test_an_isn_may_be_left_open_and_numbers_be_absolute() -> None:
    script = parse("0 > S. ...(0) ack 1 <...>\n0 > . 7:7(0)! ack 1", "t")
    assert script.events[0].any_seq and script.events[1].absolute  # type: ignore[attr-defined]


def test_peeked_data_stays() -> None:
    result = run(
        ACCEPTED
        + """
+0.00 < P. 1:101(100) ack 1 win 65535
+0.00 > . 1:1(0) ack 101 win 65535
+0.00 recv(4, ..., 60, MSG_PEEK) = 60
+0.00 recv(4, ..., 200, 0) = 100
+0.00 recv(4, ..., 200, MSG_DONTWAIT) = -1 EWOULDBLOCK (Operation would block)
"""
    )
    assert result.passed, result.what
