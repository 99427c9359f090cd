"""From positions to frames: inverse graphics run forwards (paper section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from nn.blocks import VariableFromNetwork, softmax_with_background
from nn.stn import axis_aligned_paste

OUTSIDE_LOGIT = 5.0  # added to a template and taken off after pasting: −5 outside the template


class Sprites(NamedTuple):
    """The learned pictures, which do not depend on the input: computed once a step."""

    templates: tf.Tensor  # [N, S, S, 1], mask logits
    contents: tf.Tensor  # [N, S, S, C], before the sigmoid
    background: tf.Tensor  # [1, H, H, C], after the sigmoid
    sigma: tf.Tensor  # [], scale of the templates


class Layers(NamedTuple):
    """The decoded layers of b frames, the background last."""

    masks: tf.Tensor  # [N + 1, b, H, H, 1], they sum to one
    contents: tf.Tensor  # [N + 1, b, H, H, C]


class ConvSTDecoder(tf.keras.layers.Layer):
    """Frames with N learned objects at given positions: [b, 2N] (pixels) → [b, H, H, C] in [0, 1].

    Each object has a mask template and contents of side S = H // 2, pasted at its position by the spatial
    transformer with a learned scale σ = exp(logsigma). Mask logits are −5 outside the template, and the
    constant 1 for the background; softmax over the N + 1 layers; output = Σ mask · contents.
    `calibrated`: on a grid that does not stretch lengths (see `nn.stn.axis_weights`); not in the original.
    Ports `conv_st_decoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, img_size: int, channels: int, n_objs: int, calibrated: bool = False):
        super().__init__()
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.calibrated = calibrated
        size = img_size // 2
        self.logsigma = self.add_weight(name="logsigma", shape=(), initializer="zeros")
        self.template = VariableFromNetwork((n_objs, size, size, 1))
        self.content = VariableFromNetwork((n_objs, size, size, channels))
        self.background = VariableFromNetwork((1, img_size, img_size, channels))
        self.built = True  # mostly read through `rows`, not called: Keras would warn of unbuilt state

    def dense_layers(self) -> list[tf.keras.layers.Layer]:
        """The dense layers of template, contents and background, in the original's call order."""
        return [layer for part in (self.template, self.content, self.background) for layer in part.layers()]

    def sprites(self) -> Sprites:
        """The learned templates, contents, background and scale."""
        return Sprites(
            templates=self.template.value(),
            contents=self.content.value(),
            background=tf.sigmoid(self.background.value()),
            sigma=tf.exp(tf.convert_to_tensor(self.logsigma)),
        )

    def _paste(self, positions: tf.Tensor, sprites: Sprites) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Masks of the objects [N, b, H, H] and the background [b, H, H], and the objects' contents [N, b, H, C, H]."""
        parts = tf.concat([sprites.templates + OUTSIDE_LOGIT, tf.sigmoid(sprites.contents)], axis=-1)
        pasted = axis_aligned_paste(parts, positions, sprites.sigma, self.img_size, self.calibrated)
        logits, contents = tf.split(pasted, [1, self.channels], axis=3)
        masks, background = softmax_with_background(tf.squeeze(logits, axis=3) - OUTSIDE_LOGIT)
        return masks, background, contents

    def call(self, positions: tf.Tensor, sprites: Sprites | None = None) -> tf.Tensor:
        """Frames [b, H, H, C] for `positions` [b, 2N]; `sprites` as `self.sprites()` gave them."""
        return tf.transpose(self.rows(positions, sprites), [0, 1, 3, 2])

    def rows(self, positions: tf.Tensor, sprites: Sprites | None = None) -> tf.Tensor:
        """The frames of `call` in the order in which they are painted, [b, H, C, H]: the channel before the columns."""
        sprites = sprites or self.sprites()
        masks, background_mask, contents = self._paste(positions, sprites)
        objects = tf.reduce_sum(masks[:, :, :, None, :] * contents, axis=0)
        return objects + background_mask[:, :, None, :] * tf.transpose(sprites.background, [0, 1, 3, 2])

    def layers(self, positions: tf.Tensor) -> Layers:
        """The `Layers` that `call` sums, for pictures: masks and contents of objects and background."""
        sprites = self.sprites()
        masks, background_mask, contents = self._paste(positions, sprites)
        masks = tf.concat([masks, background_mask[None]], axis=0)
        background = tf.repeat(sprites.background, tf.shape(positions)[0], axis=0)
        contents = tf.concat([tf.transpose(contents, [0, 1, 2, 4, 3]), background[None]], axis=0)
        return Layers(masks[..., None], contents)


DECODERS = {"conv_st_decoder": ConvSTDecoder}
