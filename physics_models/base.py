"""BaseNet: training, evaluation, optimizer and learning rate (`nn/network/base.py` of the original)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nn.optimizers import OPTIMIZERS, clip_elementwise
from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted, StopOnSignal, save_npz
from physics_models.tasks import Task

ANNEAL_AT, ANNEAL_BY = 0.75, 5.0  # of the epochs; the divisor of the rate
SMALL_SPLIT = 100  # sequences; a smaller split is evaluated as one batch
PICTURES = 5  # test sequences that are drawn at each evaluation
GREY = (0.299, 0.587, 0.114)

logger = logging.getLogger("tf")


def log_metrics(prefix: str, metrics: Mapping[str, Any]) -> None:
    """Log `prefix name=value …`, a line of log.txt (`log_metrics` in `nn/utils/misc.py` of the original)."""
    logger.info("%s %s", prefix, " ".join(f"{name}={np.float32(value)!s}" for name, value in metrics.items()))


def choose(table: Mapping[str, Any], name: str, flag: str) -> Any:
    """The entry `name` of a registry; an `ExperimentError` that names the choices if there is none."""
    if name not in table:
        raise ExperimentError(f"--{flag}={name}: unknown; choose one of {', '.join(sorted(table))}")
    return table[name]


def tf_variable(variable: Any) -> tf.Variable:
    """The `tf.Variable` behind a Keras variable (Keras 3 wraps it, Keras 2 does not)."""
    return variable if isinstance(variable, tf.Variable) else variable.value


class BaseNet(tf.keras.layers.Layer):
    """What every model shares: one training step, one evaluation step, and the loops around them.

    A subclass gives `build`, `call(frames)`, `compute_losses(frames, outputs)`, `train_loss(frames)`,
    `named_variables()` and `visualize_sequence(frames, save_dir)`. `callbacks` are Keras callbacks:
    `on_train_begin`, `on_train_batch_end(iteration, {"loss"})`, `on_test_end({"split", "eval_*_loss"})`,
    `on_train_end`.
    """

    def __init__(self, task: Task, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.task, self.channels = task, channels
        self.frame_shape = (None, None, task.img_size, task.img_size, channels)  # [B, T, H, H, C]
        self.optimizer: Any = None
        self.autoencoder_loss = 0.0
        self.iteration = 0  # training steps taken
        self.run_id = 0  # which run the checkpoints are of
        self.callbacks: list[tf.keras.callbacks.Callback] = []
        # Steps since the first whose gradient was not a number, that one included; they move nothing.
        self.skipped_steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        spec = tf.TensorSpec(self.frame_shape, tf.float32)  # one trace serves every B and T
        self.eval_step = tf.function(self._eval_step, input_signature=[spec], autograph=False)

    # Training

    def train(
        self, data: Mapping[str, Any], save_dir: str | Path, epochs: int = 10, batch_size: int = 100,
        save_every_n_epochs: int = 5, eval_every_n_epochs: int = 1, print_interval: int = 10, anneal_lr: bool = True,
        debug: bool = False,
    ) -> dict[str, float]:  # fmt: skip
        """Train on `data["train"]` up to `epochs`, from `iteration` on; returns the losses on `data["test"]`.

        `data` holds a `DataIterator` each for train, valid and test. On Ctrl-C or SIGTERM it saves and raises
        `Interrupted`; where the gradient becomes NaN, `ExperimentError`.
        """
        iterator = data["train"]
        steps = len(iterator.X) // batch_size  # per epoch
        if not steps:
            raise ExperimentError(f"batch_size={batch_size}: there are {len(iterator.X)} training sequences")
        if self.optimizer is None:
            raise ExperimentError("no optimizer: call build_optimizer first")
        source = {"run": self.run_id, "seed": iterator.seed, "data": iterator.checksum}
        if self.iteration == 0 and not debug:
            self.eval(data, "valid", batch_size, save_dir, epoch=0)
        self.notify("on_train_begin")
        with StopOnSignal() as stop:
            for epoch in range(self.iteration // steps + 1, epochs + 1):
                if anneal_lr:  # with one epoch never, as in the original
                    annealed = epoch >= int(ANNEAL_AT * epochs) > 0
                    self.optimizer.rate.assign(self.base_lr / ANNEAL_BY if annealed else self.base_lr)
                for frames in iterator.epoch(epoch, batch_size, self.iteration % steps):
                    loss = self.train_step(frames)
                    if self.iteration % print_interval == 0:
                        self.check_finite(save_dir)
                        log_metrics(f"train - iter={self.iteration}", {"train_loss": loss})
                    self.notify("on_train_batch_end", self.iteration, {"loss": loss})
                    self.iteration += 1
                    if stop.requested:
                        break
                self.check_finite(save_dir)
                completed = self.iteration % steps == 0
                if completed and epoch % eval_every_n_epochs == 0:
                    self.eval(data, "valid", batch_size, save_dir, epoch)
                if epoch % save_every_n_epochs == 0 or epoch == epochs or stop.requested:
                    self.save(save_dir, {**source, "epoch": self.iteration // steps})
                if stop.requested:
                    raise Interrupted(stop.signal)
        losses = self.eval(data, "test", batch_size, save_dir, epochs)
        self.notify("on_train_end")
        return losses

    def train_step(self, frames: tf.Tensor) -> tf.Tensor:
        """One update on `frames` uint8 [B, T, H, H, C] (or float32 in [0, 1]); returns the loss before it, []."""
        return self._train_step(frames, self.optimizer, self.autoencoder_loss)

    @tf.function(autograph=False)
    def _train_step(self, frames: tf.Tensor, optimizer: Any, autoencoder_loss: float) -> tf.Tensor:
        """`optimizer` and `autoencoder_loss` are those of `self`: a trace belongs to its arguments, so that others take
        effect."""
        loss, gradients = self.loss_and_gradients(frames)
        self.update(gradients)
        return loss

    def loss_and_gradients(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """The training loss of `frames` [B, T, H, H, C] and its gradients, in the order of the trained variables."""
        variables = list(self.variables_by_name(trainable_only=True).values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = self.train_loss(self.to_float(frames))
        return loss, tape.gradient(loss, variables)

    def update(self, gradients: Sequence[tf.Tensor | None]) -> None:
        """Clip `gradients` to ±1 and move the variables; a NaN among them stops all updates from then on.

        The original's weights become NaN then; here they stay as they were until `check_finite` reports it.
        """
        clipped = clip_elementwise(gradients)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in clipped if g is not None])

        def apply() -> tf.Tensor:
            self.optimizer.apply(clipped)
            return tf.constant(0, tf.int64)

        healthy = finite & tf.equal(self.skipped_steps, 0)
        self.skipped_steps.assign_add(tf.cond(healthy, apply, lambda: tf.constant(1, tf.int64)))

    def check_finite(self, save_dir: str | Path, rate_flag: str = "base_lr") -> None:
        """Raise `ExperimentError` if the gradient of a step was not a number; `rate_flag` sets the learning rate."""
        skipped = int(self.skipped_steps.numpy())
        if not skipped:
            return
        try:
            last = f"the latest checkpoint is {checkpoints.latest_checkpoint(save_dir)}"
        except ExperimentError:
            last = f"{save_dir} holds no checkpoint"
        raise ExperimentError(
            f"training stopped: a gradient became NaN {skipped} step(s) ago, near step {self.iteration}; "
            f"take a smaller --{rate_flag} or another --seed ({last})"
        )

    def notify(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of every callback."""
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)

    # Evaluation

    def eval(
        self, data: Mapping[str, Any], split: str, batch_size: int, save_dir: str | Path, epoch: int = 0
    ) -> dict[str, float]:
        """Evaluate `data[split]`, log `eval_*` means over full batches, and write outputs and pictures.

        A split of under 100 sequences is one batch. The pictures show five sequences of `data["test"]`.
        """
        iterator, total = data[split], data[split].num_examples
        batch_size = total if total < SMALL_SPLIT else min(batch_size, total)
        metrics, inputs, predictions = [], [], []
        for start in range(0, total - batch_size + 1, batch_size):
            batch = self.to_float(iterator.take(slice(start, start + batch_size)))
            losses, outputs = self.eval_step(batch)
            metrics.append({f"eval_{name}": float(loss) for name, loss in losses.items()})
            inputs.append(self.frames_of(batch).numpy())
            predictions.append(outputs.output.numpy())
        means = {name: float(np.mean([m[name] for m in metrics], dtype=np.float32)) for name in sorted(metrics[0])}
        logger.info("%s", self.describe_parameters())
        log_metrics(f"{split} - epoch={epoch}", means)
        save_npz(f"{save_dir}/outputs.npz", {"input": np.concatenate(inputs), "output": np.concatenate(predictions)})
        self.visualize_sequence(self.to_float(data["test"].take(slice(PICTURES))), save_dir)
        self.notify("on_test_end", {"split": split, **means})
        return means

    def _eval_step(self, frames: tf.Tensor) -> tuple[dict[str, tf.Tensor], Any]:
        """Losses and outputs for `frames` [B, T, H, H, C]."""
        outputs = self(frames)
        return self.compute_losses(frames, outputs), outputs

    def to_float(self, frames: tf.Tensor) -> tf.Tensor:
        """uint8 [..., C'] → float32 in [0, 1] [..., C]; RGB becomes grey where the network is grey.

        Frames that are float32 already stay as they are.
        """
        frames = tf.convert_to_tensor(frames)
        if frames.dtype == tf.float32:
            return frames
        frames = tf.cast(frames, tf.float32) / 255.0
        if self.channels == 1 and frames.shape[-1] == 3:
            frames = tf.reduce_sum(frames * GREY, axis=-1, keepdims=True)
        return frames

    def frames_of(self, batch: Any) -> tf.Tensor:
        """The frames of a batch, which holds nothing else here."""
        return batch

    # Variables, optimizer and checkpoints

    def variables_by_name(self, trainable_only: bool = False) -> dict[str, tf.Variable]:
        """The `tf.Variable`s by their names in the original; with `trainable_only` those that are trained."""
        if not self.built:
            self.build(self.frame_shape)
        trained = {id(v) for v in self.trainable_variables}
        named = self.named_variables()
        return {name: tf_variable(v) for name, v in named.items() if id(v) in trained or not trainable_only}

    def build_optimizer(self, base_lr: float, optimizer: str = "rmsprop") -> None:
        """Make the update rule `optimizer` (a key of `OPTIMIZERS`) at the rate `base_lr`."""
        rule = choose(OPTIMIZERS, optimizer, "optimizer")
        self.base_lr = base_lr
        self.optimizer = rule(self.variables_by_name(trainable_only=True), base_lr)

    def save(self, save_dir: str | Path, counters: Mapping[str, int]) -> str:
        """Write weights, optimizer slots, learning rate, `iteration` and `counters`; returns the checkpoint's path."""
        variables = {**self.variables_by_name(), **self.optimizer.named_variables()}
        return checkpoints.save(save_dir, variables, {"iteration": self.iteration, **counters})

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Set the weights, and the optimizer's slots where the checkpoint has them all.

        The learning rate stays as it is: the original, too, starts again from `base_lr`. Raises `ExperimentError` for
        the first variable that is missing or has another shape; nothing is changed then.
        """
        variables = self.variables_by_name()
        slots = self.optimizer.named_variables() if self.optimizer is not None else {}
        slots.pop("base_lr", None)
        complete = slots.keys() <= checkpoint.arrays.keys()
        variables.update(slots if complete else {})
        for name, variable in variables.items():
            checkpoints.check_variable(name, variable, checkpoint)
        if not complete:
            logger.info("%s: has no complete optimizer slots; they start afresh", checkpoint.path)
        for name, variable in variables.items():
            variable.assign(checkpoint.arrays[name])

    def scalars(self) -> dict[str, float]:
        """The trained scalars by name, as what they are logarithms of: `sigma`, the cell's `k` and `l`, or `g`."""
        short = {name.split("/")[-1]: value for name, value in self._trained_scalars().items()}
        return {
            re.sub("^log_?", "", name): float(np.exp(value) if name.startswith("log") else value)
            for name, value in short.items()
        }

    def describe_parameters(self) -> str:
        """The trained scalars as the original logs them: [('net/decoder/logsigma:0', 0.0), …]."""
        pairs = [f"('{name}:0', {value!s})" for name, value in self._trained_scalars().items()]
        return f"[{', '.join(pairs)}]"

    def _trained_scalars(self) -> dict[str, np.float32]:
        variables = self.variables_by_name(trainable_only=True)
        return {name: np.float32(v.numpy()) for name, v in variables.items() if not v.shape.rank}
