"""The type hints of runners, data_gen and physics_models fit together, and no function there is without."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny_run import ROOT


@pytest.mark.slow
def test_mypy_finds_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success: no issues found in " in done.stdout
