"""Names of objects that look the same. Not in the original, whose objects have looks of their own."""

from __future__ import annotations

from itertools import permutations

import tensorflow as tf


def track(positions: tf.Tensor) -> tf.Tensor:
    """Positions [B, T, 2N] with the objects of each sequence in one order throughout, the first frame's.

    Each frame's objects are assigned to where the last two frames let them be expected, at constant velocity, so that
    the summed squared distance is smallest; all N! assignments are compared.
    """
    n_objs = positions.shape[-1] // 2
    orders = tf.constant(list(permutations(range(n_objs))))  # [N!, N]
    by_time = tf.transpose(tf.reshape(positions, [-1, tf.shape(positions)[1], n_objs, 2]), [1, 0, 2, 3])

    def step(state: tuple[tf.Tensor, tf.Tensor], found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        last, velocity = state  # [B, N, 2] each
        assigned = tf.gather(found, orders, axis=1)  # [B, N!, N, 2]
        away = tf.math.squared_difference(assigned, (last + velocity)[:, None])
        best = tf.gather(assigned, tf.argmin(tf.reduce_sum(away, axis=[2, 3]), axis=1), batch_dims=1)
        return best, best - last

    first = by_time[0]
    tracked = tf.scan(step, by_time[1:], initializer=(first, tf.zeros_like(first)))[0]
    return tf.reshape(tf.transpose(tf.concat([first[None], tracked], axis=0), [1, 0, 2, 3]), tf.shape(positions))
