"""Lists the members of Drop, Why and Cause that no code uses: a reason that is never given is a promise not kept.

python tools/unused_reasons.py          exit status 1 when there are any
"""

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SOURCE))

from timewait.tcp.reasons import Drop, Why  # noqa: E402
from timewait.tcp.states import Cause  # noqa: E402


def unused() -> list[str]:
    """As 'Drop.PAWS', in the order of their definition."""
    used: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        used.update(re.findall(r"\b(?:Drop|Why|Cause)\.[A-Z0-9_]+\b", path.read_text(encoding="utf-8")))
    every = [f"{kind.__name__}.{member.name}" for kind in (Drop, Why, Cause) for member in kind]
    return [name for name in every if name not in used]


if __name__ == "__main__":
    missing = unused()
    print("\n".join(missing) or "every reason is used")
    sys.exit(bool(missing))
