"""Checkpoints and SavedModels for TensorFlow, whatever their folders are called.

TensorFlow takes the path of a checkpoint for a pattern, in which a backslash, brackets, * and ? do not stand for
themselves, and every path for UTF-8. So it reads and writes under plain names, in its file system in memory; what lies
on the disk is read and written by Python.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

CHUNK = 2**20  # bytes


@contextlib.contextmanager
def memory_folder() -> Iterator[str]:
    """A folder for TensorFlow in memory, which is gone after the block."""
    folder = f"ram://{secrets.token_hex(8)}"
    try:
        yield folder
    finally:
        with contextlib.suppress(tf.errors.NotFoundError):  # nothing was written
            tf.io.gfile.rmtree(folder)


def copy_in(file: Path, name: str) -> None:
    """Copy `file` from the disk into memory, as `name`. Raises `OSError` if it cannot be read."""
    with open(file, "rb") as source, tf.io.gfile.GFile(name, "wb") as target:
        shutil.copyfileobj(source, target, CHUNK)


def copy_out(folder: str, dest: Path) -> None:
    """Copy all that lies in `folder`, in memory, to the folder `dest` on the disk. Raises `OSError`."""
    for path, _, files in tf.io.gfile.walk(folder):
        there = dest / path[len(folder) :].lstrip("/")
        there.mkdir(parents=True, exist_ok=True)
        for name in files:
            with tf.io.gfile.GFile(f"{path}/{name}", "rb") as source, open(there / name, "wb") as target:
                shutil.copyfileobj(source, target, CHUNK)
