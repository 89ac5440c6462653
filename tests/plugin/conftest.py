"""Suites of their own, run by a pytest of their own."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
INSTALLED = any(each.value == "timewait.run.plugin" for each in entry_points(group="pytest11"))


class Suite:
    """A directory with tests, and pytest runs in it."""

    def __init__(self, path):
        self.path = path

    def write(self, text, name="test_it.py"):
        (self.path / name).write_text(text, encoding="utf-8")

    def run(self, *arguments, hashseed="0", plugin=True):
        """pytest's (exit status, output)."""
        plugins = ["-p", "timewait.run.plugin"] if plugin and not INSTALLED else []
        return self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, *arguments, hashseed=hashseed)

    def replay(self, *arguments, hashseed="1"):
        return self.python("-m", "timewait", "replay", *arguments, hashseed=hashseed)

    def python(self, *arguments, hashseed="0"):
        path = os.environ.get("PYTHONPATH", "")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))},
            "PYTHONPATH": f"{path}:{SOURCE}" if path else str(SOURCE),
            "PYTHONHASHSEED": hashseed,
            "COLUMNS": "120",
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            check=False,
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Suite(tmp_path)
