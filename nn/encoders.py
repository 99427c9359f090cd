"""From frames to positions, and from positions to velocities (paper section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from nn.blocks import ShallowUNet, UNet, dense

SHALLOW_BELOW = 40  # pixels: smaller frames take the U-Net with two poolings and no pooling of the masked objects


class Encoding(NamedTuple):
    """What the encoder sees in F frames."""

    positions: tf.Tensor  # [F, 2N], pixels
    masks: tf.Tensor  # [F, H, H, N + 1], the background last
    masked_objects: tf.Tensor  # [N, F, H, H, C]


class ConvEncoder(tf.keras.layers.Layer):
    """Positions of N objects in each frame: [F, H, H, C] → `Encoding`, positions [F, 2N] in pixels.

    A U-Net gives one logit map an object; the background's logit is the constant 1; softmax over the N + 1
    maps; each object's mask times the frame goes through one location net that all objects share
    (2×2 average pooling when H ≥ 40, dense 200 relu, dense 200 relu, dense 2); tanh(·)·H/2 + H/2.
    Ports `conv_encoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, img_size: int, channels: int, n_objs: int):
        super().__init__()
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.shallow = img_size < SHALLOW_BELOW
        self.unet = ShallowUNet(channels, 8, n_objs) if self.shallow else UNet(channels, 16, n_objs)
        side = img_size if self.shallow else img_size // 2
        self.location_net = [
            dense(side * side * channels, 200, "relu"),
            dense(200, 200, "relu"),
            dense(200, 2),
        ]

    def call(self, frames: tf.Tensor) -> Encoding:
        """The `Encoding` of `frames` [F, H, H, C]."""
        logits = self.unet(frames)
        background = tf.ones_like(logits[..., :1])
        masks = tf.nn.softmax(tf.concat([logits, background], axis=-1))
        object_masks = tf.transpose(masks, [3, 0, 1, 2])[: self.n_objs, ..., None]
        masked_objects = object_masks * frames
        return Encoding(self._locate(masked_objects), masks, masked_objects)

    def _locate(self, masked_objects: tf.Tensor) -> tf.Tensor:
        """Positions [F, 2N] of the masked objects [N, F, H, H, C]."""
        x = tf.reshape(masked_objects, [-1, self.img_size, self.img_size, self.channels])
        if not self.shallow:
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        for layer in self.location_net:
            x = layer(x)
        xy = tf.transpose(tf.reshape(x, [self.n_objs, -1, 2]), [1, 0, 2])
        half = self.img_size / 2
        return tf.tanh(tf.reshape(xy, [-1, 2 * self.n_objs])) * half + half


class VelocityEncoder(tf.keras.layers.Layer):
    """Velocities at the last input step from L positions: [B, L, 2N] → [B, 2N], pixels per unit time.

    Every object's L positions, step-major, through one shared net: dense 100 tanh, dense 100 tanh, dense 2.
    `alt_vel`: the L − 1 differences of positions through one dense layer. With L = 1 the velocity is zero and
    nothing is learned. Ports `vel_encoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, n_objs: int, input_steps: int, alt_vel: bool = False):
        super().__init__()
        self.n_objs, self.input_steps, self.alt_vel = n_objs, input_steps, alt_vel
        if input_steps == 1:
            self.net = []
        elif alt_vel:
            self.net = [dense(2 * (input_steps - 1), 2)]
        else:
            self.net = [dense(2 * input_steps, 100, "tanh"), dense(100, 100, "tanh"), dense(100, 2)]

    def call(self, positions: tf.Tensor) -> tf.Tensor:
        """Velocities [B, 2N] of `positions` [B, L, 2N]."""
        if not self.net:
            return tf.zeros_like(tf.squeeze(positions, axis=1))
        if self.alt_vel:
            positions = positions[:, 1:] - positions[:, :-1]
        steps = positions.shape[1]
        per_object = tf.transpose(tf.reshape(positions, [-1, steps, self.n_objs, 2]), [2, 0, 1, 3])
        x = tf.reshape(per_object, [-1, 2 * steps])
        for layer in self.net:
            x = layer(x)
        velocities = tf.transpose(tf.reshape(x, [self.n_objs, -1, 2]), [1, 0, 2])
        return tf.reshape(velocities, [-1, 2 * self.n_objs])


ENCODERS = {"conv_encoder": ConvEncoder}
