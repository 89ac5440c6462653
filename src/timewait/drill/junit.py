"""Results as JUnit XML, for continuous integration."""

from xml.sax.saxutils import escape, quoteattr

from timewait.drill import report
from timewait.drill.runner import Result


def junit(results: list[Result]) -> str:
    """One test suite with one test case for each script."""
    failed = sum(result.status == "failed" for result in results)
    errors = sum(result.status == "error" for result in results)
    seconds = sum(result.duration for result in results)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuites tests="{len(results)}" failures="{failed}" errors="{errors}" time="{seconds:.3f}">',
        f'<testsuite name="drill" tests="{len(results)}" failures="{failed}" errors="{errors}" time="{seconds:.3f}">',
    ]
    for result in results:
        directory, _, name = result.path.rpartition("/")
        place = f"classname={_attribute(directory.replace('/', '.') or 'drill')} name={_attribute(name)}"
        begin = f'<testcase {place} time="{result.duration:.3f}"'
        if result.passed:
            lines.append(begin + "/>")
            continue
        kind = "failure" if result.status == "failed" else "error"
        details = escape(_clean(report.text(result)))
        lines.append(f"{begin}><{kind} message={_attribute(result.what)}>{details}</{kind}></testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _attribute(text: str) -> str:
    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 does not allow."""
    return "".join(letter for letter in text if letter in "\t\n\r" or letter >= " ")
