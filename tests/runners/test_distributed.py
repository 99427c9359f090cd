"""Several workers, several devices: a step with the batch shared out is the step of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command import run_command
from tiny_run import ROOT, environment, write_data

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from runners import distributed

TRAINING = ["--cell_type=bouncing_ode_cell", "--epochs=1", "--debug", "--device=cpu"]


def assert_same_steps(arrays: dict[str, np.ndarray], alone: dict[str, np.ndarray]) -> None:
    """The weights and the optimizer's slots are those of one process."""
    assert set(arrays) == set(alone)
    for name, wanted in alone.items():
        np.testing.assert_allclose(arrays[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    # Clipped after they are averaged, not before: then this slot would hold other numbers where shares disagree.
    steps = np.concatenate([v.ravel() for name, v in alone.items() if name.endswith("/RMSProp_1")])
    assert np.abs(steps).max() > 5e-4
    assert (np.abs(steps[steps != 0]) < 5e-4).any()


# On two devices that are the two halves of this machine's processor, and alone: `make` makes the network.
TWO_DEVICES = """
import sys
import numpy as np
import physics_models
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from runners import distributed
MAKE
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for strategy, file in ((tf.distribute.get_strategy(), "alone.npz"), (mirrored, "two.npz")):
    with strategy.scope():
        net, batches = make()
        distributed.distribute(net, strategy)
        losses = [net.train_step(batch) for batch in batches]
        variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
        np.savez(f"{sys.argv[1]}/{file}", loss=np.array(losses), **{n: v.numpy() for n, v in variables.items()})
"""


LINE = """
from two_variables import TwoVariables
class Line(TwoVariables):  # one share's gradient is 3, the other's -2.4
    def train_loss(self, frames):
        return 6.0 * tf.reduce_mean((frames[:, 0, 0, 0] - 0.5) @ tf.convert_to_tensor(self.kernel) + self.bias)
def make():
    batch = np.full([4, 8, 16, 16, 3], 26, np.uint8)
    batch[:2] = 255
    return Line("rmsprop", 6e-4), [batch] * 2
"""
WHOLE = """
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task
from tiny_run import squares
def make():
    tf.keras.utils.set_random_seed(0)
    task = Task("tiny", "bouncing_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
    net = PhysicsNet(task, autoencoder_loss=3.0)
    net.build_optimizer(6e-4)
    return net, [squares(4, 8, seed) for seed in range(2)]
"""


def on_two_devices(folder: Path, make: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Losses, weights and slots after two steps on two devices, and on one."""
    path = os.pathsep.join(str(ROOT / room) for room in ("", "tests/trust", "tests/physics_models"))
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES.replace("MAKE", make), folder],
        env={**environment(), "PYTHONPATH": path}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(folder / "two.npz") as two, np.load(folder / "alone.npz") as alone:
        return dict(two), dict(alone)


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one(tmp_path):
    """Gradients are clipped after they are averaged: before, those of the two shares would cancel."""
    two, alone = on_two_devices(tmp_path, LINE)
    assert set(two) == set(alone)
    for name, wanted in alone.items():
        np.testing.assert_allclose(two[name], wanted, rtol=1e-6, err_msg=name)
    assert alone["loss"][0] > alone["loss"][1] and (np.abs(alone["net/dense/kernel/RMSProp_1"]) > 1e-4).all()


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one_with_the_whole_network(tmp_path):
    assert_same_steps(*on_two_devices(tmp_path, WHOLE))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.mark.slow
def test_two_workers_take_the_steps_of_one_process(tmp_path):
    data = [*write_data(tmp_path, 8), *TRAINING]
    ended = run_command("paig-run-physics", *data, f"--save_dir={tmp_path}/alone")
    assert ended.code == 0, ended.err
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        (tmp_path / str(index)).mkdir()
        more = {"TF_CONFIG": json.dumps(config), "TMPDIR": str(tmp_path / str(index))}
        command = [sys.executable, ROOT / "runners" / "run_physics.py", *data, f"--save_dir={tmp_path}/run"]
        processes.append(
            subprocess.Popen(
                command, env={**environment(), **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    outputs = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "learned" in outputs[0][0] and outputs[1][0] == ""
    assert_same_steps(checkpoints.load(tmp_path / "run").arrays, checkpoints.load(tmp_path / "alone").arrays)
    assert (tmp_path / "run" / "log.txt").read_text().count("train - iter=0") == 1
    assert not any("worker" in name for name in os.listdir(tmp_path / "1"))  # what the other wrote is gone


def test_several_gpus_are_used(monkeypatch):
    made = []
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: made.append(1) or tf.distribute.get_strategy())
    for gpus in ([], ["a"]):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind, gpus=gpus: gpus)
        distributed.choose_strategy(4)
        assert made == []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a", "b"])
    distributed.choose_strategy(4)
    assert made == [1]


def test_a_batch_that_cannot_be_shared_out(monkeypatch):
    class TwoReplicas:
        num_replicas_in_sync = 2

    monkeypatch.setattr(tf.distribute, "get_strategy", TwoReplicas)
    with pytest.raises(ExperimentError, match="--batch_size=5"):
        distributed.choose_strategy(5)
    distributed.choose_strategy(6)


TWO = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("config", "more"),
    [
        ("{", []),
        ("[]", []),
        (json.dumps({**TWO, "task": {"type": "worker", "index": 2}}), []),
        (json.dumps({**TWO, "cluster": {**TWO["cluster"], "ps": ["a:1"]}}), []),
        (json.dumps(TWO), []),  # without --seed
        (json.dumps(TWO), ["--seed=1", "--resume"]),
        (json.dumps(TWO), ["--seed=1", "--schedule=staged"]),
    ],
)
def test_mistakes_are_one_line(monkeypatch, config, more):
    monkeypatch.setenv("TF_CONFIG", config)
    ended = run_command("paig-run-physics", "--task=spring_color", "--save_dir=/nowhere/run", *more)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("error: TF_CONFIG")
