"""PhysicsNet, the paper's Figure 1 from left to right (`nn/network/physics_models.py` of the original)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nn.cells import CELLS, LSTMCell, State
from nn.decoders import DECODERS
from nn.encoders import ENCODERS, VelocityEncoder
from nn.initial_state import fitted_state
from physics_models.base import BaseNet, choose
from physics_models.errors import ExperimentError
from physics_models.tasks import Task

VEL_ENCODERS = ("mlp", "gauss_newton")


class Rollout(NamedTuple):
    """One batch of frames [B, T, H, H, C], walked through the network. Positions in pixels."""

    enc_pos: tf.Tensor  # [B, L + P, 2N], encoded positions
    enc_masks: tf.Tensor  # [B·(L + P), H, H, N + 1]
    masked_objects: tf.Tensor  # [N, B·(L + P), H, H, C]
    pos_vel_seq: tf.Tensor  # [B, steps + 1, 4N], the initial state and each predicted one
    recons_out: tf.Tensor  # [B, L + P, H, H, C], decoded from the encoded positions
    output: tf.Tensor  # [B, steps, H, H, C], decoded from the predicted positions


class PhysicsNet(BaseNet):
    """Encode positions, estimate velocities, roll the physics out, decode every position to a frame.

    `task` gives L, P, H, N and the cell; `color` C = 3 or 1; `autoencoder_loss` the weight α of the
    reconstruction loss. Unknown names of parts raise `ExperimentError`.

    Not in the original: `vel_encoder` "gauss_newton" fits the initial state to the L encoded positions under the
    cell (`nn.initial_state`) instead of the velocity net "mlp"; `calibrated_coords` decodes on a grid that does not
    stretch lengths; `jit` compiles by XLA; `mixed_precision` computes the U-Net's convolutions in bfloat16, all else in
    float32.
    """

    def __init__(
        self,
        task: Task,
        color: bool = True,
        autoencoder_loss: float = 0.0,
        alt_vel: bool = False,
        encoder_type: str = "conv_encoder",
        decoder_type: str = "conv_st_decoder",
        recurrent_units: int = 100,
        lstm_layers: int = 1,
        vel_encoder: str = "mlp",
        calibrated_coords: bool = False,
        jit: bool = False,
        mixed_precision: bool = False,
    ):
        super().__init__(task, channels=3 if color else 1, jit=jit)
        self.autoencoder_loss = autoencoder_loss
        cell_class = choose(CELLS, task.cell_type, "cell_type")
        if task.n_objs == 1 and cell_class.min_objs > 1:
            raise ExperimentError(f"--cell_type={task.cell_type}: needs at least {cell_class.min_objs} objects")
        shape = (task.img_size, self.channels, task.n_objs)
        self.encoder = choose(ENCODERS, encoder_type, "encoder_type")(*shape, mixed_precision)
        self.init_vel = VelocityEncoder(task.n_objs, task.input_steps, alt_vel)
        self.decoder = choose(DECODERS, decoder_type, "decoder_type")(*shape, calibrated_coords)
        if cell_class is LSTMCell:
            self.cell = LSTMCell(task.n_objs, recurrent_units, lstm_layers)
        else:
            self.cell = cell_class(task.n_objs, task.img_size)
        self.vel_encoder = vel_encoder
        if vel_encoder not in VEL_ENCODERS:
            raise ExperimentError(f"--vel_encoder={vel_encoder}: unknown; choose one of {', '.join(VEL_ENCODERS)}")
        if vel_encoder == "gauss_newton" and (cell_class is LSTMCell or task.input_steps < 2):
            raise ExperimentError("--vel_encoder=gauss_newton: needs a physics cell and at least two input frames")
        self._start = tf.function(self._start_state, autograph=False, reduce_retracing=True)
        self._advance = tf.function(self._advance_and_decode, autograph=False, reduce_retracing=True)

    def call(self, frames: tf.Tensor, steps: int | tf.Tensor | None = None) -> Rollout:
        """Walk `frames` [B, T, H, H, C] in [0, 1] through the network.

        `steps`: how many steps to predict after the L input frames; all T − L by default.
        """
        seen = self.task.input_steps + self.task.pred_steps
        if steps is None:
            steps = tf.shape(frames)[1] - self.task.input_steps
        enc_pos, enc_masks, masked_objects = self.encode(frames[:, :seen])
        state = self.initial_state(enc_pos)
        pos_vel_seq = self.rollout(state, steps)
        recons_out, output = self.decode(enc_pos, self.positions(pos_vel_seq)[:, 1:])
        return Rollout(enc_pos, enc_masks, masked_objects, pos_vel_seq, recons_out, output)

    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Positions [B, T, 2N], masks [B·T, H, H, N + 1] and masked objects [N, B·T, H, H, C] of `frames`."""
        encoding = self.encoder(tf.reshape(frames, [-1, *frames.shape[2:]]))
        positions = tf.reshape(encoding.positions, [-1, tf.shape(frames)[1], 2 * self.task.n_objs])
        return positions, encoding.masks, encoding.masked_objects

    def initial_state(self, enc_pos: tf.Tensor) -> State:
        """The cell's state at the last input frame, from encoded positions [B, ≥ L, 2N]."""
        inputs = tf.gather(enc_pos, range(self.task.input_steps), axis=1)
        if self.vel_encoder == "gauss_newton":
            return fitted_state(self.cell, inputs)
        return self.cell.initial_state(tf.unstack(inputs, axis=1)[-1], self.init_vel(inputs))

    def rollout(self, state: State, steps: int | tf.Tensor) -> tf.Tensor:
        """Positions and velocities [B, steps + 1, 4N]: the initial `state`'s and those of `steps` cell calls."""
        states = self._states(state, steps)
        first = tf.concat(state[:2], axis=-1)[None]
        sequence = tf.concat([first, tf.concat(states[:2], axis=-1)], axis=0)
        return tf.transpose(sequence, [1, 0, 2])

    def _states(self, state: State, steps: int | tf.Tensor) -> State:
        """The states after each of `steps` cell calls, [steps, B, …]."""
        return tf.scan(lambda state, _: self.cell(state), tf.range(steps), initializer=state)

    def predict_frames(self, frames: tf.Tensor, steps: int, chunk: int = 50) -> Iterator[np.ndarray]:
        """The `steps` frames that follow the first L of `frames` [B, ≥ L, H, H, C] in [0, 1], `chunk` steps at a time.

        Yields float32 arrays [B, ≤ chunk, H, H, C], joined along time the `output` of `call`. Only one chunk is in
        memory, however many steps there are. Raises `ExperimentError` for fewer than L frames, `chunk` below 1 or
        `steps` below 0.
        """
        inputs = self.task.input_steps
        if frames.shape[1] < inputs:
            raise ExperimentError(f"{frames.shape[1]} frames to predict from; task {self.task.name} needs {inputs}")
        if chunk < 1 or steps < 0:
            raise ExperimentError(f"predict_frames: steps={steps}, chunk={chunk}; give steps from 0 and chunk from 1")
        return self._chunks(self._start(tf.convert_to_tensor(frames[:, :inputs])), steps, chunk)

    def _chunks(self, state: State, steps: int, chunk: int) -> Iterator[np.ndarray]:
        """The frames of `steps` steps from `state` on, `chunk` at a time."""
        for start in range(0, steps, chunk):
            state, predicted = self._advance(state, tf.constant(min(chunk, steps - start)))
            yield predicted.numpy()

    def _start_state(self, frames: tf.Tensor) -> State:
        """The state at the last of L input frames [B, L, H, H, C]."""
        return self.initial_state(self.encode(frames)[0])

    def _advance_and_decode(self, state: State, steps: tf.Tensor) -> tuple[State, tf.Tensor]:
        """The state `steps` cell calls after `state`, and the frames [B, steps, H, H, C] on the way."""
        states = self._states(state, steps)
        (predicted,) = self.decode(tf.transpose(states[0], [1, 0, 2]))
        return tf.nest.map_structure(lambda sequence: sequence[-1], states), predicted

    def positions(self, pos_vel_seq: tf.Tensor) -> tf.Tensor:
        """The positions [B, T, 2N] in states [B, T, 4N]."""
        return tf.split(pos_vel_seq, 2, axis=-1)[0]

    def decode(self, *position_sequences: tf.Tensor) -> list[tf.Tensor]:
        """Frames [B, T_i, H, H, C] for each of several sequences of positions [B, T_i, 2N], in one batch."""
        return [swap_channels_and_columns(rows) for rows in self.decode_rows(*position_sequences)]

    def decode_rows(self, *position_sequences: tf.Tensor) -> list[tf.Tensor]:
        """As `decode`, in the decoder's own order: [B, T_i, H, C, H], the channel before the columns."""
        flat = [tf.reshape(positions, [-1, 2 * self.task.n_objs]) for positions in position_sequences]
        rows = self.decoder.rows(tf.concat(flat, axis=0), self.decoder.sprites())
        parts = tf.split(rows, [tf.shape(positions)[0] for positions in flat])
        return [
            tf.reshape(part, tf.concat([tf.shape(positions)[:2], rows.shape[1:]], axis=0))
            for part, positions in zip(parts, position_sequences)
        ]

    def compute_losses(self, frames: tf.Tensor, rollout: Rollout) -> dict[str, tf.Tensor]:
        """Scalars `pred_loss`, `extrap_loss`, `recons_loss`, `train_loss` of a `rollout` over all T − L steps.

        Squared error summed over H, W, C, averaged over batch and time.
        """
        inputs, predicted = self.task.input_steps, self.task.pred_steps
        seen = inputs + predicted
        pred_loss = squared_error(rollout.output[:, :predicted], frames[:, inputs:seen])
        recons_loss = squared_error(rollout.recons_out, frames[:, :seen])
        return {
            "pred_loss": pred_loss,
            "extrap_loss": squared_error(rollout.output[:, predicted:], frames[:, seen:]),
            "recons_loss": recons_loss,
            "train_loss": self.combine(pred_loss, recons_loss),
        }

    def combine(self, pred_loss: tf.Tensor, recons_loss: tf.Tensor) -> tf.Tensor:
        """The training loss, pred + α·recons."""
        return pred_loss + self.autoencoder_loss * recons_loss if self.autoencoder_loss > 0 else pred_loss

    def train_loss(self, frames: tf.Tensor) -> tf.Tensor:
        """The training loss of `frames` [B, T, H, H, C]; no step beyond P is decoded, none enters the loss.

        Compared in the decoder's order of pixels: so it is the truth that is transposed, which has no gradient.
        """
        inputs, predicted = self.task.input_steps, self.task.pred_steps
        seen = inputs + predicted
        enc_pos, _, _ = self.encode(frames[:, :seen])
        pos_vel_seq = self.rollout(self.initial_state(enc_pos), predicted)
        recons_out, output = self.decode_rows(enc_pos, self.positions(pos_vel_seq)[:, 1:])
        truth = swap_channels_and_columns(frames[:, :seen])
        pred_loss = squared_error(output, truth[:, inputs:])
        return self.combine(pred_loss, squared_error(recons_out, truth))

    def parameters(self) -> dict[str, float]:
        """The learned physical parameters by name (`k`, `l`; `g`, `m`), as numbers."""
        return {name: float(value) for name, value in self.cell.parameters().items()}

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by the name that it has in the original, in the original's order."""
        parts = [
            ("encoder", layer_names("conv2d", self.encoder.unet.convs)),
            ("encoder", layer_names("conv2d_transpose", self.encoder.unet.deconvs)),
            ("encoder", layer_names("dense", self.encoder.location_net)),
            ("decoder", {"logsigma": self.decoder.logsigma}),
            ("decoder", layer_names("dense", self.decoder.dense_layers())),
            ("init_vel", layer_names("dense", self.init_vel.net)),
            (self.task.cell_type, self.cell.named_weights()),
        ]
        return {f"net/{scope}/{name}": variable for scope, names in parts for name, variable in names.items()}


def layer_names(base: str, layers: list) -> dict[str, tf.Variable]:
    """TF1's names of the variables of `layers` in call order: base/kernel, base/bias, base_1/kernel, …"""
    names = {}
    for i, layer in enumerate(layers):
        scope = f"{base}_{i}" if i else base
        names[f"{scope}/kernel"] = layer.kernel
        names[f"{scope}/bias"] = layer.bias
    return names


def swap_channels_and_columns(rows: tf.Tensor) -> tf.Tensor:
    """[B, T, H, C, W] → [B, T, H, W, C], and the other way round."""
    return tf.transpose(rows, [0, 1, 2, 4, 3])


def squared_error(frames: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Squared error of [B, T, …], summed over a frame's pixels and channels and averaged over batch and time."""
    count = tf.cast(tf.reduce_prod(tf.shape(frames)[:2]), frames.dtype)
    return 2.0 * tf.nn.l2_loss(frames - target) / count
