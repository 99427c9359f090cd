"""Damaged files of every kind that is read: an error or a result, no traceback, no hang, no crash, no 2 GB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest
from fuzzing import KINDS
from tiny_run import ROOT, environment


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_damaged_files(kind):
    """In a process of its own: a crash in C++ would end it."""
    command = [sys.executable, str(Path(fuzzing.__file__)), "--count=1000", "--kind", kind]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-2000:]}"
    assert f"{kind}: 1000 damaged files: " in done.stdout


def test_the_fuzzer_reports_a_traceback(monkeypatch):
    """So that it is known to find what it looks for."""

    def read(_):
        raise IndexError

    monkeypatch.setattr(fuzzing, "peak_gb", lambda: 0.0)  # this process holds all the tests
    broken = KINDS["log"]._replace(read=read)
    answer, trouble = fuzzing.read_one(broken, Path("."))
    assert answer == "traceback" and trouble.endswith("IndexError\n")
