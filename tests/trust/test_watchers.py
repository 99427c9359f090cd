"""What a training shows: the bar on a terminal, metrics.csv, TensorBoard's summaries, its closing lines."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_run import COMMAND, environment, messages, write_data

from physics_models import progress
from physics_models.report import meanings
from physics_models.summaries import Summaries
from physics_models.tasks import TASKS

PARAMETERS = ["sigma", "k", "l"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A training of two epochs with ten steps each on a terminal: its folder, its output, its terminal's text."""
    tmp = tmp_path_factory.mktemp("seen")
    flags = [*write_data(tmp), f"--save_dir={tmp / 'run'}", "--epochs=2"]
    master, slave = pty.openpty()
    process = subprocess.Popen([*COMMAND, *flags], env=environment(), stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        shown += part
    os.close(master)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, shown.decode()
    return SimpleNamespace(folder=tmp / "run", out=out, terminal=shown.decode())


def test_the_bar_makes_way_for_every_line(seen):
    assert re.search(r"\repoch 1 \[#* *\] +\d+%  train \d+", seen.terminal)
    # As a terminal shows it: what is written after \r replaces the line, and \x1b[K clears its rest.
    lines = [line.split("\x1b[K")[-1].rstrip("\r") for line in seen.terminal.split("\n")]
    logged = [line.partition(" - tf - ")[2] for line in lines if " - tf - " in line]
    assert [text for text in logged if text.startswith(("train", "valid", "test", "["))] == messages(seen.folder)
    assert not any(line.lstrip("\r").startswith("epoch") for line in lines)


def test_the_bar_tells_losses_speed_and_time_left(monkeypatch):
    terminal, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar, net = progress.ProgressBar(terminal), SimpleNamespace(epoch=4)
    bar.started(net, 400, 1000)
    bar.printed(net, 12.345)
    bar.evaluated(net, "valid", 4, {"eval_pred_loss": 3.2, "eval_recons_loss": 1.41, "eval_extrap_loss": 9.0}, {})
    now[0] = 60.0  # building the graph takes no part in the pace
    for _ in range(101):
        bar.stepped(net)
        now[0] += 0.5
    now[0] -= 0.5
    text = bar.text(net, now[0])
    assert text == "epoch 5 [##########          ]  50%  train 12.35  pred 3.2  recons 1.41  2 steps/s  4:10 left"
    assert progress.clock(3599.6) == "1:00:00" and progress.clock(59) == "0:59" and progress.clock(36123) == "10:02:03"
    bar.wipe()
    assert terminal.getvalue().endswith("\r\033[K")
    length = len(terminal.getvalue())
    bar.close()
    assert len(terminal.getvalue()) == length


def test_a_bar_that_is_past_its_end_has_nothing_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar, net = progress.ProgressBar(io.StringIO()), SimpleNamespace(epoch=0)
    bar.started(net, 0, 10)
    for _ in range(15):
        bar.stepped(net)
        now[0] += 100.0
    assert bar.text(net, now[0]).endswith("  0:00 left")


def test_a_full_disk_ends_the_summaries_when_they_are_closed_too(tmp_path, monkeypatch, caplog):
    watcher = Summaries(tmp_path)

    def full():
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nand more")

    monkeypatch.setattr(watcher, "writer", SimpleNamespace(close=full))
    with caplog.at_level("WARNING", "tf.note"):
        watcher.close()
        watcher.close()
    assert [r.getMessage() for r in caplog.records] == ["no more summaries for TensorBoard: No space left on device"]


def test_a_step_costs_the_bar_no_tensor(monkeypatch):
    """It may look at nothing but the epoch: reading a tensor would make a GPU wait."""
    bar = progress.ProgressBar(io.StringIO())
    bar.started(None, 0, 10)
    for _ in range(10):
        bar.stepped(SimpleNamespace(epoch=0))


def test_metrics_hold_what_the_log_holds(seen):
    with open(seen.folder / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == PARAMETERS
    splits = ["valid"] + ["train"] * 5 + ["valid"] + ["train"] * 5 + ["valid", "test", "test"]
    assert [row["split"] for row in rows] == splits
    logged = [re.findall(r"=(\S+)", text)[1:] for text in messages(seen.folder) if not text.startswith("[")]
    names = {"train": ["train_loss"], "valid": ["eval_extrap_loss", "eval_pred_loss", "eval_recons_loss"]}
    for row, numbers in zip(rows, logged):
        written = [float(row[name]) for name in names.get(row["split"], names["valid"])]
        assert written == pytest.approx([float(number) for number in numbers], rel=1e-6)
        assert all(row[name] for name in ("rate", *PARAMETERS)) and row["left_out"] == "0"
        # Of the last step: an evaluation may come in a process that has taken none, where it went on after a kill.
        assert float(row["gradient_norm"]) > 0 if row["split"] == "train" else row["gradient_norm"] == ""
    assert [row["iteration"] for row in rows[1:6]] == ["1", "3", "5", "7", "9"]


def test_the_summaries_hold_numbers_and_pictures(seen):
    (file,) = (seen.folder / "tb").iterdir()
    found: dict[str, list] = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value))
    scalars = {"train/loss", "train/gradient_norm", "train/rate", *(f"parameters/{name}" for name in PARAMETERS)}
    scalars |= {f"{split}/eval_{kind}_loss" for split in ("valid", "test") for kind in ("pred", "extrap", "recons")}
    pictures = {f"{split}/{name}" for split in ("valid", "test") for name in ("rollout", "templates", "masks")}
    assert set(found) == scalars | pictures
    with open(seen.folder / "metrics.csv", newline="", encoding="utf-8") as table:
        losses = [float(row["train_loss"]) for row in csv.DictReader(table) if row["train_loss"]]
    assert [value.simple_value for _, value in found["train/loss"]] == pytest.approx(losses, rel=1e-6)
    assert [step for step, _ in found["train/loss"]] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert [step for step, _ in found["valid/rollout"]] == [0, 10, 20]
    sizes = {}
    for tag in pictures:
        image = found[tag][0][1].image
        with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
            assert picture.size == (image.width, image.height)
            assert len(np.unique(np.asarray(picture))) > 2
            sizes[tag] = picture.size
    # One pixel of border around frames of 16 and templates of 8 pixels.
    assert sizes["valid/masks"] == (7 * 18, 3 * 18) and sizes["valid/templates"] == (2 * 10, 2 * 10)
    assert sizes["valid/rollout"] == (8 * 18, 3 * 18)


def test_the_closing_lines(seen):
    learned, pictures = seen.out.splitlines()
    assert re.fullmatch(
        r"learned: template scale sigma \S+, templates drawn \S+ px wide; spring constant k \S+, acceleration a pixel "
        r"of stretch; rest length \S+ px \(2·l\)",
        learned,
    )
    names = "example0.jpg, example1.jpg, example2.jpg, example3.jpg, animation4.gif, templates.jpg"
    assert pictures == f"pictures in {seen.folder}: {names}"


def test_the_meanings_of_the_papers_numbers():
    spring = meanings({"sigma": 2.0, "k": 4.26, "l": 6.1}, TASKS["spring_color"])
    assert spring == [
        "template scale sigma 2, templates drawn 16 px wide",
        "spring constant k 4.26, acceleration a pixel of stretch",
        "rest length 12.2 px (2·l)",
    ]
    assert meanings({"g": 65.7}, TASKS["3bp_color"])[0].startswith("gravity g 65.7, ")


def test_the_templates_are_drawn_as_wide_as_is_said():
    """The scale is the map's from frame to template: at sigma 2 a template covers half of the frame."""
    from nn.stn import axis_aligned_paste

    ones = tf.ones([1, 16, 16, 1])
    pasted = axis_aligned_paste(ones, tf.constant([[16.0, 16.0]]), tf.constant(2.0), 32).numpy()
    assert int((pasted[0, 0, :, 0].max(0) > 0).sum()) == pytest.approx(16, abs=1)
