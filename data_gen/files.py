"""Files of a dataset: the .npz with its meta data, and a picture of the first sequences."""

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

from data_gen.errors import DataError, in_short

log = logging.getLogger("tf")

META_VERSION = 1
PICTURED_SEQUENCES = 10


@contextmanager
def atomic_file(dest: str) -> Iterator[BinaryIO]:
    """A binary file that appears under `dest` only when the block ends well (same folder, fsync, rename).

    Raises:
        DataError: the folder or file cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(dest))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes private files
        os.replace(temporary, dest)
        temporary = None
    except OSError as error:
        raise DataError(f"cannot write {dest}: {error.strerror or error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def npz_path(dest: str) -> str:
    """`dest` with the ending .npz, which NumPy adds where it lacks."""
    return dest if dest.endswith(".npz") else dest + ".npz"


def check_destination(dest: str, overwrite: bool) -> str:
    """Return the path to write, or raise DataError if it exists and may not be replaced."""
    path = npz_path(dest)
    _check_free(path, overwrite)
    return path


def samples_path(npz_file: str) -> str:
    """Where `save_samples` puts the picture of a dataset."""
    return os.path.splitext(npz_file)[0] + "_samples.jpg"


def check_destinations(dest: str, overwrite: bool) -> None:
    """As `check_destination`, for the dataset and for the picture beside it."""
    _check_free(samples_path(check_destination(dest, overwrite)), overwrite)


def _check_free(path: str, overwrite: bool) -> None:
    if os.path.isdir(path):
        raise DataError(f"cannot write {path}: it is a folder")
    if os.path.exists(path) and not overwrite:
        raise DataError(f"{path} exists; give another name, or --overwrite to replace it")


def save_dataset(dest: str, arrays: Mapping[str, Any], overwrite: bool = False) -> str:
    """Write arrays to a compressed .npz, atomically; equal arrays give equal bytes.

    Args:
        dest: path; .npz is added if it lacks.
        arrays: name -> array. The entry "meta" may be a dict: it is stored as a JSON string, readable by
            `json.loads(str(np.load(dest)["meta"]))`.
        overwrite: replace an existing file.

    Returns:
        The path written.

    Raises:
        DataError: the file exists, or cannot be written.
    """
    path = check_destination(dest, overwrite)
    with atomic_file(path) as file, zipfile.ZipFile(
        file, "w", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as archive:
        for name, value in arrays.items():
            if isinstance(value, Mapping):
                value = json.dumps(value, sort_keys=True)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
    return path


def read_arrays(path: str | os.PathLike, wanted: Sequence[Sequence[str]]) -> np.ndarray:
    """The first group of names in `wanted` that an .npz holds, its arrays joined; or else its only array.

    Raises:
        DataError: unreadable, or none of these names among several.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            return archive
        with archive:
            for names in (*wanted, archive.files[:1] if len(archive.files) == 1 else ()):
                if names and all(name in archive.files for name in names):
                    arrays = [archive[name] for name in names]
                    if not all(isinstance(array, np.ndarray) for array in arrays):
                        raise ValueError("no array of NumPy's")
                    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
            held = ", ".join(archive.files) or "no array"
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for damage
        raise DataError(f"cannot read {path}: {in_short(error)}") from error
    raise DataError(f"{path} holds {held}; need an array called {' or '.join(names[0] for names in wanted)}")


def save_samples(npz_file: str, frames: np.ndarray, overwrite: bool = True) -> str | None:
    """Write `<npz_file without its ending>_samples.jpg`: a row a sequence, its frames from left to right.

    Args:
        npz_file: path of the dataset.
        frames: uint8 [sequences, T, H, H, C]; the first ten sequences are shown.
        overwrite: replace an existing picture; else it is kept, with a warning.

    Returns:
        The picture's path, or None where Pillow is not installed or a picture was kept.
    """
    path = samples_path(npz_file)
    if os.path.exists(path) and not overwrite:
        log.warning("%s was there before and is kept: it may show other data", path)
        return None
    try:
        from PIL import Image
    except ImportError:
        log.warning("no picture of the samples: Pillow is not installed")
        return None
    frames = frames[:PICTURED_SEQUENCES]
    rows, cols, height, width, channels = frames.shape
    grid = np.full((rows, cols, height + 1, width + 1, channels), 127, np.uint8)
    grid[:, :, :height, :width] = frames
    grid = grid.transpose(0, 2, 1, 3, 4).reshape(rows * (height + 1), cols * (width + 1), channels)
    picture = Image.fromarray(grid[..., 0] if channels == 1 else grid)
    with atomic_file(path) as file:
        picture.save(file, "JPEG", quality=95)
    return path
