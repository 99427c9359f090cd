"""Checkpoints: ours, and the original's as TF1's Saver writes them; going on from either."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf1_graph

from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints
from physics_models.bundle import FOOTER_BYTES, masked_checksum, read_handle
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

TINY = Task("spring_color", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
FRAMES = tf.random.stateless_uniform([2, 8, 16, 16, 3], [1, 2])


def make_net(optimizer: str = "rmsprop", base_lr: float = 1e-3) -> PhysicsNet:
    net = PhysicsNet(TINY, autoencoder_loss=3.0)
    net.build_optimizer(base_lr, optimizer)
    return net


def state(net: PhysicsNet) -> dict[str, np.ndarray]:
    """Weights, slots and rate by name."""
    return {name: v.numpy() for name, v in {**net.variables_by_name(), **net.optimizer.named_variables()}.items()}


def randomize(net: PhysicsNet, seed: int = 0) -> None:
    """Give every weight and slot another value; slots are positive, as squares are."""
    random = np.random.RandomState(seed)
    for name, variable in {**net.variables_by_name(), **net.optimizer.named_variables()}.items():
        is_weight = name.startswith("net/") and name in net.variables_by_name()
        array = random.standard_normal(variable.shape) * 0.1
        variable.assign(np.float32(array if is_weight else np.abs(array) + 0.5))


def save_tf1(folder, net: PhysicsNet, optimizer: str) -> None:
    folder.mkdir()
    shapes = {name: tuple(v.shape) for name, v in net.variables_by_name().items()}
    tf1_graph.save(folder, shapes, optimizer, state(net))


def save_some(folder, arrays: dict[str, np.ndarray]) -> None:
    """A TF1 checkpoint of `arrays` alone."""
    folder.mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in arrays.items():
            tf.compat.v1.get_variable(name, initializer=array)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_alike_from_tf1s_checkpoint_and_from_ours(tmp_path, optimizer):
    """Two steps, both checkpoints of that state, and the next step: its loss, weights and slots."""
    net = make_net(optimizer)
    for _ in range(2):
        net.train_step(FRAMES)
    save_tf1(tmp_path / "tf1", net, optimizer)
    checkpoints.save(net, tmp_path / "ours")
    loss, after = float(net.train_step(FRAMES)), state(net)
    for folder, tf1 in (("tf1", True), ("ours", False)):
        randomize(net)
        net.optimizer.rate.assign(1e-3)
        stored = checkpoints.read(tmp_path / folder)
        assert stored.tf1 == tf1
        checkpoints.restore(net, stored)
        assert float(net.train_step(FRAMES)) == pytest.approx(loss, rel=1e-6)
        for name, array in state(net).items():
            np.testing.assert_allclose(array, after[name], rtol=1e-5, atol=1e-7, err_msg=f"{folder} {name}")


def test_the_rate_starts_again_from_base_lr(tmp_path):
    net = make_net(base_lr=0.5)
    checkpoints.save(net, tmp_path / "ours")
    other = make_net(base_lr=0.25)
    checkpoints.restore(other, checkpoints.read(tmp_path / "ours"))
    assert float(other.optimizer.rate) == 0.25
    checkpoints.restore(other, checkpoints.read(tmp_path / "ours"), with_rate=True)
    assert float(other.optimizer.rate) == 0.5


def test_ours_holds_weights_slots_rate_epoch_and_iteration(tmp_path):
    net = make_net()
    randomize(net)
    net.epoch, net.iteration = 3, 17
    path = checkpoints.save(net, tmp_path)
    assert path == checkpoints.find(tmp_path) == str(tmp_path / "model.ckpt-17")
    stored = checkpoints.read(tmp_path)
    assert stored.progress.items() >= {"epoch": 3, "iteration": 17}.items()
    wanted = state(net)
    assert set(stored.arrays) == set(wanted)
    for name, array in stored.arrays.items():
        np.testing.assert_array_equal(array, wanted[name])


def test_only_the_newest_stays_and_it_is_in_force(tmp_path):
    net = make_net()
    for net.iteration in (1, 2, 3):
        checkpoints.save(net, tmp_path)
    assert [path.name for path in tmp_path.glob("*.index")] == ["model.ckpt-3.index"]
    for net.iteration in (4, 5):
        checkpoints.save(net, tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["model.ckpt-4.index", "model.ckpt-5.index"]
    assert checkpoints.find(tmp_path).endswith("model.ckpt-5")
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-5")


def test_a_folder_may_be_moved(tmp_path):
    net = make_net()
    checkpoints.save(net, tmp_path / "here")
    save_tf1(tmp_path / "tf1", net, "rmsprop")
    for name in ("here", "tf1"):
        shutil.move(tmp_path / name, tmp_path / "there")
        assert checkpoints.read(tmp_path / "there").arrays["net/decoder/logsigma"].shape == ()
        shutil.rmtree(tmp_path / "there")


def test_an_absolute_path_of_another_machine_in_the_originals_file(tmp_path):
    save_tf1(tmp_path / "tf1", make_net(), "rmsprop")
    state_file = tmp_path / "tf1" / "checkpoint"
    state_file.write_text('model_checkpoint_path: "/home/miguel/runs/model.ckpt"\n')
    assert checkpoints.read(tmp_path / "tf1").tf1


@pytest.mark.parametrize("left_out", ["slots", "one slot", "base_lr"])
def test_slots_and_rate_may_be_missing(tmp_path, caplog, left_out):
    """A saver of weights alone: they are restored, the slots start afresh, and a line says so."""
    net = make_net()
    randomize(net)
    arrays = state(net)
    drop = {
        "slots": lambda name: not name.startswith("net/") or "RMSProp" in name,
        "one slot": lambda name: name == "net/decoder/dense/bias/RMSProp",
        "base_lr": lambda name: name == "base_lr",
    }[left_out]
    save_some(tmp_path / "tf1", {name: array for name, array in arrays.items() if not drop(name)})
    other = make_net()
    with caplog.at_level(logging.INFO, logger="tf"):
        logging.getLogger("tf").addHandler(caplog.handler)
        try:
            checkpoints.restore(other, checkpoints.read(tmp_path / "tf1"))
        finally:
            logging.getLogger("tf").removeHandler(caplog.handler)
    said = any("no complete optimizer slots; they start afresh" in record.getMessage() for record in caplog.records)
    assert said == (left_out != "base_lr")
    for name, array in state(other).items():
        if name.endswith("/RMSProp") and left_out != "base_lr":
            np.testing.assert_array_equal(array, np.ones_like(array))
        elif name.endswith("/RMSProp_1") and left_out != "base_lr":
            assert not np.any(array)
        elif name != "base_lr":
            np.testing.assert_array_equal(array, arrays[name])


def assert_refused_and_unchanged(folder, arrays, said):
    """A checkpoint of `arrays` is refused with `said`, and the network keeps its state."""
    save_some(folder, arrays)
    net = make_net()
    before = state(net)
    with pytest.raises(ExperimentError, match=said):
        checkpoints.restore(net, checkpoints.read(folder))
    for name, array in state(net).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("name", ["net/encoder/conv2d_3/kernel", "net/spring_ode_cell/dt_x", "net/decoder/logsigma"])
def test_a_missing_variable_is_named_and_nothing_changes(tmp_path, name):
    arrays = state(make_net())
    del arrays[name]
    assert_refused_and_unchanged(tmp_path / "tf1", arrays, f"has no variable {name}; it is a checkpoint of another")


@pytest.mark.parametrize("name", ["net/init_vel/dense_1/bias", "net/init_vel/dense_1/bias/RMSProp"])
def test_another_shape_is_named_and_nothing_changes(tmp_path, name):
    arrays = {**state(make_net()), name: np.zeros(7, np.float32)}
    assert_refused_and_unchanged(tmp_path / "tf1", arrays, rf"{name} has shape \[7\], this network needs \[100\]")


def test_folders_without_a_whole_checkpoint(tmp_path):
    net = make_net()
    checkpoints.save(net, tmp_path / "whole")
    cases = {
        "none": (lambda folder: None, "no such folder"),
        "empty": (lambda folder: folder.mkdir(), "holds no checkpoint"),
        "no_index": (lambda folder: next(folder.glob("*.index")).unlink(), "missing, though .* names it"),
        "no_data": (lambda folder: next(folder.glob("*.data-*")).unlink(), "damaged or incomplete"),
        "cut": (lambda folder: cut(next(folder.glob("*.data-*"))), "damaged or incomplete"),
        "packed": (lambda folder: call_compressed(next(folder.glob("*.index"))), r"a block is compressed"),
        "garbage": (lambda folder: next(folder.glob("*.index")).write_bytes(b"x" * 99), "damaged or incomplete"),
        "state": (lambda folder: (folder / "checkpoint").write_text("{nonsense"), "damaged"),
    }
    for name, (damage, said) in cases.items():
        folder = tmp_path / name
        if name not in ("none", "empty"):
            shutil.copytree(tmp_path / "whole", folder)
        damage(folder)
        with pytest.raises(ExperimentError, match=said) as raised:
            checkpoints.read(folder)
        assert "\n" not in str(raised.value) and str(folder) in str(raised.value), name


def cut(path) -> None:
    """Take away the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def call_compressed(index) -> None:
    """Have the last block of an index say that it is compressed, with a checksum that is right."""
    data = bytearray(index.read_bytes())
    _, _, at = read_handle(bytes(data[-FOOTER_BYTES:]), 0)
    start, size, _ = read_handle(bytes(data[-FOOTER_BYTES:]), at)
    end = start + size
    data[end] = 1
    data[end + 1 : end + 5] = masked_checksum(bytes(data[start : end + 1])).to_bytes(4, "little")
    index.write_bytes(data)
