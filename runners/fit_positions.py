"""Fit the physics to *true* positions: what the learned parameters are when the pictures play no part.

PYTHONPATH=. python runners/fit_positions.py --task=spring_color
PYTHONPATH=. python runners/fit_positions.py --task=spring_color --vel_encoder=gauss_newton --steps=400 --rate=1e-2
PYTHONPATH=. python runners/fit_positions.py --task=spring_color --noise=0.2

The stage `positions` of --schedule=staged, on the trajectories that the task's training file was drawn from.
docs/table1.md is made of its output.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from absl import flags

from data_gen.errors import DataError
from physics_models.command import quiet_start_up
from physics_models.errors import ExperimentError
from physics_models.tasks import get_task
from runners import run_base, run_physics
from runners.run_base import FLAGS

flags.DEFINE_integer("steps", 6000, "steps of the fit")
flags.DEFINE_integer("sequences", 100, "sequences a step")
flags.DEFINE_float("rate", 1e-3, "learning rate, ÷5 at 70 % of the steps")
flags.DEFINE_float("noise", 0.0, "Gaussian noise added to each training position, pixels")
flags.DEFINE_float("stretch", 1.0, "factor on all positions, for instance 32/31 = 1.032258")
TAKES = ("task", "data_dir", "seed", "vel_encoder", "alt_vel", "optimizer")


def main(argv: list[str]) -> None:
    """Fit, and print parameters and errors ten times on the way."""
    task = get_task(FLAGS.task)
    run_base.check_positive("steps", "sequences")
    for name in ("rate", "stretch"):
        if not float(FLAGS[name].value or 0) > 0:
            raise ExperimentError(f"--{name}={FLAGS[name].value}: must be above zero")
    if not FLAGS.noise >= 0:
        raise ExperimentError(f"--noise={FLAGS.noise}: must not be negative")
    positions = load_positions(task.name, task.input_steps + task.pred_steps)
    with quiet_start_up():
        import tensorflow as tf

        from physics_models.staged import ANNEAL_AT, ANNEAL_BY, position_loss, position_step

    FLAGS.base_lr = FLAGS.rate
    net = run_physics.build(task, FLAGS.seed or 0)
    random = np.random.RandomState(FLAGS.seed or 0)
    train = positions["train"] + FLAGS.noise * random.randn(*positions["train"].shape)
    train, valid = train.astype(np.float32), tf.constant(positions["valid"], tf.float32)
    step, judge = position_step(net), tf.function(lambda x: position_loss(net, x))
    begin = time.process_time()
    for i in range(FLAGS.steps + 1):
        if i % max(FLAGS.steps // 10, 1) == 0:
            error = np.sqrt(float(judge(valid)) / task.n_objs)
            learned = " ".join(f"{name}={value:.3f}" for name, value in net.parameters().items())
            print(f"step {i}: {learned} rms error {error:.4f} px, {time.process_time() - begin:.0f} s CPU", flush=True)
        if i == int(ANNEAL_AT * FLAGS.steps):
            net.optimizer.rate.assign(FLAGS.rate / ANNEAL_BY)
        if i < FLAGS.steps:
            step(tf.constant(train[random.randint(0, len(train), FLAGS.sequences)]))


def load_positions(task: str, frames: int) -> dict[str, np.ndarray]:
    """The first `frames` true positions [S, frames, 2N] of the training file's train and valid splits, stretched."""
    from data_gen.recipes import RECIPES

    folder = Path(FLAGS.data_dir) if FLAGS.data_dir else run_base.repository_root() / "data" / "datasets"
    file = folder / RECIPES[task].train_file
    if not file.is_file():
        raise DataError(f"{file}: no such data file; python -m data_gen makes it")
    with np.load(file, allow_pickle=False) as archive:
        if "train_pos" not in archive.files:
            raise DataError(f"{file}: holds frames only; a file of python -m data_gen has the true positions, too")
        splits = {split: archive[f"{split}_pos"][:, :frames] for split in ("train", "valid")}
    return {split: FLAGS.stretch * p.reshape(*p.shape[:2], -1) for split, p in splits.items()}


if __name__ == "__main__":
    run_base.run(main)
