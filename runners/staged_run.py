"""Flags of `--schedule=staged` and `--schedule=autoencoder`, and the run that they describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from absl import flags

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.staged import SCHEDULES, STAGES, SUPERVISIONS, StagedSettings, StagedTraining, settings_for
from physics_models.tasks import Task
from runners.run_base import FLAGS, POSITIVE

JOINT = "joint"
JOINT_ONLY_FLAGS = {  # why --schedule=staged does not take them
    "epochs": "the stages have --autoencoder_steps, --positions_steps, --joint_steps",
    "eval_every_n_epochs": "the stages are evaluated at their ends",
    "base_lr": "the stages have --autoencoder_rate, --positions_rate, --joint_rate",
    "anneal_lr": "the stages always anneal",
    "save_every_n_epochs": "the stages save every 500 steps and at their ends",
    "debug": "the stages skip that validation",
}

flags.DEFINE_enum("schedule", JOINT, [JOINT, *SCHEDULES], "joint is the original's, autoencoder the first stage alone")
for _name, _unit in zip(STAGES, ("frames", "sequences", "sequences")):
    flags.DEFINE_integer(f"{_name}_steps", None, f"staged: steps of the stage {_name}; by default the task's", 1)
    flags.DEFINE_integer(f"{_name}_batch", None, f"staged: {_unit} per step of the stage {_name}", 1)
    flags.DEFINE(POSITIVE, f"{_name}_rate", None, f"staged: learning rate of the stage {_name}")
flags.DEFINE_enum("supervision", "motion", SUPERVISIONS, "staged: of the stage autoencoder, up to 70 % of its steps")

STAGED_FLAGS = ("supervision", *(f"{name}_{part}" for name in STAGES for part in ("steps", "batch", "rate")))


def is_staged() -> bool:
    """Whether `--schedule` asks for stages; an `ExperimentError` for a flag that does not go with them."""
    if FLAGS.schedule == JOINT:
        return False
    if FLAGS.use_ckpt and not FLAGS.test_mode:
        raise ExperimentError("--use_ckpt=true trains with --schedule=joint only; a staged run continues with --resume")
    for name, instead in JOINT_ONLY_FLAGS.items():
        if FLAGS[name].present:
            raise ExperimentError(f"--{name}: belongs to --schedule=joint; {instead}")
    return True


def settings_from_flags(task: Task, vel_encoder: str | None = None) -> StagedSettings:
    """The task's settings for `vel_encoder` (by default the flag's), changed as the flags say."""
    settings = settings_for(task.name, vel_encoder or FLAGS.vel_encoder)
    for name in STAGES:
        given = {part: FLAGS[f"{name}_{part}"].value for part in ("steps", "batch", "rate")}
        given = {part: value for part, value in given.items() if value is not None}
        settings = replace(settings, **{name: replace(getattr(settings, name), **given)})
    if FLAGS["autoencoder_loss"].present:
        settings = replace(settings, recons_weight=FLAGS.autoencoder_loss)
    return replace(settings, supervision=FLAGS.supervision)


def train(task: Task, build: Callable[[Task, int], PhysicsNet], data: dict[str, Any], resume: bool) -> PhysicsNet:
    """Run the stages, then evaluate the train file's test split; returns the trained network."""
    seed = FLAGS.seed
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
    training = StagedTraining(
        build(task, seed), data, FLAGS.save_dir, settings_from_flags(task), seed, FLAGS.schedule,
        FLAGS.print_interval, optimizer=FLAGS.optimizer,
    )  # fmt: skip
    if resume:
        training.resume(checkpoints.load(FLAGS.save_dir))
    net = training.run()
    net.eval(data, "test", FLAGS.batch_size, FLAGS.save_dir, len(training.stages))
    return net
