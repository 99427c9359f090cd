"""The training loop: epochs of steps, validations, checkpoints, and going on where a run was cut off."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.experiment import file_lengths
from physics_models.interruption import Interrupted
from physics_models.step_guard import likely_cause

if TYPE_CHECKING:
    from physics_models.base import BaseNet

ANNEAL_AT = 0.75  # of the epochs
ANNEAL_BY = 5.0

logger = logging.getLogger("tf")
note = logging.getLogger("tf.note")


@dataclass
class Training:
    """Trains `net` on `data["train"]` up to `epochs`, then evaluates `data["test"]`.

    `data` holds a `DataIterator` each for train, valid and test. Validation before training (unless `debug`) and
    every `eval_every_n_epochs`; a checkpoint every `save_every_n_epochs` and at the end, of which the newest
    `keep_checkpoints` stay. `on_nan` is "stop" or "skip": what to do about a step whose loss or gradient is not
    finite.

    It begins where `net` stands (`epoch`, `step`, `iteration`), and on a request to stop (`net.stop_request`) it
    saves where it stands and raises `Interrupted`.
    """

    net: BaseNet
    data: dict[str, Any]
    save_dir: str | Path
    epochs: int = 10
    batch_size: int = 100
    save_every_n_epochs: int = 5
    eval_every_n_epochs: int = 1
    print_interval: int = 10
    anneal_lr: bool = True
    debug: bool = False
    keep_checkpoints: int = 1
    on_nan: str = "stop"

    def run(self) -> None:
        """Train to the end. Raises `Interrupted`, or `ExperimentError` for numbers that went wrong."""
        net = self.net
        self.saved: tuple[int, int, int] | None = None  # where the net stood at the last checkpoint of this process
        net.guard.skip.assign(self.on_nan == "skip")
        net.guard.before.assign(net.guard.left_out)
        self.data_sum = self.data["train"].checksum
        self.batches = len(self.data["train"].X) // self.batch_size
        for watcher in net.watchers:
            watcher.started(net, net.epoch * self.batches + net.step, self.epochs * self.batches)
        if net.iteration == 0 and not self.debug:
            self._validate(0)
        while net.epoch < self.epochs:
            epoch = net.epoch + 1
            # From that epoch on, for a run that goes on with fewer epochs; never with one epoch, as in the original.
            if self.anneal_lr and epoch >= int(ANNEAL_AT * self.epochs) > 0:
                net.optimizer.rate.assign(net.base_lr / ANNEAL_BY)
            self._train_epoch(epoch)
            if epoch % self.eval_every_n_epochs == 0:
                self._validate(epoch)
            net.epoch, net.step = epoch, 0
            if epoch % self.save_every_n_epochs == 0 or epoch == self.epochs:
                self._save()
        net.eval(self.data, "test", self.batch_size, self.save_dir, self.epochs)

    def _train_epoch(self, epoch: int) -> None:
        """The steps of `epoch` from `net.step` on."""
        net, iterator = self.net, self.data["train"]
        left_out_before = int(net.guard.left_out.numpy())
        batches = iterator.epoch(epoch, self.batch_size, net.step)
        for frames in net.pipeline(batches, (self.batch_size, *iterator.X.shape[1:])):
            loss = net.train_step(frames)
            net.iteration += 1
            net.step += 1
            if (net.iteration - 1) % self.print_interval == 0:
                self._check_numbers()
                logger.info("train - iter=%d train_loss=%s", net.iteration - 1, np.float32(loss))
                for watcher in net.watchers:
                    watcher.printed(net, float(loss))
            for watcher in net.watchers:
                watcher.stepped(net)
            if net.stop_request.number is not None:
                self._check_numbers()
                self._save()
                net.stop_request.check()
        self._check_numbers()
        left_out = int(net.guard.left_out.numpy()) - left_out_before
        if left_out:
            note.warning("%d of the %d steps of epoch %d were left out (--on_nan=skip)", left_out, self.batches, epoch)
        if left_out == self.batches:
            raise ExperimentError(f"epoch {epoch}: every step went wrong and was left out; {self._last_checkpoint()}")

    def _validate(self, epoch: int) -> None:
        """Evaluate the validation split; if that is interrupted, it is repeated when the run goes on."""
        before = file_lengths(self.save_dir)
        try:
            self.net.eval(self.data, "valid", self.batch_size, self.save_dir, epoch)
        except Interrupted:
            self._save(before)
            raise

    def _save(self, lengths: dict[str, int] | None = None) -> None:
        net = self.net
        where = (net.epoch, net.step, net.iteration)
        if where == self.saved:
            return
        which_data = {"seed": self.data["train"].seed, "data": self.data_sum}
        more = {**which_data, **(lengths or {})}
        try:
            checkpoints.save(net, self.save_dir, self.keep_checkpoints, more)
        except ExperimentError as error:
            raise ExperimentError(f"{error}; {self._last_checkpoint()}") from error
        self.saved = where

    def _last_checkpoint(self) -> str:
        """Which checkpoint there is to go back to, in words."""
        try:
            return f"the last good checkpoint is {checkpoints.find(self.save_dir)}"
        except ExperimentError:
            return f"no checkpoint was written to {self.save_dir} before"

    def _check_numbers(self) -> None:
        """Raise `ExperimentError` if a step was left out that should not be."""
        net = self.net
        left_out = int(net.guard.left_out.numpy()) - int(net.guard.before.numpy())
        if self.on_nan == "skip" or not left_out:
            return
        # Since the bad step no update was let through, and the batch that it saw can be had again.
        iteration = net.iteration - left_out
        step = net.step - left_out
        iterator = self.data["train"]
        frames: Sequence[np.ndarray] = next(iterator.epoch(net.epoch + 1, self.batch_size, step))
        raise ExperimentError(
            f"step {iteration} (epoch {net.epoch + 1}) went wrong: {likely_cause(net, net.to_float(frames))}; "
            f"{self._last_checkpoint()}"
        )
