"""Pictures: what stands where, in which sizes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from physics_models import pictures
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

TASK = Task("spring_color", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)


def test_a_gallery_goes_row_by_row_with_a_grey_border():
    frames = np.arange(6)[:, None, None, None] / 10 * np.ones([6, 2, 3, 1])
    grid = pictures.gallery(frames, columns=3)
    assert grid.shape == (2 * 4, 3 * 5, 1)
    for i in range(6):
        row, column = divmod(i, 3)
        cell = grid[4 * row : 4 * row + 4, 5 * column : 5 * column + 5, 0]
        np.testing.assert_array_equal(cell[1:-1, 1:-1], i / 10)
        border = np.ones([4, 5], bool)
        border[1:-1, 1:-1] = False
        np.testing.assert_array_equal(cell[border], 0.5)


def test_images_are_clipped_and_rounded():
    image = pictures.to_image(np.array([[[-0.5], [0.5], [1.7]]]))
    assert image.mode == "L" and list(np.asarray(image)[0]) == [0, 128, 255]
    assert pictures.to_image(np.zeros([2, 2, 3])).mode == "RGB"


def test_a_gif_keeps_its_frames(tmp_path):
    frames = [np.full([5, 7, 3], grey) for grey in (0.0, 0.25, 0.5, 0.75, 1.0)]
    pictures.save_gif(str(tmp_path / "a.gif"), frames)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["loop"]) == ((21, 15), 5, 0)
        for i, frame in enumerate(frames):
            gif.seek(i)
            np.testing.assert_allclose(np.asarray(gif.convert("RGB")) / 255, frame[0, 0, 0], atol=0.01)
            assert gif.info["duration"] == pytest.approx(1000 / 7, abs=5)


@pytest.fixture(scope="module", params=[3, 1], ids=["colour", "grey"])
def drawn(request, tmp_path_factory):
    """A network's pictures of five sequences of ten frames."""
    folder = tmp_path_factory.mktemp("run")
    net = PhysicsNet(TASK, color=request.param == 3)
    frames = tf.random.stateless_uniform([5, 10, 16, 16, request.param], [1, 2])
    returned = pictures.write_examples(net, frames, str(folder))
    return SimpleNamespace(net=net, frames=frames.numpy(), folder=folder, returned=returned, rollout=net(frames))


def cells(picture: np.ndarray) -> np.ndarray:
    """The frames [rows, columns, 16, 16, C] of a gallery of them."""
    rows, columns = picture.shape[0] // 18, picture.shape[1] // 18
    return picture.reshape(rows, 18, columns, 18, -1).transpose(0, 2, 1, 3, 4)[:, :, 1:-1, 1:-1]


def test_an_example_shows_prediction_truth_and_reconstruction(drawn):
    names = sorted(path.name for path in drawn.folder.glob("*.jpg"))
    assert names == [*(f"example{i}.jpg" for i in range(5)), "templates.jpg"]
    rows = cells(drawn.returned["rollout"])
    assert rows.shape[:2] == (3, 10)
    np.testing.assert_array_equal(rows[0, :3], drawn.frames[0, :3])
    np.testing.assert_allclose(rows[0, 3:], drawn.rollout.output[0], atol=1e-5)
    np.testing.assert_array_equal(rows[1], drawn.frames[0])
    np.testing.assert_allclose(rows[2, :7], drawn.rollout.recons_out[0], atol=1e-5)
    assert not np.any(rows[2, 7:])
    for i in range(5):
        with Image.open(drawn.folder / f"example{i}.jpg") as image:
            assert image.size == (180, 54)
            shown = cells(np.asarray(image).reshape(54, 180, -1) / 255)
        assert np.abs(shown[1].mean(axis=(1, 2, 3)) - drawn.frames[i].mean(axis=(1, 2, 3))).max() < 0.02


def test_the_animation_shows_prediction_above_truth(drawn):
    with Image.open(drawn.folder / "animation4.gif") as gif:
        assert (gif.size, gif.n_frames) == ((5 * 18 * 3, 2 * 18 * 3), 10)
        gif.seek(9)
        shown = np.asarray(gif.convert("RGB"))[1::3, 1::3] / 255
    rows = cells(shown)
    assert rows.shape[:2] == (2, 5)
    truth = np.broadcast_to(drawn.frames[:, 9], [5, 16, 16, 3])
    predicted = np.broadcast_to(drawn.rollout.output.numpy()[:, 6], [5, 16, 16, 3])
    means = [frames.mean(axis=(1, 2, 3)) for frames in (rows[1], truth, rows[0], predicted)]
    np.testing.assert_allclose(means[0], means[1], atol=0.05)
    np.testing.assert_allclose(means[2], means[3], atol=0.05)
    correlation = np.corrcoef(rows[1].ravel(), truth.ravel())[0, 1]  # 256 colours for all frames
    assert correlation > (0.9 if drawn.net.channels == 1 else 0.6)


def test_templates_show_contents_above_masks(drawn):
    with Image.open(drawn.folder / "templates.jpg") as image:
        assert image.size == (2 * 10, 2 * 10)
    sprites = drawn.net.decoder.sprites()
    shown = drawn.returned["templates"].reshape(2, 10, 2, 10, -1).transpose(0, 2, 1, 3, 4)[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(shown[0], tf.sigmoid(sprites.contents), atol=1e-6)
    masks = tf.repeat(tf.sigmoid(sprites.templates - 5.0), drawn.net.channels, axis=-1)
    np.testing.assert_allclose(shown[1], masks, atol=1e-6)


def test_extra_outputs_put_the_frames_together(drawn):
    """Masks times contents, summed over the layers, is the last predicted frame."""
    c = drawn.net.channels
    with np.load(drawn.folder / "extra_outputs.npz") as file:
        extra = dict(file)
    assert all(array.dtype == np.float32 for array in extra.values())
    assert {name: array.shape for name, array in extra.items()} == {
        "contents": (2, 8, 8, c),
        "templates": (2, 8, 8, 1),
        "background_content": (1, 16, 16, c),
        "transf_contents": (3, 5, 16, 16, c),
        "transf_masks": (3, 5, 16, 16, c),
        "enc_masks": (35, 16, 16, 3),
        "masked_objs": (2, 35, 16, 16, c),
    }
    layers = extra["transf_masks"] * extra["transf_contents"]
    np.testing.assert_allclose(layers.sum(axis=0), drawn.rollout.output[:, -1], atol=1e-5)
    background = np.broadcast_to(extra["background_content"], extra["transf_contents"][2].shape)
    np.testing.assert_array_equal(extra["transf_contents"][2], background)
    seen = drawn.frames[:, :7].reshape(35, 16, 16, c)
    objects = extra["enc_masks"].transpose(3, 0, 1, 2)[:2, ..., None] * seen
    np.testing.assert_allclose(extra["masked_objs"], objects, atol=1e-6)


def test_fewer_than_five_sequences(tmp_path):
    frames = tf.random.stateless_uniform([2, 9, 16, 16, 3], seed=[0, 0])
    pictures.write_examples(PhysicsNet(TASK), frames, str(tmp_path))
    assert len(list(tmp_path.glob("example*.jpg"))) == 2
    with Image.open(tmp_path / "animation4.gif") as gif:
        assert (gif.size, gif.n_frames) == ((2 * 18 * 3, 2 * 18 * 3), 9)
