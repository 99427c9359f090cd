"""MNIST, CIFAR-10 and files as pictures; the whole way with real digits and a photograph."""

import json
import socket
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_gen import sources
from data_gen.errors import DataError
from data_gen.generators import generate_falling_bouncing_ball_dataset
from data_gen.recipes import make_dataset

TASK = "mnist_spring_color"


def fake_tensorflow(monkeypatch, mnist, cifar10):
    """A `tensorflow` whose tf.keras.datasets gives these, or raises them."""

    def loader(answer):
        def load_data():
            if isinstance(answer, Exception):
                raise answer
            return (answer, None), (None, None)

        return types.SimpleNamespace(load_data=load_data)

    datasets = types.SimpleNamespace(mnist=loader(mnist), cifar10=loader(cifar10))
    module = types.SimpleNamespace(keras=types.SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "tensorflow", module)


def test_the_pictures_of_the_page_on_data_are_two_digits_and_a_photograph(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = (text for text in page.split("```") if "font_manager" in text)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    first, second = sources.load_digits("digits.npz")
    assert 0 < np.count_nonzero(first != second) and min(first.max(), second.max()) > 200
    assert sources.load_pictures("picture.png")[0].std() > 20


def test_real_digits_over_a_photograph(tmp_path, mnist_digits, photograph_file, splits):
    np.savez(tmp_path / "digits.npz", digits=mnist_digits)
    Image.open(photograph_file).save(tmp_path / "photograph.png")
    path = str(tmp_path / "data.npz")
    pictures = {"digits": str(tmp_path / "digits.npz"), "background": str(tmp_path / "photograph.png")}
    make_dataset(TASK, path, 12, (4, 1, 1), **pictures)
    frames, pos = splits(path), splits(path, "pos")
    assert frames.shape == (6, 12, 64, 64, 3) and frames.dtype == np.uint8
    # Each digit lights up its own channel around its position, more than the others.
    for sequence, places in zip(frames[:, 0].astype(int), pos[:, 0]):
        for j, (x, y) in enumerate(places):
            near = sequence[max(int(y) - 8, 0) : int(y) + 8, max(int(x) - 8, 0) : int(x) + 8]
            own, other = near[..., j], np.delete(near, j, axis=-1).max(axis=-1)
            assert (own - other).max() > 200
    # The rest is the picture, which does not move.
    background = np.median(frames, axis=(0, 1))
    corner = frames[:, :, :3, :3].reshape(-1, 27)
    assert (np.abs(corner - background[:3, :3].reshape(27)) == 0).mean() > 0.9
    assert background.std() > 20 and background.max() <= 204
    meta = json.loads(str(np.load(path)["meta"]))
    assert meta["physics"]["digits_sha256"] == sources.fingerprint(mnist_digits)


def test_digits_through_keras_datasets(tmp_path, monkeypatch, mnist_digits, photograph, splits):
    others = np.zeros_like(photograph)
    fake_tensorflow(monkeypatch, mnist_digits, np.stack([others, photograph, others]))
    make_dataset(TASK, str(tmp_path / "keras.npz"), 3, (1, 1, 1))
    make_dataset(TASK, str(tmp_path / "given.npz"), 3, (1, 1, 1), digits=mnist_digits, background=photograph)
    np.testing.assert_array_equal(splits(tmp_path / "keras.npz"), splits(tmp_path / "given.npz"))


def test_without_a_network_the_error_names_both_ways(tmp_path, monkeypatch):
    seen = []

    class UnreachableError(Exception):
        def __str__(self):
            seen.append(socket.getdefaulttimeout())
            return "URL fetch failure\non a second line"

    fake_tensorflow(monkeypatch, UnreachableError(), None)
    with pytest.raises(DataError) as error:
        make_dataset(TASK, str(tmp_path / "data.npz"), 3, (1, 1, 1))
    text = str(error.value)
    assert "tf.keras.datasets" in text and "--background=FILE" in text
    assert "python -m data_gen --task=mnist_spring_color --digits=FILE.npz" in text  # run_physics.py has no --digits
    assert "URL fetch failure" in text and "\n" not in text
    assert seen and max(seen) <= 10  # nobody waits for minutes
    assert socket.getdefaulttimeout() is None


def test_without_tensorflow_the_error_is_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match="--digits=FILE.npz"):
        sources.load_digits()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 28, 28)), "float64"),
        (np.zeros((1, 28, 28), np.uint8), r"\[1, 28, 28\]"),
        (np.zeros((2, 28, 27), np.uint8), r"\[2, 28, 27\]"),
        (np.zeros((28, 28), np.uint8), r"\[28, 28\]"),
    ],
)
def test_unsuitable_digits(array, reason, tmp_path):
    np.savez(tmp_path / "digits.npz", array)
    for source in (array, str(tmp_path / "digits.npz")):
        with pytest.raises(DataError, match=reason):
            sources.load_digits(source)


def test_unsuitable_pictures(tmp_path):
    with pytest.raises(DataError, match="need uint8"):
        sources.load_pictures(np.zeros((32, 32), np.uint8))
    with pytest.raises(DataError, match="float64"):
        sources.load_pictures(np.zeros((32, 32, 3)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match="broken.png"):
        sources.load_pictures(str(tmp_path / "broken.png"))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="broken.npz"):
        sources.load_digits(str(tmp_path / "broken.npz"))
    np.savez(tmp_path / "two.npz", one=np.zeros(1), two=np.zeros(2))
    with pytest.raises(DataError, match="two.npz"):
        sources.load_digits(str(tmp_path / "two.npz"))


def test_pictures_of_other_sizes_are_cut_and_reduced(tmp_path):
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200  # the central square
    np.testing.assert_array_equal(sources.load_pictures(wide), np.full((1, 32, 32, 3), 200))


def test_falling_ball_before_pictures(tmp_path, photograph, splits):
    """Each sequence has a picture of its own, whose index is drawn after the velocity; the ball is white."""
    pictures = np.stack([photograph, photograph[::-1], photograph[:, ::-1]])
    np.random.seed(0)
    path = str(tmp_path / "data.npz")
    generate_falling_bouncing_ball_dataset(path, 4, 1, 1, 6, cifar_background=True, background=pictures)
    after = np.random.rand()
    frames, pos = splits(path), splits(path, "pos")
    np.random.seed(0)
    for _ in range(6):
        np.random.rand(3)
        np.random.randint(50000)
    assert np.random.rand() == after
    for sequence, places in zip(frames, pos):
        for frame, (x, y) in zip(sequence[..., 0], places[:, 0]):
            assert frame[int(y), int(x)] >= 250
    assert frames.shape == (6, 6, 32, 32, 1)
    assert (frames[:, 0] != frames[:, -1]).mean() < 0.4 and frames.std() > 20
