"""From positions to frames, fast: the same numbers as `nn.plain`, which reads like the paper (section 3.3)."""

from __future__ import annotations

import tensorflow as tf

from nn.blocks import softmax_with_background
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
