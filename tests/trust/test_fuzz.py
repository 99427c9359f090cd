"""Damaged files of every kind that is read: an error or a result, no traceback, no hang, no crash, no 2 GB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import KINDS
from tiny_run import ROOT, environment


def fuzz(count: int, first: int, *kinds: str) -> str:
    """What fuzzing.py tells, in a process of its own: a crash in C++ would end it."""
    command = [sys.executable, str(Path(__file__).parent / "fuzzing.py"), f"--count={count}", f"--first={first}"]
    done = subprocess.run(
        [*command, "--kind", *kinds], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=3600
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-2000:]}"
    return done.stdout


def test_forty_damaged_files_of_each_kind():
    told = fuzz(40, 0, *KINDS)
    for kind in KINDS:
        assert f"{kind}: 40 damaged files: " in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files(kind):
    assert f"{kind}: 3000 damaged files: " in fuzz(3000, 40, kind)


def test_the_fuzzer_tells_a_traceback(monkeypatch):
    """So that it is known to find what it looks for."""
    import fuzzing

    def read(_):
        raise IndexError

    monkeypatch.setattr(fuzzing, "peak_gb", lambda: 0.0)  # this process holds all the tests
    broken = fuzzing.KINDS["log"]._replace(read=read)
    answer, trouble = fuzzing.read_one(broken, Path("."))
    assert answer == "traceback" and trouble.endswith("IndexError\n")
