"""What two experiments' checkpoints, outputs and pictures say."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np

from physics_models.errors import ExperimentError
from physics_models.run_arrays import ArrayDifference, array_difference, stored_arrays
from physics_models.run_outputs import (
    FrameErrors,
    Outputs,
    Pair,
    frame_errors,
    match_inputs,
    pick_rows,
    read_outputs,
)
from runners.compare_figures import Panel, draw_background, draw_panels, draw_sequence, draw_sprites
from runners.compare_report import MISSING, Block, Paragraph, Picture, Section, Table, number, read_both

Folders = tuple[Path, Path]

PICTURES = (*(f"example{i}.jpg" for i in range(5)), "animation4.gif", "templates.jpg")
MAX_PICTURE_BYTES = 32 * 2**20
SHOWN_SEQUENCES = 3
MOST_APART = 5
ENLARGEMENT = 8  # of pictures narrower than SMALL pixels
SMALL = 200
# Of extra_outputs.npz, what does not depend on which test sequences were drawn.
LEARNED = ("contents", "templates", "background_content")


def checkpoint_section(folders: Folders) -> Section:
    """The checkpoints variable by variable, by the original's names."""
    blocks: list[Block]
    first, second, blocks = read_both(folders, "checkpoint", _read_checkpoint)
    for letter, stored in (("A", first), ("B", second)):
        if stored is not None:
            kind = "the original's format" if stored.tf1 else "this port's format"
            at = "".join(f", {name} {value}" for name, value in sorted(stored.progress.items()))
            name = Path(stored.path).name
            blocks.append(Paragraph(f"{letter}: {name}, {kind}{at}, {_size(stored.arrays)}."))
    if first is None or second is None:
        lacking = " and ".join(letter for letter, stored in (("A", first), ("B", second)) if stored is None)
        return Section("Checkpoints", f"none to read in {lacking}", blocks)
    a, b = _numeric(first.arrays), _numeric(second.arrays)
    names = sorted(a.keys() | b.keys(), key=_natural)
    slots = [name for name in names if name.rpartition("/")[0] in a.keys() | b.keys()]
    variables = [name for name in names if name not in slots]
    said = []
    for what, group in (("variables", variables), ("optimizer slots", slots)):
        differences = [array_difference(name, a.get(name), b.get(name)) for name in group]
        verdict = _verdict(what, differences)
        blocks.append(Paragraph(verdict[0].upper() + verdict[1:] + "."))
        folded = group is slots
        blocks += _difference_table(f"{what.capitalize()} that differ", differences, folded)
        said.append(verdict)
    return Section("Checkpoints", "; ".join(said), blocks)


def outputs_section(folders: Folders) -> Section:
    """The predictions of both runs, matched by input, against the truth and each other."""
    blocks: list[Block]
    first, second, blocks = read_both(folders, "outputs.npz", read_outputs)
    for letter, run in (("A", first), ("B", second)):
        if run is not None:
            n, length = run.inputs.shape[:2]
            frames = f"{n} sequences of {length} frames {list(run.inputs.shape[2:])}"
            blocks.append(Paragraph(f"{letter}: {frames}, the last {run.outputs.shape[1]} predicted."))
    if first is None or second is None:
        return Section("Outputs", "nothing to match", blocks)
    try:
        pairs = match_inputs(first, second)
        errors = frame_errors(first, second, pairs) if pairs else None
    except ExperimentError as error:
        return Section("Outputs", "nothing to match", [*blocks, Paragraph(f"{error}.", note=True)])
    exact = sum(pair.exact for pair in pairs)
    counts = [run.inputs.shape[0] for run in (first, second)]
    blocks.append(
        Paragraph(
            f"{len(pairs)} sequences in common: {exact} equal as 8-bit frames, {len(pairs) - exact} nearly; "
            f"A alone has {counts[0] - len(pairs)}, B alone has {counts[1] - len(pairs)}."
        )
    )
    if errors is None:
        return Section("Outputs", "no sequence in common", blocks)
    blocks += _error_blocks(errors)
    blocks += _most_apart(pairs, errors)
    blocks += _sequence_pictures(first, second, pairs, errors)
    summary = (
        f"{len(pairs)} sequences in common; squared error to the truth A {number(errors.first.mean())}, "
        f"B {number(errors.second.mean())}; largest |A - B| of a pixel {number(errors.largest.max())}"
    )
    return Section("Outputs", summary, blocks)


def objects_section(folders: Folders) -> Section:
    """The learned contents, templates and background of `extra_outputs.npz`."""
    blocks: list[Block]
    first, second, blocks = read_both(folders, "extra_outputs.npz", _read_learned)
    summary = "nothing to compare"
    if first is not None and second is not None:
        names = [name for name in LEARNED if name in first or name in second]
        differences = [array_difference(name, first.get(name), second.get(name)) for name in names]
        summary = _verdict("arrays", differences)
        blocks += _difference_table("Learned arrays that differ", differences)
    if first or second:
        blocks.append(
            Paragraph(
                "The order of the objects is the network's own choice: object 1 of A may be object 2 of B. "
                "The other arrays of extra_outputs.npz depend on which sequences were drawn: not compared."
            )
        )
    for letter, arrays in (("A", first), ("B", second)):
        if arrays and _drawable(arrays):
            draw = functools.partial(draw_sprites, arrays["contents"], arrays["templates"])
            caption = "each object's contents, sigmoid(contents), above its mask, sigmoid(template - 1)"
            width = ENLARGEMENT * len(arrays["contents"]) * (arrays["contents"].shape[2] + 2)
            blocks.append(Picture(caption, "image/png", draw, letter, width=width))
    for letter, arrays in (("A", first), ("B", second)):
        background = (arrays or {}).get("background_content")
        if background is not None and background.ndim == 4 and background.shape[-1] in (1, 3):
            draw = functools.partial(draw_background, background)
            width = ENLARGEMENT * (background.shape[2] + 2)
            blocks.append(Picture("background", "image/png", draw, letter, width=width))
    return Section("Objects", summary, blocks)


def pictures_section(folders: Folders) -> Section:
    """The pictures that lie in the folders, next to each other."""
    rows, pictures = [], []
    for name in PICTURES:
        row = [name]
        for letter, folder in zip("AB", folders):
            described, mime, data, width = _read_picture(folder / name)
            row.append(described)
            if data is not None:
                enlarged = ENLARGEMENT * width if width < SMALL else 0
                pictures.append(Picture(name, mime, functools.partial(bytes, data), letter, width=enlarged))
        rows.append(row)
    counts = [sum(picture.run == letter for picture in pictures) for letter in "AB"]
    text = "The examples and the animation show five test sequences; the runs may have drawn different ones."
    blocks: list[Block] = [Table(["picture", "A", "B"], rows), Paragraph(text), *pictures]
    return Section("Pictures", f"A has {counts[0]} of {len(PICTURES)}, B has {counts[1]}", blocks)


def _read_checkpoint(path: Path) -> Any:
    # Here and not above: TensorFlow takes seconds to import, and only a checkpoint needs it.
    from physics_models import checkpoints

    return checkpoints.read(path.parent)


def _size(arrays: dict[str, np.ndarray]) -> str:
    return f"{len(arrays)} arrays, {sum(np.size(array) for array in arrays.values()):,} numbers"


def _numeric(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(a) for name, a in arrays.items() if np.asarray(a).dtype.kind in "biuf"}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts dense, dense_1, …, dense_10 in this order."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,9})", name)]


def _verdict(what: str, differences: list[ArrayDifference]) -> str:
    shared = [d for d in differences if d.largest is not None]
    equal = sum(d.equal for d in shared)
    text = f"{equal} of {len(differences)} {what} equal bit for bit"
    if equal < len(shared):
        worst = max(shared, key=lambda d: np.nan_to_num(float(d.largest or 0.0), nan=np.inf))
        text += f", largest difference {number(worst.largest)} ({worst.name})"
    alone = len(differences) - len(shared)
    return text + (f", {alone} missing in one or of another shape" if alone else "")


def _difference_table(caption: str, differences: list[ArrayDifference], folded: bool = False) -> list[Block]:
    rows = []
    for difference in differences:
        if not difference.equal:
            shapes = [MISSING if shape is None else str(list(shape)) for shape in difference.shapes]
            rows.append([difference.name, *shapes, number(difference.largest), number(difference.relative)])
    header = ["name", "shape A", "shape B", "largest |A - B|", "‖A - B‖ / ‖A‖"]
    return [Table(header, rows, caption, folded)] if rows else []


def _error_blocks(errors: FrameErrors) -> list[Block]:
    columns = (errors.first, errors.second, errors.between, errors.largest)
    rows = [[str(frame), *map(number, values)] for frame, *values in zip(errors.frames, *columns)]
    rows.append(["mean", *(number(float(column.mean())) for column in columns[:3]), MISSING])
    curves = [list(zip(errors.frames, column)) for column in columns]
    panels = [
        Panel("squared error to the truth", "frame", curves[0], curves[1], from_zero=True),
        Panel("squared difference of A and B", "frame", curves[2], [], single=True, logarithmic=True, from_zero=True),
        Panel("largest |A - B| of a pixel", "frame", curves[3], [], single=True, logarithmic=True, from_zero=True),
    ]
    caption = "Error of each predicted frame, averaged over the sequences in common: A solid, B dashed"
    header = ["frame", "error to truth A", "error to truth B", "A - B", "largest |A - B| of a pixel"]
    title = "Squared error a frame, summed over its pixels and colours; frames count from 0"
    draw = functools.partial(draw_panels, panels)
    return [Picture(caption, "image/svg+xml", draw), Table(header, rows, title)]


def _most_apart(pairs: list[Pair], errors: FrameErrors) -> list[Block]:
    order = np.argsort(-np.nan_to_num(errors.apart, nan=np.inf), kind="stable")[:MOST_APART]
    rows = [[str(pairs[i].first), str(pairs[i].second), number(errors.apart[i])] for i in order]
    caption = "Sequences most apart, by their numbers in each outputs.npz"
    return [Table(["sequence A", "sequence B", "squared difference a frame"], rows, caption)]


def _sequence_pictures(first: Outputs, second: Outputs, pairs: list[Pair], errors: FrameErrors) -> list[Block]:
    worst = int(np.argmax(np.nan_to_num(errors.apart, nan=np.inf)))
    shown = sorted({*range(min(SHOWN_SEQUENCES, len(pairs))), worst})
    blocks: list[Block] = []
    for place in shown:
        pair = pairs[place]
        most = ", the most of all" if place == worst else ""
        draw = functools.partial(_draw_pair, first, second, pair, len(errors.frames))
        caption = (
            f"A's sequence {pair.first} is B's {pair.second}; {number(errors.apart[place])} apart"
            f" a frame{most}. |A - B| is stretched to its own maximum"
        )
        width = ENLARGEMENT * len(errors.frames) * (first.inputs.shape[3] + 2)
        rows = ("truth", "A", "B", "|A - B|")
        blocks.append(Picture(caption, "image/png", draw, width=width, rows=rows))
    return blocks


def _draw_pair(first: Outputs, second: Outputs, pair: Pair, steps: int) -> bytes:
    arrays = ((first.inputs, pair.first), (first.outputs, pair.first), (second.outputs, pair.second))
    return draw_sequence(*(pick_rows(array, [index])[index][-steps:] for array, index in arrays))


def _read_learned(path: Path) -> dict[str, np.ndarray]:
    return {name: array.load() for name, array in stored_arrays(path).items() if name in LEARNED}


def _drawable(arrays: dict[str, np.ndarray]) -> bool:
    contents, templates = (arrays.get(name) for name in ("contents", "templates"))
    return (
        contents is not None
        and templates is not None
        and contents.ndim == templates.ndim == 4
        and contents.shape[:3] == templates.shape[:3]
        and contents.shape[3] in (1, 3)
        and templates.shape[3] == 1
    )


def _read_picture(path: Path) -> tuple[str, str, bytes | None, int]:
    """(what it is, its MIME type, its bytes, its width); no bytes for one that is missing or is no picture."""
    import io

    from PIL import Image

    try:
        if path.stat().st_size > MAX_PICTURE_BYTES:
            return f"larger than {MAX_PICTURE_BYTES >> 20} MB", "", None, 0
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            frames = getattr(image, "n_frames", 1)
            described = f"{image.width}×{image.height}" + (f", {frames} frames" if frames > 1 else "")
            return described, image.get_format_mimetype() or "", data, image.width
    except FileNotFoundError:
        return MISSING, "", None, 0
    except Exception as error:  # Pillow raises many kinds for damage
        return f"damaged ({type(error).__name__})", "", None, 0
