"""Data files and batches (the original's `nn/datasets/iterators.py`).

Frames stay uint8, 0 to 255. The network casts them and divides by 255; the original divided when it read the file.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_gen.errors import DataError
from data_gen.files import SPLITS, is_npz, open_npz
from data_gen.video import load_video


class DataIterator:
    """Shuffled batches of sequences; an incomplete last batch of an epoch is dropped.

    `next_batch` and what belongs to it count as the original's. The training loop takes `epoch`, which can start
    in the middle. The n-th shuffle depends on `seed` and n alone, so that a run can be repeated and resumed;
    NumPy's global random stream, which the original shuffled with, is left alone.

    Args:
        X: frames uint8 [sequences, T, H, H, C].
        Y: an array of equal length: the torques of a pendulum. None as in all other tasks.
        seed: any whole number; None takes a random one.
    """

    def __init__(self, X: np.ndarray, Y: np.ndarray | None = None, *, seed: int | None = None):  # noqa: N803
        if Y is not None and len(Y) != len(X):  # a number is none, either: the seed goes by its name
            raise DataError("Y must have as many entries as X")
        self.X, self.Y = X, Y
        self.seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self.num_examples = len(X)
        self.epochs_completed = 0
        self._shuffles = 0
        self.reset_iteration()

    def order(self, epoch: int) -> np.ndarray:
        """The order of the sequences in `epoch`; the first epoch is number 1."""
        return np.random.RandomState([self.seed % 2**32, epoch]).permutation(self.num_examples)

    def epoch(self, epoch: int, batch_size: int, first_step: int = 0) -> Iterator:
        """The batches of `epoch`, from its step `first_step` on, as `take` gives them."""
        order = self.order(epoch)
        for step in range(first_step, len(order) // batch_size):
            yield self.take(order[step * batch_size : (step + 1) * batch_size])

    def take(
        self, which: np.ndarray | slice, instead: np.ndarray | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The sequences `which`: frames [n, T, H, H, C], or with `Y` the pair of these and their entries of `Y`.

        `instead`: an array with an entry for each sequence, in place of the frames.
        """
        taken = (self.X if instead is None else instead)[which]
        return taken if self.Y is None else (taken, self.Y[which])

    @functools.cached_property
    def checksum(self) -> int:
        """CRC-32 of the data: a resumed run compares it, so that it continues with the same ones."""
        frames = zlib.crc32(np.ascontiguousarray(self.X))
        return frames if self.Y is None else zlib.crc32(np.ascontiguousarray(self.Y), frames)

    def next_batch(self, batch_size: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The next (batch_x, batch_y); `batch_y` is None without `Y`.

        The epoch is completed when what is left of it fills no further batch. If there are fewer sequences than
        `batch_size`, all of them are the batch.
        """
        chosen = self.indices[self.start_idx : self.start_idx + batch_size]
        self.start_idx += batch_size
        if self.start_idx + batch_size > self.num_examples:
            self.reset_iteration()
            self.epochs_completed += 1
        return self.X[chosen], None if self.Y is None else self.Y[chosen]

    def reset_iteration(self) -> None:
        """Shuffle `indices`; the next batch is the first of this order."""
        self._shuffles += 1
        self.indices = self.order(self._shuffles)
        self.start_idx = 0

    def get_epoch(self) -> int:
        """The number of epochs that `next_batch` has completed."""
        return self.epochs_completed

    def reset_epoch(self) -> None:
        """Shuffle, and count epochs from 0 again."""
        self.reset_iteration()
        self.epochs_completed = 0


def check_batch_size(frames: np.ndarray, batch_size: int) -> None:
    """Raise `DataError` unless `frames` [sequences, …] give a batch of `batch_size`."""
    if not 0 < batch_size <= len(frames):
        raise DataError(f"--batch_size={batch_size}: must lie between 1 and the number of sequences, {len(frames)}")


def get_iterators(
    file: str | Path, conv: bool = True, datapoints: int = 0,
    *, seed: int | None = None, img_size: int | None = None, seq_len: int | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> dict[str, DataIterator]:
    """The iterators {"train": …, "valid": …, "test": …} of a data file or a video (the original's are a tuple).

    Args:
        file: an .npz with train_x, valid_x and test_x, or a video (see `data_gen.video.load_video`).
        conv: True keeps frames as [sequences, T, H, H, C]; False, the original's default, gives [sequences, T, H·H·C].
        datapoints: if above 0, the number of training sequences to keep (the original ignores it).
        seed: of the order of the batches.
        img_size, seq_len: for a video, the side H to resize it to and the frames T of a sequence.
        splits: the splits to read.
    """
    if is_video(Path(file)):
        frames = load_video_splits(file, img_size, seq_len)
    elif img_size is not None or seq_len is not None:
        raise DataError(f"{file}: has its splits already; leave out --img_size and --seq_len, they are for a video")
    else:
        frames = load_frames(file, splits)
    if datapoints > 0:
        if datapoints > len(frames["train"]):
            raise DataError(f"--datapoints={datapoints}: {file} has only {len(frames['train'])} training sequences")
        frames["train"] = frames["train"][:datapoints].copy()
    if not conv:
        frames = {split: array.reshape(*array.shape[:2], -1) for split, array in frames.items()}
    actions = load_actions(file, frames)
    return {split: DataIterator(frames[split], actions.get(split), seed=seed) for split in splits}


def load_frames(file: str | Path, splits: tuple[str, ...] = SPLITS) -> dict[str, np.ndarray]:
    """The frames {"train": uint8 [sequences, T, H, H, C], …} of a data file."""
    with open_npz(file) as archive:
        for split in SPLITS:
            if f"{split}_x" not in archive:
                raise DataError(f"{file}: has no array {split}_x; need train_x, valid_x and test_x")
        frames = {split: np.ascontiguousarray(archive[f"{split}_x"]) for split in splits}
    for split, array in frames.items():
        check_frames(f"{file}: {split}_x", array)
        if array.shape[1:] != frames[splits[0]].shape[1:]:
            raise DataError(f"{file}: {split}_x and {splits[0]}_x differ in the shape of a sequence")
    return frames


def load_actions(file: str | Path, frames: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays `{split}_actions` float32 [sequences, T − 1] of a data file of a pendulum, as many as `frames`."""
    if not is_npz(file):
        return {}
    with open_npz(file) as archive:
        named = {split: f"{split}_actions" for split in frames if f"{split}_actions" in archive}
        actions = {split: np.float32(archive[name][: len(frames[split])]) for split, name in named.items()}
    for split, array in actions.items():
        if array.shape != (len(frames[split]), frames[split].shape[1] - 1):
            need = [len(frames[split]), frames[split].shape[1] - 1]
            raise DataError(f"{file}: {split}_actions is {list(array.shape)}; need {need}, one between two frames")
    return actions


def is_video(path: Path) -> bool:
    """Whether `path` is a recording still to be cut: anything but an .npz with one of the splits' arrays."""
    if path.is_dir() or not (is_npz(path) or path.suffix.lower() == ".npz"):
        return True
    with open_npz(path) as archive:
        return not any(f"{split}_x" in archive for split in SPLITS)


def load_video_splits(path: str | Path, img_size: int | None, seq_len: int | None) -> dict[str, np.ndarray]:
    """A video's sequences by split: the last tenth (at least one) for the test, the tenth before for validation."""
    sequences = load_video(path, size=img_size, seq_len=seq_len)
    check_frames(str(path), sequences)
    if len(sequences) < 3:
        raise DataError(f"{path}: {len(sequences)} sequences of {sequences.shape[1]} frames; need at least 3")
    tenth = max(1, len(sequences) // 10)
    return dict(zip(SPLITS, np.split(sequences, [len(sequences) - 2 * tenth, len(sequences) - tenth])))


def check_frames(name: str, array: np.ndarray) -> None:
    """Raise `DataError`, beginning with `name`, unless `array` is uint8 [S, T, H, H, C] with C = 1 or 3."""
    array = np.asarray(array)  # what is no array in an archive is read as bytes
    square = array.ndim == 5 and array.shape[2] == array.shape[3] and array.shape[4] in (1, 3) and 0 not in array.shape
    if array.dtype != np.uint8 or not square:
        need = "need uint8, 0 to 255, [sequences, T, H, H, C]: square frames with C = 1 or 3 channels on the last axis"
        raise DataError(f"{name} is {array.dtype} {list(array.shape)}; {need}")
