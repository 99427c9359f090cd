"""Train and test a physics model (`runners/run_physics.py` of the original).

PYTHONPATH=. python runners/run_physics.py --task=spring_color --save_dir=<dir> --color=true …
"""

from __future__ import annotations

import functools
import logging
import sys
import tempfile
from pathlib import Path

import physics_models  # noqa: F401, isort: skip, it imports TensorFlow without its start-up messages
import numpy as np
import tensorflow as tf
from absl import flags

from data_gen.errors import DataError
from data_gen.iterators import DataIterator, check_batch_size, check_frames, get_iterators, is_video
from data_gen.recipes import EVERY_RECIPE, make_dataset
from data_gen.video import load_video
from physics_models import checkpoints, discovery, experiment, motion
from physics_models.base import BaseNet
from physics_models.checkpoints import Checkpoint, InterruptedRun, find_interrupted_run
from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted, LogFile
from physics_models.library import MODELS
from physics_models.physics_net import CELLS, DECODERS, ENCODERS, VEL_ENCODERS
from physics_models.run_log import save_code
from physics_models.staged import look_the_same
from physics_models.summaries import Summaries, check_tensorboard
from physics_models.tasks import PENDULUMS, Task, get_task
from runners import distributed, run_base, staged_run
from runners.run_base import FLAGS, NOT_NEGATIVE, PATH, logger

flags.DEFINE_string("task", "", "a key of the task table in physics_models.tasks, or custom")
flags.DEFINE_enum("model", "PhysicsNet", ["PhysicsNet", "VideoLSTM"], "VideoLSTM: a black box throughout")
flags.DEFINE_integer("recurrent_units", 100, "black-box dynamics: units of each LSTM layer (VideoLSTM: 2048)", 1)
flags.DEFINE_integer("lstm_layers", 1, "black-box dynamics: LSTM layers", lower_bound=1)
flags.DEFINE_enum("cell_type", "", ["", *CELLS], "another cell than the task's; black boxes: lstm, interaction_network")
flags.DEFINE_enum("encoder_type", "conv_encoder", list(ENCODERS), "what finds the positions in a frame")
flags.DEFINE_enum("decoder_type", "conv_st_decoder", list(DECODERS), "what draws a frame; black_box: a plain network")
flags.DEFINE(NOT_NEGATIVE, "autoencoder_loss", 0.0, "weight of the reconstruction loss")
flags.DEFINE_bool("alt_vel", False, "linear velocity encoder")
flags.DEFINE_enum("vel_encoder", "mlp", list(VEL_ENCODERS), "gauss_newton: the state that fits the input positions")
flags.DEFINE_bool("calibrated_coords", False, "decode on a grid that does not enlarge lengths by H/(H - 1)")
flags.DEFINE_bool("separate_gradients", False, "vision learns by reconstruction alone, dynamics by prediction")
flags.DEFINE_bool("color", False, "RGB frames (else grey)")
flags.DEFINE_integer("datapoints", 0, "number of training sequences to use; 0: all", lower_bound=0)
flags.DEFINE(PATH, "data_dir", "", "folder of the data files; data/datasets in the repository by default")
flags.DEFINE(PATH, "data_file", "", "custom task: video to train on; .npz, .gif, .mp4 or a folder of .png frames")
flags.DEFINE(PATH, "test_data_file", "", "custom task: video of the final test; by default data_file's last tenth")
flags.DEFINE(run_base.COUNT, "n_objs", 2, "custom task: number of objects, or auto: as many as the frames show")
flags.DEFINE_integer("input_steps", 4, "custom task: frames that the initial state is estimated from", lower_bound=1)
flags.DEFINE_integer("pred_steps", 6, "custom task: predicted frames in the loss", lower_bound=1)
flags.DEFINE_integer("img_size", None, "custom task: side to resize the frames of a video to, pixels")
flags.DEFINE_integer("seq_len", None, "custom task: frames per sequence, to cut a video into")

PHYSICS_NET_SETTINGS = (  # of the model with positions alone
    "alt_vel", "encoder_type", "decoder_type", "vel_encoder", "calibrated_coords", "mixed_precision",
    "separate_gradients",
)  # fmt: skip
OF_NO_VARIABLE = ("vel_encoder", "calibrated_coords")  # a checkpoint does not show them; experiment.json does
CUSTOM_FLAGS = ("data_file", "test_data_file", "n_objs", "input_steps", "pred_steps", "img_size", "seq_len")
NOT_OF_PENDULUMS = ("model", "recurrent_units", "lstm_layers", *(set(PHYSICS_NET_SETTINGS) - {"mixed_precision"}))

MANY_ALIKE = (
    "three or more objects look the same: positions are wrong where the network changes which mask is which object; "
    "learned parameters are not to be trusted (docs/discovery.md)"
)
note = logging.getLogger("tf.note")  # for the console alone


def main(argv: list[str]) -> None:
    """Check the flags, train unless `--test_mode`, then evaluate the test file's sequences."""
    custom_data.cache_clear()
    check_flags()
    run_base.log_to_console()
    device = run_base.choose_device()
    try:
        if FLAGS.test_mode:
            evaluate(task_from_flags())
        else:
            strategy = distributed.choose_strategy(FLAGS.batch_size)
            with strategy.scope(), tempfile.TemporaryDirectory() as scratch:
                if not distributed.writes_files():  # what other workers write is thrown away
                    FLAGS["ckpt_dir"].value = FLAGS.ckpt_dir or FLAGS.save_dir
                    FLAGS["save_dir"].value = str(Path(scratch, "worker"))
                train(task_from_flags(), strategy, device)
            distributed.wait_for_all(strategy)
    except Interrupted as interrupted:
        again = "the same command with --resume" + (", without TF_CONFIG" if distributed.cluster() else "")
        print(f"{interrupted} and saved; to continue: {again}", file=sys.stderr, flush=True)
        sys.exit(interrupted.exit_code)
    except tf.errors.ResourceExhaustedError as error:
        raise ExperimentError("out of memory; take a smaller --batch_size") from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise ExperimentError(f"another worker of TF_CONFIG has ended ({str(error).splitlines()[0]})") from error


# Flags


def check_flags() -> None:
    """Raise `ExperimentError` for the first flag that makes no sense."""
    if FLAGS.task != "custom":
        get_task(FLAGS.task)
        check_flag_scope(CUSTOM_FLAGS, "--task=custom")
        if FLAGS.task in PENDULUMS:
            check_flag_scope(NOT_OF_PENDULUMS, "the other tasks: a pendulum has parts of its own")
    elif not FLAGS.data_file or (FLAGS.model == "PhysicsNet" and not FLAGS.cell_type):
        raise ExperimentError("--task=custom needs --data_file, the video, and --cell_type, the equations (or lstm)")
    run_base.check_flags()
    if FLAGS.tensorboard:
        check_tensorboard()
    staged = staged_run.is_staged()
    if not staged:
        check_flag_scope(staged_run.STAGED_FLAGS, "--schedule=staged")
    if FLAGS.model != "PhysicsNet":
        of_stages = [name for name in staged_run.STAGED_FLAGS if not name.startswith(staged_run.JOINT)]
        check_flag_scope(("cell_type", *PHYSICS_NET_SETTINGS, *of_stages), "--model=PhysicsNet")
        if FLAGS.schedule == "autoencoder":
            raise ExperimentError(f"--schedule=autoencoder: --model={FLAGS.model} has no positions; give staged")
    weighted = FLAGS.autoencoder_loss > 0 or (staged and not FLAGS["autoencoder_loss"].present)
    if FLAGS.separate_gradients and not weighted:
        raise ExperimentError("--separate_gradients: needs --autoencoder_loss above 0, or nothing trains the encoder")
    if distributed.cluster() is not None and (FLAGS.resume or staged or FLAGS.seed is None):
        raise ExperimentError("TF_CONFIG: several workers need --seed, and neither --resume nor --schedule=staged")


def check_flag_scope(names: tuple[str, ...], where: str) -> None:
    """Raise `ExperimentError` for the first of the flags `names` that is given: they belong `where`."""
    for name in names:
        if FLAGS[name].present:
            raise ExperimentError(f"--{name}: belongs to {where}")


def task_from_flags() -> Task:
    """The task that the flags describe; a custom one takes frame size and sequence lengths from its videos."""
    if FLAGS.task != "custom":
        return get_task(FLAGS.task, FLAGS.cell_type)
    train, test = load_data(None, "train")["train"].X, load_data(None, "test")["test"].X
    if test.shape[2:] != train.shape[2:]:
        raise ExperimentError(
            f"--test_data_file={FLAGS.test_data_file}: frames of shape {list(test.shape[2:])}, "
            f"the training video has {list(train.shape[2:])}"
        )
    if FLAGS.color and train.shape[-1] != 3:
        raise ExperimentError(f"--data_file={FLAGS.data_file}: frames are grey; leave out --color")
    n_objs = count_objects(train) if FLAGS.n_objs == run_base.AUTO else FLAGS.n_objs
    task = Task(
        "custom", FLAGS.cell_type, train.shape[1], test.shape[1], FLAGS.input_steps, FLAGS.pred_steps,
        img_size=train.shape[2], n_objs=n_objs,
    )  # fmt: skip
    task.check_frames(train.shape[1], FLAGS.data_file)
    task.check_frames(test.shape[1], FLAGS.test_data_file or FLAGS.data_file)
    return task


def count_objects(frames: np.ndarray) -> int:
    """How many objects move in uint8 `frames` [S, T, H, H, C]; an `ExperimentError` if that cannot be seen."""
    every = discovery.scan(frames.reshape(-1, *frames.shape[2:]), lambda flat: np.float32(flat / 255.0))[1]
    counted = discovery.describe_count(every)
    if not every:
        raise ExperimentError(f"--n_objs=auto: {counted}; give the number")
    note.info("--n_objs=auto: %s", counted)
    return motion.estimate_n_objs(every)


# The two ways of running


def evaluate(task: Task) -> None:
    """Evaluate a checkpoint on the test file."""
    net = build(task, track_objects=take_settings_of_checkpoint())
    net.restore(checkpoints.load(FLAGS.ckpt_dir or FLAGS.save_dir))
    data = load_data(task, "test")
    experiment.check_usable(FLAGS.save_dir)
    experiment.make_folder(FLAGS.save_dir)
    with LogFile(FLAGS.save_dir):
        if not experiment.is_experiment(Path(FLAGS.save_dir)):
            experiment.write_marker(FLAGS.save_dir, run_base.settings(), net.get_config())
        logger.info("\n".join(sys.argv))
        net.eval(data, "test", FLAGS.batch_size, FLAGS.save_dir)
    print_result(net)


def train(task: Task, strategy: tf.distribute.Strategy, device: str) -> None:
    """Train on `device`, from the start or where a run was interrupted, then evaluate the test file's sequences."""
    run, tracked = None, FLAGS.use_ckpt and take_settings_of_checkpoint()
    if FLAGS.resume:
        run = find_interrupted_run(FLAGS.save_dir, run_base.settings(), run_base.RESUME_MUTABLE_FLAGS)
    checkpoint, staged = run.checkpoint if run else None, staged_run.is_staged()
    net = build(task, track_objects=tracked)
    if checkpoint and not staged:
        net.restore(checkpoint)
        net.iteration = checkpoint.progress["iteration"]
        note.info("continuing at step %d", net.iteration)
    elif FLAGS.use_ckpt:
        net.restore(checkpoints.load(FLAGS.ckpt_dir or FLAGS.save_dir))
    test_data, data = load_data(task, "test"), load_data(task, "train")
    if staged and FLAGS.model == "PhysicsNet" and look_the_same(net, data["train"].X):
        net, tracked = build(task, track_objects=True), True
    if not staged:  # the stages have batch sizes and an order of their own
        check_batch_size(data["train"].X, FLAGS.batch_size)
        if checkpoint:
            restore_data_order(data["train"], checkpoint)
    prepare_save_dir(run)
    with LogFile(FLAGS.save_dir):
        marker = run.marker if run else experiment.write_marker(FLAGS.save_dir, run_base.settings(), net.get_config())
        logger.info("\n".join(sys.argv))
        note.info("device: %s", device)
        if run:
            experiment.delete_leftovers(FLAGS.save_dir)
            checkpoints.delete_all_but_latest(FLAGS.save_dir)
        save_code(FLAGS.save_dir)

        def add_callbacks(net: BaseNet) -> BaseNet:
            net.run_id = marker.run
            net.callbacks = [Summaries(net, FLAGS.save_dir, FLAGS.print_interval)] if FLAGS.tensorboard else []
            return net

        if staged:
            net = staged_run.train(
                task, lambda task, seed: add_callbacks(build(task, seed, tracked)), data, resume=bool(checkpoint)
            )
        else:
            distributed.distribute(net, strategy)
            add_callbacks(net).train(
                data, FLAGS.save_dir, FLAGS.epochs, FLAGS.batch_size, FLAGS.save_every_n_epochs,
                FLAGS.eval_every_n_epochs, FLAGS.print_interval, FLAGS.anneal_lr, FLAGS.debug,
            )  # fmt: skip
        del data
        net.eval(test_data, "test", FLAGS.batch_size, FLAGS.save_dir)
        if tracked and task.n_objs > 2:
            logger.warning("warning: %s", MANY_ALIKE)
    print_result(net)


def take_settings_of_checkpoint() -> bool:
    """Take from the experiment that --use_ckpt names the settings that no weight shows, unless a flag gives them.

    Returns whether it keeps the objects' names within a sequence.
    """
    source = Path(FLAGS.ckpt_dir or FLAGS.save_dir)
    marker = experiment.read_marker(source if source.is_dir() else source.parent)
    config = marker.config if marker else {}
    for name in OF_NO_VARIABLE:
        if name in config and not FLAGS[name].present:
            FLAGS[name].value = config[name]
    return config.get("track_objects", False)


def restore_data_order(iterator: DataIterator, checkpoint: Checkpoint) -> None:
    """Use the order of batches of the run that wrote `checkpoint`; `ExperimentError` if it had other training data."""
    iterator.seed = checkpoint.progress["seed"]
    if checkpoint.progress["data"] != iterator.checksum:
        raise ExperimentError(f"--resume: the run in {FLAGS.save_dir} was begun with other training data")


def prepare_save_dir(run: InterruptedRun | None) -> None:
    """Make --save_dir ready for a new run, or for continuing `run`."""
    folder, source = Path(FLAGS.save_dir).resolve(), Path(FLAGS.ckpt_dir or FLAGS.save_dir).resolve()
    continued = FLAGS.use_ckpt and (folder in (source, source.parent) or not experiment.is_experiment(folder))
    if run is None and not continued:
        moved = experiment.start_over(FLAGS.save_dir, FLAGS.overwrite)
        if moved:
            note.info("the experiment that was in %s is now in %s", FLAGS.save_dir, moved)
    experiment.check_usable(FLAGS.save_dir)
    experiment.make_folder(FLAGS.save_dir)


def build(task: Task, seed: int | None = None, track_objects: bool = False) -> BaseNet:
    """The network and its optimizer, as the flags say; `seed` in place of `--seed`."""
    seed = FLAGS.seed if seed is None else seed
    if seed is not None:
        tf.keras.utils.set_random_seed(seed)
    names, more = ["color", "autoencoder_loss"], {}
    if task.name in PENDULUMS:
        names += ["mixed_precision"]
    elif FLAGS.model == "PhysicsNet":
        names += ["recurrent_units", "lstm_layers", *PHYSICS_NET_SETTINGS]
        more["track_objects"] = track_objects
    else:
        names += ["lstm_layers", *(["recurrent_units"] if FLAGS["recurrent_units"].present else [])]  # else its own
    model = "PendulumNet" if task.name in PENDULUMS else FLAGS.model
    net = MODELS[model](task, **{name: FLAGS[name].value for name in names}, **more)
    net.build_optimizer(FLAGS.base_lr, FLAGS.optimizer)
    return net


def print_result(net: BaseNet) -> None:
    """Say what was learned, and where the pictures are."""
    if distributed.writes_files():
        learned = ", ".join(f"{name} {value:.4g}" for name, value in net.scalars().items()) or "no physical parameter"
        print(f"learned: {learned}; pictures in {Path(FLAGS.save_dir).absolute()}", flush=True)


# Data


def load_data(task: Task | None, length: str) -> dict[str, DataIterator]:
    """The iterators of the `train` or `test` length file of `task`, generated first if it is missing.

    A custom task (also None) takes its videos.
    """
    if task is None or task.name == "custom":
        if length == "test" and FLAGS.test_data_file not in ("", FLAGS.data_file):
            return custom_data(FLAGS.test_data_file, whole=True)
        return custom_data(FLAGS.data_file, FLAGS.datapoints)
    recipe = EVERY_RECIPE[task.name]
    file = run_base.data_folder() / getattr(recipe, f"{length}_file")
    if not file.exists():
        logger.info("%s: not there; generating it. To use the published file, put it in this place.", file)
        file.parent.mkdir(parents=True, exist_ok=True)
        statistics = make_dataset(task.name, str(file), getattr(recipe, f"{length}_len"))
        logger.info("%s: generated in %.1f s", file, statistics["seconds"])
    splits = ("train", "valid", "test") if length == "train" else ("test",)
    data = get_iterators(file, datapoints=FLAGS.datapoints if length == "train" else 0, seed=FLAGS.seed, splits=splits)
    if task.name in PENDULUMS and any(iterator.Y is None for iterator in data.values()):
        raise DataError(f"{file}: has no array {splits[0]}_actions; python -m data_gen --task={task.name} makes it")
    _, n_frames, size, _, channels = data["test"].X.shape
    task.check_frames(n_frames, str(file))
    if size != task.img_size:
        raise DataError(f"{file}: frames of {size}×{size} pixels; task {task.name} needs a side of {task.img_size}")
    if FLAGS.color and channels != 3:
        raise DataError(f"{file}: frames are grey; leave out --color")
    return data


@functools.cache
def custom_data(file: str, datapoints: int = 0, whole: bool = False) -> dict[str, DataIterator]:
    """The iterators of a video of one's own, which is decoded once; `whole`: all of it is the test split."""
    if whole and is_video(Path(file)):
        frames = load_video(file, size=FLAGS.img_size, seq_len=FLAGS.seq_len)
        check_frames(file, frames)
        return {"test": DataIterator(frames, seed=FLAGS.seed)}
    shape = {"img_size": FLAGS.img_size, "seq_len": FLAGS.seq_len}
    return get_iterators(file, datapoints=datapoints, seed=FLAGS.seed, **shape)


def command() -> None:
    """The console command."""
    run_base.run(main)


if __name__ == "__main__":
    command()
