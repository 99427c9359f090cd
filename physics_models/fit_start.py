"""Where the fit of a film begins: parameters read off the encoded positions by spectrum, parabola and circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FREQUENCIES_PER_PERIOD = 4  # of the film's length
MOST_FREQUENCIES = 3000


def start_weights(cell: Any, tracks: Sequence[Any]) -> list[list[dict[str, float]]]:
    """Several starts for the weights of `cell`, each a dict for every track (`physics_models.fit.Track`)."""
    find = _STARTS[type(cell).__name__]
    each = [find(track.positions.reshape(len(track.times), -1, 2), track.times) for track in tracks]
    # The system's weights are the first track's, the camera's are each track's own.
    return [list(starts) for starts in zip(*each)]


def start_states(cell: Any, tracks: Sequence[Any]) -> list[np.ndarray]:
    """Positions and velocities [4N] at the first frame of each track.

    Of the sine that goes through the whole track, for a body that swings: it may be held at first. For one that bounces
    with the median of its speeds. For others from a parabola through the beginning.
    """
    if type(cell).__name__ == "BouncingCell":
        return [_zigzag(track.positions, track.times) for track in tracks]
    if swings(cell):
        return [_sine(track.positions, track.times) for track in tracks]
    return [np.concatenate(local_motion(track.positions, track.times)[:2], axis=-1)[0] for track in tracks]


def swings(cell: Any) -> bool:
    """Whether the motion of `cell` is nearly a sine, whose spectrum is its start."""
    return type(cell).__name__ in ("AnchoredSpringCell", "PendulumCell")


def _sine(positions: np.ndarray, times: np.ndarray) -> np.ndarray:
    omega, t = spectrum(positions, times), times - times[0]
    basis = np.stack([np.ones_like(t), t - t.mean(), np.cos(omega * t), np.sin(omega * t)], 1)
    middle, drift, cosine, sine = np.linalg.lstsq(basis, positions, rcond=None)[0]
    return np.concatenate([middle - drift * t.mean() + cosine, omega * sine])


def _zigzag(positions: np.ndarray, times: np.ndarray) -> np.ndarray:
    speeds = np.diff(positions, axis=0) / np.diff(times)[:, None]
    return np.concatenate([positions[0], np.sign(speeds[:2].sum(0)) * np.median(np.abs(speeds), axis=0)])


def spectrum(values: np.ndarray, times: np.ndarray) -> float:
    """The angular frequency that, with a straight line, explains most of `values` [T, D] at `times` [T]."""
    span, gap = times[-1] - times[0], np.median(np.diff(times))
    count = min(int(FREQUENCIES_PER_PERIOD * span / (2 * gap)), MOST_FREQUENCIES)
    grid = 2 * np.pi * np.linspace(0.4 / span, 0.5 / gap, max(count, 20))
    line = np.stack([np.ones_like(times), times - times.mean()], 1)
    rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]

    def left(omega: float) -> float:
        basis = np.concatenate([line, np.cos(omega * times)[:, None], np.sin(omega * times)[:, None]], 1)
        solution = np.linalg.lstsq(basis, rest, rcond=None)[0]
        return float(np.square(rest - basis @ solution).sum())

    best = min(grid, key=left)
    step = grid[1] - grid[0]
    fine = np.linspace(max(best - step, grid[0] / 2), best + step, 41)
    return float(min(fine, key=left))


def local_motion(positions: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities and accelerations [T, D] from parabolas through the frames of about a sixth of a period."""
    period = 2 * np.pi / spectrum(positions, times)
    width = max(int(period / 12 / np.median(np.diff(times))), 2)
    smooth, speed, bend = (np.empty_like(positions, dtype=float) for _ in range(3))
    for i in range(len(times)):
        low = min(max(i - width, 0), max(len(times) - 2 * width - 1, 0))
        part = slice(low, low + 2 * width + 1)
        t = times[part] - times[i]
        solution = np.linalg.lstsq(np.stack([np.ones_like(t), t, t * t / 2], 1), positions[part], rcond=None)[0]
        smooth[i], speed[i], bend[i] = solution
    return smooth, speed, bend


def _anchored_spring(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    centre = xy[:, 0].mean(0)
    omega = spectrum(xy[:, 0], times)
    return [{"log_k_over_m": 2 * np.log(omega), "anchor_x": centre[0], "anchor_y": centre[1]}]


def _pendulum(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    places = xy[:, 0]
    log_omega = 2 * np.log(spectrum(places, times))
    matrix = np.concatenate([2 * places, np.ones((len(places), 1))], 1)
    x, y, _ = np.linalg.lstsq(matrix, np.square(places).sum(1), rcond=None)[0]  # the circle through the places
    middle, swing = places.mean(0), np.ptp(places, axis=0).max()
    pivots = [(x, y)] if np.hypot(x - middle[0], y - middle[1]) < 10 * swing else []
    pivots += [(middle[0], middle[1] - factor * swing) for factor in (1.0, 4.0)]
    return [
        # the camera may stand on its head
        {"log_g_over_L": log_omega, "pivot_x": px, "pivot_y": py, "tilt": np.arctan2(middle[0] - px, middle[1] - py)}
        for px, py in pivots[:2]
    ]


def _fall(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    t = times - times.mean()
    basis = np.stack([np.ones_like(t), t, t * t / 2], 1)
    bend = np.linalg.lstsq(basis, xy.reshape(len(t), -1), rcond=None)[0][2].reshape(-1, 2).mean(0)
    return [{"g_x": bend[0], "g_y": bend[1]}]


def _spring(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    smooth, _, bend = (x.reshape(xy.shape) for x in local_motion(xy.reshape(len(times), -1), times))
    apart = smooth[:, 1] - smooth[:, 0]
    r = np.linalg.norm(apart, axis=-1)
    starts = []
    if xy.shape[1] == 2:  # the distance swings with ω² = 2k
        starts.append((spectrum(r[:, None], times) ** 2 / 2, r.mean()))
    # a = −2k·(r − 2l) along the spring
    pull = np.sum((bend[:, 1] - bend[:, 0]) * apart, -1) / np.maximum(r, 1e-3)
    slope, offset = np.linalg.lstsq(np.stack([r, np.ones_like(r)], 1), pull, rcond=None)[0]
    if slope < 0 and -offset / slope > 0:
        starts.append((-slope / 2, -offset / slope))
    starts += [(starts[0][0] if starts else 1e-2, factor * r.mean()) for factor in (0.3, 1.0)]
    return [{"log_k": np.log(k), "log_l": np.log(length / 2)} for k, length in starts]


def _gravity(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    smooth, _, bend = (x.reshape(xy.shape) for x in local_motion(xy.reshape(len(times), -1), times))
    d = smooth[:, :, None] - smooth[:, None]
    r = np.maximum(np.linalg.norm(d, axis=-1, keepdims=True), 1.0)
    pull = -np.sum(d / r**3, axis=2)
    g = max(float((pull * bend).sum() / max((pull * pull).sum(), 1e-12)), 1e-6)
    return [{"log_g": np.log(g * factor)} for factor in (1.0, 1.5, 0.7)]


def _bouncing(xy: np.ndarray, times: np.ndarray) -> list[dict[str, float]]:
    low, high = xy.min((0, 1)), xy.max((0, 1))
    return [{"left": low[0], "right": high[0], "top": low[1], "bottom": high[1]}]


_STARTS = {
    "AnchoredSpringCell": _anchored_spring,
    "PendulumCell": _pendulum,
    "FallCell": _fall,
    "SpringCell": _spring,
    "GravityCell": _gravity,
    "BouncingCell": _bouncing,
}
