"""The server of the CLOSE-WAIT labs: with and without its mistakes the labs tell the difference."""

from collections.abc import Callable

import pytest

import timewait.lab.closewait_server as labs
from timewait.lab.bench import Bench, Setting
from timewait.lab.epoll_server import (
    DEADLOCK,
    NO_ACCEPT,
    NO_CLOSE,
    NO_CLOSE_EDGE,
    NO_LISTENER,
    NO_REGISTER,
    EpollServer,
)
from timewait.lab.run import run

MISTAKES = (NO_LISTENER, NO_ACCEPT, NO_REGISTER, NO_CLOSE, NO_CLOSE_EDGE, DEADLOCK)


def making(mistake: str) -> Callable[..., EpollServer]:
    """A server that makes this mistake, whichever the lab asks for."""

    def make(bench: Bench, asked: str = "", **options: int) -> EpollServer:
        return EpollServer(bench, mistake, **options)

    return make


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_shows(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labs, "EpollServer", making(mistake))
    assert not run("CW-03").passed


@pytest.mark.parametrize("id", ["CW-04", "CW-05", "CW-06", "CW-07"])
def test_a_right_server_leaves_no_close_wait(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labs, "EpollServer", making(""))
    result = run(id)
    assert not result.passed
    found = {check.text.en: check.measured for check in result.verdict.checks}
    left = next(measured for text, measured in found.items() if text.startswith("CLOSE-WAIT"))
    assert left.split(",")[0] == "0"


@pytest.mark.parametrize("variant", [NO_CLOSE, NO_CLOSE_EDGE, DEADLOCK])
def test_the_variants_are_told_apart_by_the_loop(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in {NO_CLOSE, NO_CLOSE_EDGE, DEADLOCK} - {variant}:
        if {variant, other} == {NO_CLOSE_EDGE, DEADLOCK} and variant == NO_CLOSE_EDGE:
            continue  # What is silent for one reason looks like what is silent for the other, until somebody connects.
        monkeypatch.setattr(labs, "EpollServer", making(other))
        assert not run("CW-07", Setting(variant=variant)).passed, other
