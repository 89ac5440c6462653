"""The benchmarks measure what they say: small runs of each, without a claim about speed."""

import gc
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from timewait.base.errors import UsageError
from timewait.bench import echo, nspy, simulated, suite
from timewait.bench.__main__ import FUNCTIONS
from timewait.bench.picture import svg
from timewait.cli.bench import command
from timewait.tcp.arrive_listen import Request
from timewait.tcp.tcb import Tcb
from timewait.tcp.timewait import TimeWait


def test_everything_that_is_named_can_be_measured():
    named = set(suite.BENCHES) | {child for bench in suite.BENCHES.values() for _, child in bench.references}
    assert named <= set(FUNCTIONS)


@pytest.mark.parametrize("measure", [simulated.segments, simulated.dumbbell, simulated.lifecycles])
def test_simulated_speed(measure):
    assert all(value > 0 for value in measure(0.05).values())


@pytest.mark.parametrize("measure", [echo.protocols, echo.streams, echo.blocking, echo.watchers])
def test_programs_echo_as_fast_as_the_link_lets_them(measure):
    before = echo.Trips.count
    assert measure(0.02)["round_trips_per_s"] > 0
    # A slice of virtual time holds as many round trips as fit, whatever the programs are made of.
    assert (echo.Trips.count - before) % 1000 >= 990 or (echo.Trips.count - before) % 1000 <= 10


@pytest.mark.parametrize("measure", [echo.bare_protocols, echo.bare_streams])
def test_the_echo_beside_it_takes_the_same_virtual_time(measure):
    before = echo.Trips.count
    assert measure(0.02)["round_trips_per_s"] > 0
    assert (echo.Trips.count - before) % 1000 >= 990 or (echo.Trips.count - before) % 1000 <= 10


def test_idle_connections_are_really_held():
    assert simulated.crowd(0.05, 250)["segments_per_s"] > 0


@pytest.mark.parametrize("measure", ["idle", "time_wait", "syn_queue"])
def test_memory_is_counted_by_resident_octets(measure):
    # In a process of its own: here, what other tests have freed would be taken first, and nothing would grow.
    code = f"from timewait.bench import memory; print(memory.{measure}(0, 4000)['octets'])"
    counted = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(counted.stdout) > 50


@pytest.mark.skipif(os.environ.get("TIMEWAIT_BUILD") != "compiled", reason="sizes of the compiled build")
def test_what_is_held_in_millions_stays_small():
    assert Tcb.__basicsize__ <= 1464
    assert Request.__basicsize__ <= 128 and not gc.is_tracked(Request(bytes(12), 0))
    assert TimeWait.__basicsize__ <= 96


def test_the_reference_simulator_runs_where_it_is_installed():
    pytest.importorskip("ns", reason="ns.py is not installed: pip install 'timewait[bench]'")
    assert nspy.dumbbell(0.05)["segments_per_s"] > 0


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(UsageError, match="segments"):
        list(suite.run(["segmets"]))
    told = CliRunner().invoke(command, ["segmets"])
    assert told.exit_code != 0 and "value" not in told.stdout, "a table begins that never goes on"


def test_the_command_prints_a_table_or_json_and_draws(tmp_path):
    picture = tmp_path / "bench.svg"
    runner = CliRunner()
    small = ["segments", "--seconds", "0.1", "--repeat", "1"]
    told = runner.invoke(command, [*small, "--json", "--svg", str(picture)])
    assert told.exit_code == 0, told.output
    results = json.loads(told.stdout)
    assert {"name", "value", "unit", "reference", "ratio", "build"} <= set(results[0])
    ElementTree.fromstring(picture.read_text())
    assert "segments/s" in runner.invoke(command, small).output


def test_bars_are_drawn_beside_their_references():
    result = suite.Result(
        name="receive", value=10.0, unit="Gbit/s", reference=20.0, ratio=0.5,
        references={"bare loop": 20.0, "kernels": 15.0}, build="compiled",
    )  # fmt: skip
    drawn = ElementTree.fromstring(svg([result]))
    widths = [float(bar.get("width")) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[0] * 2 == pytest.approx(widths[1], rel=0.01) and len(widths) == 3
