"""`timewait drill` on the command line: exit status, what is printed, what is written."""

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from timewait.cli.main import group

GOOD = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(3) = 0\n"
BAD = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(4) = 0\n"
UGLY = "0 socket(\n"


@pytest.fixture
def scripts(tmp_path):
    for name, text in (("good", GOOD), ("bad", BAD), ("ugly", UGLY)):
        (tmp_path / f"{name}.pkt").write_text(text)
    return tmp_path


def drill(*args):
    return CliRunner().invoke(group, ["drill", *map(str, args)])


@pytest.mark.parametrize("name, status, last", [("good", 0, "1 passed, 0 failed"), ("bad", 1, "0 passed, 1 failed"),
                                                ("ugly", 2, "0 passed, 1 failed")])  # fmt: skip
def test_exit_status_and_last_line(scripts, name, status, last):
    result = drill(scripts / f"{name}.pkt")
    assert result.exit_code == status
    assert result.output.splitlines()[-1] == last


def test_a_directory_as_json_and_junit(scripts):
    report = scripts / "report.xml"
    result = drill(scripts, "--json", "--junit", report)
    assert result.exit_code == 2
    assert [row["status"] for row in json.loads(result.output)] == ["failed", "passed", "error"]
    root = ElementTree.fromstring(report.read_text())
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")


def test_only_parsing(scripts):
    assert drill("--check", scripts / "bad.pkt").exit_code == 0
    assert drill("--check", scripts).exit_code == 2


def test_ladder_and_capture_of_one_script(scripts):
    text = GOOD.replace("+0 close(3) = 0", "+0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0\n+0 connect(3, ..., ...) = -1"
                        " EINPROGRESS (words)\n+0 > S 0:0(0) <...>")  # fmt: skip
    (scripts / "syn.pkt").write_text(text)
    result = drill(scripts / "syn.pkt", "--ladder", "--pcap", scripts / "syn.pcapng")
    assert result.exit_code == 0 and "SYN" in result.output
    assert (scripts / "syn.pcapng").stat().st_size > 100


@pytest.mark.parametrize("args", [["--mtu", "5"], ["-D", "x"], ["--ip_version", "ipv5"]])
def test_a_wrong_command_line(scripts, args):
    assert drill(scripts / "good.pkt", *args).exit_code == 2


def test_what_is_not_there():
    result = drill("no-such-directory")
    assert result.exit_code == 2 and "no-such-directory" in result.output


def test_a_lab_as_a_script(tmp_path):
    path = tmp_path / "lab.pkt"
    assert CliRunner().invoke(group, ["lab", "CLS-01", "--drill", str(path), "--no-ladder"]).exit_code == 0
    assert path.read_text().startswith("// CLS-01: ")
    assert drill(path).exit_code == 0
