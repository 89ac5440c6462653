"""Tokens say what they were made of; damaged ones and those of other versions are refused."""

import subprocess
import sys

import pytest

from timewait.base.errors import UsageError
from timewait.run.case import Case, Planned, Token, check_version, python_version, read_token, token

CASE = Case(17, (Planned("lossy", 1000, 2500, 0.3, 12, 999), Planned("reboot", 0, 100, 0.0, 0, 0)))
TEST = "tests/test_ünits.py::TestX::test_y[a b/c]"


def test_a_token_says_everything_and_is_one_word():
    text = token(TEST, CASE)
    assert text.startswith("tw1-") and text.replace("-", "").replace("_", "").isalnum()
    found = read_token(f" {text}\n")
    assert (found.test, found.case, found.python) == (TEST, CASE, python_version())
    assert read_token(token(TEST, Case(3))).case == Case(3)


def test_equal_cases_have_equal_tokens_in_every_process():
    program = "import sys; from timewait.run.case import *; print(token(sys.argv[1], Case(5)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", program, TEST],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert found == {token(TEST, Case(5)) + "\n"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "begins with 'tw1-'"),
        ("tw1-", "check sum is wrong"),
        ("tw1-AAAAAAAA", "check sum is wrong"),
        ("tw1-" + "A" * 200_000, "too many"),
        (token(TEST, CASE)[:-3], "check sum|not a token"),
        (token(TEST, CASE)[:20] + "_" + token(TEST, CASE)[21:], "check sum|not a token"),
    ],
)
def test_what_is_no_token_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        read_token(text)


def test_another_version_is_refused_by_name():
    check_version(read_token(token(TEST, CASE)))
    with pytest.raises(UsageError, match=r"made by timewait 0\.0\.1, and this is"):
        check_version(Token(TEST, CASE, "0.0.1", python_version()))
    with pytest.raises(UsageError, match=r"made by Python 2\.7, and this is"):
        check_version(read_token(token(TEST, CASE))._replace(python="2.7"))
