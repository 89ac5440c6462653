"""What the runner makes of scripts that pass, that fail, and that hang."""

import json

import pytest

from timewait.drill import report
from timewait.drill.convert import script_of
from timewait.drill.junit import junit
from timewait.drill.suite import Setting, prepare, run_all, run_file, run_script
from timewait.lab.run import run as run_lab

HEAD = """
 0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 500:500(0) win 1000 <mss 1000,nop,nop,sackOK,nop,wscale 7>
+0 > S. 0:0(0) ack 501 <...>
+.1 < . 1:1(0) ack 1 win 1000
+0 accept(3, ..., ...) = 4
"""


def run(text, setting=None):
    script, options = prepare(text, "test.pkt", setting or Setting())
    return run_script(script, options).result


def test_it_passes_in_virtual_time():
    result = run(HEAD + "+3600 write(4, ..., 1000) = 1000\n+0 > P. 1:1001(1000) ack 1\n")
    assert result.passed and result.virtual == pytest.approx(3600.1)


@pytest.mark.parametrize(
    "line, field, expected, found",
    [
        ("+0 > . 1:1001(1000) ack 1", "flags", ".", "P."),
        ("+0 > P. 2:1002(1000) ack 1", "seq", "2", "1"),
        ("+0 > P. 1:501(500) ack 1", "length", "500", "1000"),
        ("+0 > P. 1:1001(1000) ack 2", "ack", "2", "1"),
        ("+0 > P. 1:1001(1000) ack 1 win 7", "win", "7", "63"),
        ("+0 > P. 1:1001(1000) ack 1 <nop,nop,sack 1:2>", "options", "<nop,nop,sack 1:2>", "none"),
        ("+0 > (tos 0x20) P. 1:1001(1000) ack 1", "tos", "0x20", "0x0"),
        ("+0 > [ce] P. 1:1001(1000) ack 1", "ecn", "ce", "noecn"),
        ("+.5 > P. 1:1001(1000) ack 1", "time", "0.600000 +-0.062500", "0.100000"),
    ],
)
def test_each_field_of_a_packet_is_compared(line, field, expected, found):
    result = run(HEAD + "+0 write(4, ..., 1000) = 1000\n" + line)
    assert result.status == "failed" and result.place.line == 10
    assert (field, expected, found) in [(d.field, d.expected, d.found) for d in result.differences]


def test_results_and_errno_are_compared():
    result = run(HEAD + "+0 write(4, ..., 1000) = 999")
    assert [(d.expected, d.found) for d in result.differences] == [("999", "1000")]
    result = run(HEAD + "+0 close(9) = -1 EINVAL (words)")
    assert [(d.expected, d.found) for d in result.differences] == [("-1 EINVAL", "-1 EBADF")]


def test_a_packet_that_never_comes_ends_the_script():
    result = run(HEAD + "+0 > P. 1:2(1) ack 1")
    assert result.status == "failed" and "did not come until 2.100000" in result.what


def test_waiting_at_any_time_has_an_end():
    result = run(HEAD + "* > P. 1:2(1) ack 1")
    assert result.status == "failed" and "did not come" in result.what


def test_an_extra_packet_is_noticed_by_the_next_expectation_only():
    write = "+0 write(4, ..., 1000) = 1000\n"
    assert run(HEAD + write).passed
    result = run(HEAD + write + "+.01 < P. 1:11(10) ack 1001 win 1000\n+0 > . 1001:1001(0) ack 11")
    assert result.status == "failed" and result.found.startswith("> P. 1:1001(1000)")


def test_pieces_are_put_together_unless_segments_are_strict():
    text = HEAD + "+0 write(4, ..., 3000) = 3000\n+0 > P. 1:3001(3000) ack 1"
    assert run(text).passed
    assert run(text, Setting(options=(("strict_segments", ""),))).status == "failed"


def test_the_command_line_wins_over_the_script():
    text = "--tolerance_usecs=1\n" + HEAD + "+0 write(4, ..., 1000) = 1000\n+.02 > P. 1:1001(1000) ack 1"
    assert run(text).status == "failed"
    assert run(text, Setting(options=(("tolerance_usecs", "30000"),))).passed


def test_non_fatal_mismatches_warn():
    text = "--non_fatal=packet,syscall\n" + HEAD + "+0 write(4, ..., 10) = 11\n+0 > P. 1:12(11) ack 1"
    result = run(text)
    assert result.passed and len(result.warnings) == 2


def test_a_blocking_call_ends_when_it_should():
    read = "+0...0.2 read(4, ..., 100) = 100\n"
    assert run(HEAD + read + "+.2 < P. 1:101(100) ack 1 win 1000").passed
    result = run(HEAD + read + "+.5 < P. 1:101(100) ack 1 win 1000")
    assert result.status == "failed" and result.differences[0].field == "end"
    assert "has not returned" in run(HEAD + read).what


def test_a_call_that_waits_without_saying_so_fails():
    assert "waits" in run(HEAD + "+0 read(4, ..., 100) = 100").what


def test_an_ecr_that_was_never_sent_is_the_script_s_fault():
    text = (
        HEAD.replace("sackOK,nop", "sackOK,TS val 1 ecr 0,nop")
        .replace("mss 1000,nop,nop,", "mss 1000,")
        .replace("<...>", "<mss 1460,sackOK,TS val 100 ecr 1,nop,wscale 10>")
        .replace("win 1000\n+0 acc", "win 1000 <nop,nop,TS val 2 ecr 77>\n+0 acc")
    )
    assert run(text).status == "error"
    assert "echoes" not in run("--tcp_ts_ecr_scaled\n" + text).what


def test_code_sees_tcp_info_and_keeps_its_names():
    code = "+0 %{ seen = tcpi_snd_cwnd }%\n+0 %{\nfor n in range(2):\n  assert seen == 10, seen\nprint(min(seen, 3)) }%"
    result = run(HEAD + code)
    assert result.passed and result.printed == "3\n"


def test_a_failed_assert_names_its_line_and_values():
    result = run(HEAD + "+0 %{ x = 1\nassert tcpi_snd_cwnd == 11, tcpi_snd_cwnd }%")
    assert result.status == "failed" and result.place.line == 10 and "tcpi_snd_cwnd = 10" in result.found


@pytest.mark.parametrize("text", ["import os", "open('/etc/passwd')", "__import__('os')", "eval('1')"])
def test_code_reaches_nothing_outside(text):
    result = run(HEAD + f"+0 %{{ {text} }}%")
    assert result.status == "failed" and ("NameError" in result.what or "ImportError" in result.what)


def test_code_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr("timewait.drill.pycode.TIMEOUT", 0.3)
    assert "no end" in run(HEAD + "+0 %{ while True: pass }%").what


def test_a_report_aligns_what_differs():
    result = run(HEAD + "+0 write(4, ..., 1000) = 1000\n+0 > . 1:1001(1000) ack 1")
    text = report.text(result)
    assert text.startswith("test.pkt:10:1: the packet is another one\n")
    assert "  expected  > .  1:1001(1000) ack 1\n  found     > P. 1:1001(1000) ack 1\n              ^^\n" in text
    assert text.count("\n    0.") <= 10
    json.dumps(report.as_json(result))
    assert '<testcase classname="drill" name="test.pkt"' in junit([result]) and "<failure" in junit([result])


def test_many_files_and_their_summary(tmp_path):
    (tmp_path / "good.pkt").write_text(HEAD)
    (tmp_path / "bad.pkt").write_text(HEAD + "+0 close(9) = 0")
    (tmp_path / "ugly.pkt").write_text("0 what")
    names = [str(tmp_path / name) for name in ("bad.pkt", "good.pkt", "ugly.pkt")]
    for jobs in (1, 2):
        results = run_all(names, Setting(), jobs)
        assert [result.status for result in results] == ["failed", "passed", "error"]
        assert report.summary(results) == "1 passed, 2 failed"


def test_equal_seeds_give_equal_runs():
    text = HEAD + "+0 write(4, ..., 1000) = 1000\n+0 > . 1:1001(1000) ack 1"
    assert run(text).log == run(text).log


@pytest.mark.parametrize("lab", ["EST-01", "CLS-01", "CLS-12", "EST-27", "TW-01"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_lab_s_record_as_a_script_passes(lab, number):
    from timewait.lab.bench import Setting as LabSetting

    record = run_lab(lab, LabSetting()).records[0][1]
    host = record.hosts()[min(number, len(record.hosts()) - 1)]
    result = run(script_of(record, host))
    assert result.passed, report.text(result)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    assert run_file(str(tmp_path / "none.pkt"), Setting()).result.status == "error"


MD5 = """
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 setsockopt(3, IPPROTO_TCP, TCP_MD5SIG, {tcpm_addr="192.0.2.1", tcpm_key="KEY"}, 216) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 1000 <nop,nop,md5 valid,mss 1000>
   +0 > S. 0:0(0) ack 1 <nop,nop,md5 valid,mss 1460>
"""


@pytest.mark.parametrize(
    ("head", "key", "told"),
    [
        ("--tcp_md5_secret=abc\n", "abc", ""),
        ("--tcp_md5_secret=abc\n", "abd", "did not come"),
        ("", "abc", "--tcp_md5_secret"),
    ],
)
def test_signatures(head, key, told):
    result = run(head + MD5.replace("KEY", key))
    assert result.passed == (not told)
    assert told in report.text(result)
