"""What every test run shares: Hypothesis profiles, the marks of live tests, and which build is under test.

Environment:
    TIMEWAIT_BUILD         'compiled' or 'interpreted': refuse to run anything else
    TIMEWAIT_FAILED_STEPS  checks that failed before this run, repeated above the summary
    HYPOTHESIS_PROFILE     'ci' (default: the same examples each time), 'dev' (new ones), 'soak' (many)
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import timewait
from timewait.base import seq

TESTS = Path(__file__).parent
LIVE_FOLDERS = ("live", "differential")
REPEATS = 2
"""How often a failed test with the kernel in it is run again: a busy machine makes its timers look late now and
then, a difference in behaviour shows each time. The summary counts such repetitions."""
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("dev", max_examples=100, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.register_profile("soak", max_examples=5000, deadline=None, suppress_health_check=SLOW_IS_FINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def build_under_test() -> str:
    """'compiled' when the engine comes from extension modules, else 'interpreted'."""
    return "interpreted" if (seq.__file__ or "").endswith(".py") else "compiled"


def live_problem() -> str | None:
    """Why live tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "live tests need root (sudo make test)"
    if not Path("/dev/net/tun").exists():
        return "live tests need /dev/net/tun (modprobe tun)"
    return None


def pytest_configure(config: pytest.Config) -> None:
    wanted = os.environ.get("TIMEWAIT_BUILD")
    if wanted and wanted != build_under_test():
        raise pytest.UsageError(f"{wanted} build wanted, {build_under_test()} found at {timewait.__file__}")


def pytest_report_header(config: pytest.Config) -> str:
    place = Path(timewait.__file__).parent
    return f"timewait {timewait.__version__}, {build_under_test()}, from {os.path.relpath(place)}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    problem = live_problem()
    for item in items:
        if any(TESTS / folder in item.path.parents for folder in LIVE_FOLDERS):
            item.add_marker(pytest.mark.live)
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.flaky(reruns=REPEATS))
        if problem and item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip(reason=problem))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give all live tests to one worker: they share the kernel, and would disturb each other's timing.

    xdist's own groups (--dist loadgroup) do not work with pytest 9: they rename test ids, which pytest now computes.
    """
    from xdist.scheduler import LoadScopeScheduling

    class LiveTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folders = nodeid.partition("::")[0].split("/")
            return "live" if any(folder in LIVE_FOLDERS for folder in folders) else nodeid

    return LiveTogether(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"build under test: {build_under_test()}")
    failed = os.environ.get("TIMEWAIT_FAILED_STEPS")
    if failed:
        terminalreporter.section("FAILED BEFORE THIS RUN", red=True, bold=True)
        for step in failed.split(","):
            terminalreporter.write_line(f"FAILED {step} (its output is above)", red=True)
