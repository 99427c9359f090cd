"""Checkpoints: ours, and the original's as TF1's Saver writes them; going on from either."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf1_graph
from two_variables import BIAS, TINY, TwoVariables

from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints
from physics_models.base import BaseNet
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.tf1_checkpoint import write_tf1

FRAMES = tf.random.stateless_uniform([2, 8, 16, 16, 3], [1, 2])


def make_net(base_lr: float = 1e-3) -> PhysicsNet:
    net = PhysicsNet(TINY, autoencoder_loss=3.0)
    net.build_optimizer(base_lr)
    return net


@pytest.fixture(scope="module")
def whole_net() -> PhysicsNet:
    """A whole network for the tests that take any weights and slots for its start."""
    return make_net()


def state(net: BaseNet) -> dict[str, np.ndarray]:
    """Weights, slots and rate by name."""
    return {name: v.numpy() for name, v in {**net.variables_by_name(), **net.optimizer.named_variables()}.items()}


def randomize(net: BaseNet, seed: int = 0) -> None:
    """Give every weight and slot another value; slots are positive, as squares are."""
    random = np.random.RandomState(seed)
    for name, variable in {**net.variables_by_name(), **net.optimizer.named_variables()}.items():
        is_weight = name.startswith("net/") and name in net.variables_by_name()
        array = random.standard_normal(variable.shape) * 0.1
        variable.assign(np.float32(array if is_weight else np.abs(array) + 0.5))


def save(net: BaseNet, folder, **counters: int) -> str:
    return net.save(folder, {"epoch": 0, **counters})


def save_tf1(folder, net: BaseNet, optimizer: str = "rmsprop") -> None:
    folder.mkdir()
    shapes = {name: tuple(v.shape) for name, v in net.variables_by_name().items()}
    tf1_graph.save(folder, shapes, optimizer, state(net))


def save_some(folder, arrays: dict[str, np.ndarray]) -> None:
    """A TF1 checkpoint of `arrays` alone."""
    folder.mkdir()
    tf1_graph.save_weights(folder, arrays)


def assert_training_goes_on(folder, net: BaseNet, frames: tf.Tensor, optimizer: str) -> None:
    """Two steps, both checkpoints of that state, and the next step from each: its loss, weights and slots."""
    rate = float(net.optimizer.rate)
    for _ in range(2):
        net.train_step(frames)
    save_tf1(folder / "tf1", net, optimizer)
    save(net, folder / "ours")
    loss, after = float(net.train_step(frames)), state(net)
    for name, tf1 in (("tf1", True), ("ours", False)):
        randomize(net)
        net.optimizer.rate.assign(rate)
        checkpoint = checkpoints.load(folder / name)
        assert checkpoint.tf1 == tf1
        net.restore(checkpoint)
        assert float(net.train_step(frames)) == pytest.approx(loss, rel=1e-6)
        for variable, array in state(net).items():
            np.testing.assert_allclose(array, after[variable], rtol=1e-5, atol=1e-7, err_msg=f"{name} {variable}")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_alike_from_tf1s_checkpoint_and_from_ours(tmp_path, optimizer):
    assert_training_goes_on(tmp_path, TwoVariables(optimizer), FRAMES, optimizer)


@pytest.mark.slow
def test_the_whole_network_goes_on_alike_from_tf1s_checkpoint_and_from_ours(tmp_path, without_graphs):
    assert_training_goes_on(tmp_path, make_net(), FRAMES, "rmsprop")


def test_the_rate_starts_again_from_base_lr(tmp_path):
    save(make_net(base_lr=0.5), tmp_path)
    other = make_net(base_lr=0.25)
    other.restore(checkpoints.load(tmp_path))
    assert float(other.optimizer.rate) == 0.25


def test_ours_holds_weights_slots_rate_epoch_and_iteration(tmp_path, whole_net):
    net = whole_net
    randomize(net)
    net.iteration = 17
    path = save(net, tmp_path, epoch=3, seed=2**40)
    assert path == checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-17")
    checkpoint = checkpoints.load(tmp_path)
    assert checkpoint.progress == {"epoch": 3, "iteration": 17, "seed": 2**40}
    wanted = state(net)
    assert set(checkpoint.arrays) == set(wanted)
    for name, array in checkpoint.arrays.items():
        np.testing.assert_array_equal(array, wanted[name])


def test_a_checkpoint_is_read_before_the_first_call(tmp_path, whole_net):
    """All variables exist without a frame having been seen, also those of a network from a configuration."""
    randomize(whole_net)
    write_tf1(state(whole_net), tmp_path)  # byte for byte as TF1's Saver: test_tf1_checkpoint.py
    other = PhysicsNet.from_config(whole_net.get_config())
    other.restore(checkpoints.load(tmp_path))
    for name, variable in other.variables_by_name().items():
        np.testing.assert_array_equal(variable, whole_net.variables_by_name()[name])


def test_only_the_newest_stays_and_it_is_the_latest(tmp_path):
    net = TwoVariables("rmsprop")
    for net.iteration in (1, 2, 3):
        save(net, tmp_path)
    assert [path.name for path in tmp_path.glob("*.index")] == ["model.ckpt-3.index"]
    assert checkpoints.latest_checkpoint(tmp_path).endswith("model.ckpt-3")
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-3")


def test_the_originals_checkpoint_is_never_deleted(tmp_path):
    net = TwoVariables("rmsprop")
    save_tf1(tmp_path / "run", net)
    before = {path.name for path in (tmp_path / "run").iterdir()}
    save(net, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} > before
    assert not checkpoints.load(tmp_path / "run").tf1


def test_a_folder_may_be_moved(tmp_path):
    net = TwoVariables("rmsprop")
    save(net, tmp_path / "here")
    save_tf1(tmp_path / "tf1", net)
    for name in ("here", "tf1"):
        shutil.move(tmp_path / name, tmp_path / "there")
        assert checkpoints.load(tmp_path / "there").arrays[BIAS].shape == (2,)
        shutil.rmtree(tmp_path / "there")


def test_an_absolute_path_of_another_machine_in_the_originals_file(tmp_path):
    save_tf1(tmp_path / "tf1", TwoVariables("rmsprop"))
    state_file = tmp_path / "tf1" / "checkpoint"
    state_file.write_text('model_checkpoint_path: "/home/miguel/runs/model.ckpt"\n')
    assert checkpoints.load(tmp_path / "tf1").tf1


@pytest.mark.parametrize("left_out", ["slots", "one slot", "base_lr"])
def test_slots_and_rate_may_be_missing(tmp_path, caplog, left_out):
    """A saver of weights alone: they are restored, the slots start afresh, and a line says so."""
    net = TwoVariables("rmsprop")
    randomize(net)
    arrays = state(net)
    drop = {
        "slots": lambda name: not name.startswith("net/") or "RMSProp" in name,
        "one slot": lambda name: name == f"{BIAS}/RMSProp",
        "base_lr": lambda name: name == "base_lr",
    }[left_out]
    save_some(tmp_path / "tf1", {name: array for name, array in arrays.items() if not drop(name)})
    other = TwoVariables("rmsprop")
    with caplog.at_level(logging.INFO, logger="tf"):
        logging.getLogger("tf").addHandler(caplog.handler)
        try:
            other.restore(checkpoints.load(tmp_path / "tf1"))
        finally:
            logging.getLogger("tf").removeHandler(caplog.handler)
    said = any("slots" in record.getMessage() for record in caplog.records)
    assert said == (left_out != "base_lr")
    for name, array in state(other).items():
        if name.endswith("/RMSProp") and left_out != "base_lr":
            np.testing.assert_array_equal(array, np.ones_like(array))
        elif name.endswith("/RMSProp_1") and left_out != "base_lr":
            assert not np.any(array)
        elif name != "base_lr":
            np.testing.assert_array_equal(array, arrays[name])


def assert_refused_and_unchanged(folder, net, arrays, name):
    """A checkpoint of `arrays` is refused in a line with `name`, and the network keeps its state."""
    save_some(folder, arrays)
    before = state(net)
    with pytest.raises(ExperimentError) as raised:
        net.restore(checkpoints.load(folder))
    assert name in str(raised.value) and str(folder) in str(raised.value) and "\n" not in str(raised.value)
    for name, array in state(net).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("name", ["net/encoder/conv2d_3/kernel", "net/spring_ode_cell/dt_x"])
def test_a_missing_variable_is_named_and_nothing_changes(tmp_path, whole_net, name):
    arrays = {name: variable.numpy() for name, variable in whole_net.variables_by_name().items()}
    del arrays[name]
    assert_refused_and_unchanged(tmp_path / "tf1", whole_net, arrays, name)


@pytest.mark.parametrize("name", [BIAS, f"{BIAS}/RMSProp"])
@pytest.mark.parametrize("array", [np.zeros(7, np.float32), np.zeros(2, np.int32)], ids=["shape", "type"])
def test_another_shape_or_type_is_named_and_nothing_changes(tmp_path, name, array):
    net = TwoVariables("rmsprop")
    assert_refused_and_unchanged(tmp_path / "tf1", net, {**state(net), name: array}, name)


def test_folders_without_a_whole_checkpoint(tmp_path):
    save(TwoVariables("rmsprop"), tmp_path / "whole")
    cases = {
        "none": lambda folder: None,
        "empty": lambda folder: folder.mkdir(),
        "no_index": lambda folder: next(folder.glob("*.index")).unlink(),
        "no_data": lambda folder: next(folder.glob("*.data-*")).unlink(),
        "cut": lambda folder: cut(next(folder.glob("*.data-*"))),
        "cut_index": lambda folder: cut(next(folder.glob("*.index"))),
        "garbage": lambda folder: next(folder.glob("*.index")).write_bytes(b"x" * 99),
        "state": lambda folder: (folder / "checkpoint").write_text("{nonsense"),
        "elsewhere": lambda folder: (folder / "checkpoint").write_text('model_checkpoint_path: ".."\n'),
    }
    for name, damage in cases.items():
        folder = tmp_path / name
        if name not in ("none", "empty"):
            shutil.copytree(tmp_path / "whole", folder)
        damage(folder)
        with pytest.raises(ExperimentError) as raised:
            checkpoints.load(folder)
        assert "\n" not in str(raised.value) and str(folder) in str(raised.value), name


def cut(path) -> None:
    """Take away all but the first ten bytes of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:10])


def test_a_checkpoint_that_could_not_be_deleted_goes_with_the_next(tmp_path, monkeypatch):
    """It stays listed: else nobody would know of it, and a full disk would fill with such files."""
    variables = {"w": tf.Variable(1.0)}
    checkpoints.save(tmp_path, variables, {"iteration": 1})

    def refused(*_, **__):
        raise PermissionError("refused")

    with monkeypatch.context() as patched, pytest.raises(ExperimentError, match="cannot be written"):
        patched.setattr(Path, "unlink", refused)
        checkpoints.save(tmp_path, variables, {"iteration": 2})
    assert checkpoints.list_checkpoints(tmp_path) == ["model.ckpt-2", "model.ckpt-1"]
    checkpoints.save(tmp_path, variables, {"iteration": 3})
    assert {path.name.split(".data")[0].removesuffix(".index") for path in tmp_path.iterdir()} == {
        "checkpoint", "model.ckpt-3"
    }  # fmt: skip
