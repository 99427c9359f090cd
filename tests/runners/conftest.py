"""What the tests of the commands share."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import pytest

from data_gen.pendulum import GymnasiumPendulum, PendulumPixels
from data_gen.recipes import RECIPES, make_dataset
from runners.control import planning
from runners.control.planning import CrossEntropyPlanner, DynamicProgramming

# tiny_run.py, a training that takes seconds, serves these tests too.
sys.path.append(str(Path(__file__).resolve().parents[1] / "trust"))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """A --data_dir with six sequences of spring_color in either file."""
    folder = tmp_path_factory.mktemp("data")
    recipe = RECIPES["spring_color"]
    for file, length in ((recipe.train_file, 12), (recipe.test_file, 30)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        make_dataset("spring_color", str(folder / file), length, (6, 2, 2))
    return folder


@pytest.fixture
def quick_control(monkeypatch) -> None:
    """Short episodes, few plans; dynamic programming of a few sweeps, which no other test shall take."""
    for world in (PendulumPixels, GymnasiumPendulum):
        monkeypatch.setattr(world, "steps", 4)
    monkeypatch.setattr(DynamicProgramming, "sweeps", 3)
    monkeypatch.setattr(planning, "solve", lru_cache(planning.solve.__wrapped__))
    for name, value in (("horizon", 5), ("samples", 20), ("elites", 4)):
        monkeypatch.setattr(CrossEntropyPlanner, name, value)
