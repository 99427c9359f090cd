"""Both resamplers and the weights of each axis against the original's spatial transformer."""

from __future__ import annotations

import sys

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from nn import stn

CASES = ("stn_identity", "stn_translate", "stn_scale2", "stn_affine")
RESAMPLERS = {"tf": stn.resampler_tf}
if stn.resampler_tfa() is not None:
    RESAMPLERS["tfa"] = stn.resampler_tfa()
# In the original, points outside add terms to grad_input, at the edge pixels that they are clipped to; the terms
# cancel only up to rounding. What was left of them when the golden values were made:
EDGE_RUBBISH = {"stn_translate": 6e-3, "stn_scale2": 7e-4}


def test_addons_are_used_where_they_can_be_installed():
    if sys.version_info < (3, 12):
        assert stn.default_resampler() is stn.resampler_tfa()
    else:
        assert stn.default_resampler() is stn.resampler_tf


def share_apart(found, wanted, more=0.0) -> float:
    """The share of entries that differ by more than two float32 computations do, plus `more`."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape and np.isfinite(found).all()
    return np.mean(np.abs(found - wanted) > 1e-4 * (np.abs(wanted) + np.abs(wanted).max()) + more)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_spatial_transformer_equals_the_original(case, resampler):
    """A point that falls exactly on a pixel border may round apart: 0.1 % of the entries may differ.

    Measured: output 1e-6, grad_theta 1e-6 relative, grad_input 1e-6 but at the edges (see `EDGE_RUBBISH`).
    """
    golden = golden_data.blocks_file()[case]
    images, theta = tf.constant(golden["input"]), tf.constant(golden["theta"])
    with tf.GradientTape() as tape:
        tape.watch([images, theta])
        out = stn.spatial_transformer(images, theta, (32, 32), resampler=RESAMPLERS[resampler])
        loss = tf.reduce_sum(out * golden["cotangent"])
    grad_input, grad_theta = tape.gradient(loss, [images, theta])
    assert share_apart(out, golden["output"]) <= 1e-3
    golden_data.assert_close(grad_theta, golden["grad_theta"])
    edge = np.full([16, 16, 1], EDGE_RUBBISH.get(case, 0.0))
    edge[1:-1, 1:-1] = 0.0
    assert share_apart(grad_input, golden["grad_input"], more=edge) <= 1e-3


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_outside_is_zero_with_a_hard_edge(resampler):
    images = tf.ones([1, 8, 8, 1])
    x = np.linspace(-1, 1, 9)
    theta = tf.constant([[2.0, 0, 0, 0, 2.0, 0]])  # the template fills the middle half
    out = stn.spatial_transformer(images, theta, (9, 9), resampler=RESAMPLERS[resampler])
    source = (2 * x + 1) * (8 - 1.01) / 2
    inside = (np.floor(source) >= 0) & (np.floor(source) <= 6)
    assert 0 < inside.sum() < 9
    np.testing.assert_allclose(tf.squeeze(out), np.outer(inside, inside), rtol=1e-6)


def test_x_runs_along_columns():
    images = tf.reshape(tf.range(8.0), [1, 1, 8, 1]) * tf.ones([1, 8, 1, 1])
    theta = tf.constant([[1.0, 0, 0.25, 0, 1.0, 0]])
    out = stn.spatial_transformer(images, theta, (5, 5)).numpy()[0, ..., 0]
    np.testing.assert_allclose(out, np.tile(out[:1], (5, 1)), rtol=1e-5)
    x = (np.linspace(-1, 1, 5) + 0.25 + 1) * 6.99 / 2
    np.testing.assert_allclose(out[0], np.where(x < 7, x, 0), rtol=1e-5)


def theta_of(positions, sigma, side, size):
    """The decoder's theta [b, 6] for one object at `positions` [b, 2]."""
    x, y = tf.unstack((side / 2 - positions) / size * sigma, axis=1)
    zero, scale = tf.zeros_like(x), sigma * tf.ones_like(x)
    return tf.stack([scale, zero, x, zero, scale, y], axis=1)


@pytest.mark.parametrize("side", [32, 36, 64])
def test_the_axes_weights_are_the_spatial_transformer_with_gradients(side):
    """W_y · template · W_xᵀ, also for objects half or wholly outside; gradients to templates, positions and sigma."""
    random = np.random.RandomState(side)
    size, objects, batch = side // 2, 2, 6
    templates = tf.constant(random.standard_normal((objects, size, size, 4)), tf.float32)
    positions = tf.constant(random.uniform(-0.2, 1.2, (batch, 2 * objects)) * side, tf.float32)
    sigma = tf.constant(1.3)
    cotangent = tf.constant(random.standard_normal((objects, batch, side, side, 4)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([templates, positions, sigma])
        centres = tf.transpose(tf.reshape(positions, [batch, objects, 2]), [2, 1, 0])
        w_x, w_y = tf.unstack(stn.axis_weights(centres, sigma, size, side))  # [N, b, H, S] each
        pasted = tf.einsum("nbhs,nstk,nbwt->nbhwk", w_y, templates, w_x)
        each = []
        for i, xy in enumerate(tf.split(positions, objects, axis=1)):
            images = tf.repeat(templates[i : i + 1], batch, axis=0)
            theta = theta_of(xy, sigma, side, size)
            each.append(stn.spatial_transformer(images, theta, (side, side), resampler=stn.resampler_tf))
        general = tf.stack(each)
        losses = [tf.reduce_sum(out * cotangent) for out in (pasted, general)]
    golden_data.assert_close(pasted, general)
    for source in (templates, positions, sigma):
        ours, wanted = (tape.gradient(loss, source) for loss in losses)
        golden_data.assert_close(ours, wanted)
