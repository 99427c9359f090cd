"""Episodes of a pendulum under a controller that sees frames, or the true state, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from data_gen.pendulum import ENVIRONMENTS, MAX_TORQUE, PendulumPixels, wrap
from physics_models.pendulum_net import PendulumNet
from runners.control import planning
from runners.control.planning import CrossEntropyPlanner, DynamicProgramming, Model


class Controller(Protocol):
    """Chooses torques from what it is shown of the pendulum."""

    def torque(self, world: PendulumPixels) -> float:
        """The torque to take now."""


class FromPixels:
    """The controller from pixels: encodes each frame, estimates the state, plans with the learned g and a.

    `told` multiplies the learned g: what the controller is told of a gravity that has changed since the training.
    With `record`, `views` has for each step a pair of frames [H, H, C]: what is seen, and what was expected.
    """

    def __init__(
        self, net: PendulumNet, environment: str, goal: float, seed: int, told: float = 1.0, record: bool = False
    ):
        learned = net.parameters()
        self.net, self.angle_0 = net, float(net.cell.angle_0.numpy())
        self.told, self.record = told, record
        self.model = Model(ENVIRONMENTS[environment], told * learned["g"], learned["a"])
        self.planner = CrossEntropyPlanner(self.model, goal, seed)
        self.angles: list[float] = []  # of the last frames, seen from the learned upright
        self.torques: list[float] = []
        self.views: list[tuple[np.ndarray, np.ndarray]] = []
        self.expected: np.ndarray | None = None

    def torque(self, world: PendulumPixels) -> float:
        """Look at the pendulum, and choose."""
        frame = world.frame()
        self.angles.append(see_angle(self.net, frame) - self.angle_0)
        angle, speed = self.estimate()
        torque = self.planner.torque(angle, speed)
        self.torques.append(torque)
        if self.record:
            seen = self.net.to_float(tf.constant(frame)).numpy()
            self.views.append((seen, seen if self.expected is None else self.expected))
            following = self.model.world.advance(angle, speed, torque, self.model.g, self.model.a)[0]
            self.expected = draw_angle(self.net, following + self.angle_0)
        return torque

    def estimate(self) -> tuple[float, float]:
        """Angle and speed now, from the last L frames and the torques between them; of fewer, from what there is."""
        count = self.net.task.input_steps
        last = np.array(self.angles[-count:])
        if len(last) < count:
            speed = wrap(last[-1] - last[-2]) / float(self.net.cell.dt_x.numpy()) if len(last) > 1 else 0.0
            return float(last[-1]), float(speed)
        turned = tf.constant(last[None, :, None] + self.angle_0, tf.float32)
        known = tf.constant([self.torques[-(count - 1) :]], tf.float32)
        angle, speed = _state(self.net, turned, known, tf.constant(self.told, tf.float32))
        return float(angle) - self.angle_0, float(speed)


class FromState:
    """Plans with the true state and the true parameters."""

    def __init__(self, planner: CrossEntropyPlanner | DynamicProgramming):
        self.planner = planner

    def torque(self, world: PendulumPixels) -> float:
        """Look up the state, and choose."""
        return self.planner.torque(*world.state)


class Blind:
    """Torques at random, or none."""

    def __init__(self, largest: float, seed: int = 0):
        self.largest, self.random = largest, np.random.RandomState([seed, 1])

    def torque(self, world: PendulumPixels) -> float:
        """Choose."""
        return float(self.random.uniform(-self.largest, self.largest))


def reference(
    name: str, environment: str, gravity: float, goal: float, told: bool = True
) -> Callable[[int], Controller]:
    """The controller `name` for an episode's seed: none, random, state (cross-entropy method) or programming.

    It is given the true state, and the true gravity, `gravity` times 10 m/s², where it is `told`.
    """
    model = Model(ENVIRONMENTS[environment], 10.0 * (gravity if told else 1.0))
    if name == "programming":
        return lambda seed: FromState(planning.solve(model, goal))
    if name == "state":
        return lambda seed: FromState(CrossEntropyPlanner(model, goal, seed))
    return lambda seed: Blind(MAX_TORQUE if name == "random" else 0.0, seed)


class Episode(NamedTuple):
    """What came of an episode."""

    total: float  # the return
    controller: Controller


def play(world: PendulumPixels, controller: Controller, seed: int, goal: float) -> Episode:
    """One episode from the random state of `seed`; rewards count angles from `goal`."""
    world.reset(np.random.RandomState(seed))
    return Episode(sum(world.step(controller.torque(world), goal) for _ in range(world.steps)), controller)


def summary(returns: list[float]) -> dict[str, Any]:
    """Mean and standard error of `returns`, and these."""
    error = float(np.std(returns, ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else None
    return {"mean": float(np.mean(returns)), "standard_error": error, "returns": returns}


@tf.function(autograph=False, reduce_retracing=True)
def _encode(net: PendulumNet, frame: tf.Tensor) -> tf.Tensor:
    return net.encoder(frame).positions


@tf.function(autograph=False, reduce_retracing=True)
def _decode(net: PendulumNet, angle: tf.Tensor) -> tf.Tensor:
    return net.decoder(angle)


@tf.function(autograph=False, reduce_retracing=True)
def _state(net: PendulumNet, angles: tf.Tensor, torques: tf.Tensor, gravity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    angle, speed = net.initial_state(angles, torques, gravity)
    return angle[0, 0], speed[0, 0]


def see_angle(net: PendulumNet, frame: np.ndarray) -> float:
    """The encoded angle of uint8 `frame` [H, H, 3]."""
    return float(_encode(net, net.to_float(tf.constant(frame[None])))[0, 0])


def draw_true(environment: str, angle: float, side: int) -> np.ndarray:
    """The environment's frame uint8 [side, side, 3] at an angle."""
    world = ENVIRONMENTS[environment](side=side)
    world.state = np.array([angle, 0.0])
    return world.frame()


def draw_angle(net: PendulumNet, angle: float) -> np.ndarray:
    """The decoded frame [H, H, C] in [0, 1] of an angle."""
    return _decode(net, tf.constant([[angle]], tf.float32))[0].numpy()
