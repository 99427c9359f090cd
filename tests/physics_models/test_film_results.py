"""The checks of a film's result, each at its threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from physics_models.film_results import SYSTEMS, check_motion, count_objects
from physics_models.motion import Kinds
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS

T = np.arange(60.0)
AREA = np.full(60, 12.0)


def moving(amplitude: float, middle: float = 16.0) -> np.ndarray:
    """A swing to the side, [60, 1, 2]."""
    return np.stack([middle + amplitude * np.sin(0.3 * T), 16 + 0 * T], 1)[:, None]


def kinds(agreement: float) -> Kinds:
    return Kinds(np.zeros((1, 1)), 0.9, agreement, np.inf, 0.0)


def test_an_object_that_rests_is_no_motion():
    assert check_motion(moving(0.2), AREA, 32, 0.0).fatal
    assert check_motion(moving(5.0), AREA, 32, 0.0) == ([], [])


@pytest.mark.parametrize(
    "positions, sizes, repeated, word",
    [
        (moving(10.0, 24.0), AREA, 0.0, "edge"),
        (moving(5.0), AREA / 6, 0.0, "diameter"),
        (moving(5.0), np.linspace(6, 30, 60), 0.0, "area"),
        (moving(5.0), AREA, 0.1, "repeated"),
    ],
)
def test_warnings(positions, sizes, repeated, word):
    found = check_motion(positions, sizes, 32, repeated)
    assert not found.fatal and len(found.warnings) == 1 and word in found.warnings[0]


def test_more_objects_are_looked_for_only_where_they_are_clearly_there():
    one, two = SYSTEMS["pendulum"], SYSTEMS["spring"]
    assert count_objects({1: kinds(0.6), 2: kinds(0.9)}, one) == 2
    assert count_objects({1: kinds(0.85), 2: kinds(0.9)}, one) == 1
    assert count_objects({2: kinds(0.9)}, one) == 2
    assert count_objects({4: kinds(0.9)}, one) == 1  # more than are looked for
    assert count_objects({3: kinds(0.9)}, two) == 2
    assert count_objects({}, one) == 1


def test_only_logarithms_are_shown_as_exponentials():
    net = PhysicsNet(replace(TASKS["bouncing_balls"], cell_type="pendulum_cell", n_objs=1), vel_encoder="gauss_newton")
    shown = net.scalars()
    assert shown["pivot_x"] == 16.0 and shown["damping"] == 0.0
    assert shown["g_over_L"] == pytest.approx(np.exp(-4.0)) and shown["sigma"] == pytest.approx(1.0)
