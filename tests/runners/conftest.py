"""What the tests of the commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from data_gen.recipes import RECIPES, make_dataset

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
