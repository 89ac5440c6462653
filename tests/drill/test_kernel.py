"""The scripts of this directory pass on the running kernel too, in a namespace and in real time.

A machine that is busy may be late by more than a script allows: a script that fails is
run once more, with a wider tolerance, before it counts.
"""

from pathlib import Path

import pytest

from timewait.drill import report
from timewait.drill.suite import Setting, run_file
from timewait.world.netns import probe

HERE = Path(__file__).parent
OURS_ONLY = ("freebsd", "later")
"""Directories about another system than Linux, and about what only later kernels than this one do."""
SCRIPTS = sorted(path for path in HERE.rglob("*.pkt") if not set(path.relative_to(HERE).parts) & set(OURS_ONLY))
MISSING = probe()

pytestmark = [pytest.mark.live, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(HERE)))
def test_script(path: Path) -> None:
    for tolerance in ("20000", "100000"):
        result = run_file(str(path), Setting(options=(("tolerance_usecs", tolerance),), on="kernel")).result
        if result.passed:
            return
    assert result.passed, "\n" + report.text(result)
