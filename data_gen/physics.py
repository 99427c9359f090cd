"""Trajectories of the simulated systems: plain functions of state and parameters (the original's generators.py).

Positions and velocities are float64 arrays [N, 2, A]: N objects, (x, y), A attempts. The attempts come last, so
that NumPy's inner loops run over them. Lengths are pixels; time is in the unit of `dt`; x grows to the right and
y downwards. One frame step is `ode_steps` sub-steps of dt / ode_steps, each the velocity first, then the position.
"""

from __future__ import annotations

from itertools import combinations
from typing import Callable, NamedTuple

import numpy as np

Acceleration = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (pos, vel) -> [N, 2, A]
Rejection = Callable[[np.ndarray, int], np.ndarray]  # (pos, the frame that the sub-step comes from) -> bool [A]
Reflection = Callable[[np.ndarray, np.ndarray], "tuple[np.ndarray, np.ndarray]"]  # (pos, vel) -> (pos, vel)


class Trajectories(NamedTuple):
    """Accepted attempts: their indices [A'] (ascending) and states [A', T, N, 2] at each frame."""

    index: np.ndarray  # type: ignore[assignment]  # a tuple has a method of this name
    pos: np.ndarray
    vel: np.ndarray


def length(vector: np.ndarray) -> np.ndarray:
    """Euclidean length [A] of vectors [2, A]."""
    return np.sqrt(vector[0] * vector[0] + vector[1] * vector[1])


def spring_acceleration(pos: np.ndarray, vel: np.ndarray, k: float, equil: float) -> np.ndarray:
    """Two unit masses on a spring of constant k and rest length 2·equil pixels; all arrays [2, 2, A]."""
    between = pos[0] - pos[1]
    distance = length(between)
    force = k * (distance - 2 * equil) * (between / distance)
    return np.stack([-force, force])


def gravity_acceleration(pos: np.ndarray, vel: np.ndarray, g: float, m: float) -> np.ndarray:
    """N bodies of mass m under -g·m²·Σ d/r³ (the original multiplies by m twice and never divides)."""
    total = np.zeros_like(pos)
    for i, j in combinations(range(len(pos)), 2):
        between = pos[i] - pos[j]
        distance = length(between)
        pull = g * m * m * between / (distance * distance * distance)
        total[i] -= pull
        total[j] += pull
    return total


def falling_acceleration(pos: np.ndarray, vel: np.ndarray, g: float) -> np.ndarray:
    """Constant g downwards (+y); 0 for no force."""
    total = np.zeros_like(pos)
    total[:, 1] = g
    return total


def reflect_at_walls(pos: np.ndarray, vel: np.ndarray, radius: float, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Mirror positions and velocities of balls that reach the walls of a box of `side` pixels."""
    low = pos - radius <= 0
    vel = np.where(low, -vel, vel)
    pos = np.where(low, -(pos - radius) + radius, pos)
    high = pos + radius >= side
    vel = np.where(high, -vel, vel)
    pos = np.where(high, side - (pos + radius - side) - radius, pos)
    return pos, vel


def touches_wall(pos: np.ndarray, radius: float, width: float, height: float | None = None) -> np.ndarray:
    """True [A] where any object reaches a wall of a width × height (default: square) box at the origin."""
    size = np.array([[width], [width if height is None else height]])
    return ((pos - radius <= 0) | (pos + radius >= size)).any(axis=(0, 1))


def objects_within(pos: np.ndarray, distance: float) -> np.ndarray:
    """True [A] where any two objects are at most `distance` pixels apart."""
    close = np.zeros(pos.shape[2:], dtype=bool)
    for i, j in combinations(range(len(pos)), 2):
        close |= length(pos[i] - pos[j]) <= distance
    return close


def simulate(
    pos: np.ndarray, vel: np.ndarray, seq_len: int, dt: float, ode_steps: int,
    acceleration: Acceleration, reflect: Reflection | None = None, reject: Rejection | None = None,
) -> Trajectories:
    """Run all attempts from their states `pos`, `vel` [N, 2, A] in frame 0, dropping those that `reject` marks.

    Each of the `seq_len` = T frame steps is `dt` long and has `ode_steps` sub-steps, each followed by `reflect` and
    `reject`. As in the original the step after the last frame is simulated too: an attempt that reaches a wall there is
    dropped although no frame shows it.
    """
    step = dt / ode_steps
    alive = np.arange(pos.shape[2])
    history = []
    with np.errstate(all="ignore"):  # attempts that are rejected anyway may divide by zero on their way
        for frame in range(seq_len):
            history.append((alive, pos, vel))
            bad = np.zeros(len(alive), dtype=bool)
            for _ in range(ode_steps):
                vel = vel + step * acceleration(pos, vel)
                pos = pos + step * vel
                if reflect is not None:
                    pos, vel = reflect(pos, vel)
                if reject is not None:
                    bad |= reject(pos, frame)
            if bad.any():
                alive, pos, vel = alive[~bad], pos[:, :, ~bad], vel[:, :, ~bad]
    columns = [np.searchsorted(ids, alive) for ids, _, _ in history]
    all_pos = np.stack([p[:, :, c] for (_, p, _), c in zip(history, columns)])
    all_vel = np.stack([v[:, :, c] for (_, _, v), c in zip(history, columns)])
    return Trajectories(alive, all_pos.transpose(3, 0, 1, 2), all_vel.transpose(3, 0, 1, 2))
