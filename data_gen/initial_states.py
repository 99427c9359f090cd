"""Initial states, drawn from NumPy's global random stream in the original's order.

Each function draws `attempts` attempts, one after the other. Angles go through `math.cos` and `math.sin`: NumPy's
vectorised functions may differ between versions and CPUs in the last bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Start(NamedTuple):
    """Initial states of A attempts: pos, vel [N, 2, A], and the number of a background picture each [A] or None."""

    pos: np.ndarray
    vel: np.ndarray
    picture: np.ndarray | None = None


def unit_vectors(angle: np.ndarray) -> np.ndarray:
    """(cos, sin) of angles [A] -> [2, A]."""
    return np.array([[math.cos(a) for a in angle], [math.sin(a) for a in angle]])


def velocities(uniform: np.ndarray, vx0: float, vy0: float) -> np.ndarray:
    """(vx0·cos, vy0·sin) of random angles, given as numbers in [0, 1) [N, A] -> [N, 2, A]."""
    return np.stack([unit_vectors(u * 2 * np.pi) for u in uniform]) * np.array([[vx0], [vy0]])


def in_box(attempts: int, box_size: float) -> Start:
    """One point in a box; speed in [1, 2) in a random direction (bouncing_ball)."""
    u = np.random.rand(attempts, 4).T
    return Start(u[:2][None] * box_size, (unit_vectors(u[3] * 2 * np.pi) * (u[2] + 1))[None])


def falling(attempts: int, side: float, radius: float) -> Start:
    """One ball at rest in the upper half (falling_ball)."""
    u = np.random.rand(attempts, 2).T
    pos = np.stack([u[0] * (side - 2 * radius) + radius, u[1] * (side / 2 - radius) + radius])
    return Start(pos[None], np.zeros_like(pos)[None])


def falling_bouncing(attempts: int, side: float, radius: float, g: float, vx0: float, vy0: float, cifar: bool) -> Start:
    """One ball in the upper half (anywhere without gravity), and a CIFAR picture's number."""
    u, picture = np.empty((attempts, 3)), np.zeros(attempts, np.int64)
    for i in range(attempts):
        u[i] = np.random.rand(3)
        if cifar:
            picture[i] = np.random.randint(50000)  # the size of its training set
    height = side / 2 - radius if g else side - 2 * radius
    pos = np.stack([u[:, 0] * (side - 2 * radius) + radius, u[:, 1] * height + radius])
    return Start(pos[None], velocities(u.T[2:], vx0, vy0), picture)


def spring_pair(
    attempts: int, side: float, radius: float, equil: float, vx0: float, vy0: float, half: bool = False
) -> Start:
    """Two balls, 2·equil·s apart with s in [0.5, 1.5), around a centre of mass at least radius + equil inside.

    With `half` the centre's x lies in the left half of the frame, `radius` from its two edges (spring_color_half).
    """
    u = np.random.rand(attempts, 6).T
    margin = radius + equil
    x = u[0] * (side / 2 - 2 * radius) + radius if half else u[0] * (side - 2 * margin) + radius + equil
    centre = np.stack([x, u[1] * (side - 2 * margin) + radius + equil])
    arm = unit_vectors(u[2] * 2 * np.pi) * equil * (u[3] + 0.5)
    return Start(np.stack([centre + arm, centre - arm]), velocities(u[4:], vx0, vy0))


def bouncing_pair(attempts: int, side: float, radius: float, vx0: float, vy0: float) -> Start:
    """Two balls anywhere in the frame, each in a random direction (bouncing_balls)."""
    u = np.random.rand(attempts, 6).T
    pos = u[:4].reshape(2, 2, attempts) * (side - 2 * radius) + radius
    return Start(pos, velocities(u[4:], vx0, vy0))


def three_bodies(attempts: int, side: float, vx0: float, vy0: float) -> Start:
    """Three bodies around the frame's centre on an irregular triangle, circling it, with a common drift.

    The first two numbers of an attempt are drawn and not used, as in the original.
    """
    u, sense = np.empty((attempts, 8)), np.empty(attempts)
    for i in range(attempts):
        u[i, :6] = np.random.rand(6)
        sense[i] = 1 if np.random.randint(0, 2) else -1
        u[i, 6:] = np.random.rand(2)
    u = u.T
    first = u[2] * 2 * np.pi
    angles = [first, first + 2 * np.pi / 3 + (u[3] - 0.5) / 2, first + 4 * np.pi / 3 + (u[4] - 0.5) / 2]
    radius = (u[5] / 2 + 0.75) * side / 4
    speed = np.array([[vx0], [vy0]])
    pos = np.stack([unit_vectors(a) * radius + side / 2 for a in angles])
    vel = np.stack([unit_vectors(a + sense * np.pi / 2) * speed + (u[6:] - 0.5) for a in angles])
    return Start(pos, vel)
