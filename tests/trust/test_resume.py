"""Killed at any moment, a training goes on as if nothing had happened."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from killing import Killer, assert_equal_runs
from tiny_run import ROOT, film, messages, write_data

from data_gen.iterators import DataIterator
from physics_models import experiment, save_dir
from physics_models.errors import ExperimentError
from physics_models.tasks import TASKS
from runners import run_physics


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return [*write_data(tmp_path_factory.mktemp("data")), "--epochs=4", "--save_every_n_epochs=1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, flags) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    Killer([*flags, f"--save_dir={folder}"], folder, 0).finish()
    return folder


def test_three_kills_leave_no_trace(tmp_path, flags, undisturbed):
    killer = Killer([*flags, f"--save_dir={tmp_path / 'run'}", "--resume"], tmp_path / "run", 0)
    for what in ("step", "checkpoint", "picture"):
        assert killer.kill_during(what)
    killer.finish()
    assert_equal_runs(tmp_path / "run", undisturbed)


def test_signals_save_and_say_how_to_go_on(tmp_path, flags, undisturbed):
    flags = [*flags, f"--save_dir={tmp_path / 'run'}"]
    killer = Killer(flags, tmp_path / "run", 0)
    said = killer.stop(signal.SIGTERM, lines=4)  # in the first epoch
    assert "SIGTERM: stopping after this step" in said
    command = shlex.join([str(ROOT / "runners" / "run_physics.py"), *flags, "--resume"])
    assert said.splitlines()[-1].startswith("stopped by SIGTERM and saved; to go on: ")
    assert said.splitlines()[-1].endswith(command)
    done = len(messages(tmp_path / "run"))
    killer.flags.append("--resume")
    said = killer.stop(signal.SIGINT, lines=done + 3)
    assert said.splitlines()[-1].startswith("stopped by SIGINT and saved") and "Traceback" not in said
    assert said.splitlines()[-1].endswith(command)
    killer.finish()
    assert_equal_runs(tmp_path / "run", undisturbed)


@pytest.fixture
def begun(tmp_path) -> Path:
    """A folder in which a run with `base_lr` 1e-3 was begun."""
    experiment.write_marker(tmp_path, {"base_lr": 1e-3, "epochs": 3}, TASKS["spring_color"])
    return tmp_path


def test_other_flags_are_refused(begun):
    with pytest.raises(ExperimentError, match="was begun with --base_lr=0.001, not 0.002; give the same flags"):
        experiment.find_cut_off(begun, {"base_lr": 2e-3, "epochs": 3}, ())


def test_a_run_may_be_made_longer_and_new_flags_are_no_difference(begun):
    settings = {"base_lr": 1e-3, "epochs": 5, "added_later": 1}
    assert experiment.find_cut_off(begun, settings, ["epochs"]).stored is None


def test_nothing_to_resume(tmp_path):
    assert experiment.find_cut_off(tmp_path, {}, ()) is None
    assert experiment.find_cut_off(tmp_path / "missing", {}, ()) is None


def test_the_originals_run_cannot_be_resumed(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    with pytest.raises(ExperimentError, match="has no experiment.json: .* start from its weights with --use_ckpt=true"):
        experiment.find_cut_off(tmp_path, {}, ())


def test_a_run_does_not_go_on_with_other_training_data(monkeypatch):
    monkeypatch.setattr(run_physics, "FLAGS", SimpleNamespace(save_dir="run"))
    data, other = DataIterator(film(4, 8), 0), DataIterator(film(4, 8, seed=1), 0)
    stored = SimpleNamespace(progress={"seed": 3, "data": data.checksum})
    run_physics.take_up_data(data, stored)
    assert data.seed == 3
    with pytest.raises(ExperimentError, match="the run in run was begun with other training data"):
        run_physics.take_up_data(other, stored)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1}', "\0", "[" * 5000, '{"run": "x", "log_length": 1}'])
def test_a_damaged_marker(begun, text):
    (begun / "experiment.json").write_text(text)
    with pytest.raises(ExperimentError, match=r"experiment.json: damaged \("):
        experiment.find_cut_off(begun, {}, ())


def line(text: str) -> str:
    return f"2026-01-01 10:00:00,123 - tf - {text}\n"


def test_the_log_loses_what_is_going_to_be_repeated_and_nothing_else(tmp_path):
    kept = line("run_physics.py\n--epochs=3") + line("train - iter=0 train_loss=1.0")
    repeated = line("train - iter=2 train_loss=1.0") + line("[('a:0', 1.0)]") + line("valid - epoch=1 eval_loss=1.0")
    tested = line("run_physics.py\n--use_ckpt=true\n--test_mode=true") + line("test - epoch=0 eval_loss=3.0")
    resumed = line("run_physics.py\n--epochs=3\n--resume") + repeated
    log = tmp_path / "log.txt"
    log.write_text(kept + repeated + tested + resumed + tested + resumed[:-30])
    experiment.cut_log(log, len(kept))
    assert log.read_text() == kept + tested + tested


def test_a_kill_while_the_log_is_cut_loses_no_test(tmp_path, monkeypatch):
    kept, repeated = line("run_physics.py\n--epochs=3"), line("train - iter=2 train_loss=1.0")
    tested = line("run_physics.py\n--use_ckpt=true\n--test_mode=true") + line("test - epoch=0 eval_loss=3.0")
    log = tmp_path / "log.txt"
    for change in ("truncate", "replace"):
        log.write_text(kept + repeated + tested)
        real = getattr(os, change)

        def killed(*arguments, real=real):
            real(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt, OSError):
            patched.setattr(os, change, killed)
            experiment.cut_log(log, len(kept))
        assert log.read_text() in (kept + repeated + tested, kept + tested)


def test_what_is_logged_after_the_log_was_cut_lies_in_it(begun, monkeypatch):
    cut_off = experiment.find_cut_off(begun, {}, ())
    (begun / "log.txt").write_text(line("run_physics.py\n--epochs=3"))
    monkeypatch.setattr(run_physics, "FLAGS", SimpleNamespace(save_dir=str(begun), use_ckpt=False))
    log, run_id = run_physics.open_run(TASKS["spring_color"], cut_off)
    try:
        logging.getLogger("tf").warning("goes on")
        with pytest.raises(ExperimentError, match="another process is at work there"):
            save_dir.open_log(begun)
    finally:
        save_dir.close_log(log)
    assert run_id == cut_off.marker.run
    assert (begun / "log.txt").read_text().endswith(" - tf - goes on\n")
    assert (begun / "log.txt").read_text().count("\n") == 1


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path, flags):
    flags = [*flags, "--epochs=12"]
    expected = Killer([*flags, f"--save_dir={tmp_path / 'expected'}"], tmp_path / "expected", 0)
    expected.finish()
    killer = Killer([*flags, f"--save_dir={tmp_path / 'run'}", "--resume"], tmp_path / "run", 0)
    for what in ["start", "step", "checkpoint", "evaluation", "picture"] * 5:
        killer.kill_during(what)
    assert sum(killer.kills.values()) >= 20
    killer.finish()
    assert_equal_runs(tmp_path / "run", tmp_path / "expected")
