"""The convolutional and learned-constant blocks (`nn/network/blocks.py` of the original)."""

from __future__ import annotations

import tensorflow as tf

LATENT_SIZE = 10
HIDDEN_UNITS = 200
MIXED = "mixed_bfloat16"  # Keras's name: float32 variables, computed with in bfloat16, whose range is float32's


def built(layer: tf.keras.layers.Layer, *input_shape: int | None) -> tf.keras.layers.Layer:
    """Create the variables of `layer` for an input of `input_shape`, and return the layer."""
    layer.build(tuple(input_shape))
    return layer


def dense(inputs: int, units: int, activation: str | None = None) -> tf.keras.layers.Layer:
    """A fully connected layer [·, inputs] → [·, units], its variables created."""
    return built(tf.keras.layers.Dense(units, activation=activation), None, inputs)


def conv(
    inputs: int, filters: int, activation: str | None = "relu", size: int = 3, dtype: str | None = None
) -> tf.keras.layers.Layer:
    """A SAME convolution [F, H, W, inputs] → [F, H, W, filters], its variables created; `dtype`: Keras's policy."""
    layer = tf.keras.layers.Conv2D(filters, size, padding="same", activation=activation, dtype=dtype)
    return built(layer, None, None, None, inputs)


def deconv(inputs: int, filters: int, dtype: str | None = None) -> tf.keras.layers.Layer:
    """A linear stride-2 transposed convolution [F, H, W, inputs] → [F, 2H, 2W, filters]."""
    layer = tf.keras.layers.Conv2DTranspose(filters, 3, strides=2, padding="same", dtype=dtype)
    return built(layer, None, None, None, inputs)


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
    level, as in the original), or with `upsamp=False` a stride-2 transposed convolution of the level's
    width; then [up, skip] joined on channels and two relu convolutions. A linear 1×1 convolution ends it.

    `dtype`: Keras's policy for all convolutions but the last, which stays in float32, as do the resizes.
    `convs` and `deconvs` list the layers in the original's call order: its names conv2d, conv2d_1, … and
    conv2d_transpose, …. Ports `unet` of `nn/network/blocks.py`.
    """

    depth = 3
    # In the original the transposed branch starts from the first of the two bottom convolutions:
    # the second exists and feeds nothing.
    deconv_skips_last_bottom = True

    def __init__(
        self, in_channels: int, base_channels: int, out_channels: int, upsamp: bool = True, dtype: str | None = None
    ):
        super().__init__()
        self.upsamp = upsamp
        b = base_channels
        widths = [b * 2**level for level in range(self.depth + 1)]
        self.convs, self.deconvs = [], []
        channels = in_channels
        for width in widths:
            self.convs += [conv(channels, width, dtype=dtype), conv(width, width, dtype=dtype)]
            channels = width
        for width in reversed(widths[:-1]):
            if upsamp:
                self.convs.append(conv(channels, 2 * b, activation=None, dtype=dtype))
                channels = 2 * b
            else:
                self.deconvs.append(deconv(channels, width, dtype))
                channels = width
            self.convs += [conv(channels + width, width, dtype=dtype), conv(width, width, dtype=dtype)]
            channels = width
        self.convs.append(conv(channels, out_channels, activation=None, size=1))

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """Logits [F, H, W, out_channels] of `frames` [F, H, W, in_channels]."""
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


class ShallowUNet(UNet):
    """The U-Net for frames under 40 pixels, with two poolings: [F, H, W, C] → [F, H, W, out_channels].

    As `UNet`, with widths b, 2b and bottom 4b. Ports `shallow_unet` of `nn/network/blocks.py`.
    """

    depth = 2
    deconv_skips_last_bottom = False


class VariableFromNetwork(tf.keras.layers.Layer):
    """A learned constant of `shape`, made by a small network from ones; it learns faster than a variable.

    ones [1, 10] → dense 200 tanh → dense prod(shape) linear → reshape. `value()` returns it.
    Ports `variable_from_network` of `nn/network/blocks.py`.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = tuple(shape)
        numbers = 1
        for side in self.shape:
            numbers *= side
        self.hidden = dense(LATENT_SIZE, HIDDEN_UNITS, "tanh")
        self.linear = dense(HIDDEN_UNITS, numbers)
        self.built = True  # it is read through `value`, never called: Keras would warn of unbuilt state

    def layers(self) -> list[tf.keras.layers.Layer]:
        """The two dense layers."""
        return [self.hidden, self.linear]

    def value(self) -> tf.Tensor:
        """The constant, a tensor of `shape`."""
        return tf.reshape(self.linear(self.hidden(tf.ones([1, LATENT_SIZE]))), self.shape)
