"""Torques for a pendulum whose equations are known up to g and a: cross-entropy method, and dynamic programming.

NumPy; angles in radians (0 is upright), speeds in radians per second, torques in newton metres.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_gen.pendulum import MAX_SPEED, MAX_TORQUE, PendulumPixels


class Model(NamedTuple):
    """What a controller knows of the pendulum."""

    world: type[PendulumPixels]  # its reward, and when it limits the speed
    g: float  # m/s²
    a: float = 1.0  # coefficient of the torque


class CrossEntropyPlanner:
    """Model-predictive control: plans `horizon` torques, takes the first, and goes on from the rest at the next step.

    The cross-entropy method: `samples` plans are drawn from a normal distribution, which then moves to the best tenth
    of them, `rounds` times. The noise of a plan is correlated in time. The state that a plan ends in has the value that
    dynamic programming gives it under the same `model` (docs/control.md says why).
    """

    horizon, samples, rounds, elites, correlation = 10, 500, 5, 50, 0.9
    smallest_spread = 0.05

    def __init__(self, model: Model, goal: float = 0.0, seed: int = 0):
        self.model, self.goal, self.after = model, goal, solve(model, goal)
        self.random = np.random.RandomState([seed, 1])  # not the stream that the episode starts from
        self.plan = np.zeros(self.horizon)

    def torque(self, angle: float, speed: float) -> float:
        """The torque to take at this state."""
        mean, spread = self.plan, np.full(self.horizon, MAX_TORQUE)
        best, best_return = mean, -np.inf
        for _ in range(self.rounds):
            plans = np.clip(mean + spread * self._noise(), -MAX_TORQUE, MAX_TORQUE)
            plans[0], plans[1] = mean, best
            returns = self.returns(angle, speed, plans)
            elite = np.argsort(returns)[-self.elites :]
            mean, spread = plans[elite].mean(0), plans[elite].std(0) + self.smallest_spread
            if returns[elite[-1]] > best_return:
                best, best_return = plans[elite[-1]], returns[elite[-1]]
        self.plan = np.append(best[1:], best[-1])
        return float(best[0])

    def returns(self, angle: float, speed: float, plans: np.ndarray) -> np.ndarray:
        """The discounted rewards [n] of `plans` [n, horizon] from one state on, and of what follows them."""
        angles, speeds, total = np.full(len(plans), angle), np.full(len(plans), speed), np.zeros(len(plans))
        for step, torques in enumerate(plans.T):
            total += self.after.discount**step * self.model.world.reward(angles, speeds, torques, self.goal)
            angles, speeds = self.model.world.advance(angles, speeds, torques, self.model.g, self.model.a)
        return total + self.after.discount**self.horizon * self.after.value(angles, speeds)

    def _noise(self) -> np.ndarray:
        white = self.random.randn(self.horizon, self.samples)
        for t in range(1, self.horizon):
            white[t] = self.correlation * white[t - 1] + (1 - self.correlation**2) ** 0.5 * white[t]
        return white.T


class DynamicProgramming:
    """The best torque at every state of a grid, by value iteration; it also values the states that plans end in."""

    angles, speeds, torques, discount, sweeps = 161, 121, 11, 0.99, 500

    def __init__(self, model: Model, goal: float = 0.0):
        self.model, self.goal = model, goal
        angle = np.linspace(-np.pi, np.pi, self.angles)[:-1]
        state = np.meshgrid(angle, np.linspace(-MAX_SPEED, MAX_SPEED, self.speeds), indexing="ij")
        self.options = np.linspace(-MAX_TORQUE, MAX_TORQUE, self.torques)
        rewards = [model.world.reward(*state, torque, goal) for torque in self.options]
        places = [self._place(*model.world.advance(*state, torque, model.g, model.a)) for torque in self.options]
        self.table = np.zeros(state[0].shape)
        for _ in range(self.sweeps):
            following = [reward + self.discount * self._read(place) for reward, place in zip(rewards, places)]
            self.table = np.max(following, axis=0)

    def torque(self, angle: float, speed: float) -> float:
        """The torque to take at this state."""
        states = self.model.world.advance(angle, speed, self.options, self.model.g, self.model.a)
        gain = self.model.world.reward(angle, speed, self.options, self.goal)
        return float(self.options[(gain + self.discount * self.value(*states)).argmax()])

    def value(self, angle: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """The discounted rewards that follow from states of any shape."""
        return self._read(self._place(angle, speed))

    def _place(self, angle: np.ndarray, speed: np.ndarray) -> tuple[np.ndarray, ...]:
        """Indices of the grid's cell that holds a state, and how far into it the state is, 0 to 1."""
        across = (angle + np.pi) / (2 * np.pi) * (self.angles - 1)
        down = (np.clip(speed, -MAX_SPEED, MAX_SPEED) + MAX_SPEED) / (2 * MAX_SPEED) * (self.speeds - 1)
        column, row = np.floor(across).astype(int), np.minimum(np.floor(down).astype(int), self.speeds - 2)
        return column % (self.angles - 1), row, across - np.floor(across), down - row

    def _read(self, place: tuple[np.ndarray, ...]) -> np.ndarray:
        """The table between the corners of a cell, bilinearly."""
        column, row, right, up = place
        following = (column + 1) % (self.angles - 1)
        low = (1 - right) * self.table[column, row] + right * self.table[following, row]
        high = (1 - right) * self.table[column, row + 1] + right * self.table[following, row + 1]
        return (1 - up) * low + up * high


@lru_cache(maxsize=8)
def solve(model: Model, goal: float) -> DynamicProgramming:
    """Dynamic programming for `model` and `goal`, a few seconds; kept for the next episode."""
    return DynamicProgramming(model, goal)
