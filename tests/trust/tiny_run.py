"""A training that takes seconds: two balls on a 16-pixel film, through the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "runners" / "run_physics.py")]


def film(sequences: int, frames: int, seed: int = 0) -> np.ndarray:
    """uint8 [sequences, frames, 16, 16, 3]: two squares that fly straight, in two colours."""
    rng = np.random.RandomState(seed)
    start, velocity = rng.rand(sequences, 1, 2, 2) * 8 + 4, rng.randn(sequences, 1, 2, 2) * 0.5
    places = np.clip(start + velocity * np.arange(frames)[:, None, None], 2, 13).astype(int)
    out = np.zeros((sequences, frames, 16, 16, 3), np.uint8)
    for index in np.ndindex(sequences, frames, 2):
        x, y = places[index]
        out[index[0], index[1], y - 1 : y + 2, x - 1 : x + 2, 2 - index[2]] = 255
    return out


def write_data(folder: Path, sequences: int = 40) -> list[str]:
    """Write a train and a test file; returns the flags that name them and describe the task."""
    for name, frames, seed in (("train", 8, 0), ("test", 10, 1)):
        arrays = {"train_x": film(sequences, frames, seed), "valid_x": film(4, frames, 7), "test_x": film(4, frames, 8)}
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


def start(flags: list[str], **more: object) -> subprocess.Popen:
    """Start `run_physics.py` with these flags; its output goes to pipes."""
    return subprocess.Popen(
        [*COMMAND, *flags], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def messages(folder: Path) -> list[str]:
    """The loop's messages in log.txt, without their time stamps and without command lines."""
    lines = (folder / "log.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition(" - tf - ")[2] for line in lines]
    return [text for text in found if text.startswith(("train - ", "valid - ", "test - ", "["))]
