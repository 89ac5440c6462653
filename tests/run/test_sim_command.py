"""`timewait sim FILE.py` as its user meets it."""

import json

import pytest
from click.testing import CliRunner

from timewait.cli.main import group

HEAD = """
import asyncio, socket

async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
    writer.close()

async def serve():
    server = await asyncio.start_server(echo, "0.0.0.0", 7)
    await server.serve_forever()

def talk():
    with socket.create_connection(("server", 7)) as conn:
        conn.sendall(b"hello")
        return conn.recv(10)
"""
HOSTS = """
    client, server = net.host("client"), net.host("server")
    net.link(client, server, delay="20ms")
"""
SERVED = HOSTS + "    server.run(serve, daemon=True)\n    net.run(0.1)\n"
GOOD = HEAD + "def simulate(net):" + SERVED + "    client.run(talk)\n"
ASYNC = HEAD + "async def simulate(net):" + SERVED + '    assert await client.run(talk) == b"hello"\n'
REFUSED = HEAD + "def simulate(net):" + HOSTS + "    client.run(talk)\n"
HANGS = HEAD + "def simulate(net):" + HOSTS + "    client.run(asyncio.Event().wait())\n"


@pytest.fixture
def sim(tmp_path):
    """Runs `timewait sim` on a file with this text."""

    def run(text, *options):
        file = tmp_path / "story.py"
        file.write_text(text)
        return CliRunner().invoke(group, ["sim", str(file), *options])

    return run


@pytest.mark.parametrize("text", [GOOD, ASYNC])
def test_programs_run_and_are_told_of(sim, text):
    told = sim(text)
    assert told.exit_code == 0, told.output
    assert "talk on client: returned b'hello'" in told.output and "virtual time" in told.output


def test_json_has_an_object_for_each_seed(sim):
    told = sim(GOOD, "--seeds", "3", "--json")
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert [each["seed"] for each in found] == [0, 1, 2] and all(each["passed"] for each in found)


def test_files_are_written(sim, tmp_path):
    told = sim(GOOD, "--ladder", "--svg", str(tmp_path / "a.svg"), "--pcap", str(tmp_path / "a.pcapng"))
    assert "SYN" in told.output
    assert (tmp_path / "a.svg").read_text().startswith("<svg") and (tmp_path / "a.pcapng").stat().st_size > 100


@pytest.mark.parametrize(("text", "said"), [(REFUSED, "ConnectionRefusedError"), (HANGS, "every program waits")])
def test_what_fails_is_shown_with_status_1(sim, text, said):
    told = sim(text, "--seeds", "5")
    assert told.exit_code == 1 and said in told.output and "seed 0" in told.output


@pytest.mark.parametrize(("text", "said"), [("x = 1", "simulate(net)"), ("def simulate(net:\n", "story.py:1:")])
def test_a_file_that_is_none_is_status_2(sim, text, said):
    told = sim(text)
    assert told.exit_code == 2 and said in told.output
