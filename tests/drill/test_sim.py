"""Every script of this directory passes on our stack, in virtual time."""

from pathlib import Path

import pytest

from timewait.drill import report
from timewait.drill.suite import Setting, run_file

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.rglob("*.pkt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(HERE)))
def test_script(path: Path) -> None:
    result = run_file(str(path), Setting()).result
    assert result.passed, "\n" + report.text(result)
