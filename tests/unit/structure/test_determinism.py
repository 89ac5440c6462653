"""Below the world nothing reads a clock or global randomness: time and entropy are handed in."""

import ast

import pytest

from support.source import files, name_of, tree_of

MODULES = {"time", "secrets", "uuid", "datetime"}
"""Modules with no deterministic use here."""
CALLS = {"os.urandom", "os.getrandom", "os.times", "random.SystemRandom"}
"""What else asks the machine; random.Random needs a seed to be allowed."""


def violations(tree: ast.AST) -> list[str]:
    """Uses of a clock or of unseeded randomness, as 'line: name'."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found += [f"{node.lineno}: {alias.name}" for alias in names if alias.name in MODULES]
                # Under another name the checks below would miss it.
                found += [
                    f"{node.lineno}: {a.name} as {a.asname}" for a in names if a.name in {"random", "os"} and a.asname
                ]
            case ast.ImportFrom(module=module, names=names):
                for alias in names:
                    full = f"{module}.{alias.name}"
                    if module in MODULES or full in CALLS or (module == "random" and alias.name != "Random"):
                        found.append(f"{node.lineno}: {full}")
            case ast.Call(func=function, args=[], keywords=[]) if ast.unparse(function) in {"random.Random", "Random"}:
                found.append(f"{node.lineno}: random.Random() without a seed")
            case ast.Attribute(value=ast.Name(id="random"), attr=attribute) if attribute != "Random":
                found.append(f"{node.lineno}: random.{attribute}")
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if f"os.{attribute}" in CALLS:
                found.append(f"{node.lineno}: os.{attribute}")
    return found


@pytest.mark.parametrize("path", files("base", "wire", "tcp", "host", "record"), ids=name_of)
def test_time_and_randomness_are_handed_in(path):
    assert violations(tree_of(path)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "from time import monotonic_ns",
        "import random as r",
        "from random import randint",
        "random.random()",
        "random.Random()",
        "os.urandom(16)",
        "from os import urandom",
        "from datetime import datetime",
    ],
)
def test_a_clock_or_dice_is_found(code):
    assert violations(ast.parse(code))


@pytest.mark.parametrize(
    "code", ["random.Random(seed)", "from random import Random", "import os", "def f(r: random.Random): ..."]
)
def test_seeded_randomness_passes(code):
    assert violations(ast.parse(code)) == []
