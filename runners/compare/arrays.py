"""The arrays and pictures of two experiments: checkpoints, outputs frame by frame, learned objects.

An evaluation walks through its split in a shuffled order (the original's `DataIterator`) and drops the incomplete last
batch: a sequence has another place in the other run's `outputs.npz`, or none. So sequences are matched by their frames.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from runners.compare.figures import Panel, draw_frames, draw_panels, draw_sequence, draw_sprites
from runners.compare.report import MISSING, Block, Paragraph, Picture, Section, Table, number, read_both

Folders = tuple[Path, Path]

PICTURES = (*(f"example{i}.jpg" for i in range(5)), "animation4.gif", "templates.jpg")
LEARNED = ("contents", "templates", "background_content")  # of extra_outputs.npz: no test sequence changes them
MOST_APART = 4  # sequences listed and drawn
ENLARGEMENT, SMALL = 8, 200  # of pictures narrower than 200 pixels


class FrameErrors(NamedTuple):
    """Errors of the K frames that both runs predict, from the matched sequences."""

    frames: np.ndarray  # [K], counted from 0 at a sequence's beginning
    means: np.ndarray  # [3, K], squared errors summed over H, W, C: A against the truth, B against it, A against B
    largest: np.ndarray  # [K], the largest |A - B| of a pixel
    apart: np.ndarray  # [pairs], each pair's squared difference of A and B per frame


def load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Those of the arrays `names` that an `.npz` holds; nothing is unpickled. Raises ExperimentError for damage."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file.files}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for damage
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ExperimentError(f"{path}: not a readable .npz ({reason})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or not array.size:
            raise ExperimentError(f"{path}: {name} holds no numbers: {array.dtype} {list(array.shape)}")
    return arrays


def load_outputs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`input` [n, T, H, W, C] and `output` [n, K, H, W, C] of the last K frames; ExperimentError if they do not fit."""
    arrays = load_arrays(path, ("input", "output"))
    if len(arrays) < 2:
        raise ExperimentError(f"{path}: has no arrays input and output, only {sorted(arrays)}")
    a, b = arrays["input"].shape, arrays["output"].shape
    if len(a) != 5 or len(b) != 5 or a[0] != b[0] or a[2:] != b[2:] or b[1] > a[1]:
        raise ExperimentError(f"{path}: input {list(a)} and output {list(b)} do not fit each other")
    return arrays["input"], arrays["output"]


def load_learned(path: Path) -> dict[str, np.ndarray]:
    """`contents` [N, S, S, C], `templates` [N, S, S, 1], `background_content` [1, H, H, C] of `extra_outputs.npz`."""
    arrays = load_arrays(path, LEARNED)
    a, b, c = (arrays[name].shape if name in arrays else () for name in LEARNED)
    if not (len(a) == len(c) == 4 and b == (*a[:3], 1) and a[3] == c[3] in (1, 3)):
        raise ExperimentError(f"{path}: {', '.join(LEARNED)} are missing or do not fit each other")
    return arrays


def match_sequences(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """(place in `first`, place in `second`) of the sequences [n, T, H, W, C] in [0, 1] that are equal as 8-bit frames.

    In the order of `first`; a sequence that is there twice is matched twice.
    """
    keys = [[_eight_bit(sequence).tobytes() for sequence in sequences] for sequences in (first, second)]
    places: dict[bytes, list[int]] = {}
    for j, key in enumerate(keys[1]):
        places.setdefault(key, []).append(j)
    return [(i, places[key].pop(0)) for i, key in enumerate(keys[0]) if places.get(key)]


def frame_errors(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], pairs: list[tuple[int, int]]
) -> FrameErrors:
    """Errors of the matched sequences `pairs` of two `load_outputs`, on the frames that both runs predict."""
    steps, length = min(first[1].shape[1], second[1].shape[1]), first[0].shape[1]
    rows, largest = [], np.zeros(steps)
    for i, j in pairs:
        shown = (first[0][i], first[1][i], second[0][j], second[1][j])
        truth_a, a, truth_b, b = (sequence[-steps:].astype(np.float64) for sequence in shown)
        rows.append([np.sum(np.square(apart), axis=(1, 2, 3)) for apart in (a - truth_a, b - truth_b, a - b)])
        largest = np.maximum(largest, np.max(np.abs(a - b), axis=(1, 2, 3)))
    sums = np.array(rows)  # [pairs, 3, K]
    return FrameErrors(np.arange(length - steps, length), sums.mean(axis=0), largest, sums[:, 2].mean(axis=1))


def checkpoint_section(folders: Folders) -> Section:
    """The checkpoints variable by variable, by the original's names."""
    first, second, blocks = read_both(folders, "checkpoint", lambda path: checkpoints.load(path.parent))
    for letter, found in (("A", first), ("B", second)):
        if found is not None:
            kind = "the original's format" if found.tf1 else "this port's format"
            at = "".join(f", {name} {value}" for name, value in sorted(found.progress.items()))
            size = f"{len(found.arrays)} arrays, {sum(map(np.size, found.arrays.values())):,} numbers"
            blocks.append(Paragraph(f"{letter}: {Path(found.path).name}, {kind}{at}, {size}."))
    if first is None or second is None:
        lacking = " and ".join(letter for letter, found in (("A", first), ("B", second)) if found is None)
        return Section("Checkpoints", f"none to read in {lacking}", blocks)
    every = first.arrays.keys() | second.arrays.keys()
    slots = {name for name in every if name.rpartition("/")[0] in every}
    summaries = []
    for what, names in (("variables", every - slots), ("optimizer slots", slots)):
        text, found = _compare_arrays(what, first.arrays, second.arrays, names)
        summaries.append(text)
        blocks += found
    return Section("Checkpoints", "; ".join(summaries), blocks)


def outputs_section(folders: Folders) -> Section:
    """The predictions of both runs, matched by input, against the truth and each other."""
    first, second, blocks = read_both(folders, "outputs.npz", load_outputs)
    for letter, run in (("A", first), ("B", second)):
        if run is not None:
            (n, length, *shape), steps = run[0].shape, run[1].shape[1]
            blocks.append(Paragraph(f"{letter}: {n} sequences of {length} frames {shape}, the last {steps} predicted."))
    if first is None or second is None:
        return Section("Outputs", "nothing to match", blocks)
    pairs = match_sequences(first[0], second[0]) if first[0].shape[1:] == second[0].shape[1:] else []
    alone = [len(run[0]) - len(pairs) for run in (first, second)]
    text = f"{len(pairs)} sequences in common, equal as 8-bit frames; A alone has {alone[0]}, B alone has {alone[1]}."
    blocks.append(Paragraph(text, note=not pairs))
    if not pairs:
        return Section("Outputs", "no sequence in common", blocks)
    errors = frame_errors(first, second, pairs)
    blocks += _error_blocks(errors)
    steps = len(errors.frames)
    order = np.argsort(-np.nan_to_num(errors.apart, nan=np.inf), kind="stable")[:MOST_APART]
    rows = [[str(pairs[i][0]), str(pairs[i][1]), number(errors.apart[i])] for i in order]
    caption = "Sequences most apart, by their numbers in each outputs.npz"
    blocks.append(Table(["sequence A", "sequence B", "squared difference per frame"], rows, caption))
    for i, j in (pairs[place] for place in order):
        draw = functools.partial(draw_sequence, *(x[-steps:] for x in (first[0][i], first[1][i], second[1][j])))
        caption = f"From top to bottom: truth, A's sequence {i}, B's sequence {j}, |A - B| scaled to its maximum"
        blocks.append(Picture(caption, "image/png", draw, width=_width(first[0][i], steps)))
    summary = (
        f"{len(pairs)} sequences in common; squared error to the truth A {number(errors.means[0].mean())}, "
        f"B {number(errors.means[1].mean())}; largest |A - B| of a pixel {number(errors.largest.max())}"
    )
    return Section("Outputs", summary, blocks)


def objects_section(folders: Folders) -> Section:
    """The learned contents, templates and background of `extra_outputs.npz`."""
    first, second, blocks = read_both(folders, "extra_outputs.npz", load_learned)
    summary = "nothing to compare"
    if first and second:
        summary, found = _compare_arrays("learned arrays", first, second, LEARNED)
        blocks += found
    runs = [(letter, arrays) for letter, arrays in (("A", first), ("B", second)) if arrays]
    if runs:
        blocks.append(Paragraph("The order of the objects is arbitrary: object 1 of A may be object 2 of B."))
    for letter, arrays in runs:
        contents = arrays["contents"]
        draw = functools.partial(draw_sprites, contents, arrays["templates"])
        caption = "each object's contents, sigmoid(contents), above its mask, sigmoid(template - 1)"
        blocks.append(Picture(caption, "image/png", draw, letter, _width(contents, len(contents))))
    for letter, arrays in runs:
        draw = functools.partial(draw_frames, arrays["background_content"], 1)
        width = _width(arrays["background_content"], 1)
        blocks.append(Picture("background", "image/png", draw, letter, width))
    return Section("Objects", summary, blocks)


def pictures_section(folders: Folders) -> Section:
    """The pictures of both folders, side by side."""
    rows: list[list[str]] = []
    pictures: list[Picture] = []
    for name in PICTURES:
        rows.append([name])
        for letter, folder in zip("AB", folders):
            try:
                data = (folder / name).read_bytes()
                with Image.open(io.BytesIO(data)) as image:
                    frames = getattr(image, "n_frames", 1)
                    rows[-1].append(f"{image.width}×{image.height}" + (f", {frames} frames" if frames > 1 else ""))
                    mime, width = Image.MIME[str(image.format)], ENLARGEMENT * image.width * (image.width < SMALL)
                pictures.append(Picture(name, mime, functools.partial(bytes, data), letter, width))
            except FileNotFoundError:
                rows[-1].append(MISSING)
            except Exception as error:  # Pillow raises many kinds for damage
                rows[-1].append(f"damaged ({type(error).__name__})")
    counts = [sum(picture.run == letter for picture in pictures) for letter in "AB"]
    caption = "The examples and the animation show five test sequences; the runs may have drawn different ones"
    summary = f"A has {counts[0]} of {len(PICTURES)}, B has {counts[1]}"
    return Section("Pictures", summary, [Table(["picture", "A", "B"], rows, caption), *pictures])


def _width(frames: np.ndarray, columns: int) -> int:
    """The width of a picture of `columns` frames [n, H, W, C], enlarged."""
    return ENLARGEMENT * columns * (frames.shape[2] + 2)


def _eight_bit(frames: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(np.nan_to_num(frames), 0, 1) * 255).astype(np.uint8)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts dense, dense_1, …, dense_10 in this order."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,9})", name)]


def _compare_arrays(
    what: str, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], names: Collection[str]
) -> tuple[str, list[Block]]:
    """A line on how the arrays `names` differ, and a table of those that do; NaN in the same place is equal."""
    rows, largest = [], {}
    for name in sorted(names, key=_natural):
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
    return text, [Paragraph(f"{text}."), *([Table(header, rows, f"{what.capitalize()} that differ")] if rows else [])]


def _error_blocks(errors: FrameErrors) -> list[Block]:
    columns = [*errors.means, errors.largest]
    rows = [[str(frame), *map(number, values)] for frame, *values in zip(errors.frames, *columns)]
    rows.append(["mean", *map(number, errors.means.mean(axis=1)), MISSING])
    a, b, between, largest = (list(zip(errors.frames, column)) for column in columns)
    panels = [
        Panel("squared error to the truth", "frame", {"A": a, "B": b}, from_zero=True),
        Panel("squared difference of A and B", "frame", {"A - B": between}, logarithmic=True, from_zero=True),
        Panel("largest |A - B| of a pixel", "frame", {"A - B": largest}, logarithmic=True, from_zero=True),
    ]
    caption = "Error of each predicted frame, averaged over the sequences in common: A solid, B dashed"
    header = ["frame", "error to truth A", "error to truth B", "A - B", "largest |A - B| of a pixel"]
    title = "Squared error per frame, summed over its pixels and colours; frames count from 0"
    return [Picture(caption, "image/svg+xml", functools.partial(draw_panels, panels)), Table(header, rows, title)]
