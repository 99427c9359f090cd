"""Numbers that go wrong: a step whose loss or gradient is not finite is left out, and its cause looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from physics_models.base import BaseNet

SAME_POINT = 1e-6  # pixels
FAR_AWAY = 100.0  # frame widths


class StepGuard(tf.Module):
    """Lets an update through only if loss and gradients are finite.

    It decides on the device, so that the loop need not wait for each step's numbers. Unless `skip`, every
    step after a bad one is left out as well: the weights stay those before it until somebody looks, and the
    first bad step is `left_out - before` steps back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out = tf.Variable(0, dtype=tf.int64, trainable=False)  # steps
        self.before = tf.Variable(0, dtype=tf.int64, trainable=False)  # of these, before this training began or went on
        self.gradient_norm = tf.Variable(0.0, trainable=False)  # L2, of the last step, before clipping
        self.skip = tf.Variable(False, trainable=False)

    def apply(self, loss: tf.Tensor, gradients: Sequence[tf.Tensor | None], update: Callable[[], None]) -> None:
        """Call `update` if the scalar `loss` and all `gradients` are finite, else count the step as left out."""
        given = [gradient for gradient in gradients if gradient is not None]
        self.gradient_norm.assign(tf.linalg.global_norm(given))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in [loss, *given]])
        wanted = finite & (self.skip | tf.equal(self.left_out, self.before))

        def do_update() -> tf.Tensor:
            update()
            return tf.constant(0, tf.int64)

        self.left_out.assign_add(tf.cond(wanted, do_update, lambda: tf.constant(1, tf.int64)))


def likely_cause(net: BaseNet, frames: tf.Tensor) -> str:
    """Why the loss or gradient of `frames` [B, T, H, H, C] is not finite, with the weights as they are."""
    variables = net.variables_by_name(trainable_only=True)
    broken = [name for name, variable in variables.items() if not np.isfinite(variable.numpy()).all()]
    if broken:
        return f"the weights were not finite before: {broken[0]}; take an earlier checkpoint"
    with tf.GradientTape() as tape:
        loss = net.train_loss(frames)
    gradients = dict(zip(variables, tape.gradient(loss, list(variables.values()))))
    bad = [name for name, g in gradients.items() if g is not None and not np.isfinite(g.numpy()).all()]
    if np.isfinite(loss.numpy()):
        what = f"the gradient of {bad[0]} is not finite" if bad else "all is finite when looked at again"
    else:
        what = f"the loss is {loss.numpy()}"
    states = net(frames, steps=net.task.pred_steps).pos_vel_seq.numpy()
    positions = states[..., : 2 * net.task.n_objs].reshape(*states.shape[:2], net.task.n_objs, 2)
    return f"{what}; {describe_motion(positions, net.task.img_size)}"


def describe_motion(positions: np.ndarray, img_size: int) -> str:
    """What is wrong with `positions` [B, steps, N, 2] in pixels, in words."""
    distances = np.linalg.norm(positions[:, :, :, None] - positions[:, :, None], axis=-1)
    distances += np.where(np.eye(positions.shape[2]), np.inf, 0.0)
    distances = np.nan_to_num(distances, nan=np.inf)
    if positions.shape[2] > 1 and distances.min() < SAME_POINT:
        sequence, step = np.unravel_index(distances.argmin(), distances.shape)[:2]
        return (
            f"likely cause: two objects at one point (sequence {sequence} of the batch, step {step}), where the "
            "distance has no gradient; --on_nan=skip leaves such steps out"
        )
    largest = np.abs(positions).max()
    if not largest < FAR_AWAY * img_size:
        return f"likely cause: the rollout runs away (positions of {largest:.3g} pixels); take a smaller --base_lr"
    return "likely cause: too large a rate; take a smaller --base_lr"
