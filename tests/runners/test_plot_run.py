"""plot_run.py on the original's own log: what it prints and writes; and a folder without a training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import run_main
from one_command import load_command
from PIL import Image

LOG = Path(__file__).resolve().parents[1] / "golden" / "tf1_log.txt"


@pytest.fixture(scope="module")
def plot_run():
    return load_command("plot_run")


def test_the_log_of_the_original_is_drawn_and_summarized(tmp_path, plot_run):
    shutil.copy(LOG, tmp_path / "log.txt")
    Image.new("RGB", (10, 4)).save(tmp_path / "templates.jpg")
    ended = run_main(plot_run.main, [f"--save_dir={tmp_path}", f"--out={tmp_path / 'pictures'}"])
    assert (ended.code, ended.err) == (0, "")
    assert "| training steps | 7 |" in ended.out
    # exp(0.00021979783)·2, and the last line of the log
    assert "rest length, pixels 2," in ended.out and "eval_pred_loss 733.4" in ended.out
    assert Image.open(tmp_path / "pictures" / "losses.png").size == (900, 320)
    assert Image.open(tmp_path / "pictures" / "templates.png").size == (60, 24)


def test_a_folder_without_a_training_is_one_line(tmp_path, plot_run):
    (tmp_path / "log.txt").write_text("2026-11-22 01:36:51,977 - tf - runners/run_physics.py\n--test_mode\n")
    for run in (tmp_path, tmp_path / "none"):
        ended = run_main(plot_run.main, [f"--save_dir={run}"])
        assert (ended.code, ended.out) == (1, "")
        assert str(run / "log.txt") in ended.err and ended.err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
