"""Supervision by motion: what the stage `autoencoder` minimizes, and how its outcome is judged.

Each encoder mask is drawn to the pixels of one moving object (`physics_models.discovery`), the background's mask to the
still pixels, and the positions to the objects' centres. The supervision fades out; the last steps minimize the paper's
reconstruction loss alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nn.decoders import BlackBoxDecoder
from physics_models import motion
from physics_models.discovery import Discovery
from physics_models.physics_net import PhysicsNet, squared_error

FADE = (0.5, 0.7)  # of the stage's steps: the supervision is whole until the first, gone from the second on
MASKS, BACKGROUND, POSITIONS = 5.0, 1.0, 0.3  # weights; the last one per px²
# Pixels of an object: below, the background's weight rises by the square. Else masks that are open everywhere win: a
# ball of four pixels was not found within 1000 steps.
SMALL = 16.0
EXPLAINED, IN_USE = 0.5, 0.25  # see `Verdict.found`
TINY = 1e-6


def fade(done: float) -> float:
    """The weight of the supervision when the share `done` of the stage's steps is done: 1 until half, 0 from 70 %."""
    return float(np.clip((FADE[1] - done) / (FADE[1] - FADE[0]), 0.0, 1.0))


def reconstruction_error(frames: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of frames [F, H, H, C], summed over H, W, C and averaged over frames: `recons_loss`."""
    return squared_error(frames[None], decoded[None])


def motion_loss(
    frames: tf.Tensor, masks: tf.Tensor, positions: tf.Tensor, centres: tf.Tensor, found: Discovery
) -> tf.Tensor:
    """The supervision's loss, a scalar, for `frames` [F, H, H, C] in [0, 1] with `centres` [F, N, 2] (pixels).

    `masks` [F, H, H, N + 1] and `positions` [F, 2N] (pixels) are the encoder's. In clear frames, a moving pixel
    belongs to the nearest centre, if that is within 0.35 H: 5 times the mean of −log mask over an object's pixels,
    averaged over the objects, and 0.3 times the squared distances of the positions from the centres. In all frames,
    the mean of −log of the background's mask over the still pixels, times 1, or more where objects are `SMALL`. Where
    objects look the same, each frame's best assignment counts.
    """
    n_objs, scene = found.n_objs, found.scene
    strength = tf.norm(frames - scene.background, axis=-1)  # [F, H, H]
    clear = tf.reduce_all(tf.math.is_finite(centres), axis=[1, 2])
    centres = tf.where(clear[:, None, None], centres, 0.0)
    middles = tf.range(frames.shape[1], dtype=tf.float32) + 0.5
    across = tf.math.squared_difference(middles, centres[:, :, 0, None])[:, None, :]  # [F, 1, N, W]
    down = tf.math.squared_difference(middles, centres[:, :, 1, None])  # [F, N, H]
    distance = tf.transpose(down, [0, 2, 1])[..., None] + across  # [F, H, N, W]
    nearest = tf.one_hot(tf.argmin(distance, axis=2), n_objs)  # [F, H, W, N]
    near = tf.cast(tf.reduce_min(distance, axis=2) < 2 * (frames.shape[1] / 4) ** 2, tf.float32)
    owned = nearest * (near * tf.cast(strength > scene.moving_above, tf.float32))[..., None]
    logs = -tf.math.log(masks + TINY)
    areas = tf.reduce_sum(owned, [1, 2])  # [F, N]
    label = tf.einsum("fhwk,fhwj->fkj", owned, logs[..., :n_objs]) / (areas[..., None] + TINY)
    away = tf.math.squared_difference(centres[:, :, None], tf.reshape(positions, [-1, 1, n_objs, 2]))
    pairs = MASKS / n_objs * label + POSITIONS * tf.reduce_sum(away, axis=-1)  # [F, centre, mask]
    if found.kinds is not None and not found.kinds.distinct:
        orders = motion.orders(n_objs)
        best = tf.reduce_min(sum(tf.gather(pairs[:, k], orders[:, k], axis=1) for k in range(n_objs)), axis=1)
    else:
        best = tf.linalg.trace(pairs)
    still = tf.cast(strength < scene.still_below, tf.float32)
    outside = tf.reduce_sum(still * logs[..., n_objs], [1, 2]) / (tf.reduce_sum(still, [1, 2]) + TINY)
    objects = tf.reduce_mean(tf.where(clear, best, 0.0)) / max(found.clear, motion.MIN_CLEAR)
    area = tf.where(tf.reduce_any(clear), tf.reduce_mean(areas[clear]), SMALL)
    weight = BACKGROUND * tf.square(SMALL / tf.clip_by_value(area, 1.0, SMALL))
    return objects + weight * tf.reduce_mean(outside)


def autoencoder_loss(
    net: PhysicsNet, frames: tf.Tensor, centres: tf.Tensor, weight: tf.Tensor, found: Discovery | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """(loss, its reconstruction part) of encoding and decoding `frames` [F, H, H, C], each by itself.

    `centres` [F, N, 2] (pixels) are the moving objects', NaN where a frame is not clear. `weight` (1 … 0, see `fade`)
    scales the supervision; without `found` there is none. Where `net` has `encoder_waits`, as much of the
    reconstruction's gradient is kept from the encoder.
    """
    encoding = net.encoder(frames)
    positions = encoding.positions
    if found is not None and net.encoder_waits:
        positions = weight * tf.stop_gradient(positions) + (1.0 - weight) * positions
    recons = reconstruction_error(frames, net.decoder(positions))
    if found is None:
        return recons, recons
    return recons + weight * motion_loss(frames, encoding.masks, net.places(encoding.positions), centres, found), recons


# The outcome


class Verdict(NamedTuple):
    """How much of what moves is reconstructed, and by whom; relative to the video, whatever its noise and contrast."""

    explained: float  # share of the still background's error that is gone, less the error that noise makes
    # [N], by how much each object lessens the error, as a share of what an object differs by; [0] where a black-box
    # decoder has no layer to leave out
    contributions: np.ndarray

    @property
    def found(self) -> bool:
        """Whether the objects count as found.

        A missing object, or one that another one copies, contributes nothing, however much the others explain (two
        of three bodies: 67 %). So each must contribute; the share explained is to tell a wrong background.
        """
        return self.explained >= EXPLAINED and bool((self.contributions >= IN_USE).all())

    def __str__(self) -> str:
        """One line for the log."""
        shares = ", ".join(f"{share:.2f}" for share in self.contributions)
        found = "found" if self.found else "not found"
        if not shares:
            return f"{self.explained:.1%} of what moves is explained; a black-box decoder does not tell by what"
        return f"objects {found}: {self.explained:.1%} of what moves is explained, each object contributes {shares}"


def object_contributions(net: PhysicsNet, frames: np.ndarray, found: Discovery) -> Verdict:
    """Judge the reconstruction of `frames` [F, H, H, C] in [0, 1].

    The error is the reconstruction loss; a still background alone has the error `still`, and a perfect
    reconstruction would have the noise's. An object contributes what the error grows by where its layer is left out,
    divided by the summed square of its mean look: a small or dim object counts as much as a large one. The weakest
    layer is compared with the weakest look, for without supervision the layers have no names.
    """
    positions = net.encoder(frames).positions
    still = float(reconstruction_error(frames, found.scene.background[None]))
    of_motion = max(still - found.scene.noise, TINY)
    if isinstance(net.decoder, BlackBoxDecoder):
        error = float(reconstruction_error(frames, net.decoder(positions)))
        return Verdict((still - error) / of_motion, np.empty(0))
    layers = net.decoder.layers(positions)
    weighted = layers.masks * layers.contents
    error = float(reconstruction_error(frames, tf.reduce_sum(weighted, axis=0)))
    gains = []
    for j in range(found.n_objs):
        without_j = (tf.reduce_sum(weighted, axis=0) - weighted[j]) / (1.0 - layers.masks[j] + TINY)
        gains.append(float(reconstruction_error(frames, without_j)) - error)
    energies = np.full(found.n_objs, of_motion / found.n_objs)
    if found.kinds is not None:
        energies = np.sort(np.square(found.kinds.looks).sum(-1))
    contributions = np.empty(found.n_objs)
    contributions[np.argsort(gains)] = np.sort(gains) / np.maximum(energies, TINY)
    return Verdict((still - error) / of_motion, contributions)
