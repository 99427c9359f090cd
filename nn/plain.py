"""The decoder as the paper writes it: from positions to frames through the spatial transformer (section 3.3).

Read this one first. `nn.decoders` computes the same numbers faster; every golden and gradient holds for both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from nn.blocks import LATENT_SIZE, VariableFromNetwork, layer_names
from nn.stn import spatial_transformer

OUTSIDE_LOGIT = 5.0  # added to a template and taken off after pasting: −5 outside the template


class Sprites(NamedTuple):
    """The learned pictures, which do not depend on the input: computed once per step."""

    templates: tf.Tensor  # [N, S, S, 1], mask logits
    contents: tf.Tensor  # [N, S, S, C], before the sigmoid
    background: tf.Tensor  # [1, H, H, C], after the sigmoid
    sigma: tf.Tensor  # [], scale of the templates


class Layers(NamedTuple):
    """The decoded layers of b frames, the background last."""

    masks: tf.Tensor  # [N + 1, b, H, H, 1], they sum to one
    contents: tf.Tensor  # [N + 1, b, H, H, C]


class ConvSTDecoderPlain(tf.keras.layers.Layer):
    """Frames with N learned objects at given positions: [b, 2N] (pixels) → [b, H, H, C] in [0, 1].

    Each object has a mask template and contents of side S = H // 2, pasted at its position by the spatial
    transformer with a learned scale σ = exp(logsigma). Mask logits are −5 outside the template, and the
    constant 1 for the background; softmax over the N + 1 layers; output = Σ mask · contents.
    `calibrated`: on a grid that keeps lengths (see `nn.stn.grid_points`); not in the original.
    Ports `conv_st_decoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, img_size: int, channels: int, n_objs: int, calibrated: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.calibrated = calibrated
        size = img_size // 2
        self.template = VariableFromNetwork((n_objs, size, size, 1))
        self.content = VariableFromNetwork((n_objs, size, size, channels))
        self.background = VariableFromNetwork((1, img_size, img_size, channels))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights: `logsigma` and three small networks; for positions [b, 2N]."""
        self.logsigma = self.add_weight(name="logsigma", shape=(), initializer="zeros")
        for part in (self.template, self.content, self.background):
            part.build((1, LATENT_SIZE))
        super().build(input_shape)

    def dense_layers(self) -> list[tf.keras.layers.Layer]:
        """The dense layers of template, contents and background, in the original's call order."""
        return [layer for part in (self.template, self.content, self.background) for layer in part.dense_layers]

    def named_weights(self) -> dict[str, tf.Variable]:
        """`logsigma` and `dense*/{kernel,bias}`, by their names in the original."""
        return {"logsigma": self.logsigma, **layer_names("dense", self.dense_layers())}

    def sprites(self) -> Sprites:
        """The learned templates, contents, background and scale."""
        ones = tf.ones([1, LATENT_SIZE])
        return Sprites(
            templates=self.template(ones),
            contents=self.content(ones),
            background=tf.sigmoid(self.background(ones)),
            sigma=tf.exp(tf.convert_to_tensor(self.logsigma)),
        )

    def call(self, positions: tf.Tensor) -> tf.Tensor:
        """Frames [b, H, H, C] for `positions` [b, 2N]."""
        layers = self.layers(positions)
        return tf.reduce_sum(layers.masks * layers.contents, axis=0)

    def layers(self, positions: tf.Tensor) -> Layers:
        """Masks and contents of every object and of the background, for `positions` [b, 2N]."""
        sprites, batch = self.sprites(), tf.shape(positions)[0]
        logits, contents = [], []
        for i, theta in enumerate(self.place(positions, sprites.sigma)):
            sprite = tf.concat([sprites.templates[i] + OUTSIDE_LOGIT, tf.sigmoid(sprites.contents[i])], axis=-1)
            pasted = spatial_transformer(
                tf.repeat(sprite[None], batch, axis=0),
                theta,
                (self.img_size, self.img_size),
                self.calibrated,
            )
            logits.append(pasted[..., :1] - OUTSIDE_LOGIT)
            contents.append(pasted[..., 1:])
        masks = tf.nn.softmax(tf.stack([*logits, tf.ones_like(logits[0])]), axis=0)
        return Layers(masks, tf.stack([*contents, tf.repeat(sprites.background, batch, axis=0)]))

    def place(self, coordinates: tf.Tensor, sigma: tf.Tensor) -> list[tf.Tensor]:
        """For each object the affine maps [b, 6] that scale its template by 1/σ and put its middle at `coordinates`
        [b, 2N] (pixels)."""
        maps, (zero, scale) = [], (tf.zeros_like(coordinates[:, 0]), sigma * tf.ones_like(coordinates[:, 0]))
        half = self.img_size / 2 if self.calibrated else self.img_size // 2
        shifts = tf.unstack((self.img_size / 2 - coordinates) / half * sigma, axis=1)
        for shift_x, shift_y in zip(shifts[::2], shifts[1::2]):
            maps.append(tf.stack([scale, zero, shift_x, zero, scale, shift_y], axis=-1))
        return maps

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(), "img_size": self.img_size, "channels": self.channels, "n_objs": self.n_objs,
            "calibrated": self.calibrated,
        }  # fmt: skip
