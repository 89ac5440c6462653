"""A file holds one idea and a function fits on a screen: the hard limits behind that habit."""

import ast

import pytest

from support.source import files, functions, name_of, tree_of

MOST_LINES_PER_FILE = 600
MOST_LINES_PER_FUNCTION = 80
GENERATED = ("lab/index.py",)
"""Tables that a tool writes and nobody reads from top to bottom."""


def only_declares(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is a constructor of plain assignments: a table of fields, as long as there are fields."""
    return function.name == "__init__" and all(
        isinstance(s, ast.Assign | ast.AnnAssign | ast.Expr) for s in function.body
    )


@pytest.mark.parametrize("path", [path for path in files() if name_of(path) not in GENERATED], ids=name_of)
def test_sizes(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES_PER_FILE, f"{lines} lines: split the file by idea"
    long = {
        function.name: length
        for function in functions(tree_of(path))
        if (length := (function.end_lineno or 0) - function.lineno + 1) > MOST_LINES_PER_FUNCTION
        and not only_declares(function)
    }
    assert not long, f"functions too long to read at once: {long}"
