"""The equations of motion for own videos, against motion that is known in closed form."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

from nn.systems import CELLS, SystemCell


@functools.cache
def shared(name: str, n_objs: int) -> tuple[SystemCell, dict[str, float]]:
    """A cell for all tests, so that it is traced once, and its weights at the start."""
    cell = CELLS[name](n_objs)
    cell.build(((None, 2 * n_objs),) * 2)
    cell.traced = tf.function(cell, autograph=False)
    return cell, {weight: float(variable.numpy()) for weight, variable in cell.named_weights().items()}


def built(name: str, n_objs: int, **weights: float) -> SystemCell:
    """The shared cell with these weights, the others as at the start."""
    cell, start = shared(name, n_objs)
    assert set(weights) <= set(start)
    for weight, value in {**start, **weights}.items():
        cell.named_weights()[weight].assign(value)
    return cell


def path(cell: SystemCell, positions: list[float], velocities: list[float], steps: int) -> np.ndarray:
    """Positions [steps + 1, 2N]."""
    state = tf.constant([positions], tf.float32), tf.constant([velocities], tf.float32)
    places = [state[0]]
    for _ in range(steps):
        state = cell.traced(state)
        places.append(state[0])
    return np.concatenate(places)


@pytest.mark.parametrize("name, shapes", [
    # positions and velocities of 100 films, then their accelerations
    ("anchored_spring_cell", ([100, 2], [100, 1, 2])),
    ("fall_cell", ([100, 2], [100, 1, 2])),
    ("spring_cell", ([100, 4], [100, 2, 2])),
    ("gravity_cell", ([100, 4], [100, 2, 2])),
    ("pendulum_cell", ([100, 2], None)),  # moves angles
    ("bouncing_cell", ([100, 2], None)),  # has no forces
])  # fmt: skip
def test_documented_shapes(name, shapes):
    cell, n_objs = CELLS[name](CELLS[name].min_objs), CELLS[name].min_objs
    cell.build(((None, 2 * n_objs),) * 2)
    state = tf.random.uniform([100, 2 * n_objs]), tf.ones([100, 2 * n_objs])
    assert [x.shape.as_list() for x in cell(state)] == [shapes[0]] * 2
    if shapes[1]:
        places, speeds = (tf.reshape(x, [100, n_objs, 2]) for x in state)
        assert cell.acceleration(places, speeds, cell.parameters()).shape.as_list() == shapes[1]


@pytest.mark.parametrize("gamma", [0.0, 0.02])
def test_an_anchored_spring_is_a_damped_sine(gamma):
    cell = built("anchored_spring_cell", 1, log_k_over_m=np.log(0.09), anchor_x=10.0, anchor_y=12.0, damping=gamma)
    t = np.arange(41)
    omega = np.sqrt(0.09 - gamma**2)
    swing = np.exp(-gamma * t) * (np.cos(omega * t) + gamma / omega * np.sin(omega * t))
    expected = np.stack([10 + 5 * swing, 12 - 3 * swing], 1)
    np.testing.assert_allclose(path(cell, [15, 9], [0, 0], 40), expected, atol=1e-3)


def test_a_fall_is_a_parabola():
    cell, t = built("fall_cell", 1, g_x=0.05, g_y=0.4), np.arange(21)[:, None]
    expected = np.array([3, 20]) + t * np.array([1, -4]) + t**2 / 2 * np.array([0.05, 0.4])
    np.testing.assert_allclose(path(cell, [3, 20], [1, -4], 20), expected, atol=1e-4)
    slow = path(built("fall_cell", 1, g_x=0.0, g_y=0.4, damping=0.25), [3, 0], [0, 0], 60)
    assert slow[-1, 1] - slow[-2, 1] == pytest.approx(0.4 / 0.5, rel=1e-3)  # v = g / 2γ


def test_two_bodies_on_a_spring_swing_about_its_rest_length():
    cell = built("spring_cell", 2, log_k=np.log(0.04), log_l=np.log(5.0))
    t = np.arange(31)
    apart = 10 + 4 * np.cos(np.sqrt(2 * 0.04) * t)
    places = path(cell, [16 - 7, 16, 16 + 7, 16], [0, 0, 0, 0], 30)
    np.testing.assert_allclose(places[:, 2] - places[:, 0], apart, atol=1e-3)
    np.testing.assert_allclose(places[:, [1, 3]], 16, atol=1e-4)


def test_two_bodies_on_a_circle_stay_on_it():
    r, g = 10.0, 40.0
    speed = np.sqrt(g / r / 2)  # v² / (r/2) = g / r²
    places = path(built("gravity_cell", 2, log_g=np.log(g)), [11, 16, 21, 16], [0, speed, 0, -speed], 60)
    np.testing.assert_allclose(np.linalg.norm(places[:, 2:] - places[:, :2], axis=1), r, rtol=1e-3)


@pytest.mark.parametrize("tilt", [0.0, 0.3, np.pi])
def test_a_pendulum_has_the_period_of_its_amplitude(tilt):
    """The period is that of the complete elliptic integral, here by the arithmetic-geometric mean; any camera."""
    ratio, length, start = 0.01, 20.0, np.radians(60)
    cell = built("pendulum_cell", 1, log_g_over_L=np.log(ratio), pivot_x=16.0, pivot_y=-4.0, tilt=tilt)
    a, b = 1.0, np.cos(start / 2)
    for _ in range(6):
        a, b = (a + b) / 2, np.sqrt(a * b)
    period = 2 * np.pi / np.sqrt(ratio) / a
    angle = start + tilt
    place = [16 + length * np.sin(angle), -4 + length * np.cos(angle)]
    steps = round(2 * period)
    places = path(cell, place, [0, 0], steps)
    np.testing.assert_allclose(np.hypot(places[:, 0] - 16, places[:, 1] + 4), length, rtol=1e-4)
    theta = np.unwrap(np.arctan2(places[:, 0] - 16, places[:, 1] + 4) - tilt)
    theta -= 2 * np.pi * np.round(theta.mean() / (2 * np.pi))
    crossings = [i + theta[i] / (theta[i] - theta[i + 1]) for i in range(steps) if theta[i] * theta[i + 1] < 0]
    assert 2 * np.diff(crossings).mean() == pytest.approx(period, rel=1e-4)


def test_balls_bounce_off_the_walls():
    cell = built("bouncing_cell", 2, left=3.0, right=27.0, top=5.0, bottom=25.0)
    places = path(cell, [10, 10, 20, 20], [4, 0, 0, -6], 12)
    t = np.arange(13)
    np.testing.assert_allclose(places[:, 0], 3 + 24 * np.abs((7 + 4 * t) / 24 % 2 - 2 * ((7 + 4 * t) / 24 % 2 > 1)
                               * ((7 + 4 * t) / 24 % 2 - 1)), atol=1e-3)  # fmt: skip
    assert places[:, 3].min() >= 5.0 and places[:, 3].max() <= 25.0 and (places[:, 1] == 10).all()


@pytest.mark.parametrize("name", CELLS)
def test_a_fit_gives_every_trajectory_its_own_parameters(name):
    """`substep` with parameters [B, 1, 1] in float64 is the same as with scalars, one by one."""
    n_objs = CELLS[name].min_objs
    cell = built(name, n_objs)
    random = np.random.RandomState(0)
    positions = tf.constant(random.uniform(8, 24, (3, n_objs, 2)))
    velocities = tf.constant(random.normal(0, 1, (3, n_objs, 2)))
    parameters = {k: v.numpy() * np.array([1.0, 1.1, 0.9]) + 0.01 for k, v in cell.parameters().items()}
    each = {k: tf.constant(v[:, None, None]) for k, v in parameters.items()}
    together = cell.substep(positions, velocities, 0.5, each)
    for i in range(3):
        alone = {k: tf.constant(v[i]) for k, v in parameters.items()}
        for a, b in zip(together, cell.substep(positions[i : i + 1], velocities[i : i + 1], 0.5, alone)):
            np.testing.assert_allclose(a[i], b[0], rtol=1e-12)
