"""Quick labs with a kernel on one side and on both: the same functions, the same expectations."""

import pytest

from timewait.lab.bench import Setting
from timewait.lab.run import run

PLACES = [("live", "server"), ("live", "client"), ("kernel", "server")]


@pytest.mark.parametrize(("on", "kernel"), PLACES)
@pytest.mark.parametrize("id", ["EST-01", "EST-21", "EST-36", "CLS-01", "CLS-09", "FAIL-02"])
def test_lab(id: str, on: str, kernel: str) -> None:
    result = run(id, Setting(on=on, kernel=kernel), strict=True)
    assert [check for check in result.verdict.checks if not check.ok] == []
    assert result.passed


def test_syn_retries_take_the_kernels_time() -> None:
    setting = Setting(on="live", kernel="client", sysctl=(("", "net.ipv4.tcp_syn_retries", 1),))
    result = run("EST-27", setting, strict=True)
    assert result.passed, result.verdict.checks
    assert result.verdict.figure.en.startswith("ETIMEDOUT after 3")


def test_a_setting_that_only_one_side_has() -> None:
    """The claim must be able to fail: a server that gives up earlier than the lab expects."""
    setting = Setting(on="kernel", sysctl=(("server", "net.ipv4.tcp_synack_retries", 0),))
    assert not run("EST-30", setting, strict=True).passed
