"""The whole network against the original's numbers: forward pass, losses, gradients, ten training steps."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from nn import stn
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task, get_task

each_net = pytest.mark.parametrize("case", golden_data.NETS)
# Those of the other optimizers are the network of spring_color: what does not depend on the optimizer is the same.
OPTIMIZERS = ("spring_color_adam", "spring_color_momentum", "spring_color_sgd")
FORWARD = [case for case in golden_data.NETS if case not in OPTIMIZERS]
each_forward = pytest.mark.parametrize("case", FORWARD)
# Networks whose ten losses are not determined by their weights to 1e-3; see `test_ten_steps_with_objects_apart`.
AMPLIFYING = ("spring_color", "spring_color_half", "spring_color_altvel", "3bp_color")
DETERMINED = 5  # steps of these that are
# The plain decoder through TensorFlow Addons' resampler, where that is installed, and through its twin.
PLAIN = ("tf", "tfa") if stn.resampler_tfa() is not None else ("tf",)


def pin(value: tf.Tensor, wanted: np.ndarray) -> tf.Tensor:
    """`wanted` with the gradient of `value`."""
    return value + tf.stop_gradient(tf.constant(wanted) - value)


def pinned(case: str, net: PhysicsNet) -> SimpleNamespace:
    """What `net` computes at the original's own positions and first velocities: rollout, losses, gradients.

    The golden weights put the two balls 0.03 pixels apart, where the spring's direction d/r turns by 1e-4 when a
    position moves by its last bit. With our own positions, which `test_the_forward_pass` shows equal to 1e-6, the
    norms differ by up to 1.7e-3 (encoder of spring_color_altvel). With the original's positions and velocities in
    their place, to the bit, the rest of the network gives every norm within 1e-5: measured on both stacks.
    """
    golden, frames, objects = golden_data.net_file(case), golden_data.frames_of(case, net), 2 * net.task.n_objs
    encode, initial_state = net.encode, net.initial_state

    def encode_pinned(frames):
        positions, *rest = encode(frames)
        return pin(positions, golden["enc_pos"]), *rest

    def initial_state_pinned(enc_pos):
        positions, velocities = initial_state(enc_pos)
        return positions, pin(velocities, golden["pos_vel_seq"][:, 0, objects:])

    net.encode, net.initial_state = encode_pinned, initial_state_pinned
    variables = list(net.variables_by_name(trainable_only=True).values())
    with tf.GradientTape() as tape:
        rollout = net(frames)
        losses = net.compute_losses(frames, rollout)
        losses["train_loss"] = losses["pred_loss"] + net.autoencoder_loss * losses["recons_loss"]
    gradients = tape.gradient(losses["train_loss"], variables)
    net.encode, net.initial_state = encode, initial_state
    return SimpleNamespace(rollout=rollout, losses=losses, gradients=[np.asarray(g, np.float64) for g in gradients])


@functools.cache
def plain(case: str, resampler: str) -> SimpleNamespace:
    """`pinned` of the network with the plain decoder."""
    chosen = stn.default_resampler
    if resampler == "tf":
        stn.default_resampler = lambda: stn.resampler_tf
    else:
        assert stn.default_resampler() is stn.resampler_tfa()
    try:
        net = golden_data.make_net(case, decoder_type="conv_st_decoder_plain")
        return SimpleNamespace(sprites=net.decoder.sprites(), **vars(pinned(case, net)))
    finally:
        stn.default_resampler = chosen


@functools.cache
def trained(case: str) -> SimpleNamespace:
    """A golden network, what it computed before training, and its ten training losses."""
    if case in OPTIMIZERS:  # the same network with another update rule
        net, golden = trained("spring_color").net, golden_data.net_file(case)
        golden_data.set_weights(net.variables_by_name(trainable_only=True))
        net.build_optimizer(float(golden["lr"]), str(golden["optimizer"]))
        return SimpleNamespace(net=net, **ten_steps(net, golden_data.frames_of(case, net)))
    net = golden_data.make_net(case)
    frames = golden_data.frames_of(case, net)
    rollout = net(frames)
    losses = net.compute_losses(frames, rollout)
    before = SimpleNamespace(losses=losses, rollout=rollout, sprites=net.decoder.sprites(), pinned=pinned(case, net))
    return SimpleNamespace(net=net, **vars(before), **ten_steps(net, frames))


def ten_steps(net: PhysicsNet, frames: tf.Tensor) -> dict:
    """The losses before each of ten updates, the norms of the variables after them, and the optimizer."""
    slots = {name: v.numpy() for name, v in net.optimizer.named_variables().items()}
    losses = np.array([float(net.train_step(frames)) for _ in range(10)])
    norms = {name: np.linalg.norm(v) for name, v in net.variables_by_name(trainable_only=True).items()}
    return {"train_losses": losses, "norms": norms, "optimizer": net.optimizer, "slots": slots}


@each_forward
def test_variables_have_the_originals_names_and_shapes(case):
    golden = golden_data.net_file(case)
    variables = trained(case).net.variables_by_name(trainable_only=True)
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


def assert_frames_and_sprites(found: SimpleNamespace, golden: dict[str, np.ndarray]) -> None:
    for key, wanted in (("templates", "templates"), ("contents", "contents"), ("background", "background_content")):
        golden_data.assert_close(getattr(found.sprites, key), golden[wanted], rtol=1e-5)
    golden_data.assert_close(found.rollout.recons_out[:1], golden["recons_out"], rtol=1e-5)
    golden_data.assert_close(found.rollout.output[:1], golden["output"])


@each_forward
def test_the_forward_pass(case):
    golden, ours = golden_data.net_file(case), trained(case)
    golden_data.assert_close(ours.rollout.enc_pos, golden["enc_pos"], rtol=1e-6)
    golden_data.assert_close(ours.rollout.pos_vel_seq, golden["pos_vel_seq"], rtol=1e-5)
    golden_data.assert_close(ours.rollout.enc_masks[:2], golden["enc_masks"], rtol=1e-5)
    assert_frames_and_sprites(ours, golden)


@pytest.mark.parametrize("resampler", PLAIN)
@each_forward
def test_the_forward_pass_with_the_plain_decoder(case, resampler):
    golden, found, fast = golden_data.net_file(case), plain(case, resampler), trained(case).pinned
    assert_frames_and_sprites(found, golden)
    for key in ("recons_out", "output"):
        golden_data.assert_close(getattr(found.rollout, key), getattr(fast.rollout, key), rtol=1e-5)


@each_forward
def test_the_losses(case):
    golden, ours = golden_data.net_file(case), trained(case)
    losses = {**ours.losses, "train_loss": ours.train_losses[0]}
    assert set(losses) == {"pred_loss", "extrap_loss", "recons_loss", "train_loss"}
    for name, loss in losses.items():
        np.testing.assert_allclose(loss, golden[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("resampler", PLAIN)
@each_forward
def test_the_losses_with_the_plain_decoder(case, resampler):
    golden = golden_data.net_file(case)
    for name, loss in plain(case, resampler).losses.items():
        np.testing.assert_allclose(loss, golden[name], rtol=2e-6, err_msg=name)


def assert_gradients(gradients: list[np.ndarray], golden: dict[str, np.ndarray]) -> None:
    """Norm and sum of every variable's gradient."""
    norms = np.array([np.linalg.norm(g) for g in gradients])
    np.testing.assert_allclose(norms, golden["grad_norms"], rtol=1e-4)
    # A sum may cancel: it is compared relative to the norm.
    np.testing.assert_array_less(np.abs([g.sum() for g in gradients] - golden["grad_sums"]), 2e-4 * norms)


@each_forward
def test_the_gradients(case):
    assert_gradients(trained(case).pinned.gradients, golden_data.net_file(case))


@pytest.mark.parametrize("resampler", PLAIN)
@each_forward
def test_the_gradients_with_the_plain_decoder(case, resampler):
    """The original's, and number for number those of the fast decoder."""
    found = plain(case, resampler).gradients
    assert_gradients(found, golden_data.net_file(case))
    for plain_gradient, fast in zip(found, trained(case).pinned.gradients):
        assert np.linalg.norm(plain_gradient - fast) <= 1e-4 * np.linalg.norm(fast)


@each_net
def test_the_first_losses_of_training(case):
    """Two steps to 1e-5 (measured: 1e-6), five to 1e-3 (measured: 7e-4)."""
    losses, golden = trained(case).train_losses, golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(losses[:2], golden[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[:DETERMINED], golden[:DETERMINED], rtol=1e-3)


@pytest.mark.parametrize("case", [case for case in golden_data.NETS if case not in AMPLIFYING])
def test_ten_losses_of_training(case):
    """Measured: 1e-6 with sgd and momentum, 3.8e-4 with adam and bouncing_balls.

    mnist_spring_color differs from run to run: eight steps stay within 3.4e-4, the ninth came to 1.2e-3 once.
    """
    steps = 8 if case == "mnist_spring_color" else 10
    golden = golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(trained(case).train_losses[:steps], golden[:steps], rtol=1e-3)


@functools.cache
def trained_apart(case: str) -> SimpleNamespace:
    """As `trained`, with weights that put the objects pixels apart; by the same network, whose graph is traced."""
    before = trained(case)
    net = before.net
    frames = golden_data.set_apart(net, case)
    net.optimizer = before.optimizer
    for name, variable in net.optimizer.named_variables().items():
        variable.assign(before.slots[name])  # as at the start
    return SimpleNamespace(rollout=net(frames), **ten_steps(net, frames))


@pytest.mark.parametrize("case", golden_data.APART)
def test_ten_steps_with_objects_apart(case):
    """Every optimizer's golden network with weights that put the objects pixels apart (`golden_data.set_apart`).

    The other golden weights put them 0.004 to 0.03 pixels apart, where the force's direction turns with the last bit
    of a position, and make the learned pictures noise: for four of those networks ten losses are not determined to
    1e-3 in float32 (our own runs from weights that differ by 1e-7 part by up to 1e-2). These are. Measured,
    the largest departure from the original in ten steps: 2.1e-5 with TensorFlow's own kernels (those of TF 1.12),
    7.4e-4 with oneDNN's (spring_color_half; the others 1.5e-4), 1e-7 with sgd and momentum.
    """
    golden, ours = golden_data.load(f"net_{case}_apart"), trained_apart(case)
    np.testing.assert_allclose(ours.train_losses, golden["train_losses"], rtol=1e-3)
    assert golden["train_losses"][-1] < golden["train_losses"][0]
    assert list(ours.norms) == list(golden["var_names"])
    found = np.array(list(ours.norms.values()))
    golden_data.assert_close(found, golden["final_norms"])
    if case in OPTIMIZERS:  # sgd and momentum, with small steps
        np.testing.assert_allclose(ours.train_losses, golden["train_losses"], rtol=1e-5)
        np.testing.assert_allclose(found, golden["final_norms"], rtol=1e-5)
    else:
        golden_data.assert_close(ours.rollout.enc_pos, golden["enc_pos"], rtol=1e-5)
        golden_data.assert_close(ours.rollout.pos_vel_seq, golden["pos_vel_seq"])


@each_net
def test_the_weights_after_ten_steps(case):
    golden, ours = golden_data.net_file(case), trained(case)
    assert list(ours.norms) == list(golden["var_names"])
    golden_data.assert_close(np.array(list(ours.norms.values())), golden["final_norms"])


# Parts of the network that the golden values do not tell apart


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


@pytest.mark.parametrize("size", [33, 41, 45, 51])
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
