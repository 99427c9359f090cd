"""The loops: what is evaluated and logged when, the learning rate, batches, grey frames."""

from __future__ import annotations

import functools
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from two_variables import BIAS, KERNEL, TINY, TwoVariables

from data_gen.iterators import DataIterator
from physics_models import checkpoints
from physics_models.base import GREY, BaseNet
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet


def videos(sequences: int, frames: int = 8) -> np.ndarray:
    return np.random.RandomState(frames).randint(0, 256, [sequences, frames, 16, 16, 3]).astype(np.uint8)


@functools.cache
def made_once(kind: type[PhysicsNet]) -> PhysicsNet:
    """A network of this kind; its steps are not taken, so that its weights stay."""
    return kind()


class FakeNet(PhysicsNet):
    """A network whose steps and evaluations only note that they were asked for."""

    def __init__(self):
        super().__init__(TINY)
        self.build_optimizer(1e-2)

    def forget(self) -> FakeNet:
        self.optimizer.rate.assign(1e-2)
        self.notes, self.batches, self.iteration = [], [], 0
        return self

    def train_step(self, frames):
        self.notes.append("step")
        self.batches.append((np.asarray(frames), float(self.optimizer.rate)))
        return tf.constant(float(len(self.batches)))

    def eval(self, data, split, batch_size, save_dir, epoch=0):
        self.notes.append(f"{split} {epoch}")
        return {}

    def save(self, save_dir, counters):
        assert counters["epoch"] == self.iteration // 3 and counters["seed"] == 0
        self.notes.append(f"save {counters['epoch']}")


@pytest.fixture
def loop(tmp_path):
    """Runs the training loop on 7 sequences in batches of 2: three steps an epoch; returns the network."""

    def run(done: int = 0, rate: float = 1e-2, **settings) -> FakeNet:
        net = made_once(FakeNet).forget()
        net.optimizer.rate.assign(rate)
        net.iteration = 3 * done
        data = {split: DataIterator(videos(7), seed=0) for split in ("train", "valid", "test")}
        net.train(data, str(tmp_path), **{"batch_size": 2, **settings})
        return net

    return run


def test_the_order_of_training(loop):
    notes = loop(epochs=5, save_every_n_epochs=2, eval_every_n_epochs=2).notes
    steps = ["step"] * 3
    assert notes == [
        "valid 0", *steps, *steps, "valid 2", "save 2", *steps, *steps, "valid 4", "save 4", *steps, "save 5", "test 5",
    ]  # fmt: skip


def test_debug_skips_the_validation_before(loop):
    assert loop(epochs=1, debug=True).notes == ["step"] * 3 + ["valid 1", "save 1", "test 1"]


def test_the_last_checkpoint_is_not_written_twice(loop):
    assert loop(epochs=4, save_every_n_epochs=2).notes.count("save 4") == 1


@pytest.mark.parametrize(("epochs", "changes_at"), [(1, None), (2, 1), (4, 3), (5, 3), (10, 7)])
def test_the_rate_is_divided_by_five_before_epoch_int_075_epochs(loop, epochs, changes_at):
    """Four epochs: before the third, as the original's log shows; one epoch: never."""
    rates = [rate for _, rate in loop(epochs=epochs).batches]
    high = 3 * (epochs if changes_at is None else changes_at - 1)
    np.testing.assert_allclose(rates, [1e-2] * high + [2e-3] * (3 * epochs - high), rtol=1e-6)


@pytest.mark.parametrize(("epochs", "rates"), [(8, [2e-3] * 2), (9, [2e-3] * 3), (12, [1e-2] * 2 + [2e-3] * 4)])
def test_a_run_that_goes_on_with_other_epochs_has_the_rates_of_these(loop, epochs, rates):
    """Its last epochs of before were annealed."""
    found = loop(done=6, rate=2e-3, epochs=epochs).batches[::3]
    assert [rate for _, rate in found] == pytest.approx(rates)


def test_the_rate_stays_without_annealing(loop):
    assert {rate for _, rate in loop(epochs=4, anneal_lr=False).batches} == {np.float32(1e-2)}


def test_every_epoch_goes_through_the_sequences_in_another_order(loop):
    batches = [frames for frames, _ in loop(epochs=2).batches]
    known = videos(7).astype(np.float32)
    orders = [[int(np.abs(known - sequence).sum(axis=(1, 2, 3, 4)).argmin()) for sequence in b] for b in batches]
    for epoch in (orders[:3], orders[3:]):
        assert len({i for batch in epoch for i in batch}) == 6  # the seventh fills no batch
    assert orders[:3] != orders[3:]
    assert batches[0].dtype == np.uint8
    np.testing.assert_array_equal(batches[0], known[orders[0]])


def test_train_lines_come_every_print_interval(loop, caplog):
    with caplog.at_level(logging.INFO, logger="tf"):
        logging.getLogger("tf").addHandler(caplog.handler)
        try:
            loop(epochs=2, print_interval=4)
        finally:
            logging.getLogger("tf").removeHandler(caplog.handler)
    lines = {record.getMessage() for record in caplog.records if record.name == "tf"}
    assert lines == {"train - iter=0 train_loss=1.0", "train - iter=4 train_loss=5.0"}


# Evaluation


class Evaluated(PhysicsNet):
    """Losses that say which frames were seen, without a network behind them."""

    def __init__(self):
        super().__init__(TINY)
        self.eval_step = self.note

    def note(self, frames):
        self.sizes.append(len(frames))
        mean = tf.reduce_mean(frames)
        losses = {"pred_loss": mean, "extrap_loss": 2 * mean, "recons_loss": 3 * mean}
        return losses, SimpleNamespace(output=frames[:, TINY.input_steps :])

    def visualize_sequence(self, frames, save_dir):
        self.drawn = frames.numpy()


@pytest.fixture
def evaluate(tmp_path, caplog):
    """Evaluates so many sequences in batches of so many; sizes of batches, returned losses, outputs, messages."""
    def run(sequences: int, batch_size: int) -> SimpleNamespace:
        net, frames = made_once(Evaluated), videos(sequences)
        net.sizes = []
        data = {"valid": DataIterator(frames), "test": DataIterator(frames[:3])}
        with caplog.at_level(logging.INFO, logger="tf"):
            logging.getLogger("tf").addHandler(caplog.handler)
            try:
                losses = net.eval(data, "valid", batch_size, str(tmp_path), epoch=3)
            finally:
                logging.getLogger("tf").removeHandler(caplog.handler)
        with np.load(tmp_path / "outputs.npz") as outputs:
            arrays = dict(outputs)
        messages = list(dict.fromkeys(record.getMessage() for record in caplog.records))
        seen = frames / np.float32(255)
        return SimpleNamespace(net=net, frames=seen, losses=losses, arrays=arrays, messages=messages)

    return run


def test_a_small_split_is_one_batch(evaluate):
    assert evaluate(99, 10).net.sizes == [99]


def test_a_large_split_goes_in_full_batches_whose_means_are_averaged(evaluate):
    done = evaluate(104, 50)
    assert done.net.sizes == [50, 50]
    means = [done.frames[:50].mean(), done.frames[50:100].mean()]
    assert done.losses["eval_pred_loss"] == pytest.approx(np.mean(means), rel=1e-6)
    assert done.losses["eval_recons_loss"] == pytest.approx(3 * np.mean(means), rel=1e-6)
    np.testing.assert_array_equal(done.arrays["input"], done.frames[:100])
    np.testing.assert_array_equal(done.arrays["output"], done.frames[:100, TINY.input_steps :])


def test_the_pictures_show_the_first_test_sequences(evaluate):
    done = evaluate(5, 10)
    np.testing.assert_array_equal(done.net.drawn, done.frames[:3])


def test_a_batch_larger_than_the_split(evaluate):
    assert evaluate(101, 1000).net.sizes == [101]


def test_the_lines_of_an_evaluation(evaluate):
    scalars, losses = evaluate(5, 10).messages
    number = r"-?\d+\.\d+(e-\d+)?"
    names = ("net/decoder/logsigma:0", "net/spring_ode_cell/log_k:0", "net/spring_ode_cell/log_l:0")
    assert re.fullmatch(r"\[" + ", ".join(rf"\('{name}', {number}\)" for name in names) + r"\]", scalars)
    keys = ("extrap", "pred", "recons")
    assert re.fullmatch("valid - epoch=3 " + " ".join(f"eval_{key}_loss={number}" for key in keys), losses)


# Frames


def test_frames_become_floats_from_zero_to_one():
    frames = tf.constant([[[[[0, 51, 255]]]]], tf.uint8)
    np.testing.assert_allclose(PhysicsNet(TINY).to_float(frames), [[[[[0, 0.2, 1]]]]], rtol=1e-6)


def test_colours_become_grey_for_a_grey_network():
    net = PhysicsNet(TINY, color=False)
    grey = net.to_float(tf.constant([[[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]]], tf.uint8))
    np.testing.assert_allclose(grey[0, 0, 0, :, 0], [*GREY, 1.0], rtol=1e-6)
    one_channel = tf.constant([[[[[51]]]]], tf.uint8)
    np.testing.assert_allclose(net.to_float(one_channel), [[[[[0.2]]]]], rtol=1e-6)


# One step


def frames_uint8(sequences: int = 2) -> tf.Tensor:
    return tf.constant(videos(sequences))


def weights(net: BaseNet) -> dict[str, np.ndarray]:
    return {name: v.numpy() for name, v in net.variables_by_name().items()}


def test_a_training_step_reports_the_loss_before_it_and_lowers_it(without_graphs):
    net = PhysicsNet(TINY, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    frames, start = net.to_float(frames_uint8()), weights(net)
    before = float(net.train_loss(frames))
    assert float(net.train_step(frames_uint8())) == pytest.approx(before, rel=1e-5)
    assert float(net.train_loss(frames)) < before
    stayed = {name for name, array in weights(net).items() if (array == start[name]).all()}
    assert stayed == {"net/spring_ode_cell/dt_x"}  # the rest is learned


def test_frames_may_be_floats_already():
    losses, net = [], TwoVariables()
    for frames in (frames_uint8(), net.to_float(frames_uint8())):
        net = TwoVariables()
        losses.append(float(net.train_step(frames)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_gradients_are_clipped_element_by_element():
    """With sgd at rate 1 no number moves by more than 1: some by just that, the others by their gradient."""
    net = TwoVariables(base_lr=1.0)
    net.variables_by_name()[KERNEL].assign([[-5.0, 1.0]] * 3)
    before, (_, gradients) = weights(net), net.loss_and_gradients(frames_uint8())
    net.train_step(frames_uint8())
    for gradient, (name, after) in zip(gradients, weights(net).items()):
        np.testing.assert_allclose(before[name] - after, np.clip(gradient, -1, 1), rtol=1e-5)
    sizes = np.abs(np.concatenate([np.ravel(g) for g in gradients]))
    assert sizes.min() < 0.9 and sizes.max() > 1.1


def test_what_is_changed_after_a_step_takes_effect():
    """The optimizer, its rate and α are not those of the step's first trace."""
    net = TwoVariables("rmsprop")
    net.train_step(frames_uint8())
    net.build_optimizer(0.0, "sgd")
    before = weights(net)
    net.train_step(frames_uint8())
    assert all((array == before[name]).all() for name, array in weights(net).items())
    net.optimizer.rate.assign(1e-3)
    gradient = net.loss_and_gradients(frames_uint8())[1][1]
    net.train_step(frames_uint8())
    np.testing.assert_allclose(weights(net)[BIAS], before[BIAS] - 1e-3 * np.clip(gradient, -1, 1), rtol=1e-6)
    net.autoencoder_loss = 3.0
    expected = float(net.train_loss(net.to_float(frames_uint8())))
    assert expected > 3.0 * np.sum(np.square(weights(net)[BIAS])) > 0
    assert float(net.train_step(frames_uint8())) == pytest.approx(expected, rel=1e-5)


# Gradients that are infinite, or not numbers


@pytest.mark.parametrize(("infinity", "sign"), [(np.inf, 1), (-np.inf, -1)])
def test_infinite_gradients_are_clipped_and_training_goes_on(infinity, sign):
    """As in the original: elements of ±∞ become ±1."""
    net = TwoVariables(base_lr=1e-2)
    net.poison.assign(infinity)
    before = weights(net)
    net.train_step(frames_uint8())
    after = weights(net)
    np.testing.assert_allclose(after[BIAS] - before[BIAS], -1e-2 * sign, rtol=1e-5)
    assert np.isfinite(after[KERNEL]).all() and np.any(after[KERNEL] != before[KERNEL])
    net.poison.assign(0.0)
    net.train_step(frames_uint8())
    assert np.any(weights(net)[BIAS] != after[BIAS])
    assert int(net.skipped_steps) == 0


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains a network on six sequences, three steps an epoch, without evaluating it."""

    def run(net: TwoVariables, epochs: int, **settings: int) -> None:
        monkeypatch.setattr(net, "eval", lambda *_, **__: {})
        data = {split: DataIterator(videos(6), seed=0) for split in ("train", "valid", "test")}
        net.train(data, str(tmp_path), epochs, **{"batch_size": 2, "save_every_n_epochs": 1, **settings})

    return run


def test_a_nan_stops_training_in_one_line_with_the_weights_before_it(train, tmp_path):
    """In the original all weights become NaN, and training goes on. Here the steps after the NaN move nothing."""
    net = TwoVariables()
    train(net, epochs=1)
    before, saved = weights(net), checkpoints.load(tmp_path)
    net.poison.assign(np.nan)
    with pytest.raises(ExperimentError) as raised:
        train(net, epochs=2, print_interval=100)
    message = str(raised.value)
    assert "NaN" in message and "\n" not in message and str(tmp_path / "model.ckpt-3") in message
    assert net.iteration == 6  # noticed at the end of the epoch
    for name, array in weights(net).items():
        np.testing.assert_array_equal(array, before[name])
    assert checkpoints.load(tmp_path).progress == saved.progress
    # Once a gradient was NaN no step is taken, not even one that is healthy: the loop is to stop first.
    net.poison.assign(0.0)
    net.train_step(frames_uint8())
    for name, array in weights(net).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_nan_is_noticed_at_the_next_printed_step(train, tmp_path):
    net = TwoVariables()
    net.poison.assign(np.nan)
    with pytest.raises(ExperimentError, match="NaN"):
        train(net, epochs=1, print_interval=1)
    assert net.iteration == 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_trained_is_one_line(tmp_path):
    data = {split: DataIterator(videos(3), seed=0) for split in ("train", "valid", "test")}
    with pytest.raises(ExperimentError, match="batch_size=4"):
        TwoVariables().train(data, str(tmp_path), batch_size=4)
    net = TwoVariables()
    net.optimizer = None
    with pytest.raises(ExperimentError, match="build_optimizer"):
        net.train(data, str(tmp_path), batch_size=2)
