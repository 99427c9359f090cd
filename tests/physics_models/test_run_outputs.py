"""The reader of outputs.npz, the matching of sequences, and the errors frame by frame."""

import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from physics_models.errors import ExperimentError
from physics_models.run_arrays import array_difference, stored_arrays
from physics_models.run_outputs import frame_errors, match_inputs, pick_rows, read_outputs

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (6, 5, 4, 4, 3)  # sequences, T, H, W, C
STEPS = 3


def frames(seed: int, shape: tuple = SHAPE) -> np.ndarray:
    return (np.random.RandomState(seed).randint(0, 256, shape) / 255).astype(np.float32)


def write(path: Path, shown: np.ndarray, predicted: "np.ndarray | None" = None) -> Path:
    np.savez_compressed(path, input=shown, output=shown[:, -STEPS:] if predicted is None else predicted)
    return path


def test_reads_row_by_row(tmp_path):
    shown = frames(0)
    array = stored_arrays(write(tmp_path / "o.npz", shown))["input"]
    assert (array.shape, array.dtype) == (SHAPE, np.float32)
    np.testing.assert_array_equal(list(array.rows()), shown)
    np.testing.assert_array_equal(array.load(), shown)
    picked = pick_rows(array, [4, 1])
    assert sorted(picked) == [1, 4]
    np.testing.assert_array_equal(picked[4], shown[4])


def test_matches_shuffled_sequences(tmp_path):
    shown = frames(0)
    order = [3, 0, 5, 1]
    first = read_outputs(write(tmp_path / "a.npz", shown))
    second = read_outputs(write(tmp_path / "b.npz", shown[order]))
    pairs = match_inputs(first, second)
    assert [(p.first, p.second, p.exact) for p in pairs] == [(0, 1, True), (1, 3, True), (3, 0, True), (5, 2, True)]


def test_matches_noisy_sequences_only_nearly(tmp_path):
    shown = frames(0)
    noisy = shown[::-1] + np.random.RandomState(1).uniform(-0.01, 0.01, SHAPE).astype(np.float32)
    noisy[2] += 0.1  # too far to be the same
    first = read_outputs(write(tmp_path / "a.npz", shown))
    pairs = match_inputs(first, read_outputs(write(tmp_path / "b.npz", noisy)))
    assert [(p.first, p.second) for p in pairs] == [(0, 5), (1, 4), (2, 3), (4, 1), (5, 0)]
    assert not any(pair.exact for pair in pairs)


def test_matches_a_sequence_that_occurs_twice(tmp_path):
    shown = frames(0)[[0, 1, 0]]
    pairs = match_inputs(
        *(read_outputs(write(tmp_path / f"{i}.npz", shown[order])) for i, order in enumerate([[0, 1, 2], [2, 1]]))
    )
    assert [(p.first, p.second) for p in pairs] == [(0, 0), (1, 1)]


def test_matches_each_noisy_sequence_once(tmp_path):
    shown = frames(0)[[0, 1, 0]]
    first, second = (read_outputs(write(tmp_path / f"{i}.npz", x)) for i, x in enumerate([shown, shown + 0.01]))
    assert [(p.first, p.second) for p in match_inputs(first, second)] == [(0, 0), (1, 1), (2, 2)]


def test_nothing_in_common(tmp_path):
    first, second = (read_outputs(write(tmp_path / f"{seed}.npz", frames(seed))) for seed in (0, 1))
    assert match_inputs(first, second) == []
    longer = read_outputs(write(tmp_path / "l.npz", frames(0, (6, 7, 4, 4, 3))))
    with pytest.raises(ExperimentError, match=r"\[5, 4, 4, 3\] and \[7, 4, 4, 3\]: different data"):
        match_inputs(first, longer)


def test_frame_errors(tmp_path):
    """Against the plain formula, with another order and another number of predicted frames."""
    shown, random = frames(0), np.random.RandomState(2)
    order = [5, 2, 0]
    guess_a = random.rand(6, 3, 4, 4, 3).astype(np.float32)
    guess_b = random.rand(3, 4, 4, 4, 3).astype(np.float32)
    first = read_outputs(write(tmp_path / "a.npz", shown, guess_a))
    second = read_outputs(write(tmp_path / "b.npz", shown[order], guess_b))
    errors = frame_errors(first, second, match_inputs(first, second))
    a, b, truth = guess_a[[0, 2, 5]], guess_b[[2, 1, 0], 1:], shown[[0, 2, 5], 2:]
    np.testing.assert_array_equal(errors.frames, [2, 3, 4])
    np.testing.assert_allclose(errors.first, ((a - truth) ** 2).sum((2, 3, 4)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(errors.second, ((b - truth) ** 2).sum((2, 3, 4)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(errors.between, ((a - b) ** 2).sum((2, 3, 4)).mean(0), rtol=1e-5)
    np.testing.assert_allclose(errors.apart, ((a - b) ** 2).sum((2, 3, 4)).mean(1), rtol=1e-5)
    np.testing.assert_allclose(errors.largest, abs(a - b).max((0, 2, 3, 4)), rtol=1e-5)


def test_array_difference():
    a = np.array([3.0, 4.0, np.nan])
    same = array_difference("x", a, a.copy())
    assert (same.equal, same.largest, same.relative) == (True, 0.0, 0.0)
    apart = array_difference("x", np.array([3.0, 4.0]), np.array([3.0, 3.5]))
    assert (apart.equal, apart.largest, apart.relative) == (False, 0.5, pytest.approx(0.1))
    assert array_difference("x", a, a[:2]).largest is None
    assert array_difference("x", None, a).shapes == (None, (3,))


def member(path: Path, content: bytes, name: str = "input.npy") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def header(shape: str, descr: str = "<f4", order: str = "False") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "not a readable .npz ([Errno 21] Is a directory"),
        (lambda path: path.write_bytes(b""), "not a readable .npz (File is not a zip file)"),
        (lambda path: np.savez(path, input=frames(0)), "has no array 'output', only ['input']"),
        (lambda path: np.savez(path, input=frames(0), output=frames(0)[:2]), "do not fit each other"),
        (lambda path: np.savez(path, input=frames(0)[:, :2], output=frames(0)), "do not fit each other"),
        (lambda path: np.savez(path, input=frames(0), output=np.array([{}])), "it holds object instead of numbers"),
        (lambda path: member(path, header("(9999999999, 9, 9, 9, 9)")), "it holds an array of shape"),
        (lambda path: member(path, header("(2, 0, 4)")), "it holds an array of shape [2, 0, 4]"),
        (lambda path: member(path, header("(2, 3)", order="True")), "Fortran order"),
        (lambda path: member(path, header("(" * 99)), "not a readable .npz"),
        (lambda path: member(path, b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "not in the format that np.savez writes"),
    ],
)  # fmt: skip
def test_unreadable(tmp_path, make, message):
    path = tmp_path / "outputs.npz"
    make(path)
    with pytest.raises(ExperimentError) as error:
        read_outputs(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_little_or_too_much_data(tmp_path):
    path = tmp_path / "a.npz"
    for count, message in ((2 * 3 * 4 - 1, "it ends too early"), (2 * 3 * 4 + 1, "more data than its shape says")):
        member(path, header("(2, 3)") + bytes(count))
        with pytest.raises(ExperimentError, match=message):
            stored_arrays(path)["input"].load()


FUZZ = """
import resource, sys
sys.path[:0] = [{root!r}, {tests!r}]
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
import test_run_outputs
test_run_outputs.fuzz({folder!r}, 1500)
"""


def test_fuzzed(tmp_path):
    """1500 mutated outputs.npz under 2 GB of address space: an error line, or the numbers of an intact file."""
    script = FUZZ.format(root=str(ROOT), tests=str(Path(__file__).parent), folder=str(tmp_path))
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "1500 files" in run.stdout


def fuzz(folder: str, count: int) -> None:
    shown = frames(0, (2, 3, 4, 4, 3))
    whole = write(Path(folder) / "whole.npz", shown, shown[:, 1:])
    data, path, errors = whole.read_bytes(), Path(folder) / "mutated.npz", 0
    for seed in range(count):
        draw = random.Random(seed)
        mutated = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(mutated))
            kind = draw.randrange(4)
            if kind == 0:
                mutated[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                mutated[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
            elif kind == 2:
                del mutated[at : at + draw.randint(1, 300)]
            else:
                mutated[at:at] = mutated[at : at + draw.randint(1, 300)]
            mutated = mutated or bytearray(b"P")
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(mutated)
            file.truncate()
        try:
            first, second = read_outputs(whole), read_outputs(path)
            pairs = match_inputs(first, second)
            errors_here = frame_errors(first, second, pairs) if pairs else None
        except ExperimentError as error:
            assert "\n" not in str(error)
            errors += 1
            continue
        # The checksums let nothing but the file's framing change unseen.
        assert errors_here is not None and not errors_here.largest.any(), seed
    print(f"{count} files, {errors} errors")
