"""fit_positions.py: the physics is found from true positions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from command import run_main
from one_command import load_command

from data_gen.recipes import RECIPES
from physics_models import staged


@pytest.fixture(scope="module")
def fit_positions():
    return load_command("fit_positions")


def numbers(line):
    """Step, k, l and error of a printed line."""
    return [float(value) for value in re.findall(r"(?:step |=|error )([\d.]+)", line)]


def test_batches_are_true_positions_and_progress_is_printed(small_data, fit_positions, monkeypatch, without_graphs):
    batches, rates = [], []

    def position_step(net):
        def step(positions):
            batches.append(positions.numpy())
            rates.append(float(net.optimizer.rate))
            net.cell.log_k.assign_add(0.1)

        return step

    monkeypatch.setattr(staged, "position_step", position_step)
    flags = ["--steps=10", "--rate=0.5", "--sequences=3", "--stretch=2"]
    ended = run_main(fit_positions.main, ["--task=spring_color", f"--data_dir={small_data}", *flags])
    assert (ended.code, ended.err) == (0, "")
    lines = [numbers(line) for line in ended.out.splitlines()]
    assert [line[:3] for line in lines[::10]] == [[0, 1, 1], [10, 2.718, 1]]
    assert lines[0][3] != lines[10][3] > 0
    with np.load(small_data / RECIPES["spring_color"].train_file) as archive:
        true = 2 * archive["train_pos"][:, :10].reshape(-1, 10, 4).astype(np.float32)
    assert [batch.shape for batch in batches] == [(3, 10, 4)] * 10
    assert all(any(np.allclose(row, one) for one in true) for batch in batches for row in batch)
    np.testing.assert_allclose(rates, [0.5] * 7 + [0.1] * 3)


@pytest.mark.slow
def test_the_fitted_state_learns_the_spring(small_data, fit_positions):
    flags = ["--vel_encoder=gauss_newton", "--steps=300", "--rate=0.02", "--sequences=6", "--seed=0"]
    ended = run_main(fit_positions.main, ["--task=spring_color", f"--data_dir={small_data}", *flags])
    _, k, length, error = numbers(ended.out.splitlines()[-1])
    assert k == pytest.approx(4.0, rel=0.1) and length == pytest.approx(6.0, rel=0.05)
    assert error < 0.3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--task=springs"], "--task=springs"),
        (["--task=pendulum"], "--task=pendulum"),
        (["--task=spring_color", "--steps=0"], "--steps=0"),
        (["--task=spring_color", "--noise=-1"], "--noise=-1"),
        (["--task=spring_color", "--data_dir=missing"], "missing"),
        (["--task=spring_color", "--epochs=3"], "--epochs"),
    ],
)
def test_mistakes_are_one_line(fit_positions, arguments, named):
    ended = run_main(fit_positions.main, arguments)
    assert (ended.code, ended.out) == (1, "")
    assert named in ended.err and ended.err.count("\n") == 1


def test_a_file_without_positions_is_named(tmp_path, fit_positions):
    file = tmp_path / RECIPES["spring_color"].train_file
    file.parent.mkdir()
    np.savez(file, train_x=np.zeros([1, 12, 32, 32, 3], np.uint8))
    ended = run_main(fit_positions.main, ["--task=spring_color", f"--data_dir={tmp_path}"])
    assert ended.code == 1 and str(file) in ended.err and ended.err.count("\n") == 1
