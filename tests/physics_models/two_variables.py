"""A model of two variables, for what `BaseNet` does with any network: steps, optimizers, checkpoints."""

from __future__ import annotations

import tensorflow as tf

from physics_models.base import BaseNet
from physics_models.tasks import Task

TINY = Task("spring_color", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
KERNEL, BIAS = "net/dense/kernel", "net/dense/bias"


class TwoVariables(BaseNet):
    """Σ (x · kernel + bias − 2)² + α · Σ bias², x the first pixel of each sequence.

    `poison` is added to the gradient of every number of the bias.
    """

    def __init__(self, optimizer: str = "sgd", base_lr: float = 1e-2):
        super().__init__(TINY, channels=3)
        self.poison = tf.Variable(0.0, trainable=False)
        self.build_optimizer(base_lr, optimizer)

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(3, 2), initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(2,), initializer="zeros")
        super().build(input_shape)

    def named_variables(self):
        return {KERNEL: self.kernel, BIAS: self.bias}

    def train_loss(self, frames):
        @tf.custom_gradient
        def poisoned(x):
            return tf.identity(x), lambda gradient: gradient + self.poison.read_value()

        bias = poisoned(tf.convert_to_tensor(self.bias))
        output = frames[:, 0, 0, 0] @ tf.convert_to_tensor(self.kernel) + bias
        return tf.reduce_sum(tf.square(output - 2.0)) + self.autoencoder_loss * tf.reduce_sum(tf.square(bias))

    def visualize_sequence(self, frames, save_dir):
        pass
