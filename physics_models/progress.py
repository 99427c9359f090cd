"""A line at the bottom of the terminal that says how far a training is."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, TextIO

import numpy as np

from physics_models.watchers import Watcher

if TYPE_CHECKING:
    from physics_models.base import BaseNet

REDRAW = 0.2  # seconds
BAR = 20  # characters
LOSSES = ("train", "pred", "recons")
RECENT = 30.0  # seconds that the speed is taken over


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


class ProgressBar(Watcher):
    """Shows epoch, share done, losses, steps per second and the time that is left on `terminal`.

    The time left counts evaluations in, as they have come so far; the speed does not.
    """

    def __init__(self, terminal: TextIO):
        self.terminal = terminal
        self.losses: dict[str, float] = {}
        self.done = self.total = 0
        self.shown = False
        self.drawn = -np.inf

    def started(self, net: BaseNet, done: int, total: int) -> None:
        """Show it at `done` of `total` steps."""
        self.done, self.total = done, total
        self.begin: tuple[float, int] | None = None  # when the second step began: the first waits for the graph
        self.recent: tuple[float, int] | None = None

    def stepped(self, net: BaseNet) -> None:
        """Count a step, and redraw if it is time."""
        self.done += 1
        now = time.monotonic()
        self.begin = self.begin or (now, self.done)
        if self.recent is None or now - self.recent[0] > RECENT:
            self.recent = (now, self.done)
        if now - self.drawn >= REDRAW:
            self.draw(net, now)

    def printed(self, net: BaseNet, loss: float) -> None:
        """Remember the training loss."""
        self.losses["train"] = loss

    def evaluated(
        self, net: BaseNet, split: str, epoch: int, means: dict[str, float], pictures: dict[str, np.ndarray]
    ) -> None:
        """Remember the losses, and leave the time out of the speed."""
        for name in ("pred", "recons"):
            self.losses[name] = means[f"eval_{name}_loss"]
        self.recent = None

    def text(self, net: BaseNet, now: float) -> str:
        """The line."""
        share = min(self.done / max(self.total, 1), 1.0)
        parts = [f"epoch {net.epoch + 1} [{'#' * int(BAR * share):<{BAR}}] {share:4.0%}"]
        parts += [f"{name} {self.losses[name]:.4g}" for name in LOSSES if name in self.losses]
        if self.recent and now > self.recent[0] and self.done > self.recent[1]:
            parts.append(f"{(self.done - self.recent[1]) / (now - self.recent[0]):.2g} steps/s")
        if self.begin and self.done > self.begin[1]:
            pace = (now - self.begin[0]) / (self.done - self.begin[1])
            parts.append(f"{clock(pace * max(self.total - self.done, 0))} left")
        return "  ".join(parts)

    def draw(self, net: BaseNet, now: float) -> None:
        """Write the line over the one before."""
        width = shutil.get_terminal_size().columns - 1
        self.terminal.write(f"\r{self.text(net, now)[:width]}\033[K")
        self.terminal.flush()
        self.drawn, self.shown = now, True

    def wipe(self) -> None:
        """Take the line away, for another one to be printed in its place."""
        if self.shown:
            self.terminal.write("\r\033[K")
            self.terminal.flush()
            self.shown = False

    def close(self) -> None:
        """Take the line away."""
        self.wipe()
