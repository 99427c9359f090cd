"""From frames to positions, and from positions to velocities (paper section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from nn.blocks import MIXED, ShallowUNet, UNet, built, dense, softmax_with_background

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
    `mixed_precision`: the U-Net's convolutions in bfloat16; not in the original.
    Ports `conv_encoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, img_size: int, channels: int, n_objs: int, mixed_precision: bool = False):
        super().__init__()
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.shallow = img_size < SHALLOW_BELOW
        dtype = MIXED if mixed_precision else None
        self.unet = (ShallowUNet if self.shallow else UNet)(channels, 8 if self.shallow else 16, n_objs, dtype=dtype)
        side = img_size if self.shallow else img_size // 2
        self.location_net = [
            ImageDense(side, channels, 200),
            dense(200, 200, "relu"),
            dense(200, 2),
        ]

    def call(self, frames: tf.Tensor) -> Encoding:
        """The `Encoding` of `frames` [F, H, H, C]."""
        objects, background = softmax_with_background(tf.transpose(self.unet(frames), [3, 0, 1, 2]))
        masks = tf.transpose(tf.concat([objects, background[None]], axis=0), [1, 2, 3, 0])
        return Encoding(self._locate(objects, frames), masks, objects[..., None] * frames)

    def _locate(self, masks: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
        """Positions [F, 2N] of the objects that the `masks` [N, F, H, H] cut out of `frames` [F, H, H, C].

        Here the channel stands before the columns: mask · frame is then a product of whole rows of pixels, much
        faster than with C numbers in a row.
        """
        x = masks[:, :, :, None, :] * tf.transpose(frames, [0, 1, 3, 2])
        if not self.shallow:
            x = average_pairs(x)
        x = tf.reshape(x, [-1, x.shape[2] * x.shape[3] * x.shape[4]])
        for layer in self.location_net:
            x = layer(x)
        xy = tf.transpose(tf.reshape(x, [self.n_objs, -1, 2]), [1, 0, 2])
        half = self.img_size / 2
        return tf.tanh(tf.reshape(xy, [-1, 2 * self.n_objs])) * half + half


class ImageDense(tf.keras.layers.Dense):
    """A relu layer on flattened images, [·, H·C·H] → [·, units], the channel standing before the columns.

    Its weights have the original's order, the channel last.
    """

    def __init__(self, side: int, channels: int, units: int):
        super().__init__(units, activation="relu")
        self.image = (side, side, channels, units)
        built(self, None, side * side * channels)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """`images` [·, H·C·H] → [·, units]."""
        kernel = tf.transpose(tf.reshape(tf.convert_to_tensor(self.kernel), self.image), [0, 2, 1, 3])
        kernel = tf.reshape(kernel, [-1, self.units])
        return tf.nn.relu(tf.nn.bias_add(tf.matmul(images, kernel), tf.convert_to_tensor(self.bias)))


def average_pairs(images: tf.Tensor) -> tf.Tensor:
    """2×2 average pooling of `images` whose channel stands before the columns: [N, F, H, C, W] → [N, F, H/2, C, W/2].

    Columns by a matrix product: the same as `tf.nn.avg_pool2d` of [N·F, H, W, C].
    """
    n, _, height, channels, width = images.shape
    rows = tf.reduce_sum(tf.reshape(images, [n, -1, height // 2, 2, channels * width]), axis=3)
    pairs = tf.repeat(tf.eye(width // 2), 2, axis=0) / 4.0  # [W, W/2]
    return tf.reshape(tf.matmul(tf.reshape(rows, [-1, width]), pairs), [n, -1, height // 2, channels, width // 2])


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
        self.built = True  # never called where the state is fitted instead: Keras would warn of unbuilt state

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
