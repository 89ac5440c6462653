"""The command line: what it prints, how it exits, and what it says to nonsense."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from timewait import __version__
from timewait.cli.main import COMMANDS, group
from timewait.lab.index import INDEX
from timewait.lab.run import load_all


def invoke(*args: str) -> Result:
    return CliRunner().invoke(group, args, prog_name="timewait")


def test_version_and_help() -> None:
    assert invoke("--version").output == f"timewait {__version__}\n"
    text = invoke("--help").output
    assert all(name in text for name in COMMANDS)
    assert "timewait lab EST-27" in text
    assert "timewait lab --all --json" in invoke("lab", "--help").output


def test_the_list_names_every_lab() -> None:
    lines = invoke("lab").output.splitlines()
    assert [line.split()[0] for line in lines[: len(INDEX)]] == list(INDEX)
    rows = json.loads(invoke("lab", "--json").output)
    assert {"id", "title", "verdict", "runs_on", "variants"} <= set(rows[0])
    assert "三次握手" in invoke("lab", "--lang", "zh").output


def test_a_lab_with_its_ladder() -> None:
    result = invoke("lab", "EST-27", "--set", "net.ipv4.tcp_syn_retries=2", "--width", "90")
    assert result.exit_code == 0
    assert "SYN seq=0" in result.output
    assert "met: ETIMEDOUT after 7 s, 5 retransmissions" in result.output
    assert max(map(len, result.output.splitlines())) <= 90
    assert "SYN seq=0" not in invoke("lab", "EST-27", "--no-ladder").output
    chinese = invoke("lab", "EST-27", "--lang", "zh", "--no-ladder").output
    assert "符合：重传 10 次，131 s 后 ETIMEDOUT" in chinese


def test_a_changed_world_changes_the_exit_status() -> None:
    # The lab's expectation is that of two retransmissions of the SYN-ACK: with one it is not met.
    result = invoke("lab", "EST-30", "--set", "net.ipv4.tcp_synack_retries=1", "--no-ladder")
    assert result.exit_code == 1
    assert "NOT MET" in result.output


def test_json_of_one_lab() -> None:
    found = json.loads(invoke("lab", "CLS-01", "--variant", "server", "--json").output)
    assert (found["id"], found["passed"], found["verdict"]) == ("CLS-01", True, "true")
    (run,) = found["runs"]
    assert run["variant"] == "server"
    assert {"text", "expected", "measured", "ok"} == set(run["checks"][0])
    assert run["world_ns"] > 60 * 10**9


def test_files(tmp_path: Path) -> None:
    svg, pcap = tmp_path / "a.svg", tmp_path / "a.pcapng"
    assert invoke("lab", "EST-01", "--svg", str(svg), "--pcap", str(pcap)).exit_code == 0
    assert svg.read_text().startswith("<svg")
    assert pcap.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    missing = invoke("lab", "EST-01", "--svg", str(tmp_path / "no" / "a.svg"))
    assert missing.exit_code == 1
    assert "No such file" in missing.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lob"], "did you mean lab?"),
        (["lab", "EST-999"], "did you mean EST-"),
        (["lab", "EST-01", "--set", "net.ipv4.tcp_syn_retry=1"], "net.ipv4.tcp_syn_retries"),
        (["lab", "EST-01", "--set", "net.ipv4.tcp_syn_retries=300"], "out of range 1..127"),
        (["lab", "EST-01", "--set", "net.ipv4.tcp_syn_retries=x"], "whole numbers"),
        (["lab", "EST-01", "--set", "tcp_sack"], "NAME=VALUE"),
        (["lab", "EST-01", "--set", "router:net.ipv4.tcp_sack=0"], "client, server"),
        (["lab", "EST-01", "--set", "net.ipv4.tcp_early_demux=1"], "changes nothing here"),
        (["lab", "EST-01", "--profile", "linux-9"], "linux-6.18"),
        (["lab", "EST-01", "--on", "mars"], "sim"),
        (["lab", "CLS-01", "--variant", "both"], "client, server"),
        (["lab", "EST-01", "--all"], "not both"),
        (["lab", "--svg", "x.svg"], "which lab?"),
        (["lab", "SOCK-10", "--on", "kernel"], "it runs on sim"),
    ],
)
def test_nonsense(args: list[str], words: str) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert words in result.output


def test_everything_as_a_list() -> None:
    result = invoke("lab", "--all", "--json")
    rows = json.loads(result.output)
    assert [row["id"] for row in rows] == [id for id, found in load_all().items() if "sim" in found.on]
    assert all({"id", "title", "passed", "verdict", "figure"} <= set(row) for row in rows)
    assert result.exit_code == (0 if all(row["passed"] for row in rows) else 1)


def test_the_tour_in_virtual_time() -> None:
    result = invoke("tour", "--no-live")
    assert result.exit_code == 0
    assert "2 h 11 min 15 s" in result.output
    assert "131 s" in result.output
    assert "TIME-WAIT" in result.output
    assert "left out" in result.output.splitlines()[-1]


def test_every_ladder_can_be_drawn() -> None:
    """A socket connected to itself is both columns of its ladder."""
    result = invoke("lab", "SOCK-10")
    assert result.exit_code == 0
    assert "SYN seq=0" in result.output
    for id in INDEX:
        assert "Measured" in invoke("lab", id).output, id
