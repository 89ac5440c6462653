"""What a reader is told of a result: place, expected and found one above the other, the last records."""

from timewait.drill.runner import Result


def text(result: Result) -> str:
    """A failed script, for people; '' for one that passed without warnings."""
    lines = [f"warning: {warning}" for warning in result.warnings]
    if result.passed:
        return "\n".join(lines) + ("\n" if lines else "")
    head = f"{result.path}:{result.place.line}:{result.place.column}: {result.what}"
    lines.append(head)
    if result.source:
        lines.append(f"    {result.source}")
    if result.expected or result.found:
        lines += _aligned(result.expected, result.found)
    if len(result.differences) > 1 or (result.differences and not result.expected.startswith(">")):
        width = max(len(difference.field) for difference in result.differences)
        for difference in result.differences:
            lines.append(f"  {difference.field:<{width}}  expected {difference.expected}, got {difference.found}")
    elif result.differences:
        only = result.differences[0]
        lines.append(f"  {only.field}: expected {only.expected}, got {only.found}")
    if result.log:
        lines.append("  last records:")
        lines += [f"    {line}" for line in result.log]
    return "\n".join(lines) + "\n"


def _aligned(expected: str, found: str) -> list[str]:
    """Both packets word under word, with marks below the words that differ."""
    if not expected.startswith(">") or not found.startswith(">"):
        return [f"  expected  {expected}", f"  found     {found}"] if expected else [f"  {found}"]
    left, right = _columns(expected), _columns(found)
    names = [name for name in _ORDER if name in left or name in right]
    top, bottom, marks = "", "", ""
    for name in names:
        a, b = left.get(name, ""), right.get(name, "")
        if name == "win" and not a:
            continue
        width = max(len(a), len(b))
        top += f"{a:<{width}} "
        bottom += f"{b:<{width}} "
        marks += ("^" * width if a != b else " " * width) + " "
    lines = [f"  expected  {top.rstrip()}", f"  found     {bottom.rstrip()}"]
    return [*lines, f"            {marks.rstrip()}"] if marks.strip() else lines


_ORDER = ("arrow", "ip", "flags", "numbers", "ack", "win", "urg", "options")


def _columns(packet: str) -> dict[str, str]:
    """A packet's words by what they are."""
    found = {"arrow": ">"}
    rest, bracket, options = packet[1:].strip().partition("<")
    if bracket:
        found["options"] = "<" + options
    words = rest.split()
    at = 0
    while at < len(words):
        word = words[at]
        if word in ("ack", "win", "urg") and at + 1 < len(words):
            found[word] = f"{word} {words[at + 1]}"
            at += 2
            continue
        if word[0] in "[(":
            found["ip"] = (found.get("ip", "") + " " + word).strip()
        elif "(" in word:
            found["numbers"] = word
        elif "flags" not in found:
            found["flags"] = word
        at += 1
    return found


def summary(results: list[Result]) -> str:
    """The last line."""
    passed = sum(result.passed for result in results)
    return f"{passed} passed, {len(results) - passed} failed"


def as_json(result: Result) -> dict[str, object]:
    """A result for programs."""
    return {
        "path": result.path,
        "status": result.status,
        "line": result.place.line,
        "column": result.place.column,
        "what": result.what,
        "source": result.source,
        "expected": result.expected,
        "found": result.found,
        "differences": [
            {"field": difference.field, "expected": difference.expected, "found": difference.found}
            for difference in result.differences
        ],
        "log": result.log,
        "warnings": result.warnings,
        "printed": result.printed,
        "events": result.events,
        "seconds": round(result.duration, 4),
        "virtual_seconds": round(result.virtual, 6),
    }
