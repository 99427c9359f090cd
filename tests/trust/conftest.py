"""A small network for these tests, built and traced once."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tiny_run import STEPS, squares

from data_gen.iterators import DataIterator
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

TINY = Task("tiny", "bouncing_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)


@pytest.fixture(scope="session")
def untrained():
    """The network, its variables, and what they hold at the start."""
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(TINY, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return net, variables, {name: variable.numpy() for name, variable in variables.items()}


@pytest.fixture
def net(untrained) -> PhysicsNet:
    """The network as it is before training."""
    net, variables, start = untrained
    for name, variable in variables.items():
        variable.assign(start[name])
    net.iteration, net.callbacks = 0, []
    net.skipped_steps.assign(0)
    return net


@pytest.fixture
def data() -> dict[str, DataIterator]:
    return {split: DataIterator(squares(4 * STEPS, 8), seed=0) for split in ("train", "valid", "test")}
