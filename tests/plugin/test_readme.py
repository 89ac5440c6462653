"""README's first example, as printed: it hangs, that is told, and the fix printed below it passes."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def blocks():
    text = README.read_text(encoding="utf-8").partition("## A hang, found and fixed")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_hang_is_found_and_the_fix_passes(suite):
    hanging, fix = blocks()
    suite.write(hanging, "test_hang.py")
    status, output = suite.run()
    assert status == 1 and "DeadlockError: every program waits and nothing is left to happen" in output, output
    told = re.search(r"fetch on client awaits at \S*(test_hang\.py:\d+)", output)
    assert told and told[1] in README.read_text(encoding="utf-8"), output
    assert "timewait replay tw1-" in output and "SYN-ACK" in output
    before, _, after = hanging.partition("async def fetch")
    rest = after.partition("\n\n")[2]
    suite.write("import socket\n" + before + fix + "\n" + rest, "test_hang.py")
    status, output = suite.run()
    assert (status, "1 passed" in output) == (0, True), output
