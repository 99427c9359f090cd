"""--n_objs=auto: the number of objects of a video of one's own."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from absl.testing import flagsaver
from command import run_command

from physics_models.errors import ExperimentError
from runners import run_base, run_physics
from runners.reproduce.shapes import draw_shapes, drift


@pytest.mark.parametrize(
    "shapes", [["disc"], ["disc", "plus"], ["disc", "plus", "bar"], ["ring", "plus", "bar", "pole"]], ids=len
)
def test_the_frames_tell_how_many(shapes, caplog):
    side = 36
    frames = draw_shapes(drift(60, 12, len(shapes), side, 5.0, speed=1.5, seed=3), shapes, side, noise=5.0)
    with caplog.at_level(logging.INFO, "tf.note"):
        assert run_physics.count_objects(np.repeat(frames, 3, axis=-1)) == len(shapes)
    assert f"{len(shapes)} moving object" in caplog.text and "not sure" not in caplog.text


def test_a_custom_task_takes_the_number_from_its_training_frames(tmp_path):
    frames = draw_shapes(drift(60, 12, 3, 36, 5.0, speed=1.5, seed=3), ["disc", "plus", "bar"], 36)
    np.savez(tmp_path / "video.npz", **{f"{split}_x": frames for split in ("train", "valid", "test")})
    with flagsaver.flagsaver():
        video = f"--data_file={tmp_path / 'video.npz'}"
        run_base.FLAGS(["test", "--task=custom", "--cell_type=lstm", "--n_objs=auto", video])
        assert run_physics.task_from_flags().n_objs == 3


def test_a_run_of_three_objects_that_look_the_same_ends_with_a_warning(tmp_path):
    frames = draw_shapes(drift(200, 12, 3, 36, 5.0, speed=1.5, seed=3), ["disc"] * 3, 36)
    np.savez(tmp_path / "video.npz", **{f"{split}_x": frames for split in ("train", "valid", "test")})
    video = ["--task=custom", f"--data_file={tmp_path / 'video.npz'}", "--cell_type=lstm", "--n_objs=3", "--seed=0"]
    stage = ["--schedule=autoencoder", "--autoencoder_steps=150", "--autoencoder_batch=16"]
    ended = run_command("paig-run-physics", *video, *stage, f"--save_dir={tmp_path / 'run'}")
    assert ended.code == 0, ended.err
    assert "three or more objects look the same" in ended.err.splitlines()[-1]


def test_where_nothing_moves_the_number_is_asked_for():
    with pytest.raises(ExperimentError, match="--n_objs=auto"):
        run_physics.count_objects(np.full([3, 12, 36, 36, 1], 90, np.uint8))


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_the_flag_is_a_number_or_auto(value):
    assert run_base.COUNT.parse("3") == 3 and run_base.COUNT.parse(2) == 2 and run_base.COUNT.parse("auto") == "auto"
    with pytest.raises(ValueError, match="or auto"):
        run_base.COUNT.parse(value)
