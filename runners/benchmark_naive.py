"""The straightforward form of the decoder, as a yardstick: equal numbers, more work. Not part of the product.

As in the original, each object goes through the general spatial transformer, every predicted step is decoded by
itself, those beyond the loss as well, and the learned pictures are rebuilt for each decoding.
"""

from __future__ import annotations

import tensorflow as tf

from nn.decoders import OUTSIDE_LOGIT, ConvSTDecoder
from nn.stn import resampler_tf, spatial_transformer
from physics_models.physics_net import PhysicsNet, squared_error


class NaiveDecoderNet(PhysicsNet):
    """`PhysicsNet` whose training step decodes in the straightforward way."""

    def train_loss(self, frames: tf.Tensor) -> tf.Tensor:
        """The loss of `PhysicsNet.train_loss`, for `frames` [B, T, H, H, C]."""
        inputs, predicted = self.task.input_steps, self.task.pred_steps
        seen = inputs + predicted
        enc_pos, _, _ = self.encode(frames[:, :seen])
        recons = naive_decode(self.decoder, tf.reshape(enc_pos, [-1, 2 * self.task.n_objs]))
        recons = tf.reshape(recons, tf.shape(frames[:, :seen]))
        state, output = self.initial_state(enc_pos), []
        for _ in range(frames.shape[1] - inputs):
            state = self.cell(state)
            output.append(naive_decode(self.decoder, state[0]))
        output = tf.stack(output, axis=1)
        pred_loss = squared_error(output[:, :predicted], frames[:, inputs:seen])
        return self.combine(pred_loss, squared_error(recons, frames[:, :seen]))


def naive_decode(decoder: ConvSTDecoder, positions: tf.Tensor) -> tf.Tensor:
    """Frames [b, H, H, C] for `positions` [b, 2N] in pixels, by the steps of the paper's section 3.2."""
    size, side = decoder.img_size, decoder.img_size // 2
    sprites = decoder.sprites()
    logits, contents = [], []
    for i in range(decoder.n_objs):
        x, y = positions[:, 2 * i], positions[:, 2 * i + 1]
        zero, scale = tf.zeros_like(x), sprites.sigma * tf.ones_like(x)
        shift_x, shift_y = ((size / 2 - place) / side * sprites.sigma for place in (x, y))
        theta = tf.stack([scale, zero, shift_x, zero, scale, shift_y], axis=-1)
        parts = tf.concat([sprites.templates[i] + OUTSIDE_LOGIT, tf.sigmoid(sprites.contents[i])], axis=-1)
        parts = tf.repeat(parts[None], tf.shape(positions)[0], axis=0)
        pasted = spatial_transformer(parts, theta, (size, size), resampler_tf)
        logits.append(pasted[..., :1] - OUTSIDE_LOGIT)
        contents.append(pasted[..., 1:])
    masks = tf.nn.softmax(tf.concat([*logits, tf.ones_like(logits[0])], axis=-1))
    frames = masks[..., -1:] * sprites.background
    for i, content in enumerate(contents):
        frames += masks[..., i : i + 1] * content
    return frames
