"""The original's numbers in tests/golden, the weights that they were made with, and networks that hold those."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task

FOLDER = Path(__file__).parent / "golden"
NETS = (
    "bouncing_balls",
    "spring_color",
    "spring_color_half",
    "3bp_color",
    "mnist_spring_color",
    "spring_color_altvel",
    "spring_color_adam",
    "spring_color_momentum",
    "spring_color_sgd",
)
TASK_NETS = NETS[:5]  # named as their tasks
# Networks with golden values from weights that put the objects apart; see `set_apart`.
APART = (
    "spring_color",
    "spring_color_half",
    "spring_color_altvel",
    "3bp_color",
    "spring_color_momentum",
    "spring_color_sgd",
)
APART_LOGARITHMS = {"log_k": -2.0, "log_l": 1.4, "log_g": 0.0}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """What the variable `name` held when the golden values were made."""
    stream = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    if not shape:
        return np.float32(0.3 * stream.standard_normal())
    scale = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
    return np.float32(scale * stream.standard_normal(shape))


def set_weights(variables: Mapping[str, tf.Variable]) -> None:
    """Give every variable the golden weight of its name."""
    for name, variable in variables.items():
        variable.assign(weight(name, tuple(variable.shape)))


@functools.cache
def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of NAME.npz."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def net_file(case: str) -> dict[str, np.ndarray]:
    """The arrays of net_CASE.npz."""
    return load(f"net_{case}")


@functools.cache
def blocks_file() -> dict[str, dict[str, np.ndarray]]:
    """The arrays of blocks.npz by case."""
    cases = {}
    with np.load(FOLDER / "blocks.npz") as file:
        for key in file.files:
            case, name = key.split("/")
            cases.setdefault(case, {})[name] = file[key]
    return cases


def task_of(case: str) -> str:
    """The task of a golden network: `spring_color` of `spring_color_adam`."""
    return next(task for task in sorted(TASK_NETS, key=len, reverse=True) if case.startswith(task))


def make_net(case: str, **settings: Any) -> PhysicsNet:
    """The network of net_CASE.npz with its optimizer and its weights; `settings` as of `PhysicsNet`."""
    golden = net_file(case)
    alpha, alt_vel = float(golden["autoencoder_loss"]), case.endswith("altvel")
    net = PhysicsNet(get_task(task_of(case)), autoencoder_loss=alpha, alt_vel=alt_vel, **settings)
    set_weights(net.variables_by_name(trainable_only=True))
    net.build_optimizer(float(golden["lr"]), str(golden["optimizer"]))
    return net


def set_apart(net: PhysicsNet, case: str) -> tf.Tensor:
    """Give `net` the weights of net_CASE_apart.npz; returns its frames.

    The golden weights, but for those that put the objects pixels apart, keep them there (weak forces, a spring near
    its rest length) and make the learned pictures smooth: so float32 determines ten losses. The frames are those of
    the task's other file, brighter by 8 of 255.
    """
    variables, n_objs = net.variables_by_name(trainable_only=True), net.task.n_objs
    set_weights(variables)
    variables["net/encoder/conv2d_12/bias"].assign({2: [3.0, -3.0], 3: [3.0, 0.5, -3.0]}[n_objs])
    for name, factor in (("encoder/dense", 10.0), ("decoder/dense_1", 0.1), ("decoder/dense_3", 0.1)):
        kernel = variables[f"net/{name}/kernel"]
        kernel.assign(kernel * factor)
    for name, variable in net.cell.named_weights().items():
        if name in APART_LOGARITHMS:
            variable.assign(APART_LOGARITHMS[name])
    brighter = np.minimum(net_file(task_of(case))["input"].astype(int) + 8, 255)
    return net.to_float(tf.constant(brighter, tf.uint8))


def frames_of(case: str, net: PhysicsNet) -> tf.Tensor:
    """The golden input [4, T, H, H, 3] in [0, 1]."""
    return net.to_float(tf.constant(net_file(case)["input"]))


def distance(found: np.ndarray, wanted: np.ndarray, rtol: float = 1e-4) -> float:
    """The largest |found - wanted| over rtol·|wanted| + rtol·max|wanted|: up to 1 is close enough."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape
    assert np.isfinite(found).all()
    allowed = rtol * (np.abs(wanted) + np.abs(wanted).max())
    return float((np.abs(found - wanted) / allowed).max())


def assert_close(found: np.ndarray, wanted: np.ndarray, rtol: float = 1e-4) -> None:
    """Equal as two float32 computations of one formula are: rtol = 1e-4, atol = 1e-4 of the largest value."""
    far = distance(found, wanted, rtol)
    assert far <= 1, f"{far:.3g} times as far as two float32 computations may be"
