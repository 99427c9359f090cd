"""The stages: what each of them trains, that a resumed run takes the same steps, and how a run ends."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import signal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from eager import eagerly

from data_gen.iterators import DataIterator
from nn.encoders import Encoding
from nn.stn import axis_weights
from physics_models import checkpoints, staged, supervision
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, StagedSettings, StagedTraining
from physics_models.tasks import TASKS, Task
from runners.reproduce.shapes import draw_shapes, drift

# Small and short, so that a step costs little.
TASK = dataclasses.replace(TASKS["spring_color"], img_size=20, train_len=4, input_steps=2, pred_steps=1)
QUICK = StagedSettings(Stage(3, 4, 1e-3), Stage(3, 4, 1e-3), Stage(2, 2, 1e-3), recons_weight=3.0)


def two_objects(seed: int = 0) -> np.ndarray:
    """Frames uint8 [20, 4, 20, 20, 1] of a plus and a disc of one brightness."""
    return draw_shapes(drift(20, 4, 2, 20, 3.0, speed=1.0, seed=seed), ["plus", "disc"], 20, radius=2.0)


@pytest.fixture(scope="module")
def data():
    return {split: DataIterator(two_objects(i), seed=0) for i, split in enumerate(("train", "valid", "test"))}


def new(task: Task = TASK, **settings) -> PhysicsNet:
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task, color=False, **settings)
    net.build_optimizer(1e-3)
    return net


@functools.cache
def shared(task: Task, **settings) -> tuple[PhysicsNet, Any, dict[str, np.ndarray]]:
    """A network for all tests, since to make one takes as long as several small steps; its optimizer; their start."""
    net = new(task, **settings)
    return net, net.optimizer, {name: variable.numpy() for name, variable in state(net).items()}


def build(task: Task = TASK, shift: float = 0.0, **settings) -> PhysicsNet:
    """The shared network as it is at first, with `shift` added to its weights."""
    net, optimizer, start = shared(task, **settings)
    net.optimizer = optimizer
    for name, variable in state(net).items():
        variable.assign(start[name])
    for variable in net.variables_by_name().values():
        variable.assign_add(tf.fill(variable.shape, shift))
    net.skipped_steps.assign(0)
    net.iteration, net.callbacks, net.autoencoder_loss = 0, [], 0.0
    return net


def state(net: PhysicsNet) -> dict[str, tf.Variable]:
    """Weights and slots by name."""
    return {**net.variables_by_name(), **net.optimizer.named_variables()}


def weights(net: PhysicsNet) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in net.variables_by_name().items()}


def training(data, folder, settings=QUICK, net=None, **more) -> StagedTraining:
    folder.mkdir(exist_ok=True)
    return StagedTraining(net or build(), data, folder, settings, print_interval=2, save_every=2, **more)


@pytest.fixture
def quick(monkeypatch):
    """Stages without their evaluation, eager (for a few steps that is quicker than tracing); anything is found."""
    monkeypatch.setattr(PhysicsNet, "eval", lambda *_, **__: {})
    monkeypatch.setattr(supervision.Verdict, "found", True)
    with eagerly():
        yield


class Seeing(tf.keras.callbacks.Callback):
    """Notes the steps and their losses; sends a signal after step `stop_after`."""

    def __init__(self, stop_after: int = -1):
        super().__init__()
        self.steps, self.losses, self.stop_after, self.ends = [], [], stop_after, 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(batch)
        self.losses.append(float(logs["loss"]))
        if batch == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, logs=None):
        self.ends += 1


def test_each_stage_moves_its_own_variables_and_callbacks_see_every_step_once(data, tmp_path, quick):
    run = training(data, tmp_path)
    run.net.callbacks = [seeing := Seeing()]
    states = [weights(run.net)]
    for number in (1, 2, 3):
        run.stages = staged.STAGES[:number]
        states.append(weights(run.run()))
    moved = [{name for name in old if not np.array_equal(old[name], new[name])} for old, new in zip(states, states[1:])]
    assert moved[0] and all("/encoder/" in name or "/decoder/" in name for name in moved[0])
    assert moved[1] and all("/init_vel/" in name or "/spring_ode_cell/" in name for name in moved[1])
    assert moved[2] > moved[1]
    assert (tmp_path / "objects.png").is_file()
    assert seeing.steps == list(range(8)) and np.isfinite(seeing.losses).all()
    assert seeing.ends == 3  # of `run`, each to another stage


def test_a_killed_run_resumes_in_its_stage_and_ends_with_the_same_bits(data, tmp_path, quick, monkeypatch):
    monkeypatch.setitem(staged.SCHEDULES, "staged", staged.STAGES[:2])  # the third goes the same way
    whole = weights(training(data, tmp_path / "whole", seed=5).run())

    class KilledError(Exception):
        pass

    for killed_at in ((0, 2), (1, 2)):  # the first while the supervision fades
        folder = tmp_path / f"killed{killed_at[0]}"
        run = training(data, folder, seed=5)

        def save_and_die(run=run, save=run.save, killed_at=killed_at):
            save()
            if (run.stage, run.step) == killed_at:
                raise KilledError

        run.save = save_and_die
        with pytest.raises(KilledError):
            run.run()
        stored = checkpoints.load(folder)
        assert (stored.progress["stage"], stored.progress["stage_step"], stored.progress["seed"]) == (*killed_at, 5)
        again = training(data, folder, net=build(shift=0.1), seed=99)
        again.resume(stored)
        for name, value in weights(again.run()).items():
            np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_a_signal_stops_a_stage_with_a_checkpoint(data, tmp_path, quick):
    run = training(data, tmp_path)

    run.net.callbacks = [Seeing(stop_after=1)]
    with pytest.raises(Interrupted):
        run.run()
    assert checkpoints.load(tmp_path).progress["stage_step"] == 2


def test_a_run_does_not_resume_with_other_training_data(data, tmp_path):
    training(data, tmp_path).save()
    other = {**data, "train": DataIterator(two_objects(9), seed=0)}
    with pytest.raises(ExperimentError, match="other training data"):
        training(other, tmp_path).resume(checkpoints.load(tmp_path))


def test_a_checkpoint_of_a_joint_run_is_no_staged_run_to_resume(data, tmp_path):
    build().save(tmp_path, {"seed": 0})
    with pytest.raises(ExperimentError, match="--schedule=joint"):
        training(data, tmp_path).resume(checkpoints.load(tmp_path))


def test_a_fitted_state_leaves_the_bouncing_balls_nothing_to_fit(data, tmp_path, quick, caplog):
    task = dataclasses.replace(TASK, cell_type="bouncing_ode_cell")
    run = training(data, tmp_path, net=build(task, vel_encoder="gauss_newton"))
    run.stage, run.stages = 1, staged.STAGES[:2]
    before = weights(run.net)
    with caplog.at_level(logging.INFO, "tf"):
        after = weights(run.run())
    assert "nothing to fit" in caplog.text
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_where_the_objects_are_not_found_the_later_stages_do_not_begin(data, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(supervision.Verdict, "found", False)
    with pytest.raises(ExperimentError, match="not found.*another --autoencoder_steps.*--seed"):
        training(data, tmp_path).run()
    assert checkpoints.load(tmp_path).progress["stage_step"] == 3  # what was trained is kept
    alone = training(data, tmp_path / "alone", schedule="autoencoder")
    alone.run()  # there is no later stage to spoil
    assert checkpoints.load(tmp_path / "alone").progress["stage"] == 1


def test_without_supervision_the_loss_is_the_reconstruction_alone(data, tmp_path, quick):
    settings = dataclasses.replace(QUICK, autoencoder=Stage(2, 4, 1e-3), supervision="none")
    unsupervised = weights(training(data, tmp_path, settings, schedule="autoencoder").run())
    net = build()
    variables = list(net.variables_by_name(trainable_only=True).values())
    for step in range(2):
        random = np.random.RandomState([0, 0, step])
        batch = data["train"].X[random.randint(0, 20, 4), random.randint(0, 3, 4)]
        frames = net.to_float(tf.constant(batch))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.reduce_sum((frames - net.decoder(net.encoder(frames).positions)) ** 2, [1, 2, 3]))
        net.update(tape.gradient(loss, variables))
    for name, value in weights(net).items():
        np.testing.assert_allclose(unsupervised[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_nan_stops_the_run_and_leaves_the_checkpoint_before(data, tmp_path, quick):
    run = training(data, tmp_path)
    run.save()
    run.net.decoder.logsigma.assign(np.nan)
    with pytest.raises(ExperimentError, match="--autoencoder_rate"):
        run.run()
    assert np.isfinite(checkpoints.load(tmp_path).arrays["net/decoder/logsigma"])


def test_objects_that_look_the_same_are_tracked_from_frame_to_frame():
    net, positions = new(), np.tile(drift(1, 4, 2, 20, 3.0, speed=1.0), [40, 1, 1, 1])
    positions[:, 1::2] = positions[:, 1::2, ::-1]  # as an encoder may name them
    apart = drift(40, 4, 2, 20, 3.0, speed=1.0)
    same, other = (draw_shapes(apart, shapes, 20, radius=2.0) for shapes in (["disc"] * 2, ["plus", "disc"]))
    assert staged.look_the_same(net, same) and not staged.look_the_same(net, other)
    assert not staged.look_the_same(net, np.concatenate([other, *[same] * 9], axis=1))  # the first frames count
    net.encoder = lambda frames: SimpleNamespace(positions=tf.constant(np.float32(positions.reshape(-1, 4))))
    jumping = staged.encode_all(net, np.zeros([40, 4, 20, 20, 1], np.uint8))
    net.track_objects = True
    tracked = staged.encode_all(net, np.zeros([40, 4, 20, 20, 1], np.uint8))
    assert np.abs(np.diff(jumping, axis=1)).max() > 2.0 > 1.1 > np.abs(np.diff(tracked, axis=1)).max()
    net.encoder = lambda frames: Encoding(tf.constant(np.float32(positions.reshape(-1, 4))), frames, frames)
    np.testing.assert_array_equal(net.encode(tf.zeros([40, 4, 20, 20, 1]))[0], tracked)


def test_settings_follow_task_and_initial_state():
    assert staged.settings_for("custom") == staged.settings_for("spring_color")
    net, fitted = (staged.settings_for("3bp_color", kind) for kind in ("mlp", "gauss_newton"))
    assert dataclasses.replace(net, positions=fitted.positions) == fitted
    assert fitted.positions.steps < net.positions.steps


def test_unknown_or_impossible_initial_states_are_reported():
    with pytest.raises(ExperimentError, match="vel_encoder=guess"):
        PhysicsNet(TASK, vel_encoder="guess")
    with pytest.raises(ExperimentError, match="needs a physics cell"):
        PhysicsNet(dataclasses.replace(TASK, cell_type="lstm"), vel_encoder="gauss_newton")


@pytest.mark.parametrize(("calibrated", "scale"), [(False, 31 / 32), (True, 1.0)])
def test_calibrated_coordinates_keep_lengths_and_the_originals_do_not(calibrated, scale):
    """How far the template's middle moves in the frame when its position moves by 10 pixels."""
    weights_of = axis_weights(tf.constant([11.0, 21.0]), tf.constant(2.0), 16, 32, calibrated).numpy()
    sampled = weights_of @ np.arange(16)  # [2, 32]: which template pixel a frame's pixel shows
    inside = weights_of.sum(axis=-1) > 0.5
    middles = [np.interp((16 - 1.01) / 2, row[i], np.arange(32)[i]) for row, i in zip(sampled, inside)]
    assert middles[1] - middles[0] == pytest.approx(10 * scale, abs=1e-4)
    if calibrated:
        assert middles == pytest.approx([10.5, 20.5], abs=1e-4)  # pixel i lies at i + 0.5


def test_an_optimizer_built_after_a_step_on_positions_takes_effect():
    net, positions = new(), np.float32(drift(4, 3, 2, 20, 3.0, speed=1.0).reshape(4, 3, 4))
    net.build_optimizer(1e-3, "rmsprop")
    step = staged.position_step(net)
    step(tf.constant(positions))
    net.build_optimizer(0.0, "sgd")
    before = weights(net)
    step(tf.constant(positions))
    assert all((value == before[name]).all() for name, value in weights(net).items())
