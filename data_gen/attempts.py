"""Initial states, drawn from NumPy's global stream in the original's order.

Each function draws `attempts` attempts, one after the other, and returns a `Start` with positions and
velocities [N, 2, attempts]. Angles go through `math.cos` and `math.sin`: a vectorised function of NumPy's may differ
between its versions and CPUs in the last bit (its exp does).
"""

from __future__ import annotations

import math

import numpy as np

from data_gen.sampling import Start

CIFAR_IMAGES = 50000


def unit_vectors(angle: np.ndarray) -> np.ndarray:
    """(cos, sin) of angles [A] -> [2, A]."""
    return np.array([[math.cos(a) for a in angle], [math.sin(a) for a in angle]])


def pair_in_box(attempts: int, box_size: float) -> Start:
    """One point in a box; speed in [1, 2) in a random direction (bouncing_ball)."""
    u = np.random.rand(attempts, 4).T
    return Start(u[:2][None] * box_size, (unit_vectors(u[3] * 2 * np.pi) * (u[2] + 1))[None])


def falling(attempts: int, side: float, radius: float) -> Start:
    """One ball at rest in the upper half (falling_ball)."""
    u = np.random.rand(attempts, 2).T
    pos = np.stack([u[0] * (side - 2 * radius) + radius, u[1] * (side / 2 - radius) + radius])
    return Start(pos[None], np.zeros_like(pos)[None])


def falling_bouncing(
    attempts: int, side: float, radius: float, g: float, vx0: float, vy0: float, cifar: bool
) -> Start:
    """One ball in the upper half (anywhere without gravity); extra: the CIFAR picture's index."""
    u = np.empty((attempts, 3))
    picture = np.zeros(attempts, np.int64)
    for i in range(attempts):
        u[i] = np.random.rand(3)
        if cifar:
            picture[i] = np.random.randint(CIFAR_IMAGES)
    u = u.T
    height = side / 2 - radius if g else side - 2 * radius
    pos = np.stack([u[0] * (side - 2 * radius) + radius, u[1] * height + radius])
    vel = unit_vectors(u[2] * 2 * np.pi) * np.array([[vx0], [vy0]])
    return Start(pos[None], vel[None], picture)


def spring_pair(attempts: int, side: float, radius: float, equil: float, vx0: float, vy0: float) -> Start:
    """Two balls, 2·equil·s apart with s in [0.5, 1.5), around a centre of mass at least r + equil inside."""
    u = np.random.rand(attempts, 6).T
    centre = u[:2] * (side - 2 * (radius + equil)) + radius + equil
    arm = unit_vectors(u[2] * 2 * np.pi) * equil * (u[3] + 0.5)
    speed = np.array([[vx0], [vy0]])
    vel = np.stack([unit_vectors(u[4] * 2 * np.pi) * speed, unit_vectors(u[5] * 2 * np.pi) * speed])
    return Start(np.stack([centre + arm, centre - arm]), vel)


def spring_pair_in_half(
    attempts: int, side: float, radius: float, equil: float, vx0: float, vy0: float
) -> Start:
    """As `spring_pair`, with the centre of mass's x anywhere in the left half, r from its two edges."""
    u = np.random.rand(attempts, 6).T
    centre = np.stack(
        [u[0] * (side / 2 - 2 * radius) + radius, u[1] * (side - 2 * (radius + equil)) + radius + equil]
    )
    arm = unit_vectors(u[2] * 2 * np.pi) * equil * (u[3] + 0.5)
    speed = np.array([[vx0], [vy0]])
    vel = np.stack([unit_vectors(u[4] * 2 * np.pi) * speed, unit_vectors(u[5] * 2 * np.pi) * speed])
    return Start(np.stack([centre + arm, centre - arm]), vel)


def bouncing_pair(attempts: int, side: float, radius: float, vx0: float, vy0: float) -> Start:
    """Two balls anywhere in the frame, each in its own random direction."""
    u = np.random.rand(attempts, 6).T
    pos = u[:4].reshape(2, 2, attempts) * (side - 2 * radius) + radius
    speed = np.array([[vx0], [vy0]])
    vel = np.stack([unit_vectors(u[4] * 2 * np.pi) * speed, unit_vectors(u[5] * 2 * np.pi) * speed])
    return Start(pos, vel)


def three_bodies(attempts: int, side: float, vx0: float, vy0: float) -> Start:
    """Three bodies around the frame's centre on a ragged triangle, circling it, with one common drift.

    The first two numbers of an attempt are drawn and not used, as in the original.
    """
    u = np.empty((attempts, 8))
    sense = np.empty(attempts)
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
