"""From a system's description to a file: draw, simulate, render, write. The common part of all generators."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np

from data_gen import physics
from data_gen.errors import DataError
from data_gen.files import META_VERSION, check_destination, save_dataset, save_samples
from data_gen.sampling import Progress, Sample, Start, sample_sequences

SPLITS = ("train", "valid", "test")
LARGEST_SIDE = 512
BALL_SETTINGS = ("radius", "dt")
LARGEST_DATASET = 64 * 2**30  # bytes, where the system does not tell its memory

Sizes = Sequence[int]
Render = Callable[[Sample, Callable[[int], None]], np.ndarray]


def frame_side(img_size: Sequence[int] | None) -> int:
    """H of a square frame; None means the original's 32.

    Raises:
        DataError: not two equal whole numbers in 8 … 512.
    """
    if img_size is None:
        return 32
    try:
        height, width = (int(n) for n in img_size)
    except (TypeError, ValueError):
        raise DataError(f"img_size {img_size!r} is not a pair [H, H] of pixels") from None
    if height != width:
        raise DataError(f"img_size {list(img_size)} is not square: the model takes H x H frames")
    if not 8 <= height <= LARGEST_SIDE:
        raise DataError(f"img_size {list(img_size)} is out of range: 8 to {LARGEST_SIDE} pixels a side")
    return height


def check_settings(sizes: Sizes, settings: Mapping[str, Any], positive: Sequence[str]) -> None:
    """Raise DataError for sizes below 1 or beyond the memory, numbers not finite, and `positive` ones that are not."""
    for split, size in zip(SPLITS, sizes):
        if int(size) != size or size < 1:
            raise DataError(f"the {split} set's size is {size}; it must be a whole number, at least 1")
    for name in ("seq_len", "ode_steps"):
        value = settings.get(name, 1)
        if int(value) != value or value < 1:
            raise DataError(f"{name} is {value}; it must be a whole number, at least 1")
    for name, value in settings.items():
        if isinstance(value, float) and not np.isfinite(value):
            raise DataError(f"{name} is {value}; it must be a finite number")
    for name in positive:
        if not settings[name] > 0:
            raise DataError(f"{name} is {settings[name]}; it must be above 0")
    check_memory(sum(int(size) for size in sizes) * int(settings["seq_len"]), settings)


def check_memory(frames: int, settings: Mapping[str, Any]) -> None:
    """Raise DataError if that many frames, with a position and a velocity each, cannot be held in memory."""
    side, channels = settings.get("img_size", 0), 3 if settings.get("color") else 1
    needed, available = frames * (side * side * channels + 32), available_memory()
    if needed > available:
        raise DataError(
            f"{frames} frames take at least {needed >> 20} MiB of memory, and {available >> 20} MiB are available; "
            "make fewer or shorter sequences, or smaller frames"
        )


def available_memory() -> int:
    """Bytes that the system can give to a process without swapping; `LARGEST_DATASET` where it does not tell."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return LARGEST_DATASET


def generate(
    dest: str,
    sizes: Sizes,
    settings: Mapping[str, Any],
    draw: Callable[[int], Start],
    system: Mapping[str, Any],
    render: Render,
    why_rejected: str = "",
    *,
    overwrite: bool = True,
    progress: Progress | None = None,
    meta: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Make one dataset and write it with its meta data and sample picture.

    Args:
        dest: path of the .npz (the ending is added if it lacks).
        sizes: sequences in the train, valid and test split; one stream of sequences is cut into the three.
        settings: what the meta data says of the physics; `seq_len`, `dt`, `ode_steps` are also used here.
        draw: initial states of that many attempts, from NumPy's global stream.
        system: `acceleration`, and where needed `reflect` and `reject`, for `physics.simulate`.
        render: (sample, progress) -> frames [sequences, T, …].
        why_rejected: explains, in an error, why no attempt may have been accepted.
        overwrite: replace existing files; else an existing .npz is an error, and an existing picture is kept.
        progress: called with (done, total); a sequence counts once when accepted and once when drawn.
        meta: further entries, such as `task` and `seed`.

    Returns:
        `accepted`, `attempts`, `seconds`.

    Raises:
        DataError: the file exists or cannot be written, or no attempt is accepted.
    """
    begin = time.perf_counter()
    path = check_destination(dest, overwrite)
    total = sum(sizes)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, 2 * total)

    def run(pos: np.ndarray, vel: np.ndarray) -> physics.Trajectories:
        steps = settings["seq_len"], settings.get("dt", 1), settings.get("ode_steps", 1)
        return physics.simulate(pos, vel, *steps, **system)

    sample = sample_sequences(total, draw, run, why_rejected, report)
    frames = render(sample, lambda done: report(total + done))
    arrays: dict[str, Any] = {}
    parts = {"x": frames, "pos": sample.pos.astype(np.float32), "vel": sample.vel.astype(np.float32)}
    for name, array in parts.items():
        for split, part in zip(SPLITS, np.split(array, np.cumsum(sizes)[:-1])):
            arrays[f"{split}_{name}"] = part
    counts = {"accepted": total, "attempts": sample.attempts}
    arrays["meta"] = {
        "task": "",
        "seed": None,
        **(meta or {}),
        "physics": dict(settings),
        "version": META_VERSION,
        **counts,
    }
    save_dataset(path, arrays, overwrite=True)
    if frames.ndim == 5:
        save_samples(path, frames, overwrite)
    return {**counts, "seconds": time.perf_counter() - begin}


def spring_does_not_fit(width: float, height: float, radius: float, equil: float, seq_len: int) -> str:
    """Why no attempt of a spring in a box of width x height pixels may have been accepted."""
    return (
        f"a spring of rest length {2 * equil} px between balls of radius {radius} px does not stay inside "
        f"{width} x {height} px for {seq_len} frames; take a larger frame, a smaller equil or radius, "
        "smaller start speeds or a shorter sequence"
    )
