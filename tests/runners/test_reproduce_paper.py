"""reproduce_paper.py: what it runs, what it measures, what it reports."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from command import run_main

from data_gen.recipes import RECIPES, make_dataset
from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.experiment import write_marker
from physics_models.physics_net import PhysicsNet
from physics_models.staged import SETTINGS, Stage
from physics_models.tasks import TASKS
from runners import reproduce_measure, reproduce_paper, run_base
from runners.reproduce_report import against, write_report
from runners.run_base import FLAGS

ROOT = Path(reproduce_paper.__file__).resolve().parent.parent

RUN = {
    "task": "spring_color", "seed": 0, "found": True, "stack": "TensorFlow 2",
    "true": {"k": 4.0, "l": 6.0}, "input_steps": 4, "pred_steps": 6,
    "wall_s": 600.0, "seeds_tried": 2, "losses": {"pred_loss": 2.0, "extrap_loss": 30.0, "recons_loss": 0.5},
    "parameters": {"k": 4.4, "l": 6.2}, "calibrated": {"k": 4.4, "l": 6.0}, "ssim": [0.9] * 26, "mse": [0.01] * 26,
    "calibrated_coords": False, "length_scale": 1.033,
    "position_error": {"encoded": 0.2, "predicted": 0.4, "extrapolated": 2.0, "per_step": [0.4] * 26},
}  # fmt: skip


@pytest.fixture(autouse=True)
def flags():
    if not FLAGS.is_parsed():
        FLAGS(["test"])
    with flagsaver.flagsaver():
        yield


def write_entry(folder: Path, variant: str, **changes) -> None:
    entry = {**RUN, **changes}
    path = folder / variant / f"seed{entry['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))


def test_report_holds_the_runs_and_the_papers_numbers(tmp_path):
    runs, docs = tmp_path / "runs", tmp_path / "docs"
    write_entry(runs, "spring_color")
    write_entry(runs, "spring_color", seed=1, parameters={"k": 4.2, "l": 6.4}, calibrated={"k": 4.2, "l": 6.2})
    write_entry(runs, "spring_color", seed=2, found=False)
    write_entry(runs, "spring_color-calibrated", length_scale=1.0005, calibrated_coords=True)
    (runs / "spring_color" / "seed0_future.png").write_bytes(b"a picture")
    text = write_report(runs, docs).read_text()
    assert "| spring_color | k | 4 | 4.26 (+6.5 %) | 4.3 (+7.5 %) | 4.3 (+7.5 %) | 2 of 3 | 10 min |" in text
    assert "| spring_color | l | 6 | 6.17 (+2.8 %) | 6.3 (+5.0 %) | 6.1 (+1.7 %) | 2 of 3 | 10 min |" in text
    assert "| spring_color | 2 | 1.0323 | 1.033 | 2 | 30 | 0.5 |" in text
    assert "| spring_color-calibrated | 1 | 1 | 1.0005 | 2 | 30 | 0.5 |" in text
    assert "| 2 | objects not found |" in text
    assert against(5.9999, 6.0) == "6 (+0.0 %)"
    assert "(pictures/spring_color_future.png)" in text and "spring_color_ssim.png" not in text
    assert (docs / "pictures" / "spring_color_future.png").read_bytes() == b"a picture"
    assert [entry["seed"] for entry in json.loads((docs / "reproduction.json").read_text())] == [0, 1, 2, 0]


def test_log_facts_leave_pauses_out_and_count_restarts(tmp_path):
    lines = [
        "2026-01-01 10:00:00,000 - tf - stage - autoencoder: begins at step 0, seed 0",
        "2026-01-01 10:02:00,500 - tf - stage - autoencoder: the objects are not found; it starts again with seed 1",
        "--task=spring_color",
        "2026-01-01 15:00:00,000 - tf - stage - positions: begins at step 0, seed 1",
        "2026-01-01 15:01:00,000 - tf - stage - positions: done",
    ]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    assert reproduce_measure.log_facts(tmp_path) == {"wall_s": 180.5, "seeds_tried": 2}


def test_finished_runs_are_not_run_again_and_given_flags_are_passed_on(tmp_path, monkeypatch):
    calls = []

    def run(command):
        calls.append(command)
        return 1, "error: the objects were not found with any seed"

    monkeypatch.setattr(reproduce_paper, "run_and_show", run)
    FLAGS(["test", f"--experiments={tmp_path}", "--joint_steps=7", "--vel_encoder=gauss_newton", "--calibrated_coords"])
    reproduce_paper.reproduce("spring_color", 3)
    reproduce_paper.reproduce("spring_color", 3)
    (command,) = calls
    assert {"--joint_steps=7", "--vel_encoder=gauss_newton", "--seed=3", "--schedule=staged"} <= set(command)
    assert f"--save_dir={tmp_path}/spring_color-cured/seed3" in command
    given = ["--vel_encoder=gauss_newton", "--calibrated_coords=True", "--joint_steps=7"]
    assert reproduce_paper.passed_on() == given  # and none that was not given
    assert json.loads((tmp_path / "spring_color-cured" / "seed3.json").read_text())["found"] is False


def test_a_training_that_fails_otherwise_stops_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_paper, "run_and_show", lambda command: (1, "error: no space left"))
    FLAGS(["test", f"--experiments={tmp_path}"])
    with pytest.raises(ExperimentError, match="training ended with: no space left"):
        reproduce_paper.reproduce("spring_color", 0)
    assert not list(tmp_path.glob("*/*.json"))


def test_only_finished_runs_are_collected(tmp_path):
    log = tmp_path / "log.txt"
    assert not reproduce_paper.is_finished(tmp_path)
    log.write_text("2026-01-01 00:00:00,000 - tf - test - epoch=3 eval_pred_loss=1.0\n")
    assert not reproduce_paper.is_finished(tmp_path)
    log.write_text("2026-01-01 00:00:00,000 - tf - test - epoch=0 eval_pred_loss=1.0\n")
    assert reproduce_paper.is_finished(tmp_path)


def test_the_report_lies_with_the_runs_unless_told_otherwise(tmp_path):
    arguments = ["--all", "--collect", f"--experiments={tmp_path / 'runs'}"]
    folder = tmp_path / "runs" / "spring_color"
    folder.mkdir(parents=True)
    (folder / "seed0.json").write_text(json.dumps(RUN))
    for more, where in (["--report_dir=" + str(tmp_path / "told")], "told"), ([], "runs"):
        ended = run_main(reproduce_paper.main, [*arguments, *more])
        assert (ended.code, ended.out) == (0, f"report: {tmp_path / where / 'reproduction.md'}\n")
        assert "| spring_color | k | 4 |" in (tmp_path / where / "reproduction.md").read_text(encoding="utf-8")
        assert (tmp_path / "runs" / "reproduction.md").is_file() == (where == "runs")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("seed0.json", "{", "JSONDecodeError"),
        ("seed0.json", "[]", "TypeError"),
        ("seed0.json", json.dumps({**RUN, "losses": {}}), "KeyError: 'pred_loss'"),
        ("seed0.json", json.dumps({**RUN, "true": {"k": 0}}), "ZeroDivisionError"),
        ("seedling.json", "{}", "holds no measured run"),
    ],
)
def test_a_damaged_entry_is_named_and_the_report_stays(tmp_path, name, text, said):
    (tmp_path / "runs" / "spring_color").mkdir(parents=True)
    (tmp_path / "runs" / "spring_color" / name).write_text(text)
    (tmp_path / "reproduction.json").write_text("mine")
    arguments = ["--all", "--collect", f"--experiments={tmp_path / 'runs'}", f"--report_dir={tmp_path}"]
    ended = run_main(reproduce_paper.main, arguments)
    assert (ended.code, ended.out) == (1, "")
    error = ended.err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path / 'runs'}") and said in error
    assert (tmp_path / "reproduction.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reproduction.json", "runs"]


def test_what_a_training_says_is_shown_and_a_signal_goes_on_to_it(capfd):
    says = "import sys; print('one', file=sys.stderr); print('error: two', file=sys.stderr); sys.exit(3)"
    assert reproduce_paper.run_and_show([sys.executable, "-c", says]) == (3, "error: two")
    assert capfd.readouterr().err == "one\nerror: two\n"
    waits = "import os, signal, time; os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)"
    assert reproduce_paper.run_and_show([sys.executable, "-c", waits])[0] == -signal.SIGTERM


def test_a_run_is_measured_with_baseline_and_pictures(tmp_path, monkeypatch):
    data, folder = tmp_path / "data", tmp_path / "runs" / "spring_color" / "seed0"
    recipe = RECIPES["spring_color"]
    for name, length in ((recipe.train_file, recipe.train_len), (recipe.test_file, recipe.test_len)):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        make_dataset("spring_color", str(data / name), length, split_sizes=(6, 2, 4))
    short = dataclasses.replace(SETTINGS["spring_color"], positions=Stage(2, 4, 1e-3))
    monkeypatch.setitem(SETTINGS, "spring_color", short)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(TASKS["spring_color"])
    net.build_optimizer(1e-3)
    folder.mkdir(parents=True)
    checkpoints.save(net, folder)
    FLAGS(["test", "--color"])
    write_marker(folder, run_base.settings(), TASKS["spring_color"])
    result = reproduce_measure.measure_run("spring_color", 0, folder, data)
    assert result["true"] == {"k": 4.0, "l": 6.0} and result["parameters"] == pytest.approx({"k": 1.0, "l": 1.0})
    assert result["calibrated"]["l"] == pytest.approx(31 / 32)
    assert len(result["ssim"]) == len(result["lstm"]["ssim"]) == len(result["position_error"]["per_step"]) == 26
    assert result["losses"]["recons_loss"] == pytest.approx(result["lstm"]["losses"]["recons_loss"])  # same eyes
    assert result["losses"]["pred_loss"] != result["lstm"]["losses"]["pred_loss"]
    # The prediction's squared error of a frame is its mse times its numbers.
    extrapolated = np.mean(result["mse"][6:]) * 32 * 32 * 3
    assert result["losses"]["extrap_loss"] == pytest.approx(extrapolated, rel=1e-4)
    pictures = sorted(path.name for path in folder.parent.glob("*.png"))
    assert pictures == [f"seed0_{kind}.png" for kind in ("appearances", "future", "layers", "positions", "ssim")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --task"),
        (["--all", "--task=3bp_color"], "--task=3bp_color and --all: choose one"),
        (["--task=nothing"], "no such task"),
        (["--all", "--seeds=1,x"], "whole numbers"),
        (["--all", "--vel_encoder=lstm"], "--vel_encoder=lstm: unknown; choose one of gauss_newton, mlp"),
        (["--task=3bp_color", "--seed=3"], "--seed: this command has no use for it"),
    ],
)
def test_mistakes_are_one_line(arguments, words):
    command = [sys.executable, str(ROOT / "runners" / "reproduce_paper.py"), *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and words in ended.stderr
