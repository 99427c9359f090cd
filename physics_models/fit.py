"""One trajectory fitted to a whole film: physical parameters with error bars, from encoded positions alone.

`fit_films` takes the positions that the network encodes in every frame, and the cell of `nn.systems` that moves them.
Unknown are the system's weights, which all films share, walls too; and for each film the first state and, with a pivot
or an anchor, where that is and a slow drift of the camera. Solved by Levenberg–Marquardt least squares with Cauchy's
weights; the trajectories are those of the cell. Times are in units of the mean time between two frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nn.systems import SystemCell, physical
from physics_models.fit_start import start_states, start_weights, swings

CELL = 2.0  # pixels: in a cell of the frame of this side, encoded positions are off by the same
DRIFT = ("drift_x", "drift_y")  # of the camera, pixels per unit of time
BEND = 0.1  # pixels of a frame: by so much the positions of an object may be shifted, or bent along its path
SEGMENTS = 4
STUDENT = {2: 1.84, 3: 1.32}  # Student's t of a 68 % interval of n values; for more it is 1 + 0.6 / (n - 1), to 1 %
FLAT = 1e-12  # share of the largest curvature of the fit, below which the film says nothing about an unknown
FITTED = 0.6  # of the fit's time, roughly, when its error bars begin
STEP = 1e-5  # of the numerical derivative, in a weight's own unit
CAUCHY = 2.4  # standard deviations of the residuals, beyond which a frame counts less than half
ROUNDS, TRIES, CONVERGED = 40, 8, 1e-6
HORIZONS = (8, 4, 2, 1)  # without a spectrum, the film is fitted from its first eighth on
SMALLEST_NOISE = 1e-4  # pixels
MOMENT = 1e-3  # units of time, in which a ball is taken not to bounce


class Track(NamedTuple):
    """What is measured of one film: positions [T, 2N] in pixels, at the times [T]."""

    positions: np.ndarray
    times: np.ndarray

    def part(self, frames: slice) -> Track:
        """Some of its frames; times count from the first of them."""
        return Track(self.positions[frames], self.times[frames] - self.times[frames.start or 0])


class Fit(NamedTuple):
    """Parameters of the system, and how well they are known."""

    parameters: dict[str, float]  # of the system, in pixels and units of time
    errors: dict[str, float]  # one standard deviation each
    scatter_errors: dict[str, float]  # over segments or films; empty where these are too short
    correlations: dict[tuple[str, str], float]
    trajectories: list[np.ndarray]  # of each film, [T, 2N]
    weights: list[dict[str, float]]  # of each film, by the cell's names, and its drift
    rms: float  # pixels, of the residuals
    explained: float  # 1 − variance of the residuals / variance of the positions
    structure: float  # autocorrelation of the residuals from one frame to the next


@functools.cache
def simulator(cell_class: type[SystemCell], n_objs: int) -> Callable[..., tf.Tensor]:
    """A compiled function: weights [B] by name, states [B, 4N], gaps [T − 1] → positions [B, T, 2N], all float64."""
    cell = cell_class(n_objs)
    row = tf.TensorSpec([None], tf.float64)
    names = [*cell.weight_table, "damping"]

    def simulate(weights: dict[str, tf.Tensor], states: tf.Tensor, gaps: tf.Tensor) -> tf.Tensor:
        parameters = physical({name: w[:, None, None] for name, w in weights.items()})
        first = tuple(tf.reshape(x, [-1, n_objs, 2]) for x in tf.split(states, 2, axis=-1))

        def step(state: tuple, gap: tf.Tensor) -> tuple:
            for _ in range(cell.substeps):
                state = cell.substep(*state, gap / cell.substeps, parameters)
            return tuple(state)

        later = tf.scan(step, gaps, initializer=first)[0]  # [T − 1, B, N, 2]
        every = tf.concat([first[0][None], later], axis=0)
        return tf.reshape(tf.transpose(every, [1, 0, 2, 3]), [tf.shape(states)[0], -1, 2 * n_objs])

    signature = [dict.fromkeys(names, row), tf.TensorSpec([None, 4 * n_objs], tf.float64), row]
    return tf.function(simulate, autograph=False, input_signature=signature)


class _Problem:
    """Least squares over one or more tracks that share the weights `shared`; each has its own `local` and state."""

    def __init__(self, simulate: Callable, tracks: Sequence[Track], shared: Sequence[str], local: Sequence[str],
                 held: Sequence[dict[str, float]]):  # fmt: skip
        self.simulate, self.tracks, self.shared, self.local, self.held = simulate, tracks, shared, local, held
        self.own = len(local) + 2 * tracks[0].positions.shape[1]  # unknowns of one track

    def columns(self, track: int) -> np.ndarray:
        first = len(self.shared) + track * self.own
        return np.r_[: len(self.shared), first : first + self.own].astype(int)

    def trajectory(self, track: int, theta: np.ndarray) -> np.ndarray:
        """Positions [B, T, 2N] for unknowns [B, n] of one track."""
        data, names = self.tracks[track], [*self.shared, *self.local]
        weights = {name: np.full(len(theta), value) for name, value in self.held[track].items()}
        weights |= {name: theta[:, i] for i, name in enumerate(names)}
        drift = np.stack([weights.pop(name) for name in DRIFT], -1) if DRIFT[0] in weights else np.zeros((1, 2))
        moved = self.simulate(weights, theta[:, len(names) :], np.diff(data.times)).numpy()
        shift = drift[:, None] * data.times[None, :, None]  # [B, T, 2]
        return moved + np.tile(shift, moved.shape[-1] // 2)

    def residuals(self, theta: np.ndarray) -> list[np.ndarray]:
        """Of each track, [T, 2N]."""
        return [self.trajectory(i, theta[None, self.columns(i)])[0] - t.positions for i, t in enumerate(self.tracks)]

    def normal(self, linear: list[tuple], weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """JᵀWJ [n, n] and JᵀWr [n], from what `linear` gives for each track."""
        count = len(self.shared) + len(self.tracks) * self.own
        matrix, vector = np.zeros((count, count)), np.zeros(count)
        for i, (jacobian, residual) in enumerate(linear):
            columns, weighted = self.columns(i), jacobian * weights[i]
            matrix[np.ix_(columns, columns)] += np.tensordot(weighted, jacobian, ([1, 2], [1, 2]))
            vector[columns] += np.tensordot(weighted, residual, 2)
        return matrix, vector

    def linear(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each track, derivatives [n, T, 2N] of its residuals by its unknowns, and the residuals [T, 2N]."""
        found = []
        for i, track in enumerate(self.tracks):
            here = theta[self.columns(i)]
            size, steps = len(here), STEP * np.eye(len(here))
            both = self.trajectory(i, np.concatenate([here + steps, here - steps, here[None]]))
            found.append(((both[:size] - both[size:-1]) / (2 * STEP), both[-1] - track.positions))
        return found

    def solve(self, theta: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """The best unknowns from a start, their residuals, and the weights of these."""
        damping, residuals = 1e-3, self.residuals(theta)
        for _ in range(ROUNDS):
            weights = robust(residuals)
            cost = total(residuals, weights)
            if not np.isfinite(cost):
                break
            matrix, vector = self.normal(self.linear(theta), weights)
            if not np.isfinite(matrix).all():
                break
            diagonal = np.diag(matrix) + 1e-12 * np.diag(matrix).max()
            for _ in range(TRIES):
                step = np.linalg.lstsq(matrix + np.diag(damping * diagonal), vector, rcond=None)[0]
                tried = self.residuals(theta - step)
                lower = total(tried, weights)
                if lower < cost:
                    break
                damping *= 5.0
            else:
                break
            theta, residuals, damping = theta - step, tried, max(damping / 5.0, 1e-9)
            if cost - lower < CONVERGED * cost:
                break
        return theta, residuals, robust(residuals)


def robust(residuals: list[np.ndarray]) -> list[np.ndarray]:
    """Cauchy's weights of residuals, near 1 within a standard deviation, which comes from the median."""
    every = np.abs(np.concatenate([r.reshape(-1) for r in residuals]))
    limit = CAUCHY * max(1.4826 * float(np.median(every)), SMALLEST_NOISE)
    return [1.0 / (1.0 + np.square(r / limit)) for r in residuals]


def total(residuals: list[np.ndarray], weights: list[np.ndarray]) -> float:
    """The weighted sum of squares."""
    cost = sum(float((w * r * r).sum()) for r, w in zip(residuals, weights))
    return cost if np.isfinite(cost) else np.inf


def fit_films(
    cell: SystemCell, tracks: Sequence[Track], damping: bool, progress: Callable[[float], None] = lambda done: None
) -> Fit:
    """Fit the weights of `cell` to `tracks`, with linear damping or without; `progress` takes the share done."""
    cameras = [*cell.of_camera, *(DRIFT if {"anchor_x", "pivot_x"} & set(cell.of_camera) else ())]
    shared = [name for name in cell.weight_table if name not in cell.of_camera] + ["damping"] * damping
    held = [{} if damping else {"damping": 0.0} for _ in tracks]
    problem = _Problem(simulator(type(cell), cell.n_objs), tracks, shared, cameras, held)
    solved, all_starts = [], start_weights(cell, tracks)
    for i, starts in enumerate(all_starts):
        progress(FITTED * i / len(all_starts))
        solved.append(_from_start(cell, problem, starts))
    theta, residuals, weights = min(solved, key=lambda found: total(found[1], found[2]))
    hessian, matrix = _hessian_errors(problem, theta, residuals, weights)
    names = [name.removeprefix("log_") for name in shared]
    values = _values(shared, theta)
    scales = np.array([values[n] if w.startswith("log_") else 1.0 for n, w in zip(names, shared)])
    by_hessian = dict(zip(names, hessian[: len(names)] * np.abs(scales)))
    scatter = _scatter_errors(problem, theta, lambda done: progress(FITTED + (1 - FITTED) * done))
    errors = {name: max(by_hessian[name], scatter.get(name, 0.0)) for name in names}
    each = [theta[problem.columns(i)] for i in range(len(tracks))]
    count = len(shared) + len(cameras)
    of_films = [{**h, **dict(zip([*shared, *cameras], x[:count]))} for h, x in zip(held, each)]
    bent = _bend_errors(values, tracks, of_films)
    errors |= {name: float(np.hypot(errors[name], error)) for name, error in bent.items()}
    spread = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    correlation = matrix / np.outer(spread, spread)
    pairs = {(a, b): float(correlation[i, j]) for i, a in enumerate(names) for j, b in enumerate(names) if i < j}
    flat = np.concatenate([r.reshape(-1) for r in residuals])
    motion = np.concatenate([(t.positions - t.positions.mean(0)).reshape(-1) for t in tracks])
    return Fit(
        values, errors, scatter, pairs,
        [r + t.positions for r, t in zip(residuals, tracks)],
        of_films,
        float(np.sqrt(np.mean(flat**2))),
        1.0 - float(np.mean(flat**2) / max(np.mean(motion**2), 1e-12)), _lag_one(residuals),
    )  # fmt: skip


def _values(shared: Sequence[str], theta: np.ndarray) -> dict[str, float]:
    return {n.removeprefix("log_"): float(np.exp(x) if n.startswith("log_") else x) for n, x in zip(shared, theta)}


def _bend_errors(
    values: dict[str, float], tracks: Sequence[Track], weights: Sequence[dict[str, float]]
) -> dict[str, float]:
    """What positions that are all shifted, or bent along the path, by `BEND` do to the parameters `values`.

    Nothing in a film tells that from the motion's own: where in its template an object has its middle, the curve of one
    flight, the radius L of a pendulum's arc. A wider swing takes longer, so that L enters g/L by the swing's angle.
    """
    if "g_x" in values:
        return dict.fromkeys(("g_x", "g_y"), 8 * BEND / max(np.ptp(track.times) for track in tracks) ** 2)
    if "left" in values:
        return dict.fromkeys(("left", "right", "top", "bottom"), BEND)
    if "g_over_L" in values:
        pivots = [(w["pivot_x"], w["pivot_y"]) for w in weights]
        arms = [(track.positions[:, :2] - pivot).mean(0) for track, pivot in zip(tracks, pivots)]
        return {"g_over_L": values["g_over_L"] * BEND / (4 * np.linalg.norm(arms, axis=1).mean())}
    return {}


def _from_start(
    cell: SystemCell, problem: _Problem, starts: list[dict[str, float]]
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Solve from the weights `starts` of each track, on more and more of the film."""
    shared, local, tracks = list(problem.shared), list(problem.local), problem.tracks
    states = start_states(cell, tracks)
    own = [np.r_[[s.get(name, 0.0) for name in local], state] for s, state in zip(starts, states)]
    theta = np.concatenate([[starts[0].get(name, 0.0) for name in shared], *own])
    for horizon in (1,) if swings(cell) else HORIZONS:
        counts = [max(len(t.times) // horizon, min(len(t.times), 8)) for t in tracks]
        part = [Track(t.positions[:n], t.times[:n]) for t, n in zip(tracks, counts)]
        free = local if horizon == 1 else [name for name in local if name not in DRIFT]
        held = [{**h, **({} if horizon == 1 else {name: 0.0 for name in local if name in DRIFT})} for h in problem.held]
        smaller = _Problem(problem.simulate, part, shared, free, held)
        chosen = np.r_[: len(shared)].tolist()
        for i in range(len(tracks)):
            first = len(shared) + i * problem.own
            chosen += [first + j for j, name in enumerate(local) if name in free]
            chosen += list(range(first + len(local), first + problem.own))
        solved = smaller.solve(theta[chosen])
        theta = theta.copy()
        theta[chosen] = solved[0]
    return theta, solved[1], solved[2]


def _lag_one(residuals: list[np.ndarray]) -> float:
    products = sum(float((r[1:] * r[:-1]).sum()) for r in residuals)
    return products / max(sum(float((r * r).sum()) for r in residuals), 1e-300)


def correlation_time(residuals: list[np.ndarray]) -> float:
    """1 + 2·Σ of the residuals' autocorrelation up to where it falls below 0.05: how many frames tell one thing."""
    whole = sum(float((r * r).sum()) for r in residuals)
    time, shortest = 1.0, min(len(r) for r in residuals)
    for lag in range(1, shortest // 3):
        rho = sum(float((r[lag:] * r[:-lag]).sum()) for r in residuals) / max(whole, 1e-300)
        if rho < 0.05:
            break
        time += 2.0 * rho
    return time


def _hessian_errors(problem: _Problem, theta: np.ndarray, residuals: list, weights: list) -> tuple:
    """Standard deviations [n] of the unknowns from the fit alone, and their covariance.

    The larger of two: from JᵀWJ and the residuals' autocorrelation in time; and, as the network's positions are off
    by the same wherever the object comes again, from the gradients' sums over the cells of the frame.
    """
    linear = problem.linear(theta)
    matrix, _ = problem.normal(linear, weights)
    flat = np.diag(matrix) <= FLAT * np.diag(matrix).max()
    inverse = np.linalg.pinv(matrix, rcond=1e-14, hermitian=True)
    freedom = max(sum(r.size for r in residuals) - len(theta), 1)
    covariance = inverse * total(residuals, weights) / freedom * correlation_time(residuals)
    spread = np.zeros_like(matrix)
    for i, (track, weight, (jacobian, residual)) in enumerate(zip(problem.tracks, weights, linear)):
        columns, pulls = problem.columns(i), jacobian * weight * residual  # [n, T, 2N]
        for n in range(0, pulls.shape[2], 2):
            cells = np.floor(track.positions[:, n : n + 2] / CELL)
            for cell in np.unique(cells, axis=0):
                pull = pulls[:, (cells == cell).all(1), n : n + 2].sum((1, 2))
                spread[np.ix_(columns, columns)] += np.outer(pull, pull)
    by_place = inverse @ spread @ inverse
    errors = np.sqrt(np.maximum(np.maximum(np.diag(covariance), np.diag(by_place)), 0.0))
    return np.where(flat, np.inf, errors), covariance


def _scatter_errors(whole: _Problem, theta: np.ndarray, progress: Callable[[float], None]) -> dict[str, float]:
    """Half of the mean's 68 % interval over films, where there are four, or over four segments of each film.

    That is the standard deviation of the mean times Student's factor for so few. Each counts by what the whole fit's
    trajectory there says of the parameter: the last quarter of a damped swing says little, one in which no ball meets a
    wall nothing of that, and there must be two. A segment keeps the camera's place of its film. Four quarters of a
    parabola say a hundredth of what the whole does; there the scatter, in pixels, is the positions' error in the whole.
    """
    results, weights, count = [], [], len(whole.shared)

    def information(problem: _Problem, start: np.ndarray) -> np.ndarray:
        """One over the squared error of each shared unknown, for positions with an error of a pixel; 0 for no say."""
        matrix, _ = problem.normal(problem.linear(start), [np.ones_like(t.positions) for t in problem.tracks])
        inverse = np.linalg.pinv(matrix, rcond=1e-14, hermitian=True)
        says = np.diag(matrix) > FLAT * np.diag(matrix).max()
        return np.where(says, 1.0 / np.maximum(np.diag(inverse), 1e-300), 0.0)[:count]

    def solve(problem: _Problem, start: np.ndarray) -> None:
        weights.append(information(problem, start))
        results.append(problem.solve(start)[0])

    for i, track in enumerate(whole.tracks):
        progress(i / len(whole.tracks))
        own = theta[whole.columns(i)]
        if len(whole.tracks) >= SEGMENTS:
            solve(_Problem(whole.simulate, [track], whole.shared, whole.local, [whole.held[i]]), own)
            continue
        fixed = {**whole.held[i], **dict(zip(whole.local, own[count:]))}
        path = whole.trajectory(i, own[None])[0]
        moving = path - np.tile(np.outer(track.times, [fixed.get(name, 0.0) for name in DRIFT]), path.shape[1] // 2)
        for part in np.array_split(np.arange(len(track.times)), SEGMENTS):
            if len(part) < 8:
                return {}
            piece, (first, second) = Track(track.positions[part], track.times[part]), part[:2]
            speed = (moving[second] - moving[first]) / (track.times[second] - track.times[first])
            if "left" in whole.shared:  # there may be a bounce between the two frames
                times = np.r_[track.times[: first + 1], track.times[first] + MOMENT]
                near = _Problem(whole.simulate, [Track(piece.positions, times)], whole.shared, [], [fixed])
                last = near.trajectory(0, own[None])[0, -2:]
                speed = (last[1] - last[0]) / MOMENT if first else own[-len(speed) :]
            start = np.r_[own[:count], moving[first], speed]
            solve(_Problem(whole.simulate, [piece], whole.shared, [], [fixed]), start)
    table, errors = [_values(whole.shared, x) for x in results], {}
    known = information(whole, theta) if "g_x" in whole.shared else np.sum(weights, axis=0)
    for name, weight, whole_weight in zip(table[0], np.transpose(weights), known):
        weight, values = weight[weight > 0], np.array([row[name] for row in table])[weight > 0]
        if (parts := len(weight)) < 2:
            continue
        squares = weight @ np.square(values - weight @ values / weight.sum()) / (parts - 1)
        errors[name] = float(STUDENT.get(parts, 1.0 + 0.6 / (parts - 1)) * np.sqrt(squares / whole_weight))
    return errors
