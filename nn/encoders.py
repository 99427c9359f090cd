"""From frames to positions, and from positions to velocities (paper section 3.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from nn.blocks import ShallowUNet, UNet, softmax_with_background

SHALLOW_BELOW = 40  # pixels: smaller frames take the U-Net with two poolings and no pooling of the masked objects
TINY = 1e-8  # so that the angle of a direction of no length has a finite gradient, too
MIXED = "mixed_bfloat16"  # Keras's name: float32 variables, computed with in bfloat16, whose range is float32's


class Encoding(NamedTuple):
    """What the encoder finds in F frames."""

    positions: tf.Tensor  # [F, 2N], pixels
    masks: tf.Tensor  # [F, H, H, N + 1], the background last
    masked_objects: tf.Tensor  # [N, F, H, H, C]


class ConvEncoder(tf.keras.layers.Layer):
    """Positions of N objects in each frame: [F, H, H, C] → `Encoding`, positions [F, 2N] in pixels.

    A U-Net gives one logit map per object; the background's logit is the constant 1; softmax over the N + 1
    maps; each object's mask times the frame goes through one location net that all objects share
    (2×2 average pooling when H ≥ 40, dense 200 relu, dense 200 relu, dense 2); tanh(·)·H/2 + H/2.
    `mixed_precision`: the U-Net's convolutions in bfloat16; not in the original.
    Ports `conv_encoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, img_size: int, channels: int, n_objs: int, mixed_precision: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.img_size, self.channels, self.n_objs = img_size, channels, n_objs
        self.mixed_precision = mixed_precision
        self.shallow = img_size < SHALLOW_BELOW
        unet, base_channels = (ShallowUNet, 8) if self.shallow else (UNet, 16)
        self.unet = unet(base_channels, n_objs, conv_dtype=MIXED if mixed_precision else None)
        self.location_net = [
            tf.keras.layers.Dense(200, activation="relu"),
            tf.keras.layers.Dense(200, activation="relu"),
            tf.keras.layers.Dense(2),
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for frames [F, H, H, C]."""
        self.unet.build((None, self.img_size, self.img_size, self.channels))
        side = self.img_size if self.shallow else self.img_size // 2
        for layer, inputs in zip(self.location_net, (side * side * self.channels, 200, 200)):
            layer.build((None, inputs))
        super().build(input_shape)

    def call(self, frames: tf.Tensor) -> Encoding:
        """The `Encoding` of `frames` [F, H, H, C]."""
        logits = tf.transpose(self.unet(frames), [3, 0, 1, 2])[..., None]  # [N, F, H, H, 1]
        masks, background = softmax_with_background(logits)
        masked_objects = masks * frames
        x = tf.reshape(masked_objects, [-1, *frames.shape[1:]])  # [N·F, H, H, C]
        if not self.shallow:
            x = tf.nn.avg_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        for layer in self.location_net:
            x = layer(x)
        xy = tf.transpose(tf.reshape(x, [self.n_objs, -1, 2]), [1, 0, 2])
        all_masks = tf.concat([*tf.unstack(masks), background], axis=-1)
        return Encoding(self.coordinates(xy), all_masks, masked_objects)

    def coordinates(self, xy: tf.Tensor) -> tf.Tensor:
        """Positions [F, 2N] (pixels) from the location net's two numbers per object, [F, N, 2]."""
        half = self.img_size / 2
        return tf.tanh(tf.reshape(xy, [-1, 2 * self.n_objs])) * half + half

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(), "img_size": self.img_size, "channels": self.channels, "n_objs": self.n_objs,
            "mixed_precision": self.mixed_precision,
        }  # fmt: skip


class AngleEncoder(ConvEncoder):
    """Angles of N objects about the frame's centre: [F, H, H, C] → `Encoding`, positions [F, N] in radians.

    As `ConvEncoder`, but the location net's two numbers are a direction: normalised, then atan2 (section 4.2 of the
    paper; the original's code has none).
    """

    def coordinates(self, xy: tf.Tensor) -> tf.Tensor:
        """Angles [F, N] in (−π, π] of the directions (cos, sin) `xy` [F, N, 2]."""
        direction = xy * tf.math.rsqrt(tf.reduce_sum(tf.square(xy), axis=-1, keepdims=True) + TINY)
        return tf.atan2(direction[..., 1], direction[..., 0] + TINY)


class VelocityEncoder(tf.keras.layers.Layer):
    """Velocities at the last input step from L positions: [B, L, 2N] → [B, 2N], pixels per unit of time.

    Every object's L positions, step-major, through one shared net: dense 100 tanh, dense 100 tanh, dense 2.
    `alt_vel`: the L − 1 differences of positions through one dense layer. With L = 1 the velocity is zero and
    nothing is learned. Ports `vel_encoder` of `nn/network/physics_models.py`.
    """

    def __init__(self, n_objs: int, input_steps: int, alt_vel: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.n_objs, self.input_steps, self.alt_vel = n_objs, input_steps, alt_vel
        if input_steps == 1:
            self.net = []
        elif alt_vel:
            self.net = [tf.keras.layers.Dense(2)]
        else:
            hidden = [tf.keras.layers.Dense(100, activation="tanh") for _ in range(2)]
            self.net = [*hidden, tf.keras.layers.Dense(2)]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for positions [B, L, 2N]."""
        inputs = 2 * (self.input_steps - 1 if self.alt_vel else self.input_steps)
        for layer in self.net:
            layer.build((None, inputs))
            inputs = layer.units
        super().build(input_shape)

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

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(), "n_objs": self.n_objs, "input_steps": self.input_steps, "alt_vel": self.alt_vel,
        }  # fmt: skip


ENCODERS = {"conv_encoder": ConvEncoder}
