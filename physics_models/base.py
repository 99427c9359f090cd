"""BaseNet: training and evaluation loops, optimizer and learning rate (`nn/network/base.py` of the original)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nn.optimizers import OPTIMIZERS, clip_elementwise
from physics_models import pictures
from physics_models.errors import ExperimentError
from physics_models.experiment import file_lengths
from physics_models.interruption import StopRequest
from physics_models.save_dir import save_npz
from physics_models.step_guard import StepGuard
from physics_models.tasks import Task
from physics_models.training import Training
from physics_models.watchers import Watcher

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
    `named_variables()`. `watchers` are told what happens; `stop_request` ends the loops. `jit`: loss, gradients and
    evaluation are compiled by XLA.

    Made within the scope of a `tf.distribute` strategy, it trains on all of the strategy's replicas.
    """

    def __init__(self, task: Task, channels: int, jit: bool = False):
        super().__init__()
        self.task = task
        self.channels = channels
        self.optimizer: Any = None
        self.epoch = 0  # epochs completed
        self.step = 0  # steps taken of the epoch that follows
        self.iteration = 0  # training steps taken
        self.run_id = 0  # which run the checkpoints are of
        self.guard = StepGuard()
        self.stop_request = StopRequest()
        self.watchers: tuple[Watcher, ...] = ()
        self.strategy = tf.distribute.get_strategy()
        self._gradients = self.loss_and_gradients
        if jit:
            self._gradients = tf.function(self.loss_and_gradients, autograph=False, jit_compile=True)
        self._train_function = tf.function(self._train_step, autograph=False)
        frames = tf.TensorSpec([None, None, task.img_size, task.img_size, channels], tf.float32)
        self.eval_step = tf.function(
            self._eval_step, input_signature=[frames], autograph=False, jit_compile=jit or None
        )

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

    # Where it stands

    def position(self, save_dir: str | Path) -> dict[str, int]:
        """What a checkpoint in `save_dir` holds besides the arrays: where the network stands, and the logs end."""
        return {
            "run": self.run_id,
            "epoch": self.epoch,
            "step": self.step,
            "iteration": self.iteration,
            "left_out": int(self.guard.left_out.numpy()),
            **file_lengths(save_dir),
        }

    def go_on_from(self, progress: dict[str, int]) -> None:
        """Stand where the network stood that wrote a checkpoint with this `progress`."""
        self.epoch, self.step, self.iteration = (progress[name] for name in ("epoch", "step", "iteration"))
        self.guard.left_out.assign(progress["left_out"])

    # Steps

    def train_step(self, frames: tf.Tensor) -> tf.Tensor:
        """One update on `frames` [B, T, H, H, C] in [0, 1]; returns the loss before it, a scalar."""
        return self._train_function(frames)

    def _train_step(self, frames: tf.Tensor) -> tf.Tensor:
        results = self.strategy.run(self._replica_step, args=(frames,))
        # The mean over all replicas, which each of them has: one is enough.
        loss, gradients = tf.nest.map_structure(lambda x: self.strategy.experimental_local_results(x)[0], results)
        self.guard.apply(loss, gradients, lambda: self.optimizer.apply(clip_elementwise(gradients)))
        return loss

    def _replica_step(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """Loss and gradients of one replica's share `frames`, averaged over all replicas, not yet clipped."""
        loss, gradients = self._gradients(frames)
        if self.strategy.num_replicas_in_sync == 1:
            return loss, gradients
        given = [gradient for gradient in gradients if gradient is not None]
        mean = tf.distribute.ReduceOp.MEAN
        loss, *given = tf.distribute.get_replica_context().all_reduce(mean, [loss, *given])
        reduced = iter(given)
        return loss, [None if gradient is None else next(reduced) for gradient in gradients]

    def loss_and_gradients(self, frames: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        """The training loss of `frames` [B, T, H, H, C] and its gradients, in the order of the trainable variables."""
        variables = list(self.variables_by_name(trainable_only=True).values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            loss = self.train_loss(frames)
        return loss, tape.gradient(loss, variables)

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

    def pipeline(self, batches: Iterator[np.ndarray], shape: tuple[int, ...]) -> Iterable[tf.Tensor]:
        """A prefetched stream of float32 batches [B, T, H, H, C] from uint8 ones of `shape`.

        With several replicas, of each batch the shares of those that this process runs; each replica's is the same
        slice of the batch, wherever it runs.
        """
        spec = tf.TensorSpec(shape, tf.uint8)
        stream = tf.data.Dataset.from_generator(lambda: batches, output_signature=spec)
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return stream.map(self.to_float).prefetch(2)

        def shares(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = replicas // context.num_input_pipelines
            first = context.input_pipeline_id * here
            one = [replicas, shape[0] // replicas, *shape[1:]]
            own = stream.map(lambda frames: tf.reshape(frames, one)[first : first + here])
            return own.unbatch().map(self.to_float).prefetch(2 * here)

        return self.strategy.distribute_datasets_from_function(shares)

    # Loops

    def train(self, data: dict[str, Any], save_dir: str | Path, **settings: Any) -> None:
        """Train on `data["train"]`, then evaluate `data["test"]`; `settings` are those of `Training`."""
        Training(self, data, save_dir, **settings).run()

    def eval(
        self, data: dict[str, Any], split: str, batch_size: int, save_dir: str | Path, epoch: int = 0
    ) -> dict[str, float]:
        """Evaluate `data[split]`, log `eval_*` means over full batches, and write outputs and pictures.

        A split of under 100 sequences is one batch. The pictures show five sequences of `data["test"]`. Raises
        `Interrupted` between two batches if that was asked for.
        """
        frames = data[split].X
        batch_size = len(frames) if len(frames) < SMALL_SPLIT else min(batch_size, len(frames))
        metrics, inputs, predictions = [], [], []
        for start in range(0, len(frames) - batch_size + 1, batch_size):
            self.stop_request.check()
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
        drawn = pictures.write_examples(self, examples, save_dir)
        losses = {name: float(value) for name, value in means.items()}
        for watcher in self.watchers:
            watcher.evaluated(self, split, epoch, losses, drawn)
        return losses

    def scalars(self) -> dict[str, float]:
        """The trainable scalars as what they are logarithms of: `sigma`, and the cell's `k` and `l`, or `g`."""
        short = {name.split("/")[-1]: value for name, value in self._trainable_scalars().items()}
        return {re.sub("^log_?", "", name): float(np.exp(value)) for name, value in short.items()}

    def describe_parameters(self) -> str:
        """The trainable scalars as the original logs them: [('net/decoder/logsigma:0', 0.0), …]."""
        pairs = [f"('{name}:0', {value!s})" for name, value in self._trainable_scalars().items()]
        return f"[{', '.join(pairs)}]"

    def _trainable_scalars(self) -> dict[str, np.float32]:
        variables = self.variables_by_name(trainable_only=True)
        return {name: np.float32(v.numpy()) for name, v in variables.items() if not v.shape.rank}
