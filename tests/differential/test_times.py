"""The tests marked `timed`, against the kernel: all at once, since each of them only waits for timers."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

import rfc.test_delack
import rfc.test_failures
import rfc.test_keepalive
import rfc.test_terminate
from support.ends import QUIET, timed_tests
from support.peer import Peer
from timewait.world.netns import probe

MODULES = (rfc.test_terminate, rfc.test_delack, rfc.test_keepalive, rfc.test_failures)
THREADS = 16
"""Peers that live at the same time; more would disturb each other's clocks on two cores."""


def cases() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(name, test, arguments) of every timed test, parameters multiplied out."""
    for name, test in timed_tests(*MODULES).items():
        choices: list[list[dict[str, Any]]] = []
        for mark in getattr(test, "pytestmark", []):
            if mark.name == "parametrize":
                names, values = mark.args
                single = isinstance(names, str)
                choices.append(
                    [dict(zip([names] if single else names, [v] if single else v, strict=True)) for v in values]
                )
        for number, chosen in enumerate(product(*choices)):
            arguments = {key: value for each in chosen for key, value in each.items()}
            yield f"{name}[{number}]" if choices else name, test, arguments


CASES = list(cases())


def play(test: Any, arguments: dict[str, Any]) -> None:
    made: list[Peer] = []

    def peers(*args: Any, **options: Any) -> Peer:
        with QUIET:
            made.append(Peer.kernel(*args, **options))
        return made[-1]

    try:
        test(peers, **arguments)
    finally:
        with QUIET:
            for peer in made:
                peer.close()


@pytest.fixture(scope="module")
def played() -> Iterator[dict[str, Future[None]]]:
    missing = probe()
    if missing:
        pytest.skip(f"live test: {missing}")
    with ThreadPoolExecutor(THREADS) as threads:
        yield {name: threads.submit(play, test, arguments) for name, test, arguments in CASES}


@pytest.mark.parametrize("name", [name for name, _, _ in CASES])
def test_on_the_kernel(played: dict[str, Future[None]], name: str) -> None:
    try:
        played[name].result(timeout=90)
    except AssertionError:
        # It may have been late among so many: what is wrong is wrong alone too.
        play(*next((test, arguments) for known, test, arguments in CASES if known == name))
