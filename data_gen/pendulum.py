"""A pendulum driven by a torque (section 4.2 of the paper): motion, pictures, environments, data files.

The paper's code for it was never published. `PendulumPixels` follows the environment in the authors' fork of PlaNet
(seuqaj114/planet, 2019), `GymnasiumPendulum` shows Gymnasium's own Pendulum-v1 (extra `control`). Angles are radians,
0 is upright and counter-clockwise is positive; speeds are radians per second, torques newton metres.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from data_gen.dataset import check_settings, frame_side
from data_gen.errors import DataError
from data_gen.files import SPLITS, check_destination, save_dataset, save_samples

DT, MAX_SPEED, MAX_TORQUE = 0.05, 8.0, 2.0  # seconds; radians per second; newton metres
FIRST_SPEED = 6.0  # of the data files' sequences, radians per second at most
CANVAS, ROD, WIDTH, HUB = 260, 120.0, 20.0, 10.0  # pixels: side of the picture that is shrunk, rod, axle's radius
RED, BLACK, WHITE = np.array([[255.0, 0, 0], [0, 0, 0], [255, 255, 255]])
AT_ONCE = 64  # frames


def wrap(angle: np.ndarray | float) -> np.ndarray | float:
    """`angle` plus a whole number of turns, in [−π, π)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def acceleration(angle: np.ndarray, torque: np.ndarray, g: float = 10.0, a: float = 1.0) -> np.ndarray:
    """Angular acceleration of a rod of 1 m and 1 kg under gravity `g` (m/s²) and a times `torque`; any shape."""
    return 1.5 * g * np.sin(angle) + 3.0 * a * torque


def shrinking(source: int, target: int) -> np.ndarray:
    """The weights [target, source] of a triangle filter that shrinks a line of `source` pixels to `target`."""
    scale = source / target
    away = (np.arange(source) + 0.5) / scale - (np.arange(target)[:, None] + 0.5)
    weights = np.maximum(1.0 - np.abs(away), 0.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def render_pendulum(angle: np.ndarray, side: int = 64) -> np.ndarray:
    """Frames uint8 [n, side, side, 3] of a red rod at `angle` [n] with a black axle, on white."""
    weights = shrinking(CANVAS, side)
    middles = np.arange(CANVAS, dtype=np.float32) + np.float32(0.5 - CANVAS / 2)
    x, y = middles[None, None, :], middles[None, :, None]
    hub = (weights @ ((x[0] ** 2 + y[0] ** 2) < HUB**2).astype(np.float32) @ weights.T)[None, ..., None]
    frames = np.empty((len(angle), side, side, 3), np.uint8)
    for start in range(0, len(angle), AT_ONCE):
        turned = np.float32(angle[start : start + AT_ONCE, None, None])
        sine, cosine = np.sin(turned), np.cos(turned)
        along, across = -x * sine - y * cosine, x * cosine - y * sine
        on_rod = (along >= 0) & (along <= ROD) & (np.abs(across) <= WIDTH / 2) & (x * x + y * y >= HUB**2)
        rod = (weights @ on_rod.astype(np.float32) @ weights.T)[..., None]
        frames[start : start + AT_ONCE] = np.rint(rod * RED + hub * BLACK + (1 - rod - hub) * WHITE)
    return frames


class PendulumPixels:
    """The authors' environment: 50 steps; the reward of a step is 1 − |angle|/π, between 0 and 1.

    `gravity` multiplies the 10 m/s². `state`: angle and speed.
    """

    steps, first_angle, first_speed = 50, np.pi / 2, 2.0

    def __init__(self, gravity: float = 1.0, side: int = 64):
        self.g, self.side = 10.0 * gravity, side
        self.state = np.zeros(2)

    def reset(self, random: np.random.RandomState) -> None:
        """Begin an episode at a random state."""
        self.state = random.uniform(-1.0, 1.0, 2) * [self.first_angle, self.first_speed]

    def step(self, torque: float, goal: float = 0.0) -> float:
        """Move on by `DT` under `torque`, which is limited; returns the reward of the state before, for `goal`."""
        torque = float(np.clip(torque, -MAX_TORQUE, MAX_TORQUE))
        reward = float(self.reward(self.state[0], self.state[1], torque, goal))
        self.state = np.array(self.advance(*self.state, torque, self.g))
        return reward

    @staticmethod
    def reward(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray, goal: float = 0.0) -> np.ndarray:
        """The reward of states and torques of any shape; angles count from `goal`."""
        return 1.0 - np.abs(wrap(angle - goal)) / np.pi + 0.0 * (speed + torque)

    @staticmethod
    def advance(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray, g: float, a: float = 1.0) -> tuple:
        """(angle, speed) a step later, any shape: the speed is limited after the angle has moved."""
        speed = speed + DT * acceleration(angle, torque, g, a)
        return angle + DT * speed, np.clip(speed, -MAX_SPEED, MAX_SPEED)

    def frame(self) -> np.ndarray:
        """What the camera sees, uint8 [side, side, 3]."""
        return render_pendulum(self.state[:1], self.side)[0]


class GymnasiumPendulum(PendulumPixels):
    """Gymnasium's Pendulum-v1: 200 steps, reward −(angle² + 0.1 speed² + 0.001 torque²); pictures are Gymnasium's.

    The arrow that shows the torque is left out; the middle of the picture is shrunk as in `PendulumPixels`. Raises
    `DataError` where Gymnasium or pygame are not installed.
    """

    steps, first_angle, first_speed = 200, np.pi, 1.0

    def __init__(self, gravity: float = 1.0, side: int = 64):
        super().__init__(gravity, side)
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures alone: no window, no complaint that there is none
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import gymnasium
            import pygame  # noqa: F401  Gymnasium draws with it

            self.pendulum = gymnasium.make("Pendulum-v1", render_mode="rgb_array", g=self.g).unwrapped
        except Exception as error:  # Gymnasium's own errors cannot be named without it
            needs = "Gymnasium's pendulum needs gymnasium and pygame: pip install -e '.[control]'"
            raise DataError(f"{needs} ({error})") from error
        self.pendulum.reset(seed=0)

    def step(self, torque: float, goal: float = 0.0) -> float:
        """As there; the motion is Gymnasium's."""
        torque = float(np.clip(torque, -MAX_TORQUE, MAX_TORQUE))
        reward = float(self.reward(self.state[0], self.state[1], torque, goal))
        self.pendulum.state = self.state
        self.pendulum.step(np.array([torque]))
        self.state = np.array(self.pendulum.state, float)
        return reward

    @staticmethod
    def reward(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray, goal: float = 0.0) -> np.ndarray:
        """The reward of states and torques of any shape; angles count from `goal`."""
        return -(wrap(angle - goal) ** 2 + 0.1 * speed**2 + 0.001 * torque**2)

    @staticmethod
    def advance(angle: np.ndarray, speed: np.ndarray, torque: np.ndarray, g: float, a: float = 1.0) -> tuple:
        """(angle, speed) a step later, any shape: the speed is limited before the angle moves."""
        speed = np.clip(speed + DT * acceleration(angle, torque, g, a), -MAX_SPEED, MAX_SPEED)
        return angle + DT * speed, speed

    def frame(self) -> np.ndarray:
        """What the camera sees, uint8 [side, side, 3]."""
        self.pendulum.state, self.pendulum.last_u = self.state, None
        picture = self.pendulum.render()
        border = (len(picture) - CANVAS) // 2
        middle = Image.fromarray(picture[border : border + CANVAS, border : border + CANVAS])
        return np.asarray(middle.resize((self.side, self.side), Image.Resampling.BILINEAR))


ENVIRONMENTS = {"pendulum": PendulumPixels, "gymnasium": GymnasiumPendulum}


def generate_pendulum_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | int | None = None, g: float = 10.0, environment: str = "pendulum", **output: Any,
) -> dict[str, float]:
    """Sequences of a pendulum under random torques: any angle, speeds up to 6 rad/s, torques up to 2 N·m at random.

    Besides the arrays of `data_gen.generators` the file holds `{split}_actions` [sequences, T − 1]: torque t leads from
    frame t to frame t + 1. `pos`, `vel` are the rod's tip in pixels and pixels per second. `g` is in m/s².
    """
    begin = time.perf_counter()
    side = frame_side(64 if img_size is None else img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"img_size": side, "seq_len": seq_len, "g": g, "color": True, "dt": DT, "environment": environment}
    check_settings(sizes, settings)
    path = check_destination(dest, output.get("overwrite", True))
    world = ENVIRONMENTS[environment](g / 10.0, side)
    total = sum(sizes)
    angle, speed = (np.empty((total, seq_len)) for _ in range(2))
    angle[:, 0] = np.random.uniform(-np.pi, np.pi, total)
    speed[:, 0] = np.random.uniform(-FIRST_SPEED, FIRST_SPEED, total)
    actions = np.random.uniform(-MAX_TORQUE, MAX_TORQUE, (total, seq_len - 1))
    for t in range(seq_len - 1):
        angle[:, t + 1], speed[:, t + 1] = world.advance(angle[:, t], speed[:, t], actions[:, t], world.g)
    frames = render_all(world, angle.reshape(-1)).reshape(total, seq_len, side, side, 3)
    along = -np.stack([np.sin(angle), np.cos(angle)], axis=-1)[:, :, None]
    around = -np.stack([np.cos(angle), -np.sin(angle)], axis=-1)[:, :, None]
    length = ROD * side / CANVAS
    arrays: dict[str, Any] = {}
    for name, array in (
        ("x", frames), ("pos", np.float32(side / 2 + length * along)),
        ("vel", np.float32(length * speed[:, :, None, None] * around)), ("actions", np.float32(actions)),
    ):  # fmt: skip
        arrays.update(zip((f"{split}_{name}" for split in SPLITS), np.split(array, np.cumsum(sizes)[:-1])))
    counts = {"accepted": total, "attempts": total}
    meta = {"task": "", "seed": None, **(output.get("meta") or {}), "physics": settings, "version": 1, **counts}
    save_dataset(path, {**arrays, "meta": meta})
    save_samples(path, frames, output.get("overwrite", True))
    return {**counts, "seconds": time.perf_counter() - begin}


def render_all(world: PendulumPixels, angles: np.ndarray) -> np.ndarray:
    """Frames uint8 [n, side, side, 3] of `world` at `angles` [n]."""
    if not isinstance(world, GymnasiumPendulum):
        return render_pendulum(angles, world.side)
    frames = np.empty((len(angles), world.side, world.side, 3), np.uint8)
    for frame, angle in zip(frames, angles):
        world.state = np.array([angle, 0.0])
        frame[:] = world.frame()
    return frames


def tip_angle(positions: np.ndarray, side: int) -> np.ndarray:
    """Angles [...] of a rod whose tip is at `positions` [..., 2] in frames of `side` pixels."""
    return np.arctan2(side / 2 - positions[..., 0], side / 2 - positions[..., 1])


def largest_held(g: float, a: float = 1.0) -> float:
    """The largest |sin(angle)| at which the largest torque holds the rod: 2a·2/g, at most 1."""
    return min(2.0 * a * MAX_TORQUE / g, 1.0)
