"""Batches of frames (`nn/datasets/iterators.py` of the original). Frames stay uint8 in memory."""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_gen.errors import DataError, in_short

SPLITS = ("train", "valid", "test")


class DataIterator:
    """Shuffled batches of `X` [sequences, T, H, H, C] uint8.

    The order of an epoch depends on `seed` and the epoch's number alone, so that a run can be repeated and
    resumed; without a seed it is random. The incomplete last batch of an epoch is dropped. The trainings here take
    `epoch`; `num_examples` and `next_batch` are kept for code written for the original.
    """

    def __init__(self, X: np.ndarray, seed: int | None = None):  # noqa: N803, the original's name
        self.X = X
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self.epochs_completed = 0
        self._position = 0

    @property
    def num_examples(self) -> int:
        """Number of sequences."""
        return len(self.X)

    @functools.cached_property
    def checksum(self) -> int:
        """CRC-32 of the frames, computed once: whether a run goes on with the data that it was begun with."""
        return zlib.crc32(self.X.data)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the sequences in `epoch`."""
        return np.random.RandomState([self.seed % 2**32, epoch]).permutation(len(self.X))

    def epoch(self, epoch: int, batch_size: int, first_step: int = 0) -> Iterator[np.ndarray]:
        """The batches [batch_size, T, H, H, C] of `epoch`, from its step `first_step` on."""
        order = self.order(epoch)
        for step in range(first_step, len(order) // batch_size):
            yield self.X[order[step * batch_size : (step + 1) * batch_size]]

    def next_batch(self, batch_size: int) -> np.ndarray:
        """The next batch [batch_size, T, H, H, C]; goes on to the next epoch when this one is used up.

        Raises `DataError` if there are fewer sequences than `batch_size`.
        """
        check_batch_size(self.X, batch_size)
        if self._position + batch_size > len(self.X):
            self._position = 0
            self.epochs_completed += 1
        order = self.order(self.epochs_completed)
        chosen = order[self._position : self._position + batch_size]
        self._position += batch_size
        return self.X[chosen]


def check_batch_size(frames: np.ndarray, batch_size: int) -> None:
    """Raise `DataError` unless a batch of `batch_size` can be taken from `frames`."""
    if not 0 < batch_size <= len(frames):
        raise DataError(
            f"--batch_size={batch_size}: must lie between 1 and the number of training sequences, {len(frames)}"
        )


def get_iterators(
    file: str | Path,
    datapoints: int = 0,
    seed: int | None = None,
    img_size: int | None = None,
    seq_len: int | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> dict[str, DataIterator]:
    """A `DataIterator` for each of `splits` of a data file or a film; only these are held in memory.

    `datapoints` > 0 keeps only so many training sequences. A film (see `load_film`) is resized to `img_size` pixels
    and cut into sequences of `seq_len` frames. Raises `DataError` for a missing, damaged or unsuitable file.
    """
    if is_film(Path(file)):
        frames = load_film(file, img_size, seq_len)
    else:
        frames = load_frames(file, splits)
        if img_size or seq_len:
            raise DataError(f"{file}: has its splits already; --img_size and --seq_len are for a film")
    if datapoints > 0:
        if datapoints > len(frames["train"]):
            raise DataError(f"--datapoints={datapoints}: {file} has only {len(frames['train'])} training sequences")
        frames["train"] = frames["train"][:datapoints].copy()
    return {split: DataIterator(frames[split], seed) for split in splits}


def load_frames(file: str | Path, splits: tuple[str, ...] = SPLITS) -> dict[str, np.ndarray]:
    """The arrays `train_x`, … of `splits` of a data file as {"train": [S, T, H, H, C] uint8, …}.

    Raises `DataError` for a missing or damaged file, a missing array, a wrong rank, dtype or size.
    """
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{path}: no such data file")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise DataError(f"{path}: a single array; need an .npz with train_x, valid_x and test_x")
        with loaded as archive:
            missing = [f"{split}_x" for split in SPLITS if f"{split}_x" not in archive.files]
            if missing:
                raise DataError(f"{path}: has no array {missing[0]}; need train_x, valid_x and test_x")
            frames = {split: archive[f"{split}_x"] for split in splits}
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: damaged, or too large for the memory here ({error})") from error
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds for damage
        raise DataError(f"{path}: damaged or not an .npz file ({type(error).__name__}: {in_short(error)})") from error
    for split, array in frames.items():
        check_array(f"{path}: {split}_x", array)
        first = frames[splits[0]]
        if array.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{path}: {split}_x has sequences of shape {list(array.shape[1:])}, "
                f"{splits[0]}_x of {list(first.shape[1:])}; they must agree"
            )
    return frames


def is_film(path: Path) -> bool:
    """Whether `path` is a recording still to be cut: everything but an .npz with one of the splits' arrays."""
    if path.is_dir() or path.suffix != ".npz":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False  # `load_frames` says what is wrong with it
    return bool(names) and not any(f"{split}_x.npy" in names for split in SPLITS)


def load_film(path: str | Path, img_size: int | None, seq_len: int | None) -> dict[str, np.ndarray]:
    """A folder of PNG frames, a GIF, an MP4 or an .npz of one film, as `load_frames` gives a data file.

    The last tenth of the sequences (at least one) is the test split, the tenth before it the validation split.
    Raises `DataError` for a missing or damaged film, or one of fewer than three sequences.
    """
    from data_gen.video import load_video

    sequences = np.ascontiguousarray(load_video(path, size=img_size, seq_len=seq_len))
    check_array(str(path), sequences)
    if len(sequences) < 3:
        raise DataError(f"{path}: {len(sequences)} sequences of {sequences.shape[1]} frames; need at least 3")
    tenth = max(1, len(sequences) // 10)
    train, valid, test = np.split(sequences, [len(sequences) - 2 * tenth, len(sequences) - tenth])
    return {"train": train, "valid": valid, "test": test}


def check_array(where: str, array: np.ndarray) -> None:
    """Raise `DataError`, saying `where`, unless `array` is uint8 [S, T, H, H, C] with C = 1 or 3 and S > 0."""
    if not isinstance(array, np.ndarray):  # NumPy's reader gives the bytes of what is none
        raise DataError(f"{where} is damaged: no array of NumPy's")
    if array.ndim != 5:
        raise DataError(f"{where} has rank {array.ndim}; need [sequences, T, H, H, C]")
    if array.dtype != np.uint8:
        raise DataError(f"{where} is {array.dtype}; need uint8, 0 to 255")
    if array.shape[2] != array.shape[3]:
        raise DataError(f"{where} has frames of {array.shape[2]}×{array.shape[3]} pixels; they must be square")
    if array.shape[4] not in (1, 3):
        raise DataError(f"{where} has {array.shape[4]} channels; need 1 or 3")
    if 0 in array.shape:
        raise DataError(f"{where} is empty, shape {list(array.shape)}")
