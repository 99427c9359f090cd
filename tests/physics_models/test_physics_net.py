"""The whole network against the original's numbers: forward pass, losses, gradients, ten training steps."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, get_task

each_net = pytest.mark.parametrize("case", golden_data.NETS)
# Those of the other optimizers are the network of spring_color: what does not depend on the optimizer is the same.
OPTIMIZERS = ("spring_color_adam", "spring_color_momentum", "spring_color_sgd")
each_forward = pytest.mark.parametrize("case", [case for case in golden_data.NETS if case not in OPTIMIZERS])
# Networks whose ten losses are not determined by their weights to 1e-3; see `test_the_loss_where_steps_amplify`.
AMPLIFYING = ("spring_color", "spring_color_half", "spring_color_altvel", "3bp_color")
DETERMINED = 5  # steps of these that are
RUNS = 5  # runs that the others are held against: one as it is, four from perturbed weights


@functools.cache
def walked(case: str) -> SimpleNamespace:
    """A golden network, what it computed before training, and its ten training losses."""
    net = golden_data.make_net(case)
    frames = golden_data.frames_of(case, net)
    weights = [(v, v.numpy()) for v in net.variables_by_name().values()]
    slots = [(v, v.numpy()) for v in net.optimizer.named_variables().values()]
    losses, rollout = (None, None) if case in OPTIMIZERS else net.eval_step(frames)
    sprites = net.decoder.sprites()
    train_losses = ten_steps(net, frames)
    norms = {name: np.linalg.norm(v) for name, v in net.variables_by_name(trainable_only=True).items()}
    return SimpleNamespace(**locals())


def ten_steps(net: PhysicsNet, frames: tf.Tensor) -> np.ndarray:
    """The losses before each of ten updates."""
    return np.array([float(net.train_step(frames)) for _ in range(10)])


@each_net
def test_variables_have_the_originals_names_and_shapes(case):
    golden = golden_data.net_file(case)
    variables = walked(case).net.variables_by_name(trainable_only=True)
    assert list(variables) == list(golden["var_names"])
    assert [str(list(v.shape)) for v in variables.values()] == list(golden["var_shapes"])


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_the_other_optimizers_train_the_same_network(case):
    golden, other = golden_data.net_file("spring_color"), golden_data.net_file(case)
    after = {"lr", "optimizer", "train_losses", "final_norms"}
    assert set(golden) - set(other) == {"enc_masks", "recons_out", "output"}
    for name in set(other) - after:
        if other[name].dtype.kind == "U":
            assert (other[name] == golden[name]).all()
        else:
            np.testing.assert_allclose(other[name], golden[name], rtol=1e-6, err_msg=name)


@each_forward
def test_the_forward_pass(case):
    golden, ours = golden_data.net_file(case), walked(case)
    golden_data.assert_close(ours.rollout.enc_pos, golden["enc_pos"], rtol=1e-6)
    golden_data.assert_close(ours.rollout.pos_vel_seq, golden["pos_vel_seq"], rtol=1e-5)
    for key, wanted in (("templates", "templates"), ("contents", "contents"), ("background", "background_content")):
        golden_data.assert_close(getattr(ours.sprites, key), golden[wanted], rtol=1e-5)
    golden_data.assert_close(ours.rollout.enc_masks[:2], golden["enc_masks"], rtol=1e-5)
    golden_data.assert_close(ours.rollout.recons_out[:1], golden["recons_out"], rtol=1e-5)
    golden_data.assert_close(ours.rollout.output[:1], golden["output"])


@each_forward
def test_the_losses(case):
    golden, ours = golden_data.net_file(case), walked(case)
    assert set(ours.losses) == {"pred_loss", "extrap_loss", "recons_loss", "train_loss"}
    for name, loss in ours.losses.items():
        np.testing.assert_allclose(loss, golden[name], rtol=2e-6, err_msg=name)


def pin(value: tf.Tensor, wanted: np.ndarray) -> tf.Tensor:
    """`wanted` with the gradient of `value`."""
    return value + tf.stop_gradient(tf.constant(wanted) - value)


@each_forward
def test_the_gradients(case):
    """Norm and sum of every variable's gradient, at the original's own positions and first velocities.

    The golden weights put the two balls 0.03 pixels apart, where the spring's direction d/r turns by 1e-4 when a
    position moves by its last bit. With our own positions, which `test_the_forward_pass` shows equal to 1e-6, the
    norms differ by up to 1.7e-3 (encoder of spring_color_altvel). With the original's positions and velocities in
    their place, to the bit, the rest of the network gives every norm within 1e-5: measured on both stacks.
    """
    golden = golden_data.net_file(case)
    net = golden_data.make_net(case)
    frames, objects = golden_data.frames_of(case, net), 2 * net.task.n_objs
    encode, initial_state = net.encode, net.initial_state

    def encode_pinned(frames):
        positions, *rest = encode(frames)
        return pin(positions, golden["enc_pos"]), *rest

    def initial_state_pinned(enc_pos):
        positions, velocities = initial_state(enc_pos)
        return positions, pin(velocities, golden["pos_vel_seq"][:, 0, objects:])

    net.encode, net.initial_state = encode_pinned, initial_state_pinned
    variables = net.variables_by_name(trainable_only=True)
    with tf.GradientTape() as tape:
        loss = net.train_loss(frames)
    gradients = [np.asarray(g, np.float64) for g in tape.gradient(loss, list(variables.values()))]
    norms = np.array([np.linalg.norm(g) for g in gradients])
    np.testing.assert_allclose(norms, golden["grad_norms"], rtol=1e-4)
    # A sum may cancel: it is compared relative to the norm.
    np.testing.assert_array_less(np.abs([g.sum() for g in gradients] - golden["grad_sums"]), 2e-4 * norms)


@each_net
def test_the_first_losses_of_training(case):
    """Two steps to 1e-5 (measured: 1e-6), five to 1e-3 (measured: 7e-4)."""
    losses, golden = walked(case).train_losses, golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(losses[:2], golden[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[:DETERMINED], golden[:DETERMINED], rtol=1e-3)


@pytest.mark.parametrize("case", [case for case in golden_data.NETS if case not in AMPLIFYING])
def test_ten_losses_of_training(case):
    """Measured: 1e-6 with sgd and momentum, 3.8e-4 with adam and bouncing_balls.

    mnist_spring_color differs from run to run: eight steps stay within 3.4e-4, the ninth came to 1.2e-3 once.
    """
    steps = 8 if case == "mnist_spring_color" else 10
    golden = golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(walked(case).train_losses[:steps], golden[:steps], rtol=1e-3)


@pytest.mark.parametrize("case", AMPLIFYING)
def test_the_loss_where_steps_amplify(case):
    """Steps six to ten: as near to the original as our own runs from weights that differ by 1e-7 are to each other.

    The weights do not determine these losses to 1e-3 in float32. The golden weights put the objects 0.004 to 0.03
    pixels apart, where the cell's force turns with the last bit of a position, and the templates' hard edge and
    the relus make the loss jump: so two runs part, at steps four to six, and then differ by 1e-3 to 1e-2. Measured,
    the largest departure in ten steps: between five runs of our own 2.1e-3 to 1.0e-2, of ours from the original
    1.9e-3 to 1.1e-2, at most 1.7 times as much (both stacks, four networks). It is not the port: a graph of the same
    formulas in TensorFlow 1.12 itself, with positions equal to the original's to the bit and every gradient to
    5e-6, departs from these numbers by 1.0e-3 (spring_color_half) and 3.8e-3 (spring_color_altvel).
    """
    ours, golden = walked(case), golden_data.net_file(case)["train_losses"]
    runs = [ours.train_losses]
    for seed in range(1, RUNS):
        random = np.random.RandomState(seed)
        for variable, value in ours.weights:
            variable.assign(np.float32(value * (1 + 1e-7 * random.standard_normal(value.shape))))
        for variable, value in ours.slots:
            variable.assign(value)
        runs.append(ten_steps(ours.net, ours.frames))
    departures = [np.abs(one - other) / golden for one in runs for other in runs]
    between_runs, from_golden = np.max(departures), np.max(np.abs(runs[0] - golden) / golden)
    assert np.max([d[:2] for d in departures]) < 1e-5  # they start as one
    assert 1e-3 < between_runs < 3e-2  # else this network belongs among those of `test_ten_losses_of_training`
    assert from_golden <= 3 * between_runs


@each_net
def test_the_weights_after_ten_steps(case):
    golden, ours = golden_data.net_file(case), walked(case)
    assert list(ours.norms) == list(golden["var_names"])
    found = np.array(list(ours.norms.values()))
    golden_data.assert_close(found, golden["final_norms"])
    if case in ("spring_color_momentum", "spring_color_sgd"):
        np.testing.assert_allclose(found, golden["final_norms"], rtol=1e-5)


# Parts of the network that the golden values do not tell apart


def tiny_frames(task: str, batch: int = 2, length: int | None = None) -> tf.Tensor:
    row = TASKS[task]
    shape = [batch, length or row.train_len, row.img_size, row.img_size, 3]
    return tf.random.stateless_uniform(shape, [1, 2])


def test_alpha_weighs_the_reconstruction():
    frames = tiny_frames("spring_color")
    for alpha in (0.0, 2.5):
        net = PhysicsNet(get_task("spring_color"), autoencoder_loss=alpha)
        losses = net.compute_losses(frames, net(frames))
        expected = losses["pred_loss"] + alpha * losses["recons_loss"]
        np.testing.assert_allclose(losses["train_loss"], expected, rtol=1e-6)
        np.testing.assert_allclose(net.train_loss(frames), expected, rtol=1e-6)


def test_the_losses_compare_the_right_frames():
    """A change of one true frame changes the one loss that it enters: L = 4, P = 6, T = 12."""
    net = PhysicsNet(get_task("spring_color"))
    frames = tiny_frames("spring_color")
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
    net = PhysicsNet(get_task("spring_color"))
    frames = tiny_frames("spring_color")
    rollout = net(frames)
    np.testing.assert_array_equal(rollout.pos_vel_seq[:, 0, :4], rollout.enc_pos[:, 3])
    later = net(tf.concat([frames[:, :4], 1 - frames[:, 4:]], axis=1))
    np.testing.assert_allclose(later.pos_vel_seq, rollout.pos_vel_seq, atol=1e-5)
    assert np.abs(later.enc_pos[:, 4:] - rollout.enc_pos[:, 4:]).max() > 1e-3


def test_longer_sequences_go_on_where_shorter_ones_end():
    net = PhysicsNet(get_task("spring_color"))
    frames = tiny_frames("spring_color", length=30)
    long, short = net(frames), net(frames[:, :12])
    assert long.output.shape == [2, 26, 32, 32, 3]
    np.testing.assert_allclose(long.pos_vel_seq[:, :9], short.pos_vel_seq, atol=1e-5)
    np.testing.assert_allclose(long.recons_out, short.recons_out, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder_type": "resnet"}, "--encoder_type=resnet: unknown; choose one of conv_encoder"),
        ({"decoder_type": "vae"}, "--decoder_type=vae: unknown; choose one of conv_st_decoder"),
        ({"cell_type": "pendulum"}, "--cell_type=pendulum: unknown; choose one of .*gravity_ode_cell, lstm, spring"),
    ],
)
def test_unknown_parts_are_named_with_the_choices(settings, said):
    from physics_models.errors import ExperimentError

    with pytest.raises(ExperimentError, match=said):
        PhysicsNet(get_task("spring_color", settings.pop("cell_type", "")), **settings)
