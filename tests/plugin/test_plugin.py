"""The pytest plugin in suites of its own: seeds, fixtures, async tests, reports, shrinking, replay."""

import json
import re

import pytest

ECHO = """
import asyncio
import pytest

async def serve():
    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
    server = await asyncio.start_server(handle, port=80)
    await server.serve_forever()

@pytest.fixture
def server(net):
    made = net.host("server")
    made.run(serve, daemon=True)
    return made

async def echo(line=b"hi\\n"):
    reader, writer = await asyncio.open_connection("server", 80)
    writer.write(line)
    found = await reader.readline()
    writer.close()
    return found
"""

FAILING = (
    ECHO
    + """
@pytest.mark.timewait(seeds=30, faults=("lossy", "slow", "duplicate", "unplug"), within=3)
async def test_hasty(server, net):
    for _ in range(20):
        async with asyncio.timeout(0.15):
            assert await echo() == b"hi\\n"
        await asyncio.sleep(0.3)
"""
)


def token_in(output):
    return re.search(r"^timewait replay (tw1-\S+)$", output, re.MULTILINE)[1]


def test_each_seed_is_a_fresh_net_with_fresh_fixtures(suite):
    suite.write(
        ECHO
        + """
seen = []

@pytest.fixture(scope="module")
def once():
    seen.append("module")

@pytest.mark.timewait(seeds=5)
async def test_it(server, net, once):
    assert net.now < 1 and await echo() == b"hi\\n"
    seen.append(net.seed)

class TestMethods:
    @pytest.mark.timewait(seeds=2)
    async def test_method(self, server):
        assert not hasattr(self, "mark")
        self.mark = 1
        assert await echo() == b"hi\\n"

def test_after():
    assert seen == ["module", 0, 1, 2, 3, 4]

def test_blocking(net):
    import socket, time
    def program():
        time.sleep(3600)
        return socket.gethostname(), time.monotonic()
    job = net.host("a").run(program)
    net.run()
    assert net.now == 3600
"""
    )
    status, output = suite.run()
    assert (status, "4 passed" in output) == (0, True), output


def test_a_failure_is_told_by_token_ladder_and_files(suite):
    suite.write(FAILING)
    status, output = suite.run()
    assert status == 1, output
    assert output.count("timewait replay tw1-") == 1
    assert "SYN-ACK" in output and "TimeoutError" in output
    assert re.search(r"seed \d+ of 30 failed", output)
    found = suite.path / ".timewait" / "test_it.py-test_hasty"
    assert {"record.jsonl", "packets.pcapng", "ladder.txt", "token.txt"} <= {each.name for each in found.iterdir()}
    assert list(found.glob("ladder-*.svg"))
    assert json.loads((found / "record.jsonl").read_text().splitlines()[0])["format"] == "timewait-record"
    assert (found / "token.txt").read_text() == token_in(output) + "\n"


def test_faults_are_shrunk(suite):
    suite.write(FAILING)
    _, plain = suite.run("--timewait-no-shrink")
    _, output = suite.run()
    few = suite.replay(token_in(output), "--show")[1].count("fault ")
    many = suite.replay(token_in(plain), "--show")[1].count("fault ")
    assert few == 1 <= many
    assert "shrunk in" in output


def test_replay_gives_the_same_record_in_another_process(suite):
    suite.write(FAILING)
    _, output = suite.run()
    token = token_in(output)
    left = (suite.path / ".timewait" / "test_it.py-test_hasty" / "record.jsonl").read_bytes()
    for hashseed in ("1", "77"):
        status, told = suite.replay(
            token, "--json", "again.jsonl", "--pcap", "a.pcapng", "--svg", "a.svg", hashseed=hashseed
        )
        assert status == 1 and "TimeoutError" in told, told
        assert (suite.path / "again.jsonl").read_bytes() == left
    assert (suite.path / "a.pcapng").stat().st_size > 100
    assert (suite.path / "a.svg").read_text().startswith("<svg")
    (suite.path / "sub").mkdir()
    assert suite.python("-m", "timewait", "replay", "tw1-zzz")[0] == 2


def test_a_case_that_depends_on_something_else_is_named_so(suite):
    suite.write(
        """
import pytest
count = 0

@pytest.mark.timewait(seeds=5)
def test_it(net):
    global count
    count += 1
    assert count != 3
"""
    )
    status, output = suite.run()
    assert status == 1 and "seed 2 failed, and passed when it was run again" in output, output


def test_checks_are_asked_at_the_end(suite):
    suite.write(
        ECHO
        + """
async def forget():
    server = await asyncio.start_server(lambda reader, writer: kept.append(writer), port=80)
    await server.serve_forever()

kept = []

@pytest.mark.timewait(checks="no_close_wait", settle=10)
async def test_leak(net):
    net.host("server").run(forget, daemon=True)
    await asyncio.sleep(0.1)
    reader, writer = await asyncio.open_connection("server", 80)
    writer.close()
    await writer.wait_closed()
"""
    )
    status, output = suite.run()
    assert status == 1 and "1 end of a connection leaked" in output and "CLOSE-WAIT" in output, output


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("200", "takes options by name"),
        ("seed=3", "no option 'seed'"),
        ("seeds=0", "seeds is a number from 1"),
        ("faults='weather'", "no fault 'weather'"),
        ("checks='nothing'", "no check 'nothing'"),
    ],
)
def test_a_marker_without_sense_says_why(suite, marker, said):
    suite.write(f"import pytest\n@pytest.mark.timewait({marker})\ndef test_it(net): pass\ndef test_other(): pass\n")
    status, output = suite.run()
    assert status == 1 and said in output and "1 passed" in output, output


def test_skips_xfails_and_setup_errors(suite):
    suite.write(
        """
import pytest

@pytest.mark.timewait(seeds=5)
def test_skip(net):
    if net.seed == 2: pytest.skip("enough")

@pytest.mark.xfail(strict=True)
@pytest.mark.timewait(seeds=5)
def test_xfail(net):
    assert net.seed != 3

@pytest.fixture
def broken(net):
    assert net.seed != 1

@pytest.mark.timewait(seeds=5)
def test_setup(broken): pass
"""
    )
    status, output = suite.run("-rA")
    assert status == 1 and "1 skipped, 1 xfailed, 1 error" in output, output
    assert "timewait replay tw1-" in output


MIXED = (
    ECHO
    + """
@pytest.mark.timewait(seeds=3)
async def test_simulated(server):
    assert await echo() == b"hi\\n"
    assert type(asyncio.get_running_loop()).__name__ == "SimLoop"
"""
)


def test_beside_pytest_asyncio_in_both_modes(suite):
    pytest.importorskip("pytest_asyncio")
    suite.write(
        MIXED
        + """
@pytest.mark.asyncio
async def test_real():
    assert type(asyncio.get_running_loop()).__name__ != "SimLoop"
"""
    )
    for mode in ("strict", "auto"):
        status, output = suite.run("-o", f"asyncio_mode={mode}")
        assert (status, "2 passed" in output) == (0, True), output


def test_beside_anyio(suite):
    pytest.importorskip("anyio")
    suite.write(
        MIXED
        + """
import anyio
@pytest.fixture
def anyio_backend(): return "asyncio"

@pytest.mark.anyio
async def test_real():
    await anyio.sleep(0)
    assert type(asyncio.get_running_loop()).__name__ != "SimLoop"

@pytest.mark.anyio
@pytest.mark.timewait(seeds=2)
async def test_both(server):
    await anyio.sleep(5)
    assert await echo() == b"hi\\n"
"""
    )
    status, output = suite.run()
    assert (status, "3 passed" in output) == (0, True), output


def test_under_xdist(suite):
    pytest.importorskip("xdist")
    suite.write(FAILING + MIXED[len(ECHO) :])
    status, output = suite.run("-n", "2")
    assert status == 1 and "1 failed, 1 passed" in output, output
    assert suite.replay(token_in(output))[0] == 1


def test_other_suites_are_left_alone(suite):
    suite.write(
        """
import sys
import pytest

@pytest.fixture
def net(): return "my own"

def test_own(net): assert net == "my own"
def test_plain():
    assert not [name for name in sys.modules if name.startswith("timewait.") and name not in (
        "timewait.run", "timewait.run.plugin")]
    assert "greenlet" not in sys.modules
"""
    )
    status, output = suite.run("-p", "no:asyncio")
    assert (status, "2 passed" in output) == (0, True), output
