"""From positions to frames, fast: the same numbers as `nn.plain`, which reads like the paper (section 3.3).

`RotatingDecoder` is that of a pendulum (section 4.2); `BlackBoxDecoder`, which has none of the paper's structure, is
one of the paper's ablations (section 4.1).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from nn.blocks import HIDDEN_UNITS, VariableFromNetwork, layer_names, softmax_with_background
from nn.plain import OUTSIDE_LOGIT, ConvSTDecoderPlain
from nn.stn import axis_weights


class ConvSTDecoder(ConvSTDecoderPlain):
    """`ConvSTDecoderPlain` with the spatial transformer as two matrix products: [b, 2N] (pixels) → [b, H, H, C].

    The decoder's affine map only scales and shifts: pasting a template is W_y · template · W_xᵀ.
    """

    def call(self, positions: tf.Tensor) -> tf.Tensor:
        """Frames [b, H, H, C] for `positions` [b, 2N].

        Inside, the channel stands before the columns, [N, b, H, C, W]: both products are then plain matmuls, and
        mask · contents multiplies whole rows. With the channel last this takes 1.5 to 1.8 times as long (measured
        on two cores with AVX2, forwards and backwards, 1600 frames of 32 pixels and 400 of 64).
        """
        sprites, n_objs, side = self.sprites(), self.n_objs, self.img_size
        size, batch, planes = side // 2, tf.shape(positions)[0], self.channels + 1
        parts = tf.concat([sprites.templates + OUTSIDE_LOGIT, tf.sigmoid(sprites.contents)], axis=-1)

        xy = tf.transpose(tf.reshape(positions, [-1, n_objs, 2]), [2, 1, 0])
        w_x, w_y = tf.unstack(axis_weights(xy, sprites.sigma, size, side, self.calibrated))  # [N, b, H, S] each
        template_rows = tf.reshape(tf.transpose(parts, [0, 1, 3, 2]), [n_objs, size, planes * size])
        rows = tf.matmul(tf.reshape(w_y, [n_objs, batch * side, size]), template_rows)
        pasted = tf.matmul(tf.reshape(rows, [n_objs, batch, side * planes, size]), w_x, transpose_b=True)
        pasted = tf.reshape(pasted, [n_objs, batch, side, planes, side])

        logits, contents = tf.split(pasted, [1, self.channels], axis=3)
        masks, background_mask = softmax_with_background(logits - OUTSIDE_LOGIT)
        objects = tf.reduce_sum(masks * contents, axis=0)  # [b, H, C, W]
        frames = objects + background_mask * tf.transpose(sprites.background, [0, 1, 3, 2])
        return tf.transpose(frames, [0, 1, 3, 2])


class RotatingDecoder(ConvSTDecoderPlain):
    """Frames with N learned objects turned about the frame's centre: angles [b, N] (radians) → [b, H, H, C].

    As `ConvSTDecoderPlain`, but a template has the frame's side and is turned by its angle, counter-clockwise as seen,
    where that one shifts it (section 4.2 of the paper; the original's code has none).
    """

    def __init__(self, img_size: int, channels: int, n_objs: int, calibrated: bool = True, **kwargs: Any):
        super().__init__(img_size, channels, n_objs, calibrated, **kwargs)
        self.template = VariableFromNetwork((n_objs, img_size, img_size, 1))
        self.content = VariableFromNetwork((n_objs, img_size, img_size, channels))

    def place(self, coordinates: tf.Tensor, sigma: tf.Tensor) -> list[tf.Tensor]:
        """For each object the affine maps [b, 6] that turn its template by the angle in `coordinates` [b, N]."""
        maps = []
        for angle in tf.unstack(coordinates, axis=1):
            cosine, sine, zero = sigma * tf.cos(angle), sigma * tf.sin(angle), tf.zeros_like(angle)
            maps.append(tf.stack([cosine, -sine, zero, sine, cosine, zero], axis=-1))
        return maps


class BlackBoxDecoder(tf.keras.layers.Layer):
    """Frames by a plain network, which does not know that positions are positions: [b, 2N] (pixels) → [b, H, H, C].

    Positions in half frames from the middle; dense 200 relu; dense to 64 maps of side ⌈H/4⌉, relu; two transposed
    convolutions of stride 2, 4×4, 32 relu and 16 relu; convolution 3×3 to C; what is beyond H is cut off. The paper
    has it as an ablation and gives no sizes; these have 0.7 to 0.85 times as many weights as `ConvSTDecoder`. The
    output is linear, near [0, 1] once trained: it learns faster than through a sigmoid, which starts at grey and may
    end in black.
    """

    calibrated = False  # it has no grid

    def __init__(self, img_size: int, channels: int, n_objs: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.side = -(-img_size // 4)
        upsample = {"kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"}
        self.dense = [tf.keras.layers.Dense(n, "relu") for n in (HIDDEN_UNITS, 64 * self.side**2)]
        self.deconvs = [tf.keras.layers.Conv2DTranspose(n, **upsample) for n in (32, 16)]
        self.conv = tf.keras.layers.Conv2D(channels, 3, padding="same")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for positions [b, 2N]."""
        for layer, inputs in zip(self.dense, (2 * self.n_objs, HIDDEN_UNITS)):
            layer.build((None, inputs))
        for layer, inputs in zip((*self.deconvs, self.conv), (64, 32, 16)):
            layer.build((None, None, None, inputs))
        super().build(input_shape)

    def named_weights(self) -> dict[str, tf.Variable]:
        """`dense*`, `conv2d_transpose*` and `conv2d`, each with kernel and bias: names of this port."""
        parts = {"dense": self.dense, "conv2d_transpose": self.deconvs, "conv2d": [self.conv]}
        return {name: weight for base, layers in parts.items() for name, weight in layer_names(base, layers).items()}

    def call(self, positions: tf.Tensor) -> tf.Tensor:
        """Frames [b, H, H, C] for `positions` [b, 2N]."""
        x = positions * 2.0 / self.img_size - 1.0
        for layer in self.dense:
            x = layer(x)
        x = tf.reshape(x, [-1, self.side, self.side, 64])
        for layer in (*self.deconvs, self.conv):
            x = layer(x)
        return x[:, : self.img_size, : self.img_size]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "img_size": self.img_size, "channels": self.channels, "n_objs": self.n_objs}
