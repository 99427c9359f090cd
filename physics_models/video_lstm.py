"""VideoLSTM, the paper's baseline that is a black box throughout: frames to codes, codes through an LSTM, to frames."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from nn.blocks import layer_names
from physics_models import viz
from physics_models.base import BaseNet
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task

FILTERS = (32, 64, 128)  # of the convolutions, 4×4 with stride 2
CODE_SIZE = 256


class Prediction(NamedTuple):
    """What a `VideoLSTM` makes of one batch of frames [B, T, H, H, C]."""

    codes: tf.Tensor  # [B, L + P, 256], of the first frames
    recons_out: tf.Tensor  # [B, L + P, H, H, C], decoded from them
    output: tf.Tensor  # [B, steps, H, H, C], decoded from the predicted codes


class VideoLSTM(BaseNet):
    """Black-box encoding, dynamics and decoding; a baseline of the paper (section 4.1).

    After the future predictor of Srivastava et al. 2015 (arXiv 1502.04681, section 2): an LSTM of 2048 units reads the
    L input frames, then its own predictions. There the frames go into the LSTM as they are, or through a convolutional
    net trained elsewhere; the paper that this port is of gives no sizes. Chosen here: one LSTM for reading and
    predicting, between a convolutional encoder (4×4, stride 2, 32, 64 and 128 relu; dense to a code of 256, linear)
    and its mirror image, trained with it, its output linear: with a sigmoid, which starts at grey, the first 250 steps
    on spring_color ended in black frames. The code after a step is a dense layer's, from the LSTM's output.

    `task` gives L, P and H; its objects and cell are of no use here. `color` and `autoencoder_loss` are those of
    `PhysicsNet`, and so are the losses: the reconstruction loss decodes the codes of the L + P first frames.
    """

    def __init__(
        self, task: Task, color: bool = True, autoencoder_loss: float = 0.0, recurrent_units: int = 2048,
        lstm_layers: int = 1, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(task, channels=3 if color else 1, **kwargs)
        self.settings = {"color": color, "recurrent_units": recurrent_units, "lstm_layers": lstm_layers}
        self.autoencoder_loss = autoencoder_loss
        self.side = -(-task.img_size // 2 ** len(FILTERS))
        halve = {"kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"}
        self.convs = [tf.keras.layers.Conv2D(n, **halve) for n in FILTERS]
        self.to_code = tf.keras.layers.Dense(CODE_SIZE)
        self.stack = [tf.keras.layers.LSTMCell(recurrent_units) for _ in range(lstm_layers)]
        self.next_code = tf.keras.layers.Dense(CODE_SIZE)
        self.from_code = tf.keras.layers.Dense(self.side**2 * FILTERS[-1], "relu")
        self.deconvs = [tf.keras.layers.Conv2DTranspose(n, **halve) for n in FILTERS[-2::-1]]
        self.deconvs.append(tf.keras.layers.Conv2DTranspose(self.channels, **{**halve, "activation": None}))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make all variables for frames [B, T, H, H, C]."""
        for layer, inputs in zip(self.convs, (self.channels, *FILTERS)):
            layer.build((None, None, None, inputs))
        self.to_code.build((None, self.side**2 * FILTERS[-1]))
        inputs = CODE_SIZE
        for layer in (*self.stack, self.next_code):
            layer.build((None, inputs))
            inputs = self.settings["recurrent_units"]
        self.from_code.build((None, CODE_SIZE))
        for layer, inputs in zip(self.deconvs, FILTERS[::-1]):
            layer.build((None, None, None, inputs))
        super().build(input_shape)

    def call(self, frames: tf.Tensor, steps: int | tf.Tensor | None = None) -> Prediction:
        """Walk `frames` [B, T, H, H, C] in [0, 1] through the network.

        `steps`: how many to predict after the L input frames; all T − L by default.
        """
        inputs, seen = self.task.input_steps, self.task.input_steps + self.task.pred_steps
        if steps is None:
            steps = tf.shape(frames)[1] - inputs
        codes = self.encode(frames[:, :seen])
        zeros = tf.zeros([tf.shape(frames)[0], self.settings["recurrent_units"]])
        state = (codes[:, 0], tuple((zeros, zeros) for _ in self.stack))
        for step in range(1, inputs):
            state = (codes[:, step], self.step(state)[1])
        states = tf.scan(lambda state, _: self.step(state), tf.range(steps), initializer=state)
        predicted = tf.transpose(states[0], [1, 0, 2])
        decoded = self.decode(tf.concat([codes, predicted], axis=1))  # in one batch
        return Prediction(codes, *tf.split(decoded, [tf.shape(codes)[1], steps], axis=1))

    def encode(self, frames: tf.Tensor) -> tf.Tensor:
        """Codes [B, T, 256] of `frames` [B, T, H, H, C]."""
        x = tf.reshape(frames, [-1, *frames.shape[2:]])
        for layer in self.convs:
            x = layer(x)
        codes = self.to_code(tf.reshape(x, [-1, self.side**2 * FILTERS[-1]]))
        return tf.reshape(codes, [-1, tf.shape(frames)[1], CODE_SIZE])

    def step(self, state: tuple) -> tuple:
        """The next code [B, 256] and memories, from a code [B, 256] and each LSTM's two memories [B, units]."""
        x, memories = state
        after = []
        for layer, memory in zip(self.stack, memories):
            x, memory = layer(x, list(memory))
            after.append(tuple(memory))
        return self.next_code(x), tuple(after)

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        """Frames [B, T, H, H, C] of `codes` [B, T, 256]; not cut to [0, 1]."""
        x = self.from_code(tf.reshape(codes, [-1, CODE_SIZE]))
        x = tf.reshape(x, [-1, self.side, self.side, FILTERS[-1]])
        for layer in self.deconvs:
            x = layer(x)
        x = x[:, : self.task.img_size, : self.task.img_size]
        return tf.reshape(x, tf.concat([tf.shape(codes)[:2], self.frame_shape[2:]], axis=0))

    # The same losses, and the same way from a config.
    compute_losses = PhysicsNet.compute_losses
    train_loss = PhysicsNet.train_loss
    from_config = classmethod(PhysicsNet.from_config.__func__)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments and the class, ready for JSON: experiment.json holds them."""
        return {
            "model": "VideoLSTM", "task": asdict(self.task), "autoencoder_loss": self.autoencoder_loss, **self.settings,
        }  # fmt: skip

    def parameters(self) -> dict[str, float]:
        """None: a black box has no physical parameters."""
        return {}

    def named_variables(self) -> dict[str, tf.Variable]:
        """Every variable by its name, such as `net/encoder/conv2d/kernel`: names of this port."""
        parts = {
            "encoder/conv2d": self.convs, "encoder/dense": [self.to_code], "lstm/dense": [self.next_code],
            "decoder/dense": [self.from_code], "decoder/conv2d_transpose": self.deconvs,
        }  # fmt: skip
        named = {name: weight for base, layers in parts.items() for name, weight in layer_names(base, layers).items()}
        for i, layer in enumerate(self.stack):
            for part in ("kernel", "recurrent_kernel", "bias"):
                named[f"lstm/lstm_cell{f'_{i}' if i else ''}/{part}"] = getattr(layer, part)
        return {f"net/{name}": weight for name, weight in named.items()}

    def visualize_sequence(self, frames: tf.Tensor, save_dir: str | Path) -> None:
        """Draw up to five test sequences `frames` [n, T, H, H, C] in [0, 1], as `viz.sequences` does."""
        outputs = self.eval_step(frames)[1]
        viz.sequences(frames.numpy(), outputs.output.numpy(), outputs.recons_out.numpy(), save_dir)
