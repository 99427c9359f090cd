"""Pictures: what stands where, in which sizes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from physics_models import viz
from physics_models.base import GREY
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

TASK = Task("spring_color", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)


def test_a_gallery_goes_row_by_row_with_a_grey_border():
    frames = np.arange(6)[:, None, None, None] / 10 * np.ones([6, 2, 3, 1])
    grid = viz.gallery(frames, columns=3)
    assert grid.shape == (2 * 4, 3 * 5, 1)
    for i in range(6):
        row, column = divmod(i, 3)
        cell = grid[4 * row : 4 * row + 4, 5 * column : 5 * column + 5, 0]
        np.testing.assert_array_equal(cell[1:-1, 1:-1], i / 10)
        border = np.ones([4, 5], bool)
        border[1:-1, 1:-1] = False
        np.testing.assert_array_equal(cell[border], 0.5)


def test_images_are_clipped_and_rounded():
    image = viz.to_image(np.array([[[-0.5], [0.5], [1.7]]]))
    assert image.mode == "L" and list(np.asarray(image)[0]) == [0, 128, 255]
    assert viz.to_image(np.zeros([2, 2, 3])).mode == "RGB"


def test_a_picture_replaces_the_one_before_it(tmp_path):
    for grey in (0.2, 0.8):
        viz.save_picture(tmp_path / "a.jpg", np.full([8, 8, 3], grey))
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_allclose(np.asarray(image) / 255, 0.8, atol=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_gif_keeps_its_frames(tmp_path):
    frames = [np.full([5, 7, 3], grey) for grey in (0.0, 0.25, 0.5, 0.75, 1.0)]
    viz.gif(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["loop"]) == ((21, 15), 5, 0)
        for i, frame in enumerate(frames):
            gif.seek(i)
            np.testing.assert_allclose(np.asarray(gif.convert("RGB")) / 255, frame[0, 0, 0], atol=0.01)
            assert gif.info["duration"] == pytest.approx(1000 / 7, abs=5)


@pytest.fixture(scope="module", params=[3, 1], ids=["colour", "grey"])
def drawn(request, tmp_path_factory):
    """The pictures of five sequences of ten frames, whose predictions and reconstructions are all different."""
    folder, channels = tmp_path_factory.mktemp("run"), request.param
    net = PhysicsNet(TASK, color=channels == 3)
    frames = tf.random.stateless_uniform([5, 10, 16, 16, channels], [1, 2])
    losses, real = net._eval_step(frames)
    output, recons_out = (tf.random.stateless_uniform([5, 7, 16, 16, channels], [seed, 2]) for seed in (3, 4))
    net.eval_step = lambda _: (losses, real._replace(output=output, recons_out=recons_out))
    net.visualize_sequence(frames, folder)
    rollout = SimpleNamespace(output=output.numpy(), recons_out=recons_out.numpy(), real=real)
    return SimpleNamespace(net=net, frames=frames.numpy(), folder=folder, rollout=rollout)


def cells(picture: np.ndarray) -> np.ndarray:
    """The frames [rows, columns, 16, 16, C] of a gallery of them."""
    rows, columns = picture.shape[0] // 18, picture.shape[1] // 18
    return picture.reshape(rows, 18, columns, 18, -1).transpose(0, 2, 1, 3, 4)[:, :, 1:-1, 1:-1]


def brightness(frames: np.ndarray) -> np.ndarray:
    """[…, C] → […]; JPEG keeps it at full resolution, and colours at half."""
    return frames @ np.array(GREY) if frames.shape[-1] == 3 else frames[..., 0]


def assert_shows(shown: np.ndarray, frames: np.ndarray, error: float) -> None:
    """Each of the frames `shown` [n, 16, 16, …] is that of `frames`: nearest to it, and as near as `error`."""
    shown, frames = (brightness(x).reshape(len(x), -1) for x in (shown, frames))
    distances = np.abs(shown[:, None] - frames).mean(axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), range(len(frames)))
    assert distances.diagonal().max() < error


def test_an_example_shows_prediction_truth_and_reconstruction(drawn):
    names = sorted(path.name for path in drawn.folder.glob("*.jpg"))
    assert names == [*(f"example{i}.jpg" for i in range(5)), "templates.jpg"]
    examples = []
    for i in range(5):
        with Image.open(drawn.folder / f"example{i}.jpg") as image:
            assert image.size == (180, 54)
            examples.append(cells(np.asarray(image).reshape(54, 180, -1) / 255))
    rows = np.stack(examples)  # [5 sequences, 3 rows, 10 columns, 16, 16, C]
    predicted = np.concatenate([drawn.frames[:, :3], drawn.rollout.output], axis=1)
    shown = (rows[:, 0], rows[:, 1], rows[:, 2, :7])
    for row, wanted in zip(shown, (predicted, drawn.frames, drawn.rollout.recons_out)):
        assert_shows(row.reshape(-1, *row.shape[2:]), wanted.reshape(-1, *wanted.shape[2:]), 0.03)
    assert rows[:, 2, 7:].max() < 0.1  # black: nothing is reconstructed there


def test_the_animation_shows_prediction_above_truth(drawn):
    with Image.open(drawn.folder / "animation4.gif") as gif:
        assert (gif.size, gif.n_frames) == ((5 * 18 * 3, 2 * 18 * 3), 10)
        times = []
        for t in range(10):
            gif.seek(t)
            times.append(cells(np.asarray(gif.convert("RGB"))[1::3, 1::3] / 255))
    shown = np.stack(times, axis=2)  # [prediction and truth, 5 sequences, 10 times, 16, 16, 3]
    predicted = np.concatenate([drawn.frames[:, :3], drawn.rollout.output], axis=1)
    for row, wanted in zip(shown, (predicted, drawn.frames)):
        # 256 colours for all frames.
        assert_shows(row.reshape(-1, *row.shape[2:]), wanted.reshape(-1, *wanted.shape[2:]), 0.08)


def test_templates_show_contents_above_masks(drawn):
    with Image.open(drawn.folder / "templates.jpg") as image:
        assert image.size == (2 * 10, 2 * 10)
        shown = np.asarray(image).reshape(2, 10, 2, 10, -1).transpose(0, 2, 1, 3, 4)[:, :, 1:-1, 1:-1] / 255
    sprites = drawn.net.decoder.sprites()
    np.testing.assert_allclose(brightness(shown[0]), brightness(tf.sigmoid(sprites.contents).numpy()), atol=0.03)
    masks = tf.sigmoid(sprites.templates - 5.0).numpy()
    np.testing.assert_allclose(brightness(shown[1]), masks[..., 0], atol=0.03)


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
    np.testing.assert_allclose(layers.sum(axis=0), drawn.rollout.real.output[:, -1], atol=1e-5)
    background = np.broadcast_to(extra["background_content"], extra["transf_contents"][2].shape)
    np.testing.assert_array_equal(extra["transf_contents"][2], background)
    seen = drawn.frames[:, :7].reshape(35, 16, 16, c)
    objects = extra["enc_masks"].transpose(3, 0, 1, 2)[:2, ..., None] * seen
    np.testing.assert_allclose(extra["masked_objs"], objects, atol=1e-6)


def test_fewer_than_five_sequences(tmp_path):
    frames = tf.random.stateless_uniform([2, 9, 16, 16, 3], seed=[0, 0])
    net = PhysicsNet(TASK)
    net.eval_step = net._eval_step  # no graph: it is called once
    net.visualize_sequence(frames, tmp_path)
    assert len(list(tmp_path.glob("example*.jpg"))) == 2
    with Image.open(tmp_path / "animation4.gif") as gif:
        assert (gif.size, gif.n_frames) == ((2 * 18 * 3, 2 * 18 * 3), 9)
