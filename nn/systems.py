"""Equations of motion for a user's own video: not in the original.

A cell holds learned parameters and integrates its acceleration by Runge–Kutta steps of fourth order, two for each
unit of time, which is the mean time between two frames. State as in `nn.cells`: positions and velocities [B, 2N] in
pixels and pixels per unit of time, y pointing down. Every cell has linear damping, an acceleration −2 · damping · v:
the amplitude of a swing falls as e^(−damping · t). It starts at 0.

`parameters()` of a cell are scalars; `substep` and `acceleration` take them as scalars or [B, 1, 1], one for each
trajectory, so that `physics_models.fit` integrates many trajectories at once.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from nn.cells import ODECell, State, gravity_acceleration, spring_acceleration


def anchored_spring_acceleration(positions: tf.Tensor, k_over_m: tf.Tensor, anchor: tf.Tensor) -> tf.Tensor:
    """Accelerations [B, N, 2] of bodies at `positions` [B, N, 2], each pulled to the point `anchor` [..., 2]."""
    return -k_over_m * (positions - anchor)


def pendulum_acceleration(theta: tf.Tensor, g_over_l: tf.Tensor) -> tf.Tensor:
    """Angular acceleration of a pendulum at the angle `theta` (radians, 0 hangs down); any shape."""
    return -g_over_l * tf.sin(theta)


class SystemCell(ODECell):
    """A cell whose weights are named, with their start values, in `weight_table`."""

    dt = 1.0
    substeps = 2
    #: start value by weight; a weight `log_x` gives the parameter x = e^log_x, which is positive
    weight_table: dict[str, float] = {}
    #: parameters that belong to where the camera stands, not to the system
    of_camera: tuple[str, ...] = ()

    def build(self, input_shape: Any) -> None:
        """Make `dt_x`, the weights of `weight_table`, and `damping`."""
        super().build(input_shape)
        starts = {**self.weight_table, "damping": 0.0}
        self.scalars = [self._scalar(name, value) for name, value in starts.items()]
        self.scalar_names = list(starts)

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dt_x` and the cell's weights."""
        return {**super().named_weights(), **dict(zip(self.scalar_names, self.scalars))}

    def parameters(self) -> dict[str, tf.Tensor]:
        """The physical parameters by name."""
        return physical({n: tf.convert_to_tensor(w) for n, w in zip(self.scalar_names, self.scalars)})

    def acceleration(self, positions: tf.Tensor, velocities: tf.Tensor, parameters: dict) -> tf.Tensor:
        """Accelerations [B, N, 2], without damping."""
        raise NotImplementedError

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """One Runge–Kutta step of length `h`."""

        def change(x: tf.Tensor, v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return v, self.acceleration(x, v, parameters) - 2.0 * parameters["damping"] * v

        return runge_kutta(change, positions, velocities, h)


def physical(weights: dict) -> dict:
    """The parameters of a dict of weights: x = e^log_x for a weight called log_x, others as they are."""
    return {name[4:] if name.startswith("log_") else name: tf.exp(w) if name.startswith("log_") else w
            for name, w in weights.items()}  # fmt: skip


def vector_like(positions: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The vector (x, y) for every one of `positions` [B, N, 2]; `x`, `y` scalars or [B, 1, 1]."""
    return tf.concat([x + 0.0 * positions[..., :1], y + 0.0 * positions[..., 1:]], axis=-1)


def runge_kutta(change: Any, x: tf.Tensor, v: tf.Tensor, h: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One classical Runge–Kutta step of `change`: (x, v) → (dx/dt, dv/dt)."""
    x1, v1 = change(x, v)
    x2, v2 = change(x + h / 2 * x1, v + h / 2 * v1)
    x3, v3 = change(x + h / 2 * x2, v + h / 2 * v2)
    x4, v4 = change(x + h * x3, v + h * v3)
    return x + h / 6 * (x1 + 2 * x2 + 2 * x3 + x4), v + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)


class AnchoredSpringCell(SystemCell):
    """Bodies, each on a spring to the same fixed point, or between two springs: `k_over_m` per squared unit of time."""

    weight_table = {"log_k_over_m": -4.0, "anchor_x": 16.0, "anchor_y": 16.0}
    of_camera = ("anchor_x", "anchor_y")

    def acceleration(self, positions: tf.Tensor, velocities: tf.Tensor, parameters: dict) -> tf.Tensor:
        """Towards the anchor."""
        anchor = vector_like(positions, parameters["anchor_x"], parameters["anchor_y"])
        return anchored_spring_acceleration(positions, parameters["k_over_m"], anchor)


class FallCell(SystemCell):
    """Free fall, a throw, a slide down an incline: a constant acceleration (`g_x`, `g_y`), pixels per time squared."""

    weight_table = {"g_x": 0.0, "g_y": 0.1}

    def acceleration(self, positions: tf.Tensor, velocities: tf.Tensor, parameters: dict) -> tf.Tensor:
        """The same for every body, everywhere."""
        return vector_like(positions, parameters["g_x"], parameters["g_y"])


class SpringCell(SystemCell):
    """`nn.cells.SpringODECell` with damping: `k` is stiffness by mass, `l` half the rest length (pixels)."""

    min_objs = 2
    weight_table = {"log_k": -4.0, "log_l": 1.0}

    def acceleration(self, positions: tf.Tensor, velocities: tf.Tensor, parameters: dict) -> tf.Tensor:
        """A spring from each object to the next."""
        k, half_length = (tf.reshape(parameters[name], [-1, 1]) for name in ("k", "l"))
        return spring_acceleration(positions, k, half_length)


class GravityCell(SystemCell):
    """`nn.cells.GravityODECell` with damping: `g` is the constant of gravity times the mass of a body."""

    min_objs = 2
    weight_table = {"log_g": 0.0}

    def acceleration(self, positions: tf.Tensor, velocities: tf.Tensor, parameters: dict) -> tf.Tensor:
        """Bodies of equal mass attract each other."""
        return gravity_acceleration(positions, parameters["g"])


class PendulumCell(SystemCell):
    """Bodies that swing about a pivot, each by itself: `g_over_L` per squared unit of time; damping of the angle.

    The pivot (pixels) may lie outside the frame. The length is the body's distance from it and does not change.
    `tilt` is the angle of the downward direction in the frame (radians), for a camera that is not level.
    """

    weight_table = {"log_g_over_L": -4.0, "pivot_x": 16.0, "pivot_y": 0.0, "tilt": 0.0}
    of_camera = ("pivot_x", "pivot_y", "tilt")

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """One Runge–Kutta step of the angle."""
        dx, dy = positions[..., :1] - parameters["pivot_x"], positions[..., 1:] - parameters["pivot_y"]
        length = tf.sqrt(dx * dx + dy * dy)
        theta = tf.atan2(dx, dy) - parameters["tilt"]
        spin = (velocities[..., :1] * dy - velocities[..., 1:] * dx) / (length * length)

        def change(angle: tf.Tensor, rate: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pull = pendulum_acceleration(angle, parameters["g_over_L"])
            return rate, pull - 2.0 * parameters["damping"] * rate

        theta, spin = runge_kutta(change, theta, spin, h)
        sine, cosine = tf.sin(theta + parameters["tilt"]), tf.cos(theta + parameters["tilt"])
        positions = tf.concat([parameters["pivot_x"] + length * sine, parameters["pivot_y"] + length * cosine], -1)
        return positions, spin * length * tf.concat([cosine, -sine], -1)


class BouncingCell(SystemCell):
    """Balls that fly straight between walls that they bounce off, at x = `left`, `right`, y = `top`, `bottom`: where
    the middle of a ball turns back, pixels."""

    weight_table = {"left": 2.0, "right": 30.0, "top": 2.0, "bottom": 30.0}

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """Move, then mirror at the walls."""
        velocities = velocities * (1.0 - 2.0 * h * parameters["damping"])
        positions = positions + h * velocities
        mirrored = []
        for x, v, low, high in zip(
            tf.split(positions, 2, -1), tf.split(velocities, 2, -1),
            (parameters["left"], parameters["top"]), (parameters["right"], parameters["bottom"]),
        ):  # fmt: skip
            low, high = low + 0 * x, high + 0 * x
            out = (x < low) | (x > high)
            mirrored.append((tf.where(x < low, 2 * low - x, tf.where(x > high, 2 * high - x, x)), tf.where(out, -v, v)))
        return tuple(tf.concat(parts, -1) for parts in zip(*mirrored))


CELLS = {
    "anchored_spring_cell": AnchoredSpringCell,
    "fall_cell": FallCell,
    "spring_cell": SpringCell,
    "gravity_cell": GravityCell,
    "pendulum_cell": PendulumCell,
    "bouncing_cell": BouncingCell,
}
