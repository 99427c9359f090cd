"""The stages, the guide to the objects, the fitted initial state and the unstretched grid."""

from __future__ import annotations

import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from data_gen.iterators import DataIterator
from nn.cells import CELLS
from nn.initial_state import fitted_state
from nn.stn import axis_weights
from physics_models import checkpoints, staged
from physics_models.discovery import Guide, Kinds, find_kinds, guide_loss, objects_in_use
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, StagedSettings, StagedTraining
from physics_models.tasks import TASKS
from physics_models.watchers import Watcher

TASK = TASKS["spring_color"]
QUICK = StagedSettings(
    autoencoder=Stage(4, 4, 1e-3),
    positions=Stage(4, 4, 1e-3),
    joint=Stage(2, 2, 1e-3),
    recons_weight=3.0,
    found_below=1e9,
    in_use=-1e9,
    tries=2,
)


def disc(x: float, y: float, size: int = 32) -> np.ndarray:
    """A blurred disc of radius 2 at (x, y), pixel i lying at i + 0.5: [size, size]."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    return np.clip(2.5 - np.hypot(columns - x, rows - y), 0, 1)


def two_balls(n: int = 8, frames: int = 12, seed: int = 0) -> np.ndarray:
    """Films uint8 [n, T, 32, 32, 3] of a blue and a green ball that drift apart."""
    random = np.random.RandomState(seed)
    films = np.zeros([n, frames, 32, 32, 3])
    for film in films:
        x, y = random.uniform(8, 18, 2)
        for t, frame in enumerate(film):
            frame[..., 2] = disc(x - 0.4 * t, y)
            frame[..., 1] = disc(x + 8, y + 0.4 * t)
    return (films * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data():
    return {split: DataIterator(two_balls(seed=i), 0) for i, split in enumerate(("train", "valid", "test"))}


def build(seed: int, **settings) -> PhysicsNet:
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(TASK, **settings)
    net.build_optimizer(1e-3)
    return net


def weights(net: PhysicsNet) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in net.variables_by_name().items()}


def training(data, folder, settings=QUICK, **more) -> StagedTraining:
    return StagedTraining(build, data, str(folder), settings, print_interval=2, save_every=2, **more)


@pytest.fixture
def no_evaluation(monkeypatch):
    """Stages without their evaluation, and eager: for a few steps that is quicker than tracing."""
    monkeypatch.setattr(PhysicsNet, "eval", lambda *_, **__: {})
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_each_stage_moves_its_own_variables(data, tmp_path, no_evaluation):
    run = training(data, tmp_path)
    before = weights(run.net)
    run.stages = ("autoencoder",)
    run.run()
    after_a = weights(run.net)
    run.stages = ("autoencoder", "positions")
    run.run()
    after_b = weights(run.net)
    moved_a = {name for name in before if not np.array_equal(before[name], after_a[name])}
    moved_b = {name for name in before if not np.array_equal(after_a[name], after_b[name])}
    assert moved_a and all("/encoder/" in name or "/decoder/" in name for name in moved_a)
    assert moved_b and all("/init_vel/" in name or "/spring_ode_cell/" in name for name in moved_b)
    run.stages = staged.STAGES
    after_c = weights(run.run())
    assert {name for name in before if not np.array_equal(after_b[name], after_c[name])} > moved_b


def test_a_killed_run_goes_on_in_its_stage_as_if_nothing_had_happened(data, tmp_path, no_evaluation, monkeypatch):
    monkeypatch.setitem(staged.SCHEDULES, "staged", staged.STAGES[:2])  # the third goes the same way
    killed_at = (1, 2)
    whole = weights(training(data, tmp_path / "whole", seed=5).run())

    class KilledError(Exception):
        pass

    run = training(data, tmp_path / "killed", seed=5)
    save = run._save

    def save_and_die():
        save()
        if (run.stage, run.step) == killed_at:
            raise KilledError

    run._save = save_and_die
    with pytest.raises(KilledError):
        run.run()
    stored = checkpoints.read(tmp_path / "killed")
    assert (stored.progress["stage"], stored.progress["stage_step"], stored.progress["stage_seed"]) == (*killed_at, 5)
    again = training(data, tmp_path / "killed", seed=99)
    again.resume(stored)
    for name, value in weights(again.run()).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_a_run_does_not_go_on_with_other_training_data(data, tmp_path):
    run = training(data, tmp_path)
    run._save()
    other = {**data, "train": DataIterator(two_balls(seed=9), 0)}
    with pytest.raises(ExperimentError, match="was begun with other training data"):
        training(other, tmp_path).resume(checkpoints.read(tmp_path))


def test_a_fitted_state_leaves_the_bouncing_balls_nothing_to_fit(data, tmp_path, no_evaluation, caplog):
    task = TASKS["bouncing_balls"]

    def build_bouncing(seed):
        tf.keras.utils.set_random_seed(seed)
        net = PhysicsNet(task, vel_encoder="gauss_newton")
        net.build_optimizer(1e-3)
        return net

    run = StagedTraining(build_bouncing, data, str(tmp_path), QUICK)
    run.stage = 1
    run.stages = staged.STAGES[:2]
    with caplog.at_level(logging.INFO, "tf"):
        run.run()
    assert "nothing to fit" in caplog.text


def test_a_checkpoint_of_a_joint_run_is_no_staged_run_to_resume(data, tmp_path):
    checkpoints.save(build(0), tmp_path)
    with pytest.raises(ExperimentError, match="not of a staged run"):
        training(data, tmp_path).resume(checkpoints.read(tmp_path))


def test_unfound_objects_start_again_with_the_next_seed(data, tmp_path, no_evaluation, caplog):
    hopeless = dataclasses.replace(QUICK, found_below=1e-9, autoencoder=Stage(1, 4, 1e-3))
    told = []

    class Told(Watcher):
        def started(self, net, done, total):
            told.append(done)

    run = training(data, tmp_path, hopeless, seed=3)
    run.net.watchers = (Told(),)
    run.build = lambda seed: setattr(net := build(seed), "watchers", (Told(),)) or net
    with caplog.at_level(logging.INFO, "tf"), pytest.raises(ExperimentError, match="seeds 3 to 4"):
        run.run()
    assert told == [0, 0]  # the bar does not go on past the steps of the first try
    assert "the objects are not found; it starts again with seed 4" in caplog.text


def test_nan_stops_the_run_and_leaves_the_checkpoint_before(data, tmp_path, no_evaluation):
    run = training(data, tmp_path)
    run.net.decoder.logsigma.assign(np.nan)
    with pytest.raises(ExperimentError, match="not finite at step 0"):
        run.run()


def test_found_objects_are_in_use_and_a_copied_one_is_not():
    net = build(0)
    blob = np.full([2, 16, 16, 1], -20.0, np.float32)
    blob[:, 7:9, 7:9] = 20.0  # a template pixel is two frame pixels wide at sigma 1
    colours = np.full([2, 16, 16, 3], -20.0, np.float32)
    colours[0, ..., 2] = colours[1, ..., 1] = 20.0
    net.decoder.template.value = lambda: tf.constant(blob)
    net.decoder.content.value = lambda: tf.constant(colours)
    net.decoder.background.value = lambda: tf.fill([1, 32, 32, 3], -20.0)
    places = tf.constant([[8.0, 8.0, 20.0, 24.0], [22.0, 6.0, 9.0, 9.0]])
    frames = net.decoder(places)
    net.encoder = lambda _: SimpleNamespace(positions=places)
    loss, gains = objects_in_use(net, frames)
    assert loss < 1e-6
    np.testing.assert_allclose(gains, [1.0, 1.0], atol=0.01)
    net.encoder = lambda _: SimpleNamespace(positions=tf.tile(places[:, :2], [1, 2]))
    loss, gains = objects_in_use(net, frames)
    assert loss > 10 and gains.min() < 0.4


def test_what_an_object_explains_when_masks_are_half_transparent():
    """Without an object, the masks of the others share out what was its own."""
    random = np.random.RandomState(0)
    masks = random.dirichlet([1.0, 1.0, 1.0], [4, 32, 32]).astype("f4").transpose(3, 0, 1, 2)[..., None]
    contents, frames = random.rand(3, 4, 32, 32, 3).astype("f4"), random.rand(4, 32, 32, 3).astype("f4")

    def error(kept: list[int]) -> float:
        image = (masks[kept] * contents[kept]).sum(0) / masks[kept].sum(0)
        return np.square(frames - image).sum((1, 2, 3)).mean()

    layers = SimpleNamespace(masks=tf.constant(masks), contents=tf.constant(contents))
    net = SimpleNamespace(
        task=TASK,
        encoder=lambda _: SimpleNamespace(positions=None),
        decoder=SimpleNamespace(layers=lambda _: layers),
    )
    loss, gains = objects_in_use(net, tf.constant(frames))
    share = (error([2]) - error([0, 1, 2])) / 2
    np.testing.assert_allclose(loss, error([0, 1, 2]), rtol=1e-5)
    np.testing.assert_allclose(gains * share, [error([1, 2]) - loss, error([0, 2]) - loss], rtol=1e-3)


def test_kinds_are_the_background_and_the_objects_colours():
    backdrop = np.zeros([32, 32, 3])
    backdrop[:, :16, 0] = 0.5
    frames = np.concatenate(two_balls(8)) / 255.0
    kinds = find_kinds(np.where(frames > 0.05, frames, backdrop), 2)
    np.testing.assert_allclose(kinds.background, backdrop, atol=1e-6)
    order = np.argsort(kinds.colours[:, 1])
    assert kinds.colours[order[0], 2] > 0.8 and kinds.colours[order[1], 1] > 0.8


def test_objects_of_one_colour_are_no_kinds():
    frames = np.concatenate(two_balls(8)) / 255.0
    white = np.repeat(frames.max(axis=-1, keepdims=True), 3, axis=-1)
    assert find_kinds(white, 2) is None
    assert find_kinds(white[..., :1], 2) is None
    assert find_kinds(np.zeros([4, 32, 32, 3]), 2) is None


def test_guide_is_zero_for_a_perfect_division_and_punishes_each_fault():
    frames = two_balls(1, 3)[0] / 255.0
    kinds = Kinds(np.zeros([32, 32, 3], np.float32), np.eye(3, dtype=np.float32)[[2, 1]])
    masks = np.zeros([3, 32, 32, 3], np.float32)
    masks[..., 0], masks[..., 1] = frames[..., 2] > 0.1, frames[..., 1] > 0.1
    masks[..., 2] = 1.0 - masks[..., 0] - masks[..., 1]
    middles = np.arange(32) + 0.5
    places = np.zeros([3, 2, 2], np.float32)
    for j, channel in enumerate((2, 1)):
        energy = np.square(frames[..., channel]) * (frames[..., channel] > 0.2)
        energy /= energy.sum(axis=(1, 2), keepdims=True)
        places[:, j] = np.stack([energy.sum(1) @ middles, energy.sum(2) @ middles], axis=-1)
    positions = places.reshape(3, 4)
    frames = tf.constant(frames, tf.float32)

    def loss(masks, positions, **terms):
        guide = Guide(**{"label": 0.0, "outside": 0.0, "locate": 0.0, **terms})
        return float(guide_loss(frames, tf.constant(masks), tf.constant(positions), kinds, guide))

    everything = {"label": 1.0, "outside": 1.0, "locate": 1.0}
    assert loss(masks, positions, **everything) == pytest.approx(0.0, abs=1e-3)
    assert loss(masks[..., [1, 0, 2]], positions, label=1.0) > 1.0
    assert loss(np.full_like(masks, 1 / 3), positions, label=1.0) == pytest.approx(np.log(3), abs=0.01)
    assert loss(np.full_like(masks, 1 / 3), positions, outside=1.0) == pytest.approx(np.log(3), abs=0.01)
    assert loss(masks, positions + 2.0, locate=1.0) == pytest.approx(16.0, rel=0.01)  # 2 objects · 2 axes · 2²


@pytest.mark.parametrize(("name", "parameters"), [("spring_color", [1.3, 1.7]), ("3bp_color", [4.0])])
def test_fitted_state_recovers_the_state_that_made_the_trajectory(name, parameters):
    task = TASKS[name]
    cell = CELLS[task.cell_type](task.n_objs, task.img_size)
    for variable, value in zip(cell.trainable_variables, parameters):
        variable.assign(value)
    random = np.random.RandomState(0)
    positions = tf.constant(random.uniform(5, 27, [16, 2 * task.n_objs]), tf.float32)
    velocities = tf.constant(random.uniform(-2, 2, [16, 2 * task.n_objs]), tf.float32)
    sequence = [positions]
    for _ in range(3):
        positions, velocities = cell((positions, velocities))
        sequence.append(positions)
    found_positions, found_velocities = fitted_state(cell, tf.stack(sequence, axis=1))
    near = np.median(np.abs(found_velocities - velocities)), np.median(np.abs(found_positions - positions))
    assert near[0] < 0.02 and near[1] < 0.02


def test_fitted_state_carries_gradients_to_positions_and_parameters():
    cell = CELLS["spring_ode_cell"](2, 32)
    cell.log_k.assign(1.0)
    cell.log_l.assign(1.5)
    positions = tf.constant([[[10.0, 10.0, 20.0, 22.0], [10.5, 10.2, 20.0, 21.0], [11.0, 10.9, 19.0, 20.0]]])

    def velocity_sum(log_k: float, shift: float) -> float:
        cell.log_k.assign(log_k)
        return float(tf.reduce_sum(fitted_state(cell, positions + shift * positions, 12)[1] * [[1.0, 2.0, 3.0, 4.0]]))

    numeric = (velocity_sum(1.02, 0.0) - velocity_sum(0.98, 0.0)) / 0.04
    cell.log_k.assign(1.0)
    log_k = cell.trainable_variables[0]
    with tf.GradientTape() as tape:
        tape.watch(positions)
        loss = tf.reduce_sum(fitted_state(cell, positions, 12)[1] * [[1.0, 2.0, 3.0, 4.0]])
    by_log_k, by_positions = tape.gradient(loss, [log_k, positions])
    assert float(by_log_k) == pytest.approx(numeric, rel=0.1)
    assert np.abs(by_positions).max() > 0.1


def test_unknown_or_impossible_initial_states_are_reported():
    with pytest.raises(ExperimentError, match="vel_encoder=guess"):
        PhysicsNet(TASK, vel_encoder="guess")
    with pytest.raises(ExperimentError, match="needs a physics cell"):
        PhysicsNet(dataclasses.replace(TASK, cell_type="lstm"), vel_encoder="gauss_newton")


@pytest.mark.parametrize(("calibrated", "scale"), [(False, 31 / 32), (True, 1.0)])
def test_the_grids_stretch_and_its_cure(calibrated, scale):
    """How far the template's middle moves in the frame when its position moves by 10 pixels."""
    weights_of = axis_weights(tf.constant([11.0, 21.0]), tf.constant(2.0), 16, 32, calibrated).numpy()
    sampled = weights_of @ np.arange(16)  # [2, 32]: which template pixel a frame's pixel shows
    inside = weights_of.sum(axis=-1) > 0.5
    middles = [np.interp((16 - 1.01) / 2, row[i], np.arange(32)[i]) for row, i in zip(sampled, inside)]
    assert middles[1] - middles[0] == pytest.approx(10 * scale, abs=1e-4)
    if calibrated:
        assert middles == pytest.approx([10.5, 20.5], abs=1e-4)  # pixel i lies at i + 0.5
