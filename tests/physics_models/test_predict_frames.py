"""Predictions of any length, a chunk of steps at a time, are those of the ordinary forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task


def well_conditioned(net):
    """`net` with its objects apart and pulled gently; untrained, all start at one point, and amplify rounding."""
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


def small_frames(task, length):
    return tf.random.stateless_uniform([2, length, task.img_size, task.img_size, 3], [3, 4])


@pytest.mark.parametrize(
    ("task_name", "settings"),
    [("spring_color", {}), ("3bp_color", {}), ("spring_color", {"alt_vel": True}), ("lstm", {})],
)
def test_chunks_joined_are_the_forward_pass(task_name, settings):
    task = get_task("spring_color", "lstm") if task_name == "lstm" else get_task(task_name)
    tf.keras.utils.set_random_seed(0)
    net = well_conditioned(PhysicsNet(task, **settings))
    frames = small_frames(task, task.input_steps + task.pred_steps + 13)
    whole = net(frames).output.numpy()
    chunks = list(net.predict_frames(frames, steps=len(whole[0]), chunk=8))
    assert {chunk.shape[1] for chunk in chunks[:-1]} == {8}
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-5)
    assert np.abs(np.diff(whole, axis=1)).max() > 1e-3  # there is motion to compare


def test_only_the_input_frames_are_looked_at_and_one_chunk_is_made_at_a_time(monkeypatch):
    task = get_task("spring_color")
    net = PhysicsNet(task)
    frames = small_frames(task, task.input_steps)
    decoded = []
    rows = net.decoder.rows
    monkeypatch.setattr(net.decoder, "rows", lambda positions, sprites: decoded.append(1) or rows(positions, sprites))
    chunks = net.predict_frames(frames, steps=1000, chunk=10)
    assert decoded == []
    assert next(chunks).shape == (2, 10, 32, 32, 3)
    assert sum(chunk.shape[1] for chunk in chunks) == 990
    assert len(decoded) <= 2  # one graph for every chunk
    assert list(net.predict_frames(frames, steps=0)) == []


def test_mistakes_are_named():
    task = get_task("spring_color")
    net = PhysicsNet(task)
    with pytest.raises(ExperimentError, match="3 frames to predict from; task spring_color needs 4"):
        net.predict_frames(small_frames(task, 3), 5)
    with pytest.raises(ExperimentError, match="chunk=0; give steps from 0 and chunk from 1"):
        net.predict_frames(small_frames(task, 4), 5, chunk=0)
