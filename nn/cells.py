"""The differentiable physics engine (`nn/network/cells.py` of the original; paper section 3.1).

The equations of motion are plain functions of state and parameters; a cell holds the learned parameters,
as logarithms, and integrates them: five sub-steps of dt/5 in each call. State: positions and velocities
[B, 2N], laid out x1, y1, x2, y2, … in pixels and pixels per unit time.
"""

from __future__ import annotations

import itertools
from typing import Any

import tensorflow as tf

from nn.blocks import layer_names

SAME_POINT = 1e-6  # pixels: two objects nearer than this count as one point; their distance has no gradient
BALL_RADIUS = 2.0  # pixels: the original's bouncing cell knows only this ball

State = tuple  # (positions [B, 2N], velocities [B, 2N], and for black-box dynamics the LSTM memories)


def spring_acceleration(positions: tf.Tensor, k: tf.Tensor, half_length: tf.Tensor) -> tf.Tensor:
    """Accelerations [B, N, 2] of a chain of unit masses: a spring from each object to the next.

    `positions` [B, N, 2] pixels; stiffness `k`; the rest length is 2·`half_length` pixels. N = 2 is the original.
    Objects nearer than `SAME_POINT` have the original's force, but its gradient takes their distance as constant: the
    original's is infinite at one point, and its weights become NaN.
    """
    objects = tf.unstack(positions, axis=1)
    acceleration = [tf.zeros_like(xy) for xy in objects]
    for i in range(len(objects) - 1):
        d = objects[i] - objects[i + 1]
        squared = tf.reduce_sum(tf.square(d), axis=-1, keepdims=True)
        apart = squared > SAME_POINT**2
        d = tf.where(apart, d, tf.stop_gradient(d))
        r = tf.sqrt(tf.where(apart, squared, tf.stop_gradient(squared)))
        force = k * (r - 2.0 * half_length) * (d / (r + 1e-4))
        acceleration[i] -= force
        acceleration[i + 1] += force
    return tf.stack(acceleration, axis=1)


def gravity_acceleration(positions: tf.Tensor, a: tf.Tensor) -> tf.Tensor:
    """Accelerations [B, N, 2] of bodies that attract each other: −a·Σ d/r³ over the others.

    `positions` [B, N, 2] pixels, `a` = g·m². r² is clipped to [0.1, 1e5], and r in the cube to [1, 170].
    """
    d = positions[:, :, None] - positions[:, None]  # [B, N, N, 2]
    r = tf.sqrt(tf.clip_by_value(tf.reduce_sum(tf.square(d), axis=-1, keepdims=True), 0.1, 1e5))
    r = tf.clip_by_value(r, 1.0, 170.0)
    return -a * tf.reduce_sum(d / (r * r * r), axis=2)


def reflect(positions: tf.Tensor, velocities: tf.Tensor, wall: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror `positions` (pixels) at the walls `wall` and 0, and flip those `velocities`; any shape.

    The position is mirrored at the upper wall first, and the result at the lower one, as in the original: from far
    outside it may be mirrored twice.
    """
    beyond, before = positions + BALL_RADIUS > wall, positions - BALL_RADIUS < 0.0
    velocities = tf.where(beyond | before, -velocities, velocities)
    positions = tf.where(beyond, 2.0 * (wall - BALL_RADIUS) - positions, positions)
    return tf.where(positions - BALL_RADIUS < 0.0, 2.0 * BALL_RADIUS - positions, positions), velocities


class ODECell(tf.keras.layers.Layer):
    """One time step of an equation of motion: (positions, velocities), each [B, 2N], to the next.

    A subclass gives `substep`. `img_size` is the frame's side, pixels. `dt_x` is the original's variable for the
    time step; it is not trained. Ports `ode_cell`.
    """

    dt: float
    substeps = 5  # in each call
    min_objs = 1

    def __init__(self, n_objs: int, img_size: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.n_objs, self.img_size = n_objs, img_size

    def build(self, input_shape: Any) -> None:
        """Make the variable `dt_x`; for positions and velocities [B, 2N] each."""
        self.dt_x = self._scalar("dt_x", self.dt, trainable=False)
        super().build(input_shape)

    def _scalar(self, name: str, value: float, trainable: bool = True) -> tf.Variable:
        constant = tf.keras.initializers.Constant(value)
        return self.add_weight(name=name, shape=(), initializer=constant, trainable=trainable)

    def initial_state(self, positions: tf.Tensor, velocities: tf.Tensor) -> State:
        """The state that a rollout starts from."""
        return positions, velocities

    def call(self, state: State) -> State:
        """The state one time step later."""
        positions, velocities = (tf.reshape(x, [-1, self.n_objs, 2]) for x in state)
        h = tf.convert_to_tensor(self.dt_x) / self.substeps
        parameters = self.parameters()
        for _ in range(self.substeps):
            positions, velocities = self.substep(positions, velocities, h, parameters)
        return tuple(tf.reshape(x, [-1, 2 * self.n_objs]) for x in (positions, velocities))

    def parameters(self) -> dict[str, tf.Tensor]:
        """The physical parameters by name, exponentials of the learned logarithms."""
        return {}

    def named_weights(self) -> dict[str, tf.Variable]:
        """The cell's variables by their names in the original."""
        return {"dt_x": self.dt_x}

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """Positions and velocities [B, N, 2] a time `h` later."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "n_objs": self.n_objs, "img_size": self.img_size}


class BouncingODECell(ODECell):
    """Balls that fly straight and bounce off the walls, not off each other; nothing is learned.

    The original's walls stand at 0 and 32 pixels, whatever the frame; here at the frame's edges.
    """

    dt = 0.3

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """Move, then mirror at the walls."""
        return reflect(positions + h * velocities, velocities, float(self.img_size))


class SpringODECell(ODECell):
    """Objects on springs, each tied to the next: stiffness e^log_k, rest length 2·e^log_l pixels."""

    dt = 0.3
    min_objs = 2

    def build(self, input_shape: Any) -> None:
        """Make the variables `dt_x`, `log_k`, `log_l`."""
        super().build(input_shape)
        self.log_k = self._scalar("log_k", 0.0)
        self.log_l = self._scalar("log_l", 0.0)

    def parameters(self) -> dict[str, tf.Tensor]:
        """Stiffness `k` (per unit of time squared) and half the rest length, `l` (pixels)."""
        return {"k": tf.exp(tf.convert_to_tensor(self.log_k)), "l": tf.exp(tf.convert_to_tensor(self.log_l))}

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dt_x`, `log_k`, `log_l`."""
        return {**super().named_weights(), "log_k": self.log_k, "log_l": self.log_l}

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """New velocities first, then positions with them."""
        velocities += h * spring_acceleration(positions, parameters["k"], parameters["l"])
        return positions + h * velocities, velocities


class GravityODECell(ODECell):
    """Bodies of equal mass under gravity: g = e^log_g learned, m = e^log_m not."""

    dt = 0.5
    min_objs = 2

    def build(self, input_shape: Any) -> None:
        """Make the variables `dt_x`, `log_g`, `log_m`."""
        super().build(input_shape)
        self.log_g = self._scalar("log_g", 0.0)
        self.log_m = self._scalar("log_m", 0.0, trainable=False)

    def parameters(self) -> dict[str, tf.Tensor]:
        """Gravity `g` (pixels³ per unit of time squared, acts as g·m²) and mass `m` (no unit)."""
        return {"g": tf.exp(tf.convert_to_tensor(self.log_g)), "m": tf.exp(tf.convert_to_tensor(self.log_m))}

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dt_x`, `log_g`, `log_m`."""
        return {**super().named_weights(), "log_g": self.log_g, "log_m": self.log_m}

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """New velocities first, then positions with them."""
        a = parameters["g"] * tf.square(parameters["m"])
        velocities += h * gravity_acceleration(positions, a)
        return positions + h * velocities, velocities


class ActuatedPendulumCell(ODECell):
    """A rod about a fixed pivot, driven by a torque (section 4.2 of the paper; the original's code has none).

    State: angle and angular speed [B, 1], radians (0 is upright, counter-clockwise is positive) and radians per second.
    g = e^log_g (m/s²) and the torque's coefficient a = e^log_a are learned, for a rod of 1 m and 1 kg; `angle_0` is the
    angle that the learned picture is upright at. One sub-step a frame, as the environments take: with more, g and a
    come out wrong.
    """

    dt = 0.05  # seconds
    substeps = 1
    max_speed = 8.0  # radians per second

    def build(self, input_shape: Any) -> None:
        """Make the variables `dt_x`, `log_g`, `log_a`, `angle_0`."""
        super().build(input_shape)
        self.log_g, self.log_a = self._scalar("log_g", 0.0), self._scalar("log_a", 0.0)
        self.angle_0 = self._scalar("angle_0", 0.0)

    def call(self, state: State, torque: tf.Tensor | float = 0.0) -> State:
        """The state a frame later, under `torque` [B, 1]."""
        return self.substep(*state, tf.convert_to_tensor(self.dt_x), {"torque": torque})

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """The speed first, which has a limit, then the angle with it."""
        speed = velocities + h * self.acceleration(positions, parameters["torque"])
        speed = tf.clip_by_value(speed, -self.max_speed, self.max_speed)
        return positions + h * speed, speed

    def acceleration(self, angle: tf.Tensor, torque: tf.Tensor | float, gravity: float = 1.0) -> tf.Tensor:
        """Angular acceleration, radians per second squared: 3g/2·sin(angle) + 3a·torque, g times `gravity`; the shape
        of `angle`."""
        p = self.parameters()
        return 1.5 * gravity * p["g"] * tf.sin(angle - tf.convert_to_tensor(self.angle_0)) + 3.0 * p["a"] * torque

    def parameters(self) -> dict[str, tf.Tensor]:
        """Gravity `g` (m/s²) and the coefficient of the torque, `a`."""
        return {"g": tf.exp(tf.convert_to_tensor(self.log_g)), "a": tf.exp(tf.convert_to_tensor(self.log_a))}

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dt_x`, `log_g`, `log_a`, `angle_0`: names of this port."""
        return {**super().named_weights(), "log_g": self.log_g, "log_a": self.log_a, "angle_0": self.angle_0}


class LSTMCell(tf.keras.layers.Layer):
    """Black-box dynamics: positions and velocities [B, 4N] through a stack of LSTMs, a dense layer to the next
    positions [B, 2N]; the velocity is the difference of positions.

    The paper's baseline; in the original `lstm` stands in the table of cells, but nothing uses it.
    """

    min_objs = 1

    def __init__(self, n_objs: int, recurrent_units: int = 100, lstm_layers: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.n_objs, self.recurrent_units, self.lstm_layers = n_objs, recurrent_units, lstm_layers
        self.stack = [tf.keras.layers.LSTMCell(recurrent_units) for _ in range(lstm_layers)]
        self.readout = tf.keras.layers.Dense(2 * n_objs)

    def build(self, input_shape: Any) -> None:
        """Make the weights of the LSTMs and of the dense layer."""
        inputs = 4 * self.n_objs
        for layer in (*self.stack, self.readout):
            layer.build((None, inputs))
            inputs = self.recurrent_units
        super().build(input_shape)

    def initial_state(self, positions: tf.Tensor, velocities: tf.Tensor) -> State:
        """Positions, velocities, and every LSTM's two memories [B, units] at zero."""
        zeros = tf.zeros([tf.shape(positions)[0], self.recurrent_units])
        return (positions, velocities, *((zeros, zeros) for _ in self.stack))

    def call(self, state: State) -> State:
        """The state one time step later."""
        positions, velocities, *memories = state
        x = tf.concat([positions, velocities], axis=-1)
        after = []
        for layer, memory in zip(self.stack, memories):
            x, memory = layer(x, list(memory))
            after.append(tuple(memory))
        moved = positions + self.readout(x)
        return (moved, moved - positions, *after)

    def parameters(self) -> dict[str, tf.Tensor]:
        """None: a black box has no physical parameters."""
        return {}

    def named_weights(self) -> dict[str, tf.Variable]:
        """`lstm_cell*/{kernel,recurrent_kernel,bias}` and `dense/{kernel,bias}`: names of this port."""
        names = {}
        for i, layer in enumerate(self.stack):
            for part in ("kernel", "recurrent_kernel", "bias"):
                names[f"lstm_cell{f'_{i}' if i else ''}/{part}"] = getattr(layer, part)
        return {**names, "dense/kernel": self.readout.kernel, "dense/bias": self.readout.bias}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(), "n_objs": self.n_objs, "recurrent_units": self.recurrent_units,
            "lstm_layers": self.lstm_layers,
        }  # fmt: skip


class InteractionNetworkCell(ODECell):
    """Black-box dynamics of pairs: the interaction network of Battaglia et al. 2016 (arXiv 1612.00222).

    A relation net turns the states of receiver and sender, of each ordered pair, into an effect of 50 numbers; an
    object net turns a state and the sum of the effects on it into the change of its velocity. The sizes are that
    paper's. Chosen here: states are in half frames, pairs and objects have no attributes, and it is the change of
    velocity (pixels per step), not the new velocity. A baseline of the paper (section 4.1).
    """

    dt, substeps = 1.0, 1
    min_objs = 2

    def __init__(self, n_objs: int, img_size: int = 32, **kwargs: Any):
        super().__init__(n_objs, img_size, **kwargs)
        self.relation_net = [*(tf.keras.layers.Dense(150, "relu") for _ in range(4)), tf.keras.layers.Dense(50)]
        self.object_net = [tf.keras.layers.Dense(100, "relu"), tf.keras.layers.Dense(2)]

    def build(self, input_shape: Any) -> None:
        """Make the variable `dt_x` and the weights of both nets; for positions and velocities [B, 2N] each."""
        super().build(input_shape)
        for net, inputs in ((self.relation_net, 2 * 4), (self.object_net, 4 + 50)):
            for layer in net:
                layer.build((None, None, inputs))
                inputs = layer.units

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dt_x`, `relation/dense*/{kernel,bias}` and `object/dense*/{kernel,bias}`: names of this port."""
        nets = {"relation/dense": self.relation_net, "object/dense": self.object_net}
        named = [layer_names(name, net) for name, net in nets.items()]
        return {**super().named_weights(), **named[0], **named[1]}

    def substep(self, positions: tf.Tensor, velocities: tf.Tensor, h: tf.Tensor, parameters: dict) -> State:
        """New velocities first, then positions with them."""
        states = tf.concat([positions * 2.0 / self.img_size - 1.0, velocities * 2.0 / self.img_size], axis=-1)
        pairs = zip(*itertools.permutations(range(self.n_objs), 2))  # receivers, senders; receiver by receiver
        x = tf.concat([tf.gather(states, each, axis=1) for each in pairs], axis=-1)  # [B, N·(N − 1), 8]
        for layer in self.relation_net:
            x = layer(x)
        effects = tf.reduce_sum(tf.reshape(x, [-1, self.n_objs, self.n_objs - 1, 50]), axis=2)
        x = tf.concat([states, effects], axis=-1)
        for layer in self.object_net:
            x = layer(x)
        return positions + h * (velocities + x), velocities + x


CELLS = {
    "bouncing_ode_cell": BouncingODECell,
    "spring_ode_cell": SpringODECell,
    "gravity_ode_cell": GravityODECell,
    "lstm": LSTMCell,
    "interaction_network": InteractionNetworkCell,
}
