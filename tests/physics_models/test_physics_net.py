"""The whole network against the original's numbers: forward pass, losses, gradients, ten training steps."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import golden_data
import numpy as np
import pytest
import tensorflow as tf
from freeing import graphs_freed

from nn import stn
from physics_models.physics_net import PhysicsNet, Rollout
from physics_models.tasks import get_task

LARGE = "mnist_spring_color"  # ten steps of it take as long as those of five others, and are slow
trained_nets = [pytest.param(case, marks=pytest.mark.slow) if case == LARGE else case for case in golden_data.NETS]
each_trained = pytest.mark.parametrize("case", trained_nets)
# Those of the other optimizers are the network of spring_color: what does not depend on the optimizer is the same.
OPTIMIZERS = ("spring_color_adam", "spring_color_momentum", "spring_color_sgd")
FORWARD = [case for case in golden_data.NETS if case not in OPTIMIZERS]
each_forward = pytest.mark.parametrize("case", FORWARD)
# Networks whose ten losses are not determined by their weights to 1e-3; see `test_ten_steps_with_objects_apart`.
AMPLIFYING = ("spring_color", "spring_color_half", "spring_color_altvel", "3bp_color")
DETERMINED = 5  # steps of these that are
# The plain decoder through TensorFlow Addons' resampler, where that is installed, and through its twin.
PLAIN = ("tf", "tfa") if stn.resampler_tfa() is not None else ("tf",)
# The plain decoder with every golden network, of which one with two objects and the one with three are quick: the
# same golden numbers are compared with the fast decoder's, for all networks.
each_plain = pytest.mark.parametrize(
    "case",
    [case if case in ("spring_color", "3bp_color") else pytest.param(case, marks=pytest.mark.slow) for case in FORWARD],
)


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


# Networks of one structure, of which one is built and traced: they differ in weights, frames or optimizer.
SAME_NETWORK = {"spring_color": ("spring_color_half", *OPTIMIZERS)}


def restart(net: PhysicsNet, case: str, optimizers: dict[str, Any]) -> None:
    """Give `net` the weights of net_CASE.npz and its optimizer, as new; `optimizers` holds those that `net` had."""
    golden = golden_data.net_file(case)
    rule, rate = str(golden["optimizer"]), float(golden["lr"])
    golden_data.set_weights(net.variables_by_name(trainable_only=True))
    if rule not in optimizers:
        net.build_optimizer(rate, rule)
        optimizers[rule] = net.optimizer, {n: v.numpy() for n, v in net.optimizer.named_variables().items()}
    net.optimizer, start = optimizers[rule]
    for name, variable in net.optimizer.named_variables().items():
        variable.assign(start[name])
    net.optimizer.rate.assign(rate)
    net.autoencoder_loss = float(golden["autoencoder_loss"])


def norms_and_sums(gradients: list[np.ndarray]) -> SimpleNamespace:
    return SimpleNamespace(
        norms=np.array([np.linalg.norm(g) for g in gradients]), sums=np.array([g.sum() for g in gradients])
    )


def ten_steps(net: PhysicsNet, frames: tf.Tensor, traced: bool) -> SimpleNamespace:
    """The losses before each of ten updates, `traced` as a whole or without, and the variables' norms after them."""

    def step() -> tf.Tensor:  # as `_train_step`
        loss, gradients = net.loss_and_gradients(frames)
        net.update(gradients)
        return loss

    losses = np.array([float(net.train_step(frames) if traced else step()) for _ in range(10)])
    norms = {name: np.linalg.norm(v) for name, v in net.variables_by_name(trainable_only=True).items()}
    return SimpleNamespace(train_losses=losses, norms=norms)


def values(rollout: Rollout) -> SimpleNamespace:
    """As arrays: what the golden values hold, and nothing else."""
    kept = ("enc_pos", "pos_vel_seq", "enc_masks", "recons_out", "output")
    return SimpleNamespace(**{name: getattr(rollout, name).numpy() for name in kept})


def before_training(case: str, net: PhysicsNet) -> dict:
    """What the golden network computes."""
    frames = golden_data.frames_of(case, net)
    rollout, found = net(frames), pinned(case, net)
    return {
        "rollout": values(rollout), "sprites": net.decoder.sprites(), "losses": net.compute_losses(frames, rollout),
        "pinned": values(found.rollout), "gradients": norms_and_sums(found.gradients),
        "numbers": [gradient.astype("f4") for gradient in found.gradients],
    }  # fmt: skip


@functools.cache
def with_plain_decoder(case: str) -> dict[str, SimpleNamespace]:
    """What the twin of the golden network with the plain decoder computes, by resampler."""
    results, plain = {}, golden_data.make_net(case, decoder_type="conv_st_decoder_plain")
    for resampler in PLAIN:
        with pytest.MonkeyPatch.context() as patched:
            if resampler == "tf":
                patched.setattr(stn, "default_resampler", lambda: stn.resampler_tf)
            else:
                assert stn.default_resampler() is stn.resampler_tfa()
            other = pinned(case, plain)
        off = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(other.gradients, of(case).numbers)]
        results[resampler] = SimpleNamespace(
            rollout=values(other.rollout), sprites=plain.decoder.sprites(), losses=other.losses,
            gradients=norms_and_sums(other.gradients), off=off,
        )  # fmt: skip
    return results


@functools.cache
def measured(built: str) -> dict[str, SimpleNamespace]:
    """All numbers of the golden networks that have the structure of `built`, by case; the networks are freed."""
    results, optimizers = {}, {}
    with graphs_freed():
        net = golden_data.make_net(built)
        net.loss_and_gradients = tf.function(net.loss_and_gradients, autograph=False)  # traced once for all optimizers
        for case in (built, *SAME_NETWORK.get(built, ())):
            task, alpha = get_task(golden_data.task_of(case)), float(golden_data.net_file(case)["autoencoder_loss"])
            assert replace(task, name=net.task.name) == net.task and alpha == net.autoencoder_loss
            restart(net, case, optimizers)
            found = before_training(case, net) if case in FORWARD else {}
            variables = {name: list(v.shape) for name, v in net.variables_by_name(trainable_only=True).items()}
            traced = built not in SAME_NETWORK  # otherwise one graph of the gradients serves all of them
            found.update(variables=variables)
            if case != LARGE:
                found.update(trained=ten_steps(net, golden_data.frames_of(case, net), traced))
            if case in golden_data.APART:
                restart(net, case, optimizers)
                frames = golden_data.set_apart(net, case)
                rollout = values(net(frames)) if case in FORWARD else None
                found["apart"] = SimpleNamespace(rollout=rollout, **vars(ten_steps(net, frames, traced)))
            results[case] = SimpleNamespace(**found)
        del net
    return results


def of(case: str) -> SimpleNamespace:
    """The numbers of one golden network."""
    built = next((built for built, others in SAME_NETWORK.items() if case in others), case)
    return measured(built)[case]


@functools.cache
def trained(case: str) -> SimpleNamespace:
    """The losses and norms of ten steps."""
    if case != LARGE:
        return of(case).trained
    with graphs_freed():
        net = golden_data.make_net(case)
        restart(net, case, {})
        return ten_steps(net, golden_data.frames_of(case, net), traced=True)


@each_forward
def test_variables_have_the_originals_names_and_shapes(case):
    golden = golden_data.net_file(case)
    variables = of(case).variables
    assert list(variables) == list(golden["var_names"])
    assert [str(shape) for shape in variables.values()] == list(golden["var_shapes"])


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
    golden, ours = golden_data.net_file(case), of(case)
    golden_data.assert_close(ours.rollout.enc_pos, golden["enc_pos"], rtol=1e-6)
    golden_data.assert_close(ours.rollout.pos_vel_seq, golden["pos_vel_seq"], rtol=1e-5)
    golden_data.assert_close(ours.rollout.enc_masks[:2], golden["enc_masks"], rtol=1e-5)
    assert_frames_and_sprites(ours, golden)


@pytest.mark.parametrize("resampler", PLAIN)
@each_plain
def test_the_forward_pass_with_the_plain_decoder(case, resampler):
    golden, found, fast = golden_data.net_file(case), with_plain_decoder(case)[resampler], of(case).pinned
    assert_frames_and_sprites(found, golden)
    for key in ("recons_out", "output"):
        golden_data.assert_close(getattr(found.rollout, key), getattr(fast, key), rtol=1e-5)


@each_forward
def test_the_losses(case):
    golden, ours = golden_data.net_file(case), of(case)
    losses = {**ours.losses, **({} if case == LARGE else {"train_loss": ours.trained.train_losses[0]})}
    assert set(losses) | {"train_loss"} == {"pred_loss", "extrap_loss", "recons_loss", "train_loss"}
    for name, loss in losses.items():
        np.testing.assert_allclose(loss, golden[name], rtol=2e-6, err_msg=name)


@pytest.mark.parametrize("resampler", PLAIN)
@each_plain
def test_the_losses_with_the_plain_decoder(case, resampler):
    golden = golden_data.net_file(case)
    for name, loss in with_plain_decoder(case)[resampler].losses.items():
        np.testing.assert_allclose(loss, golden[name], rtol=2e-6, err_msg=name)


def assert_gradients(found: SimpleNamespace, golden: dict[str, np.ndarray]) -> None:
    """Norm and sum of every variable's gradient."""
    np.testing.assert_allclose(found.norms, golden["grad_norms"], rtol=1e-4)
    # A sum may cancel: it is compared relative to the norm.
    np.testing.assert_array_less(np.abs(found.sums - golden["grad_sums"]), 2e-4 * found.norms)


@each_forward
def test_the_gradients(case):
    assert_gradients(of(case).gradients, golden_data.net_file(case))


@pytest.mark.parametrize("resampler", PLAIN)
@each_plain
def test_the_gradients_with_the_plain_decoder(case, resampler):
    """The original's, and number for number those of the fast decoder."""
    found = with_plain_decoder(case)[resampler]
    assert_gradients(found.gradients, golden_data.net_file(case))
    assert len(found.off) == len(of(case).variables) and max(found.off) <= 1e-4


@each_trained
def test_the_first_losses_of_training(case):
    """Two steps to 1e-5 (measured: 1e-6), five to 1e-3 (measured: 7e-4)."""
    losses, golden = trained(case).train_losses, golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(losses[:2], golden[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[:DETERMINED], golden[:DETERMINED], rtol=1e-3)


@pytest.mark.parametrize("case", [case for case in trained_nets if case not in AMPLIFYING])
def test_ten_losses_of_training(case):
    """Measured: 1e-6 with sgd and momentum, 3.8e-4 with adam and bouncing_balls.

    mnist_spring_color differs from run to run: eight steps stay within 3.4e-4, the ninth came to 1.2e-3 once.
    """
    steps = 8 if case == "mnist_spring_color" else 10
    golden = golden_data.net_file(case)["train_losses"]
    np.testing.assert_allclose(trained(case).train_losses[:steps], golden[:steps], rtol=1e-3)


@pytest.mark.parametrize("case", golden_data.APART)
def test_ten_steps_with_objects_apart(case):
    """Every optimizer's golden network with weights that put the objects pixels apart (`golden_data.set_apart`).

    The other golden weights put them 0.004 to 0.03 pixels apart, where the force's direction turns with the last bit
    of a position, and make the learned pictures noise: for four of those networks ten losses are not determined to
    1e-3 in float32 (our own runs from weights that differ by 1e-7 part by up to 1e-2). These are. Measured,
    the largest departure from the original in ten steps: 2.1e-5 with TensorFlow's own kernels (those of TF 1.12),
    7.4e-4 with oneDNN's (spring_color_half; the others 1.5e-4), 1e-7 with sgd and momentum.
    """
    golden, ours = golden_data.load(f"net_{case}_apart"), of(case).apart
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


@each_trained
def test_the_weights_after_ten_steps(case):
    golden, ours = golden_data.net_file(case), trained(case)
    assert list(ours.norms) == list(golden["var_names"])
    golden_data.assert_close(np.array(list(ours.norms.values())), golden["final_norms"])
