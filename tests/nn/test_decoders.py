"""The decoder: layers that sum to its frames, objects where their positions say, sprites computed once."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from nn.decoders import BlackBoxDecoder, ConvSTDecoder
from nn.optimizers import RMSProp
from nn.plain import ConvSTDecoderPlain
from physics_models.base import tf_variable
from physics_models.physics_net import DECODERS

each_decoder = pytest.mark.parametrize("decoder_class", [ConvSTDecoder, ConvSTDecoderPlain])


def built(decoder_class: type, img_size: int, channels: int, n_objs: int) -> ConvSTDecoderPlain:
    """A decoder with its variables."""
    decoder = decoder_class(img_size, channels, n_objs)
    decoder.build((None, 2 * n_objs))
    return decoder


def fixed_sprites(decoder: ConvSTDecoderPlain, template: float, content: float, background: float) -> None:
    """Constant templates (logits), contents and background (before the sigmoid)."""
    for part, value in ((decoder.template, template), (decoder.content, content), (decoder.background, background)):
        linear = part.dense_layers[-1]
        linear.kernel.assign(tf.zeros(linear.kernel.shape))
        linear.bias.assign(tf.fill(linear.bias.shape, value))


def test_the_table_has_the_originals_key():
    black_box = {"black_box": BlackBoxDecoder}
    assert DECODERS == {"conv_st_decoder": ConvSTDecoder, "conv_st_decoder_plain": ConvSTDecoderPlain, **black_box}


@each_decoder
@pytest.mark.parametrize("channels", [3, 1])
def test_layers_sum_to_the_frames(channels, decoder_class):
    decoder = built(decoder_class, 16, channels, 2)
    positions = tf.random.stateless_uniform([5, 4], [0, 1], 0, 16)
    layers = decoder.layers(positions)
    assert layers.masks.shape == [3, 5, 16, 16, 1] and layers.contents.shape == [3, 5, 16, 16, channels]
    np.testing.assert_allclose(tf.reduce_sum(layers.masks, axis=0), 1.0, rtol=1e-6)
    frames = decoder(positions)
    np.testing.assert_allclose(tf.reduce_sum(layers.masks * layers.contents, axis=0), frames, atol=1e-6)


@each_decoder
def test_an_object_is_drawn_at_its_position(decoder_class):
    """x to the right, y downwards: at σ = 2 a white square of side S = 8 over the dark, its middle at (10, 5)."""
    decoder = built(decoder_class, 16, 3, 1)
    fixed_sprites(decoder, template=20.0, content=20.0, background=-20.0)
    decoder.logsigma.assign(np.log(2.0))
    frame = decoder(tf.constant([[10.0, 5.0]])).numpy()[0]
    rows, columns, _ = np.nonzero(frame > 0.5)
    # The grid stretches lengths by H/(H - 1): position x lies at pixel index x·15/16.
    assert (columns.min() + columns.max()) / 2 == pytest.approx(10 * 15 / 16, abs=0.5)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(5 * 15 / 16, abs=0.5)
    assert columns.max() - columns.min() + 1 in (7, 8) and rows.max() - rows.min() + 1 in (7, 8)
    assert frame[0, 0].max() < 1e-2


@each_decoder
@pytest.mark.parametrize("side", [32, 33])
def test_a_calibrated_decoder_keeps_lengths_at_odd_sizes_too(side, decoder_class):
    """Small squares at 10 and 22 have their middles 12 pixels apart, and 13 with a half side of 33 // 2."""
    decoder = decoder_class(side, 1, 1, calibrated=True)
    decoder.build((None, 2))
    fixed_sprites(decoder, template=20.0, content=20.0, background=-20.0)
    decoder.logsigma.assign(np.log(6.0))
    blob = np.zeros((decoder.img_size // 2,) * 2)
    blob[4:-4, 4:-4] = 40.0
    decoder.template.dense_layers[-1].bias.assign(blob.reshape(-1) - 20.0)
    weights = decoder(tf.constant([[10.0, 10.0], [22.0, 22.0]])).numpy()[..., 0]
    middles = (weights.sum(1) @ (np.arange(side) + 0.5)) / weights.sum((1, 2))
    assert middles[1] - middles[0] == pytest.approx(12, abs=0.1)


@each_decoder
def test_sigma_scales_down(decoder_class):
    """σ = exp(logsigma) multiplies the grid: the template fills the frame at σ = 1, half its side at σ = 2."""
    decoder = built(decoder_class, 16, 3, 1)
    fixed_sprites(decoder, template=20.0, content=20.0, background=-20.0)
    assert decoder.logsigma.numpy() == 0
    assert (decoder(tf.constant([[8.0, 8.0]])).numpy() > 0.5).sum() == 3 * 16 * 16
    decoder.logsigma.assign(np.log(2.0))
    assert (decoder(tf.constant([[8.0, 8.0]])).numpy() > 0.5).sum() == 3 * 8 * 8


@each_decoder
def test_mask_logits_are_minus_five_outside_and_one_for_the_background(decoder_class):
    decoder = built(decoder_class, 16, 3, 2)
    fixed_sprites(decoder, template=3.0, content=0.0, background=0.0)
    decoder.logsigma.assign(np.log(2.0))
    masks = decoder.layers(tf.constant([[4.0, 4.0, 12.0, 12.0]])).masks.numpy()[:, 0, ..., 0]
    weights = {"object": np.exp(3.0), "outside": np.exp(-5.0), "background": np.e}
    inside = np.array([weights["object"], weights["outside"], weights["background"]])
    np.testing.assert_allclose(masks[:, 3, 3], inside / inside.sum(), rtol=1e-5)
    corner = np.array([weights["outside"], weights["outside"], weights["background"]])
    np.testing.assert_allclose(masks[:, 15, 0], corner / corner.sum(), rtol=1e-5)


def test_the_black_box_draws_what_it_is_trained_to():
    """It learns an object's place from the position alone, in frames whose side is no multiple of four."""
    tf.keras.utils.set_random_seed(0)
    decoder = BlackBoxDecoder(10, 1, 1)
    decoder.build((None, 2))
    np.testing.assert_array_equal(decoder(tf.constant([[5.0, 5.0]])), np.zeros([1, 10, 10, 1]))  # nothing goes in
    x, y = np.mgrid[1:9, 1:9].reshape(2, -1)
    frames = np.zeros([64, 10, 10, 1], np.float32)
    for i in range(64):
        frames[i, y[i] - 1 : y[i] + 2, x[i] - 1 : x[i] + 2] = 1.0
    positions = tf.constant(np.stack([x, y], 1), tf.float32)
    named = {name: tf_variable(v) for name, v in decoder.named_weights().items()}
    variables, optimizer = list(named.values()), RMSProp(named, 1e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.reduce_sum(tf.square(decoder(positions) - frames), axis=[1, 2, 3]))
        return loss, tape.gradient(loss, variables)

    for _ in range(120):
        loss, gradients = step()
        optimizer.apply(gradients)
    one_frame_for_all = np.square(frames - frames.mean(axis=0)).sum((1, 2, 3)).mean()
    assert loss < 0.7 * one_frame_for_all
