"""The five tasks' datasets: generator, settings, lengths, default seeds and the original's file names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from data_gen import generators
from data_gen.errors import DataError
from data_gen.sampling import Progress

DEFAULT_SIZES = (5000, 500, 500)


@dataclass(frozen=True)
class Recipe:
    """How one task's data is made.

    Attributes:
        generator: a function of `data_gen.generators`.
        train_file, test_file: paths below `data/datasets/`, as the original names them.
        train_len, test_len: T, in frames.
        img_size: H, in pixels.
        physics: the generator's further arguments, named as there.
        train_seed, test_seed: default seeds; they differ, so that the two files share no sequence.
    """

    generator: Callable[..., dict[str, float]]
    train_file: str
    test_file: str
    train_len: int
    test_len: int
    img_size: int
    physics: dict[str, Any]
    train_seed: int = 1
    test_seed: int = 2

    def default_seed(self, seq_len: int) -> int:
        """The seed used when none is given: the training file's, or another one for any other length."""
        return self.train_seed if seq_len == self.train_len else self.test_seed


RECIPES: dict[str, Recipe] = {
    "bouncing_balls": Recipe(
        generators.generate_bouncing_balls_dataset,
        "bouncing/color_bounce_vx8_vy8_sl12_r2.npz",
        "bouncing/color_bounce_vx8_vy8_sl30_r2.npz",
        train_len=12,
        test_len=30,
        img_size=32,
        physics={"radius": 2, "dt": 0.3, "vx0_max": 8.0, "vy0_max": 8.0, "color": True},
    ),
    "spring_color": Recipe(
        generators.generate_spring_balls_dataset,
        "spring_color/color_spring_vx8_vy8_sl12_r2_k4_e6.npz",
        "spring_color/color_spring_vx8_vy8_sl30_r2_k4_e6.npz",
        train_len=12,
        test_len=30,
        img_size=32,
        physics={"radius": 2, "dt": 0.3, "k": 4, "equil": 6, "vx0_max": 8.0, "vy0_max": 8.0, "color": True},
    ),
    "spring_color_half": Recipe(
        generators.generate_spring_balls_half_dataset,
        "spring_color_half/color_spring_vx4_vy4_sl12_r2_k4_e6_halfpane.npz",
        "spring_color_half/color_spring_vx4_vy4_sl30_r2_k4_e6_halfpane.npz",
        train_len=12,
        test_len=30,
        img_size=32,
        physics={"radius": 2, "dt": 0.3, "k": 4, "equil": 6, "vx0_max": 4.0, "vy0_max": 4.0, "color": True},
    ),
    "3bp_color": Recipe(
        generators.generate_3_body_problem_dataset,
        "3bp_color/color_3bp_vx2_vy2_sl20_r2_g60_m1_dt05.npz",
        "3bp_color/color_3bp_vx2_vy2_sl40_r2_g60_m1_dt05.npz",
        train_len=20,
        test_len=40,
        img_size=36,
        physics={"radius": 2, "dt": 0.5, "g": 60, "m": 1.0, "vx0_max": 2.0, "vy0_max": 2.0, "color": True},
    ),
    "mnist_spring_color": Recipe(
        generators.generate_spring_mnist_dataset,
        "mnist_spring_color/color_mnist_spring_vx8_vy8_sl12_r2_k2_e12.npz",
        "mnist_spring_color/color_mnist_spring_vx8_vy8_sl30_r2_k2_e12.npz",
        train_len=12,
        test_len=30,
        img_size=64,
        physics={
            "dt": 0.3,
            "k": 2,
            "equil": 12,
            "vx0_max": 8.0,
            "vy0_max": 8.0,
            "color": True,
            "cifar_background": True,
        },
    ),
}


def settings_of(task: str) -> list[str]:
    """Names of the settings that `make_dataset` takes for a task: its generator's, from `img_size` on."""
    names = list(inspect.signature(RECIPES[task].generator).parameters)
    return names[names.index("img_size") : names.index("output")]


def make_dataset(
    task: str,
    dest: str,
    seq_len: int,
    split_sizes: Sequence[int] = DEFAULT_SIZES,
    seed: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **physics_overrides: Any,
) -> dict[str, float]:
    """Make a task's dataset: a function of task, settings and seed alone.

    NumPy's global stream is left as it was.

    Args:
        task: a key of `RECIPES`.
        dest: path of the .npz to write.
        seq_len: T, in frames.
        split_sizes: sequences in the train, valid and test split.
        seed: of NumPy's legacy stream, 0 … 2³² - 1; None takes the recipe's.
        overwrite: replace an existing file.
        progress: called with (done, total).
        **physics_overrides: arguments of the task's generator, by name, that replace the recipe's.

    Returns:
        `accepted`, `attempts` and `seconds`.

    Raises:
        DataError: unknown task or setting, settings that cannot work, or a file that cannot be written.
    """
    if task not in RECIPES:
        raise DataError(f"unknown task {task!r}; the tasks are {', '.join(RECIPES)}")
    if len(split_sizes) != 3:
        raise DataError(f"split_sizes {list(split_sizes)} must be three numbers: train, valid, test")
    recipe = RECIPES[task]
    side = physics_overrides.pop("img_size", recipe.img_size)
    arguments = {
        "img_size": [side, side] if np.ndim(side) == 0 else side,
        **recipe.physics,
        **physics_overrides,
    }
    seed = recipe.default_seed(seq_len) if seed is None else seed
    unknown = sorted(set(arguments) - set(settings_of(task)))
    if unknown:
        raise DataError(f"{task} has no setting {unknown[0]}; it has {', '.join(settings_of(task))}")
    if int(seed) != seed or not 0 <= seed < 2**32:
        raise DataError(f"seed {seed} is out of range: 0 to 4294967295")
    state = np.random.get_state()
    try:
        np.random.seed(int(seed))
        return recipe.generator(
            dest,
            *split_sizes,
            seq_len,
            **arguments,
            overwrite=overwrite,
            progress=progress,
            meta={"task": task, "seed": int(seed)},
        )
    finally:
        np.random.set_state(state)
