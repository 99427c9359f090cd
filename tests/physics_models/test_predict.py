"""Predictions of any length, decoded in parts, are those of the ordinary forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from physics_models import library
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

SPRING = Task("spring_color", "spring_ode_cell", 12, 30, input_steps=4, pred_steps=6, img_size=16, n_objs=2)
BODIES = Task("3bp_color", "gravity_ode_cell", 20, 40, input_steps=4, pred_steps=12, img_size=20, n_objs=3)
BLACK_BOX = Task("spring_color", "lstm", 12, 30, input_steps=4, pred_steps=6, img_size=16, n_objs=2)


def well_conditioned(net: PhysicsNet) -> PhysicsNet:
    """`net` with its objects apart and pulled gently; untrained, all start at one point, and amplify rounding."""
    net.build(net.frame_shape)
    for scalar in ("log_k", "log_g"):
        if hasattr(net.cell, scalar):
            getattr(net.cell, scalar).assign(-3.0)
    initial_state = net.initial_state
    apart = tf.linspace(-6.0, 6.0, 2 * net.task.n_objs)

    def start(enc_pos):
        positions, *rest = initial_state(enc_pos)
        return positions + apart, *rest

    net.initial_state = start
    return net


def small_frames(task: Task, length: int) -> tf.Tensor:
    return tf.random.stateless_uniform([2, length, task.img_size, task.img_size, 3], [3, 4])


CASES = [(SPRING, {}), (BODIES, {}), (SPRING, {"alt_vel": True}), (BLACK_BOX, {})]


@pytest.mark.parametrize(("task", "settings"), CASES)
def test_a_prediction_decoded_in_parts_is_the_forward_pass(task, settings):
    tf.keras.utils.set_random_seed(0)
    net = well_conditioned(PhysicsNet(task, **settings))
    frames = small_frames(task, task.input_steps + 60)  # more steps than are decoded at once
    whole = net(frames).output.numpy()
    future = library.predict(net, frames[:, : task.input_steps].numpy(), steps=len(whole[0]))
    np.testing.assert_allclose(future, whole, atol=1e-5)
    assert np.abs(np.diff(whole, axis=1)).max() > 1e-3  # there is motion to compare
