"""Checkpoints from the original and back (the `tf.train.Saver` in `nn/network/base.py` of the original).

    python -m physics_models.tf1_checkpoint import TF1_DIR DIR    the original's checkpoint → this port's
    python -m physics_models.tf1_checkpoint export DIR TF1_DIR    this port's → one that the original restores
    python -m physics_models.tf1_checkpoint inspect DIR           what is in one

Every array keeps its name, shape and bits. Training and evaluation here read the original's folders as they are;
importing one only changes the format. TF1's format has no place for the epoch and the iteration.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Iterable
from os.path import expanduser
from pathlib import Path

import numpy as np
import tensorflow as tf

from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints
from physics_models.errors import CommandParser, ExperimentError, run_command
from physics_models.experiment import read_marker, synchronize
from physics_models.memory_files import copy_out, memory_folder
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS

FORMATS = {True: "TF1's format", False: "this port's format"}  # by `Checkpoint.tf1`
SLOTS = {slot for rule in OPTIMIZERS.values() for slot in rule.slot_names}
# Settings that change no variable's shape.
ORIGINAL_SETTINGS = {"vel_encoder": "mlp", "calibrated_coords": False, "track_objects": False}
Arrays = dict[str, np.ndarray]  # by the original's variable names


def convert(source: str | Path, dest: str | Path, to_tf1: bool) -> list[str]:
    """Write the checkpoint of the folder `source` into the folder `dest`, in TF1's format or in this port's.

    Returns the command's output. Raises `ExperimentError` for a checkpoint that is damaged, of another network, or in
    this format already, and for a `dest` that holds anything else.
    """
    checkpoint = load(source)
    if checkpoint.tf1 == to_tf1:
        raise ExperimentError(f"{checkpoint.path}: is in {FORMATS[to_tf1]} already; there is nothing to do")
    arrays, notes = checkpoint.arrays, []
    if to_tf1:
        arrays, left_out = split_by_original(checkpoint)
        notes = [f"left out, the original has no such variable: {name}" for name in left_out]
        config = getattr(read_marker(Path(checkpoint.path).parent), "config", {})
        changed = {name: config[name] for name, value in ORIGINAL_SETTINGS.items() if config.get(name, value) != value}
        notes += [f"note: trained with --{name}={changed[name]}, which the original lacks" for name in changed]
    write_folder(dest, lambda folder: (write_tf1 if to_tf1 else write_ours)(arrays, folder))
    return [f"{dest}: {len(arrays)} arrays in {FORMATS[to_tf1]}, from {checkpoint.path}", summary(arrays), *notes]


def load(folder: str | Path) -> checkpoints.Checkpoint:
    """`checkpoints.load`, but an `ExperimentError` for another program's checkpoint."""
    checkpoint = checkpoints.load(folder)
    if not any(name.startswith("net/encoder/") for name in checkpoint.arrays):
        raise ExperimentError(f"{checkpoint.path}: has no variable net/encoder/…; it is no checkpoint of this network")
    return checkpoint


def write_tf1(arrays: Arrays, folder: Path) -> None:
    """Write `arrays` as TF1's Saver does: model.ckpt.index, model.ckpt.data-00000-of-00001, checkpoint."""
    names, name = sorted(arrays), checkpoints.CHECKPOINT_NAME
    tensors = [tf.constant(arrays[name]) for name in names]
    with memory_folder() as memory:
        prefix, slices = f"{memory}/{name}", [""] * len(names)
        tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=slices, tensors=tensors)
        copy_out(memory, folder)
    checkpoints.write_state(folder, [name])


def write_ours(arrays: Arrays, folder: Path) -> None:
    """Write `arrays` in this port's format, at epoch 0 and iteration 0."""
    variables = {name: tf.Variable(array, trainable=False) for name, array in arrays.items()}
    checkpoints.save(folder, variables, {"epoch": 0, "iteration": 0})


def write_folder(dest: str | Path, write: Callable[[Path], object]) -> None:
    """Make the folder `dest` with what `write(folder)` puts there: whole, or not at all.

    Raises `ExperimentError` if it cannot be written, or if `dest` holds anything.
    """
    dest = Path(dest).resolve()
    there = sorted(entry.name for entry in dest.iterdir()) if dest.is_dir() else []
    if there:
        raise ExperimentError(f"{dest}: holds {there[0]}, which is not replaced; give a new or empty folder")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f".{dest.name[:40]}.") as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            write(new)
            for path in (*new.rglob("*"), new):
                synchronize(path)
            new.rename(dest)
        synchronize(dest.parent)
    except (OSError, tf.errors.OpError) as error:
        raise ExperimentError(f"{dest}: cannot be written ({checkpoints.reason(error)})") from error


def split_by_original(checkpoint: checkpoints.Checkpoint) -> tuple[Arrays, list[str]]:
    """The arrays of `checkpoint` that the original restores, and the names of the others.

    Raises `ExperimentError` if no task of the original has such a network.
    """
    arrays = checkpoint.arrays
    if not (tasks := matching_tasks(arrays)):
        raise ExperimentError(
            f"{checkpoint.path}: cannot be exported: no task of the original has these variables and shapes"
        )
    weights, trained = network(*tasks[0])
    slots = {f"{name}/{slot}" for name in trained for slot in SLOTS}
    known = {*weights, *slots, "base_lr", "beta1_power", "beta2_power"}
    return {name: array for name, array in arrays.items() if name in known}, sorted(arrays.keys() - known)


def matching_tasks(arrays: Arrays) -> list[tuple[str, bool]]:
    """The networks of the original, (task, `alt_vel`), whose variables and shapes are exactly those in `arrays`."""
    shapes = {name: array.shape for name, array in arrays.items() if name.startswith("net/") and not slot_of(name)}
    alt_vel = "net/init_vel/dense_1/kernel" not in shapes
    candidates = [(name, alt_vel) for name, task in TASKS.items() if f"net/{task.cell_type}/dt_x" in shapes]
    return [candidate for candidate in candidates if network(*candidate)[0] == shapes]


@functools.cache
def network(task: str, alt_vel: bool) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The original's network for `task`: each variable's shape by name, and the names of the trained ones."""
    net = PhysicsNet(TASKS[task], alt_vel=alt_vel)
    shapes = {name: tuple(variable.shape) for name, variable in net.variables_by_name().items()}
    return shapes, list(net.variables_by_name(trainable_only=True))


def slot_of(name: str) -> str:
    """The slot that `name` is, `RMSProp` of net/…/kernel/RMSProp; "" for a variable."""
    return next((slot for slot in SLOTS if name.endswith(f"/{slot}")), "")


def summary(arrays: Arrays) -> str:
    """Which tasks and optimizers the checkpoint fits."""
    tasks = ", ".join(task for task, _ in matching_tasks(arrays)) or "none of the original's tasks, in colour"
    found = {slot_of(name) for name in arrays}
    rules = [name for name, rule in OPTIMIZERS.items() if rule.slot_names and found.issuperset(rule.slot_names)]
    return f"fits: {tasks}; optimizer slots: {', '.join(rules) or 'none'}"


def inspect(folder: str | Path) -> list[str]:
    """A listing of the checkpoint in `folder`: format, tasks that it fits, and a line for each variable."""
    path, tf1, arrays, progress = load(folder)
    slots = [name for name in in_order(arrays) if slot_of(name)]
    names = in_order(arrays.keys() - slots)
    weights = [arrays[name] for name in names if name.startswith("net/")]
    rows = [("variable", "shape", "type", "smallest", "largest", "slots")]
    for name in names:
        array = arrays[name]
        own = ", ".join(slot_of(slot) for slot in slots if slot.rpartition("/")[0] == name)
        ends = [f"{value:.6g}" for value in (array.min(), array.max())] if array.size else ["", ""]
        rows.append((name, str(list(array.shape)), str(array.dtype), *ends, own))
    counters = [f"{name} {progress[name]}" for name in ("epoch", "iteration") if name in progress]
    return [
        f"{path}: {', '.join([FORMATS[tf1], *counters])}",
        f"{len(arrays)} arrays: {len(weights)} weights with {sum(array.size for array in weights):,} numbers, "
        f"{len(slots)} optimizer slots, {len(names) - len(weights)} more",
        summary(arrays),
        *table(rows),
    ]


def in_order(names: Iterable[str]) -> list[str]:
    """`names` sorted, numbers by their value: dense, dense_1, …, dense_10."""
    return sorted(names, key=lambda name: re.sub(r"\d+", lambda digits: digits.group().zfill(9), name))


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of text in columns, left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the command."""
    parser = CommandParser(prog="python -m physics_models.tf1_checkpoint", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("import", "TF1's format → this port's"), ("export", "this port's format → TF1's")):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("source", type=expanduser, help="the checkpoint, or its folder")
        command.add_argument("dest", type=expanduser, help="folder to write, new or empty")
    command = commands.add_parser("inspect", help="list a checkpoint")
    command.add_argument("folder", type=expanduser, help="a checkpoint in either format, or its folder")
    options = parser.parse_args(arguments)
    if options.command == "inspect":
        run_command(lambda: inspect(options.folder))
    else:
        run_command(lambda: convert(options.source, options.dest, options.command == "export"))


if __name__ == "__main__":
    main()
