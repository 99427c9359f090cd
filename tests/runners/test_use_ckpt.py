"""--use_ckpt: a checkpoint is evaluated as it was trained, and no other experiment is lost by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command import run_command
from tiny_run import squares, write_data

from physics_models import checkpoints, experiment
from physics_models.physics_net import PhysicsNet
from physics_models.run_log import read_log
from physics_models.tasks import Task

TINY = Task("custom", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
TEST = ("--use_ckpt", "--test_mode")


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return write_data(tmp_path_factory.mktemp("data"), 8)


@pytest.fixture(autouse=True)
def quick(without_graphs):
    pass


def write_run(folder: Path, seed: int = 0, **settings) -> Path:
    """An experiment with random weights."""
    folder.mkdir(parents=True)
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(TINY, color=True, **settings)
    net.build_optimizer(1e-3)
    experiment.write_marker(folder, {"epochs": 500}, net.get_config())
    net.save(folder, {"epoch": 0})
    return folder


def test_settings_that_no_weight_shows_are_those_of_the_training(flags, tmp_path):
    run = write_run(tmp_path / "run", vel_encoder="gauss_newton", calibrated_coords=True)

    def losses(folder: str, *more: str) -> dict[str, float]:
        ended = run_command("paig-run-physics", *flags, *TEST, f"--save_dir={tmp_path / folder}", *more)
        assert ended.code == 0, ended.err
        return read_log(tmp_path / folder / "log.txt").evaluations("test")[-1].losses

    given = losses("given", f"--ckpt_dir={run}", "--vel_encoder=gauss_newton", "--calibrated_coords")
    assert losses("run") == given
    assert losses("other", f"--ckpt_dir={run}", "--vel_encoder=mlp")["eval_pred_loss"] != given["eval_pred_loss"]
    assert losses("grid", f"--ckpt_dir={run}", "--nocalibrated_coords")["eval_recons_loss"] != given["eval_recons_loss"]


def test_training_from_another_run_s_checkpoint_moves_the_experiment_in_its_place_aside(flags, tmp_path):
    source, place = write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1)
    before = checkpoints.load(place).arrays
    given = ("--use_ckpt", f"--save_dir={place}", "--epochs=1")
    ended = run_command("paig-run-physics", *flags, *given, f"--ckpt_dir={source}")
    assert ended.code == 0, ended.err
    (moved,) = tmp_path.glob("b.bak-*")
    np.testing.assert_equal(checkpoints.load(moved).arrays, before)
    assert run_command("paig-run-physics", *flags, *given).code == 0  # goes on with its own, in its place
    assert len(list(tmp_path.glob("b.bak-*"))) == 1


def test_all_of_a_test_video_is_the_test(flags, tmp_path):
    frames = squares(4, 10, seed=3)
    np.savez(tmp_path / "test.npz", frames=frames.reshape(-1, 16, 16, 3))
    np.savez(tmp_path / "train.npz", frames=squares(8, 10, seed=4).reshape(-1, 16, 16, 3))
    run = write_run(tmp_path / "run")
    given = [flag for flag in flags if "data_file" not in flag]
    files = (f"--data_file={tmp_path}/train.npz", f"--test_data_file={tmp_path}/test.npz", "--seq_len=10")
    ended = run_command("paig-run-physics", *given, *files, *TEST, f"--save_dir={run}")
    assert ended.code == 0, ended.err
    with np.load(run / "outputs.npz") as outputs:
        shown = {sequence.tobytes() for sequence in (255 * outputs["input"]).round().astype(np.uint8)}
    assert shown == {sequence.tobytes() for sequence in frames}
