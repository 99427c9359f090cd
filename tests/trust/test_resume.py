"""Killed at any moment, a training continues as if nothing had happened."""

from __future__ import annotations

import functools
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import soaking
from command import Ended, run_command
from killing import Killer, assert_equal_runs
from networks import Networks
from tiny_run import squares, write_data

from data_gen.iterators import DataIterator
from physics_models import checkpoints
from physics_models.base import BaseNet
from physics_models.checkpoints import find_interrupted_run
from physics_models.errors import ExperimentError
from physics_models.experiment import write_marker
from physics_models.run_log import read_log
from runners import run_physics


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    more = ["--cell_type=bouncing_ode_cell", "--save_every_n_epochs=1"]  # the cell whose graph is built fastest
    return [*write_data(tmp_path_factory.mktemp("data")), *more]


class KilledError(Exception):
    """Ends a training as SIGKILL does: nothing more is saved."""


def killed() -> None:
    raise KilledError


def test_a_stopped_and_killed_run_ends_with_the_bits_of_one_that_was_left_alone(tmp_path, monkeypatch, without_graphs):
    """Within this process: by SIGTERM after the first step, then killed after the third, which no checkpoint holds."""
    at_step: dict[int, Callable[[], None]] = {}
    flags = [*write_data(tmp_path, 8), "--cell_type=bouncing_ode_cell", "--save_every_n_epochs=1"]
    flags += ["--epochs=2", "--eval_every_n_epochs=9"]  # of two steps

    def notify(net: BaseNet, event: str, *arguments) -> None:
        if event == "on_train_batch_end":
            at_step.pop(arguments[0], lambda: None)()

    def run(folder: str, *more: str) -> Ended:
        return run_command("paig-run-physics", *flags, f"--save_dir={tmp_path / folder}", *more)

    monkeypatch.setattr(run_physics, "build", Networks().build)
    monkeypatch.setattr(BaseNet, "notify", notify)
    assert run("expected").code == 0
    at_step[0] = functools.partial(signal.raise_signal, signal.SIGTERM)
    stopped = run("run")
    last = stopped.err.splitlines()[-1]
    assert stopped.code == 143 and last.startswith("stopped by SIGTERM") and last.endswith(" --resume")
    assert checkpoints.load(tmp_path / "run").progress["iteration"] == 1
    at_step[2] = killed
    with pytest.raises(KilledError):
        run("run", "--resume")
    assert checkpoints.load(tmp_path / "run").progress["iteration"] == 2
    (tmp_path / "run" / ".example0.jpg.4au_pk_x").write_bytes(b"half a picture")  # as a kill leaves it
    assert run("run", "--resume").code == 0
    assert_equal_runs(tmp_path / "run", tmp_path / "expected")


@pytest.mark.slow
def test_a_kill_and_a_signal_leave_no_trace(tmp_path, flags):
    """SIGKILL between two checkpoints, then SIGTERM between two others: the bits of a run that was left alone."""
    killer = Killer([*flags, "--epochs=4"], tmp_path / "run")

    def steps_logged() -> int:
        return sum(len(c.train) for c in read_log(tmp_path / "run" / "log.txt").commands) if killer.log_length() else 0

    def past_the_first_checkpoint() -> bool:
        return (tmp_path / "run" / "checkpoint").exists() and steps_logged() > 5  # five are logged per epoch

    assert killer.stop(signal.SIGKILL, past_the_first_checkpoint) == -signal.SIGKILL
    logged, printed = steps_logged(), len(killer.printed())
    code = killer.stop(signal.SIGTERM, lambda: steps_logged() > logged + 2, "--resume")
    said = killer.printed()[printed:]
    assert code == 143 and "Traceback" not in said
    last = said.splitlines()[-1]
    assert last == "stopped by SIGTERM and saved; to continue: the same command with --resume"
    killer.finish("--resume")
    expected = Killer([*flags, "--epochs=4"], tmp_path / "expected")
    expected.finish()
    assert_equal_runs(tmp_path / "run", tmp_path / "expected")


SETTINGS = {"base_lr": 1e-3, "epochs": 3}


@pytest.fixture
def begun(tmp_path) -> Path:
    """A folder in which a run with `SETTINGS` was begun."""
    write_marker(tmp_path, SETTINGS, {})
    return tmp_path


def test_what_is_continued(begun, tmp_path):
    """Nothing where nothing was begun; a longer run, and one with flags that came later, are no other run."""
    run = find_interrupted_run(begun, {**SETTINGS, "epochs": 5, "added_later": 1}, ["epochs"])
    assert run.marker.settings == SETTINGS and run.checkpoint is None
    assert find_interrupted_run(tmp_path / "missing", SETTINGS, ()) is None


def test_other_flags_are_refused(begun):
    with pytest.raises(ExperimentError, match="--base_lr=0.001"):
        find_interrupted_run(begun, {**SETTINGS, "base_lr": 2e-3}, ())


def test_the_originals_run_cannot_be_resumed(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    with pytest.raises(ExperimentError, match=f"--resume: {tmp_path}"):
        find_interrupted_run(tmp_path, {}, ())


def test_a_run_does_not_continue_with_other_training_data(monkeypatch):
    monkeypatch.setattr(run_physics, "FLAGS", SimpleNamespace(save_dir="run"))
    data, other = DataIterator(squares(4, 8), seed=0), DataIterator(squares(4, 8, seed=1), seed=0)
    checkpoint = SimpleNamespace(progress={"seed": 3, "data": data.checksum})
    run_physics.restore_data_order(data, checkpoint)
    assert data.seed == 3
    with pytest.raises(ExperimentError, match="--resume: the run in run"):
        run_physics.restore_data_order(other, checkpoint)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1}', "\0", "[" * 5000, '{"run": "x", "version": 2}'])
def test_a_damaged_marker(begun, text):
    (begun / "experiment.json").write_text(text)
    with pytest.raises(ExperimentError, match="experiment.json"):
        find_interrupted_run(begun, {}, ())


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(tmp_path, flags):
    flags = [*flags, "--cell_type=spring_ode_cell", "--epochs=30"]
    expected = Killer(flags, tmp_path / "expected")
    expected.finish()
    killer = Killer([*flags, "--resume"], tmp_path / "run")
    killer.length = expected.length
    for what in ["start", "step", "checkpoint", "evaluation", "picture"] * 5:
        killer.kill_during(what)
    assert sum(killer.kills.values()) >= 20
    killer.finish()
    assert_equal_runs(tmp_path / "run", tmp_path / "expected")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_round_of_soaking(tmp_path, flags, seed):
    """`tests/soak.sh` plays such rounds for an hour."""
    rng = random.Random(seed)
    soaking.play_round([*flags, *soaking.random_flags(rng)], tmp_path, rng, time.monotonic() + 240)
