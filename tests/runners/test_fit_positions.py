"""fit_positions.py: the physics is found from true positions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from command import run_main
from one_command import load_command

from data_gen.recipes import RECIPES


@pytest.fixture(scope="module")
def fit_positions():
    return load_command("fit_positions")


def test_the_fitted_state_learns_the_spring(small_data, fit_positions):
    flags = ["--vel_encoder=gauss_newton", "--steps=60", "--rate=0.1", "--sequences=6", "--seed=0"]
    ended = run_main(fit_positions.main, ["--task=spring_color", f"--data_dir={small_data}", *flags])
    assert (ended.code, ended.err) == (0, "")
    first, *_, last = (re.findall(r"[-\d.]+", line) for line in ended.out.splitlines())
    assert first[:3] == ["0", "1.000", "1.000"] and last[0] == "60"
    k, length, error = map(float, last[1:4])
    assert k == pytest.approx(4.0, rel=0.1) and length == pytest.approx(6.0, rel=0.05)
    assert error < 0.2 < float(first[3])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
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
