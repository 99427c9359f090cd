"""Checkpoints from the original and back (the `tf.train.Saver` in `nn/network/base.py` of the original).

    python -m physics_models.tf1_checkpoint import TF1_DIR DIR    the original's checkpoint → this port's
    python -m physics_models.tf1_checkpoint export DIR TF1_DIR    this port's → one that the original restores
    python -m physics_models.tf1_checkpoint inspect DIR [DIR]     what is in one, or how two differ

Every array keeps its name, shape and bits. Training and evaluation here read the original's folders as they
are; importing one only changes the format. TF1's format has no place for the epoch and the iteration.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from physics_models.command import OneLineParser, run
from physics_models.errors import ExperimentError
from physics_models.experiment import read_marker
from physics_models.run_arrays import array_difference
from physics_models.save_dir import synchronise
from physics_models.tasks import TASKS

if TYPE_CHECKING:
    from physics_models.checkpoints import Stored

# TensorFlow and the modules that need it are imported where they are used: after `command.run` has silenced it.

TF1_NAME = "model.ckpt"
TF1_STATE = f'model_checkpoint_path: "{TF1_NAME}"\nall_model_checkpoint_paths: "{TF1_NAME}"\n'
ADAM_POWERS = {"beta1_power", "beta2_power"}
ORIGINALS_SETTINGS = {"vel_encoder": "mlp", "calibrated_coords": False}  # they change no variable's shape

Arrays = dict  # arrays by the original's variable names


def import_checkpoint(source: str | Path, dest: str | Path, overwrite: bool = False) -> list[str]:
    """Write the TF1 checkpoint of the folder `source` as one of ours into the folder `dest`.

    Returns what to tell the user. Raises `ExperimentError` for a missing, damaged or foreign checkpoint, and
    for a `dest` that is in use.
    """
    stored = read(source)
    if not stored.tf1:
        raise ExperimentError(f"{stored.path}: is in this port's format already; nothing to import")
    write_folder(dest, overwrite, lambda folder: write_ours(stored.arrays, folder))
    return [f"{dest}: {len(stored.arrays)} arrays in this port's format, from {stored.path}", fit_line(stored.arrays)]


def export_checkpoint(source: str | Path, dest: str | Path, overwrite: bool = False) -> list[str]:
    """Write our checkpoint of the folder `source` in TF1's format into the folder `dest`.

    Returns what to tell the user. Raises `ExperimentError` as `import_checkpoint`, and for a checkpoint that
    the original could not restore: LSTM dynamics, grey frames, or any other network than its five tasks'.
    """
    stored = read(source)
    if stored.tf1:
        raise ExperimentError(f"{stored.path}: is in TF1's format already; nothing to export")
    arrays, left_out = what_the_original_has(stored.path, stored.arrays)
    write_folder(dest, overwrite, lambda folder: write_tf1(arrays, folder))
    lines = [f"{dest}: {len(arrays)} arrays in TF1's format, from {stored.path}", fit_line(arrays)]
    lines += [f"left out, the original has no such variable: {name}" for name in left_out]
    return lines + notes(source)


def notes(source: str | Path) -> list[str]:
    """A line for each setting of the run in `source` that the weights need and the original lacks."""
    marker = read_marker(source)
    settings = {} if marker is None else marker.settings
    return [
        f"note: trained with --{name}={settings[name]}, which the original lacks: it will compute other predictions"
        for name, of_the_original in ORIGINALS_SETTINGS.items()
        if settings.get(name, of_the_original) != of_the_original
    ]


def read(folder: str | Path) -> Stored:
    """`checkpoints.read`, but an `ExperimentError` for a checkpoint of something else than this network."""
    from physics_models import checkpoints

    stored = checkpoints.read(folder)
    if not any(name.startswith("net/encoder/") for name in stored.arrays):
        raise ExperimentError(f"{stored.path}: has no variable net/encoder/…; it is no checkpoint of this network")
    return stored


def write_tf1(arrays: Arrays, folder: Path) -> None:
    """Write `arrays` as TF1's Saver does: model.ckpt.index, model.ckpt.data-00000-of-00001, checkpoint."""
    import tensorflow as tf

    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(folder / TF1_NAME),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    (folder / "checkpoint").write_text(TF1_STATE)


def write_ours(arrays: Arrays, folder: Path) -> None:
    """Write `arrays` through `checkpoints.save`, at epoch 0 and iteration 0."""
    import tensorflow as tf

    from physics_models import checkpoints

    variables = {name: tf.Variable(array, trainable=False) for name, array in arrays.items()}
    # What `save` asks of a network: building the real one would add nothing but its shapes.
    optimizer = SimpleNamespace(named_variables=dict)
    position = {"epoch": 0, "iteration": 0}
    net: Any = SimpleNamespace(variables_by_name=lambda: variables, optimizer=optimizer, position=lambda _: position)
    checkpoints.save(net, folder)


def write_folder(dest: str | Path, overwrite: bool, write: Callable[[Path], None]) -> None:
    """Make the folder `dest` with the checkpoint that `write` writes; complete, or not at all.

    A `dest` that is not empty raises `ExperimentError`, unless it holds a checkpoint alone and `overwrite` is set.
    """
    import tensorflow as tf

    from physics_models.checkpoints import reason

    dest = Path(dest).resolve()
    check_dest(dest, overwrite)
    scratch = None
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
        write(scratch)
        for file in scratch.iterdir():
            synchronise(file)
        scratch.chmod(0o755)
        put_in_place(scratch, dest)
    except (OSError, tf.errors.OpError) as error:
        raise ExperimentError(f"{dest}: cannot be written ({reason(error)})") from error
    except ExperimentError as error:
        raise ExperimentError(str(error).replace(str(scratch), str(dest))) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(scratch: Path, dest: Path) -> None:
    """Rename the folder `scratch` to `dest`; the one that was there goes last, or comes back."""
    aside = scratch.with_name(f"{scratch.name}.old")
    if dest.exists():
        dest.rename(aside)
    try:
        scratch.rename(dest)
    except BaseException:
        if aside.exists():
            aside.rename(dest)
        raise
    synchronise(dest.parent)
    if aside.exists():
        shutil.rmtree(aside)


def check_dest(dest: Path, overwrite: bool) -> None:
    """Raise `ExperimentError` unless `write_folder` may write to the folder `dest`."""
    there = next(path for path in (dest, *dest.parents) if path.exists())
    if not there.is_dir():
        raise ExperimentError(f"{dest}: {there} is a file; give another folder")
    entries = sorted(entry.name for entry in dest.iterdir()) if dest.is_dir() else []
    foreign = [name for name in entries if name != "checkpoint" and not name.startswith(f"{TF1_NAME}")]
    if foreign:
        raise ExperimentError(f"{dest}: holds {foreign[0]} and is not touched; give a new folder")
    if entries and not overwrite:
        raise ExperimentError(f"{dest}: holds a checkpoint; give another folder, or --overwrite")


def what_the_original_has(path: str, arrays: Arrays) -> tuple[Arrays, list[str]]:
    """Those of `arrays` that the original restores, and the names of the others.

    Raises `ExperimentError`, saying why, where the original has no network with these variables.
    """
    check_restorable(path, arrays)
    weights = {name for name in arrays if name.startswith("net/") and slot_of(name) is None}
    trained = set(next(iter(fitting_nets(arrays).values())))
    known = weights | {"base_lr"}
    for slots in slot_kinds().values():
        names = {f"{name}/{slot}" for name in trained for slot in slots}
        if slots and any(slot_of(name) in slots for name in arrays):
            missing = sorted(names - set(arrays))
            if missing:
                raise ExperimentError(f"{path}: has no {missing[0]}, but other slots of this optimizer; damaged")
            known |= names | ADAM_POWERS
    kept = {name: array for name, array in arrays.items() if name in known}
    return kept, sorted(set(arrays) - set(kept))


def check_restorable(path: str, arrays: Arrays) -> None:
    """Raise `ExperimentError`, saying why, where the original has no network with these weights."""
    if any(name.startswith("net/lstm/") for name in arrays):
        raise ExperimentError(
            f"{path}: --cell_type=lstm cannot be exported: the original never runs its LSTM cells, and has no such "
            "variables"
        )
    kernel = arrays.get("net/encoder/conv2d/kernel")
    if kernel is not None and kernel.ndim == 4 and kernel.shape[2] == 1:
        raise ExperimentError(f"{path}: a network for grey frames cannot be exported: the original's fails on them")
    if not fitting_nets(arrays):
        raise ExperimentError(f"{path}: cannot be exported: no task of the original has these variables and shapes")


def fitting_nets(arrays: Arrays) -> dict[str, list[str]]:
    """The tasks whose network has exactly the weights in `arrays`, each with its trained variables' names."""
    shapes = {n: array.shape for n, array in arrays.items() if n.startswith("net/") and slot_of(n) is None}
    alt_vel = "net/init_vel/dense_1/kernel" not in shapes
    nets = {name: network(name, alt_vel) for name, task in TASKS.items() if f"net/{task.cell_type}/dt_x" in shapes}
    return {name: trained for name, (variables, trained) in nets.items() if variables == shapes}


@functools.cache
def network(task: str, alt_vel: bool) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The original's network for `task`: each variable's shape by name, and the names of the trained ones."""
    from physics_models.physics_net import PhysicsNet

    net = PhysicsNet(TASKS[task], alt_vel=alt_vel)
    shapes = {name: tuple(variable.shape) for name, variable in net.variables_by_name().items()}
    return shapes, list(net.variables_by_name(trainable_only=True))


def slot_kinds() -> dict[str, tuple[str, ...]]:
    """The names of each optimizer's slots in a TF1 checkpoint."""
    from nn.optimizers import OPTIMIZERS

    return {name: rule.slot_names for name, rule in OPTIMIZERS.items()}


def slot_of(name: str) -> str | None:
    """The slot that `name` is, `RMSProp` of net/…/kernel/RMSProp; None for a variable."""
    last = name.rpartition("/")[2]
    return last if any(last in slots for slots in slot_kinds().values()) else None


def fit_line(arrays: Arrays) -> str:
    """Which tasks and optimizer the checkpoint is for."""
    tasks = ", ".join(fitting_nets(arrays)) or "none of the original's tasks, in colour"
    found = {slot_of(name) for name in arrays}
    rules = [rule for rule, slots in slot_kinds().items() if slots and found.issuperset(slots)]
    return f"fits: {tasks}; optimizer slots: {', '.join(rules) or 'none'}"


def inspect(folder: str | Path) -> list[str]:
    """A listing of the checkpoint in `folder`: kind, tasks that it fits, and a line for each variable."""
    stored = read(folder)
    arrays = stored.arrays
    slots = [name for name in arrays if slot_of(name) is not None]
    kind = "TF1's format" if stored.tf1 else "this port's format"
    progress = "".join(f", {n} {stored.progress[n]}" for n in ("epoch", "iteration") if n in stored.progress)
    weights = {name: array for name, array in arrays.items() if name.startswith("net/") and name not in slots}
    numbers = sum(array.size for array in weights.values())
    rows: list[tuple[str, ...]] = [("variable", "shape", "type", "smallest", "largest", "slots")]
    for name in in_order(set(arrays) - set(slots)):
        array = arrays[name]
        own = [str(slot_of(slot)) for slot in in_order(slots) if slot.rpartition("/")[0] == name]
        ends = [f"{value:.6g}" for value in (array.min(), array.max())] if array.size else ["", ""]
        rows.append((name, str(list(array.shape)), str(array.dtype), *ends, ", ".join(own)))
    return [
        f"{stored.path}: {kind}{progress}",
        f"{len(arrays)} arrays: {len(weights)} weights with {numbers:,} numbers, {len(slots)} optimizer slots, "
        f"{len(arrays) - len(weights) - len(slots)} more",
        fit_line(arrays),
        *table(rows),
    ]


def compare(first: str | Path, second: str | Path) -> list[str]:
    """How the checkpoints in two folders differ: a line for each array that does, and a summary."""
    a, b = read(first), read(second)
    names = in_order(a.arrays.keys() | b.arrays.keys())
    differences = [array_difference(name, a.arrays.get(name), b.arrays.get(name)) for name in names]
    rows: list[tuple[str, ...]] = [("variable", "shape A", "shape B", "largest |A - B|", "relative")]
    for difference in differences:
        if not difference.equal:
            shapes = ["missing" if shape is None else str(list(shape)) for shape in difference.shapes]
            far = (difference.largest, difference.relative)
            rows.append((difference.name, *shapes, *("" if value is None else f"{value:.3g}" for value in far)))
    equal = sum(difference.equal for difference in differences)
    kinds = ["TF1's format" if stored.tf1 else "this port's format" for stored in (a, b)]
    return [
        f"A: {a.path}, {kinds[0]}",
        f"B: {b.path}, {kinds[1]}",
        f"{equal} of {len(names)} arrays are equal bit for bit",
        *(table(rows) if len(rows) > 1 else []),
    ]


def in_order(names: Iterable[str]) -> list[str]:
    """`names` sorted, numbers by their value: dense, dense_1, …, dense_10."""
    return sorted(names, key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)])


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of text in columns, left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = OneLineParser(
        prog="python -m physics_models.tf1_checkpoint", description="TF1 checkpoints: in, out, and what is in them."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("import", "TF1's format → this port's"), ("export", "this port's format → TF1's")):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("source", help="folder of the checkpoint")
        command.add_argument("dest", help="folder to write, new or empty")
        command.add_argument("--overwrite", action="store_true", help="replace the checkpoint in dest")
    command = commands.add_parser("inspect", help="list one checkpoint, or the differences of two")
    command.add_argument("folder", help="folder of a checkpoint, in either format")
    command.add_argument("other", nargs="?", help="folder of another one to compare with")
    options = parser.parse_args(arguments)
    if options.command == "inspect":
        run(lambda: compare(options.folder, options.other) if options.other else inspect(options.folder))
    else:
        convert = import_checkpoint if options.command == "import" else export_checkpoint
        run(lambda: convert(options.source, options.dest, options.overwrite))


if __name__ == "__main__":
    main()
