"""What docs/differences.md says, row by row: where the port departs, and where it keeps."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tf1_graph
from absl.testing import flagsaver
from command import run_command

from data_gen.errors import DataError
from data_gen.iterators import DataIterator
from nn.blocks import ShallowUNet, UNet, VariableFromNetwork
from nn.cells import GravityODECell, SpringODECell
from nn.decoders import ConvSTDecoder
from nn.encoders import ConvEncoder
from nn.stn import spatial_transformer
from physics_models import checkpoints, experiment
from physics_models.base import tf_variable
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, Task, get_task
from runners import run_base, run_physics

TINY = Task("spring_color", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
E = np.e


def videos(sequences: int, frames: int) -> np.ndarray:
    return np.random.RandomState(frames).randint(0, 256, [sequences, frames, 16, 16, 3]).astype(np.uint8)


def batch(frames: int = TINY.train_len, channels: int = 3) -> tf.Tensor:
    return tf.constant(videos(2, frames)[..., :channels] / np.float32(255))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network after 4 epochs of 2 steps with its folder, its log, and the rate of every step."""
    folder = tmp_path_factory.mktemp("run")
    net = PhysicsNet(replace(TINY, cell_type="bouncing_ode_cell"), autoencoder_loss=3.0)  # traced soonest
    net.build_optimizer(1e-3, "rmsprop")
    rates, step = [], net.train_step

    def train_step(frames):
        rates.append(float(net.optimizer.rate))
        return step(frames)

    net.train_step = train_step
    logger = logging.getLogger("tf")
    level = logger.level
    logger.setLevel(logging.INFO)
    with experiment.LogFile(folder):
        data = {split: DataIterator(videos(4, TINY.train_len)) for split in ("train", "valid", "test")}
        net.train(data, str(folder), epochs=4, batch_size=2, save_every_n_epochs=5, eval_every_n_epochs=4, debug=True)
        net.eval({"test": DataIterator(videos(4, TINY.test_len))}, "test", 2, str(folder))
    logger.setLevel(level)
    text = (folder / "log.txt").read_text(encoding="utf-8")
    return SimpleNamespace(net=net, folder=folder, log=text, rates=rates)


# Where paper and code disagree, the code is kept


def test_the_background_of_the_encoder_is_the_constant_one():
    encoder = ConvEncoder(16, 3, 2)
    encoder.build((None, 16, 16, 3))
    for variable in encoder.unet.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    masks = encoder(batch()[0]).masks
    np.testing.assert_allclose(masks[..., 2], E / (E + 2), rtol=1e-6)


def test_the_background_of_the_decoder_is_the_constant_one():
    decoder = ConvSTDecoder(16, 3, 2)
    decoder.build((None, 4))
    masks = decoder.layers(tf.constant([[1000.0] * 4])).masks
    np.testing.assert_allclose(masks[2], E / (E + 2 * np.exp(-5)), rtol=1e-6)


def test_the_rate_is_divided_by_five_at_three_quarters(trained):
    np.testing.assert_allclose(trained.rates, [1e-3] * 4 + [2e-4] * 4, rtol=1e-6)


def test_the_mass_is_not_learned():
    cell = GravityODECell(3)
    cell.build(((None, 6), (None, 6)))
    assert [id(v) for v in cell.trainable_variables] == [id(cell.log_g)]


def test_lengths_in_pixels_are_shorter_than_positions_say():
    ramp = tf.repeat(tf.range(16.0)[None, None, :, None], 16, axis=1)  # [1, 16, 16, 1], 7.495 in the middle
    rows = []
    for x in (8.0, 24.0):
        theta = tf.constant([[1.0, 0.0, (16.0 - x) / 16.0, 0.0, 1.0, 0.0]])
        rows.append(spatial_transformer(ramp, theta, (32, 32)).numpy()[0, 16, :, 0])
    left, right = (np.interp(7.495, row[row > 0], np.flatnonzero(row)) for row in rows)
    assert right - left == pytest.approx(16 * 31 / 32, abs=1e-4)


def test_the_linear_convolutions_of_the_unets_are_2b_wide():
    def linear(unet):
        return [conv.filters for conv in unet.convs if conv.activation is tf.keras.activations.linear][:-1]

    assert linear(UNet(16, 2)) == [32, 32, 32]
    assert linear(ShallowUNet(8, 2)) == [16, 16]


def test_the_second_bottom_convolution_feeds_nothing_in_the_transposed_unet():
    unet = UNet(4, 2, upsamp=False)
    unet.build((None, 16, 16, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(unet(batch()[0]))
    gradients = tape.gradient(loss, [tf_variable(conv.kernel) for conv in unet.convs])
    assert [i for i, gradient in enumerate(gradients) if gradient is None] == [7]


def test_two_balls_at_one_point_have_a_gradient():
    cell = SpringODECell(2)
    start = tf.constant([[5.0] * 4]), tf.zeros([1, 4])
    with tf.GradientTape() as tape:
        tape.watch(start)
        state = start
        for _ in range(5):  # 100 calls are in tests/nn/test_cells.py
            state = cell(state)
        moved = tf.reduce_sum(state[0] * [1.0, 2.0, -3.0, 4.0])  # weighed apart: what grows is the difference
    assert np.isfinite(tape.gradient(moved, start[0])).all()
    np.testing.assert_array_equal(state[0], start[0])


def test_no_generator_was_published_for_two_tasks():
    from data_gen import generators
    from data_gen.recipes import RECIPES

    ours = {RECIPES[task].generator.__name__ for task in ("bouncing_balls", "spring_color_half")}
    assert ours == {"generate_bouncing_balls_dataset", "generate_spring_balls_half_dataset"}
    with pytest.raises(DataError, match="the original crashes there too"):
        generators.generate_spring_balls_dataset("x.npz", 1, 1, 1, 2, cifar_background=True)


# What was broken works


def test_grey_frames():
    assert PhysicsNet(TINY, color=False)(batch(channels=1)).output.shape == [2, 5, 16, 16, 1]


def test_black_box_dynamics():
    net = PhysicsNet(replace(TINY, cell_type="lstm"), recurrent_units=6, lstm_layers=2)
    assert net(batch()).pos_vel_seq.shape == [2, 6, 8]
    names = net.variables_by_name(trainable_only=True)
    assert names["net/lstm/lstm_cell/kernel"].shape == [8, 24]
    assert names["net/lstm/lstm_cell_1/kernel"].shape == [6, 24]


def test_cell_type_overrides_the_task():
    assert get_task("spring_color", "lstm").cell_type == "lstm"
    assert get_task("spring_color", "").cell_type == TASKS["spring_color"].cell_type == "spring_ode_cell"


def test_the_weights_are_saved_at_the_end(trained):
    stored = checkpoints.load(trained.folder)
    assert (stored.progress["epoch"], stored.progress["iteration"]) == (4, 8)
    np.testing.assert_array_equal(stored.arrays["net/decoder/logsigma"], trained.net.decoder.logsigma)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`run_physics.main` on a network that only notes what is asked of it."""
    run_base.FLAGS.mark_as_parsed()
    notes = []
    net = SimpleNamespace(
        train=lambda *settings: notes.append("train"),
        eval=lambda data, split, *_: notes.append(f"eval {split} {data['test'].X.shape[1]}"),
        restore=lambda checkpoint: notes.append("restore"),
        get_config=dict,
        scalars=dict,
    )
    monkeypatch.setattr(run_physics, "build", lambda task, **_: notes.append("build") or net)
    monkeypatch.setattr(checkpoints, "load", lambda folder: notes.append(f"load {folder}"))
    monkeypatch.setattr(run_base, "log_to_console", lambda: None)

    def run(**values):
        values = {"task": "spring_color", "save_dir": str(tmp_path / "run"), "batch_size": 2, **values}
        with flagsaver.flagsaver(data_dir=str(tmp_path / "data"), **values):
            run_physics.main(["run_physics.py"])
        return notes

    return run


@pytest.fixture
def generated(monkeypatch):
    """`make_dataset` of tiny videos; the list of what it was asked for."""
    calls = []

    def make_dataset(task, file, seq_len, **_):
        calls.append((task, seq_len))
        frames = np.zeros([3, seq_len, 32, 32, 3], np.uint8)
        np.savez(file, train_x=frames, valid_x=frames, test_x=frames)
        return {"seconds": 0.0}

    monkeypatch.setattr(run_physics, "make_dataset", make_dataset)
    return calls


def test_the_final_test_takes_the_network_just_trained(command, generated):
    notes = command(use_ckpt=True, ckpt_dir="other")
    assert notes == ["build", "load other", "restore", "train", "eval test 30"]


def test_missing_data_are_generated(command, generated):
    command()
    assert sorted(generated) == [("spring_color", 12), ("spring_color", 30)]
    command(use_ckpt=True)
    assert len(generated) == 2


def test_an_earlier_experiment_is_moved_aside(trained, tmp_path):
    old = tmp_path / "run"
    shutil.copytree(trained.folder, old)
    moved = experiment.start_over(old)
    assert (moved / "log.txt").read_text(encoding="utf-8") == trained.log
    assert not (old / "log.txt").exists()


def test_a_gradient_that_is_not_a_number_moves_nothing():
    net = PhysicsNet(TINY)
    net.build_optimizer(1.0, "sgd")
    variables = list(net.variables_by_name(trainable_only=True).values())
    before = variables[0].numpy()
    net.update([tf.fill(variables[0].shape, np.inf)] + [None] * (len(variables) - 1))
    np.testing.assert_allclose(variables[0], before - 1.0, rtol=1e-6)  # clipped to 1
    net.update([tf.fill(variables[0].shape, np.nan)] + [None] * (len(variables) - 1))
    np.testing.assert_allclose(variables[0], before - 1.0, rtol=1e-6)
    with pytest.raises(ExperimentError):
        net.check_finite("nowhere")


# Same numbers, less work


def test_training_decodes_no_step_beyond_the_loss(monkeypatch):
    net, frames = PhysicsNet(TINY, autoencoder_loss=3.0), batch()
    net(frames)  # Keras 3 walks through a layer once more at its first call
    decoded, call = [], ConvSTDecoder.call

    def counted(self, positions):
        decoded.append(len(positions))
        return call(self, positions)

    monkeypatch.setattr(ConvSTDecoder, "call", counted)
    train_loss = net.train_loss(frames)
    losses = net.compute_losses(frames, net(frames))
    np.testing.assert_allclose(train_loss, losses["pred_loss"] + 3.0 * losses["recons_loss"], rtol=1e-6)
    assert decoded == [2 * (7 + 4), 2 * (7 + 5)]


def test_template_contents_and_background_are_computed_once(monkeypatch):
    net, calls, call = PhysicsNet(TINY), [], VariableFromNetwork.call
    net(batch())
    monkeypatch.setattr(VariableFromNetwork, "call", lambda self, ones: calls.append(1) or call(self, ones))
    net(batch())
    assert len(calls) == 3


def test_one_network_and_one_trace_for_both_lengths(trained):
    assert trained.net.eval_step.experimental_get_tracing_count() == 1
    assert trained.net._train_step.experimental_get_tracing_count() == 1


# Behaviour


def test_no_line_is_logged_twice(trained):
    tests = [line for line in trained.log.splitlines() if " - test - " in line]
    assert len(tests) == 2 and len(set(trained.log.splitlines())) == len(trained.log.splitlines())
    assert "<tf.Variable" not in trained.log
    assert trained.log.count("[('net/decoder/logsigma:0', ") == 3  # one validation, two tests


def test_evaluation_keeps_the_order_of_the_file(trained):
    with np.load(trained.folder / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["input"], videos(4, TINY.test_len) / np.float32(255), rtol=1e-6)


def test_other_numbers_of_objects():
    for cell in (SpringODECell(3), GravityODECell(2)):
        state = tf.random.normal([2, 2 * cell.n_objs]), tf.zeros([2, 2 * cell.n_objs])
        assert np.isfinite(cell(state)[0]).all()


def test_weights_start_from_the_same_distribution():
    kernel = PhysicsNet(TINY).variables_by_name()["net/decoder/dense_5/kernel"].numpy()
    limit = np.sqrt(6 / sum(kernel.shape))
    assert 0.99 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6)


def test_a_data_file_also_holds_the_true_motion(tmp_path):
    from data_gen import generators

    generators.generate_spring_balls_dataset(str(tmp_path / "video.npz"), 2, 1, 1, 3, radius=2, color=True)
    with np.load(tmp_path / "video.npz") as video:
        assert video["train_x"].shape == (2, 3, 32, 32, 3)
        assert video["train_pos"].shape == video["train_vel"].shape == (2, 3, 2, 2)


def test_a_run_leaves_a_marker(command, generated, tmp_path):
    command()
    assert (tmp_path / "run" / "experiment.json").is_file()


def test_one_checkpoint_with_the_iteration_in_its_name(trained):
    assert [file.name for file in trained.folder.glob("*.index")] == ["model.ckpt-8.index"]


def test_a_folder_of_the_original_is_a_checkpoint_too(trained, tmp_path):
    tf1_graph.save_weights(tmp_path, checkpoints.load(trained.folder).arrays)
    stored, net = checkpoints.load(tmp_path), PhysicsNet(trained.net.task)
    assert stored.tf1
    net.restore(stored)
    for name, variable in trained.net.variables_by_name().items():
        np.testing.assert_array_equal(net.variables_by_name()[name], variable)


def test_an_unknown_flag_stops_the_command():
    ended = run_command("paig-run-physics", "--epoch=5")
    assert ended.code == 1 and len(ended.err.splitlines()) == 1 and "epoch" in ended.err
