"""Fit the physics to the true positions of a training file, by the stage `positions` of --schedule=staged.

PYTHONPATH=. python runners/fit_positions.py --task=spring_color [--vel_encoder=gauss_newton --steps=400 --rate=1e-2]
"""

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import numpy as np
import tensorflow as tf
from absl import flags

from data_gen.errors import DataError
from data_gen.files import open_npz
from data_gen.recipes import RECIPES
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, train_on_positions
from physics_models.tasks import PENDULUMS, get_task
from runners import run_base, run_physics  # noqa: F401, defines --task and others
from runners.run_base import FLAGS, NOT_NEGATIVE, POSITIVE

flags.DEFINE_integer("steps", 6000, "steps of the fit", lower_bound=1)
flags.DEFINE_integer("sequences", 100, "sequences per step", lower_bound=1)
flags.DEFINE(POSITIVE, "rate", 1e-3, "learning rate, divided by 5 at 70 % of the steps")
flags.DEFINE(NOT_NEGATIVE, "noise", 0.0, "Gaussian noise added to each training position, pixels")
flags.DEFINE(POSITIVE, "stretch", 1.0, "factor on all positions, for instance 32/31 = 1.032258")
ACCEPTED_FLAGS = ("task", "data_dir", "seed", "vel_encoder", "alt_vel", "optimizer")


def main(argv: list[str]) -> None:
    """Fit, and print parameters and errors ten times on the way."""
    task, seed = get_task(FLAGS.task), FLAGS.seed or 0
    if task.name in PENDULUMS:
        raise ExperimentError(f"--task={task.name}: has angles; give one of {', '.join(RECIPES)}")
    file, frames = run_base.data_folder() / RECIPES[task.name].train_file, task.input_steps + task.pred_steps
    with open_npz(file) as archive:
        if "train_pos" not in archive:
            raise DataError(f"{file}: holds frames only; python -m data_gen makes files with true positions")
        splits = [archive[f"{split}_pos"] for split in ("train", "valid")]
    train, valid = (FLAGS.stretch * true[:, :frames].reshape(len(true), frames, -1) for true in splits)
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(task, alt_vel=FLAGS.alt_vel, vel_encoder=FLAGS.vel_encoder)
    random = np.random.RandomState(seed)
    train = (train + FLAGS.noise * random.randn(*train.shape)).astype(np.float32)
    evaluate = tf.function(lambda: net.position_loss(tf.constant(valid, tf.float32)))
    stage = Stage(FLAGS.steps, FLAGS.sequences, FLAGS.rate)
    for i in train_on_positions(net, train, stage, random, FLAGS.optimizer):
        if i % max(FLAGS.steps // 10, 1) == 0:
            error = np.sqrt(float(evaluate()) / task.n_objs)
            learned = " ".join(f"{name}={value:.3f}" for name, value in net.parameters().items())
            print(f"step {i}: {learned} rms error {error:.4f} px", flush=True)


if __name__ == "__main__":
    run_base.run(main)
