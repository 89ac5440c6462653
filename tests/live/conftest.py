"""Live tests need root, TUN and namespaces: without them they are skipped with the reason, in CI they fail."""

import os
from collections.abc import Iterator

import pytest

from timewait.world.clock import RealClock
from timewait.world.netns import Namespace, probe

MISSING = probe()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In CI a machine that cannot run the live tests is a failure: they must not vanish unseen."""
    if not (MISSING and os.environ.get("CI")):
        return
    for item in items:
        if item.get_closest_marker("live"):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]


@pytest.fixture(autouse=True)
def live() -> None:
    """Every live test: fail in CI, else skip, where the machine cannot do it."""
    if MISSING:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"live test: {MISSING}")


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace("test") as made:
        yield made


@pytest.fixture
def clock() -> Iterator[RealClock]:
    made = RealClock()
    yield made
    made.close()
