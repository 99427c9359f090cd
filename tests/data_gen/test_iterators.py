"""Batches, and data files that are read or refused with one clear line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_gen.errors import DataError
from data_gen.iterators import DataIterator, check_batch_size, get_iterators

SPLITS = ("train", "valid", "test")


def videos(sequences: int, frames: int = 3, side: int = 4, channels: int = 3) -> np.ndarray:
    shape = (sequences, frames, side, side, channels)
    return np.random.RandomState(sequences).randint(0, 256, shape).astype(np.uint8)


def write(path, **arrays):
    np.savez(path, **{"train_x": videos(5), "valid_x": videos(2), "test_x": videos(3), **arrays})
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
    (batch,) = DataIterator(videos(4)).epoch(1, 4)
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


# Measured by running the original's class: (sequences, batch size) -> batches in each epoch, sequences in each.
BATCHES_OF_THE_ORIGINAL = {
    (250, 100): (2, 100),
    (300, 100): (3, 100),
    (100, 100): (1, 100),
    (99, 100): (1, 99),
    (5, 2): (2, 2),
    (7, 3): (2, 3),
    (1, 1): (1, 1),
    (10, 9): (1, 9),
    (10, 5): (2, 5),
    (3, 7): (1, 3),
}


@pytest.mark.parametrize(("count", "batch_size"), BATCHES_OF_THE_ORIGINAL)
def test_an_epoch_has_as_many_batches_as_the_originals(count, batch_size):
    iterator = DataIterator(np.arange(count), seed=0)
    batches, length = BATCHES_OF_THE_ORIGINAL[count, batch_size]
    for epoch in (1, 2, 3):
        taken = []
        while iterator.epochs_completed < epoch:
            taken.append(iterator.next_batch(batch_size)[0])
        assert [len(batch) for batch in taken] == [length] * batches
        assert len(set(np.concatenate(taken))) == length * batches  # no sequence twice
    iterator.next_batch(batch_size)
    iterator.reset_epoch()
    taken = 0
    while iterator.get_epoch() < 1:
        iterator.next_batch(batch_size)
        taken += 1
    assert taken == batches


def test_batches_of_changing_size_count_as_the_originals():
    iterator, counts = DataIterator(numbered(10), seed=0), []
    for batch_size in (4, 4, 3, 6, 2, 2, 2, 9, 1):
        batch, _ = iterator.next_batch(batch_size)
        counts.append((len(batch), iterator.epochs_completed))
    wanted = [(4, 0), (4, 1), (3, 1), (6, 2), (2, 2), (2, 2), (2, 2), (4, 3), (1, 3)]
    assert counts == wanted  # measured with the original's class


def test_next_batch_gives_x_and_y():
    frames = numbered(6)
    x, y = DataIterator(frames, seed=1).next_batch(4)
    assert x.shape == (4, 1, 1, 1, 1) and x.dtype == np.uint8 and y is None
    iterator = DataIterator(frames, np.arange(6) * 10)
    for _ in range(4):
        x, y = iterator.next_batch(2)
        np.testing.assert_array_equal(y, 10 * x.ravel().astype(int))
    assert sorted(iterator.indices) == list(range(6))
    for wrong in (frames[:5], 3):  # 3 is a seed given without its name
        with pytest.raises((DataError, TypeError)):
            DataIterator(frames, wrong)


def test_next_batch_and_epoch_agree():
    one, other = (DataIterator(numbered(10), seed=2) for _ in range(2))
    for epoch in (1, 2):
        for batch in other.epoch(epoch, 3):
            np.testing.assert_array_equal(one.next_batch(3)[0], batch)


def test_the_calls_of_the_original(tmp_path):
    """`get_iterators(file, conv, datapoints)`, and the three in the original's order."""
    path = write(tmp_path / "data.npz")
    train, valid, test = get_iterators(path, True, 4).values()
    assert [it.X.shape for it in (train, valid, test)] == [(n, 3, 4, 4, 3) for n in (4, 2, 3)]
    assert get_iterators(path, conv=True, datapoints=0)["train"].num_examples == 5
    flat = get_iterators(path, False)["train"].X
    np.testing.assert_array_equal(flat, videos(5).reshape(5, 3, 48))


@pytest.mark.parametrize("size", [0, -1, 6])
def test_a_batch_size_that_cannot_be(size):
    with pytest.raises(DataError, match=f"--batch_size={size}: must lie between 1 and .* 5"):
        check_batch_size(videos(5), size)


def test_a_file_is_read_split_by_split(tmp_path):
    arrays = {f"{split}_x": videos(n) for split, n in zip(SPLITS, (5, 2, 3))}
    data = get_iterators(write(tmp_path / "data.npz", **arrays))
    assert set(data) == set(SPLITS)
    for split in SPLITS:
        np.testing.assert_array_equal(data[split].X, arrays[f"{split}_x"])


def test_datapoints_limits_the_training_split_alone(tmp_path):
    path = write(tmp_path / "data.npz")
    data = get_iterators(path, datapoints=2)
    assert [data[split].num_examples for split in SPLITS] == [2, 2, 3]
    with pytest.raises(DataError, match="--datapoints=6: .* only 5"):
        get_iterators(path, datapoints=6)


@pytest.mark.parametrize(
    "arrays",
    [
        {"train_x": videos(5)[0]},
        {"valid_x": videos(2).astype("f4")},
        {"test_x": videos(3)[:, :, :2]},
        {"train_x": videos(5, channels=2)},
        {"train_x": videos(5)[:0]},
        {"test_x": videos(3, frames=4)},
        {"": np.array([None])},
    ],
)
def test_unsuitable_arrays_are_named(tmp_path, arrays):
    (name,) = arrays
    path = write(tmp_path / "data.npz", **{name or "train_x": arrays[name]})
    with pytest.raises(DataError, match=f"data.npz: .*{name}") as raised:
        get_iterators(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("array", [videos(5) / 255.0, videos(5).transpose(0, 1, 4, 2, 3)], ids=["float", "channels"])
def test_the_message_says_which_axis_is_expected_where(tmp_path, array):
    for path in (write(tmp_path / "data.npz", train_x=array), tmp_path / "video.npz"):
        if path.name == "video.npz":
            np.savez(path, frames=array)
        with pytest.raises(DataError) as raised:
            get_iterators(path)
        text = str(raised.value)
        assert all(part in text for part in (str(path), str(array.dtype), str(list(array.shape)), "uint8", "last axis"))


@pytest.mark.parametrize("missing", [f"{split}_x" for split in SPLITS])
def test_a_missing_array_is_named(tmp_path, missing):
    arrays = {f"{split}_x": videos(3) for split in SPLITS}
    del arrays[missing]
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=f"data.npz: has no array {missing}"):
        get_iterators(tmp_path / "data.npz")


def test_files_that_are_no_archives(tmp_path):
    path = write(tmp_path / "data.npz")
    whole = path.read_bytes()
    for content in (b"", b"PK", b"no archive at all", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="data.npz: not an .npz file"):
            get_iterators(path)
    np.save(tmp_path / "one.npy", videos(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="one.npz: not an .npz file"):
        get_iterators(tmp_path / "one.npz")
    with pytest.raises(DataError, match="none.npz: no such data file"):
        get_iterators(tmp_path / "none.npz")


def test_a_flipped_bit_is_found(tmp_path):
    path = write(tmp_path / "data.npz", train_x=np.zeros([50, 3, 4, 4, 3], np.uint8))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1  # within train_x: the archive's checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        get_iterators(path)


def test_an_npz_without_splits_is_a_video(tmp_path):
    np.savez(tmp_path / "video.npz", frames=videos(1, frames=35)[0])
    data = get_iterators(tmp_path / "video.npz", seq_len=7)
    assert [data[split].X.shape for split in SPLITS] == [(3, 7, 4, 4, 3), (1, 7, 4, 4, 3), (1, 7, 4, 4, 3)]
    with pytest.raises(DataError, match="data.npz: .*--seq_len"):
        get_iterators(write(tmp_path / "data.npz"), seq_len=7)


def test_a_video_lies_in_memory_like_a_data_file(tmp_path):
    """A run keeps a checksum of its data, which needs them in one piece; resized pictures come transposed."""
    frames = videos(1, frames=12, side=8)[0]
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    data = get_iterators(tmp_path, img_size=4, seq_len=4)
    assert data["train"].X.shape == (1, 4, 4, 4, 3)
    assert all(data[split].X.flags.c_contiguous for split in SPLITS)
