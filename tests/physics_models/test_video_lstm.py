"""VideoLSTM: what its prediction depends on, its losses, that it learns, and what it draws."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from eager import eagerly

from physics_models.tasks import get_task
from physics_models.video_lstm import VideoLSTM

TASK = replace(get_task("spring_color"), img_size=12, train_len=7, input_steps=3, pred_steps=2)


@pytest.fixture(scope="module")
def net() -> VideoLSTM:
    """A network that no test changes."""
    tf.keras.utils.set_random_seed(0)
    return VideoLSTM(TASK, recurrent_units=8, lstm_layers=2)


def frames(length: int = TASK.train_len) -> tf.Tensor:
    return tf.random.stateless_uniform([2, length, 12, 12, 3], [1, 2])


def test_it_reads_every_input_frame_and_does_not_look_ahead(net):
    given = frames()
    before = net(given)
    moved = []
    for t in range(TASK.train_len):
        after = net(tf.concat([given[:, :t], 1 - given[:, t : t + 1], given[:, t + 1 :]], axis=1))
        moved.append(float(np.abs(after.output - before.output).max()) > 1e-6)
        others = [i for i in range(5) if i != t]
        np.testing.assert_allclose(np.array(after.recons_out)[:, others], np.array(before.recons_out)[:, others])
    assert moved == [True] * 3 + [False] * 4


def test_it_feeds_on_its_own_code(net):
    """Every later step is the same one, from the code before it; longer predictions begin as shorter ones."""
    given = frames()
    codes, output = net.encode(given), net(given, steps=4).output
    zeros = tf.zeros([2, 8])
    state = (codes[:, 0], ((zeros, zeros), (zeros, zeros)))
    for t in range(3):
        state = net.step((codes[:, t], state[1]))
    predicted = [state[0]]
    for _ in range(3):
        state = net.step(state)
        predicted.append(state[0])
    np.testing.assert_allclose(output, net.decode(tf.stack(predicted, axis=1)), atol=1e-6)
    np.testing.assert_allclose(net(given, steps=1).output, output[:, :1], atol=1e-6)


def test_the_losses_are_named_and_measured_as_the_physics_nets(net):
    given = frames()
    losses, outputs = net.eval_step(given)
    assert set(losses) == {"pred_loss", "extrap_loss", "recons_loss"}
    error = np.square(np.array(outputs.output) - given[:, 3:]).sum((2, 3, 4))
    np.testing.assert_allclose(losses["pred_loss"], error[:, :2].mean(), rtol=1e-5)
    np.testing.assert_allclose(losses["extrap_loss"], error[:, 2:].mean(), rtol=1e-5)
    recons = np.square(np.array(outputs.recons_out) - given[:, :5]).sum((2, 3, 4)).mean()
    np.testing.assert_allclose(losses["recons_loss"], recons, rtol=1e-5)
    net.autoencoder_loss = 2.0
    np.testing.assert_allclose(net.train_loss(given), losses["pred_loss"] + 2 * losses["recons_loss"], rtol=1e-5)
    net.autoencoder_loss = 0.0


def test_it_learns_every_weight():
    tf.keras.utils.set_random_seed(0)
    net = VideoLSTM(TASK, autoencoder_loss=1.0, recurrent_units=8)
    net.build_optimizer(1e-3, "adam")
    start = {name: v.numpy() for name, v in net.variables_by_name().items()}
    with eagerly():
        losses = [float(net.train_step(frames())) for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]
    assert [name for name, v in net.variables_by_name().items() if np.array_equal(v, start[name])] == []
    assert net.scalars() == {} == net.parameters() and net.describe_parameters() == "[]"


def test_it_has_the_lstm_of_its_paper_by_default():
    assert inspect.signature(VideoLSTM).parameters["recurrent_units"].default == 2048


def test_it_draws_examples_and_nothing_of_objects(net, tmp_path):
    net.visualize_sequence(frames(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"example0.jpg", "example1.jpg", "animation4.gif"}
