"""PhysicsNet, the paper's Figure 1 from left to right (`nn/network/physics_models.py` of the original)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nn import cells, systems
from nn.blocks import layer_names
from nn.cells import InteractionNetworkCell, LSTMCell, State
from nn.decoders import BlackBoxDecoder, ConvSTDecoder
from nn.encoders import ENCODERS, VelocityEncoder
from nn.initial_state import fitted_state
from nn.plain import ConvSTDecoderPlain
from nn.tracking import track
from physics_models import viz
from physics_models.base import BaseNet, choose
from physics_models.errors import ExperimentError
from physics_models.experiment import save_npz
from physics_models.tasks import Task

CELLS = {**cells.CELLS, **systems.CELLS}
DECODERS = {
    "conv_st_decoder": ConvSTDecoder,
    "conv_st_decoder_plain": ConvSTDecoderPlain,
    "black_box": BlackBoxDecoder,
}
BLACK_BOXES = (LSTMCell, InteractionNetworkCell)
VEL_ENCODERS = {"mlp": VelocityEncoder, "gauss_newton": fitted_state}


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
    reconstruction loss; the others are the flags of `runners/run_physics.py`. Unknown names of parts raise
    `ExperimentError`.

    Not in the original: `vel_encoder` "gauss_newton" fits the initial state to the L encoded positions under the
    cell (`nn.initial_state`) instead of the velocity net "mlp"; `calibrated_coords` decodes on a grid that keeps
    lengths (`nn.stn.grid_points`); `track_objects` keeps the names of objects that look the same (`nn.tracking`);
    `mixed_precision` computes the U-Net's convolutions but the last in bfloat16, all else in float32;
    `separate_gradients`, an ablation of the paper's (section 4.1), trains encoder and decoder by the reconstruction
    loss alone, velocity net and cell by the prediction loss alone.
    """

    encoder_waits = False  # in the stage `autoencoder`: see `supervision.autoencoder_loss`

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
        track_objects: bool = False,
        mixed_precision: bool = False,
        separate_gradients: bool = False,
        **kwargs: Any,
    ):
        super().__init__(task, channels=3 if color else 1, **kwargs)
        self.settings = {
            "color": color, "alt_vel": alt_vel, "encoder_type": encoder_type, "decoder_type": decoder_type,
            "recurrent_units": recurrent_units, "lstm_layers": lstm_layers, "vel_encoder": vel_encoder,
            "calibrated_coords": calibrated_coords, "track_objects": track_objects, "mixed_precision": mixed_precision,
            "separate_gradients": separate_gradients,
        }  # fmt: skip
        self.autoencoder_loss = autoencoder_loss
        self.coordinates = 2 * task.n_objs  # in a frame
        self.vel_encoder, self.track_objects = vel_encoder, track_objects
        self.separate_gradients = separate_gradients
        cell_class = choose(CELLS, task.cell_type, "cell_type")
        if task.n_objs < cell_class.min_objs:
            raise ExperimentError(f"--cell_type={task.cell_type}: needs at least {cell_class.min_objs} objects")
        choose(VEL_ENCODERS, vel_encoder, "vel_encoder")
        if vel_encoder == "gauss_newton" and (cell_class in BLACK_BOXES or task.input_steps < 2):
            raise ExperimentError("--vel_encoder=gauss_newton: needs a physics cell and at least two input frames")
        shape = (task.img_size, self.channels, task.n_objs)
        self.encoder = choose(ENCODERS, encoder_type, "encoder_type")(*shape, mixed_precision)
        smallest = 2**self.encoder.unet.depth  # each pooling halves the frame
        if task.img_size < smallest:
            raise ExperimentError(f"frames of {task.img_size} pixels are too small; give --img_size={smallest} or more")
        self.init_vel = VelocityEncoder(task.n_objs, task.input_steps, alt_vel)
        decoder_class = choose(DECODERS, decoder_type, "decoder_type")
        if decoder_class is BlackBoxDecoder and calibrated_coords:
            raise ExperimentError("--calibrated_coords: --decoder_type=black_box has no grid; leave out one of them")
        self.decoder = decoder_class(*shape, **({"calibrated": True} if calibrated_coords else {}))
        if cell_class is LSTMCell:
            self.cell = LSTMCell(task.n_objs, recurrent_units, lstm_layers)
        else:
            self.cell = cell_class(task.n_objs, task.img_size)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make all variables, in the original's order, for frames [B, T, H, H, C]."""
        coordinates = (None, self.coordinates)
        self.encoder.build((None, *self.frame_shape[2:]))
        self.decoder.build(coordinates)
        self.init_vel.build((None, self.task.input_steps, coordinates[1]))
        self.cell.build((coordinates, coordinates))
        super().build(input_shape)

    def call(self, frames: tf.Tensor, steps: int | tf.Tensor | None = None) -> Rollout:
        """Walk `frames` [B, T, H, H, C] in [0, 1] through the network.

        `steps`: how many steps to predict after the L input frames; all T − L by default.
        """
        seen = self.task.input_steps + self.task.pred_steps
        if steps is None:
            steps = tf.shape(frames)[1] - self.task.input_steps
        enc_pos, enc_masks, masked_objects = self.encode(frames[:, :seen])
        pos_vel_seq = self.rollout(self.initial_state(enc_pos), steps)
        predicted = self.positions(pos_vel_seq)[:, 1:]
        # Encoded and predicted positions are decoded in one batch.
        decoded = self.decode(tf.concat([enc_pos, predicted], axis=1))
        recons_out, output = tf.split(decoded, [tf.shape(enc_pos)[1], steps], axis=1)
        return Rollout(enc_pos, enc_masks, masked_objects, pos_vel_seq, recons_out, output)

    def encode(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Positions [B, T, 2N], masks [B·T, H, H, N + 1] and masked objects [N, B·T, H, H, C] of `frames`."""
        encoding = self.encoder(tf.reshape(frames, [-1, *frames.shape[2:]]))
        positions = tf.reshape(encoding.positions, [-1, tf.shape(frames)[1], self.coordinates])
        if self.track_objects:  # masks and masked objects stay in each frame's order
            positions = track(positions)
        return positions, encoding.masks, encoding.masked_objects

    def initial_state(self, enc_pos: tf.Tensor) -> State:
        """The cell's state at the last input frame, from encoded positions [B, ≥ L, 2N]."""
        inputs = tf.gather(enc_pos, range(self.task.input_steps), axis=1)
        if self.vel_encoder == "gauss_newton":
            return fitted_state(self.cell, inputs)
        return self.cell.initial_state(tf.unstack(inputs, axis=1)[-1], self.init_vel(inputs))

    def rollout(self, state: State, steps: int | tf.Tensor) -> tf.Tensor:
        """Positions and velocities [B, steps + 1, 4N]: the initial `state`'s and those of `steps` cell calls."""
        states = tf.scan(lambda state, _: self.cell(state), tf.range(steps), initializer=state)  # [steps, B, …]
        first = tf.concat(state[:2], axis=-1)[None]
        sequence = tf.concat([first, tf.concat(states[:2], axis=-1)], axis=0)
        return tf.transpose(sequence, [1, 0, 2])

    def positions(self, pos_vel_seq: tf.Tensor) -> tf.Tensor:
        """The positions [B, T, 2N] in states [B, T, 4N]."""
        return tf.split(pos_vel_seq, 2, axis=-1)[0]

    def decode(self, positions: tf.Tensor) -> tf.Tensor:
        """Frames [B, T, H, H, C] of `positions` [B, T, 2N]."""
        frames = self.decoder(tf.reshape(positions, [-1, self.coordinates]))
        return tf.reshape(frames, tf.concat([tf.shape(positions)[:2], self.frame_shape[2:]], axis=0))

    def compute_losses(self, frames: tf.Tensor, rollout: Rollout) -> dict[str, tf.Tensor]:
        """Scalars `pred_loss`, `extrap_loss`, `recons_loss` of a `rollout` over all T − L steps of `frames`.

        Squared error summed over H, W, C, averaged over batch and time.
        """
        inputs, predicted = self.task.input_steps, self.task.pred_steps
        seen = inputs + predicted
        return {
            "pred_loss": squared_error(rollout.output[:, :predicted], frames[:, inputs:seen]),
            "extrap_loss": squared_error(rollout.output[:, predicted:], frames[:, seen:]),
            "recons_loss": squared_error(rollout.recons_out, frames[:, :seen]),
        }

    def train_loss(self, frames: tf.Tensor) -> tf.Tensor:
        """pred_loss + α·recons_loss of `frames` [B, T, H, H, C] in [0, 1]; no step beyond P is computed."""
        seen = frames[:, : self.task.input_steps + self.task.pred_steps]
        losses = self.compute_losses(seen, self(seen))
        if self.autoencoder_loss > 0:
            return losses["pred_loss"] + self.autoencoder_loss * losses["recons_loss"]
        return losses["pred_loss"]

    def position_loss(self, positions: tf.Tensor) -> tf.Tensor:
        """Squared error, summed over the 2N coordinates and averaged over batch and steps, pixels².

        `positions` [B, L + P, 2N]: the first L give the initial state, the roll-out is compared with the other P.
        """
        first, last = self.task.input_steps, self.task.input_steps + self.task.pred_steps
        state, errors = self.initial_state(positions), []
        for target in tf.unstack(positions, axis=1)[first:last]:
            state = self.cell(state)
            errors.append(tf.reduce_sum(tf.math.squared_difference(state[0], target), axis=-1))
        return tf.reduce_mean(errors)

    def places(self, positions: tf.Tensor) -> tf.Tensor:
        """Where the objects are, [F, 2N] in pixels, for what the encoder calls `positions` [F, 2N]: the same."""
        return positions

    def loss_and_gradients(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """As in `BaseNet`; with `separate_gradients` each part has the gradient of its own term of the loss."""
        if not self.separate_gradients:
            return super().loss_and_gradients(frames)
        variables = self.variables_by_name(trainable_only=True)
        seen = self.to_float(frames)[:, : self.task.input_steps + self.task.pred_steps]
        with tf.GradientTape(persistent=True) as tape:
            losses = self.compute_losses(seen, self(seen))
            pred, recons = losses["pred_loss"], self.autoencoder_loss * losses["recons_loss"]
        sees = {name: name.startswith(("net/encoder/", "net/decoder/")) for name in variables}
        of_vision = iter(tape.gradient(recons, [v for name, v in variables.items() if sees[name]]))
        of_dynamics = iter(tape.gradient(pred, [v for name, v in variables.items() if not sees[name]]))
        return pred + recons, [next(of_vision if sees[name] else of_dynamics) for name in variables]

    def parameters(self) -> dict[str, float]:
        """The learned physical parameters by name (`k`, `l`; `g`, `m`), as numbers."""
        return {name: float(value) for name, value in self.cell.parameters().items()}

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by the name that it has in the original, in the original's order."""
        parts = [
            ("encoder", layer_names("conv2d", self.encoder.unet.convs)),
            ("encoder", layer_names("conv2d_transpose", self.encoder.unet.deconvs)),
            ("encoder", layer_names("dense", self.encoder.location_net)),
            ("decoder", self.decoder.named_weights()),
            ("init_vel", layer_names("dense", self.init_vel.net if self.init_vel else [])),
            (self.task.cell_type, self.cell.named_weights()),
        ]
        return {f"net/{scope}/{name}": variable for scope, names in parts for name, variable in names.items()}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON: experiment.json holds them, and nothing of Keras's."""
        return {"task": asdict(self.task), "autoencoder_loss": self.autoencoder_loss, **self.settings}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PhysicsNet:
        """The network of a `get_config()`; a `KeyError`, `TypeError` or `ValueError` for a damaged one.

        Names that the constructor does not know, as in the markers of version 1, are ignored.
        """
        known = inspect.signature(cls.__init__).parameters
        settings = {name: value for name, value in config.items() if name in known}
        return cls(**{**settings, "task": Task(**config["task"])})

    def visualize_sequence(self, frames: tf.Tensor, save_dir: str | Path) -> None:
        """Draw up to five test sequences `frames` [n, T, H, H, C] in [0, 1] and write `extra_outputs.npz`.

        The pictures of `viz.sequences`, and `templates.jpg`: sigmoid(contents) above sigmoid(templates − 5), which a
        black-box decoder does not have.
        """
        outputs = self.eval_step(frames)[1]
        truth = self.frames_of(frames).numpy()
        viz.sequences(truth, outputs.output.numpy(), outputs.recons_out.numpy(), save_dir)
        extra = self.extra_outputs(outputs)
        save_npz(f"{save_dir}/extra_outputs.npz", extra)
        if "templates" in extra:
            templates = np.repeat(extra["templates"], self.channels, axis=-1)
            sprites = np.concatenate([viz.sigmoid(extra["contents"]), viz.sigmoid(templates - 5.0)])
            viz.save_picture(f"{save_dir}/templates.jpg", viz.gallery(sprites, self.task.n_objs))

    def extra_outputs(self, outputs: Rollout) -> dict[str, np.ndarray]:
        """The arrays of `extra_outputs.npz`, float32, from the rollout `outputs` of n sequences.

        `contents` [N, S, S, C] and `templates` [N, S, S, 1] before the sigmoid; `background_content` [1, H, H, C];
        `transf_contents`, `transf_masks` [N + 1, n, H, H, C] of the last step, the background last;
        `enc_masks` [n(L+P), H, H, N + 1]; `masked_objs` [N, n(L+P), H, H, C]. These two alone with a black-box decoder.
        """
        arrays = {}
        if not isinstance(self.decoder, BlackBoxDecoder):
            sprites = self.decoder.sprites()
            layers = self.decoder.layers(self.positions(outputs.pos_vel_seq)[:, -1])
            arrays = {
                "contents": sprites.contents,
                "templates": sprites.templates,
                "background_content": sprites.background,
                "transf_contents": layers.contents,
                "transf_masks": tf.repeat(layers.masks, self.channels, axis=-1),
            }
        arrays.update(enc_masks=outputs.enc_masks, masked_objs=outputs.masked_objects)
        return {name: array.numpy() for name, array in arrays.items()}


def squared_error(frames: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Squared error of [B, T, …], summed over a frame's pixels and channels and averaged over batch and time."""
    count = tf.cast(tf.reduce_prod(tf.shape(frames)[:2]), frames.dtype)
    return 2.0 * tf.nn.l2_loss(frames - target) / count
