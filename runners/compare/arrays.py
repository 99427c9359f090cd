"""The arrays and pictures of two experiments: checkpoints, outputs frame by frame, learned objects.

An evaluation walks through its split in a shuffled order (the original's `DataIterator`) and drops the incomplete last
batch: a sequence has another place in the other run's `outputs.npz`, or none. So sequences are matched by their frames.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.viz import sigmoid
from runners.compare.figures import Panel, draw_frames, draw_panels
from runners.compare.report import MISSING, Block, Paragraph, Picture, Table, number, read_both

PICTURES = (*(f"example{i}.jpg" for i in range(5)), "animation4.gif", "templates.jpg")
LEARNED = {  # of extra_outputs.npz, what no test sequence changes: how it is shown
    "contents": sigmoid,
    "templates": lambda templates: sigmoid(templates - 1.0),
    "background_content": np.asarray,
}
MOST_APART = 4  # sequences listed and drawn

Arrays = Mapping[str, np.ndarray]
Outputs = tuple[np.ndarray, np.ndarray]  # input [n, T, H, W, C], output [n, K, H, W, C] of the last K frames
Content = tuple[str, list[Block]]  # a section's summary and blocks


class FrameErrors(NamedTuple):
    """Errors of the K frames that both runs predict, from the matched sequences."""

    frames: np.ndarray  # [K], counted from 0 at a sequence's beginning
    means: np.ndarray  # [3, K], squared errors summed over H, W, C: A against the truth, B against it, A against B
    largest: np.ndarray  # [K], the largest |A - B| of a pixel
    apart: np.ndarray  # [pairs], each pair's squared difference of A and B per frame


def load_outputs(path: Path) -> Outputs:
    """The arrays of `outputs.npz`; ExperimentError if they do not fit each other."""
    truth, predicted = _load_arrays(path, input="nthwc", output="nkhwc")
    if predicted.shape[1] > truth.shape[1]:
        raise ExperimentError(f"{path}: output has more frames than input")
    return truth, predicted


def load_learned(path: Path) -> Arrays:
    """`contents` [N, S, S, C], `templates` [N, S, S, 1], `background_content` [1, H, H, C] of `extra_outputs.npz`."""
    return dict(zip(LEARNED, _load_arrays(path, contents="nssc", templates="nss1", background_content="1hhc")))


def match_sequences(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """(place in `first`, place in `second`) of the sequences [n, T, H, W, C] in [0, 1] that are equal as 8-bit frames.

    In the order of `first`; a sequence that is there twice is matched twice.
    """
    keys, others = (
        [np.rint(255 * np.clip(np.nan_to_num(frames), 0, 1)).astype(np.uint8).tobytes() for frames in sequences]
        for sequences in (first, second)
    )
    places: dict[bytes, list[int]] = {}
    for j, key in enumerate(others):
        places.setdefault(key, []).append(j)
    return [(i, places[key].pop(0)) for i, key in enumerate(keys) if places.get(key)]


def frame_errors(first: Outputs, second: Outputs, pairs: list[tuple[int, int]]) -> FrameErrors:
    """Errors of the matched sequences `pairs`, on the frames that both runs predict."""
    steps, length = min(first[1].shape[1], second[1].shape[1]), first[0].shape[1]
    rows, largest = [], np.zeros(steps)
    for i, j in pairs:
        shown = (first[0][i], first[1][i], second[0][j], second[1][j])
        truth_a, a, truth_b, b = (sequence[-steps:].astype(np.float64) for sequence in shown)
        rows.append([np.sum(np.square(apart), axis=(1, 2, 3)) for apart in (a - truth_a, b - truth_b, a - b)])
        largest = np.maximum(largest, np.max(np.abs(a - b), axis=(1, 2, 3)))
    sums = np.array(rows)  # [pairs, 3, K]
    return FrameErrors(np.arange(length - steps, length), sums.mean(axis=0), largest, sums[:, 2].mean(axis=1))


def compare_checkpoints(first: checkpoints.Checkpoint, second: checkpoints.Checkpoint) -> Content:
    """The checkpoints variable by variable, by the original's names."""
    blocks: list[Block] = []
    for letter, found in (("A", first), ("B", second)):
        kind = "the original's format" if found.tf1 else "this port's format"
        at = "".join(f", {name} {value}" for name, value in sorted(found.progress.items()))
        blocks.append(Paragraph(f"{letter}: {Path(found.path).name}, {kind}{at}, {len(found.arrays)} arrays."))
    every = first.arrays.keys() | second.arrays.keys()
    slots = {name for name in every if name.rpartition("/")[0] in every}
    variables, tables = _compare_arrays("variables", first.arrays, second.arrays, every - slots)
    slot_summary, slot_tables = _compare_arrays("optimizer slots", first.arrays, second.arrays, slots)
    return f"{variables}; {slot_summary}", [*blocks, *tables, *slot_tables]


def compare_outputs(first: Outputs, second: Outputs) -> Content:
    """The predictions of both runs, matched by input, against the truth and each other."""
    pairs = match_sequences(first[0], second[0]) if first[0].shape[1:] == second[0].shape[1:] else []
    blocks: list[Block] = []
    for letter, (truth, predicted) in (("A", first), ("B", second)):
        n, length, *shape = truth.shape
        text = f"{letter}: {n} sequences of {length} frames {shape}, the last {predicted.shape[1]} predicted"
        blocks.append(Paragraph(f"{text}; {n - len(pairs)} not in the other run, compared as 8-bit frames."))
    if not pairs:
        return "no sequence in common", blocks
    errors = frame_errors(first, second, pairs)
    columns = [*errors.means, errors.largest]
    a, b, between, largest = (list(zip(errors.frames, column)) for column in columns)
    panels = [
        Panel("squared error to the truth", "frame", {"A": a, "B": b}),
        Panel("squared difference of A and B", "frame", {"A - B": between}),
        Panel("largest |A - B| of a pixel", "frame", {"A - B": largest}),
    ]
    caption = "Error of each predicted frame, averaged over the sequences in common: A solid, B dashed"
    blocks.append(Picture(caption, "image/svg+xml", functools.partial(draw_panels, panels)))
    rows = [[str(frame), *map(number, values)] for frame, *values in zip(errors.frames, *columns)]
    rows.append(["mean", *map(number, errors.means.mean(axis=1)), MISSING])
    caption = "Squared error per frame, summed over its pixels and colours; frames count from 0"
    header = ["frame", "error to truth A", "error to truth B", "A - B", "largest |A - B| of a pixel"]
    blocks += [Table(caption, header, rows), *_most_apart(first, second, pairs, errors)]
    summary = (
        f"{len(pairs)} sequences in common; squared error to the truth A {number(errors.means[0].mean())}, "
        f"B {number(errors.means[1].mean())}; largest |A - B| of a pixel {number(errors.largest.max())}"
    )
    return summary, blocks


def compare_objects(first: Arrays, second: Arrays) -> Content:
    """The learned contents, templates and background of `extra_outputs.npz`."""
    summary, blocks = _compare_arrays("learned arrays", first, second, LEARNED)
    blocks.append(Paragraph("The order of the objects is arbitrary: object 1 of A may be object 2 of B."))
    for name, shown in LEARNED.items():
        for letter, arrays in (("A", first), ("B", second)):
            draw = functools.partial(draw_frames, shown(arrays[name]), len(arrays[name]))
            blocks.append(Picture(name, "image/png", draw, letter))
    return summary, blocks


def list_pictures(folders: tuple[Path, Path]) -> Content:
    """The pictures of both folders, side by side; they show five test sequences, which each run has drawn itself."""
    blocks: list[Block] = []
    for name in PICTURES:
        *both, notes = read_both(folders, name, _load_picture)
        blocks += [*notes, *(Picture(name, *found, letter) for letter, found in zip("AB", both) if found)]
    lacking = sum(isinstance(block, Paragraph) for block in blocks)
    return f"{lacking} of {2 * len(PICTURES)} are missing or damaged" if lacking else "complete", blocks


def _load_picture(path: Path) -> tuple[str, Callable[[], bytes]]:
    with Image.open(path) as image:
        return Image.MIME[str(image.format)], path.read_bytes


def _load_arrays(path: Path, **axes: str) -> list[np.ndarray]:
    """Arrays of an `.npz` by name, never unpickled; each letter of `axes` is one size in all of them, "1" is 1."""
    sizes = {"1": 1}
    with np.load(path, allow_pickle=False) as file:
        arrays = [file[name] for name in axes]
    for (name, letters), array in zip(axes.items(), arrays):
        fits = array.ndim == len(letters) and all(sizes.setdefault(x, n) == n for x, n in zip(letters, array.shape))
        if not fits or array.dtype.kind not in "biuf" or not array.size:
            raise ExperimentError(f"{path}: {name} {array.dtype} {list(array.shape)} does not fit [{letters}]")
    return arrays


def _most_apart(first: Outputs, second: Outputs, pairs: list[tuple[int, int]], errors: FrameErrors) -> list[Block]:
    """The sequences whose predictions differ most, listed and drawn."""
    steps, rows, pictures = len(errors.frames), [], []
    for place in np.argsort(-np.nan_to_num(errors.apart, nan=np.inf), kind="stable")[:MOST_APART]:
        i, j = pairs[place]
        rows.append([str(i), str(j), number(errors.apart[place])])
        truth, a, b = (sequence[-steps:].astype(np.float64) for sequence in (first[0][i], first[1][i], second[1][j]))
        apart = np.abs(a - b) / max(float(np.max(np.abs(a - b))), 1e-12)
        caption = f"From top to bottom: truth, A's sequence {i}, B's sequence {j}, |A - B| scaled to its maximum"
        draw = functools.partial(draw_frames, np.concatenate([truth, a, b, apart]), steps)
        pictures.append(Picture(caption, "image/png", draw))
    caption = "Sequences most apart, by their numbers in each outputs.npz"
    return [Table(caption, ["sequence A", "sequence B", "squared difference per frame"], rows), *pictures]


def _compare_arrays(what: str, first: Arrays, second: Arrays, names: Collection[str]) -> Content:
    """A line on how the arrays `names` differ, and a table of those that do; NaN in the same place is equal."""
    rows, largest = [], {}
    for name in sorted(names, key=lambda name: re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)):  # 2 before 10
        arrays = [run.get(name) for run in (first, second)]
        shapes = [MISSING if array is None else str(list(np.shape(array))) for array in arrays]
        if MISSING in shapes or shapes[0] != shapes[1]:
            rows.append([name, *shapes, MISSING, MISSING])
            continue
        a, b = (np.asarray(array, np.float64) for array in arrays)
        if not np.array_equal(a, b, equal_nan=True):
            with np.errstate(all="ignore"):
                largest[name] = float(np.max(np.abs(a - b)))
                relative = float(np.linalg.norm(a - b) / np.linalg.norm(a))
            rows.append([name, *shapes, number(largest[name]), number(relative)])
    text = f"{len(names) - len(rows)} of {len(names)} {what} equal bit for bit"
    if largest:
        worst = max(largest, key=lambda name: np.nan_to_num(largest[name], nan=np.inf))
        text += f", largest difference {number(largest[worst])} ({worst})"
    if len(rows) > len(largest):
        text += f", {len(rows) - len(largest)} missing in one or of another shape"
    header = ["name", "shape A", "shape B", "largest |A - B|", "‖A - B‖ / ‖A‖"]
    return text, [Paragraph(f"{text}."), *([Table(f"{what.capitalize()} that differ", header, rows)] if rows else [])]
