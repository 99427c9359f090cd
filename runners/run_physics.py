"""Train and test a physics model (`runners/run_physics.py` of the original).

PYTHONPATH=. python runners/run_physics.py --task=spring_color --save_dir=<dir> --color=true …
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from data_gen.errors import DataError
from data_gen.iterators import check_batch_size, get_iterators
from physics_models.errors import ExperimentError
from physics_models.tasks import Task, get_task
from runners import custom_task, run_base, staged_run
from runners.run_base import FLAGS, logger

if TYPE_CHECKING:
    from physics_models.base import BaseNet

flags.DEFINE_string("task", "", "a key of the task table in physics_models.tasks, or custom")
flags.DEFINE_string("model", "PhysicsNet", "a model class of physics_models")
flags.DEFINE_integer("recurrent_units", 100, "black-box dynamics: units of each LSTM layer")
flags.DEFINE_integer("lstm_layers", 1, "black-box dynamics: LSTM layers")
flags.DEFINE_string("cell_type", "", "another cell than the task's; lstm for black-box dynamics")
flags.DEFINE_string("encoder_type", "conv_encoder", "encoder")
flags.DEFINE_string("decoder_type", "conv_st_decoder", "decoder")
flags.DEFINE_float("autoencoder_loss", 0.0, "weight of the reconstruction loss")
flags.DEFINE_bool("alt_vel", False, "linear velocity encoder")
flags.DEFINE_string("vel_encoder", "mlp", "mlp, or gauss_newton: the state that fits the input positions")
flags.DEFINE_bool("calibrated_coords", False, "decode on a grid that does not stretch lengths by H/(H - 1)")
flags.DEFINE_bool("color", False, "RGB frames (else grey)")
flags.DEFINE_integer("datapoints", 0, "number of training sequences to use; 0: all")
flags.DEFINE_string("data_dir", "", "folder of the data files; data/datasets in the repository by default")


def main(argv: list[str]) -> None:
    """Check the flags, train unless `--test_mode`, then evaluate the test file's sequences."""
    task = custom_task.from_flags() if FLAGS.task == "custom" else get_task(FLAGS.task, FLAGS.cell_type)
    run_base.check_positive(
        "epochs", "batch_size", "save_every_n_epochs", "eval_every_n_epochs", "print_interval",
        "recurrent_units", "lstm_layers",
    )  # fmt: skip
    if not FLAGS.save_dir:
        raise ExperimentError("--save_dir is empty; give the folder of the experiment")
    if FLAGS.test_mode and not FLAGS.use_ckpt:
        raise ExperimentError("--test_mode needs --use_ckpt=true: an untrained network has nothing to test")
    staged = staged_run.is_staged()
    run_base.log_to_console()
    # Imported late: TensorFlow takes seconds, and a mistake in the flags should not.
    with run_base.quiet_start_up():
        from physics_models import checkpoints, save_dir

    net = build(task)
    if FLAGS.use_ckpt:
        checkpoints.restore(net, checkpoints.read(FLAGS.ckpt_dir or FLAGS.save_dir))
    test_data = load_data(task, "test")
    if not FLAGS.test_mode:
        data = load_data(task, "train")
        if not staged:  # the stages have batch sizes of their own
            check_batch_size(data["train"].X, FLAGS.batch_size)
        if not FLAGS.use_ckpt:
            moved = save_dir.start_over(FLAGS.save_dir, FLAGS.overwrite)
            if moved:
                logger.info("the experiment that was in %s lies now in %s", FLAGS.save_dir, moved)
    save_dir.make_folder(FLAGS.save_dir)
    log = save_dir.open_log(FLAGS.save_dir)
    try:
        logger.info("\n".join(sys.argv))
        if not FLAGS.test_mode:
            save_dir.save_code(FLAGS.save_dir)
            if staged:
                net = staged_run.train(task, build, data, resume=False)
            else:
                train(net, data)
            del data
        net.eval(test_data, "test", FLAGS.batch_size, FLAGS.save_dir)
    finally:
        save_dir.close_log(log)


def build(task: Task, seed: int | None = None) -> BaseNet:
    """The network and its optimizer, as the flags say; `seed` in place of `--seed`."""
    import tensorflow as tf

    from physics_models.base import choose
    from physics_models.physics_net import PhysicsNet

    seed = FLAGS.seed if seed is None else seed
    if seed is not None:
        tf.keras.utils.set_random_seed(seed)
    model = choose({"PhysicsNet": PhysicsNet}, FLAGS.model, "model")
    net = model(
        task,
        color=FLAGS.color,
        autoencoder_loss=FLAGS.autoencoder_loss,
        alt_vel=FLAGS.alt_vel,
        encoder_type=FLAGS.encoder_type,
        decoder_type=FLAGS.decoder_type,
        recurrent_units=FLAGS.recurrent_units,
        lstm_layers=FLAGS.lstm_layers,
        vel_encoder=FLAGS.vel_encoder,
        calibrated_coords=FLAGS.calibrated_coords,
    )
    net.build_optimizer(FLAGS.base_lr, FLAGS.optimizer)
    return net


def train(net: BaseNet, data: dict) -> None:
    """The training loop of `BaseNet` with the flags' settings."""
    net.train(
        data,
        FLAGS.save_dir,
        epochs=FLAGS.epochs,
        batch_size=FLAGS.batch_size,
        save_every_n_epochs=FLAGS.save_every_n_epochs,
        eval_every_n_epochs=FLAGS.eval_every_n_epochs,
        print_interval=FLAGS.print_interval,
        anneal_lr=FLAGS.anneal_lr,
        debug=FLAGS.debug,
    )


def load_data(task: Task, length: str) -> dict:
    """The iterators of the task's `train` or `test` length file, generated first if it is missing."""
    if task.name == "custom":
        return custom_task.load_data(length)
    from data_gen.recipes import RECIPES, make_dataset

    recipe = RECIPES[task.name]
    name, seq_len = (
        (recipe.train_file, recipe.train_len) if length == "train" else (recipe.test_file, recipe.test_len)
    )
    folder = Path(FLAGS.data_dir) if FLAGS.data_dir else run_base.repository_root() / "data" / "datasets"
    file = folder / name
    if not file.exists():
        logger.info("%s: not there; generating it. To use the published file, put it in this place.", file)
        file.parent.mkdir(parents=True, exist_ok=True)
        statistics = make_dataset(task.name, str(file), seq_len)
        logger.info("%s: generated in %.1f s", file, statistics["seconds"])
    if length == "train":
        data = get_iterators(file, FLAGS.datapoints, FLAGS.seed)
    else:
        data = get_iterators(file, splits=("test",))
    check_frames(task, file, data["test"].X.shape)
    return data


def check_frames(task: Task, file: Path, shape: tuple[int, ...]) -> None:
    """Raise unless sequences of `shape` [S, T, H, H, C] suit `task` and `--color`."""
    _, n_frames, size, _, channels = shape
    task.check_frames(n_frames, str(file))
    if size != task.img_size:
        needed = task.img_size
        raise DataError(f"{file}: frames are {size}×{size} pixels; task {task.name} needs {needed}×{needed}")
    if FLAGS.color and channels != 3:
        raise DataError(f"{file}: frames are grey; leave out --color")


if __name__ == "__main__":
    run_base.run(main)
