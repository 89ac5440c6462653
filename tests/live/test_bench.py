"""The live benchmarks run to their end and check what they carry; how fast is not asked here."""

import pytest

from timewait.bench import bulk, short, trips

pytestmark = pytest.mark.live


@pytest.mark.parametrize("measure", [bulk.receive, bulk.send, bulk.kernels])
@pytest.mark.parametrize("streams", [1, 3])
def test_bulk(measure, streams):
    assert measure(0.2, streams=streams)["gbit_per_s"] > 0


@pytest.mark.parametrize("measure", [short.serve, short.kernels, short.two_processes])
def test_short_connections(measure):
    assert measure(0.3, 8)["connections_per_s"] > 0


@pytest.mark.parametrize("measure", [trips.serve, trips.kernels])
def test_round_trips(measure):
    found = measure(0.2)
    assert found["trips_per_s"] > 0 and found["p50_us"] <= found["p99_us"]
