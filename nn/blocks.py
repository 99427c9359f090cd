"""The convolutional and learned-constant blocks (`nn/network/blocks.py` of the original)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

LATENT_SIZE = 10
HIDDEN_UNITS = 200


def resize_bilinear_tf1(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """TF1's `resize_bilinear`: [F, h, w, K] → [F, *size, K].

    Output index i samples the input at i · in/out, without the half-pixel centres that
    `tf.image.resize` uses; the last row and column are repeated.
    """
    _, height, width, _ = images.shape
    if tuple(size) == (2 * height, 2 * width):
        return upsample_twice(images)
    return tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=False, half_pixel_centers=False)


@tf.custom_gradient
def upsample_twice(images: tf.Tensor) -> tuple:
    """`resize_bilinear_tf1` to twice the size, [F, h, w, K] → [F, 2h, 2w, K], with a gradient nine times as fast.

    On each axis up[2i] = x[i] and up[2i + 1] = (x[i] + x[i + 1]) / 2, but up[2h − 1] = x[h − 1]. So x[i] gets
    g[2i] + (g[2i − 1] + g[2i + 1]) / 2, and the last one the whole of g[2h − 1]: a depthwise convolution of
    stride 2. TensorFlow's own kernel for this gradient runs on one core.
    """
    _, height, width, channels = images.shape
    size = (2 * height, 2 * width)
    up = tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=False, half_pixel_centers=False)

    def gradient(g: tf.Tensor) -> tf.Tensor:
        triangle = tf.constant([0.5, 1.0, 0.5])
        kernel = tf.tile((triangle[:, None] * triangle)[:, :, None, None], [1, 1, channels, 1])
        # A row and a column more at the end: the share of x[h], which is x[h − 1] repeated.
        shares = tf.nn.depthwise_conv2d(g, kernel, [1, 2, 2, 1], [[0, 0], [1, 2], [1, 2], [0, 0]])
        shares, last = tf.split(shares, [height, 1], axis=1)
        shares += tf.pad(last, [[0, 0], [height - 1, 0], [0, 0], [0, 0]])
        shares, last = tf.split(shares, [width, 1], axis=2)
        return tf.cast(shares + tf.pad(last, [[0, 0], [0, 0], [width - 1, 0], [0, 0]]), images.dtype)

    return up, gradient


@tf.custom_gradient
def softmax_with_background(logits: tf.Tensor) -> tuple:
    """Masks of N objects and of the background, which sum to one: logits [N, …] → ([N, …], […]).

    The background's logit is the constant 1: this is `tf.nn.softmax(tf.concat([logits, ones], 0), axis=0)`,
    whose kernel is slow over so few maps, and transposes them before and after. The gradient is p·(g − Σ p·g).
    """
    highest = tf.maximum(tf.reduce_max(logits, axis=0), 1.0)
    objects, background = tf.exp(logits - highest), tf.exp(1.0 - highest)
    scale = 1.0 / (tf.reduce_sum(objects, axis=0) + background)
    objects, background = objects * scale, background * scale

    def gradient(to_objects: tf.Tensor, to_background: tf.Tensor) -> tf.Tensor:
        mean = tf.reduce_sum(objects * to_objects, axis=0) + background * to_background
        return objects * (to_objects - mean)

    return (objects, background), gradient


class UNet(tf.keras.layers.Layer):
    """The U-Net for frames of 40 pixels and more: [F, H, W, C] → [F, H, W, out_channels].

    Three poolings; encoder widths b, 2b, 4b, bottom 8b (b = `base_channels`), two relu 3×3 convolutions
    each. On the way up: TF1's bilinear resize and a *linear* 3×3 convolution of 2b channels (2b at every
    level, as in the original), or with `upsamp=False`, which no flag sets, a stride-2 transposed convolution of
    the level's width; then [up, skip] joined on channels and two relu convolutions. A linear 1×1 convolution ends it.

    `conv_dtype`: Keras's dtype policy of all convolutions but the last, which stays in float32, as do the resizes.
    `convs` and `deconvs` list the layers in the original's call order: its names conv2d, conv2d_1, … and
    conv2d_transpose, …. Ports `unet` of `nn/network/blocks.py`.
    """

    depth = 3
    # In the original the transposed branch starts from the first of the two bottom convolutions:
    # the second exists and feeds nothing.
    deconv_skips_last_bottom = True

    def __init__(
        self, base_channels: int, out_channels: int, upsamp: bool = True, conv_dtype: str | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.base_channels, self.out_channels = base_channels, out_channels
        self.upsamp, self.conv_dtype = upsamp, conv_dtype
        self.widths = [base_channels * 2**level for level in range(self.depth + 1)]
        self.convs, self.deconvs = [], []
        for width in self.widths:
            self.convs += [self._conv(width), self._conv(width)]
        for width in reversed(self.widths[:-1]):
            if upsamp:
                self.convs.append(self._conv(2 * base_channels, activation=None))
            else:
                self.deconvs.append(
                    tf.keras.layers.Conv2DTranspose(width, 3, strides=2, padding="same", dtype=conv_dtype)
                )
            self.convs += [self._conv(width), self._conv(width)]
        self.convs.append(tf.keras.layers.Conv2D(out_channels, 1, padding="same"))

    def _conv(self, filters: int, activation: str | None = "relu") -> tf.keras.layers.Layer:
        return tf.keras.layers.Conv2D(filters, 3, padding="same", activation=activation, dtype=self.conv_dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for `input_shape` [F, H, W, C]."""
        convs, deconvs, channels = iter(self.convs), iter(self.deconvs), input_shape[-1]

        def build_next(layers: Iterator[tf.keras.layers.Layer], channels: int) -> int:
            layer = next(layers)
            layer.build((None, None, None, channels))
            return layer.filters

        for _ in self.widths:
            channels = build_next(convs, build_next(convs, channels))
        for width in reversed(self.widths[:-1]):
            up = build_next(convs if self.upsamp else deconvs, channels)
            channels = build_next(convs, build_next(convs, up + width))
        build_next(convs, channels)
        super().build(input_shape)

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """Logits [F, H, W, out_channels] of `frames` [F, H, W, C]."""
        convs, deconvs = iter(self.convs), iter(self.deconvs)
        x, skips = frames, []
        for _ in range(self.depth):
            x = next(convs)(x)
            x = next(convs)(x)
            skips.append(x)
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = next(convs)(x)
        last_bottom = next(convs)
        if self.upsamp or not self.deconv_skips_last_bottom:
            x = last_bottom(x)
        for skip in reversed(skips):
            if self.upsamp:
                x = next(convs)(resize_bilinear_tf1(x, skip.shape[1:3]))
            else:
                x = next(deconvs)(x)
            x = tf.concat([x, skip], axis=-1)
            x = next(convs)(x)
            x = next(convs)(x)
        return next(convs)(x)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(), "base_channels": self.base_channels, "out_channels": self.out_channels,
            "upsamp": self.upsamp, "conv_dtype": self.conv_dtype,
        }  # fmt: skip


class ShallowUNet(UNet):
    """The U-Net for frames under 40 pixels, with two poolings: [F, H, W, C] → [F, H, W, out_channels].

    As `UNet`, with widths b, 2b and bottom 4b. Ports `shallow_unet` of `nn/network/blocks.py`.
    """

    depth = 2
    deconv_skips_last_bottom = False


class VariableFromNetwork(tf.keras.layers.Layer):
    """A learned constant of `shape`, made by a small network from ones; it learns faster than a variable.

    ones [1, 10] → dense 200 tanh → dense prod(shape) linear → reshape to `shape`.
    Ports `variable_from_network` of `nn/network/blocks.py`.
    """

    def __init__(self, shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.shape = tuple(shape)
        self.dense_layers = [
            tf.keras.layers.Dense(HIDDEN_UNITS, activation="tanh"),
            tf.keras.layers.Dense(math.prod(self.shape)),
        ]

    def build(self, input_shape: tuple[int | None, ...] = (1, LATENT_SIZE)) -> None:
        """Make the weights for ones [1, 10]."""
        self.dense_layers[0].build(input_shape)
        self.dense_layers[1].build((None, HIDDEN_UNITS))
        super().build(input_shape)

    def call(self, ones: tf.Tensor) -> tf.Tensor:
        """The constant, a tensor of `shape`, from `ones` [1, 10]."""
        hidden, linear = self.dense_layers
        return tf.reshape(linear(hidden(ones)), self.shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's argument."""
        return {**super().get_config(), "shape": list(self.shape)}


def layer_names(base: str, layers: list) -> dict[str, tf.Variable]:
    """TF1's names of the variables of `layers` in call order: base/kernel, base/bias, base_1/kernel, …"""
    names = {}
    for i, layer in enumerate(layers):
        scope = f"{base}_{i}" if i else base
        names[f"{scope}/kernel"] = layer.kernel
        names[f"{scope}/bias"] = layer.bias
    return names
