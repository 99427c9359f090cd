"""TF1's update rules (`OPTIMIZERS` in `nn/network/base.py` of the original), number for number, by its kernels.

Keras's rules have other defaults: its RMSprop starts its accumulator at zero, with epsilon 1e-7 in place of 1e-10, and
its Adam's epsilon is 1e-7 in place of 1e-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


class Optimizer(tf.Module):
    """An update rule over fixed variables, given by name; `rate` is a variable: `rate.assign` needs no new graph."""

    slot_names: tuple[str, ...] = ()  # the suffixes of a variable's slots in a TF1 checkpoint
    slot_starts: tuple[float, ...] = ()

    def __init__(self, variables: Mapping[str, tf.Variable], rate: float):
        super().__init__()
        self.targets = dict(variables)
        self._rate = tf.Variable(rate, trainable=False, dtype=tf.float32)
        self.slots = {
            f"{name}/{slot}": tf.Variable(tf.fill(variable.shape, start), trainable=False)
            for name, variable in variables.items()
            for slot, start in zip(self.slot_names, self.slot_starts)
        }

    @property
    def rate(self) -> tf.Variable:
        """The learning rate; it has no setter, since a traced step would not see another object."""
        return self._rate

    def named_variables(self) -> dict[str, tf.Variable]:
        """Rate and slots by their names in a TF1 checkpoint: `base_lr`, `net/…/kernel/RMSProp`, …."""
        return {"base_lr": self.rate, **self.slots}

    def apply(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """Update the variables in place, given their gradients in order; None leaves a variable out.

        Under a distribution strategy: once for all replicas, with gradients that are the same on each.
        """
        strategy = tf.distribute.get_strategy()
        for (name, variable), gradient in zip(self.targets.items(), gradients):
            if gradient is not None:
                slots = [self.slots[f"{name}/{slot}"] for slot in self.slot_names]
                strategy.extended.update(variable, self.update, args=(gradient, *slots))

    def update(self, variable: tf.Variable, gradient: tf.Tensor, *slots: tf.Variable) -> Any:
        """Advance one variable and its slots, by the very kernel that TF1 uses."""
        raise NotImplementedError


class GradientDescent(Optimizer):
    """var −= lr·g."""

    def update(self, variable: tf.Variable, gradient: tf.Tensor, *slots: tf.Variable) -> Any:
        """Move against the gradient."""
        return tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=self.rate, delta=gradient)


class Momentum(Optimizer):
    """a ← 0.9·a + g; var −= lr·a."""

    slot_names = ("Momentum",)
    slot_starts = (0.0,)

    def update(self, variable: tf.Variable, gradient: tf.Tensor, *slots: tf.Variable) -> Any:
        """Add to the accumulator and move against it."""
        (accumulator,) = slots
        return tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle, accum=accumulator.handle, lr=self.rate, grad=gradient, momentum=0.9
        )


class RMSProp(Optimizer):
    """ms ← 0.9·ms + 0.1·g²; var −= lr·g/sqrt(ms + 1e-10); ms starts at *one*.

    TF1 keeps a second slot, the last update (its momentum, with factor zero): kept for its checkpoints' sake.
    """

    slot_names = ("RMSProp", "RMSProp_1")
    slot_starts = (1.0, 0.0)

    def update(self, variable: tf.Variable, gradient: tf.Tensor, *slots: tf.Variable) -> Any:
        """Update the mean square and move by the gradient over its root."""
        mean_square, last_update = slots
        return tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle, ms=mean_square.handle, mom=last_update.handle, lr=self.rate, grad=gradient,
            rho=0.9, momentum=0.0, epsilon=1e-10,
        )  # fmt: skip


class Adam(Optimizer):
    """m ← 0.9·m + 0.1·g; v ← 0.999·v + 0.001·g²; var −= lr·sqrt(1 − β2ᵗ)/(1 − β1ᵗ)·m/(sqrt(v) + 1e-8)."""

    slot_names = ("Adam", "Adam_1")
    slot_starts = (0.0, 0.0)

    def __init__(self, variables: Mapping[str, tf.Variable], rate: float):
        super().__init__(variables, rate)
        self.beta1_power = tf.Variable(0.9, trainable=False)  # of the coming step, as TF1 keeps it
        self.beta2_power = tf.Variable(0.999, trainable=False)

    def named_variables(self) -> dict[str, tf.Variable]:
        """As `Optimizer.named_variables`, with `beta1_power` and `beta2_power`."""
        powers = {"beta1_power": self.beta1_power, "beta2_power": self.beta2_power}
        return {**super().named_variables(), **powers}

    def apply(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """As `Optimizer.apply`; advances the powers of the betas."""
        super().apply(gradients)
        self.beta1_power.assign(0.9 * self.beta1_power)
        self.beta2_power.assign(0.999 * self.beta2_power)

    def update(self, variable: tf.Variable, gradient: tf.Tensor, *slots: tf.Variable) -> Any:
        """Update both moments and move by their ratio."""
        first, second = slots
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=first.handle, v=second.handle, lr=self.rate, grad=gradient,
            beta1_power=self.beta1_power, beta2_power=self.beta2_power, beta1=0.9, beta2=0.999, epsilon=1e-8,
        )  # fmt: skip


OPTIMIZERS = {"rmsprop": RMSProp, "adam": Adam, "momentum": Momentum, "sgd": GradientDescent}


def clip_elementwise(gradients: Sequence[tf.Tensor | None], limit: float = 1.0) -> list[tf.Tensor | None]:
    """Each gradient's elements clipped to ±`limit`, as the original does before every update."""
    return [None if g is None else tf.clip_by_value(g, -limit, limit) for g in gradients]
