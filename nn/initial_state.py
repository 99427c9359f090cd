"""The initial state that best fits the input positions under the physics: opt-in, in place of the velocity net.

The paper's velocity net has to learn what a velocity is. Here the state is fitted: the trajectory of the cell that
comes closest to all L encoded positions, in least squares, by a few Gauss–Newton steps.
"""

from __future__ import annotations

import tensorflow as tf

from nn.cells import ODECell

DAMPING = 1e-3  # added to the normal equations' diagonal, in pixels² per squared unit of the state
EPSILON = 1e-2  # pixels, or pixels per unit of time: the step of the numerical derivative


def trajectory(cell: ODECell, state: tf.Tensor, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Positions [b, steps · 2N] of `steps` frames from `state` [b, 4N] on, and the last frame's state [b, 4N]."""
    positions, velocities = tf.split(state, 2, axis=-1)
    sequence = [positions]
    for _ in range(steps - 1):
        positions, velocities = cell((positions, velocities))
        sequence.append(positions)
    return tf.concat(sequence, axis=-1), tf.concat([positions, velocities], axis=-1)


def fitted_state(cell: ODECell, positions: tf.Tensor, iterations: int = 3) -> tuple[tf.Tensor, tf.Tensor]:
    """Positions and velocities, [B, 2N] each, at the last of the frames `positions` [B, L, 2N] (pixels), L ≥ 2.

    Each iteration is a Gauss–Newton step on the state at the first frame, from the first difference of positions on.
    The derivative of the trajectory is numerical, and a constant for gradients; these flow through the residual of the
    last step alone. To first order they are those of the least-squares solution by `positions` and parameters.
    """
    frames = positions.shape[1]
    first, second = tf.unstack(tf.gather(positions, [0, 1], axis=1), axis=1)
    state = tf.concat([first, (second - first) / tf.convert_to_tensor(cell.dt_x)], axis=-1)
    measured = tf.concat(tf.unstack(positions, axis=1), axis=-1)
    state = tf.stop_gradient(state)
    for _ in range(iterations):
        state = tf.stop_gradient(state)
        predicted, _ = trajectory(cell, state, frames)
        state -= _newton_step(cell, state, predicted - measured, frames)
    return tuple(tf.split(trajectory(cell, state, frames)[1], 2, axis=-1))


def _newton_step(cell: ODECell, state: tf.Tensor, residual: tf.Tensor, frames: int) -> tf.Tensor:
    """(JᵀJ + damping)⁻¹ Jᵀ residual [B, 4N], for `state` [B, 4N] and `residual` [B, L · 2N]."""
    size = state.shape[-1]
    steps = EPSILON * tf.eye(size)[:, None]
    forward, backward = (
        tf.reshape(trajectory(cell, tf.reshape(x, [-1, size]), frames)[0], [size, -1, residual.shape[-1]])
        for x in (state + steps, state - steps)
    )
    jacobian = tf.stop_gradient(tf.transpose((forward - backward) / (2 * EPSILON), [1, 2, 0]))  # [B, L · 2N, 4N]
    normal = tf.matmul(jacobian, jacobian, transpose_a=True) + DAMPING * tf.eye(size)
    gradient = tf.matmul(jacobian, residual[..., None], transpose_a=True)
    return tf.squeeze(tf.linalg.cholesky_solve(tf.linalg.cholesky(normal), gradient), axis=-1)
