"""metrics.csv: every number that a training logs, one row a line of the log, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from physics_models.errors import ExperimentError
from physics_models.experiment import METRICS
from physics_models.watchers import Watcher

if TYPE_CHECKING:
    from physics_models.base import BaseNet

EVALUATED = ("eval_extrap_loss", "eval_pred_loss", "eval_recons_loss")
COLUMNS = ("time", "split", "epoch", "iteration", "rate", "gradient_norm", "left_out", "train_loss", *EVALUATED)


class MetricsFile(Watcher):
    """Appends to metrics.csv in `save_dir`: COLUMNS, then the learned parameters by their names.

    `epoch` counts the completed ones, `iteration` the steps taken, `left_out` the steps that went wrong; the
    gradient's norm, in rows of split `train`, is of the last step, before clipping. A cell is empty where a row has
    no such number.
    """

    def __init__(self, save_dir: str | Path):
        self.path = Path(save_dir) / METRICS

    def printed(self, net: BaseNet, loss: float) -> None:
        """A row of split `train`."""
        norm = float(net.guard.gradient_norm.numpy())
        self._write(net, "train", net.epoch, {"train_loss": loss, "gradient_norm": norm})

    def evaluated(
        self, net: BaseNet, split: str, epoch: int, means: dict[str, float], pictures: dict[str, np.ndarray]
    ) -> None:
        """A row of split `valid` or `test`."""
        self._write(net, split, epoch, {name: means[name] for name in EVALUATED})

    def _write(self, net: BaseNet, split: str, epoch: int, losses: dict[str, float]) -> None:
        parameters = net.scalars()
        row = {
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "split": split,
            "epoch": epoch,
            "iteration": net.iteration,
            "rate": float(net.optimizer.rate.numpy()),
            "left_out": int(net.guard.left_out.numpy()),
            **losses,
            **parameters,
        }
        try:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, [*COLUMNS, *parameters])
                if file.tell() == 0:
                    table.writeheader()
                table.writerow(row)
        except OSError as error:
            raise ExperimentError(f"{self.path}: cannot be written ({error.strerror or error})") from error
