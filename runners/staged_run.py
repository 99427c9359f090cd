"""Flags of `--schedule=staged` and `--schedule=autoencoder`, and the run that they describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from physics_models.errors import ExperimentError
from physics_models.tasks import Task
from runners.run_base import FLAGS, check_not_negative, check_positive, logger

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet
    from physics_models.staged import StagedSettings

JOINT = "joint"
STAGE_NAMES = ("autoencoder", "positions", "joint")
# Flags that the stages have their own in place of, or no use for.
OF_JOINT = {
    "epochs": "the stages have --autoencoder_steps, --positions_steps, --joint_steps",
    "eval_every_n_epochs": "the stages are evaluated at their ends",
    "base_lr": "the stages have --autoencoder_rate, --positions_rate, --joint_rate",
    "anneal_lr": "the stages always anneal",
    "save_every_n_epochs": "the stages save every 500 steps and at their ends",
    "debug": "the stages skip that validation",
}

flags.DEFINE_string("schedule", JOINT, "joint (the original's), staged, or autoencoder (the first stage alone)")
for _name, _unit in zip(STAGE_NAMES, ("frames", "sequences", "sequences")):
    flags.DEFINE_integer(f"{_name}_steps", None, f"staged: steps of the stage {_name}; by default the task's")
    flags.DEFINE_integer(f"{_name}_batch", None, f"staged: {_unit} a step of the stage {_name}")
    flags.DEFINE_float(f"{_name}_rate", None, f"staged: learning rate of the stage {_name}")
flags.DEFINE_float("guide", None, "staged: strength of the guide to the objects; 0: reconstruction alone")
flags.DEFINE_float("found_below", None, "staged: reconstruction loss under which the objects count as found")
flags.DEFINE_integer("tries", None, "staged: seeds to try until the objects are found")

STAGED_FLAGS = (
    "found_below", "tries", "guide",
    *(f"{name}_{part}" for name in STAGE_NAMES for part in ("steps", "batch", "rate")),
)  # fmt: skip


def is_staged() -> bool:
    """Whether `--schedule` asks for stages; an `ExperimentError` if it, or what goes with it, makes no sense."""
    if FLAGS.schedule not in (JOINT, "staged", "autoencoder"):
        raise ExperimentError(f"--schedule={FLAGS.schedule}: unknown; choose one of joint, staged, autoencoder")
    if FLAGS.schedule == JOINT:
        return False
    check_positive(*(f"{name}_{part}" for name in STAGE_NAMES for part in ("steps", "batch", "rate")))
    check_positive("found_below", "tries")
    if FLAGS.guide is not None:
        check_not_negative("guide")
    if FLAGS.use_ckpt and not FLAGS.test_mode:
        raise ExperimentError("--use_ckpt=true trains with --schedule=joint only; a staged run goes on with --resume")
    for name, instead in OF_JOINT.items():
        if FLAGS[name].present:
            raise ExperimentError(f"--{name}: belongs to --schedule=joint; {instead}")
    return True


def settings_from_flags(task: Task, vel_encoder: str | None = None) -> StagedSettings:
    """The task's settings for `vel_encoder` (the flag's), with those that the flags give in their place."""
    from physics_models.staged import settings_for

    settings = settings_for(task.name, vel_encoder or FLAGS.vel_encoder)
    for name in STAGE_NAMES:
        given = {part: FLAGS[f"{name}_{part}"].value for part in ("steps", "batch", "rate")}
        given = {part: value for part, value in given.items() if value is not None}
        settings = replace(settings, **{name: replace(getattr(settings, name), **given)})
    if FLAGS["autoencoder_loss"].present:
        settings = replace(settings, recons_weight=FLAGS.autoencoder_loss)
    given = {"guide_strength": FLAGS.guide, "found_below": FLAGS.found_below, "tries": FLAGS.tries}
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def train(task: Task, build: Callable[[Task, int], PhysicsNet], data: dict[str, Any], resume: bool) -> PhysicsNet:
    """Run the stages, then evaluate the train file's test split; returns the trained network."""
    from physics_models import checkpoints
    from physics_models.staged import StagedTraining

    seed = FLAGS.seed
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) % 2**31
        logger.info("stage - no --seed given; it is %d", seed)
    training = StagedTraining(
        lambda seed: build(task, seed),
        data,
        FLAGS.save_dir,
        settings_from_flags(task),
        seed=seed,
        schedule=FLAGS.schedule,
        print_interval=FLAGS.print_interval,
        keep=FLAGS.keep_checkpoints,
        optimizer=FLAGS.optimizer,
    )
    if resume:
        training.resume(checkpoints.read_newest_whole(FLAGS.save_dir))
    net = training.run()
    net.eval(data, "test", FLAGS.batch_size, FLAGS.save_dir, len(training.stages))
    return net
