"""`run_physics.py --task=pendulum`: trained as the paper does, then evaluated, drawn, exported and controlled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import Ended, run_command

from data_gen.recipes import PENDULUMS, make_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Small files of the pendulum."""
    folder, recipe = tmp_path_factory.mktemp("data"), PENDULUMS["pendulum"]
    for file, length in ((recipe.train_file, 14), (recipe.test_file, 20)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        make_dataset("pendulum", str(folder / file), length, (4, 2, 2))
    return folder


def run(data: Path, folder: Path, *flags: str) -> Ended:
    return run_command("paig-run-physics", "--task=pendulum", f"--data_dir={data}", f"--save_dir={folder}", *flags)


@pytest.mark.slow
def test_a_run_from_the_frames_to_an_episode(data, tmp_path, quick_control):
    """The log has g, a and the angle of the upright; the other commands take the run as any other."""
    folder = tmp_path / "run"
    ended = run(data, folder, "--color=true", "--epochs=1", "--batch_size=2", "--autoencoder_loss=3", "--seed=0")
    assert ended.code == 0, ended.err
    log = (folder / "log.txt").read_text("utf-8")
    for name in ("log_g", "log_a", "angle_0"):
        assert f"('net/actuated_pendulum_cell/{name}:0'" in log
    assert "test - epoch=1 eval_extrap_loss=" in log and "learned: sigma" in ended.out and ", a " in ended.out
    assert json.loads((folder / "experiment.json").read_text())["config"]["model"] == "PendulumNet"
    ended = run(data, folder, "--color=true", "--use_ckpt=true", "--test_mode=true", "--batch_size=2")
    assert ended.code == 0, ended.err
    assert run_command("paig-plot-run", f"--save_dir={folder}", f"--out={tmp_path / 'plots'}").code == 0
    ended = run_command("paig-export", str(folder), str(tmp_path / "saved"))
    assert ended.code == 0 and "angles" in ended.out
    ended = run_command("paig-run-control", f"--save_dir={folder}", "--episodes=2")
    assert ended.code == 0, ended.err
    assert len(list(folder.glob("control_pendulum_pixels.*"))) == 3  # .json, .gif, .png


@pytest.mark.parametrize("flag", ("--alt_vel=true", "--vel_encoder=gauss_newton", "--model=VideoLSTM",
                                  "--cell_type=lstm", "--decoder_type=conv_st_decoder_plain"))  # fmt: skip
def test_flags_of_positions_are_refused(data, tmp_path, flag):
    ended = run(data, tmp_path / "run", flag)
    assert ended.code == 1 and flag.split("=")[0] in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_file_without_torques_is_named(data, tmp_path):
    recipe = PENDULUMS["pendulum"]
    for file in (recipe.train_file, recipe.test_file):
        with np.load(data / file) as whole:
            arrays = {name: whole[name] for name in whole if not name.endswith("_actions")}
        (tmp_path / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "data" / file, **arrays)
    ended = run(tmp_path / "data", tmp_path / "run", "--color=true", "--batch_size=2")
    assert ended.code == 1 and "_actions" in ended.err and ended.err.count("\n") == 1
