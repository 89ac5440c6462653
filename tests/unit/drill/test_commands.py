"""The commands of scripts: understood, acted on the machine under test, and nothing outside it."""

import pytest

from timewait.base.instant import SEC
from timewait.drill.commands import CommandFailed, Shell
from timewait.drill.options import RunOptions
from timewait.drill.sim import SimMachine


@pytest.fixture
def shell(tmp_path):
    return Shell(SimMachine("192.168.0.1", "192.0.2.1"), str(tmp_path / "one.pkt"), RunOptions())


@pytest.mark.parametrize(
    "text",
    [
        "sysctl -q net.ipv4.tcp_sack=0",
        "sysctl -w net.ipv4.tcp_sack=0",
        "/sbin/sysctl net/ipv4/tcp_sack=0",
        "echo 0 > /proc/sys/net/ipv4/tcp_sack",
        "../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0 net.ipv4.tcp_dsack=0",
        "# words\n  sysctl -q \\\n net.ipv4.tcp_sack=0 # more",
        "true && sysctl -q net.ipv4.tcp_sack=0",
        "false || sysctl -q net.ipv4.tcp_sack=0",
        "X=0; sysctl -q net.ipv4.tcp_sack=$X",
        "if [ 1 -eq 2 ]; then sysctl -q net.ipv4.tcp_dsack=0; else sysctl -q net.ipv4.tcp_sack=0; fi",
        "sh -c 'sysctl -q net.ipv4.tcp_sack=0'",
        "sysctl -q net.ipv4.tcp_sack=$(echo 0)",
    ],
)
def test_ways_to_set_a_sysctl(shell, text):
    shell.run(text)
    assert shell.machine.get_sysctl("net.ipv4.tcp_sack") == "0"


def test_reading(shell):
    assert shell.run("sysctl -n net.ipv4.tcp_sack") == "1\n"
    assert shell.run("sysctl net.ipv4.tcp_rmem") == "net.ipv4.tcp_rmem = 4096\t131072\t33554432\n"
    assert shell.run("cat /proc/sys/net/ipv4/tcp_sack") == "1\n"


def test_defaults_where_no_file_is(shell):
    shell.run("../common/defaults.sh")
    assert shell.machine.get_sysctl("net.ipv4.tcp_slow_start_after_idle") == "0"
    assert shell.machine.get_sysctl("net.ipv4.tcp_wmem") == "4096\t262144\t4194304"


def test_a_script_beside_the_script_is_read(shell, tmp_path):
    (tmp_path / "defaults.sh").write_text("#!/bin/sh\nsysctl -q net.ipv4.tcp_sack=0\n. ./more.sh\n")
    (tmp_path / "more.sh").write_text("sysctl -q net.ipv4.tcp_dsack=0\n")
    shell.run("./defaults.sh")
    assert shell.machine.get_sysctl("net.ipv4.tcp_sack") == shell.machine.get_sysctl("net.ipv4.tcp_dsack") == "0"


def test_scripts_that_call_themselves_end(shell, tmp_path):
    (tmp_path / "again.sh").write_text("./again.sh\n")
    with pytest.raises(CommandFailed, match="deep"):
        shell.run("./again.sh")


def test_pipes_and_text_tools(shell):
    assert shell.run("printf 'a 1\\nb 2\\n' | grep b | awk '{print $2}'") == "2\n"
    assert shell.run("echo one | wc -l") == "1\n"
    assert shell.run("! grep -q x /dev/null") == ""
    with pytest.raises(CommandFailed, match="exit status 1"):
        shell.run("echo a | grep -q b")


def test_counters_since_the_last_look(shell):
    shell.run("nstat -n")
    shell.machine.host.counters.TcpExtTCPTimeouts += 3
    assert "TcpExtTCPTimeouts" in shell.run("nstat | grep TCPTimeouts")
    assert shell.run("nstat | grep TCPTimeouts || true") == ""


def test_interface_and_files(shell):
    shell.run("ip link set dev tun0 mtu 1300; tc qdisc replace dev tun0 root fq; ethtool -K tun0 tso off")
    assert shell.machine.iface.mtu == 1300
    shell.run("dd if=/dev/zero of=/tmp/file bs=1000 count=3 2>/dev/null")
    assert shell.files["/tmp/file"] == bytes(3000)
    shell.run("rm -f /tmp/file")
    assert shell.files == {}


def test_nothing_on_this_computer_is_touched(shell, tmp_path):
    target = tmp_path / "written"
    shell.run(f"echo x > {target}")
    assert not target.exists()
    with pytest.raises(CommandFailed, match="--shell"):
        shell.run(f"touch {target}")
    shell.options.shell = True
    shell.run(f"touch {target}")
    assert target.exists()


@pytest.mark.parametrize(
    "text", ["sysctl -q net.ipv4.tcp_nonsense=1", "sysctl -q net.ipv4.tcp_sack=many", "sleep forever", "if true; then"]
)
def test_mistakes_are_said(shell, text):
    with pytest.raises(CommandFailed):
        shell.run(text)


def test_sleep_takes_virtual_time(shell):
    shell.run("sleep 2.5")
    assert shell.slept == 2_500_000_000


def test_what_is_known_of_peers_is_shown_and_forgotten(shell):
    cache = shell.machine.host.net.metrics
    for last in (2, 3):
        cache.obtain(bytes((10, 0, 0, 1)), bytes((10, 0, 0, last)), 100 * SEC).cwnd = 10 + last
    assert shell.run("ip tcp_metrics show") == "10.0.0.2 age 0.000sec cwnd 12 source 10.0.0.1\n" + (
        "10.0.0.3 age 0.000sec cwnd 13 source 10.0.0.1\n"
    )
    shell.run("ip tcp_metrics delete 10.0.0.2")
    assert [line.split()[0] for line in shell.run("ip tcp_metrics").splitlines()] == ["10.0.0.3"]
    shell.run("ip tcp_metrics flush all")
    assert shell.run("ip tcp_metrics show") == ""
