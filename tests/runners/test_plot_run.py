"""plot_run.py on the original's own log: what it prints and writes; and a folder without a training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import run_main
from matplotlib.axes import Axes
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


def test_a_resumed_training_is_drawn_whole(tmp_path, monkeypatch, plot_run):
    text = LOG.read_text()
    stamp = "2026-11-23 00:00:{:02d},000 - tf - "
    resumed = [
        "runners/run_physics.py\n--task=spring_color\n--resume=true", "train - iter=5 train_loss=5.5",
        "train - iter=9 train_loss=9.5", "valid - epoch=7 eval_recons_loss=1.0 eval_pred_loss=2.0 eval_extrap_loss=3.0",
    ]  # fmt: skip
    more = "".join(f"{stamp.format(second)}{line}\n" for second, line in enumerate(resumed))
    (tmp_path / "log.txt").write_text(text + more)
    drawn = {}
    monkeypatch.setattr(Axes, "plot", lambda axes, x, y, *_, label, **__: drawn.update({label: (list(x), list(y))}))
    ended = run_main(plot_run.main, [f"--save_dir={tmp_path}"])
    assert (ended.code, ended.err) == (0, "")
    assert "| training steps | 9 |" in ended.out and "--resume=true" in ended.out
    steps, losses = drawn["train_loss"]
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 9] and (losses[5], losses[8]) == (5.5, 9.5)
    epochs, predicted = drawn["eval_pred_loss"]
    assert epochs[0] == 0 and (epochs[-1], predicted[-1]) == (7, 2.0)


def test_a_folder_without_a_training_is_one_line(tmp_path, plot_run):
    (tmp_path / "log.txt").write_text("2026-11-22 01:36:51,977 - tf - runners/run_physics.py\n--test_mode\n")
    for run in (tmp_path, tmp_path / "none"):
        ended = run_main(plot_run.main, [f"--save_dir={run}"])
        assert (ended.code, ended.out) == (1, "")
        assert str(run / "log.txt") in ended.err and ended.err.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]
