"""Every lab in virtual time, with all its variants: the measured record meets what it expects."""

import subprocess
import sys
from pathlib import Path

import pytest

from timewait.base.errors import UsageError
from timewait.lab.bench import Setting
from timewait.lab.frame import ANYWHERE, LABS, Lab, T, lab
from timewait.lab.run import find, load_all, run

CASES = [(id, variant) for id, found in load_all().items() for variant in (*found.variants,) or ("",)]


@pytest.mark.parametrize(("id", "variant"), CASES, ids=[f"{id}-{variant}".rstrip("-") for id, variant in CASES])
def test_lab(id: str, variant: str) -> None:
    found = LABS[id]
    result = run(id, Setting(on="sim" if "sim" in found.on else found.on[0], variant=variant), strict=True)
    missed = [check for check in result.verdict.checks if not check.ok]
    assert not missed
    assert result.passed


@pytest.mark.parametrize("found", load_all().values(), ids=lambda found: found.id)
def test_texts_are_whole(found: Lab) -> None:
    for text in (found.title, found.claim, found.why, found.practice, *found.variants.values()):
        assert isinstance(text, T)
        assert text.en.strip() and text.zh.strip()
        # A variant may be no more than 'tcp_syncookies=1', which is the same in both languages.
        assert is_chinese(text.zh) or (text.zh == text.en and text in found.variants.values()), text.zh
        assert not is_chinese(text.en), text.en
    assert found.source


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in text)


def test_the_index_is_up_to_date() -> None:
    tool = Path(__file__).parents[2] / "tools/lab_index.py"
    done = subprocess.run([sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_equal_seeds_give_equal_records() -> None:
    first, second = (run("EST-01", Setting(seed=3)).records[0][1] for _ in range(2))
    assert [(type(a), a.time, a.where) for a in first] == [(type(b), b.time, b.where) for b in second]


def test_nonsense_is_answered_with_what_is_valid() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*EST-01"):
        find("EST-011")
    with pytest.raises(UsageError, match="sim, live, kernel"):
        run("EST-01", Setting(on="mars"))
    with pytest.raises(UsageError, match="no variant 'x'; there are none"):
        run("EST-01", Setting(variant="x"))
    with pytest.raises(UsageError, match="tcp_syn_retries"):
        run("EST-01", Setting(sysctl=(("", "net.ipv4.tcp_syn_retry", 1),)))
    with pytest.raises(UsageError, match=r"out of range 1\.\.127"):
        run("EST-01", Setting(sysctl=(("", "net.ipv4.tcp_syn_retries", 300),)))
    with pytest.raises(UsageError, match="changes nothing here"):
        run("EST-01", Setting(sysctl=(("", "net.ipv4.tcp_early_demux", 1),)))
    with pytest.raises(UsageError, match="client, server"):
        run("EST-01", Setting(sysctl=(("router", "net.ipv4.tcp_sack", 0),)))
    with pytest.raises(UsageError, match=r"linux-3\.10"):
        run("EST-01", Setting(profile="linux-9"))


def test_a_lab_must_be_written_properly() -> None:
    words = dict.fromkeys(("title", "claim", "why", "practice"), T("x", "甲"))
    with pytest.raises(UsageError, match="simplification"):
        lab("X-1", truth="maybe", source="RFC", **words)
    with pytest.raises(UsageError, match="puppet"):
        lab("X-1", truth="true", source="RFC", topology="puppet-client", on=ANYWHERE, **words)
