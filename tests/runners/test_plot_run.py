"""plot_run.py on the original's own log: what it prints, what it writes, and what it says of a folder without one."""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "tests" / "golden" / "tf1_log.txt"


def plot(run, *flags):
    command = [sys.executable, "runners/plot_run.py", f"--save_dir={run}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": "."})


def test_the_original_s_log_is_drawn_and_summed_up(tmp_path):
    shutil.copy(LOG, tmp_path / "log.txt")
    Image.new("RGB", (10, 4)).save(tmp_path / "templates.jpg")
    done = plot(tmp_path, f"--out={tmp_path / 'pictures'}")
    assert done.returncode == 0, done.stderr
    assert "| training steps | 7 |" in done.stdout
    # exp(0.00021979783)·2, and the last line of the log
    assert "rest length, pixels 2," in done.stdout and "eval_pred_loss 733.4" in done.stdout
    assert Image.open(tmp_path / "pictures" / "losses.png").size == (900, 320)
    assert Image.open(tmp_path / "pictures" / "templates.png").size == (60, 24)


def test_a_folder_without_a_training_is_told_in_one_line(tmp_path):
    (tmp_path / "log.txt").write_text("2026-11-22 01:36:51,977 - tf - runners/run_physics.py\n--test_mode\n")
    for run, message in ((tmp_path, "no line of a training"), (tmp_path / "none", "no such folder")):
        done = plot(run)
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
