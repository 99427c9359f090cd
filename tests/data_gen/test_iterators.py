"""Batches, and data files that are read or refused with one clear line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_gen.errors import DataError
from data_gen.iterators import DataIterator, check_batch_size, get_iterators

SPLITS = ("train", "valid", "test")


def films(sequences: int, frames: int = 3, side: int = 4, channels: int = 3) -> np.ndarray:
    shape = (sequences, frames, side, side, channels)
    return np.random.RandomState(sequences).randint(0, 256, shape).astype(np.uint8)


def write(path, **arrays):
    np.savez(path, **{"train_x": films(5), "valid_x": films(2), "test_x": films(3), **arrays})
    return path


def numbered(count: int) -> np.ndarray:
    """Sequences that hold their own number."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1, 1)


def test_an_epoch_holds_every_sequence_once_and_drops_the_rest():
    iterator = DataIterator(numbered(10), seed=3)
    batches = [batch.ravel() for batch in iterator.epoch(1, 4)]
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(set(np.concatenate(batches))) == 8
    assert iterator.num_examples == 10


def test_batches_keep_dtype_and_shape():
    (batch,) = DataIterator(films(4)).epoch(1, 4)
    assert batch.shape == (4, 3, 4, 4, 3) and batch.dtype == np.uint8


def test_epochs_differ_and_a_seed_repeats_them():
    orders = [DataIterator(numbered(50), seed=3).order(epoch) for epoch in (1, 2, 1)]
    assert (orders[0] != orders[1]).any() and (orders[0] == orders[2]).all()
    assert (DataIterator(numbered(50), seed=4).order(1) != orders[0]).any()
    assert (DataIterator(numbered(50)).order(1) != DataIterator(numbered(50)).order(1)).any()  # random without a seed


def test_an_epoch_can_be_entered_in_the_middle():
    iterator = DataIterator(numbered(10), seed=0)
    whole = list(iterator.epoch(5, 3))
    for ours, wanted in zip(iterator.epoch(5, 3, first_step=1), whole[1:]):
        np.testing.assert_array_equal(ours, wanted)


def test_next_batch_goes_through_epochs():
    iterator = DataIterator(numbered(5), seed=0)
    first = np.concatenate([iterator.next_batch(2) for _ in range(2)]).ravel()
    assert len(set(first)) == 4 and iterator.epochs_completed == 0
    iterator.next_batch(2)  # the fifth sequence alone fills no batch
    assert iterator.epochs_completed == 1


@pytest.mark.parametrize("size", [0, -1, 6])
def test_a_batch_size_that_cannot_be(size):
    with pytest.raises(DataError, match=f"--batch_size={size}: must lie between 1 and .* 5"):
        check_batch_size(films(5), size)


def test_a_file_is_read_split_by_split(tmp_path):
    arrays = {f"{split}_x": films(n) for split, n in zip(SPLITS, (5, 2, 3))}
    data = get_iterators(write(tmp_path / "film.npz", **arrays))
    assert set(data) == set(SPLITS)
    for split in SPLITS:
        np.testing.assert_array_equal(data[split].X, arrays[f"{split}_x"])


def test_datapoints_limits_the_training_split_alone(tmp_path):
    path = write(tmp_path / "film.npz")
    data = get_iterators(path, datapoints=2)
    assert [data[split].num_examples for split in SPLITS] == [2, 2, 3]
    with pytest.raises(DataError, match="--datapoints=6: .* only 5"):
        get_iterators(path, datapoints=6)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"train_x": films(5)[0]}, "train_x has rank 4; need .sequences, T, H, H, C."),
        ({"valid_x": films(2).astype("f4")}, "valid_x is float32; need uint8"),
        ({"test_x": films(3)[:, :, :2]}, "test_x has frames of 2×4 pixels; they must be square"),
        ({"train_x": films(5, channels=2)}, "train_x has 2 channels; need 1 or 3"),
        ({"train_x": films(5)[:0]}, "train_x is empty"),
        ({"test_x": films(3, frames=4)}, "test_x has sequences of shape .4, 4, 4, 3., train_x of .3, 4, 4, 3."),
        ({"train_x": np.array([None])}, "damaged"),
    ],
)
def test_unsuitable_arrays_are_named(tmp_path, arrays, said):
    path = write(tmp_path / "film.npz", **arrays)
    with pytest.raises(DataError, match=f"film.npz: .*{said}") as raised:
        get_iterators(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", [f"{split}_x" for split in SPLITS])
def test_a_missing_array_is_named(tmp_path, missing):
    arrays = {f"{split}_x": films(3) for split in SPLITS}
    del arrays[missing]
    np.savez(tmp_path / "film.npz", **arrays)
    with pytest.raises(DataError, match=f"film.npz: has no array {missing}"):
        get_iterators(tmp_path / "film.npz")


def test_files_that_are_no_archives(tmp_path):
    path = write(tmp_path / "film.npz")
    whole = path.read_bytes()
    for content in (b"", b"PK", b"no archive at all", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="film.npz: damaged or not an .npz file"):
            get_iterators(path)
    np.save(tmp_path / "one.npy", films(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="a single array"):
        get_iterators(tmp_path / "one.npz")
    with pytest.raises(DataError, match="none.npz: no such data file"):
        get_iterators(tmp_path / "none.npz")


def test_a_flipped_bit_is_found(tmp_path):
    path = write(tmp_path / "film.npz", train_x=np.zeros([50, 3, 4, 4, 3], np.uint8))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1  # within train_x: the archive's checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        get_iterators(path)


def test_an_npz_without_splits_is_a_film(tmp_path):
    np.savez(tmp_path / "film.npz", frames=films(1, frames=35)[0])
    data = get_iterators(tmp_path / "film.npz", seq_len=7)
    assert [data[split].X.shape for split in SPLITS] == [(3, 7, 4, 4, 3), (1, 7, 4, 4, 3), (1, 7, 4, 4, 3)]
    with pytest.raises(DataError, match="film.npz: has its splits already; --img_size and --seq_len are for a film"):
        get_iterators(write(tmp_path / "film.npz"), seq_len=7)


def test_a_film_lies_in_memory_like_a_data_file(tmp_path):
    """A run keeps a checksum of its data, which needs them in one piece; resized pictures come transposed."""
    frames = films(1, frames=12, side=8)[0]
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    data = get_iterators(tmp_path, img_size=4, seq_len=4)
    assert data["train"].X.shape == (1, 4, 4, 4, 3)
    assert all(data[split].X.flags.c_contiguous for split in SPLITS)
