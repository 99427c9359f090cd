"""Parts of the network that the golden values of test_physics_net.py do not tell apart."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task, get_task

SMALL = replace(get_task("spring_color"), img_size=16)


@functools.cache
def small_net() -> PhysicsNet:
    """A network that no test changes, for frames of 16 pixels."""
    return PhysicsNet(SMALL)


def small_frames(length: int = SMALL.train_len) -> tf.Tensor:
    return tf.random.stateless_uniform([2, length, 16, 16, 3], [1, 2])


def test_alpha_weighs_the_reconstruction():
    frames = small_frames()
    for alpha in (0.0, 2.5):
        net = PhysicsNet(SMALL, autoencoder_loss=alpha)
        losses = net.compute_losses(frames, net(frames))
        expected = losses["pred_loss"] + alpha * losses["recons_loss"]
        np.testing.assert_allclose(net.train_loss(frames), expected, rtol=1e-6)


def test_the_losses_compare_the_right_frames():
    """A change of one true frame changes the one loss that it enters: L = 4, P = 6, T = 12."""
    net = small_net()
    frames = small_frames()
    rollout = net(frames)
    before = {name: float(loss) for name, loss in net.compute_losses(frames, rollout).items()}
    enters = {}
    for t in range(12):
        changed = tf.concat([frames[:, :t], 1 - frames[:, t : t + 1], frames[:, t + 1 :]], axis=1)
        after = net.compute_losses(changed, rollout)
        enters[t] = {name for name in ("pred_loss", "extrap_loss", "recons_loss") if float(after[name]) != before[name]}
    assert [t for t in enters if "recons_loss" in enters[t]] == list(range(10))
    assert [t for t in enters if "pred_loss" in enters[t]] == list(range(4, 10))
    assert [t for t in enters if "extrap_loss" in enters[t]] == [10, 11]


def test_the_rollout_starts_at_the_last_input_frame_and_does_not_look_ahead():
    net = small_net()
    frames = small_frames()
    rollout = net(frames)
    np.testing.assert_array_equal(rollout.pos_vel_seq[:, 0, :4], rollout.enc_pos[:, 3])
    later = net(tf.concat([frames[:, :4], 1 - frames[:, 4:]], axis=1))
    np.testing.assert_allclose(later.pos_vel_seq, rollout.pos_vel_seq, atol=1e-5)
    assert np.abs(later.enc_pos[:, 4:] - rollout.enc_pos[:, 4:]).max() > 1e-3


def test_longer_sequences_go_on_where_shorter_ones_end():
    net = small_net()
    frames = small_frames(30)
    long, short = net(frames), net(frames[:, :12])
    assert long.output.shape == [2, 26, 16, 16, 3]
    np.testing.assert_allclose(long.pos_vel_seq[:, :9], short.pos_vel_seq, atol=1e-5)
    np.testing.assert_allclose(long.recons_out, short.recons_out, atol=1e-5)


@pytest.mark.parametrize("size", [33, 45, *(pytest.param(size, marks=pytest.mark.slow) for size in (41, 51))])
def test_frames_with_an_odd_side_train(size):
    """The poolings floor, and the resize goes to the skip's size, as in the original."""
    task = Task("spring_color", "spring_ode_cell", 5, 5, input_steps=2, pred_steps=2, img_size=size, n_objs=2)
    net = PhysicsNet(task, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    frames = tf.random.stateless_uniform([1, 5, size, size, 3], [1, 2])
    before = {name: v.numpy() for name, v in net.variables_by_name(trainable_only=True).items()}
    loss, gradients = net.loss_and_gradients(frames)
    net.update(gradients)
    assert np.isfinite(float(loss)) and int(net.skipped_steps) == 0
    for name, variable in net.variables_by_name(trainable_only=True).items():
        assert np.isfinite(variable).all() and np.any(variable != before[name]), name
    rollout = net(frames)
    assert rollout.output.shape == [1, 3, size, size, 3]
    side = size if size < 40 else size // 2
    assert net.encoder.location_net[0].kernel.shape[0] == 3 * side**2
    assert net.decoder.sprites().templates.shape == [2, size // 2, size // 2, 1]


@pytest.mark.parametrize(
    "settings",
    [{"encoder_type": "resnet"}, {"decoder_type": "vae"}, {"cell_type": "pendulum"}, {"vel_encoder": "guess"}],
    ids=lambda settings: next(iter(settings)),
)
def test_unknown_parts_are_named(settings):
    (flag, value), task = next(iter(settings.items())), get_task("spring_color", settings.get("cell_type", ""))
    with pytest.raises(ExperimentError, match=f"--{flag}={value}"):
        PhysicsNet(task, **{name: value for name, value in settings.items() if name != "cell_type"})


def gradients_of(net: PhysicsNet, term: str, frames: tf.Tensor) -> dict[str, tf.Tensor | None]:
    """The gradient of one term of the loss by the names of all trained variables."""
    variables = net.variables_by_name(trainable_only=True)
    with tf.GradientTape() as tape:
        loss = net.compute_losses(frames, net(frames))[term]
    return dict(zip(variables, tape.gradient(loss, list(variables.values()))))


@pytest.mark.parametrize("cell_type", ["spring_ode_cell", "lstm"])
def test_separate_gradients_are_those_of_each_parts_own_loss(cell_type):
    task = replace(SMALL, cell_type=cell_type)
    net = PhysicsNet(task, autoencoder_loss=2.5, separate_gradients=True)
    frames = small_frames()
    loss, gradients = net.loss_and_gradients(frames)
    seen = frames[:, :10]
    recons, pred = (gradients_of(net, term, seen) for term in ("recons_loss", "pred_loss"))
    np.testing.assert_allclose(loss, net.train_loss(frames), rtol=1e-6)
    for name, gradient in zip(net.variables_by_name(trainable_only=True), gradients):
        sees = name.startswith(("net/encoder/", "net/decoder/"))
        wanted = 2.5 * recons[name] if sees else pred[name]
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4, err_msg=name)
    # The whole loss has another gradient: the prediction's goes into the encoder as well.
    net.separate_gradients = False
    together = dict(zip(recons, net.loss_and_gradients(frames)[1]))
    name = "net/encoder/dense_2/bias"
    assert np.abs(together[name] - 2.5 * recons[name]).max() > 1e-3
    np.testing.assert_allclose(together[name], 2.5 * recons[name] + pred[name], rtol=1e-3, atol=1e-4)


def test_a_black_box_decoder_has_no_grid_and_no_templates(tmp_path):
    net = PhysicsNet(SMALL, decoder_type="black_box")
    net.visualize_sequence(small_frames(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "example0.jpg", "example1.jpg", "animation4.gif", "extra_outputs.npz",
    }  # fmt: skip
    with np.load(tmp_path / "extra_outputs.npz") as arrays:
        assert set(arrays) == {"enc_masks", "masked_objs"}
    with pytest.raises(ExperimentError, match="--calibrated_coords"):
        PhysicsNet(SMALL, decoder_type="black_box", calibrated_coords=True)


@pytest.mark.parametrize("cell_type", ["lstm", "interaction_network"])
def test_a_black_box_has_no_state_to_be_fitted(cell_type):
    with pytest.raises(ExperimentError, match="--vel_encoder=gauss_newton"):
        PhysicsNet(replace(SMALL, cell_type=cell_type), vel_encoder="gauss_newton")
