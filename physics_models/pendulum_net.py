"""PendulumNet: a pendulum driven by known torques, learned from frames (section 4.2 of the paper).

The paper's code for it was never published. The parts are PhysicsNet's with one angle in place of a position: see
`nn.encoders.AngleEncoder`, `nn.decoders.RotatingDecoder`, `nn.cells.ActuatedPendulumCell`.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from nn.cells import ActuatedPendulumCell, State
from nn.decoders import RotatingDecoder
from nn.encoders import AngleEncoder
from physics_models.base import BaseNet
from physics_models.physics_net import PhysicsNet, Rollout
from physics_models.tasks import Task

Batch = tuple  # (frames [B, T, H, H, C] in [0, 1], torques [B, T − 1]: torque t leads from frame t to frame t + 1)


def wrap(angle: tf.Tensor) -> tf.Tensor:
    """`angle` (radians, any shape) plus a whole number of turns, in [−π, π)."""
    return tf.math.floormod(angle + math.pi, 2 * math.pi) - math.pi


class PendulumNet(PhysicsNet):
    """Encode angles, fit the state to them, roll it out under the torques, decode every angle to a frame.

    A batch is (frames, torques). The state at the last input frame is the least-squares solution for the L encoded
    angles under the known torques, in place of the velocity net.
    """

    # A picture far from the right angle has no useful gradient by the angle, but a large one: with seed 0 it emptied
    # the encoder's mask within 100 steps.
    encoder_waits = True

    def __init__(
        self, task: Task, color: bool = True, autoencoder_loss: float = 0.0, mixed_precision: bool = False,
        **kwargs: Any,
    ):  # fmt: skip
        BaseNet.__init__(self, task, channels=3 if color else 1, **kwargs)
        self.settings = {"model": "PendulumNet", "color": color, "mixed_precision": mixed_precision}
        self.autoencoder_loss = autoencoder_loss
        self.coordinates = task.n_objs
        self.track_objects, self.separate_gradients, self.vel_encoder = False, False, "gauss_newton"
        self.encoder = AngleEncoder(task.img_size, self.channels, task.n_objs, mixed_precision)
        self.decoder = RotatingDecoder(task.img_size, self.channels, task.n_objs)
        self.init_vel = None  # `initial_state` has no weights
        self.cell = ActuatedPendulumCell(task.n_objs, task.img_size)
        batch = tf.TensorSpec(self.frame_shape, tf.float32), tf.TensorSpec([None, None], tf.float32)
        self.eval_step = tf.function(self._eval_step, input_signature=[batch], autograph=False)

    def build(self, input_shape: Any) -> None:
        """Make all variables, for frames [B, T, H, H, C]."""
        state = (None, self.coordinates)
        self.encoder.build((None, *self.frame_shape[2:]))
        self.decoder.build(state)
        self.cell.build((state, state))
        BaseNet.build(self, input_shape)

    def call(self, batch: Batch, steps: int | tf.Tensor | None = None) -> Rollout:
        """Walk a batch through the network; the positions of the `Rollout` are angles, radians."""
        frames, torques = batch
        inputs, seen = self.task.input_steps, self.task.input_steps + self.task.pred_steps
        steps = tf.shape(frames)[1] - inputs if steps is None else steps
        angles, masks, masked_objects = self.encode(frames[:, :seen])
        states = self.rollout(self.initial_state(angles, torques), steps, torques[:, inputs - 1 :])
        decoded = self.decode(tf.concat([angles, self.positions(states)[:, 1:]], axis=1))
        recons_out, output = tf.split(decoded, [tf.shape(angles)[1], steps], axis=1)
        return Rollout(angles, masks, masked_objects, states, recons_out, output)

    def initial_state(self, enc_pos: tf.Tensor, torques: tf.Tensor | None = None, gravity: float = 1.0) -> State:
        """Angle and speed [B, 1] at the last input frame, from angles [B, ≥ L, 1] and `torques` [B, ≥ L − 1].

        Least squares: the angles less what the accelerations add to them lie on a line. Without `torques` they are 0.
        `gravity`: what g is now, by what it was in training.
        """
        inputs, dt = self.task.input_steps, tf.convert_to_tensor(self.cell.dt_x)
        angles = tf.gather(enc_pos[..., 0], range(inputs), axis=1)
        torques = tf.zeros_like(angles) if torques is None else torques
        turned = tf.cumsum(wrap(angles[:, 1:] - angles[:, :-1]), axis=1)
        back = tf.concat([tf.zeros_like(angles[:, :1]), turned], axis=1) - turned[:, -1:]  # from the last frame
        speeds = dt * tf.cumsum(self.cell.acceleration(angles[:, :-1], torques[:, : inputs - 1], gravity), axis=1)
        moved = tf.cumsum(tf.pad(speeds, [[0, 0], [1, 0]]), axis=1) * dt
        line = back - (moved - moved[:, -1:]) + dt * speeds[:, -1:] * tf.range(1.0 - inputs, 1.0)
        time = tf.range(inputs, dtype=tf.float32) - (inputs - 1) / 2  # frames
        slope = tf.reduce_sum(line * time, axis=1, keepdims=True) / tf.reduce_sum(time**2)
        middle = tf.reduce_mean(line, axis=1, keepdims=True)
        speed = tf.clip_by_value(slope / dt, -self.cell.max_speed, self.cell.max_speed)
        return angles[:, -1:] + middle + slope * (inputs - 1) / 2, speed

    def rollout(self, state: State, steps: int | tf.Tensor, torques: tf.Tensor | None = None) -> tf.Tensor:
        """Angles and speeds [B, steps + 1, 2] from `state` on, under `torques` [B, ≥ steps]; 0 by default."""
        if torques is None:
            torques = tf.zeros([tf.shape(state[0])[0], steps])
        by_time = tf.transpose(torques)[:steps]  # [steps, B]
        states = tf.scan(lambda state, torque: self.cell(state, torque=torque[:, None]), by_time, initializer=state)
        first = tf.concat(state, axis=-1)[None]
        return tf.transpose(tf.concat([first, tf.concat(states, axis=-1)], axis=0), [1, 0, 2])

    def compute_losses(self, batch: Batch, rollout: Rollout) -> dict[str, tf.Tensor]:
        """As `PhysicsNet.compute_losses`, for the frames of a batch."""
        return super().compute_losses(self.frames_of(batch), rollout)

    def train_loss(self, batch: Batch) -> tf.Tensor:
        """As `PhysicsNet.train_loss`, for a batch."""
        frames, torques = batch
        seen = frames[:, : self.task.input_steps + self.task.pred_steps]
        losses = self.compute_losses((seen, torques), self((seen, torques)))
        return losses["pred_loss"] + self.autoencoder_loss * losses["recons_loss"]

    def position_loss(self, batch: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Squared error (radians²), averaged over batch and steps, of the angles that follow the first L of a batch
        (angles [B, L + P, 1], torques [B, ≥ L + P − 1])."""
        angles, torques = batch
        inputs, steps = self.task.input_steps, self.task.pred_steps
        states = self.rollout(self.initial_state(angles, torques), steps, torques[:, inputs - 1 :])
        away = wrap(self.positions(states)[:, 1:] - angles[:, inputs : inputs + steps])
        return tf.reduce_mean(tf.square(away))

    def places(self, angles: tf.Tensor) -> tf.Tensor:
        """Where a rod at `angles` [F, 1] has its middle, about: [F, 2] in pixels."""
        half, quarter = self.task.img_size / 2, self.task.img_size / 4
        return half - quarter * tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)

    def to_float(self, batch: Any) -> Any:
        """The frames of a batch (frames, torques) in [0, 1], and the torques; of frames alone, these."""
        if isinstance(batch, tuple):
            return super().to_float(batch[0]), tf.convert_to_tensor(batch[1])
        return super().to_float(batch)

    def frames_of(self, batch: Batch) -> tf.Tensor:
        """The frames of a batch."""
        return batch[0]
