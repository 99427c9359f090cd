"""Who looks on while a network trains: a progress bar, metrics.csv, TensorBoard's summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from physics_models.base import BaseNet


class Watcher:
    """Is told what happens in a training; each method does nothing unless a subclass gives it."""

    def started(self, net: BaseNet, done: int, total: int) -> None:
        """A training of `total` steps begins, or goes on after the first `done`."""

    def stepped(self, net: BaseNet) -> None:
        """A step is done. Called at each: reading a tensor here would make a GPU wait."""

    def printed(self, net: BaseNet, loss: float) -> None:
        """The loss of the current step stands in the log, every `print_interval` steps."""

    def evaluated(
        self, net: BaseNet, split: str, epoch: int, means: dict[str, float], pictures: dict[str, np.ndarray]
    ) -> None:
        """A `split` was evaluated: its `eval_*` losses, and pictures [H, W, C] in [0, 1] by their names."""

    def close(self) -> None:
        """The last call."""
