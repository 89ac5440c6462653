"""Write src/timewait/lab/index.py from the labs themselves; with --check only say whether it is up to date."""

import subprocess
import sys
from pathlib import Path

from timewait.lab.run import load_all

TARGET = Path(__file__).parent.parent / "src/timewait/lab/index.py"
MARK = "INDEX: Final[dict[str, Entry]] = {"


def source() -> str:
    """What the file must say."""
    head, _, _ = TARGET.read_text().partition(MARK)
    lines = [head + MARK]
    for lab in load_all().values():
        fields = (lab.module, lab.title.en, lab.title.zh, lab.truth, " ".join(lab.on), " ".join(lab.variants))
        lines.append(f"    {lab.id!r}: Entry({', '.join(map(repr, fields))}),")
    lines.append("}")
    text = "\n".join(lines) + "\n"
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Exit status 1 where --check finds a difference."""
    new = source()
    if "--check" in sys.argv[1:]:
        if new != TARGET.read_text():
            print("src/timewait/lab/index.py is not up to date: python tools/lab_index.py")
            return 1
        return 0
    TARGET.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
