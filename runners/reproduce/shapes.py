"""Videos of grey shapes of equal brightness, made to test what finds objects without their colors (NumPy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_gen.files import SPLITS
from data_gen.recipes import RECIPES, make_dataset
from physics_models.experiment import save_npz

SPRING = {"k": 3, "equil": 5, "radius": 4, "vx0_max": 6.0, "vy0_max": 6.0}  # as `data_gen` takes it
PAIRS = (("disc", "plus"), ("bar", "ring"), ("square", "wedge"), ("diamond", "pole"), ("ring", "plus"))


class Made(NamedTuple):
    """Videos of grey shapes that move as in a task of the original."""

    task: str
    physics: dict[str, Any]  # changes of the task's
    shapes: tuple[tuple[str, ...], ...]  # row s % len is of seed s
    noise: float = 5.0  # standard deviation, grey levels


MADE = {
    "grey_shapes": Made("spring_color", SPRING, PAIRS),
    "same_shapes": Made("spring_color", SPRING, (("disc", "disc"),)),
    "same_bodies": Made("3bp_color", {"radius": 3}, (("disc", "disc", "disc"),)),
}
SUBPIXELS = 4  # each way, for the share of a pixel that a shape covers
BRIGHTNESS = 0.7

Shape = Callable[[np.ndarray, np.ndarray, float], np.ndarray]

SHAPES: dict[str, Shape] = {
    "disc": lambda x, y, r: np.hypot(x, y) < r,
    "square": lambda x, y, r: np.maximum(abs(x), abs(y)) < 0.89 * r,
    "ring": lambda x, y, r: (np.hypot(x, y) < 1.1 * r) & (np.hypot(x, y) > 0.55 * r),
    "plus": lambda x, y, r: (np.minimum(abs(x), abs(y)) < 0.4 * r) & (np.maximum(abs(x), abs(y)) < 1.2 * r),
    "diamond": lambda x, y, r: abs(x) + abs(y) < 1.25 * r,
    "bar": lambda x, y, r: (abs(x) < 1.6 * r) & (abs(y) < 0.5 * r),
    "pole": lambda x, y, r: (abs(x) < 0.5 * r) & (abs(y) < 1.6 * r),
    "wedge": lambda x, y, r: (y < r) & (abs(x) < 0.6 * (y + 1.1 * r)),
}


def draw_shapes(
    positions: np.ndarray, shapes: Sequence[str], side: int, radius: float = 3.0, noise: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Frames uint8 [S, T, side, side, 1] of grey shapes at `positions` [S, T, N, 2] (pixels), later ones in front.

    `noise`: standard deviation of Gaussian noise, in grey levels.
    """
    flat = positions.reshape(-1, *positions.shape[2:])
    frames = np.zeros((len(flat), side, side), np.float32)
    reach = int(np.ceil(1.7 * radius)) + 1
    window = np.arange(-reach, reach + 1)
    fine = ((np.arange(SUBPIXELS) + 0.5) / SUBPIXELS)[None, :]
    every = np.arange(len(flat))[:, None, None]
    padded = np.pad(frames, ((0, 0), (reach, reach), (reach, reach)))
    for j, name in enumerate(shapes):
        corner = np.floor(flat[:, j]).astype(int)
        x, y = ((window[:, None] + fine).reshape(-1) - (flat[:, j] - corner)[:, axis, None] for axis in (0, 1))
        inside = SHAPES[name](x[:, None, :], y[:, :, None], radius)
        cover = inside.reshape(len(flat), len(window), SUBPIXELS, len(window), SUBPIXELS).mean((2, 4))
        rows, columns = (np.clip(corner[:, i, None] + window + reach, 0, padded.shape[1] - 1) for i in (1, 0))
        place = every, rows[:, :, None], columns[:, None]
        padded[place] = padded[place] * (1 - cover) + BRIGHTNESS * cover
    frames = 255.0 * padded[:, reach : reach + side, reach : reach + side, None]
    if noise:
        frames += noise * np.random.RandomState(seed).standard_normal(frames.shape)
    return np.clip(frames, 0, 255).round().astype(np.uint8).reshape(*positions.shape[:2], side, side, 1)


def drift(count: int, steps: int, n_objs: int, side: int, margin: float, speed: float, seed: int = 0) -> np.ndarray:
    """Positions [count, steps, n_objs, 2] of objects that move straight and are mirrored `margin` from the walls."""
    random, span = np.random.RandomState(seed), side - 2 * margin
    start, angle = random.uniform(0, span, (count, 1, n_objs, 2)), random.uniform(0, 2 * np.pi, (count, 1, n_objs, 1))
    way = start + speed * np.arange(steps)[:, None, None] * np.concatenate([np.cos(angle), np.sin(angle)], axis=-1)
    return margin + span - np.abs(way % (2 * span) - span)


def make_shapes(file: Path, made: Made, number: int, seq_len: int, sizes: tuple[int, int, int], seed: int) -> None:
    """Write `file`, an .npz as `data_gen` writes it: the shapes of row `number` of `made`, under its task's physics."""
    drawn = file.with_name(f"{file.stem}_trajectories.npz")
    make_dataset(made.task, str(drawn), seq_len, sizes, seed=seed, overwrite=True, **made.physics)
    with np.load(drawn) as archive:
        positions = {split: archive[f"{split}_pos"] for split in SPLITS}
    for path in drawn.parent.glob(f"{drawn.stem}*"):
        path.unlink()
    shapes, side = made.shapes[number], RECIPES[made.task].img_size
    frames = {s: draw_shapes(positions[s], shapes, side, noise=made.noise, seed=i) for i, s in enumerate(SPLITS)}
    write_video(file, frames, positions)


def write_video(file: Path, frames: dict[str, np.ndarray], positions: dict[str, np.ndarray]) -> None:
    """Write `file` with the frames and the true positions of each split."""
    arrays = {f"{split}_x": array for split, array in frames.items()}
    arrays |= {f"{split}_pos": array.astype(np.float32) for split, array in positions.items()}
    save_npz(file, arrays)
