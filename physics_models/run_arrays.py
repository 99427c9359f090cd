"""Reads an experiment's arrays (`outputs.npz`, `extra_outputs.npz`) a row at a time, and compares arrays.

The published digit set's `outputs.npz` holds 1.4 GB; two of them are to be compared without both in memory.
"""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from physics_models.errors import ExperimentError

MAX_ARRAY_BYTES = 4 * 2**30
MAX_LOADED_BYTES = 2**30
MAX_ARRAYS = 100


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """One array of an `.npz` that stays in the file until it is asked for.

    `shape` and `dtype` are the file's; rows are what the first axis counts.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def rows(self) -> Iterator[np.ndarray]:
        """Each row, an array [*shape[1:]], in the file's order.

        Raises:
          ExperimentError: the file is damaged.
        """
        row_shape = self.shape[1:]
        row_bytes = math.prod(row_shape) * self.dtype.itemsize
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as file:
                _read_header(file)
                for _ in range(self.shape[0]):
                    row = np.frombuffer(_read_exactly(file, row_bytes), self.dtype)
                    yield row.reshape(row_shape)
                # Reading on to the end makes zipfile compare the checksum.
                if file.read(1):
                    raise ValueError("more data than its shape says")
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for damage
            raise _damaged(self.path, error) from error

    def load(self) -> np.ndarray:
        """The whole array.

        Raises:
          ExperimentError: the file is damaged, or the array is larger than 1 GB.
        """
        if math.prod(self.shape) * self.dtype.itemsize > MAX_LOADED_BYTES:
            raise ExperimentError(f"{self.path}: {self.name} {list(self.shape)} is larger than 1 GB")
        loaded = np.empty(self.shape, self.dtype)
        for index, row in enumerate(self.rows()):
            loaded[index] = row
        return loaded


def stored_arrays(path: str | Path) -> dict[str, StoredArray]:
    """The arrays of an `.npz`, by name; nothing is unpickled, and nothing but their headers is read.

    Raises:
      ExperimentError: there is no such file, it is damaged, or it holds other things than numbers.
    """
    path = Path(path)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > MAX_ARRAYS:
                raise ValueError(f"it holds {len(names)} arrays")
            for name in names:
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        shape, dtype = _read_header(file)
                    arrays[name[:-4]] = StoredArray(path, name[:-4], shape, dtype)
    except FileNotFoundError:
        raise ExperimentError(f"{path}: no such file") from None
    except Exception as error:  # as above
        raise _damaged(path, error) from error
    return arrays


@dataclasses.dataclass(frozen=True)
class ArrayDifference:
    """How far one array of two runs is apart.

    `largest` is max |a - b|, `relative` is ‖a - b‖ / ‖a‖; both None if the array is in one run alone or the
    shapes differ. `shapes` has None for the run without it.
    """

    name: str
    shapes: tuple[tuple[int, ...] | None, ...]
    equal: bool = False
    largest: float | None = None
    relative: float | None = None


def array_difference(name: str, first: np.ndarray | None, second: np.ndarray | None) -> ArrayDifference:
    """Compares one array of two runs; None stands for a missing one, NaN in the same place is equal."""
    shapes = tuple(None if array is None else np.shape(array) for array in (first, second))
    if first is None or second is None or shapes[0] != shapes[1]:
        return ArrayDifference(name, shapes)
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if np.array_equal(first, second, equal_nan=True):
        return ArrayDifference(name, shapes, True, 0.0, 0.0)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        apart = np.abs(first - second)
        relative = np.sqrt(np.sum(np.square(apart))) / np.sqrt(np.sum(np.square(first)))
    return ArrayDifference(name, shapes, False, float(np.max(apart)), float(relative))


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("its arrays are not in the format that np.savez writes")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"it holds {dtype} instead of numbers")
    if fortran_order and len(shape) > 1:
        raise ValueError("it holds an array in Fortran order")
    if not shape or min(shape) < 1 or math.prod(shape) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise ValueError(f"it holds an array of shape {list(shape)}")
    return shape, dtype


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = file.read(min(size, 2**24))
        if not part:
            raise ValueError("it ends too early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _damaged(path: Path, error: Exception) -> ExperimentError:
    if isinstance(error, PermissionError):
        return ExperimentError(f"{path}: cannot be read ({error.strerror})")
    reason = " ".join(str(error).split()) or type(error).__name__
    return ExperimentError(f"{path}: not a readable .npz ({reason})")
