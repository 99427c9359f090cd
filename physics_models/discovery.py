"""Finding the objects: what the autoencoder stage of `physics_models.staged` minimises, and how it is judged.

The original finds objects through the reconstruction alone: one after the other, and not with every seed. The
*guide* is an opt-in help for the first steps. It uses what the model assumes anyway, that a frame is a fixed
background with N objects of fixed looks. Pixels that differ from the background are sorted into N kinds by the
colour of that difference; each encoder mask is drawn to one kind, and the location net to where that kind lies.
The guide fades out; what remains is the reconstruction loss alone. Objects of one and the same colour it cannot
tell apart: it is then left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet

TINY = 1e-6
# Of the largest difference from the background: above it a pixel counts as an object's, below as the background's.
FOREGROUND, STILL = 0.2, 0.02
CLUSTER_TRIES, CLUSTER_ROUNDS = 10, 20
SAME_COLOUR = 0.2  # distance of two kinds' unit vectors of colour under which they are one kind


@dataclass(frozen=True)
class Guide:
    """Weights of the guide's terms in the autoencoder's loss."""

    label: float = 5.0  # of the cross-entropy of the encoder's masks on the foreground
    outside: float = 1.0  # of the same on the background, whose mask should have it
    locate: float = 0.3  # of the squared distance of a position from where its kind lies, per squared pixel


class Kinds(NamedTuple):
    """What tells the objects of a film apart."""

    background: np.ndarray  # [H, H, C] in [0, 1], the median frame
    colours: np.ndarray  # [N, C], unit vectors: colour of an object minus that of the background


def find_kinds(frames: np.ndarray, n_objs: int) -> Kinds | None:
    """The `Kinds` in float `frames` [F, H, H, C] in [0, 1]; None if their colours do not tell `n_objs` apart.

    A clustering (k-means, weighted by how strongly a pixel differs) of the directions in which pixels differ from
    the median frame. A function of the frames alone: no random numbers enter from outside.
    """
    background = np.median(frames, axis=0).astype(np.float32)
    differences = (frames - background).reshape(-1, frames.shape[-1])
    strength = np.linalg.norm(differences, axis=-1)
    chosen = strength > FOREGROUND * max(strength.max(), TINY)
    differences, strength = differences[chosen], strength[chosen]
    if len(differences) < n_objs:
        return None
    colours = cluster(differences / strength[:, None], np.square(strength), n_objs)
    apart = np.linalg.norm(colours[:, None] - colours, axis=-1) + 2 * np.eye(n_objs)
    return Kinds(background, colours.astype(np.float32)) if apart.min() > SAME_COLOUR else None


def cluster(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The centres [count, C] of the best of several k-means clusterings of weighted `points` [n, C]."""
    random, best_inertia, best = np.random.RandomState(0), np.inf, np.zeros((0, points.shape[1]))
    for _ in range(CLUSTER_TRIES):
        centres = points[random.choice(len(points), 1)]
        while len(centres) < count:  # the next centre far from those before
            far = np.square(points[:, None] - centres).sum(-1).min(1) * weights + TINY
            centres = np.concatenate([centres, points[random.choice(len(points), 1, p=far / far.sum())]])
        for _ in range(CLUSTER_ROUNDS):
            distances = np.square(points[:, None] - centres).sum(-1)
            nearest = distances.argmin(1)
            for j in range(count):
                mine = nearest == j
                if mine.any():
                    centres[j] = np.average(points[mine], axis=0, weights=weights[mine])
        inertia = float((distances.min(1) * weights).sum())
        if inertia < best_inertia:
            best_inertia, best = inertia, centres.copy()
    return best


def reconstruction_error(frames: tf.Tensor, decoded: tf.Tensor) -> tf.Tensor:
    """Squared error of frames [F, H, H, C], summed over H, W, C and averaged over frames: `recons_loss`."""
    return tf.reduce_mean(tf.reduce_sum(tf.math.squared_difference(frames, decoded), axis=[1, 2, 3]))


def guide_loss(frames: tf.Tensor, masks: tf.Tensor, positions: tf.Tensor, kinds: Kinds, guide: Guide) -> tf.Tensor:
    """The guide's loss, a scalar, for `frames` [F, H, H, C] in [0, 1].

    `masks` [F, H, H, N + 1] and `positions` [F, 2N] (pixels) are the encoder's.
    """
    size, n_objs = frames.shape[1], len(kinds.colours)
    difference = frames - kinds.background
    strength = tf.norm(difference + TINY, axis=-1)  # [F, H, H]
    likeness = tf.einsum("fhwc,nc->fhwn", difference, kinds.colours)
    kind = tf.one_hot(tf.argmax(likeness, axis=-1), n_objs)
    largest = tf.reduce_max(strength)
    energy = tf.square(strength) * tf.cast(strength > FOREGROUND * largest, tf.float32)
    shares = energy[..., None] * kind  # [F, H, H, N]
    shares /= tf.reduce_sum(shares, axis=[1, 2], keepdims=True) + TINY  # each kind weighs one, however large it is
    logs = tf.math.log(masks + TINY)
    object_logs, background_log = tf.split(logs, [n_objs, 1], axis=-1)
    label = -tf.reduce_sum(shares * object_logs, axis=[1, 2, 3]) / n_objs
    still = tf.cast(strength < STILL * largest, tf.float32)[..., None]
    outside = -tf.reduce_sum(still * background_log, axis=[1, 2, 3]) / (tf.reduce_sum(still, axis=[1, 2, 3]) + TINY)
    middle = tf.range(size, dtype=tf.float32) + 0.5  # of each pixel
    centre = tf.stack([tf.einsum("fhwn,w->fn", shares, middle), tf.einsum("fhwn,h->fn", shares, middle)], axis=-1)
    there = tf.cast(tf.reduce_sum(shares, axis=[1, 2]) > 0.5, tf.float32)  # [F, N]: a hidden object lies nowhere
    away = tf.reduce_sum(tf.math.squared_difference(tf.reshape(positions, [-1, n_objs, 2]), centre), axis=-1)
    locate = tf.reduce_sum(there * away, axis=-1)
    return tf.reduce_mean(guide.label * label + guide.outside * outside + guide.locate * locate)


def autoencoder_loss(
    net: PhysicsNet, frames: tf.Tensor, guide: Guide, strength: tf.Tensor, kinds: Kinds | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """(loss, its reconstruction part) of encoding and decoding `frames` [F, H, H, C], each by itself.

    `strength` (1 … 0) scales the guide; without `kinds` there is none.
    """
    encoding = net.encoder(frames)
    recons = reconstruction_error(frames, net.decoder(encoding.positions))
    if kinds is None:
        return recons, recons
    return recons + strength * guide_loss(frames, encoding.masks, encoding.positions, kinds, guide), recons


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
