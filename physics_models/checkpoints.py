"""Checkpoints: ours are written here, ours and the original's are read here, variable by variable.

Both kinds come down to arrays by the original's variable names (`net/encoder/conv2d/kernel`, its slots
`net/encoder/conv2d/kernel/RMSProp`, `base_lr`), so that one restore serves both and no checkpoint
depends on the version of Keras.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from physics_models.bundle import DamagedError, read_index
from physics_models.errors import ExperimentError
from physics_models.experiment import synchronise_logs
from physics_models.save_dir import SCRATCH, synchronise, write_atomically

if TYPE_CHECKING:
    from physics_models.base import BaseNet

CHECKPOINT_NAME = "model.ckpt"
STATE = "checkpoint"  # the file that names the checkpoints, as TensorFlow writes it
MAX_STATE_BYTES = 2**20
STATE_LINE = re.compile(r'^((?:all_)?model_checkpoint_paths?): *"([^"\n]*)"', re.MULTILINE)
PLAIN_NAME = re.compile(r"[^\0-\x1f/\\]{1,60}")
OUR_NAME = re.compile(r"model\.ckpt-\d+(-\d+)?")
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

logger = logging.getLogger("tf")


class Stored(NamedTuple):
    """A checkpoint's arrays by the original's variable names."""

    path: str
    tf1: bool  # written by the original, or in its format
    arrays: dict[str, np.ndarray]  # weights, optimizer slots, base_lr
    progress: dict[str, int]  # where the network stood; empty for TF1


def save(net: BaseNet, save_dir: str | Path, keep: int = 1, more_progress: dict[str, int] | None = None) -> str:
    """Write weights, optimizer slots, learning rate and where `net` stands; returns the path without its endings.

    `more_progress`: counters besides those of `net.position`. The newest `keep` checkpoints stay.

    The files are written beside the folder's, synchronised to the disk and then renamed; only then does the
    file `checkpoint` name them, and only then do older ones go. Whatever moment the machine dies at, the file
    names a checkpoint that is whole. Raises `ExperimentError` if it cannot be written; those before it stay.
    """
    counters = {**net.position(save_dir), **(more_progress or {})}
    progress = {name: tf.Variable(n, dtype=tf.int64, trainable=False) for name, n in counters.items()}
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    checkpoint = tf.train.Checkpoint(variables=variables, progress=progress)
    folder = Path(save_dir)
    scratch = folder / SCRATCH
    try:
        synchronise_logs(folder)
        shutil.rmtree(scratch, ignore_errors=True)  # a run that was killed while it saved leaves this
        scratch.mkdir(parents=True)
        name = free_name(folder, f"{CHECKPOINT_NAME}-{counters['iteration']}")
        checkpoint.write(str(scratch / name))
        for file in sorted(scratch.iterdir()):  # the data before the index, which makes it a checkpoint
            synchronise(file)
            os.replace(file, folder / file.name)
        synchronise(folder)
        scratch.rmdir()
        put_in_force(folder, name, keep)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise ExperimentError(f"{folder}: the checkpoint cannot be written ({reason(error)})") from error
    return str(folder / name)


def free_name(folder: Path, name: str) -> str:
    """`name`, or name-2, name-3, … if checkpoints of that name lie in `folder` already."""
    candidate, count = name, 1
    while any(folder.glob(f"{candidate}.*")):
        count += 1
        candidate = f"{name}-{count}"
    return candidate


def put_in_force(folder: Path, name: str, keep: int) -> None:
    """Make `name` the newest checkpoint of `folder`, and delete all of ours but the newest `keep`.

    Those to be deleted stay listed until they are gone, so that none is forgotten if that is interrupted.
    """
    try:
        earlier = list(reversed(listed(folder)))
    except ExperimentError:
        earlier = []
    names = [other for other in earlier if other != name] + [name]
    write_state(folder, names)
    gone = names[: -max(keep, 1)]
    for other in gone:
        if not is_ours(folder / f"{other}.index"):
            continue
        for file in [folder / f"{other}.index", *folder.glob(f"{other}.data-*")]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)
    if gone:
        write_state(folder, names[len(gone) :])


def is_ours(index: Path) -> bool:
    """Whether this port wrote the checkpoint with this index: the original's are never deleted."""
    return bool(OUR_NAME.fullmatch(index.stem)) and index.is_file() and OBJECT_GRAPH.encode() in index.read_bytes()


def write_state(folder: Path, names: list[str]) -> None:
    """Write the file `checkpoint`, TensorFlow's list of checkpoints; the last of `names` is in force."""
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(folder / STATE, lambda file: file.write(text.encode()))
    synchronise(folder)


def listed(folder: str | Path) -> list[str]:
    """The names of the checkpoints of `folder`, the one in force first; an `ExperimentError` if none.

    Only the last parts of the paths in the file count: the folder may have been moved or copied since.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExperimentError(f"{folder}: no such folder; give the folder of a trained experiment")
    state = folder / STATE
    if not state.is_file():
        raise ExperimentError(f"{folder}: holds no checkpoint; train first, or give another --ckpt_dir")
    try:
        with open(state, "rb") as file:
            text = file.read(MAX_STATE_BYTES).decode()
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{state}: damaged ({error})") from error
    names: dict[str, list[str]] = {"model_checkpoint_path": [], "all_model_checkpoint_paths": []}
    for kind, path in STATE_LINE.findall(text):
        names[kind].append(re.split(r"[/\\]", path)[-1])
    if not names["model_checkpoint_path"] or not all(map(PLAIN_NAME.fullmatch, sum(names.values(), []))):
        raise ExperimentError(f"{state}: damaged; it names no checkpoint")
    newest = names["model_checkpoint_path"][-1]
    return [newest] + [name for name in reversed(names["all_model_checkpoint_paths"]) if name != newest]


def find(folder: str | Path) -> str:
    """The path (without its endings) of the checkpoint in force in `folder`; an `ExperimentError` if none."""
    path = Path(folder) / listed(folder)[0]
    if not path.with_name(f"{path.name}.index").is_file():
        raise ExperimentError(f"{path}.index: missing, though {path.parent / STATE} names it")
    return str(path)


def read(folder: str | Path) -> Stored:
    """Everything in the checkpoint in force in `folder`, ours or the original's.

    Raises `ExperimentError` for a folder without one, and for a damaged one.
    """
    return read_path(find(folder))


def read_newest_whole(folder: str | Path) -> Stored:
    """As `read`; where the newest checkpoint is damaged, the newest one that is not, with a word about it."""
    first_error: ExperimentError | None = None
    for name in listed(folder):
        try:
            return read_path(str(Path(folder) / name))
        except ExperimentError as error:
            logger.warning("%s; trying the one before it", error)
            first_error = first_error or error
    assert first_error is not None  # at least one is listed
    raise first_error


def read_path(path: str) -> Stored:
    """Everything in the checkpoint `path` (without its endings); an `ExperimentError` for a damaged one."""
    try:
        entries = read_index(path)
        reader = tf.train.load_checkpoint(path)
        # Each array's checksum is compared as it is read.
        tensors = {name: reader.get_tensor(name) for name, entry in entries.items() if entry.dtype is not None}
    except (DamagedError, tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise ExperimentError(f"{path}: damaged or incomplete checkpoint ({reason(error)})") from error
    if OBJECT_GRAPH not in entries:
        return Stored(path, True, tensors, {})
    arrays, progress = {}, {}
    for key, value in tensors.items():
        kind, _, name = key.removesuffix(VALUE_SUFFIX).partition("/")
        name = name.replace(".S", "/").replace("..", ".")
        if kind == "variables":
            arrays[name] = value
        elif kind == "progress" and value.dtype.kind == "i" and not value.shape:
            progress[name] = int(value)
    return Stored(path, False, arrays, progress)


def reason(error: Exception) -> str:
    """What an error of the file system's or of TensorFlow's says, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (getattr(error, "message", None) or str(error)).split("\n")[0].split(" [Op:")[0]


def restore(net: BaseNet, stored: Stored, with_rate: bool = False) -> None:
    """Set the weights of `net`, and its optimizer's slots where the checkpoint has them.

    The learning rate stays as it is, unless `with_rate`: the original, too, starts again from `base_lr`. Raises
    `ExperimentError` for the first variable that is missing or has another shape; nothing is changed then.
    """
    weights = net.variables_by_name()
    for name, variable in weights.items():
        check(name, variable, stored)
    slots = slots_to_restore(net, stored, with_rate)
    for name, variable in slots.items():
        check(name, variable, stored)
    assign({**weights, **slots}, stored)


def slots_to_restore(net: BaseNet, stored: Stored, with_rate: bool) -> dict[str, tf.Variable]:
    """The optimizer's variables that `restore` sets, by name: all or, with a word about it, none."""
    if net.optimizer is None:
        return {}
    slots = {name: v for name, v in net.optimizer.named_variables().items() if with_rate or name != "base_lr"}
    if any(name not in stored.arrays for name in slots):
        logger.info("%s: has no complete optimizer slots; they start afresh", stored.path)
        return {}
    return slots


def check(name: str, variable: tf.Variable, stored: Stored) -> None:
    """Raise `ExperimentError` unless `stored` has `name` with the shape of `variable`."""
    if name not in stored.arrays:
        raise ExperimentError(
            f"{stored.path}: has no variable {name}; it is a checkpoint of another task, model or cell"
        )
    if stored.arrays[name].dtype.kind != "f":
        raise ExperimentError(f"{stored.path}: {name} is {stored.arrays[name].dtype}, not floating-point numbers")
    found, wanted = stored.arrays[name].shape, tuple(variable.shape)
    if found != wanted:
        raise ExperimentError(
            f"{stored.path}: {name} has shape {list(found)}, this network needs {list(wanted)}; "
            "it is a checkpoint of another task or other settings"
        )


def assign(variables: dict[str, tf.Variable], stored: Stored) -> None:
    """Copy the stored arrays into `variables`."""
    for name, variable in variables.items():
        variable.assign(stored.arrays[name])
