"""BaseNet: training and evaluation loops, optimizer and learning rate (`nn/network/base.py` of the original)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from nn.optimizers import OPTIMIZERS, clip_elementwise
from physics_models import checkpoints, pictures
from physics_models.errors import ExperimentError
from physics_models.save_dir import save_npz
from physics_models.tasks import Task

ANNEAL_AT = 0.75  # of the epochs
ANNEAL_BY = 5.0
SMALL_SPLIT = 100  # sequences; a smaller split is evaluated as one batch
PICTURES = 5  # test sequences that are drawn at each evaluation
GREY = (0.299, 0.587, 0.114)

logger = logging.getLogger("tf")


def choose(table: dict[str, Any], name: str, flag: str) -> Any:
    """The entry `name` of a registry; an `ExperimentError` that names the choices if there is none."""
    if name not in table:
        raise ExperimentError(f"--{flag}={name}: unknown; choose one of {', '.join(sorted(table))}")
    return table[name]


def tf_variable(variable: Any) -> tf.Variable:
    """The `tf.Variable` behind a Keras variable (Keras 3 wraps it, Keras 2 does not)."""
    return variable if isinstance(variable, tf.Variable) else variable.value


class BaseNet(tf.keras.layers.Layer):
    """What every model shares: one train step, one evaluation step, and the loops around them.

    A subclass gives `train_loss(frames)`, `call(frames)`, `compute_losses(frames, outputs)` and
    `named_variables()`.
    """

    def __init__(self, task: Task, channels: int):
        super().__init__()
        self.task = task
        self.channels = channels
        self.optimizer = None
        self.epoch = 0  # epochs completed
        self.iteration = 0  # training steps taken
        self._train_function = tf.function(self._train_step)
        frames = tf.TensorSpec([None, None, task.img_size, task.img_size, channels], tf.float32)
        self.eval_step = tf.function(self._eval_step, input_signature=[frames])

    # Variables and optimizer

    def variables_by_name(self, trainable_only: bool = False) -> dict[str, tf.Variable]:
        """The `tf.Variable`s by their names in the original; with `trainable_only` those the optimizer moves."""
        named = self.named_variables()
        trained = {id(v) for v in self.trainable_variables}
        return {n: tf_variable(v) for n, v in named.items() if id(v) in trained or not trainable_only}

    def build_optimizer(self, base_lr: float, optimizer: str = "rmsprop") -> None:
        """Make the update rule `optimizer` (a key of `OPTIMIZERS`) at the rate `base_lr`."""
        rule = choose(OPTIMIZERS, optimizer, "optimizer")
        self.base_lr = base_lr
        self.optimizer = rule(self.variables_by_name(trainable_only=True), base_lr)

    # Steps

    def train_step(self, frames: tf.Tensor) -> tf.Tensor:
        """One update on `frames` [B, T, H, H, C] in [0, 1]; returns the loss before it, a scalar."""
        return self._train_function(frames)

    def _train_step(self, frames: tf.Tensor) -> tf.Tensor:
        variables = list(self.variables_by_name(trainable_only=True).values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = self.train_loss(frames)
        self.optimizer.apply(clip_elementwise(tape.gradient(loss, variables)))
        return loss

    def _eval_step(self, frames: tf.Tensor) -> tuple[dict[str, tf.Tensor], Any]:
        """Losses and outputs for `frames` [B, T, H, H, C]; one trace serves every B and T."""
        outputs = self(frames)
        return self.compute_losses(frames, outputs), outputs

    # Data

    def to_float(self, frames: tf.Tensor) -> tf.Tensor:
        """uint8 [..., C'] → float32 in [0, 1] [..., C]; RGB becomes grey where the network is grey."""
        frames = tf.cast(frames, tf.float32) / 255.0
        if self.channels == 1 and frames.shape[-1] == 3:
            frames = tf.reduce_sum(frames * GREY, axis=-1, keepdims=True)
        return frames

    def pipeline(self, batches: Iterator[np.ndarray], shape: tuple[int, ...]) -> tf.data.Dataset:
        """A prefetched stream of float32 batches [B, T, H, H, C] from uint8 ones of `shape`."""
        spec = tf.TensorSpec(shape, tf.uint8)
        stream = tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)
        return stream.map(self.to_float).prefetch(2)

    # Loops

    def train(
        self,
        data: dict[str, Any],
        save_dir: str,
        epochs: int = 10,
        batch_size: int = 100,
        save_every_n_epochs: int = 5,
        eval_every_n_epochs: int = 1,
        print_interval: int = 10,
        anneal_lr: bool = True,
        debug: bool = False,
    ) -> None:
        """Train for `epochs` on `data["train"]`, then evaluate `data["test"]`.

        `data` holds a `DataIterator` each for train, valid and test. Validation before training (unless
        `debug`) and every `eval_every_n_epochs`; a checkpoint every `save_every_n_epochs` and at the end.
        """
        if not debug:
            self.eval(data, "valid", batch_size, save_dir, epoch=0)
        for epoch in range(1, epochs + 1):
            if anneal_lr and epoch == int(ANNEAL_AT * epochs):
                self.optimizer.rate.assign(self.base_lr / ANNEAL_BY)
            batches = data["train"].epoch(epoch, batch_size)
            for frames in self.pipeline(batches, (batch_size, *data["train"].X.shape[1:])):
                loss = self.train_step(frames)
                if self.iteration % print_interval == 0:
                    logger.info("train - iter=%d train_loss=%s", self.iteration, np.float32(loss))
                self.iteration += 1
            self.epoch = epoch
            if epoch % eval_every_n_epochs == 0:
                self.eval(data, "valid", batch_size, save_dir, epoch)
            if epoch % save_every_n_epochs == 0 or epoch == epochs:
                checkpoints.save(self, save_dir)
        self.eval(data, "test", batch_size, save_dir, epochs)

    def eval(
        self, data: dict[str, Any], split: str, batch_size: int, save_dir: str, epoch: int = 0
    ) -> dict[str, float]:
        """Evaluate `data[split]`, log `eval_*` means over full batches, and write outputs and pictures.

        A split of under 100 sequences is one batch. The pictures show five sequences of `data["test"]`.
        """
        frames = data[split].X
        batch_size = len(frames) if len(frames) < SMALL_SPLIT else min(batch_size, len(frames))
        metrics, inputs, predictions = [], [], []
        for start in range(0, len(frames) - batch_size + 1, batch_size):
            batch = self.to_float(tf.constant(frames[start : start + batch_size]))
            losses, outputs = self.eval_step(batch)
            metrics.append({f"eval_{name}": float(losses[name]) for name in losses if name != "train_loss"})
            inputs.append(batch.numpy())
            predictions.append(outputs.output.numpy())
        means = {name: np.mean([m[name] for m in metrics], dtype=np.float32) for name in sorted(metrics[0])}
        logger.info("%s", self.describe_parameters())
        logger.info("%s - epoch=%d %s", split, epoch, " ".join(f"{name}={v!s}" for name, v in means.items()))
        save_npz(
            f"{save_dir}/outputs.npz", {"input": np.concatenate(inputs), "output": np.concatenate(predictions)}
        )
        examples = self.to_float(tf.constant(data["test"].X[:PICTURES]))
        pictures.write_examples(self, examples, save_dir)
        return {name: float(value) for name, value in means.items()}

    def describe_parameters(self) -> str:
        """The trainable scalars as the original logs them: [('net/decoder/logsigma:0', 0.0), …]."""
        scalars = {n: v for n, v in self.variables_by_name(trainable_only=True).items() if not v.shape.rank}
        pairs = [f"('{name}:0', {np.float32(value.numpy())!s})" for name, value in scalars.items()]
        return f"[{', '.join(pairs)}]"
