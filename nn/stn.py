"""Spatial transformers (`nn/network/stn.py` of the original; paper section 3.2).

The original samples a template at x = (x_s + 1)·(w − 1.01)/2 for x_s in [−1, 1], bilinearly, and gives
zero, with a hard edge, wherever floor(x) lies outside 0 … w − 2.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import tensorflow as tf

Resampler = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def resampler_tf(images: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Bilinear samples of `images` [b, h, w, K] at `points` [b, ho, wo, 2] (x, y in pixels): [b, ho, wo, K].

    Plain TensorFlow; points whose floor lies outside 0 … w − 2 (0 … h − 2) are sampled at the border and
    are for the caller to mask. Gradients flow to both arguments.
    """
    height, width = images.shape[1:3]
    corner = tf.floor(points)
    right, down = tf.split(points - corner, 2, axis=-1)
    column, row = tf.unstack(tf.cast(corner, tf.int32), axis=-1)
    column = tf.clip_by_value(column, 0, width - 2)
    row = tf.clip_by_value(row, 0, height - 2)

    def pixel(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        return tf.gather_nd(images, tf.stack([row, column], axis=-1), batch_dims=1)

    above = (1 - right) * pixel(row, column) + right * pixel(row, column + 1)
    below = (1 - right) * pixel(row + 1, column) + right * pixel(row + 1, column + 1)
    return (1 - down) * above + down * below


@functools.cache
def resampler_tfa() -> Resampler | None:
    """`tfa.image.resampler`, which replaced TF1's `tf.contrib.resampler`; None where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorFlow Addons announces its end of life at each import
            from tensorflow_addons.image import resampler
    except ImportError:
        return None
    return resampler


def default_resampler() -> Resampler:
    """The resampler of TensorFlow Addons where that is installed, else the plain TensorFlow twin."""
    return resampler_tfa() or resampler_tf


def grid_points(side: int, calibrated: bool = False) -> tf.Tensor:
    """The output pixels of one axis [side], in the coordinates −1 … 1 of the affine map.

    The original puts pixel i at linspace(−1, 1)[i]: i pixels are drawn i·side/(side − 1) pixels apart, and all
    learned lengths come out too large by that factor. `calibrated` takes the pixels' middles, (2i + 1)/side − 1.
    """
    if calibrated:
        return (2.0 * tf.range(side, dtype=tf.float32) + 1.0) / side - 1.0
    return tf.linspace(-1.0, 1.0, side)


def sample_points(
    theta: tf.Tensor, in_size: tuple[int, int], out_size: tuple[int, int], calibrated: bool = False
) -> tf.Tensor:
    """Source pixels [b, ho, wo, 2] (x, y) for the affine maps `theta` [b, 6] (row-major 2×3)."""
    height, width = in_size
    x, y = tf.meshgrid(grid_points(out_size[1], calibrated), grid_points(out_size[0], calibrated))
    target = tf.stack([x, y, tf.ones_like(x)], axis=-1)
    source = tf.einsum("hwj,bij->bhwi", target, tf.reshape(theta, [-1, 2, 3]))
    return (source + 1.0) * tf.constant([(width - 1.01) / 2, (height - 1.01) / 2])


def spatial_transformer(
    images: tf.Tensor,
    theta: tf.Tensor,
    out_size: tuple[int, int],
    calibrated: bool = False,
    resampler: Resampler | None = None,
) -> tf.Tensor:
    """Sample `images` [b, h, w, K] on the affine grid `theta` [b, 6] → [b, *out_size, K].

    Zero outside the image, with the original's hard edge, and NaN where `theta` is not finite. Gradients flow to both
    arguments. `calibrated`: see `grid_points`. `resampler`: `resampler_tf` or TensorFlow Addons' (the default where
    installed). Ports `stn` of `nn/network/stn.py`.
    """
    height, width = images.shape[1:3]
    points = sample_points(theta, (height, width), out_size, calibrated)
    corner = tf.floor(points)
    inside = tf.reduce_all((corner >= 0.0) & (corner <= [width - 2.0, height - 2.0]), axis=-1, keepdims=True)
    samples = (resampler or default_resampler())(images, points)
    finite = tf.reduce_all(tf.math.is_finite(points), axis=-1, keepdims=True)
    outside = tf.where(finite, tf.zeros_like(samples), tf.constant(float("nan"), samples.dtype))
    return tf.where(inside, samples, outside)


def axis_weights(
    centre: tf.Tensor, sigma: tf.Tensor, in_size: int, out_size: int, calibrated: bool = False
) -> tf.Tensor:
    """Bilinear weights [..., out_size, in_size] of one axis of the decoder's affine map.

    `centre` [...]: where the template's middle goes, in pixels. Output pixel i samples the template at
    u = (σ·(t_i + (out_size/2 − centre)/half) + 1)·(in_size − 1.01)/2, t = `grid_points`: weight 1 − frac(u) on
    floor(u), frac(u) on floor(u) + 1, and none where floor(u) lies outside 0 … in_size − 2. `half` is the original's
    in_size = out_size // 2; `calibrated` takes out_size/2, so that lengths are kept at odd sizes too.
    """
    shift = (out_size / 2 - centre[..., None]) / (out_size / 2 if calibrated else in_size)
    u = (sigma * grid_points(out_size, calibrated) + shift * sigma + 1.0) * (in_size - 1.01) / 2
    corner = tf.floor(u)
    # An index of −1 gives a row of zeros in tf.one_hot.
    index = tf.where((corner >= 0.0) & (corner <= in_size - 2.0), tf.cast(corner, tf.int32), -1)
    low = tf.one_hot(index, in_size)
    high = tf.one_hot(tf.where(index < 0, -1, index + 1), in_size)
    return low + (u - corner)[..., None] * (high - low)
