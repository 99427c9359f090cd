"""Finding the objects: what the autoencoder stage of `physics_models.staged` minimises, and how it is judged.

The original finds objects through the reconstruction alone: one after the other, and not with every seed. The
*guide* is an opt-in help for the first steps. It uses what the model assumes anyway, that a frame is a fixed
background with N moving objects: the pixels that differ from the background are shared out among the objects'
encoder masks, and the location net is drawn to where its mask's share lies. The guide fades out; what remains
is the reconstruction loss alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet

TINY = 1e-6


@dataclass(frozen=True)
class Guide:
    """Weights of the guide's terms in the autoencoder's loss."""

    share: float = 0.0  # of an object's missing share of the foreground
    sharp: float = 0.0  # of the entropy of the masks on the foreground
    look: float = 0.0  # of the variance of colour within an object's share, over all frames
    compact: float = 0.0  # of the spread of an object's share, per squared pixel
    locate: float = 0.0  # of the distance of a position from its share's centre, per squared pixel
    floor: float = 1.0  # the share below which an object is missing some, in units of 1/N


def median_background(frames: np.ndarray, most: int = 500) -> np.ndarray:
    """The median [H, H, C] in [0, 1] of up to `most` of the uint8 `frames` [F, H, H, C]: what does not move."""
    chosen = frames[:: max(1, len(frames) // most)]
    return (np.median(chosen, axis=0) / 255.0).astype(np.float32)


def reconstruction_error(frames: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of frames [F, H, H, C], summed over H, W, C and averaged over frames: `recons_loss`."""
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(frames, decoded), axis=[1, 2, 3]))


def guide_loss(
    frames: tf.Tensor, masks: tf.Tensor, positions: tf.Tensor, background: tf.Tensor, guide: Guide
) -> tf.Tensor:
    """The guide's loss, a scalar.

    `frames` [F, H, H, C], the encoder's `masks` [F, H, H, N + 1] and `positions` [F, 2N] (pixels), and the frame's
    fixed `background` [H, H, C].
    """
    size, n_objs = frames.shape[1], masks.shape[-1] - 1
    foreground = tf.reduce_sum(tf.math.squared_difference(frames, background), axis=-1, keepdims=True)
    foreground /= tf.reduce_sum(foreground, axis=[1, 2, 3], keepdims=True) + TINY  # sums to one a frame
    object_masks, _ = tf.split(masks, [n_objs, 1], axis=-1)
    shares = foreground * object_masks  # [F, H, H, N]
    total = tf.reduce_sum(shares, axis=[1, 2])  # [F, N]
    missing = tf.nn.relu(guide.floor - total * n_objs)
    entropy = -tf.reduce_sum(foreground * masks * tf.math.log(masks + TINY), axis=[1, 2, 3])
    looks = tf.einsum("fhwn,fhwc->nc", shares, frames) / (tf.reduce_sum(total, axis=0)[:, None] + TINY)
    unlike = tf.reduce_sum(tf.math.squared_difference(frames[..., None, :], looks), axis=-1)  # [F, H, W, N]
    pixel = tf.range(size, dtype=tf.float32) + 0.5  # a pixel's middle

    def moment(values: tf.Tensor, axis: int) -> tf.Tensor:
        marginal = tf.reduce_sum(shares, axis=3 - axis)  # [F, H, N], summed over the other axis
        return tf.einsum("fpn,p->fn", marginal, values) / (total + TINY)

    x, y = moment(pixel, 2), moment(pixel, 1)
    spread = moment(tf.square(pixel), 2) - tf.square(x) + moment(tf.square(pixel), 1) - tf.square(y)
    centre = tf.stop_gradient(tf.reshape(tf.stack([x, y], axis=-1), [-1, 2 * n_objs]))
    distance = tf.reduce_sum(tf.math.squared_difference(positions, centre), axis=-1)
    return (
        guide.share * tf.reduce_mean(tf.reduce_sum(tf.square(missing), axis=-1))
        + guide.sharp * tf.reduce_mean(entropy)
        + guide.look * tf.reduce_mean(tf.reduce_sum(shares * unlike, axis=[1, 2, 3]))
        + guide.compact * tf.reduce_mean(tf.reduce_sum(total * spread, axis=-1))
        + guide.locate * tf.reduce_mean(distance)
    )


def autoencoder_loss(
    net: PhysicsNet, frames: tf.Tensor, guide: Guide, strength: tf.Tensor, background: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(loss, its reconstruction part) of encoding and decoding `frames` [F, H, H, C], each by itself.

    `strength` (1 … 0) scales the guide.
    """
    encoding = net.encoder(frames)
    recons = reconstruction_error(frames, net.decoder(encoding.positions))
    helped = guide_loss(frames, encoding.masks, encoding.positions, background, guide)
    return recons + strength * helped, recons


def objects_in_use(net: PhysicsNet, frames: tf.Tensor) -> tuple[float, np.ndarray]:
    """How well `frames` [F, H, H, C] are reconstructed, and what each object does for it.

    Returns the reconstruction loss and, for each of the N objects, by how much it grows when that object's layer
    is taken out, as a fraction of an equal share of what all objects explain: about 1 for each object that
    draws a ball of its own, about 0 for one that draws nothing or what another draws as well.
    """
    layers = net.decoder.layers(net.encoder(frames).positions)
    weighted = layers.masks * layers.contents
    loss = reconstruction_error(frames, tf.reduce_sum(weighted, axis=0))
    without_all = reconstruction_error(frames, layers.contents[-1])
    gains = []
    for j in range(net.task.n_objs):
        left = tf.reduce_sum(weighted, axis=0) - weighted[j]
        without_j = left / (1.0 - layers.masks[j] + TINY)
        gains.append(reconstruction_error(frames, without_j) - loss)
    equal_share = max(float(without_all) - float(loss), TINY) / net.task.n_objs
    return float(loss), np.array([float(gain) / equal_share for gain in gains])
