"""TensorBoard's summaries of a training: `tensorboard --logdir=<save_dir>/tb` shows them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from physics_models.errors import ExperimentError
from physics_models.experiment import SUMMARIES


def check_tensorboard() -> None:
    """Raise `ExperimentError` where TensorBoard is not installed: current TensorFlow does not bring it along."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ExperimentError("--tensorboard: TensorBoard is not installed; pip install tensorboard")


class Summaries(tf.keras.callbacks.Callback):
    """Writes losses, rate and learned parameters to `tb` in `save_dir`, every `print_interval` steps.

    `net` is a `BaseNet`. TensorBoard must be installed.
    """

    def __init__(self, net: Any, save_dir: str | Path, print_interval: int):
        super().__init__()
        self.net, self.print_interval = net, print_interval
        self.writer = tf.summary.create_file_writer(os.fsencode(Path(save_dir) / SUMMARIES))

    def on_train_batch_end(self, batch: int, logs: dict[str, tf.Tensor] | None = None) -> None:
        """The loss of step `batch`, and the rate."""
        if batch % self.print_interval == 0:
            self._write(batch, "train", {"loss": (logs or {})["loss"], "rate": self.net.optimizer.rate})

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """The losses of the split `logs["split"]`, and the parameters."""
        logs = dict(logs or {})
        split = logs.pop("split")
        self._write(self.net.iteration, split, logs)
        self._write(self.net.iteration, "parameters", self.net.scalars())
        self.writer.flush()

    def _write(self, step: int, group: str, numbers: dict[str, Any]) -> None:
        with self.writer.as_default():
            for name, number in numbers.items():
                tf.summary.scalar(f"{group}/{name}", number, step=step)
