"""The checks of a film's result, each at its threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from physics_models.discovery import Discovery
from physics_models.film_results import (
    SYSTEMS,
    Known,
    check_looks,
    check_motion,
    check_objects,
    count_objects,
    leave_out,
    quantities,
)
from physics_models.fit import Fit
from physics_models.motion import Kinds, Scene
from physics_models.physics_net import PhysicsNet
from physics_models.supervision import Verdict
from physics_models.tasks import TASKS

T = np.arange(60.0)
AREA = np.full(60, 12.0)
WHOLE = (0, 0, 32, 32)  # the picture is not padded


def moving(amplitude: float, middle: float = 16.0) -> np.ndarray:
    """A swing to the side, [60, 1, 2]."""
    return np.stack([middle + amplitude * np.sin(0.3 * T), 16 + 0 * T], 1)[:, None]


def kinds(agreement: float) -> Kinds:
    return Kinds(np.zeros((1, 1)), 0.9, agreement, np.inf, 0.0)


def test_an_object_that_rests_is_no_motion():
    assert check_motion(moving(0.2), AREA, 32, WHOLE, 0.0).fatal
    assert check_motion(moving(5.0), AREA, 32, WHOLE, 0.0) == ([], [])


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
    found = check_motion(positions, sizes, 32, WHOLE, repeated)
    assert not found.fatal and len(found.warnings) == 1 and word in found.warnings[0]


def test_the_edge_is_that_of_the_picture_and_not_of_its_padding():
    """A picture of 64×48 pixels in a frame of 32; the ball swings up and down, to a half pixel from its lower edge."""
    down = moving(5.5, 22.0)[..., ::-1]
    (warning,) = check_motion(down, AREA, 32, (0, 4, 32, 28), 0.0).warnings
    assert "at the edge of the picture" in warning
    assert check_motion(down, AREA, 32, WHOLE, 0.0) == check_motion(down - 2, AREA, 32, (0, 4, 32, 28), 0.0)
    assert check_motion(down - 2, AREA, 32, (0, 4, 32, 28), 0.0) == ([], [])


def test_more_objects_are_looked_for_only_where_they_are_clearly_there():
    one, two = SYSTEMS["pendulum"], SYSTEMS["spring"]
    assert count_objects({1: kinds(0.6), 2: kinds(0.9)}, one) == 2
    assert count_objects({1: kinds(0.85), 2: kinds(0.9)}, one) == 1
    assert count_objects({2: kinds(0.9)}, one) == 2
    assert count_objects({4: kinds(0.9)}, one) == 1  # more than are looked for
    assert count_objects({3: kinds(0.9)}, two) == 2
    assert count_objects({}, one) == 1
    # A star and its counterweight: 7 % of the frames show one blob, whose looks agree best.
    assert count_objects({1: kinds(1.0)._replace(share=0.07), 2: kinds(0.83)}, one) == 2


def test_only_logarithms_are_shown_as_exponentials():
    net = PhysicsNet(replace(TASKS["bouncing_balls"], cell_type="pendulum_cell", n_objs=1), vel_encoder="gauss_newton")
    shown = net.scalars()
    assert shown["pivot_x"] == 16.0 and shown["damping"] == 0.0
    assert shown["g_over_L"] == pytest.approx(np.exp(-4.0)) and shown["sigma"] == pytest.approx(1.0)


def test_a_number_of_objects_that_few_frames_show_is_not_theirs():
    """A cart between springs: 6 % of the frames show two blobs, whose looks agree better."""
    every = {1: kinds(0.35), 2: kinds(0.87)._replace(share=0.06)}
    assert count_objects(every, SYSTEMS["anchored_spring"]) == 1
    found = Discovery(Scene(np.zeros((2, 2, 3)), 1.0, 0.1, 0.1, 0.0), every, np.zeros((1, 1, 1, 2)), 1)
    fatal, warnings = check_objects(found, Verdict(0.9, np.array([0.9])))
    assert not fatal and len(warnings) == 1 and "agreement 35%" in warnings[0]
    assert check_objects(found, Verdict(0.3, np.array([0.9]))).fatal
    for explained, refused in ((0.99, False), (0.95, True), (float("nan"), True)):
        fit = Fit({}, {}, {}, {}, [], [], 0.1, explained, 0.0)
        assert bool(check_looks(found, fit).fatal) is refused


def test_the_period_is_that_of_the_damped_swing():
    fit = Fit({"k_over_m": 40.0, "damping": 2.5}, {"k_over_m": 0.4, "damping": 0.1}, {}, {}, [], [], 0.0, 1.0, 0.0)
    found = {q.name: q for q in quantities("anchored_spring", fit, 1.0, 1.0, Known(), 1)}
    assert found["period"].value == pytest.approx(2 * np.pi / np.sqrt(40 - 2.5**2))
    overdamped = fit._replace(parameters={"k_over_m": 4.0, "damping": 2.5})
    assert "period" not in {q.name for q in quantities("anchored_spring", overdamped, 1.0, 1.0, Known(), 1)}


def test_walls_lie_where_the_positions_lie():
    walls = {"left": 2.0, "right": 30.0, "top": 9.0, "bottom": 20.0}
    fit = Fit(walls, dict.fromkeys(walls, 0.1), {}, {}, [], [], 0.0, 1.0, 0.0)
    found = {q.name: q for q in quantities("bouncing", fit, 1.0, 10.0, Known(), 1, (5, -70))}
    assert {n: q.value for n, q in found.items()} == {"left": 25, "right": 305, "top": 20, "bottom": 130}
    meters = quantities("bouncing", fit, 1.0, 10.0, Known(meters_per_pixel=0.01), 1, (5, -70))
    assert [str(q) for q in meters][:2] == ["0.250 ± 0.010 m", "3.050 ± 0.010 m"]


def test_walls_that_no_ball_meets_are_left_out():
    """Their error is infinite; printed without it they would look exact."""
    walls = {"left": 2.0, "right": 30.0, "top": 9.0, "bottom": 20.0}
    errors = {"left": 0.1, "right": np.inf, "top": 0.1, "bottom": np.inf}
    fit = Fit(walls, errors, {}, {}, [], [], 0.0, 1.0, 0.0)
    kept, findings = leave_out("bouncing", quantities("bouncing", fit, 1.0, 10.0, Known(), 1))
    assert [q.name for q in kept] == ["left", "top"]
    assert findings == ([], ["not determined, and left out: right, bottom"])
    none = fit._replace(errors=dict.fromkeys(walls, np.inf))
    kept, findings = leave_out("bouncing", quantities("bouncing", none, 1.0, 10.0, Known(), 1))
    assert not kept and findings.fatal == ["no ball meets a wall"]
    swing = Fit({"k_over_m": 40.0, "damping": 2.5}, {"k_over_m": 0.4, "damping": 0.1}, {}, {}, [], [], 0.0, 1.0, 0.0)
    found = quantities("anchored_spring", swing, 1.0, 1.0, Known(), 1)
    assert leave_out("anchored_spring", found) == (found, ([], []))
