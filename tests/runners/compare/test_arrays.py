"""outputs.npz: what can be read, the matching of sequences, and the errors frame by frame."""

import os
import random

import numpy as np
import pytest

from runners.compare.arrays import frame_errors, load_learned, load_outputs, match_sequences
from runners.compare.report import read_both

SHAPE = (6, 5, 4, 4, 3)  # sequences, T, H, W, C


def frames(seed: int, shape: tuple = SHAPE) -> np.ndarray:
    return (np.random.RandomState(seed).randint(0, 256, shape) / 255).astype(np.float32)


def refusal(path, reader) -> str:
    """The note that stands for this file in a comparison with itself; "" if it can be read."""
    *values, notes = read_both((path.parent, path.parent), path.name, reader)
    assert [value is None for value in values] == [bool(notes)] * 2
    assert all("\n" not in note.text and note.note for note in notes)
    return notes[0].text if notes else ""


def test_matches_shuffled_sequences():
    shown = frames(0)
    assert match_sequences(shown, shown[[3, 0, 5, 1]]) == [(0, 1), (1, 3), (3, 0), (5, 2)]
    assert match_sequences(shown, shown + 1e-4) == [(i, i) for i in range(6)]  # equal as 8-bit frames
    assert match_sequences(shown, frames(1)) == []


def test_matches_a_sequence_that_occurs_twice():
    shown = frames(0)
    assert match_sequences(shown[[0, 1, 0]], shown[[0, 1]]) == [(0, 0), (1, 1)]
    assert match_sequences(shown[[0, 1, 0]], shown[[1, 0, 0]]) == [(0, 1), (1, 0), (2, 2)]


def test_frame_errors():
    """Against the plain formula, with another order and another number of predicted frames."""
    shown, draw = frames(0), np.random.RandomState(2)
    order = [5, 2, 0]
    guess_a = draw.rand(6, 3, 4, 4, 3).astype(np.float32)
    guess_b = draw.rand(3, 4, 4, 4, 3).astype(np.float32)
    errors = frame_errors((shown, guess_a), (shown[order], guess_b), match_sequences(shown, shown[order]))
    a, b, truth = guess_a[[0, 2, 5]], guess_b[[2, 1, 0], 1:], shown[[0, 2, 5], 2:]
    np.testing.assert_array_equal(errors.frames, [2, 3, 4])
    expected = [((x - y) ** 2).sum((2, 3, 4)) for x, y in ((a, truth), (b, truth), (a, b))]
    np.testing.assert_allclose(errors.means, np.mean(expected, axis=1), rtol=1e-5)
    np.testing.assert_allclose(errors.apart, expected[2].mean(1), rtol=1e-5)
    np.testing.assert_allclose(errors.largest, abs(a - b).max((0, 2, 3, 4)), rtol=1e-5)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input": frames(0)},
        {"input": frames(0), "output": frames(0)[:2]},
        {"input": frames(0)[:, :2], "output": frames(0)},
        {"input": frames(0)[:0], "output": frames(0)[:0]},
        {"input": frames(0).astype("S4"), "output": frames(0).astype("S4")},
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays):
    path = tmp_path / "outputs.npz"
    np.savez(path, **arrays)
    assert refusal(path, load_outputs).startswith(f"A: {path}: ")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "outputs.npz", input=frames(0), output=np.array([Trap(str(tmp_path / "made"))], object))
    assert refusal(tmp_path / "outputs.npz", load_outputs)
    assert not (tmp_path / "made").exists()


def test_learned_arrays_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "extra_outputs.npz"
    fitting = {"contents": frames(0, (2, 4, 4, 3)), "templates": frames(0, (2, 4, 4, 1))}
    np.savez(path, **fitting, background_content=frames(0, (1, 8, 8, 3)), enc_masks=frames(0))
    assert sorted(load_learned(path)) == ["background_content", "contents", "templates"]
    np.savez(path, **fitting)
    assert refusal(path, load_learned).startswith(f"A: {path}: ")
    np.savez(path, **fitting, background_content=frames(0, (1, 8, 8, 1)))
    assert refusal(path, load_learned).startswith(f"A: {path}: ")


@pytest.mark.filterwarnings("ignore::UserWarning:zipfile")
def test_damaged_bytes(tmp_path):
    """A damaged file is one line of error, or the checksums have let nothing but the file's framing change."""
    whole, path = tmp_path / "whole.npz", tmp_path / "damaged.npz"
    shown = frames(0, (2, 3, 4, 4, 3))
    np.savez_compressed(whole, input=shown, output=shown[:, 1:])
    data, refused = whole.read_bytes(), 0
    for seed in range(300):
        draw, damaged = random.Random(seed), bytearray(data)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(damaged))
            end = at + draw.choice([0, 1, 4, 200])
            damaged[at:end] = draw.choice([b"", b"\0\0\0\0", b"\xff\xff\xff\x7f", draw.randbytes(end - at)])
        path.write_bytes(damaged)
        if refusal(path, load_outputs):
            refused += 1
            continue
        found = load_outputs(path)
        np.testing.assert_array_equal(found[0], shown, err_msg=str(seed))
        np.testing.assert_array_equal(found[1], shown[:, 1:], err_msg=str(seed))
    assert refused > 200
