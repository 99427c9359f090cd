"""Checkpoints: ours are written here, ours and the original's are read here, variable by variable.

Both kinds come down to arrays by the original's variable names (`net/encoder/conv2d/kernel`, its slots
`net/encoder/conv2d/kernel/RMSProp`, `base_lr`), so that one restore serves both and no checkpoint
depends on the version of Keras.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from physics_models.errors import ExperimentError

if TYPE_CHECKING:
    from physics_models.base import BaseNet

CHECKPOINT_NAME = "model.ckpt"
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

logger = logging.getLogger("tf")


class Stored(NamedTuple):
    """A checkpoint's arrays by the original's variable names."""

    path: str
    tf1: bool  # written by the original, or in its format
    arrays: dict[str, np.ndarray]  # weights, optimizer slots, base_lr
    progress: dict[str, int]  # epoch, iteration; empty for TF1


def save(
    net: BaseNet, save_dir: str | Path, keep: int = 1, more_progress: dict[str, int] | None = None
) -> str:
    """Write weights, optimizer slots, learning rate, epoch and iteration; returns the path.

    `more_progress`: further counters to keep in `Stored.progress`. The last `keep` checkpoints stay. A crash
    leaves the checkpoint before this one in force.
    """
    counters = {"epoch": net.epoch, "iteration": net.iteration, **(more_progress or {})}
    progress = {name: tf.Variable(n, dtype=tf.int64, trainable=False) for name, n in counters.items()}
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    checkpoint = tf.train.Checkpoint(variables=variables, progress=progress)
    manager = tf.train.CheckpointManager(
        checkpoint, str(save_dir), max_to_keep=keep, checkpoint_name=CHECKPOINT_NAME
    )
    return manager.save(checkpoint_number=net.iteration)


def find(folder: str | Path) -> str:
    """The path (without its endings) of the newest checkpoint in `folder`; an `ExperimentError` if none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ExperimentError(f"{folder}: no such folder; give the folder of a trained experiment")
    state = None
    if (folder / "checkpoint").is_file():
        try:
            state = tf.train.get_checkpoint_state(str(folder))
        except Exception as error:  # a text protocol buffer's parser has its own errors
            raise ExperimentError(f"{folder / 'checkpoint'}: damaged ({error})") from error
    if state is None or not state.model_checkpoint_path:
        raise ExperimentError(f"{folder}: holds no checkpoint; train first, or give another --ckpt_dir")
    # By its last part: the folder may have been moved or copied since.
    path = folder / Path(state.model_checkpoint_path).name
    if not path.with_name(f"{path.name}.index").is_file():
        raise ExperimentError(f"{path}.index: missing, though {folder / 'checkpoint'} names it")
    return str(path)


def read(folder: str | Path) -> Stored:
    """Everything in the newest checkpoint of `folder`, ours or the original's.

    Raises `ExperimentError` for a folder without one, and for a damaged one.
    """
    path = find(folder)
    try:
        reader = tf.train.load_checkpoint(path)
        tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ExperimentError(f"{path}: damaged or incomplete checkpoint ({first})") from error
    if OBJECT_GRAPH not in tensors:
        return Stored(path, True, tensors, {})
    arrays, progress = {}, {}
    for key, value in tensors.items():
        kind, _, name = key.removesuffix(VALUE_SUFFIX).partition("/")
        name = name.replace(".S", "/").replace("..", ".")
        if kind == "variables":
            arrays[name] = value
        elif kind == "progress":
            progress[name] = int(value)
    return Stored(path, False, arrays, progress)


def restore(net: BaseNet, stored: Stored) -> None:
    """Set the weights of `net`, and its optimizer's slots where the checkpoint has them.

    The learning rate stays as it is: the original, too, starts again from `base_lr`. Raises `ExperimentError`
    for the first variable that is missing or has another shape; nothing is changed then.
    """
    weights = net.variables_by_name()
    for name, variable in weights.items():
        check(name, variable, stored)
    assign(weights, stored)
    if net.optimizer is None:
        return
    slots = {name: v for name, v in net.optimizer.named_variables().items() if name != "base_lr"}
    if any(name not in stored.arrays for name in slots):
        logger.info("%s: has no complete optimizer slots; they start afresh", stored.path)
        return
    for name, variable in slots.items():
        check(name, variable, stored)
    assign(slots, stored)


def check(name: str, variable: tf.Variable, stored: Stored) -> None:
    """Raise `ExperimentError` unless `stored` has `name` with the shape of `variable`."""
    if name not in stored.arrays:
        raise ExperimentError(
            f"{stored.path}: has no variable {name}; it is a checkpoint of another task, model or cell"
        )
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
