"""Killed at any moment, a training goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import Killer, assert_equal_runs
from tiny_run import write_data


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return [*write_data(tmp_path_factory.mktemp("data")), "--epochs=4", "--save_every_n_epochs=1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, flags) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    Killer([*flags, f"--save_dir={folder}"], folder, 0).finish()
    return folder


def test_three_kills_leave_no_trace(tmp_path, flags, undisturbed):
    killer = Killer([*flags, f"--save_dir={tmp_path / 'run'}", "--resume"], tmp_path / "run", 0)
    for what in ("step", "checkpoint", "picture"):
        assert killer.kill_during(what)
    killer.finish()
    assert_equal_runs(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path, flags):
    flags = [*flags, "--epochs=12"]
    expected = Killer([*flags, f"--save_dir={tmp_path / 'expected'}"], tmp_path / "expected", 0)
    expected.finish()
    killer = Killer([*flags, f"--save_dir={tmp_path / 'run'}", "--resume"], tmp_path / "run", 0)
    for what in ["start", "step", "checkpoint", "evaluation", "picture"] * 5:
        killer.kill_during(what)
    assert sum(killer.kills.values()) >= 20
    killer.finish()
    assert_equal_runs(tmp_path / "run", tmp_path / "expected")
