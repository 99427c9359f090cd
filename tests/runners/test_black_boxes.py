"""The baselines and ablations through the command: each trains, is evaluated, goes on, and is read by the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from tiny_run import write_data

from physics_models import checkpoints
from physics_models.library import load_network
from physics_models.physics_net import PhysicsNet
from physics_models.run_log import read_log
from physics_models.video_lstm import VideoLSTM

VIDEO_LSTM = ["--model=VideoLSTM", "--recurrent_units=8"]
STAGES = ["--schedule=staged", "--autoencoder_steps=2", "--positions_steps=2", "--joint_steps=2"]


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """The flags of a custom task with tiny data, but for its cell."""
    return [flag for flag in write_data(tmp_path_factory.mktemp("data"), 8) if "cell_type" not in flag]


@pytest.fixture(autouse=True)
def quick(without_graphs):
    pass


def run(flags: list[str], folder: Path, *more: str):
    return run_command("paig-run-physics", *flags, f"--save_dir={folder}", *more)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return checkpoints.load(folder).arrays


@pytest.mark.slow
def test_a_video_lstm_trains_is_evaluated_and_continues_to_the_same_bits(flags, tmp_path):
    given = [*flags, *VIDEO_LSTM, "--anneal_lr=false"]
    ended = run(given, tmp_path / "whole", "--epochs=2")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("learned: no physical parameter; pictures in ")
    assert run(given, tmp_path / "run", "--epochs=1").code == 0
    assert run(given, tmp_path / "run", "--epochs=2", "--resume").code == 0
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert whole.keys() == resumed.keys() and any(name.startswith("net/lstm/") for name in whole)
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, name)
    assert isinstance(load_network(tmp_path / "run"), VideoLSTM)
    log = read_log(tmp_path / "whole" / "log.txt")
    assert log.unread == [] and set(log.evaluations("test")[-1].losses) == {
        "eval_pred_loss", "eval_extrap_loss", "eval_recons_loss",
    }  # fmt: skip
    tested = run(given, tmp_path / "tested", "--use_ckpt", "--test_mode", f"--ckpt_dir={tmp_path}/whole")
    assert tested.code == 0
    again = read_log(tmp_path / "tested" / "log.txt").evaluations("test")[-1].losses
    assert again == pytest.approx(log.evaluations("test")[-1].losses)
    assert run_command("paig-plot-run", f"--save_dir={tmp_path}/whole").code == 0
    assert run_command("paig-compare-runs", str(tmp_path / "whole"), str(tmp_path / "run")).code == 0
    wrong = run(flags, tmp_path / "other", "--cell_type=lstm", "--use_ckpt", f"--ckpt_dir={tmp_path}/whole")
    assert wrong.code == 1 and "it is a checkpoint of another task" in wrong.err.splitlines()[-1]


def test_a_video_lstm_takes_the_joint_stage_of_the_staged_schedule(flags, tmp_path):
    staged = [flag for flag in flags if not re.match("--(base_lr|autoencoder_loss)", flag)]
    ended = run([*staged, *VIDEO_LSTM], tmp_path / "run", "--schedule=staged", "--joint_steps=3", "--joint_batch=4")
    assert ended.code == 0, ended.err
    assert checkpoints.load(tmp_path / "run").progress["iteration"] == 3
    config = json.loads((tmp_path / "run" / "experiment.json").read_text())["config"]
    assert (config["model"], config["recurrent_units"]) == ("VideoLSTM", 8)
    assert "stage - joint: done" in ended.err and "stage - autoencoder" not in ended.err


@pytest.mark.parametrize(
    "given",
    [
        ["--cell_type=interaction_network"],
        pytest.param(["--cell_type=spring_ode_cell", "--decoder_type=black_box"], marks=pytest.mark.slow),
        pytest.param(["--cell_type=spring_ode_cell", "--separate_gradients"], marks=pytest.mark.slow),
    ],
    ids=lambda given: given[-1][2:],
)
def test_the_other_models_train_and_are_loaded_with_their_settings(flags, tmp_path, given):
    ended = run([*flags, *given], tmp_path / "run", "--epochs=1")
    assert ended.code == 0, ended.err
    net = load_network(tmp_path / "run")
    assert isinstance(net, PhysicsNet)
    for name, value in (each[2:].split("=") if "=" in each else (each[2:], True) for each in given):
        assert {**net.get_config(), **net.get_config()["task"]}[name] == value
    tested = run([*flags, *given], tmp_path / "run", "--use_ckpt", "--test_mode")
    assert tested.code == 0, tested.err
    assert run_command("paig-compare-runs", str(tmp_path / "run"), str(tmp_path / "run")).code == 0
    assert run_command("paig-plot-run", f"--save_dir={tmp_path}/run").code == 0


@pytest.mark.slow
def test_a_black_box_decoder_goes_through_all_stages(flags, tmp_path):
    """Nothing tells whether such a decoder has found objects: the stages go on."""
    staged = [flag for flag in flags if not re.match("--(base_lr|autoencoder_loss)", flag)]
    black_box = ["--cell_type=spring_ode_cell", "--decoder_type=black_box"]
    ended = run([*staged, *black_box, *STAGES], tmp_path / "run")
    assert ended.code == 0, ended.err
    assert "a black-box decoder does not tell by what" in ended.err and "stage - joint: done" in ended.err
    known = run([*staged, "--cell_type=spring_ode_cell", *STAGES], tmp_path / "other")
    assert known.code == 1 and "objects not found" in known.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([*VIDEO_LSTM, "--cell_type=lstm"], "--cell_type: belongs to --model=PhysicsNet"),
        ([*VIDEO_LSTM, "--separate_gradients"], "--separate_gradients: belongs to --model=PhysicsNet"),
        ([*VIDEO_LSTM, "--decoder_type=black_box"], "--decoder_type: belongs to --model=PhysicsNet"),
        ([*VIDEO_LSTM, *STAGES[:2]], "--autoencoder_steps: belongs to --model=PhysicsNet"),
        ([*VIDEO_LSTM, "--schedule=autoencoder"], "--schedule=autoencoder: --model=VideoLSTM has no positions"),
        (["--cell_type=lstm", "--separate_gradients", "--autoencoder_loss=0"], "--separate_gradients: needs"),
        (["--cell_type=lstm", "--separate_gradients", "--autoencoder_loss=0", *STAGES], "--separate_gradients: needs"),
        (["--cell_type=interaction_network", "--n_objs=1"], "--cell_type=interaction_network: needs at least 2"),
        (["--cell_type=interaction_network", "--vel_encoder=gauss_newton"], "--vel_encoder=gauss_newton"),
    ],
)
def test_mistakes_are_one_line(flags, tmp_path, given, named):
    flags = [flag for flag in flags if not flag.startswith("--base_lr")]
    if any("schedule" in flag for flag in given) and not any("autoencoder_loss" in flag for flag in given):
        flags = [flag for flag in flags if not flag.startswith("--autoencoder_loss")]
    ended = run([*flags, *given], tmp_path / "run")
    assert ended.code == 1 and named in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()
