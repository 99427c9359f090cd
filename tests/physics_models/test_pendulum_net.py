"""The network of a pendulum: shapes, the state that is fitted to angles, what is learned, and files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data_gen.iterators import DataIterator
from data_gen.pendulum import ENVIRONMENTS, render_pendulum, wrap
from nn.decoders import RotatingDecoder
from physics_models import discovery, experiment, supervision
from physics_models.base import tf_variable
from physics_models.library import load_network, predict
from physics_models.pendulum_net import PendulumNet
from physics_models.staged import Stage, StagedSettings, StagedTraining, position_step
from physics_models.tasks import PENDULUMS

TASK = dataclasses.replace(PENDULUMS["pendulum"], img_size=16)


def motion(count: int, frames: int, world: str = "pendulum", seed: int = 0) -> tuple[np.ndarray, ...]:
    """True angles, speeds [S, T] and torques [S, T − 1] of `world`."""
    random = np.random.RandomState(seed)
    angles, speeds = np.empty((count, frames)), np.empty((count, frames))
    angles[:, 0], speeds[:, 0] = random.uniform(-np.pi, np.pi, count), random.uniform(-6, 6, count)
    torques = random.uniform(-2, 2, (count, frames - 1))
    advance = ENVIRONMENTS[world].advance
    for t in range(frames - 1):
        angles[:, t + 1], speeds[:, t + 1] = advance(angles[:, t], speeds[:, t], torques[:, t], 10.0)
    return angles, speeds, np.float32(torques)


def data(side: int = 16, count: int = 12) -> dict[str, DataIterator]:
    """Rendered sequences of 14 frames, with their torques."""
    made = {}
    for seed, split in enumerate(("train", "valid", "test")):
        angles, _, torques = motion(count, 14, seed=seed)
        frames = render_pendulum(angles.reshape(-1), side).reshape(count, 14, side, side, 3)
        made[split] = DataIterator(frames, torques, seed=0)
    return made


@pytest.fixture(scope="module")
def net() -> PendulumNet:
    tf.keras.utils.set_random_seed(0)
    net = PendulumNet(TASK, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    return net


def set_parameters(net: PendulumNet, g: float, a: float) -> None:
    net.variables_by_name()
    net.cell.log_g.assign(np.log(g))
    net.cell.log_a.assign(np.log(a))
    net.cell.angle_0.assign(0.0)


def test_an_evaluation_has_the_three_losses(net):
    losses, out = net.eval_step((tf.zeros([2, 14, 16, 16, 3]), tf.zeros([2, 13])))
    assert out.output.shape == [2, 11, 16, 16, 3]
    assert sorted(losses) == ["extrap_loss", "pred_loss", "recons_loss"]


@pytest.mark.parametrize("world", ("pendulum", "gymnasium"))
def test_the_fitted_state_and_the_rollout_are_the_environments(net, world):
    """With true g and a, sequences that do not reach the limit of the speed, also over the cut at ±π."""
    set_parameters(net, 10.0, 1.0)
    angles, speeds, torques = motion(500, 14, world)
    slow = np.abs(speeds).max(1) < 7.0
    assert (np.abs(np.diff(wrap(angles[slow, :3]), axis=1)) > np.pi).any()
    seen, torques = tf.constant(wrap(angles)[slow, :, None], tf.float32), tf.constant(torques[slow])
    angle, speed = net.initial_state(seen, torques)
    assert np.abs(wrap(angle.numpy()[:, 0] - angles[slow, 2])).max() < 1e-4
    assert np.abs(speed.numpy()[:, 0] - speeds[slow, 2]).max() < 2e-3
    states = net.rollout((angle, speed), 11, torques[:, 2:]).numpy()
    assert np.abs(wrap(states[..., 0] - angles[slow, 2:])).max() < 5e-3
    still = net.rollout((angle, speed), 3).numpy()  # without torques: none
    assert not np.allclose(still[:, -1], states[:, 3])


@pytest.mark.parametrize("noise, tolerance", [(0.0, 0.005), pytest.param(0.03, 0.03, marks=pytest.mark.slow)])
def test_g_a_and_the_upright_are_learned_from_angles(noise, tolerance):
    """The stage `positions`: 400 steps; all angles counted from 0.3 rad. `noise` in radians."""
    tf.keras.utils.set_random_seed(0)
    net = PendulumNet(TASK)
    angles, _, torques = motion(3000, 10)
    random = np.random.RandomState(0)
    seen = np.float32(wrap(angles + 0.3 + noise * random.randn(*angles.shape)))[..., None]
    net.build_optimizer(1e-2)
    step = position_step(net)
    for i in range(400):
        if i == 280:
            net.optimizer.rate.assign(2e-3)
        some = random.randint(0, len(seen), 100)
        step((tf.constant(seen[some]), tf.constant(torques[some])))
    assert net.parameters() == pytest.approx({"g": 10.0, "a": 1.0}, rel=tolerance)
    assert float(net.cell.angle_0) == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("angle", (0.7, -2.0))
def test_the_decoder_turns_its_template_counter_clockwise(angle):
    decoder = RotatingDecoder(32, 3, 1)
    decoder.build((None, 1))
    upright = np.full((1, 32, 32, 1), -10.0, np.float32)
    upright[:, 3:16, 14:18] = 10.0  # a rod from the middle to the top
    sprites = decoder.sprites()._replace(templates=tf.constant(upright), sigma=tf.constant(1.0))
    decoder.sprites = lambda: sprites
    mask = decoder.layers(tf.constant([[angle]]))[0][0, 0, :, :, 0].numpy()
    mask[mask < 0.5] = 0.0
    middles = np.arange(32) + 0.5 - 16
    x, y = (mask * middles).sum(), (mask * middles[:, None]).sum()
    assert np.arctan2(-x, -y) == pytest.approx(angle, abs=0.05)


def test_where_a_rod_is_follows_its_angle(net):
    places = net.places(tf.constant([[0.0], [np.pi / 2], [np.pi]])).numpy()
    assert places == pytest.approx(np.array([[8, 4], [4, 8], [8, 12]]), abs=1e-5)


def test_the_encoder_waits_while_it_is_supervised(net):
    """The reconstruction's gradient by the encoder: none at first, whole after the fade."""
    frames = net.to_float(data(count=2)["train"].X[:, 0])
    found = discovery.discover(data(count=12)["train"].X, 1, lambda flat: net.to_float(flat).numpy())
    kernel = net.encoder.location_net[-1].kernel
    sizes = []
    for weight in (1.0, 0.0):
        with tf.GradientTape() as tape:
            recons = supervision.autoencoder_loss(net, frames, tf.zeros([2, 1, 2]), tf.constant(weight), found)[1]
        sizes.append(float(tf.norm(tape.gradient(recons, tf_variable(kernel)))))
    assert sizes[0] == 0.0 < sizes[1]


def test_encoded_angles_have_a_gradient_at_no_direction(net):
    xy = tf.zeros([1, 1, 2])
    with tf.GradientTape() as tape:
        tape.watch(xy)
        angle = net.encoder.coordinates(xy)
    assert np.isfinite(tape.gradient(angle, xy).numpy()).all()


def test_a_walk_with_true_angles_gives_true_states(monkeypatch):
    """`call` rolls out under the torques that follow the input frames, and decodes; both terms are in the loss."""
    net = PendulumNet(TASK, autoencoder_loss=3.0)
    set_parameters(net, 10.0, 1.0)
    angles, speeds, torques = motion(300, 14)
    slow = np.abs(speeds).max(1) < 7.0
    true = tf.constant(wrap(angles[slow, :10, None]), tf.float32)
    monkeypatch.setattr(net, "encode", lambda frames: (true, None, None))
    batch = tf.zeros([slow.sum(), 14, 16, 16, 3]), tf.constant(torques[slow])
    out = net.call(batch)
    assert np.abs(wrap(out.pos_vel_seq.numpy()[..., 0] - angles[slow, 2:])).max() < 5e-3
    losses = net.compute_losses((batch[0][:, :10], batch[1]), out._replace(output=out.output[:, :7]))
    wanted = float(losses["pred_loss"] + 3.0 * losses["recons_loss"])
    assert float(net.train_loss(batch)) == pytest.approx(wanted, rel=1e-4)


def test_the_torques_enter_the_loss(net):
    frames, torques = net.to_float(data()["train"].take(slice(4)))
    assert float(net.train_loss((frames, torques))) != float(net.train_loss((frames, -torques)))


@pytest.mark.slow
def test_stages_save_a_network_that_loads_and_predicts(net, tmp_path):
    """All three stages with few steps move every part; the loaded network has the same weights, and predicts."""
    made, before = data(), {name: v.numpy() for name, v in net.variables_by_name(trainable_only=True).items()}
    experiment.make_folder(tmp_path)
    experiment.write_marker(tmp_path, {}, net.get_config())
    quick = StagedSettings(Stage(2, 4, 1e-3), Stage(2, 4, 1e-3), Stage(2, 2, 1e-3), recons_weight=3.0)
    training = StagedTraining(net, made, tmp_path, quick)
    training._check_objects_found = lambda found: None  # nothing is found in so few steps
    training.run(evaluate=False)
    assert not [name for name, v in before.items() if np.array_equal(v, net.variables_by_name()[name])]
    loaded = load_network(tmp_path)
    assert isinstance(loaded, PendulumNet) and loaded.task == TASK
    for name, variable in net.variables_by_name().items():
        assert np.array_equal(variable, loaded.variables_by_name()[name]), name
    assert predict(loaded, made["test"].X[0], 5).shape == (5, 16, 16, 3)
