"""Files of a dataset: the .npz with its metadata, and a picture of the first sequences."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from data_gen.errors import DataError, one_line

logger = logging.getLogger("tf")

SPLITS = ("train", "valid", "test")


@contextmanager
def atomic_file(dest: str) -> Iterator[BinaryIO]:
    """A binary file that appears as `dest` only when the block ends without an error.

    Raises `DataError` where the folder or the file cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(dest))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name[:40]}.", suffix=".part", dir=folder)
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.umask(mask := os.umask(0))
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes private files
        os.replace(temporary, dest)
        temporary = None
    except OSError as error:
        raise DataError(f"cannot write {dest}: {one_line(error)}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def check_destination(dest: str, overwrite: bool) -> str:
    """`dest` with the ending .npz; `DataError` if it exists and may not be replaced."""
    path = dest if dest.lower().endswith(".npz") else dest + ".npz"
    if os.path.isdir(path):
        raise DataError(f"cannot write {path}: it is a folder")
    if os.path.exists(path) and not overwrite:
        raise DataError(f"{path} exists; give another name, or --overwrite to replace it")
    return path


def save_dataset(path: str, arrays: Mapping[str, Any]) -> None:
    """Write a compressed .npz, atomically. Equal arrays give equal bytes.

    A dict among `arrays` is stored as a JSON string, read by `json.loads(str(np.load(path)["meta"]))`.
    """
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in arrays.items():
            if isinstance(value, Mapping):
                value = json.dumps(value, sort_keys=True)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def save_samples(npz_file: str, frames: np.ndarray, overwrite: bool) -> None:
    """Draw the first ten sequences of `frames` [sequences, T, H, H, C], one per row, beside the dataset."""
    folder, name = os.path.split(os.path.splitext(npz_file)[0])
    path = os.path.join(folder, os.fsdecode(os.fsencode(name)[:240]) + "_samples.jpg")  # a name has at most 255 bytes
    if os.path.exists(path) and not overwrite:
        logger.warning("%s exists and is kept: it may show other data", path)
        return
    frames = frames[:10]
    rows, cols, height, width, channels = frames.shape
    grid = np.full((rows, cols, height + 1, width + 1, channels), 127, np.uint8)
    grid[:, :, :height, :width] = frames
    grid = grid.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), cols * (width + 1), channels)
    with atomic_file(path) as file:
        Image.fromarray(grid[..., 0] if channels == 1 else grid).save(file, "JPEG", quality=95)


def is_npz(path: str | os.PathLike) -> bool:
    """Whether a file begins as an .npz does, whatever it is called."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")  # a zip archive; one of no files
    except OSError:
        return False


@contextmanager
def open_npz(path: str | os.PathLike) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of an .npz by name, each read when it is taken. `DataError` if it is missing or damaged."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such data file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for damage; MemoryError for a false size
        what = "cannot be read" if getattr(error, "errno", None) else "not an .npz file, damaged or too large"
        raise DataError(f"{path}: {what} ({one_line(error)})") from error


def read_array(path: str | os.PathLike, names: Sequence[str]) -> np.ndarray:
    """The first of `names` that an .npz holds, or else its only array."""
    with open_npz(path) as archive:
        held = list(archive)
        for name in (*names, *(held if len(held) == 1 else ())):
            if name in held and isinstance(archive[name], np.ndarray):
                return archive[name]
    raise DataError(f"{path}: holds {', '.join(held) or 'no array'}; need an array called {' or '.join(names)}")
