"""Predictions of any length, a chunk of steps at a time, are those of the ordinary forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from physics_models.errors import ExperimentError
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


@pytest.mark.parametrize(
    ("task", "settings"), [(SPRING, {}), (BODIES, {}), (SPRING, {"alt_vel": True}), (BLACK_BOX, {})]
)
def test_chunks_joined_are_the_forward_pass(task, settings):
    tf.keras.utils.set_random_seed(0)
    net = well_conditioned(PhysicsNet(task, **settings))
    frames = small_frames(task, task.input_steps + task.pred_steps + 13)
    whole = net(frames).output.numpy()
    chunks = list(net.predict_frames(frames, steps=len(whole[0]), chunk=8))
    assert {chunk.shape[1] for chunk in chunks[:-1]} == {8}
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-5)
    assert np.abs(np.diff(whole, axis=1)).max() > 1e-3  # there is motion to compare


def test_only_the_input_frames_are_looked_at_and_one_chunk_is_made_at_a_time():
    net = PhysicsNet(SPRING)
    frames = small_frames(SPRING, SPRING.input_steps)
    decoded, decode = [], net.decode
    net.decode = lambda positions: decoded.append(1) or decode(positions)
    chunks = net.predict_frames(frames, steps=1000, chunk=10)
    assert decoded == []
    assert next(chunks).shape == (2, 10, 16, 16, 3)
    assert sum(chunk.shape[1] for chunk in chunks) == 990
    assert len(decoded) <= 2  # one graph for every chunk
    assert list(net.predict_frames(frames, steps=0)) == []


@pytest.mark.parametrize(
    ("length", "steps", "chunk", "named"), [(3, 5, 50, "spring_color"), (4, 5, 0, "chunk=0"), (4, -1, 5, "steps=-1")]
)
def test_mistakes_are_named(length, steps, chunk, named):
    with pytest.raises(ExperimentError, match=named):
        PhysicsNet(SPRING).predict_frames(small_frames(SPRING, length), steps, chunk)
