"""`reproduce_paper.py --control`: entries case by case, and the page that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_gen.recipes import PENDULUMS, make_dataset
from physics_models.errors import ExperimentError
from physics_models.pendulum_net import PendulumNet
from physics_models.tasks import get_task
from runners.reproduce import control


@pytest.fixture
def net(monkeypatch, quick_control) -> PendulumNet:
    """An untrained network that stands for a run's, with few and short episodes."""
    net = PendulumNet(get_task("pendulum"))
    net.variables_by_name()
    monkeypatch.setattr(control, "load_pendulum", lambda folder: net)
    monkeypatch.setattr(control, "describe_run", lambda task, seed, folder: {"task": task, "seed": seed, "wall_s": 60.0,
                                                                             "stack": "a machine"})  # fmt: skip
    monkeypatch.setattr(control, "EPISODES", 2)
    monkeypatch.setattr(control, "CASES", control.CASES[:3])
    return net


@pytest.fixture(scope="module")
def test_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("data") / "test.npz"
    make_dataset("pendulum", str(file), 20, (1, 1, 4))
    return file


def test_the_angle_error_is_that_of_the_encoder_after_one_offset(net, test_file, monkeypatch):
    with np.load(test_file) as data:
        true = control.tip_angle(data["test_pos"][:, :10, 0], 64)
    error = 0.05 * np.where(np.arange(40).reshape(4, 10) % 2, 1, -1)
    monkeypatch.setattr(control, "encode_all", lambda net, frames: (true + 2.0 + error)[..., None])
    net.cell.angle_0.assign(1.9)
    expected = {"angle_error": 0.05, "upright_error": 0.1}
    assert control.angle_errors(net, test_file) == pytest.approx(expected, rel=1e-3)


def test_a_run_is_measured_case_by_case_and_not_twice(net, test_file, tmp_path, monkeypatch):
    folder = tmp_path / "pendulum-5000" / "seed0"
    played = []
    play = control.play

    def stops_at_the_third(net, environment, controller, case):
        played.append(case)
        if len(played) == 3:
            raise KeyboardInterrupt
        return play(net, environment, controller, case)

    monkeypatch.setattr(control, "play", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        control.measure("pendulum", 0, 5000, folder, test_file, ["--joint_steps=9"])
    assert len(json.loads(folder.with_suffix(".json").read_text())["cases"]) == 2
    control.measure("pendulum", 0, 5000, folder, test_file, ["--joint_steps=9"])
    assert played == [*control.CASES, control.CASES[2]]
    control.measure("pendulum", 0, 300, tmp_path / "pendulum-300" / "seed0", test_file, ["--joint_steps=9"])
    assert played[-1] == control.CASES[0] and len(played) == 5
    assert json.loads(folder.with_suffix(".json").read_text())["flags"] == ["--joint_steps=9"]
    monkeypatch.setattr(control, "load_pendulum", None)  # all is there: the run's folder may be gone
    control.measure("pendulum", 0, 5000, folder, test_file, [])


def test_the_page_has_every_run_and_every_case(net, test_file, tmp_path):
    control.measure("pendulum", 1, 300, tmp_path / "pendulum-300" / "seed1", test_file, ["--joint_steps=9"])
    net.cell.log_g.assign(2.0)
    control.measure("pendulum", 0, 5000, tmp_path / "pendulum-5000" / "seed0", test_file, ["--joint_steps=9"])
    control.measure_references("pendulum", tmp_path)
    page = tmp_path / "control.md"
    page.write_text("# Kept\n\n")
    control.write_runs(tmp_path, page)
    text = page.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert text.startswith("# Kept\n")
    assert [row[1:3] for row in rows if row[0] == "pendulum"][:2] == [["300", "1"], ["5000", "0"]]
    run = json.loads((tmp_path / "pendulum-300" / "seed1.json").read_text())
    (learned,) = [row for row in rows if row[:3] == ["pendulum", "300", "1"]]
    assert learned[5:7] == [f"{run['angle_error']:.3g}", f"{run['upright_error']:.3g}"]
    entry = json.loads((tmp_path / "pendulum-5000" / "seed0.json").read_text())["cases"][1]
    shown = f"{entry['mean']:.1f} ± {entry['standard_error']:.1f}"
    (row,) = [row for row in rows if row[1] == "goal upright, gravity × 1.4, told"]
    whole = json.loads((tmp_path / "pendulum-5000" / "seed0.json").read_text())["cases"][0]
    (upright,) = [row for row in rows if row[1] == "goal upright, gravity × 1"]
    assert upright[2] == f"{whole['mean']:.1f} ± {whole['standard_error']:.1f}"
    (told,) = [row for row in rows if row[1] == "goal upright, gravity × 1.4, not told"]
    assert "–" not in (told[2], told[5]) and told[6] == "–"
    assert row[2] == shown and "–" not in (row[2], row[5], row[6]) and row[3] == "–"
    assert set(PENDULUMS) == set(control.ENVIRONMENT)


def test_the_table_of_cases_is_of_seed_0_and_all_sequences(net, test_file, tmp_path):
    control.measure("pendulum", 1, 5000, tmp_path / "pendulum-5000" / "seed1", test_file, ["--supervision=none"])
    control.measure_references("pendulum", tmp_path)
    control.write_runs(tmp_path, tmp_path / "control.md")
    text = (tmp_path / "control.md").read_text("utf-8")
    (row,) = [line for line in text.splitlines() if "| goal upright, gravity × 1 |" in line]
    assert row.split(" | ")[2] == "–" and "supervised by motion" not in text and "| 5000 | 1 |" in text


def test_returns_of_fewer_episodes_are_not_beside_the_others(net, test_file, tmp_path):
    control.measure("pendulum", 0, 5000, tmp_path / "pendulum-5000" / "seed0", test_file, [])
    run = json.loads((tmp_path / "pendulum-5000" / "seed0.json").read_text())
    assert len(control.case_cells(run)) == len(run["cases"]) == 3
    run["cases"][1]["seeds"].pop()
    assert [case for _, case, _, _ in control.case_cells(run)] == [
        "goal upright, gravity × 1", "goal upright, gravity × 1.4, not told"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["pendulum-5000/seed0.json", "pendulum-none.json"])
@pytest.mark.parametrize("text", ["{", "[]", '{"cases": [{}]}'])
def test_a_damaged_entry_is_named_and_the_page_stays(net, test_file, tmp_path, name, text):
    control.measure("pendulum", 0, 5000, tmp_path / "pendulum-5000" / "seed0", test_file, [])
    (tmp_path / name).write_text(text)
    (tmp_path / "control.md").write_text("mine")
    with pytest.raises(ExperimentError, match=f"{name}: damaged"):
        control.write_runs(tmp_path, tmp_path / "control.md")
    assert (tmp_path / "control.md").read_text() == "mine"


def test_the_goal_of_a_picture_is_read_from_it(net, monkeypatch):
    aims = []
    monkeypatch.setattr(control, "see_angle", lambda net, frame: 0.7)
    monkeypatch.setattr(control, "run_episodes", lambda *arguments, aimed_at: (
        aims.append((arguments[4], aimed_at)) or {"mean": 0.0}, []))  # fmt: skip
    control.play(net, "pendulum", "pixels", control.Case(goal=0.3, picture=True))
    control.play(net, "pendulum", "pixels", control.Case(goal=0.3))
    assert aims == [(0.3, pytest.approx(0.7)), (0.3, None)]
