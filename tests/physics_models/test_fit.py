"""The fit of a whole film, on positions made with other integrators than the cells'."""

from __future__ import annotations

import numpy as np
import pytest
from made_films import _MADE, SUBSTEPS, integrate

from nn.systems import CELLS
from physics_models.film_results import SYSTEMS, Known, check_fit, quantities
from physics_models.fit import Track, fit_films

PIXEL = 3.0  # of the made film in one of a frame


def made(system: str, seed: int, noise: float = 0.1, frames: int = 120) -> tuple[Track, dict[str, float], float]:
    """Noisy positions as the network would give them, the truth, and the seconds between two frames."""
    random = np.random.RandomState(seed)
    acceleration, first, speed, fps, count, truth = _MADE[system](random)
    count = min(count, frames)
    paths = integrate(acceleration, np.array(first, float), np.array(speed, float), fps, count)[:, 2]
    positions = paths.reshape(count, -1) / PIXEL
    return Track(positions + random.normal(0, noise, positions.shape), np.arange(count, dtype=float)), truth, 1 / fps


def fitted(system: str, tracks: list[Track], damping: bool = True):
    """The fit of these tracks."""
    n_objs = tracks[0].positions.shape[1] // 2
    cell = CELLS[SYSTEMS[system].cell_type](n_objs)
    cell.build(((None, 2 * n_objs),) * 2)
    return fit_films(cell, tracks, damping and system not in ("fall", "incline"))


# Those of two bodies are slow.
SLOW = [pytest.param(system, marks=pytest.mark.slow) for system in ("spring", "gravity")]


@pytest.mark.parametrize("system", [*sorted(set(_MADE) - {"spring", "gravity"}), *SLOW])
def test_the_truth_lies_within_three_error_bars(system):
    track, truth, gap = made(system, 1)
    fit = fitted(system, [track])
    found = {q.name: q for q in quantities(system, fit, gap, PIXEL, Known(), track.positions.shape[1] // 2)}
    assert fit.rms == pytest.approx(0.1, rel=0.2)  # the noise, and nothing else
    for name, value in truth.items():
        assert abs(found[name].value - value) < 3 * found[name].error, (name, value, found[name])
        if name != "damping":
            assert abs(found[name].value / value - 1) < 0.02
    assert not check_fit(system, fit, [track], list(found.values()), Known()).fatal


def test_unequal_times_are_taken_as_they_are():
    track, truth, gap = made("anchored_spring", 3)
    kept = np.sort(np.random.RandomState(0).permutation(len(track.times))[:60])
    fit = fitted("anchored_spring", [Track(track.positions[kept], track.times[kept])])
    assert fit.parameters["k_over_m"] / gap**2 == pytest.approx(truth["k_over_m"], rel=0.01)


@pytest.mark.slow
def test_several_films_share_the_system_and_not_the_camera():
    films = []
    for shift in (0.0, 2.0, -3.0, 4.0):
        track, truth, gap = made("pendulum", 5)
        films.append(Track(track.positions + [shift, shift / 2], track.times))
    fit = fitted("pendulum", films)
    assert fit.parameters["g_over_L"] / gap**2 == pytest.approx(truth["g_over_L"], rel=0.01)
    pivots = [w["pivot_x"] for w in fit.weights]
    np.testing.assert_allclose(np.subtract(pivots, pivots[0]), [0, 2, -3, 4], atol=0.01)


def test_a_camera_that_drifts():
    track, truth, gap = made("pendulum", 4)
    drift = np.array([0.02, -0.01])  # pixels per frame: 2.4 px over the film
    fit = fitted("pendulum", [Track(track.positions + track.times[:, None] * drift, track.times)])
    np.testing.assert_allclose([fit.weights[0]["drift_x"], fit.weights[0]["drift_y"]], drift, atol=2e-3)
    assert fit.rms == pytest.approx(0.1, rel=0.2)
    assert fit.parameters["g_over_L"] / gap**2 == pytest.approx(truth["g_over_L"], rel=0.01)


def test_frames_in_which_the_body_is_held_or_lost_do_not_count():
    track, truth, gap = made("pendulum", 2)
    places = track.positions.copy()
    places[:10] = places[10]
    places[50:55] += 6.0
    fit = fitted("pendulum", [Track(places, track.times)])
    assert fit.parameters["g_over_L"] / gap**2 == pytest.approx(truth["g_over_L"], rel=0.01)


T = np.arange(100.0)
OTHERS = {
    "two sines": np.stack([16 + 5 * np.sin(0.2 * T) + 5 * np.sin(0.53 * T), 16 + 0 * T], 1),
    "a random walk": 16 + np.cumsum(np.random.RandomState(0).normal(0, 1, (100, 2)), axis=0),
}


@pytest.mark.parametrize("motion", ["two sines", pytest.param("a random walk", marks=pytest.mark.slow)])
def test_another_motion_is_not_the_systems(motion):
    """Two sines of unrelated periods, as of a pendulum before a swinging dial."""
    track = Track(OTHERS[motion], T)
    fit = fitted("pendulum", [track])
    assert check_fit("pendulum", fit, [track], [], Known()).fatal


def test_a_fifth_of_a_period_determines_nothing():
    t = np.arange(40.0)
    noisy = np.random.RandomState(1).normal(0, 0.2, (40, 2))
    track = Track(np.stack([16 + 20 * np.sin(0.03 * t), 20 + 0 * t], 1) + noisy, t)
    assert check_fit("anchored_spring", fitted("anchored_spring", [track]), [track], [], Known()).fatal


def test_walls_that_no_ball_reaches_have_no_error_bar():
    t = np.arange(60.0)
    x = 5 + 20 * np.abs((t * 3 / 20) % 2 - 1)
    track = Track(np.stack([x, 10 + 0.1 * t], 1) + np.random.RandomState(0).normal(0, 0.05, (60, 2)), t)
    fit = fitted("bouncing", [track])
    assert fit.parameters["left"] == pytest.approx(5, abs=0.2) and fit.parameters["right"] == pytest.approx(25, abs=0.2)
    assert fit.errors["left"] < 0.2 and not np.isfinite(fit.errors["bottom"])


def test_a_part_in_which_no_ball_meets_the_wall_does_not_count_in_its_scatter():
    """The left wall is at 5 in the first quarter and at 6 in the third; in the others the ball does not come there."""
    t = np.arange(200.0)
    x = np.interp(t, [0, 25, 75, 122.5, 170, 200], [15, 5, 25, 6, 25, 13])
    y = np.interp(t, [0, 40, 100, 160, 200], [15, 5, 20, 5, 15])
    noise = np.random.RandomState(0).normal(0, 0.02, (200, 2))
    fit = fitted("bouncing", [Track(np.stack([x, y], 1) + noise, t)], damping=False)
    assert 0.2 < fit.scatter_errors["left"] < 1.5 and fit.errors["left"] >= fit.scatter_errors["left"]
    assert "bottom" not in fit.scatter_errors  # met once


def test_a_part_of_a_film_that_begins_with_a_bounce_is_followed_too():
    """The ball meets the left wall between frames 60 and 61: over both its speed would look four times too small."""
    t = np.arange(240.0)
    x = 5 + np.abs((0.6 * (t - 60.6) + 23) % 46 - 23)
    y = 27 - np.abs((10 + 0.7 * t) % 44 - 22)
    noise = np.random.RandomState(0).normal(0, 0.02, (240, 2))
    fit = fitted("bouncing", [Track(np.stack([x, y], 1) + noise, t)], damping=False)
    assert fit.scatter_errors["left"] < 0.05


def bouncing_track(first: float) -> Track:
    """A noisy flight from x = `first`, between walls at 5 and 25, 5 and 27; positions are 0.08 px off to the right."""
    t = np.arange(200.0)
    x = 25 - np.abs((5 - first + 1.1 * t) % 40 - 20)
    y = 27 - np.abs((10 + 0.7 * t) % 44 - 22)
    return Track(np.stack([x + 0.08, y], 1) + np.random.RandomState(0).normal(0, 0.02, (200, 2)), t)


@pytest.mark.parametrize("first", [5.4, 12.0])
def test_a_ball_that_meets_a_wall_early_is_followed_all_the_way(first):
    """Of a wall's place no film says more than where the ball was drawn."""
    fit = fitted("bouncing", [bouncing_track(first)], damping=False)
    assert fit.explained > 0.999
    for wall, true in (("left", 5.0), ("right", 25.0), ("top", 5.0), ("bottom", 27.0)):
        assert abs(fit.parameters[wall] - true) < fit.errors[wall] < 0.15


def test_a_frame_in_which_a_ball_is_not_seen_does_not_count():
    track, lost = bouncing_track(12.0), bouncing_track(12.0)
    lost.positions[60] = 16.0
    found = (fitted("bouncing", [some], damping=False).parameters for some in (track, lost))
    np.testing.assert_allclose(*(list(parameters.values()) for parameters in found), atol=0.01)


def test_units():
    track, _, gap = made("pendulum", 1)
    fit = fitted("pendulum", [track])
    per_frame = {q.name: q for q in quantities("pendulum", fit, 1.0, PIXEL, Known(length=0.5), 1, timed=False)}
    known = {q.name: q for q in quantities("pendulum", fit, gap, PIXEL, Known(length=0.5, g=9.8), 1)}
    assert per_frame["g_over_L"].unit == "1/frame²" and "g" not in per_frame
    assert known["g_over_L"].value == pytest.approx(per_frame["g_over_L"].value / gap**2)
    assert known["g"].value == pytest.approx(0.5 * known["g_over_L"].value)
    assert known["L"].value == pytest.approx(9.8 / known["g_over_L"].value)
    track, truth, gap = made("fall", 1)
    fit = fitted("fall", [track])
    g = {q.name: q for q in quantities("fall", fit, gap, PIXEL, Known(meters_per_pixel=0.01), 1)}["g"]
    assert g.unit == "m/s²" and g.value == pytest.approx(0.01 * truth["g"], rel=0.02)
    assert SUBSTEPS > 10


def test_the_error_bar_of_a_pendulum_holds_a_bend_of_its_arc():
    """Positions bent by 0.1 px over the swing, without noise: only the error bar can tell."""
    track, truth, gap = made("pendulum", 1, noise=0.0, frames=240)
    x = track.positions[:, 0]
    bent = track.positions.copy()
    bent[:, 1] += 0.1 * (2 * (x - x.mean()) / np.ptp(x)) ** 2
    fit = fitted("pendulum", [Track(bent, track.times)])
    away = abs(fit.parameters["g_over_L"] / gap**2 - truth["g_over_L"])
    assert away > 0.0005 * truth["g_over_L"]
    assert 0.5 * away < fit.errors["g_over_L"] / gap**2 < 2 * away


def test_the_error_bar_is_as_large_as_the_scatter_over_films():
    """Four films of different stiffness: the mean's 68 % interval over four values has Student's factor 1.2."""
    t, stiffness = np.arange(60.0), np.array([0.04, 0.042, 0.04, 0.042])
    films = [
        Track(np.stack([16 + 8 * np.cos(np.sqrt(k) * t), 16 + 4 * np.sin(np.sqrt(k) * t)], 1), t) for k in stiffness
    ]
    fit = fitted("anchored_spring", films, damping=False)
    assert fit.scatter_errors["k_over_m"] == pytest.approx(1.2 * np.std(stiffness, ddof=1) / 2, rel=0.02)
    assert fit.errors["k_over_m"] >= fit.scatter_errors["k_over_m"]


def test_the_error_bar_of_a_parabola_is_that_of_the_whole_film():
    """Four quarters of it say a hundredth of what the whole does, and one of two components may be near zero."""
    t, noise, true = np.arange(48.0), 0.05, np.array([0.0004, 0.012])
    expected = noise * np.sqrt(720 / 48**5)  # of a curvature by least squares
    off = []
    for seed in range(4):
        positions = 6 + np.outer(t, [0.1, 0.05]) + np.outer(t**2 / 2, true)
        positions += np.random.RandomState(seed).normal(0, noise, positions.shape)
        fit = fitted("incline", [Track(positions, t)])
        for axis, value in zip(("g_x", "g_y"), true):
            assert 0.3 * expected < fit.scatter_errors[axis] < 3 * expected
            assert fit.errors[axis] == pytest.approx(8 * 0.1 / 47**2, rel=0.15)  # a bend of the positions of 0.1 px
            off.append((fit.parameters[axis] - value) / expected)
        assert not check_fit("incline", fit, [Track(positions, t)], [], Known()).fatal
    assert np.abs(off).max() < 4 and np.std(off) < 2
