"""Checkpoints: ours are written here, ours and the original's are read here, variable by variable.

Both kinds come down to arrays by the original's variable names (`net/encoder/conv2d/kernel`, its slots
`net/encoder/conv2d/kernel/RMSProp`, `base_lr`), so that one restore serves both and no checkpoint
depends on the version of Keras.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from physics_models import experiment
from physics_models.errors import ExperimentError
from physics_models.experiment import MARKER, SCRATCH, Marker, synchronize, write_atomically
from physics_models.memory_files import copy_in, copy_out, memory_folder

CHECKPOINT_NAME = "model.ckpt"
STATE = "checkpoint"  # the file that names the checkpoints, as TensorFlow writes it
STATE_LINE = re.compile(r'^(model_checkpoint_path|all_model_checkpoint_paths): *"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
PLAIN_NAME = re.compile(r"[^\0-\x1f/\\]{1,235}")
OUR_NAME = re.compile(r"model\.ckpt-\d+(-\d+)?")
ENDING = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")  # of a checkpoint's files
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
INDEX_MAGIC = bytes.fromhex("57fb808b247547db")  # the last eight bytes of every .index


class Checkpoint(NamedTuple):
    """A checkpoint's arrays by the original's variable names."""

    path: str
    tf1: bool  # written by the original, or in its format
    arrays: dict[str, np.ndarray]  # weights, optimizer slots, base_lr
    progress: dict[str, int]  # counters of the training; empty for TF1


class InterruptedRun(NamedTuple):
    """A run that did not come to its end: its marker, and its latest checkpoint, None before the first."""

    marker: Marker
    checkpoint: Checkpoint | None


def save(folder: str | Path, variables: Mapping[str, tf.Variable], progress: Mapping[str, int]) -> str:
    """Write `variables` and the counters `progress`; returns the path without its endings.

    The files are written beside the folder's, synchronized to the disk and then renamed; only then does the file
    `checkpoint` name them as the latest, and only then does the one before go. Whatever moment the machine dies at,
    that file names a checkpoint that is whole, and the next save deletes what was left behind. Raises
    `ExperimentError` if it cannot be written; the one before stays.
    """
    counters = {name: tf.Variable(n, dtype=tf.int64, trainable=False) for name, n in progress.items()}
    checkpoint = tf.train.Checkpoint(variables=dict(variables), progress=counters)
    folder = Path(folder)
    scratch = folder / SCRATCH
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # a run that was killed while it saved leaves this
        scratch.mkdir(parents=True)
        earlier = delete_all_but_latest(folder)
        name = f"{CHECKPOINT_NAME}-{progress['iteration']}"
        name = experiment.free_name(name, lambda other: (folder / f"{other}.index").exists())
        with memory_folder() as memory:
            checkpoint.write(f"{memory}/{name}")
            copy_out(memory, scratch)
        if earlier:
            write_state(folder, [name, *earlier])  # before it is there, so that it is not forgotten
        for file in sorted(scratch.iterdir()):  # the data before the index, which makes it a checkpoint
            synchronize(file)
            os.replace(file, folder / file.name)
        synchronize(folder)
        scratch.rmdir()
        write_state(folder, [*earlier, name])
        delete_all_but_latest(folder)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise ExperimentError(f"{folder}: the checkpoint cannot be written ({reason(error)})") from error
    return str(folder / name)


def delete_all_but_latest(folder: str | Path) -> list[str]:
    """Delete the checkpoints of ours that the file `checkpoint` names, but for the latest; returns that one's name."""
    folder = Path(folder)
    try:
        latest, *others = list_checkpoints(folder)
    except ExperimentError:
        return []
    for other in filter(OUR_NAME.fullmatch, others):
        index = folder / f"{other}.index"
        if index.is_file() and OBJECT_GRAPH.encode() in index.read_bytes():  # the original's are never deleted
            for file in [index, *folder.glob(f"{glob.escape(other)}.data-*")]:
                file.unlink(missing_ok=True)
    if others:
        write_state(folder, [latest])
    return [latest]


def write_state(folder: Path, names: list[str]) -> None:
    """Write the file `checkpoint`, TensorFlow's list of checkpoints; the last of `names` is the latest."""
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    text = "".join(f"{line}\n" for line in lines)
    write_atomically(folder / STATE, lambda file: file.write(text.encode()))
    synchronize(folder)


def list_checkpoints(folder: str | Path) -> list[str]:
    """The names of the checkpoints of `folder`, the latest first; an `ExperimentError` if there are none.

    Of the paths in the file `checkpoint` only the last parts count: the folder may have been moved or copied since.
    Without that file there is a name if there is one checkpoint.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ExperimentError(f"{folder}: no such folder or checkpoint; give the folder of a trained experiment")
    state = folder / STATE
    try:
        if not state.is_file():
            return [only_checkpoint(folder)]
        text = state.read_text("utf-8")
    except OSError as error:
        raise ExperimentError(f"{error.filename}: cannot be read ({reason(error)})") from error
    except UnicodeDecodeError as error:
        raise ExperimentError(f"{state}: damaged ({error})") from error
    names: dict[str, list[str]] = {"model_checkpoint_path": [], "all_model_checkpoint_paths": []}
    for kind, path in STATE_LINE.findall(text):
        names[kind].append(re.split(r"[/\\]", path)[-1])
    if not names["model_checkpoint_path"] or not all(map(PLAIN_NAME.fullmatch, sum(names.values(), []))):
        raise ExperimentError(f"{state}: damaged; it names no checkpoint")
    newest = names["model_checkpoint_path"][-1]
    return [newest] + [name for name in reversed(names["all_model_checkpoint_paths"]) if name != newest]


def only_checkpoint(folder: Path) -> str:
    """The name of the one checkpoint in `folder`; an `ExperimentError` if there is none, or more than one."""
    names = sorted(ENDING.sub("", entry.name) for entry in folder.iterdir() if entry.name.endswith(".index"))
    if not names:
        raise ExperimentError(f"{folder}: holds no checkpoint; train first, or give another --ckpt_dir")
    if len(names) > 1:
        raise ExperimentError(
            f"{folder}: holds {len(names)} checkpoints and no file {STATE} that names the latest; give one of them, "
            f"such as --ckpt_dir={folder / names[-1]}"
        )
    return names[0]


def latest_checkpoint(path: str | Path) -> str:
    """The path without its endings of the latest checkpoint of the folder `path`, or of that which `path` names.

    `path` may be without endings, or one of the checkpoint's files. Raises `ExperimentError` if there is none.
    """
    path = Path(path)
    if not path.is_dir():
        for candidate in (path, path.with_name(ENDING.sub("", path.name))):
            if candidate.with_name(f"{candidate.name}.index").is_file():
                return str(candidate)
        if path.name == STATE and path.is_file():
            path = path.parent
    folder, path = path, path / list_checkpoints(path)[0]
    if not path.with_name(f"{path.name}.index").is_file():
        raise ExperimentError(f"{path}.index: missing, though {folder / STATE} names it")
    return str(path)


def load(path: str | Path) -> Checkpoint:
    """Everything in the checkpoint that `path` names as in `latest_checkpoint`, ours or the original's.

    Raises `ExperimentError` if there is none, and for a damaged one.
    """
    path = latest_checkpoint(path)
    try:
        files = checkpoint_files(path)
        with memory_folder() as memory:
            prefix = f"{memory}/{CHECKPOINT_NAME}"
            for ending, file in files.items():
                copy_in(file, prefix + ending)
            reader = tf.compat.v1.train.NewCheckpointReader(prefix)
            types = reader.get_variable_to_dtype_map()
            # Each array's checksum is compared as it is read.
            tensors = {name: reader.get_tensor(name) for name, dtype in types.items() if dtype != tf.string}
    except OSError as error:
        raise ExperimentError(f"{error.filename or path}: cannot be read ({reason(error)})") from error
    except (tf.errors.OpError, RuntimeError, ValueError, IndexError) as error:
        raise ExperimentError(f"{path}: damaged checkpoint ({reason(error)})") from error
    if OBJECT_GRAPH not in types:
        return Checkpoint(path, True, tensors, {})
    arrays, progress = {}, {}
    for key, value in tensors.items():
        kind, _, name = key.removesuffix(VALUE_SUFFIX).partition("/")
        name = name.replace(".S", "/").replace("..", ".")
        if kind == "variables":
            arrays[name] = value
        elif kind == "progress" and value.dtype.kind == "i" and not value.shape:
            progress[name] = int(value)
    return Checkpoint(path, False, arrays, progress)


def checkpoint_files(path: str) -> dict[str, Path]:
    """The files of the checkpoint `path` by their endings. Raises `ValueError` unless the index ends as one does.

    TensorFlow's reader is C++ and may end the whole process on a file that is cut off. Raises `FileNotFoundError` for
    a file that is missing.
    """
    index = Path(f"{path}.index")
    if index.read_bytes()[-8:] != INDEX_MAGIC:
        raise ValueError(f"{index.name} is cut off, or no index")
    start, there = len(index.stem), index.parent.iterdir()
    data = {entry.name[start:]: entry for entry in there if entry.name.startswith(f"{index.stem}.data-")}
    shards = max((int(ending[-5:]) for ending in data if ENDING.fullmatch(ending)), default=1)
    for shard in range(shards):
        if (ending := f".data-{shard:05}-of-{shards:05}") not in data:
            raise FileNotFoundError(errno.ENOENT, "a part of the checkpoint is missing", path + ending)
    return {".index": index, **data}


def check_settings(folder: Path, marker: Marker, settings: Mapping[str, Any], mutable: Collection[str]) -> None:
    """Raise `ExperimentError` for the first of `settings`, but for the `mutable`, that is not as it was."""
    for name in sorted(set(settings) - set(mutable)):
        if name in marker.settings and marker.settings[name] != settings[name]:
            raise ExperimentError(
                f"--resume: the run in {folder} was begun with --{name}={marker.settings[name]}, not "
                f"{settings[name]}; give the same flags, or another --save_dir"
            )


def find_interrupted_run(
    save_dir: str | Path, settings: Mapping[str, Any], mutable: Collection[str]
) -> InterruptedRun | None:
    """The run in `save_dir` to go on with; None if nothing was begun there.

    Raises `ExperimentError` if what lies there is no run of ours, is damaged, or was begun with other `settings`
    (flags by name) than these, except for the `mutable` ones.
    """
    folder = Path(save_dir)
    marker = experiment.read_marker(folder)
    begun = (folder / STATE).is_file() or any(folder.glob(f"{CHECKPOINT_NAME}*.index"))
    if marker is None:
        if begun:
            raise ExperimentError(
                f"--resume: {folder} has no {MARKER}: it is the original's, or not whole; start from its weights "
                "with --use_ckpt=true and another --save_dir"
            )
        return None
    check_settings(folder, marker, settings, mutable)
    checkpoint = load(folder) if begun else None
    if checkpoint is not None and checkpoint.progress.get("run") != marker.run:
        checkpoint = None  # of an earlier run in this folder, from whose weights this one started
    return InterruptedRun(marker, checkpoint)


def check_variable(name: str, variable: tf.Variable, checkpoint: Checkpoint) -> None:
    """Raise `ExperimentError` unless `checkpoint` has `name` with the shape of `variable`."""
    if name not in checkpoint.arrays:
        raise ExperimentError(
            f"{checkpoint.path}: has no variable {name}; it is a checkpoint of another task, model or cell"
        )
    array, wanted = checkpoint.arrays[name], tuple(variable.shape)
    if array.dtype.kind != "f" or array.shape != wanted:
        raise ExperimentError(
            f"{checkpoint.path}: {name} is {array.dtype} {list(array.shape)}, this network needs floating-point "
            f"{list(wanted)}; it is a checkpoint of another task or other settings"
        )


def reason(error: Exception) -> str:
    """What an error of the file system's or of TensorFlow's says, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (getattr(error, "message", None) or str(error)).split("\n")[0].split(" [Op:")[0]
