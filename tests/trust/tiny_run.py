"""A training that takes seconds: two squares in a video of 16 pixels, through the real command."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3  # per epoch, of 4 sequences each, in the tests that train within their process


def squares(sequences: int, frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [sequences, frames, 16, 16, 3]: two squares that move in straight lines, in two colours."""
    rng = np.random.RandomState(seed)
    start, velocity = rng.rand(sequences, 1, 2, 2) * 8 + 4, rng.randn(sequences, 1, 2, 2) * 0.5
    places = np.clip(start + velocity * np.arange(frames)[:, None, None], 2, 13).astype(int)
    out = np.zeros((sequences, frames, 16, 16, 3), np.uint8)
    for index in np.ndindex(sequences, frames, 2):
        x, y = places[index]
        out[index[0], index[1], y - 1 : y + 2, x - 1 : x + 2, 2 - index[2]] = 255
    return out


film = squares  # the name that it had


def write_data(folder: Path, sequences: int = 40) -> list[str]:
    """Write a train and a test file; returns the flags that name them and describe the task."""
    for name, frames, seed in (("train", 8, 0), ("test", 10, 1)):
        valid, test = squares(4, frames, 7), squares(4, frames, 8)
        arrays = {"train_x": squares(sequences, frames, seed), "valid_x": valid, "test_x": test}
        np.savez_compressed(folder / f"{name}.npz", **arrays)
    return [
        "--task=custom",
        "--cell_type=spring_ode_cell",
        f"--data_file={folder / 'train.npz'}",
        f"--test_data_file={folder / 'test.npz'}",
        "--input_steps=3",
        "--pred_steps=4",
        "--batch_size=4",
        "--color",
        "--autoencoder_loss=3",
        "--base_lr=6e-4",
        "--print_interval=2",
        "--seed=1",
    ]


def environment() -> dict[str, str]:
    """The environment of a command under test: this checkout, no GPU."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
