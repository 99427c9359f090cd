"""Training in stages: objects first, then the physics on positions alone, then everything together.

The original trains all parts at once from the start (`--schedule=joint`). Here, opt-in:

(a) `autoencoder`: encoder and decoder on single frames, supervised by motion at first (`physics_models.supervision`);
(b) `positions`: all frames are encoded once; velocity net and physics are fitted to those positions;
(c) `joint`: the original's loss, everything trained, at a small batch; a network without positions has this one alone.

A stage's batches depend on the seed, the stage and the step alone, so that a resumed run takes the same steps.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nn.tracking import track
from physics_models import discovery, supervision
from physics_models.base import log_metrics
from physics_models.checkpoints import Checkpoint
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted, StopOnSignal
from physics_models.physics_net import PhysicsNet

STAGES = ("autoencoder", "positions", "joint")
SCHEDULES = {"autoencoder": STAGES[:1], "staged": STAGES}
SUPERVISIONS = ("motion", "none")
ANNEAL_AT, ANNEAL_BY = supervision.FADE[1], 5.0  # of each stage's steps; the rate's divisor from there on
CHECKED_FRAMES = 250  # validation frames, at random, that tell whether the objects are found
ENCODED_AT_ONCE = 500  # frames
EVALUATED_AT_ONCE = 100  # sequences

logger = logging.getLogger("tf")


@dataclass(frozen=True)
class Stage:
    """Length and rate of one stage; `batch` in frames (a) or sequences (b, c)."""

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True)
class StagedSettings:
    """The settings of the three stages for one task."""

    autoencoder: Stage
    positions: Stage
    joint: Stage
    recons_weight: float  # α of the joint stage
    supervision: str = "motion"  # of the stage autoencoder, or "none"


# Measured: docs/reproduction.md holds what these settings give, seed by seed. A frame of the digits costs twenty times
# one of the balls. With a fitted initial state (gauss_newton) the stage `positions` has only the cell's few parameters
# to train.
_OBJECTS, _DIGITS, _ROD = Stage(1000, 64, 1e-3), Stage(1000, 32, 1e-3), Stage(600, 32, 1e-3)
_VELOCITIES, _DIGIT_VELOCITIES, _PHYSICS = Stage(6000, 100, 1e-3), Stage(20000, 100, 1e-3), Stage(400, 100, 1e-2)
#   task                  autoencoder  positions: mlp     gauss_newton             joint                    α
_TABLE = {
    "bouncing_balls": (_OBJECTS, _VELOCITIES, _PHYSICS, Stage(2500, 16, 3e-4), 2.0),
    "spring_color": (_OBJECTS, _VELOCITIES, _PHYSICS, Stage(2500, 16, 3e-4), 3.0),
    "spring_color_half": (_OBJECTS, _VELOCITIES, _PHYSICS, Stage(2500, 16, 3e-4), 3.0),
    "3bp_color": (_OBJECTS, _VELOCITIES, Stage(500, 100, 2e-2), Stage(1500, 16, 3e-4), 5.0),
    "pendulum": (_ROD, _PHYSICS, _PHYSICS, Stage(100, 8, 1e-4), 3.0),
    "pendulum_gymnasium": (_ROD, _PHYSICS, _PHYSICS, Stage(400, 8, 2e-4), 3.0),
    "mnist_spring_color": (_DIGITS, _DIGIT_VELOCITIES, Stage(1500, 100, 1e-2), Stage(1500, 8, 3e-4), 3.0),
}


def settings_for(task: str, vel_encoder: str = "mlp") -> StagedSettings:
    """The settings of `task`; of spring_color for a custom task."""
    autoencoder, velocities, physics, joint, recons_weight = _TABLE.get(task, _TABLE["spring_color"])
    positions = physics if vel_encoder == "gauss_newton" else velocities
    return StagedSettings(autoencoder, positions, joint, recons_weight)


@dataclass
class StagedTraining:
    """Takes `net` through the stages of a schedule, with a checkpoint at the end of each.

    `data` holds a `DataIterator` each for train and valid; the network sees the first L + P frames of a sequence
    only, as in the original. Every `save_every` steps there is a checkpoint besides, from which `resume` continues.
    """

    net: PhysicsNet
    data: Mapping[str, Any]
    save_dir: str | Path
    settings: StagedSettings
    seed: int = 0
    schedule: str = "staged"
    print_interval: int = 100
    save_every: int = 500
    optimizer: str = "rmsprop"

    def __post_init__(self) -> None:
        """Begin at the first stage."""
        self.stages = SCHEDULES[self.schedule]
        if not isinstance(self.net, PhysicsNet):  # without positions, all is trained together
            self.stages = tuple(stage for stage in self.stages if stage == "joint")
        self.stage, self.step = 0, 0  # the number of the stage, and the steps taken in it
        self.found: discovery.Discovery | None = None  # what the stage `autoencoder` found to move
        self.verdict: supervision.Verdict | None = None  # and how it ended
        self.seen = self.net.task.input_steps + self.net.task.pred_steps

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue the run that wrote `checkpoint`.

        Raises `ExperimentError` for a checkpoint that no run in stages wrote, and for other training data.
        """
        progress = checkpoint.progress
        if "stage" not in progress:
            raise ExperimentError(f"{checkpoint.path}: not of a run in stages; resume it with --schedule=joint")
        if progress["data"] != self.data["train"].checksum:
            raise ExperimentError(f"--resume: the run in {self.save_dir} was begun with other training data")
        self.seed, self.stage, self.step = progress["seed"], progress["stage"], progress["stage_step"]
        self.net.restore(checkpoint)
        self.net.iteration = progress["iteration"]

    def save(self) -> None:
        """Write a checkpoint of what is trained so far."""
        source = {"run": self.net.run_id, "seed": self.seed, "data": self.data["train"].checksum}
        self.net.save(self.save_dir, {**source, "stage": self.stage, "stage_step": self.step})

    def run(self, evaluate: bool = True) -> PhysicsNet:
        """Run what is left of the stages, with an evaluation after each; returns the trained network."""
        self.net.notify("on_train_begin")
        while self.stage < len(self.stages):
            name = self.stages[self.stage]
            logger.info("stage - %s: begins at step %d, seed %d", name, self.step, self.seed)
            getattr(self, f"_{name}")()
            if evaluate:
                self.net.eval(self.data, "valid", EVALUATED_AT_ONCE, self.save_dir, epoch=self.stage + 1)
            logger.info("stage - %s: done", name)
            self.stage, self.step = self.stage + 1, 0
            self.save()
        self.net.notify("on_train_end")
        return self.net

    def _steps(self, name: str, update: Callable[[np.random.RandomState, float], tf.Tensor]) -> None:
        """Call `update(random numbers, share of the stage done)` up to the stage's end, logging and saving."""
        net, stage = self.net, getattr(self.settings, name)
        if self.step == 0:  # the slots of the stage before belong to another loss
            net.build_optimizer(stage.rate, self.optimizer)
        with StopOnSignal() as stop:
            while self.step < stage.steps:
                annealed = self.step >= ANNEAL_AT * stage.steps
                net.optimizer.rate.assign(stage.rate / ANNEAL_BY if annealed else stage.rate)
                random = np.random.RandomState([self.seed % 2**32, self.stage, self.step])
                loss = update(random, self.step / stage.steps)
                if self.step % self.print_interval == 0:
                    net.check_finite(self.save_dir, f"{name}_rate")
                    if name == "joint":  # as the original logs its training
                        log_metrics(f"train - iter={net.iteration}", {"train_loss": loss})
                    else:
                        log_metrics(f"stage - {name} iter={self.step}", {"loss": loss})
                net.notify("on_train_batch_end", net.iteration, {"loss": loss})
                self.step += 1
                net.iteration += 1
                if stop.requested or self.step % self.save_every == 0 or self.step == stage.steps:
                    net.check_finite(self.save_dir, f"{name}_rate")
                    self.save()
                if stop.requested:
                    raise Interrupted(stop.signal)

    def _autoencoder(self) -> None:
        """Stage (a); raises `ExperimentError` if the objects are not found and other stages are to follow."""
        net, batch_size, frames = self.net, self.settings.autoencoder.batch, self.data["train"].X[:, : self.seen]
        self.found = found = self._discover(frames)
        supervised = found if self.settings.supervision == "motion" and found.kinds is not None else None
        variables = list(net.variables_by_name(trainable_only=True).values())

        @tf.function(autograph=False)
        def train(batch: tf.Tensor, centres: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss, recons = supervision.autoencoder_loss(net, net.to_float(batch), centres, weight, supervised)
            net.update(tape.gradient(loss, variables))
            return recons

        def update(random: np.random.RandomState, done: float) -> tf.Tensor:
            which = random.randint(0, len(frames), batch_size), random.randint(0, self.seen, batch_size)
            return train(frames[which], found.centres[which], tf.constant(supervision.fade(done)))

        self._steps("autoencoder", update)
        self._check_objects_found(found)

    def _discover(self, frames: np.ndarray) -> discovery.Discovery:
        """What moves in uint8 `frames` [S, L + P, H, H, C]: logged, and drawn to objects.png."""
        found = discovery.discover(frames, self.net.task.n_objs, self._to_float)
        for line in discovery.describe(found):
            logger.info("stage - autoencoder: %s", line)
        some = frames[:: max(len(frames) // discovery.PICTURE_FRAMES, 1), 0]
        discovery.save_picture(found, self._to_float(some), f"{self.save_dir}/objects.png")
        return found

    def _to_float(self, frames: np.ndarray) -> np.ndarray:
        return self.net.to_float(tf.constant(frames)).numpy()

    def _check_objects_found(self, found: discovery.Discovery) -> None:
        """Log whether the objects are found; raise `ExperimentError` if not, and other stages are to follow."""
        frames, random = self.data["valid"].X, np.random.RandomState(0)
        some = frames[random.randint(0, len(frames), CHECKED_FRAMES), random.randint(0, self.seen, CHECKED_FRAMES)]
        self.verdict = verdict = supervision.object_contributions(self.net, self._to_float(some), found)
        logger.info("stage - autoencoder: %s", verdict)
        if not verdict.found and len(verdict.contributions) and len(self.stages) > 1:
            another = "--n_objs, " * (self.net.task.name == "custom") + "--autoencoder_steps or --seed"
            raise ExperimentError(f"{verdict}; see {self.save_dir}/objects.png, and try another {another}")

    def _positions(self) -> None:
        """Stage (b): velocity net and physics, fitted to the positions of all frames, encoded once."""
        net = self.net
        if net.vel_encoder == "gauss_newton" and not net.cell.trainable_variables:
            logger.info("stage - positions: there is nothing to fit")
            return
        data = self.data["train"]
        encoded, count = encode_all(net, data.X[:, : self.seen]), data.num_examples
        train, batch = position_step(net), min(self.settings.positions.batch, count)
        self._steps("positions", lambda random, _: train(data.take(random.randint(0, count, batch), encoded)))

    def _joint(self) -> None:
        """Stage (c): the original's training step on small batches of sequences."""
        net, data = self.net, self.data["train"]
        net.autoencoder_loss = self.settings.recons_weight
        batch = min(self.settings.joint.batch, data.num_examples)
        self._steps("joint", lambda random, _: net.train_step(data.take(random.randint(0, data.num_examples, batch))))


def encode_all(net: PhysicsNet, frames: np.ndarray) -> np.ndarray:
    """Encoded positions float32 [S, T, 2N] (pixels) of uint8 `frames` [S, T, H, H, C]; as `PhysicsNet.encode`."""
    encode = tf.function(lambda batch: net.encoder(net.to_float(batch)).positions, autograph=False)
    flat = frames.reshape(-1, *frames.shape[2:])
    parts = [encode(tf.constant(flat[i : i + ENCODED_AT_ONCE])) for i in range(0, len(flat), ENCODED_AT_ONCE)]
    positions = np.concatenate([part.numpy() for part in parts]).reshape(*frames.shape[:2], -1)
    return track(tf.constant(positions)).numpy() if net.track_objects else positions


def look_the_same(net: PhysicsNet, frames: np.ndarray) -> bool:
    """Whether single frames do not tell the N objects apart: `net` is to track them.

    Of uint8 `frames` [S, T, H, H, C], those that `net` is trained on count: the first L + P of each sequence.
    """
    flat = frames[:, : net.task.input_steps + net.task.pred_steps].reshape(-1, *frames.shape[2:])
    kinds = discovery.scan(flat, lambda part: net.to_float(tf.constant(part)).numpy())[1].get(net.task.n_objs)
    return kinds is not None and not kinds.distinct


def position_step(net: PhysicsNet) -> Callable[[tf.Tensor], tf.Tensor]:
    """A compiled update of velocity net and cell on positions [B, L + P, 2N]; returns the loss before it."""
    variables = list(net.variables_by_name(trainable_only=True).values())

    @tf.function(autograph=False)
    def train(positions: tf.Tensor, optimizer: Any) -> tf.Tensor:  # the net's, as in `BaseNet._train_step`
        with tf.GradientTape() as tape:
            loss = net.position_loss(positions)
        net.update(tape.gradient(loss, variables))
        return loss

    return lambda positions: train(positions, net.optimizer)


def train_on_positions(
    net: PhysicsNet, positions: np.ndarray, stage: Stage, random: np.random.RandomState, optimizer: str = "rmsprop"
) -> Iterator[int]:
    """Fit velocity net and cell to `positions` [S, L + P, 2N] as the stage `positions` does, outside of a run.

    A generator: it gives the number of each step before that is taken, and `stage.steps` at the end.
    """
    net.build_optimizer(stage.rate, optimizer)
    train = position_step(net)
    for step in range(stage.steps):
        yield step
        if step == math.ceil(ANNEAL_AT * stage.steps):
            net.optimizer.rate.assign(stage.rate / ANNEAL_BY)
        train(tf.constant(positions[random.randint(0, len(positions), stage.batch)]))
    yield stage.steps
