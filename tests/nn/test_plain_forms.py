"""Each function that was rewritten for speed equals its plain equation, in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nn import plain, stn
from nn.blocks import resize_bilinear_tf1, softmax_with_background, upsample_twice
from nn.decoders import ConvSTDecoder
from nn.encoders import ConvEncoder
from nn.plain import ConvSTDecoderPlain
from physics_models.base import tf_variable

RESAMPLERS = {"tf": stn.resampler_tf, **({"tfa": stn.resampler_tfa()} if stn.resampler_tfa() else {})}


def noise(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, 7])


def value_and_gradients(function, sources):
    """`function()` and the gradients of sum(function() · noise) with respect to `sources`."""
    with tf.GradientTape() as tape:
        tape.watch(sources)
        value = function()
        loss = tf.reduce_sum(value * noise(*value.shape, seed=1))
    return [value, *tape.gradient(loss, sources)]


def assert_equal(found, expected, tolerance=2e-6, scale=0.0):
    """Equal to `tolerance` of the largest value, or of `scale` if that is larger."""
    for ours, plain_form in zip(found, expected):
        ours, plain_form = tf.convert_to_tensor(ours).numpy(), tf.convert_to_tensor(plain_form).numpy()
        assert ours.shape == plain_form.shape
        np.testing.assert_allclose(ours, plain_form, rtol=0, atol=tolerance * max(np.abs(plain_form).max(), scale))


@pytest.mark.parametrize("shape", [(2, 16, 16, 5), (3, 9, 9, 32), (2, 1, 4, 1), (1, 3, 7, 2)])
def test_upsampling(shape):
    images, size = noise(*shape), (2 * shape[1], 2 * shape[2])
    resize = tf.raw_ops.ResizeBilinear
    assert_equal(
        value_and_gradients(lambda: upsample_twice(images), [images]),
        value_and_gradients(lambda: resize(images=images, size=size, half_pixel_centers=False), [images]),
    )


def test_other_sizes_take_tensorflows_kernel():
    images = noise(2, 7, 7, 3)
    for size in [(15, 15), (14, 15), (7, 7)]:
        expected = tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=False)
        np.testing.assert_array_equal(resize_bilinear_tf1(images, size), expected)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("objects", [1, 2, 5])
def test_softmax_with_background(objects, scale):
    """At a scale of 1000 every mask is 0 or 1, and what is left of p·(g − Σ p·g) is rounding of the g given."""
    logits = scale * noise(objects, 3, 8, 8)
    given = np.abs(noise(objects + 1, 3, 8, 8, seed=1)).max()

    def joined():
        masks, background = softmax_with_background(logits)
        return tf.concat([masks, background[None]], axis=0)

    def softmax():
        return tf.nn.softmax(tf.concat([logits, tf.ones_like(logits[:1])], axis=0), axis=0)

    found, expected = (value_and_gradients(form, [logits]) for form in (joined, softmax))
    assert_equal(found[:1], expected[:1])
    assert_equal(found[1:], expected[1:], scale=given)


def plain_positions(encoder: ConvEncoder, frames: tf.Tensor) -> tf.Tensor:
    """Positions [F, 2N] by the original's steps: softmax over N + 1 channels, mask · frame, flattened."""
    logits = encoder.unet(frames)
    masks = tf.nn.softmax(tf.concat([logits, tf.ones_like(logits[..., :1])], axis=-1))
    first, second, last = encoder.location_net
    positions = []
    for i in range(encoder.n_objs):
        x = masks[..., i : i + 1] * frames
        if not encoder.shallow:
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, [len(frames), -1])
        x = tf.nn.relu(x @ tf.convert_to_tensor(first.kernel) + tf.convert_to_tensor(first.bias))
        positions.append(last(second(x)))
    half = encoder.img_size / 2
    return tf.tanh(tf.concat(positions, axis=-1)) * half + half


@pytest.mark.parametrize(
    ("size", "channels", "objects"),
    [(16, 3, 2), (20, 1, 3), (40, 3, 2), pytest.param(41, 3, 2, marks=pytest.mark.slow)],
)
def test_the_encoders_positions(size, channels, objects):
    tf.keras.utils.set_random_seed(0)
    encoder = ConvEncoder(size, channels, objects)
    encoder.build((None, size, size, channels))
    frames = tf.random.stateless_uniform([3, size, size, channels], [0, 1])
    weights = [tf_variable(v) for v in encoder.trainable_variables]
    assert_equal(
        value_and_gradients(lambda: encoder(frames).positions, weights),
        value_and_gradients(lambda: plain_positions(encoder, frames), weights),
        5e-6,
    )


DECODERS = [(16, 3, 2, False), (20, 1, 3, False), (32, 3, 1, True), (21, 3, 2, False)]


@pytest.mark.parametrize(
    ("size", "channels", "objects", "calibrated", "resampler"),
    [
        # Each decoder once, and each resampler.
        pytest.param(*decoder, name, marks=[pytest.mark.slow] * ((i + j) % 2 and len(RESAMPLERS) > 1))
        for i, decoder in enumerate(DECODERS)
        for j, name in enumerate(RESAMPLERS)
    ],
)
def test_the_decoders_frames(size, channels, objects, calibrated, resampler, monkeypatch):
    """Of the fast decoder and of the plain one, with each resampler; the positions lie inside and half outside."""
    monkeypatch.setattr(stn, "default_resampler", lambda: RESAMPLERS[resampler])
    tf.keras.utils.set_random_seed(0)
    fast, slow = (kind(size, channels, objects, calibrated) for kind in (ConvSTDecoder, ConvSTDecoderPlain))
    for decoder in (fast, slow):
        decoder.build((None, 2 * objects))
    fast.logsigma.assign(0.3)
    slow.set_weights(fast.get_weights())
    positions = tf.random.stateless_uniform([4, 2 * objects], [2, 3], 0, size)

    def values(decoder):
        weights = [tf_variable(v) for v in decoder.trainable_variables]
        return value_and_gradients(lambda: decoder(positions), [positions, *weights])

    assert len(slow.trainable_variables) == 13
    assert_equal(values(fast), values(slow), 2e-5)


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_a_position_that_is_no_number_shows_in_the_frame_of_both_decoders(resampler, monkeypatch):
    monkeypatch.setattr(stn, "default_resampler", lambda: RESAMPLERS[resampler])
    positions = tf.constant([[8.0, 8.0], [np.nan, 8.0], [np.inf, 8.0]])
    for kind in (ConvSTDecoder, ConvSTDecoderPlain):
        frames = kind(16, 3, 1)(positions).numpy()
        assert [bool(np.isfinite(frame).all()) for frame in frames] == [True, False, False], kind


def test_the_plain_decoder_is_plain():
    """It takes none of the rewritten functions."""
    assert not {"softmax_with_background", "upsample_twice", "axis_weights"} & set(vars(plain))
