"""The five tasks' datasets: generator, settings, lengths, default seeds and the original's file names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

from data_gen import generators, pendulum
from data_gen.errors import DataError

DEFAULT_SIZES = (5000, 500, 500)


class Recipe(NamedTuple):
    """How one task's data are made."""

    generator: Callable[..., dict[str, float]]
    file: str  # the original's name, a path below data/datasets/, with {} for the sequence length
    train_len: int  # T, in frames
    test_len: int
    img_size: int  # H, in pixels
    physics: dict[str, Any]  # further arguments of the generator
    test_sizes: tuple[int, int, int] = DEFAULT_SIZES  # of the file of the test length

    @property
    def train_file(self) -> str:
        """The file to train on, below `data/datasets/`."""
        return self.file.format(self.train_len)

    @property
    def test_file(self) -> str:
        """The file of the final test."""
        return self.file.format(self.test_len)

    def default_seed(self, seq_len: int) -> int:
        """1 for the training length, 2 for any other: the two files share no sequence."""
        return 1 if seq_len == self.train_len else 2

    def default_sizes(self, seq_len: int) -> tuple[int, int, int]:
        """Sequences in the splits of a file of this length."""
        return DEFAULT_SIZES if seq_len == self.train_len else self.test_sizes


RECIPES = {
    "bouncing_balls": Recipe(
        generators.generate_bouncing_balls_dataset, "bouncing/color_bounce_vx8_vy8_sl{}_r2.npz", 12, 30, 32,
        dict(radius=2, dt=0.3, vx0_max=8.0, vy0_max=8.0, color=True),
    ),
    "spring_color": Recipe(
        generators.generate_spring_balls_dataset, "spring_color/color_spring_vx8_vy8_sl{}_r2_k4_e6.npz", 12, 30, 32,
        dict(radius=2, dt=0.3, k=4, equil=6, vx0_max=8.0, vy0_max=8.0, color=True),
    ),
    "spring_color_half": Recipe(
        generators.generate_spring_balls_half_dataset,
        "spring_color_half/color_spring_vx4_vy4_sl{}_r2_k4_e6_halfpane.npz", 12, 30, 32,
        dict(radius=2, dt=0.3, k=4, equil=6, vx0_max=4.0, vy0_max=4.0, color=True),
    ),
    "3bp_color": Recipe(
        generators.generate_3_body_problem_dataset, "3bp_color/color_3bp_vx2_vy2_sl{}_r2_g60_m1_dt05.npz", 20, 40, 36,
        dict(radius=2, dt=0.5, g=60, m=1.0, vx0_max=2.0, vy0_max=2.0, color=True),
    ),
    "mnist_spring_color": Recipe(
        generators.generate_spring_mnist_dataset,
        "mnist_spring_color/color_mnist_spring_vx8_vy8_sl{}_r2_k2_e12.npz", 12, 30, 64,
        dict(dt=0.3, k=2, equil=12, vx0_max=8.0, vy0_max=8.0, color=True, cifar_background=True),
    ),
}

# Section 4.2 of the paper; not in the original's code. Of the test file `test` alone is used.
PENDULUMS = {
    name: Recipe(
        pendulum.generate_pendulum_dataset, f"{name}/color_pendulum_sl{{}}_g10.npz", 14, 20, 64,
        dict(g=10.0, environment=environment), test_sizes=(10, 10, 500),
    )
    for name, environment in (("pendulum", "pendulum"), ("pendulum_gymnasium", "gymnasium"))
}
EVERY_RECIPE = {**RECIPES, **PENDULUMS}


def default_folder() -> Path:
    """`data/datasets` of the checkout, or else of the current folder; where all commands look for data files."""
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "setup.py").is_file() else Path.cwd()) / "data" / "datasets"


def settings_of(task: str) -> list[str]:
    """Names of the settings that `make_dataset` takes for a task: its generator's, from `img_size` on."""
    names = list(inspect.signature(EVERY_RECIPE[task].generator).parameters)
    return names[names.index("img_size") : names.index("output")]


def make_dataset(
    task: str, dest: str, seq_len: int, split_sizes: Sequence[int] | None = None, seed: int | None = None,
    overwrite: bool = False, **physics_overrides: Any,
) -> dict[str, float]:
    """Make a task's dataset: a function of task, settings and seed alone. NumPy's global stream is left as it was.

    `seed`, 0 to 2³² - 1, is of NumPy's legacy stream, None takes the recipe's, as `split_sizes` does;
    `physics_overrides` replace the recipe's arguments of the generator. Returns `accepted`, `attempts` and `seconds`.
    Raises `DataError`, also for a file that exists, unless `overwrite`.
    """
    if task not in EVERY_RECIPE:
        raise DataError(f"unknown task {task!r}; the tasks are {', '.join(EVERY_RECIPE)}")
    split_sizes = EVERY_RECIPE[task].default_sizes(seq_len) if split_sizes is None else split_sizes
    if len(split_sizes) != 3:
        raise DataError(f"split_sizes {list(split_sizes)} must be three numbers: train, valid, test")
    recipe = EVERY_RECIPE[task]
    arguments = {"img_size": recipe.img_size, **recipe.physics, **physics_overrides}
    unknown = sorted(set(arguments) - set(settings_of(task)))
    if unknown:
        raise DataError(f"{task} has no setting {unknown[0]}; it has {', '.join(settings_of(task))}")
    seed = recipe.default_seed(seq_len) if seed is None else seed
    if not 0 <= seed < 2**32 or seed % 1:
        raise DataError(f"seed {seed} is out of range: 0 to 4294967295")
    state = np.random.get_state()
    try:
        np.random.seed(int(seed))
        output = dict(overwrite=overwrite, meta={"task": task, "seed": int(seed)})
        return recipe.generator(dest, *split_sizes, seq_len, **arguments, **output)
    except MemoryError:
        raise DataError(f"{dest}: not enough memory; make fewer, shorter or smaller sequences") from None
    finally:
        np.random.set_state(state)
