"""Matches two experiments' `outputs.npz` by their input sequences and measures them frame by frame.

An evaluation walks its split in a shuffled order (the original's `DataIterator`) and drops the incomplete
last batch, so that the same sequence stands at another place in the other run, or is missing there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physics_models.errors import ExperimentError
from physics_models.run_arrays import StoredArray, stored_arrays

# Two inputs that are not equal as 8-bit frames still count as one sequence when no pixel is further apart
# than this (of 255): that is noise, while another scene's objects differ by far more.
NEAR_LEVELS = 8


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What an evaluation left: `inputs` [n, T, H, W, C] and `outputs` [n, K, H, W, C] of the last K."""

    inputs: StoredArray
    outputs: StoredArray


class Pair(NamedTuple):
    """Sequence `first` of one run is `second` of the other; `exact` as 8-bit frames, or only nearly."""

    first: int
    second: int
    exact: bool


@dataclasses.dataclass(frozen=True)
class FrameErrors:
    """Squared errors per frame, summed over H, W, C as the losses are, averaged over the matched sequences.

    `frames` [k] counts from 0 at the sequence's beginning; `first`, `second` [k] are each run against the
    truth and `between` [k] the two against each other; `largest` [k] is the largest |difference| of a pixel
    between them; `apart` [pairs] is each pair's mean of `between`.
    """

    frames: np.ndarray
    first: np.ndarray
    second: np.ndarray
    between: np.ndarray
    largest: np.ndarray
    apart: np.ndarray


def read_outputs(path: str | Path) -> Outputs:
    """Opens an `outputs.npz`.

    Raises:
      ExperimentError: it is missing or damaged, or `input` and `output` do not fit each other.
    """
    arrays = stored_arrays(path)
    missing = [name for name in ("input", "output") if name not in arrays]
    if missing:
        raise ExperimentError(f"{path}: has no array {missing[0]!r}, only {sorted(arrays)}")
    shown, predicted = arrays["input"], arrays["output"]
    a, b = shown.shape, predicted.shape
    if len(a) != 5 or len(b) != 5 or a[0] != b[0] or a[2:] != b[2:] or b[1] > a[1]:
        raise ExperimentError(f"{path}: input {list(a)} and output {list(b)} do not fit each other")
    return Outputs(shown, predicted)


def match_inputs(first: Outputs, second: Outputs) -> list[Pair]:
    """Pairs the sequences that two runs have in common, in the first run's order.

    Equal inputs have equal 8-bit frames; a sequence that is in a split twice is paired twice. What is left
    over is paired with one that is within NEAR_LEVELS everywhere.

    Raises:
      ExperimentError: the sequences have different shapes, and so cannot be the same, or a file is damaged.
    """
    shapes = [list(run.inputs.shape[1:]) for run in (first, second)]
    if shapes[0] != shapes[1]:
        raise ExperimentError(f"the input sequences are {shapes[0]} and {shapes[1]}: different data")
    places: dict[bytes, list[int]] = {}
    for index, digest in enumerate(_digests(second.inputs)):
        places.setdefault(digest, []).append(index)
    pairs, left_first = [], []
    for index, digest in enumerate(_digests(first.inputs)):
        if places.get(digest):
            pairs.append(Pair(index, places[digest].pop(0), True))
        else:
            left_first.append(index)
    left_second = sorted(index for indices in places.values() for index in indices)
    if left_first and left_second:
        pairs += _nearest(first.inputs, left_first, second.inputs, left_second)
    return sorted(pairs)


def frame_errors(first: Outputs, second: Outputs, pairs: list[Pair]) -> FrameErrors:
    """Squared errors of the matched sequences, on the frames that both runs predict.

    Args:
      first: one run.
      second: the other; its matched predictions are held in memory.
      pairs: from `match_inputs`, at least one.

    Raises:
      ExperimentError: a file is damaged or too large.
    """
    steps = min(first.outputs.shape[1], second.outputs.shape[1])
    length = first.inputs.shape[1]
    partner = {pair.first: pair.second for pair in pairs}
    others = second.outputs.load()[:, -steps:]
    between, largest = {}, np.zeros(steps)
    for index, row in enumerate(first.outputs.rows()):
        if index in partner:
            apart = row[-steps:].astype(np.float64) - others[partner[index]]
            between[index] = _frame_sums(apart)
            largest = np.maximum(largest, np.max(np.abs(apart), axis=(1, 2, 3)))
    table = np.stack([between[pair.first] for pair in pairs])
    return FrameErrors(
        frames=np.arange(length - steps, length),
        first=_truth_errors(first, {pair.first for pair in pairs}, steps),
        second=_truth_errors(second, {pair.second for pair in pairs}, steps),
        between=table.mean(axis=0),
        largest=largest,
        apart=table.mean(axis=1),
    )


def pick_rows(array: StoredArray, indices: list[int]) -> dict[int, np.ndarray]:
    """Some rows of an array, by index, in one pass over the file."""
    wanted = set(indices)
    return {index: row for index, row in enumerate(array.rows()) if index in wanted}


def _truth_errors(run: Outputs, wanted: set[int], steps: int) -> np.ndarray:
    """[steps]: each frame's squared error against the truth, the mean over the wanted sequences."""
    rows = enumerate(zip(run.inputs.rows(), run.outputs.rows()))
    errors = [
        _frame_sums(predicted[-steps:].astype(np.float64) - truth[-steps:])
        for index, (truth, predicted) in rows
        if index in wanted
    ]
    return np.mean(errors, axis=0)


def _frame_sums(apart: np.ndarray) -> np.ndarray:
    return np.sum(np.square(apart), axis=(1, 2, 3))


def _eight_bit(row: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(np.nan_to_num(row), 0, 1) * 255).astype(np.uint8)


def _digests(array: StoredArray) -> list[bytes]:
    return [hashlib.sha256(_eight_bit(row).tobytes()).digest() for row in array.rows()]


def _nearest(first: StoredArray, first_left: list[int], second: StoredArray, second_left: list[int]) -> list[Pair]:
    """Pairs what exact matching has left; each sequence is used once, the first run's order decides."""
    frames = pick_rows(second, second_left)
    candidates = np.stack([_eight_bit(frames.pop(index)) for index in second_left])
    free, wanted = np.ones(len(second_left), bool), set(first_left)
    pairs = []
    for index, row in enumerate(first.rows()):
        if index not in wanted:
            continue
        target = _eight_bit(row).astype(np.int16)
        # The first frame alone rules out nearly all candidates.
        apart = np.abs(candidates[:, 0].astype(np.int16) - target[0]).max(axis=(1, 2, 3))
        for place in np.flatnonzero(free & (apart <= NEAR_LEVELS)):
            if np.abs(candidates[place].astype(np.int16) - target).max() <= NEAR_LEVELS:
                pairs.append(Pair(index, second_left[place], False))
                free[place] = False
                break
    return pairs
