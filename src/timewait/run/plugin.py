"""pytest: a `net` for each seed, failing runs shrunk, told by a ladder and replayed by a token.

    @pytest.mark.timewait(seeds=200)
    def test_something(net): ...

Registered as the entry point `timewait`. A suite that uses neither the fixture nor the marker pays
the import of this file, which imports nothing but pytest, and one look at each test's fixtures.

A test under the marker runs once for every seed, each time set up and torn down anew with all
its function fixtures, and is reported once: by its first failing seed, shrunk, or as passed.
"""

import functools
import inspect
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from timewait.record.record import Record
    from timewait.run.case import Case
    from timewait.run.net import Net

MARKER: Final = "timewait"
ARTIFACTS: Final = ".timewait"
"""Where failed runs leave their files, below pytest's root directory."""
SETTLE: Final = 300.0
"""Virtual seconds without faults before the checks look at what is left."""
OPTIONS: Final = ("seeds", "faults", "within", "most", "checks", "settle", "shrink")


class Settings:
    """What marker and command line say about a test."""

    def __init__(self, item: pytest.Function) -> None:
        options: dict[str, Any] = {}
        for marker in reversed(list(item.iter_markers(MARKER))):
            if marker.args:
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.timewait takes options by name: seeds=200")
            unknown = sorted(set(marker.kwargs) - set(OPTIONS))
            if unknown:
                raise pytest.UsageError(f"{item.nodeid}: timewait has no option {unknown[0]!r}; {', '.join(OPTIONS)}")
            options.update(marker.kwargs)
        config = item.config
        self.seeds: int = config.getoption("timewait_seeds") or options.get("seeds", 1)
        if not isinstance(self.seeds, int) or self.seeds < 1:
            raise pytest.UsageError(f"{item.nodeid}: seeds is a number from 1, not {self.seeds!r}")
        self.first: int = config.getoption("timewait_seed")
        self.faults: Any = options.get("faults")
        self.within: Any = options.get("within", 10.0)
        self.most: int = options.get("most", 5)
        default = "no_close_wait" if self.faults else ()
        checks = options.get("checks", default)
        self.checks: tuple[str, ...] = (checks,) if isinstance(checks, str) else tuple(checks)
        self.settle: Any = options.get("settle", SETTLE)
        self.shrink: bool = bool(options.get("shrink", True)) and not config.getoption("timewait_no_shrink")
        # A debugger would stop in each run of the search.
        self.shrink = self.shrink and not config.getoption("usepdb", False)

    def case(self, seed: int) -> "Case":
        """The case of a seed: with the faults that grow from it, where faults are asked for."""
        from timewait.run.case import Case

        if not self.faults:
            return Case(seed)
        from timewait.run.explore import plan
        from timewait.run.quantity import length

        return Case(seed, plan(seed, self.faults, within=max(length(self.within) // 1_000_000, 1), most=self.most))


class Run:
    """One test under this plugin: the case it is at, the net of that case, and how it went."""

    def __init__(self, item: pytest.Function, settings: Settings) -> None:
        self.item = item
        self.settings = settings
        self.case: Case | None = None
        self.net: Net | None = None
        self.error: BaseException | None = None

    def make_net(self) -> "Net":
        """A fresh net for the case, its faults scheduled."""
        from timewait.run.net import Net

        case = self.case
        assert case is not None, "a net is made for a case"
        net = Net(seed=case.seed)
        self.net = net
        if case.faults:
            from timewait.run.explore import schedule

            schedule(net, case.faults)
        return net

    def call(self) -> None:
        """The test's function, a coroutine as a program on the host `test`; then the checks."""
        item = self.item
        function = item.obj
        arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
        if inspect.iscoroutinefunction(function):
            net = self.net or item._request.getfixturevalue("net")
            host = net.world.hosts.get("test")
            where = net.hosts["test"] if host is not None else net.host("test")
            job = where.run(functools.partial(function, **arguments), name=item.name)
            net.run_until(job)
            job.result()
        else:
            result = function(**arguments)
            if result is not None and item.config.getoption("timewait_replay", None) is None:
                _warn_result(item, result)
        self.check()

    def check(self) -> None:
        """Let the net come to rest without faults, then ask the checks."""
        if self.net is None or not (self.settings.checks or (self.case is not None and self.case.faults)):
            return
        from timewait.run.asserts import CHECKS

        unknown = [name for name in self.settings.checks if name not in CHECKS]
        if unknown:
            raise pytest.UsageError(f"no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
        self.net.undo_all()
        self.net.settle(self.settings.settle)
        for name in self.settings.checks:
            CHECKS[name](self.net)


def _warn_result(item: pytest.Function, result: object) -> None:
    import warnings

    text = f"{item.nodeid} returned {type(result).__name__}: did you mean assert, or await?"
    warnings.warn(pytest.PytestReturnNotNoneWarning(text), stacklevel=2)


RUN: Final = pytest.StashKey[Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("timewait", "timewait: programs on simulated hosts")
    group.addoption(
        "--timewait-seed", type=int, default=0, metavar="N", help="first seed of every test with a `net` (0)"
    )
    group.addoption("--timewait-seeds", type=int, metavar="N", help="seeds per test, instead of the marker's number")
    group.addoption("--timewait-no-shrink", action="store_true", help="report the first failing seed as it is")
    group.addoption(
        "--timewait-artifacts", metavar="DIR", help=f"where failed runs leave their files (ROOTDIR/{ARTIFACTS})"
    )
    group.addoption("--timewait-replay", metavar="TOKEN", help="run exactly the case of a token")
    group.addoption("--timewait-record", metavar="FILE", help="write the last run's record as JSON lines")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "timewait(seeds=1, faults=None, within=10, most=5, checks=(), settle=300, shrink=True): run once for each"
        " seed in a simulated network; faults: 'network', 'process', 'all' or verbs, drawn from the seed;"
        " checks: names of assertions asked at the end, such as 'no_leaks'",
    )


@pytest.fixture
def net(request: pytest.FixtureRequest) -> "Iterator[Net]":
    """A simulated network, fresh for each seed: hosts, links, programs, faults (timewait.run.Net)."""
    run = request.node.stash.get(RUN, None)
    if run is None:
        run = Run(request.node, Settings(request.node))
        run.case = run.settings.case(run.settings.first)
        request.node.stash[RUN] = run
    made = run.make_net()
    with made:
        yield made


def is_ours(item: pytest.Item) -> bool:
    """Whether the test has the marker, or our fixture."""
    if not isinstance(item, pytest.Function):
        return False
    if item.get_closest_marker(MARKER) is not None:
        return True
    if "net" not in item.fixturenames:
        return False
    for each in reversed(item._fixtureinfo.name2fixturedefs.get("net", ())):
        if getattr(each.func, "__module__", "") == __name__:
            return True
        if "net" not in each.argnames:
            # A fixture of the suite's own that has the name, and nothing to do with ours.
            return False
    return False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run one of our tests: for each seed in turn."""
    if not is_ours(item):
        return None
    assert isinstance(item, pytest.Function)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in Protocol(item, nextitem).reports():
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    run = item.stash.get(RUN, None)
    if run is not None and call.excinfo is not None and report.failed:
        run.error = call.excinfo.value
    return report


class Sibling:
    """Stands for another test beside this one: tearing down for it ends the function's fixtures and no wider ones."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def listchain(self) -> list[Any]:
        return self._item.listchain()[:-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._item, name)


class Protocol:
    """The runs of one test."""

    def __init__(self, item: pytest.Function, nextitem: pytest.Item | None) -> None:
        self.item = item
        self.nextitem = nextitem
        self.passed = 0

    def reports(self) -> list[pytest.TestReport]:
        """The reports of the run that counts."""
        item = self.item
        try:
            settings = Settings(item)
            cases = self._cases(settings)
        except (pytest.UsageError, ValueError) as error:
            return self._refused(error)
        self.run = Run(item, settings)
        item.stash[RUN] = self.run
        _take_over(item, self.run)
        reports: list[pytest.TestReport] = []
        last = len(cases) - 1
        for index, case in enumerate(cases):
            reports = self._once(case, final=index == last)
            if self._stops(reports):
                if index != last and not any(report.failed for report in reports):
                    reports = self._once(case, final=True)
                break
            self.passed += 1
        failed = [report for report in reports if report.failed]
        if failed and self.run.case is not None and not _strict_pass(failed[0]):
            reports = self._told(reports, self.run.case, len(cases))
        self._keep_record()
        item.stash[RUN].net = None
        return reports

    def _cases(self, settings: Settings) -> "list[Case]":
        text = self.item.config.getoption("timewait_replay")
        if text is not None:
            from timewait.run.case import read_token

            return [read_token(text).case]
        return [settings.case(settings.first + number) for number in range(settings.seeds)]

    def _refused(self, error: Exception) -> list[pytest.TestReport]:
        """A marker that makes no sense: the test fails with what is wrong."""
        self.run = Run.__new__(Run)
        item = self.item

        def refuse() -> None:
            raise pytest.fail.Exception(str(error), pytrace=False)

        item.setup = refuse  # type: ignore[method-assign]
        return runtestprotocol(item, log=False, nextitem=self.nextitem)

    def _once(self, case: "Case", final: bool) -> list[pytest.TestReport]:
        """One run from setup to teardown. `final` tears down as far as the next test wants."""
        item, run = self.item, self.run
        run.case, run.net, run.error = case, None, None
        if isinstance(item.parent, pytest.Class):
            # Each run has a fresh instance, as each test has.
            for name in ("_instance", "_obj"):
                item.__dict__.pop(name, None)
        if item.get_closest_marker(MARKER) is not None and "net" not in item.fixturenames:
            item.fixturenames.append("net")
        nextitem = self.nextitem if final else Sibling(item)
        return runtestprotocol(item, log=False, nextitem=nextitem)  # type: ignore[arg-type]

    def _stops(self, reports: list[pytest.TestReport]) -> bool:
        """Whether this run is the one that counts: it failed, was skipped, or failed as expected."""
        return any((report.failed and not _strict_pass(report)) or report.skipped for report in reports)

    def _told(self, reports: list[pytest.TestReport], case: "Case", cases: int) -> list[pytest.TestReport]:
        """The reports of the failing case, shrunk, with the story added."""
        first, runs = case, 0
        found = case
        if self.run.settings.shrink and self.item.config.getoption("timewait_replay") is None:
            found, runs = self._shrunk(case)
        # The case is run once more: the last run leaves the record, and tears down as far as is due.
        reports = self._once(found, final=True)
        failed = [report for report in reports if report.failed]
        if not failed:
            reports = self._once(found, final=True)
            failed = [report for report in reports if report.failed]
        if not failed:
            return [*reports[:-1], self._unsteady(reports[-1], first)]
        lines = self._story(first, found, cases, runs)
        failed[0].sections.append(("timewait", "\n".join(lines)))
        return reports

    def _shrunk(self, case: "Case") -> "tuple[Case, int]":
        from timewait.run.shrink import Shrinker

        kind = type(self.run.error)

        def fails(candidate: "Case") -> bool:
            reports = self._once(candidate, final=False)
            return any(report.failed for report in reports) and type(self.run.error) is kind

        search = Shrinker(case, fails)
        return search.run(), search.runs

    def _unsteady(self, report: pytest.TestReport, case: "Case") -> pytest.TestReport:
        """A case that failed and then passed depends on something that the seed does not rule."""
        report.outcome = "failed"
        report.longrepr = (
            f"seed {case.seed} failed, and passed when it was run again: the test depends on something outside of the"
            " simulation (real time, real threads, a global that is kept from run to run, iteration over a set)"
        )
        return report

    def _story(self, first: "Case", found: "Case", cases: int, runs: int) -> list[str]:
        from timewait.run.case import token
        from timewait.run.explore import describe
        from timewait.run.report import directory_name, draw, relevant, shown_path, write_files

        item = self.item
        word = token(item.nodeid, found)
        lines = [f"timewait replay {word}"]
        passed = f", after {self.passed} that passed" if self.passed else ""
        if cases > 1 or first.faults:
            lines.append(f"seed {first.seed} of {cases} failed{passed}" + _shrinking(first, found, runs))
        lines.extend(f"  {describe(fault)}" for fault in found.faults)
        record = self._record()
        if record is None:
            return lines
        connections = relevant(record, self.run.error)
        drawn = draw(record, connections)
        if drawn and not _drawn_already(self.run.error):
            lines.extend(["", drawn])
        base = item.config.getoption("timewait_artifacts")
        directory = Path(base) if base else item.config.rootpath / ARTIFACTS
        directory = directory / directory_name(item.nodeid)
        try:
            names = write_files(record, connections, directory, word)
            lines.extend(["", f"files in {shown_path(directory)}: {', '.join(names)}"])
        except OSError as error:
            lines.extend(["", f"no files were written: {error}"])
        return lines

    def _record(self) -> "Record | None":
        net = getattr(self.run, "net", None)
        return None if net is None else net.record

    def _keep_record(self) -> None:
        path = self.item.config.getoption("timewait_record")
        record = self._record()
        if path and record is not None:
            from timewait.record.jsonl import write_jsonl

            write_jsonl(record, path)


def _take_over(item: pytest.Function, run: Run) -> None:
    """The item's function is called by us, whatever kind of item a plugin for asyncio made of it."""

    def setup() -> None:
        pytest.Function.setup(item)

    item.runtest = run.call  # type: ignore[method-assign]
    item.setup = setup  # type: ignore[method-assign]


def _strict_pass(report: pytest.TestReport) -> bool:
    return isinstance(report.longrepr, str) and report.longrepr.startswith("[XPASS(strict)]")


def _drawn_already(error: BaseException | None) -> bool:
    from timewait.run.asserts import NetworkAssertion

    return isinstance(error, NetworkAssertion)


def _shrinking(first: "Case", found: "Case", runs: int) -> str:
    if first == found:
        return ""
    parts: list[str] = []
    if len(first.faults) != len(found.faults):
        parts.append(f"{len(found.faults)} of {len(first.faults)} faults needed")
    elif found.faults:
        parts.append(f"{len(found.faults)} fault{'s' if len(found.faults) > 1 else ''}")
    if first.seed != found.seed:
        parts.append(f"seed {found.seed} fails too")
    return f"; shrunk in {runs} runs: {', '.join(parts) or 'simpler values'}"
