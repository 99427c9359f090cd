"""Several workers, several devices: a step with the batch shared out is the step of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from command import run_main
from tiny_run import COMMAND, ROOT, environment, write_data

from physics_models import checkpoints
from runners import replicas, run_physics
from runners.run_base import FLAGS

TRAINING = ["--epochs=1", "--debug", "--notensorboard", "--device=cpu", "--cell_type=bouncing_ode_cell"]
WORKERS = 2


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(flags, **more):
    return subprocess.Popen(
        [*COMMAND, *flags], env={**environment(), **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return [flag for flag in write_data(tmp_path_factory.mktemp("data"), 8) if "cell_type" not in flag] + TRAINING


@pytest.fixture(scope="module")
def alone(tmp_path_factory, data):
    """What a checkpoint holds after the two steps of one process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    finish(start([*data, f"--save_dir={folder}"]))
    return checkpoints.read(folder).arrays


def assert_same_steps(arrays, alone):
    """The weights and the optimizer's slots are those of one process."""
    assert set(arrays) == set(alone)
    for name, wanted in alone.items():
        np.testing.assert_allclose(arrays[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    # Clipped after they are averaged, not before: then this slot would hold other numbers where shares disagree.
    steps = np.concatenate([v.ravel() for name, v in alone.items() if name.endswith("/RMSProp_1")])
    assert np.abs(steps).max() > 5e-4
    assert (np.abs(steps[steps != 0]) < 5e-4).any()


def test_two_workers_take_the_steps_of_one_process(tmp_path, data, alone):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]
    processes = []
    for index in range(WORKERS):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        (tmp_path / str(index)).mkdir()
        flags = [*data, f"--save_dir={tmp_path / 'run'}"]
        processes.append(start(flags, TF_CONFIG=json.dumps(config), TMPDIR=str(tmp_path / str(index))))
    chief, other = [finish(process) for process in processes]
    assert "run" in chief and other == ""
    assert_same_steps(checkpoints.read(tmp_path / "run").arrays, alone)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("train - iter=0") == 1
    assert not any("worker" in name for name in os.listdir(tmp_path / "1"))  # what the other wrote is gone


MIRRORED = """
import sys
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from runners import replicas, run_base, run_physics
replicas.strategy = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
run_base.run(run_physics.main)
"""


def test_two_devices_take_the_steps_of_one(tmp_path, data, alone):
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, *data, f"--save_dir={tmp_path / 'run'}"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_same_steps(checkpoints.read(tmp_path / "run").arrays, alone)


@pytest.fixture
def flags():
    """Flags with their defaults, to be set."""
    if not FLAGS.is_parsed():
        FLAGS(["test"])
    with flagsaver.flagsaver(test_mode=False, batch_size=100):
        yield FLAGS


def test_more_than_one_gpu_is_picked_up(flags, monkeypatch):
    made = []
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: made.append(1) or tf.distribute.get_strategy())
    for gpus in ([], ["a"]):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind, gpus=gpus: gpus)
        replicas.strategy()
        assert made == []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a", "b"])
    replicas.strategy()
    assert made == [1]


TWO = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("config", "flags", "said"),
    [
        ("{", [], "TF_CONFIG={: cannot be read; give it as in"),
        (json.dumps({**TWO, "task": {"type": "worker", "index": 2}}), [], "cannot be read; give it as in"),
        (json.dumps({**TWO, "cluster": {**TWO["cluster"], "ps": ["a:1"]}}), [], "only workers (and a chief)"),
        (json.dumps(TWO), [], "TF_CONFIG: several workers need one --seed"),
        (json.dumps(TWO), ["--seed=1", "--resume"], "--resume: not with several workers; unset TF_CONFIG"),
        (json.dumps(TWO), ["--seed=1", "--schedule=staged"], "--schedule=staged: not with several workers"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, config, flags, said):
    monkeypatch.setenv("TF_CONFIG", config)
    ended = run_main(run_physics.main, ["--task=spring_color", "--save_dir=/nowhere/run", *flags])
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert said in ended.err


def test_a_batch_that_cannot_be_shared_out_is_told(flags):
    flags.batch_size = 5
    with pytest.raises(replicas.ExperimentError, match="--batch_size=5: cannot be shared evenly among 2 devices"):
        replicas.check_batch(2)
    flags.batch_size = 6
    replicas.check_batch(2)
