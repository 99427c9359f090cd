"""Encoders: what their docstrings say, on weights whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nn.encoders import ENCODERS, ConvEncoder, VelocityEncoder


def built(img_size: int, channels: int = 3, n_objs: int = 2) -> ConvEncoder:
    """An encoder with its variables."""
    encoder = ConvEncoder(img_size, channels, n_objs)
    encoder.build((None, img_size, img_size, channels))
    return encoder


def test_the_table_has_the_originals_key():
    assert ENCODERS == {"conv_encoder": ConvEncoder}


@pytest.mark.parametrize(("size", "shallow"), [(32, True), (33, True), (39, True), (40, False), (64, False)])
def test_the_image_class_changes_at_40_pixels(size, shallow):
    encoder = built(size)
    assert len(encoder.unet.convs) == (13 if shallow else 18)
    assert encoder.location_net[0].kernel.shape[0] == (size**2 * 3 if shallow else (size // 2) ** 2 * 3)


def test_masks_sum_to_one_and_cut_the_objects_out():
    frames = tf.random.stateless_uniform([3, 16, 16, 3], [0, 1])
    encoding = built(16)(frames)
    np.testing.assert_allclose(tf.reduce_sum(encoding.masks, axis=-1), 1.0, rtol=1e-6)
    for i in range(2):
        np.testing.assert_allclose(encoding.masked_objects[i], encoding.masks[..., i : i + 1] * frames, rtol=1e-6)


@pytest.mark.parametrize("size", [16, 40])
def test_positions_are_x_y_of_each_object_inside_the_frame(size):
    encoder = built(size)
    for variable in encoder.location_net[-1].trainable_variables:
        variable.assign(tf.zeros(variable.shape))
    encoder.location_net[-1].bias.assign([100.0, -0.5])
    positions = encoder(tf.random.stateless_uniform([3, size, size, 3], [0, 1])).positions
    expected = [size, size / 2 * (1 + np.tanh(-0.5))]
    np.testing.assert_allclose(positions, np.tile(expected * 2, (3, 1)), rtol=1e-6)


def test_the_location_net_sees_one_object_alone():
    """With a mask of zero for object 0 its position is that of a black picture; object 1's is another."""
    encoder = built(16)
    last = encoder.unet.convs[-1]
    last.kernel.assign(tf.zeros(last.kernel.shape))
    last.bias.assign([-1000.0, 1000.0])
    frames = tf.random.stateless_uniform([2, 16, 16, 3], [0, 1])
    positions = encoder(frames).positions.numpy()
    np.testing.assert_allclose(positions[:, :2], 8.0)  # biases are zero: tanh(0)
    assert np.abs(positions[:, 2:] - 8.0).max() > 1e-3


def test_large_frames_are_averaged_over_two_by_two():
    """A checkerboard of single pixels, averaged, is a grey frame: the masks being equal, so is the position."""
    encoder = built(40)
    for variable in encoder.unet.trainable_variables:
        variable.assign(tf.zeros(variable.shape))
    board = np.indices([40, 40]).sum(axis=0)[None, ..., None] % 2 * np.ones(3)
    frames = tf.constant(np.concatenate([board, np.full_like(board, 0.5)]), tf.float32)
    first, second = encoder(frames).positions.numpy()
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert np.abs(first - 20).max() > 1e-3


@pytest.mark.parametrize("size", [41, 45])
def test_pooling_an_odd_side_leaves_the_last_row_and_column_out(size):
    """As the original's average pooling, which is VALID: 41 pixels become 20."""
    encoder = built(size)
    assert encoder.location_net[0].kernel.shape == ((size // 2) ** 2 * 3, 200)
    for variable in encoder.unet.trainable_variables:
        variable.assign(tf.zeros(variable.shape))  # masks of 1/(2 + e), whatever the frame
    frames = np.random.RandomState(0).rand(1, size, size, 3).astype("f4")
    beyond, within = frames.copy(), frames.copy()
    beyond[:, -1], beyond[:, :, -1] = 0.5, 0.5
    within[:, -2] = 0.5
    same, positions, other = (encoder(tf.constant(x)).positions.numpy() for x in (beyond, frames, within))
    np.testing.assert_array_equal(same, positions)
    assert np.abs(other - positions).max() > 1e-4


def step_major(encoder: VelocityEncoder, positions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The velocities when the net is one dense layer of `weights`."""
    layer = tf.keras.layers.Dense(2, use_bias=False)
    encoder.net = [layer]
    encoder.build((None, encoder.input_steps, positions.shape[-1]))
    layer.kernel.assign(weights)
    return encoder(tf.constant(positions, tf.float32)).numpy()


def test_every_object_goes_step_by_step_through_one_net():
    random = np.random.RandomState(0)
    positions, weights = random.rand(3, 4, 6), random.rand(8, 2)
    velocities = step_major(VelocityEncoder(3, 4), positions, weights)
    for b in range(3):
        for i in range(3):
            xy = positions[b, :, 2 * i : 2 * i + 2].reshape(8)  # x, y of step 1, of step 2, …
            np.testing.assert_allclose(velocities[b, 2 * i : 2 * i + 2], xy @ weights, rtol=1e-5)


def test_alt_vel_takes_the_differences():
    random = np.random.RandomState(0)
    positions, weights = random.rand(3, 4, 4), random.rand(6, 2)
    velocities = step_major(VelocityEncoder(2, 4, alt_vel=True), positions, weights)
    moved = np.diff(positions, axis=1)
    for i in range(2):
        expected = moved[..., 2 * i : 2 * i + 2].reshape(3, 6) @ weights
        np.testing.assert_allclose(velocities[:, 2 * i : 2 * i + 2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alt_vel", [False, True])
def test_one_input_frame_means_no_velocity(alt_vel):
    encoder = VelocityEncoder(2, 1, alt_vel)
    velocities = encoder(tf.ones([3, 1, 4]))
    assert velocities.shape == [3, 4] and not np.any(velocities)
    assert not encoder.trainable_variables


def test_the_velocity_net_is_tanh_but_for_its_last_layer():
    encoder = VelocityEncoder(2, 4)
    assert [layer.units for layer in encoder.net] == [100, 100, 2]
    names = [layer.activation.__name__ for layer in encoder.net]
    assert names == ["tanh", "tanh", "linear"]
