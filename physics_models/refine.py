"""Positions refined by the decoder: the place of each object at which the decoded frame is nearest to the real one.

The encoder's positions are off by some tenths of a pixel, by the same wherever an object comes again: lengths are a few
percent wrong, differently for every seed (docs/own_video.md). The decoder draws the same sprite at every place, so its
scale is that of the frame. Not in the original, where the encoder's positions are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from physics_models.physics_net import PhysicsNet

ROUNDS, STEP, LONGEST = 6, 0.05, 1.0  # Gauss–Newton steps; of the derivative, and the longest one, pixels
DAMPING = 1e-3  # of the mean curvature
FRAMES_AT_ONCE = 200


def refine_positions(
    net: PhysicsNet, frames: np.ndarray, positions: np.ndarray, progress: Callable[[float], None] = lambda done: None
) -> np.ndarray:
    """Positions [T, 2N] (pixels) that minimize the squared error of the decoded frames, near `positions` [T, 2N].

    `frames`: uint8 [T, H, H, C]; `progress(share)` is called with the share done.
    """
    decode = tf.function(net.decoder, autograph=False, reduce_retracing=True)
    parts = []
    for i in range(0, len(frames), FRAMES_AT_ONCE):
        progress(i / len(frames))
        part = slice(i, i + FRAMES_AT_ONCE)
        parts.append(_refine(net, decode, frames[part], np.float32(positions[part])))
    return np.concatenate(parts)


def _refine(net: PhysicsNet, decode: tf.types.experimental.GenericFunction, frames: np.ndarray, at: np.ndarray):
    count, size = at.shape
    target = net.to_float(tf.constant(frames)).numpy().reshape(count, -1)
    for _ in range(ROUNDS):
        moved = [at, *(at + sign * STEP * np.eye(size, dtype=np.float32)[j] for j in range(size) for sign in (1, -1))]
        drawn = decode(tf.constant(np.concatenate(moved))).numpy().reshape(2 * size + 1, count, -1)
        slopes = (drawn[1::2] - drawn[2::2]) / (2 * STEP)  # [2N, T, pixels]
        curvature = np.einsum("itp,jtp->tij", slopes, slopes)
        curvature += DAMPING * np.trace(curvature, axis1=1, axis2=2).mean() / size * np.eye(size)
        gain = np.einsum("itp,tp->ti", slopes, target - drawn[0])
        at = at + np.clip(np.linalg.solve(curvature, gain[..., None])[..., 0], -LONGEST, LONGEST)
    return at
