"""From a system's description to a file: draw, simulate, render, write. The common part of all generators."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple

import numpy as np

from data_gen import physics
from data_gen.errors import DataError
from data_gen.files import SPLITS, check_destination, save_dataset, save_samples
from data_gen.initial_states import Start

LARGEST_SIDE = 512
WHOLE_NUMBERS = ("seq_len", "ode_steps", "half_frames")  # at least 1
POSITIVE = ("box_size", "radius", "dt", "equil")
FIRST_BLOCK, LARGEST_BLOCK = 256, 16384  # attempts drawn at a time
MAX_REJECTED_IN_A_ROW = 1_000_000


class Sample(NamedTuple):
    """Accepted sequences: states float64 [S, T, N, 2], numbers of pictures [S], attempts that it took."""

    pos: np.ndarray
    vel: np.ndarray
    picture: np.ndarray
    attempts: int


Render = Callable[[Sample], np.ndarray]


def frame_side(img_size: Sequence[int] | None) -> int:
    """H of a square frame `img_size` [H, H]; None means the original's 32. `DataError` outside of 8 to 512."""
    sides = {32} if img_size is None else set(np.ravel(img_size))
    if len(sides) != 1 or not 8 <= min(sides) <= LARGEST_SIDE:
        raise DataError(f"img_size {img_size!r} must be [H, H] with H from 8 to {LARGEST_SIDE} pixels")
    return int(min(sides))


def check_settings(sizes: Sequence[int], settings: Mapping[str, Any]) -> None:
    """Raise `DataError` for settings that cannot work, or frames that the memory cannot hold."""
    numbers = {f"{split}_set_size": size for split, size in zip(SPLITS, sizes)}
    numbers.update((name, settings[name]) for name in WHOLE_NUMBERS if name in settings)
    for name, value in numbers.items():
        if value < 1 or value % 1:
            raise DataError(f"{name} is {value}; it must be a whole number, at least 1")
    for name, value in settings.items():
        if name in POSITIVE and not value > 0 or isinstance(value, float) and not np.isfinite(value):
            raise DataError(f"{name} is {value}; it must be a finite number{' above 0' * (name in POSITIVE)}")
    pixels = settings.get("img_size", 0) ** 2 * (3 if settings.get("color") else 1)
    try:
        np.empty((sum(sizes), settings["seq_len"], pixels + 32), np.uint8)  # the frames and the states
    except (ValueError, OverflowError):  # more than NumPy can count
        raise MemoryError from None


def generate(
    dest: str, sizes: Sequence[int], settings: Mapping[str, Any], draw: Callable[[int], Start],
    system: Mapping[str, Any], render: Render,
    *, overwrite: bool = True, meta: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Make one dataset and write it with its metadata and a picture of its first sequences.

    Args:
        dest, sizes: the .npz; its sequences in the train, valid and test split, cut from one stream.
        settings: what the metadata say of the physics; `seq_len`, `dt`, `ode_steps` are also used here.
        draw: number of attempts -> their initial states, from NumPy's global stream.
        system: `acceleration`, and where needed `reflect` and `reject`, for `physics.simulate`.
        render: sample -> frames [sequences, T, …].
        overwrite: False makes an existing .npz an error and keeps an existing picture.
        meta: further metadata, such as `task` and `seed`.

    Returns `accepted`, `attempts` and `seconds`.
    """
    begin = time.perf_counter()
    check_settings(sizes, settings)
    path = check_destination(dest, overwrite)
    total = sum(sizes)
    times = {"seq_len": settings["seq_len"], "dt": settings.get("dt", 1), "ode_steps": settings.get("ode_steps", 1)}
    run = functools.partial(physics.simulate, **times, **system)
    sample = sample_sequences(total, draw, run)
    frames = render(sample)
    arrays: dict[str, Any] = {}
    for name, array in ("x", frames), ("pos", sample.pos.astype(np.float32)), ("vel", sample.vel.astype(np.float32)):
        arrays.update(zip((f"{split}_{name}" for split in SPLITS), np.split(array, np.cumsum(sizes)[:-1])))
    counts = {"accepted": total, "attempts": sample.attempts}
    meta = {"task": "", "seed": None, **(meta or {}), "physics": dict(settings), "version": 1, **counts}
    save_dataset(path, {**arrays, "meta": meta})
    if frames.ndim == 5:
        save_samples(path, frames, overwrite)
    return {**counts, "seconds": time.perf_counter() - begin}


def sample_sequences(
    n: int, draw: Callable[[int], Start], run: Callable[[np.ndarray, np.ndarray], physics.Trajectories]
) -> Sample:
    """Collect `n` accepted sequences; the random stream ends where drawing attempts one by one would leave it.

    Attempts are drawn and simulated in blocks. The last block usually holds more than needed: the stream is then
    set back, and only the attempts up to the last accepted one are drawn again. Raises `DataError` if a million
    attempts in a row are rejected.
    """
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    accepted = attempts = rejected_in_a_row = 0
    block = FIRST_BLOCK
    while accepted < n:
        state = np.random.get_state()
        start = draw(block)
        result = run(start.pos, start.vel)
        index, pos, vel = (array[: n - accepted] for array in result)
        kept.append((pos, vel, np.zeros(len(index)) if start.picture is None else start.picture[index]))
        accepted += len(index)
        if accepted == n:
            used = int(index[-1]) + 1
            np.random.set_state(state)
            draw(used)
            attempts += used
            break
        attempts += block
        rejected_in_a_row = block - 1 - int(index[-1]) if len(index) else rejected_in_a_row + block
        if rejected_in_a_row >= MAX_REJECTED_IN_A_ROW:
            problem = f"in {rejected_in_a_row} attempts in a row an object reaches a wall or another one"
            raise DataError(f"{problem}; take a larger img_size, or a smaller radius, equil, start speed or seq_len")
        wanted = (n - accepted) * attempts / max(accepted, 1) * 1.05 + 64
        block = int(min(max(wanted, FIRST_BLOCK), LARGEST_BLOCK, 4 * block))
    return Sample(*(np.concatenate(parts) for parts in zip(*kept)), attempts)
