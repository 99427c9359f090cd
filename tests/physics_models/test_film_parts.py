"""The part of a film that shows the motion, on positions alone."""

from __future__ import annotations

import numpy as np
import pytest

from physics_models import film_parts
from physics_models.film_fit import fit_best
from physics_models.fit import Track

T = np.arange(90.0)


def track(y: np.ndarray, x: np.ndarray | float = 16.0, noise: float = 0.05):
    """Positions [T, 2] with noise, and their times."""
    xy = np.stack([x + 0 * y, y], 1)
    return xy + np.random.RandomState(0).normal(0, noise, xy.shape), np.arange(float(len(y)))


def bounces(g: float = 0.06, rest: int = 10, floor: float = 24.0, kept: float = 0.75) -> np.ndarray:
    """Heights of a ball that is held, dropped at frame `rest`, and bounces."""
    y, v, heights = 4.0, 0.0, []
    for t in range(90):
        heights.append(y)
        for _ in range(20 * (t >= rest)):
            v += g / 20
            y += v / 20
            if y > floor:
                y, v = 2 * floor - y, -kept * v
    return np.array(heights)


def fit(system: str, xy: np.ndarray, times: np.ndarray, damped: bool = False):
    return fit_best(system, [Track(xy, times)], None, damped, 32, lambda done: None)


def test_of_a_ball_that_bounces_one_flight_is_fitted():
    """Over the whole film there is no g: before, the fit explained 4 % of it."""
    _, parts, found, remarks = fit("fall", *track(bounces()))
    assert not remarks.fatal and 30 < parts[0].stop - parts[0].start < 60
    assert abs(found.parameters["g_y"] - 0.06) < 3 * found.errors["g_y"] < 0.006


def test_frames_next_to_a_bounce_do_not_count():
    """Over twenty phases of a bounce the curvature is not biased: with these frames it was 1.4 % too small."""
    g, found = 0.15, []
    for seed in range(20):
        heights = 20 * np.arange(3000) / 3000  # a flight from floor to floor takes 20 steps; of each frame the mean
        flight = 24 - 0.5 * g * heights * (20 - heights)
        path = np.tile(flight, 4)[150 * seed // 20 :]
        frames = np.array([path[i * 150 : i * 150 + 75].mean() for i in range(70)])
        xy = np.stack([0 * frames + 16, frames], 1) + np.random.RandomState(seed).normal(0, 0.02, (70, 2))
        part, why = film_parts.flight(xy, T[:70])
        assert not why and part.stop - part.start >= 16
        found.append(np.polyfit(T[:70][part], frames[part], 2)[0] * 2 / g)
    assert abs(np.mean(found) - 1) < 0.002


def test_a_throw_that_leaves_the_frame():
    """Where there is no ball the network sees it anywhere."""
    xy, times = track(20 - 1.2 * T[:40] + 0.03 * T[:40] ** 2, 4 + 0.7 * T[:40])
    xy[:6], xy[34:] = np.random.RandomState(1).uniform(0, 32, (2, 6, 2))
    part, why = film_parts.flight(xy, times)
    assert part == slice(7, 33) and not why  # less a frame at each end


def test_a_whole_throw_is_left_as_it_is():
    xy, times = track(20 - 1.2 * T[:40] + 0.03 * T[:40] ** 2, 4 + 0.7 * T[:40], 0.15)
    assert film_parts.flight(xy, times) == (slice(0, 40), "")


def test_a_swing_is_no_fall():
    xy, times = track(16 + 8 * np.sin(0.2 * T))
    assert "not the same" in film_parts.flight(xy, times)[1]


@pytest.mark.parametrize("held", [pytest.param(15, marks=pytest.mark.slow), 40])
def test_a_pendulum_that_is_held_first(held):
    angle = 0.4 * np.cos(0.2 * np.clip(np.arange(150) - held, 0, None))
    xy, times = track(20 * np.cos(angle), 16 + 20 * np.sin(angle))
    xy[: held // 2] += np.linspace([-6, 0], [0, 0], held // 2)  # a hand brings it there
    _, parts, found, _ = fit("pendulum", xy, times)
    assert held - 4 <= parts[0].start <= held + 6 and parts[0].stop == 150
    assert found.parameters["g_over_L"] == pytest.approx(0.04, rel=0.06)  # of a sine; sin θ < θ
    assert found.explained > 0.99


def test_the_rest_after_a_damped_swing_is_left_out_but_for_a_third():
    t = np.arange(240.0)
    xy, times = track(16 + 8 * np.exp(-0.04 * t) * np.cos(0.2 * t))
    part = film_parts.swing(xy, times)
    assert part.start == 0 and 80 < part.stop < 130
    _, _, found, _ = fit("anchored_spring", xy, times, damped=True)
    assert abs(found.parameters["k_over_m"] - 0.0416) < 3 * found.errors["k_over_m"] < 0.003
    assert abs(found.parameters["damping"] - 0.04) < 3 * found.errors["damping"] < 0.006


@pytest.mark.parametrize("between", [0, 6])
def test_a_body_that_jumps_from_rest_to_rest_is_fitted_as_a_whole(between):
    """Between the rests lies no frame, or too few for a fit."""
    x = np.concatenate([np.full(60, 10.0), np.linspace(10, 22, between), np.full(60, 22.0)])
    xy = np.stack([x, 16 + 0 * x], 1)
    assert film_parts.swing(xy, np.arange(float(len(x)))) == slice(0, len(x))
    _, parts, found, _ = fit("pendulum", xy, np.arange(float(len(x))))
    assert parts == [slice(0, len(x))] and len(found.trajectories[0]) == len(x)


def test_a_steady_swing_is_left_whole():
    xy, times = track(16 + 8 * np.sin(0.2 * np.arange(200.0)))
    assert film_parts.swing(xy, times) == slice(0, 200)
    residuals = np.random.RandomState(0).normal(0, 0.1, (200, 2))
    residuals[60:70] += 3.0  # something hides it for a while
    assert film_parts.followed(residuals) == slice(0, 200)
    residuals[:12] += 3.0
    assert film_parts.followed(residuals) == slice(12, 200)
