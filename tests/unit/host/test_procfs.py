import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from timewait.base.instant import MSEC, SEC
from timewait.host.procfs import (
    SocketRow,
    count_states,
    netstat_table,
    nstat_table,
    proc_line,
    proc_net,
    ss_table,
    ss_time,
)
from timewait.tcp.counters import NAMES, Counters
from timewait.tcp.states import ESTABLISHED, LISTEN, SYN_RCVD, TIME_WAIT
from timewait.wire.address import pack

ANY = (bytes(4), 0)
ROWS = [
    SocketRow(LISTEN, (bytes(4), 80), ANY, recv_q=1, backlog=128, process="server", fd=3, inode=9),
    SocketRow(
        ESTABLISHED,
        (pack("10.0.0.1"), 80),
        (pack("10.0.0.2"), 40000),
        send_q=20,
        timer="on",
        remaining=200 * MSEC,
        retrans=2,
        process="server",
        fd=4,
    ),
    SocketRow(SYN_RCVD, (pack("10.0.0.1"), 80), (pack("10.0.0.3"), 40000), timer="on", remaining=SEC),
    SocketRow(
        TIME_WAIT, (pack("fd00::1"), 80), (pack("fd00::2"), 40000), timer="timewait", remaining=59 * SEC, v6=True
    ),
]


def test_proc_lines_match_the_kernels_for_a_listener():
    sock = socket.socket()
    sock.bind(("127.0.0.5", 0))
    sock.listen(7)
    port, inode = sock.getsockname()[1], Path(f"/proc/self/fd/{sock.fileno()}").readlink().name
    lines = Path("/proc/net/tcp").read_text().splitlines()
    sock.close()
    theirs = next(line for line in lines if f"0500007F:{port:04X} 00000000:0000 0A" in line)
    number = int(re.search(r"\[(\d+)\]", inode)[1])
    row = SocketRow(LISTEN, (pack("127.0.0.5"), port), ANY, backlog=7, inode=number)
    assert theirs.startswith(proc_line(int(theirs.split(":")[0]), row) + " ")
    assert proc_net([]).splitlines()[0] == lines[0]


def test_proc_lines_of_connections():
    assert proc_line(1, ROWS[1]) == (
        "   1: 0100000A:0050 0200000A:9C40 01 00000014:00000000 01:00000014 00000002     0        0 0"
    )
    assert [line.split()[3] for line in proc_net(ROWS).splitlines()[1:]] == ["0A", "01", "03"]
    assert "000000FD" in proc_net(ROWS, v6=True) or "0000000000000000" in proc_net(ROWS, v6=True)


def test_ss_table():
    text = ss_table(ROWS, timers=True, processes=True)
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["LISTEN", "1", "128", "0.0.0.0:80", "0.0.0.0:*", 'users:(("server",fd=3))'],
        ["ESTAB", "0", "20", "10.0.0.1:80", "10.0.0.2:40000", 'users:(("server",fd=4))', "timer:(on,200ms,2)"],
        ["SYN-RECV", "0", "0", "10.0.0.1:80", "10.0.0.3:40000", "timer:(on,1sec,0)"],
        ["TIME-WAIT", "0", "0", "[fd00::1]:80", "[fd00::2]:40000", "timer:(timewait,59sec,0)"],
    ]


def test_netstat_table():
    lines = netstat_table(ROWS).splitlines()
    assert lines[2] == "tcp        1      0 0.0.0.0:80              0.0.0.0:*               LISTEN     "
    assert [line.split()[-1] for line in lines[2:]] == ["LISTEN", "ESTABLISHED", "SYN_RECV", "TIME_WAIT"]
    assert lines[-1].startswith("tcp6 ")


def test_ss_times():
    assert [ss_time(t) for t in (210 * MSEC, 1500 * MSEC, 59 * SEC, 90 * SEC, 7199 * SEC, 0)] == [
        "210ms",
        "1.500ms",
        "59sec",
        "1min30sec",
        "119min",
        "0ms",
    ]


def test_states_are_counted():
    assert count_states(ROWS)[TIME_WAIT] == 1


def test_nstat_and_since():
    counters = Counters()
    counters.TcpInSegs += 3
    earlier = counters.as_dict()
    counters.TcpInSegs += 2
    assert nstat_table(counters, since=earlier).splitlines() == ["#kernel", f"{'TcpInSegs':<32}{2:<16}   0.0"]
    assert len(nstat_table(counters, zeros=True).splitlines()) == len(NAMES) + 1


@pytest.mark.skipif(shutil.which("nstat") is None, reason="no nstat here")
def test_every_counter_is_one_that_nstat_knows():
    known = {
        line.split()[0]
        for line in subprocess.run(["nstat", "-asz"], capture_output=True, text=True, check=True).stdout.splitlines()
    }
    if "TcpExtTCPAODroppedIcmps" not in known:
        pytest.skip("an older kernel, with fewer counters")
    assert set(NAMES) <= known
