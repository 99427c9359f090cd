"""The staged schedule: objects first, then the physics on positions alone, then everything together.

The original trains all parts at once from the start (`--schedule=joint`). Here, opt-in:

(a) `autoencoder`: encoder and decoder on single frames, with a guide that fades out (`physics_models.discovery`);
    if the objects are not found, it starts again with the next seed;
(b) `positions`: all frames are encoded once; velocity net and physics are fitted to those positions;
(c) `joint`: the original's loss, everything trained, at a small batch.

A stage's batches depend on the seed, the stage and the step alone, so that a resumed run goes on as it would have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from nn.optimizers import clip_elementwise
from physics_models import checkpoints
from physics_models.discovery import Guide, Kinds, autoencoder_loss, find_kinds, objects_in_use
from physics_models.errors import ExperimentError
from physics_models.experiment import synchronise_logs
from physics_models.physics_net import PhysicsNet

STAGES = ("autoencoder", "positions", "joint")
SCHEDULES = {"autoencoder": STAGES[:1], "staged": STAGES}
ANNEAL_AT, ANNEAL_BY = 0.7, 5.0  # of each stage's steps; the rate's divisor from there on
FADE = (0.5, 0.7)  # of the autoencoder's steps: where the guide begins to fade, and where it is gone
JUDGED_FRAMES = 250  # validation frames that tell whether the objects are found
SORTED_FRAMES = 300  # training frames that tell the objects' colours
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
    found_below: float  # reconstruction loss under which the objects count as found
    guide: Guide = field(default_factory=Guide)
    guide_strength: float = 1.0  # scales the guide; 0 leaves the reconstruction alone
    in_use: float = 0.4  # what each object must explain, in equal shares (see `objects_in_use`)
    tries: int = 5  # seeds for stage (a)


# Measured: docs/reproduction.md holds what these settings give, seed by seed.
_TWO_BALLS = StagedSettings(
    autoencoder=Stage(1000, 64, 1e-3),
    positions=Stage(6000, 100, 1e-3),
    joint=Stage(2500, 16, 3e-4),
    recons_weight=3.0,
    found_below=1.5,
)
SETTINGS = {
    "bouncing_balls": replace(_TWO_BALLS, recons_weight=2.0),
    "spring_color": _TWO_BALLS,
    "spring_color_half": _TWO_BALLS,
    "3bp_color": replace(_TWO_BALLS, joint=Stage(1500, 16, 3e-4), recons_weight=5.0, found_below=3.0),
    # A frame of the digits costs twenty times one of the balls.
    "mnist_spring_color": replace(
        _TWO_BALLS,
        autoencoder=Stage(1000, 32, 1e-3),
        positions=Stage(20000, 100, 1e-3),
        joint=Stage(1500, 8, 3e-4),
        found_below=30.0,
    ),
}


# With a fitted state there is no net to train, only the cell's few parameters (measured on true positions).
FITTED_STATE = {"3bp_color": Stage(500, 100, 2e-2), "mnist_spring_color": Stage(1500, 100, 1e-2)}
FITTED_STATE_OTHERS = Stage(400, 100, 1e-2)


def settings_for(task: str, vel_encoder: str = "mlp") -> StagedSettings:
    """The settings of `task`; of spring_color for a task of one's own."""
    settings = SETTINGS.get(task, _TWO_BALLS)
    if vel_encoder == "gauss_newton":
        settings = replace(settings, positions=FITTED_STATE.get(task, FITTED_STATE_OTHERS))
    return settings


class StagedTraining:
    """Takes a network through the stages of a schedule, with a checkpoint at the end of each.

    `build(seed)` makes a network with its optimizer. `data` holds a `DataIterator` each for train and valid; the
    network sees the first L + P frames of a sequence only, as in the original. `save_every` steps apart there is
    a checkpoint besides, so that `resume` finds its place.
    """

    def __init__(
        self,
        build: Callable[[int], PhysicsNet],
        data: dict[str, Any],
        save_dir: str,
        settings: StagedSettings,
        seed: int = 0,
        schedule: str = "staged",
        print_interval: int = 100,
        save_every: int = 500,
        keep: int = 1,
        optimizer: str = "rmsprop",
    ):
        if schedule not in SCHEDULES:
            raise ExperimentError(f"--schedule={schedule}: unknown; choose one of joint, {', '.join(SCHEDULES)}")
        self.build, self.data, self.save_dir, self.settings = build, data, save_dir, settings
        self.stages = SCHEDULES[schedule]
        self.print_interval, self.save_every, self.keep = print_interval, save_every, keep
        self.optimizer = optimizer
        self.first_seed = self.seed = seed
        self.stage, self.step = 0, 0
        self.data_sum = data["train"].checksum
        self.net = build(seed)
        task = self.net.task
        self.seen = task.input_steps + task.pred_steps

    # Progress

    def progress(self) -> dict[str, int]:
        """Where the run stands: seeds, stage and step in it; kept in the checkpoint."""
        return {
            "first_seed": self.first_seed,
            "stage_seed": self.seed,
            "stage": self.stage,
            "stage_step": self.step,
        }

    def resume(self, stored: checkpoints.Stored) -> None:
        """Go on where the run stood that wrote `stored`.

        Raises `ExperimentError` for a checkpoint that no staged run wrote.
        """
        if "stage" not in stored.progress:
            raise ExperimentError(f"{stored.path}: not of a staged run; resume it with --schedule=joint")
        self.first_seed, self.seed = stored.progress["first_seed"], stored.progress["stage_seed"]
        self.stage, self.step = stored.progress["stage"], stored.progress["stage_step"]
        if stored.progress["data"] != self.data_sum:
            raise ExperimentError(f"--resume: the run in {self.save_dir} was begun with other training data")
        self.net = self.build(self.seed)
        checkpoints.restore(self.net, stored)
        self.net.iteration = stored.progress["iteration"]

    def _save(self) -> None:
        synchronise_logs(self.save_dir)
        more = {"data": self.data_sum, **self.net.position(self.save_dir), **self.progress()}
        checkpoints.save(self.net, self.save_dir, self.keep, more)

    # Stages

    def run(self) -> PhysicsNet:
        """Run what is left of the stages; returns the trained network."""
        self._tell_where_it_stands()
        while self.stage < len(self.stages):
            name = self.stages[self.stage]
            logger.info("stage - %s: begins at step %d, seed %d", name, self.step, self.seed)
            done = getattr(self, f"_{name}")()
            if done:
                self.net.eval(self.data, "valid", EVALUATED_AT_ONCE, self.save_dir, epoch=self.stage + 1)
                logger.info("stage - %s: done", name)
            self.stage, self.step = (self.stage + 1, 0) if done else (0, 0)
            if done:
                self._save()
            else:
                self._tell_where_it_stands()
        return self.net

    def _tell_where_it_stands(self) -> None:
        steps = [getattr(self.settings, name).steps for name in self.stages]
        for watcher in self.net.watchers:
            watcher.started(self.net, sum(steps[: self.stage]) + self.step, sum(steps))

    def _steps(self, stage: Stage, name: str, update: Callable[[np.random.RandomState, float], tf.Tensor]) -> None:
        """Call `update(random numbers, part of the stage done)` to the stage's end, logging and saving."""
        self.net.optimizer.rate.assign(stage.rate)
        while self.step < stage.steps:
            if self.step >= ANNEAL_AT * stage.steps:
                self.net.optimizer.rate.assign(stage.rate / ANNEAL_BY)
            draw = np.random.RandomState([self.seed % 2**32, self.stage, self.step])
            loss = update(draw, self.step / stage.steps)
            if self.step % self.print_interval == 0:
                self._log_step(name, float(loss))
            self.step += 1
            self.net.iteration += 1
            for watcher in self.net.watchers:
                watcher.stepped(self.net)
            stop = self.net.stop_request.number is not None
            if stop or self.step % self.save_every == 0 or self.step == stage.steps:
                self._check_numbers(name)
                self._save()
            self.net.stop_request.check()

    def _check_numbers(self, name: str) -> None:
        """Raise `ExperimentError` if a step was left out because its loss or gradient was not finite."""
        left_out = int(self.net.guard.left_out.numpy())
        if left_out:
            raise ExperimentError(
                f"stage {name}: loss or gradient not finite at step {self.step - left_out}, seed {self.seed}; take a "
                f"smaller --{name}_rate or another --seed (the checkpoint in {self.save_dir} is from before)"
            )

    def _log_step(self, name: str, loss: float) -> None:
        if not np.isfinite(loss):
            self.step += 1
            self._check_numbers(name)
        if name == "joint":
            logger.info("train - iter=%d train_loss=%s", self.net.iteration, np.float32(loss))
        else:
            logger.info("stage - %s iter=%d loss=%s", name, self.step, np.float32(loss))
        for watcher in self.net.watchers:
            watcher.printed(self.net, loss)

    def _fresh_optimizer(self, stage: Stage) -> None:
        """The slots of the stage before belong to another loss."""
        if self.step == 0:
            self.net.build_optimizer(stage.rate, self.optimizer)

    def _autoencoder(self) -> bool:
        """Stage (a); whether the objects were found. If not, the network is made anew with the next seed."""
        settings, net = self.settings, self.net
        frames = self.data["train"].X
        kinds = self._kinds(frames)
        variables = list(net.variables_by_name(trainable_only=True).values())

        @tf.function
        def train(batch: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                loss, recons = autoencoder_loss(net, batch, settings.guide, strength, kinds)
            gradients = tape.gradient(loss, variables)
            net.guard.apply(loss, gradients, lambda: net.optimizer.apply(clip_elementwise(gradients)))
            return recons

        def update(draw: np.random.RandomState, done: float) -> tf.Tensor:
            batch = self._frames(frames, draw, settings.autoencoder.batch)
            fade = np.clip((FADE[1] - done) / (FADE[1] - FADE[0]), 0.0, 1.0)
            return train(batch, tf.constant(settings.guide_strength * fade, tf.float32))

        self._fresh_optimizer(settings.autoencoder)
        self._steps(settings.autoencoder, "autoencoder", update)
        return self._found_objects()

    def _found_objects(self) -> bool:
        settings, frames = self.settings, self.data["valid"].X
        draw = np.random.RandomState(0)
        loss, gains = objects_in_use(self.net, self._frames(frames, draw, JUDGED_FRAMES))
        found = loss < settings.found_below and gains.min() > settings.in_use
        shares = ", ".join(f"{gain:.2f}" for gain in gains)
        logger.info(
            "stage - autoencoder: recons_loss=%.3f (found below %.2f), each object explains %s of its share",
            loss, settings.found_below, shares,
        )  # fmt: skip
        if found:
            return True
        if self.seed - self.first_seed + 1 >= settings.tries:
            raise ExperimentError(
                f"the objects were not found with any of the seeds {self.first_seed} to {self.seed}; "
                "try another --seed, more --autoencoder_steps or a larger --guide"
            )
        self.seed += 1
        logger.info("stage - autoencoder: the objects are not found; it starts again with seed %d", self.seed)
        iteration = self.net.iteration
        self.net = self.build(self.seed)
        self.net.iteration = iteration
        return False

    def _kinds(self, frames: np.ndarray) -> Kinds | None:
        """What tells the objects apart for the guide, None without a guide."""
        if self.settings.guide_strength == 0:
            return None
        some = self._frames(frames, np.random.RandomState(0), SORTED_FRAMES).numpy()
        kinds = find_kinds(some, self.net.task.n_objs)
        if kinds is None:
            logger.info("stage - autoencoder: the objects do not differ in colour; the guide is left out")
        return kinds

    def _frames(self, frames: np.ndarray, draw: np.random.RandomState, count: int) -> tf.Tensor:
        """`count` random single frames [count, H, H, C] in [0, 1] of the first L + P of the sequences."""
        sequence, time = draw.randint(0, len(frames), count), draw.randint(0, self.seen, count)
        return self.net.to_float(tf.constant(frames[sequence, time]))

    def _positions(self) -> bool:
        """Stage (b): velocity net and physics, fitted to the positions of all frames, encoded once."""
        net = self.net
        stage = self.settings.positions
        if net.vel_encoder == "gauss_newton" and not net.cell.trainable_variables:
            logger.info("stage - positions: there is nothing to fit")
            return True
        encoded = encode_all(net, self.data["train"].X[:, : self.seen])
        self._fresh_optimizer(stage)
        train = position_step(net)
        batch = min(stage.batch, len(encoded))

        def update(draw: np.random.RandomState, done: float) -> tf.Tensor:
            return train(tf.constant(encoded[draw.randint(0, len(encoded), batch)]))

        self._steps(stage, "positions", update)
        return True

    def _joint(self) -> bool:
        """Stage (c): the original's training step on small batches of sequences."""
        net, stage, frames = self.net, self.settings.joint, self.data["train"].X
        net.autoencoder_loss = self.settings.recons_weight
        self._fresh_optimizer(stage)
        batch = min(stage.batch, len(frames))

        def update(draw: np.random.RandomState, done: float) -> tf.Tensor:
            return net.train_step(net.to_float(tf.constant(frames[draw.randint(0, len(frames), batch)])))

        self._steps(stage, "joint", update)
        return True


def encode_all(net: PhysicsNet, frames: np.ndarray) -> np.ndarray:
    """Encoded positions float32 [S, T, 2N] (pixels) of uint8 `frames` [S, T, H, H, C]."""
    encode = tf.function(lambda batch: net.encoder(net.to_float(batch)).positions)
    flat = frames.reshape(-1, *frames.shape[2:])
    parts = [encode(tf.constant(flat[i : i + ENCODED_AT_ONCE])) for i in range(0, len(flat), ENCODED_AT_ONCE)]
    return np.concatenate([part.numpy() for part in parts]).reshape(*frames.shape[:2], -1)


def position_loss(net: PhysicsNet, positions: tf.Tensor) -> tf.Tensor:
    """Squared error, summed over the 2N coordinates and averaged over batch and steps, pixels².

    `positions` [B, L + P, 2N]: the first L give the initial state, the roll-out is held against the other P.
    """
    inputs, predicted = net.task.input_steps, net.task.pred_steps
    state = net.initial_state(positions)
    errors = []
    for target in tf.unstack(positions, axis=1)[inputs : inputs + predicted]:
        state = net.cell(state)
        errors.append(tf.reduce_sum(tf.math.squared_difference(state[0], target), axis=-1))
    return tf.reduce_mean(errors)


def position_step(net: PhysicsNet) -> Callable[[tf.Tensor], tf.Tensor]:
    """A compiled update of velocity net and cell on positions [B, L + P, 2N]; returns the loss before it."""
    variables = list(net.variables_by_name(trainable_only=True).values())

    @tf.function
    def train(positions: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = position_loss(net, positions)
        gradients = tape.gradient(loss, variables)
        net.guard.apply(loss, gradients, lambda: net.optimizer.apply(clip_elementwise(gradients)))
        return loss

    return train
