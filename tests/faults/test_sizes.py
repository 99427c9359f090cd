"""A size of frames that cannot work is one line; all others work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from command import run_command

from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS


@pytest.mark.parametrize("size", [1, 2, 3])
def test_frames_that_are_too_small(size):
    with pytest.raises(ExperimentError, match=f"{size} pixels.*--img_size=4 "):
        PhysicsNet(replace(TASKS["spring_color"], img_size=size))


@pytest.mark.parametrize("size", [4, 41, *(pytest.param(size, marks=pytest.mark.slow) for size in (5, 39, 47))])
def test_all_other_sizes_work(size):
    """The smallest, and odd ones in both U-Nets: a training step's loss and gradients are computed."""
    net = PhysicsNet(replace(TASKS["spring_color"], img_size=size), autoencoder_loss=3.0)
    loss, gradients = net.loss_and_gradients(tf.random.stateless_uniform([1, 12, size, size, 3], [1, 2]))
    assert np.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients)
    assert net.decode(tf.zeros([1, 1, 4])).shape == [1, 1, size, size, 3]


def test_the_command_says_so_in_one_line(tmp_path):
    frames = np.random.RandomState(0).randint(0, 256, (30, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "video.npz", frames)
    flags = ["--task=custom", "--cell_type=spring_ode_cell", f"--data_file={tmp_path}/video.npz", "--seq_len=8"]
    flags += ["--input_steps=3", "--pred_steps=3", "--batch_size=1", f"--save_dir={tmp_path}/run", "--color"]
    ended = run_command("paig-run-physics", *flags, "--img_size=3")
    assert ended.code == 1 and len(ended.err.splitlines()) == 1 and "--img_size=4" in ended.err
    assert not (tmp_path / "run").exists()
