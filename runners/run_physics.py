"""Train and test a physics model (`runners/run_physics.py` of the original).

PYTHONPATH=. python runners/run_physics.py --task=spring_color --save_dir=<dir> --color=true …
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from data_gen.errors import DataError
from data_gen.iterators import DataIterator, check_batch_size, get_iterators
from physics_models.command import quiet_start_up
from physics_models.errors import ExperimentError
from physics_models.interruption import Interrupted, StopRequest
from physics_models.tasks import Task, get_task
from runners import command_help, custom_task, replicas, run_base, staged_run
from runners.run_base import FLAGS, logger

if TYPE_CHECKING:
    from physics_models.base import BaseNet
    from physics_models.checkpoints import Stored
    from physics_models.experiment import CutOff
    from physics_models.watchers import Watcher

flags.DEFINE_string("task", "", "a key of the task table in physics_models.tasks, or custom")
flags.DEFINE_string("model", "PhysicsNet", "a model class of physics_models")
flags.DEFINE_integer("recurrent_units", 100, "black-box dynamics: units of each LSTM layer")
flags.DEFINE_integer("lstm_layers", 1, "black-box dynamics: LSTM layers")
flags.DEFINE_string("cell_type", "", "another cell than the task's; lstm for black-box dynamics")
flags.DEFINE_string("encoder_type", "conv_encoder", "what finds the positions in a frame")
flags.DEFINE_string("decoder_type", "conv_st_decoder", "what draws a frame from positions")
flags.DEFINE_float("autoencoder_loss", 0.0, "weight of the reconstruction loss")
flags.DEFINE_bool("alt_vel", False, "linear velocity encoder")
flags.DEFINE_string("vel_encoder", "mlp", "mlp, or gauss_newton: the state that fits the input positions")
flags.DEFINE_bool("calibrated_coords", False, "decode on a grid that does not stretch lengths by H/(H - 1)")
flags.DEFINE_bool("color", False, "RGB frames (else grey)")
flags.DEFINE_integer("datapoints", 0, "number of training sequences to use; 0: all")
flags.DEFINE_string("data_dir", "", "folder of the data files; data/datasets in the repository by default")

# The registries of `nn` and `physics_models` by their flags, known before TensorFlow is imported (a test compares).
CHOICES = {
    "model": ("PhysicsNet",),
    "cell_type": ("", "bouncing_ode_cell", "spring_ode_cell", "gravity_ode_cell", "lstm"),
    "encoder_type": ("conv_encoder",),
    "decoder_type": ("conv_st_decoder",),
    "vel_encoder": ("mlp", "gauss_newton"),
    "optimizer": ("rmsprop", "adam", "momentum", "sgd"),
}

note = logging.getLogger("tf.note")


def main(argv: list[str]) -> None:
    """Check the flags, train unless `--test_mode`, then evaluate the test file's sequences."""
    if len(sys.argv) == 1:
        print(command_help.tasks_text(sys.argv[0]), end="")
        return
    task = check_flags()
    console = run_base.log_to_console()
    if replicas.cluster():
        note.info("waits until all workers of TF_CONFIG are there")
    # Imported late: TensorFlow takes seconds, and a mistake in the flags should not.
    with quiet_start_up():
        import tensorflow as tf

        run_base.choose_device()
        strategy = replicas.strategy()
        # The first dataset of this kind announces its memory settings, too.
        next(iter(tf.data.Dataset.from_generator(lambda: [0], output_signature=tf.TensorSpec([], tf.int32))))
    try:
        if FLAGS.test_mode:
            evaluate(task)
        else:
            with strategy.scope(), replicas.own_save_dir():
                train(task, console)
            replicas.wait_for_all(strategy)
    except tf.errors.ResourceExhaustedError as error:
        raise ExperimentError("out of memory; take a smaller --batch_size") from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not replicas.cluster():
            raise
        raise ExperimentError(f"another worker of TF_CONFIG is gone ({str(error).splitlines()[0]})") from error


def check_flags() -> Task:
    """The task that the flags ask for; an `ExperimentError` for the first flag that makes no sense."""
    is_custom = FLAGS.task == "custom"
    task = None if is_custom else get_task(FLAGS.task, FLAGS.cell_type)
    run_base.check_flags()
    for name, choices in CHOICES.items():
        run_base.check_choice(name, choices)
    run_base.check_positive("recurrent_units", "lstm_layers")
    run_base.check_not_negative("autoencoder_loss", "datapoints")
    check_belongs("runners.custom_task", is_custom, "--task=custom")
    staged = staged_run.is_staged()
    check_belongs("runners.staged_run", staged, "--schedule=staged")
    replicas.check_flags(staged)
    return task or custom_task.from_flags()


def check_belongs(module: str, used: bool, where: str) -> None:
    """Raise `ExperimentError` for a flag of `module` that is given where it is not `used`."""
    for flag in FLAGS.flags_by_module_dict()[module]:
        if flag.present and not used and flag.name != "schedule":
            raise ExperimentError(f"--{flag.name}: belongs to {where}")


def evaluate(task: Task) -> None:
    """Evaluate a checkpoint on the test file."""
    from physics_models import checkpoints, save_dir
    from physics_models.experiment import write_marker
    from physics_models.report import closing_lines

    net = build(task)
    checkpoints.restore(net, checkpoints.read(FLAGS.ckpt_dir or FLAGS.save_dir))
    data = load_data(task, "test")
    save_dir.check_usable(FLAGS.save_dir)
    save_dir.make_folder(FLAGS.save_dir)
    log = save_dir.open_log(FLAGS.save_dir)
    try:
        if not save_dir.is_experiment(Path(FLAGS.save_dir)):
            write_marker(FLAGS.save_dir, run_base.settings(), task)
        logger.info("\n".join(sys.argv))
        with StopRequest() as net.stop_request:
            net.eval(data, "test", FLAGS.batch_size, FLAGS.save_dir)
    except Interrupted as interrupted:
        run_base.leave(str(interrupted), interrupted.exit_code)
    finally:
        save_dir.close_log(log)
    print("\n".join(closing_lines(FLAGS.save_dir, net.scalars(), task)), flush=True)


def train(task: Task, console: run_base.ConsoleHandler) -> None:
    """Train, from the start or where a run was cut off, and evaluate the test file with the network trained."""
    from physics_models import checkpoints, save_dir
    from physics_models.experiment import find_cut_off
    from physics_models.report import closing_lines

    staged = staged_run.is_staged()
    cut_off = stored = None
    if FLAGS.resume:
        cut_off = find_cut_off(FLAGS.save_dir, run_base.settings(), run_base.MAY_DIFFER)
        stored = cut_off.stored if cut_off else None
    net = build(task)
    if stored and not staged:
        checkpoints.restore(net, stored, with_rate=True)
        net.go_on_from(stored.progress)
        note.info("going on at epoch %d, step %d", net.epoch + 1, net.step)
    elif FLAGS.use_ckpt:
        checkpoints.restore(net, checkpoints.read(FLAGS.ckpt_dir or FLAGS.save_dir))
    test_data = load_data(task, "test")
    data = load_data(task, "train")
    if not staged:  # the stages have batch sizes and an order of their own
        check_batch_size(data["train"].X, FLAGS.batch_size)
        if stored:
            take_up_data(data["train"], stored)
    log, run_id = open_run(task, cut_off)
    stop = StopRequest()
    watchers: tuple[Watcher, ...] = ()

    def attended(net: BaseNet) -> BaseNet:
        net.run_id, net.stop_request, net.watchers = run_id, stop, watchers
        return net

    try:
        watchers = watchers_of_run(console)  # `attended` is called after this
        logger.info("\n".join(sys.argv))
        save_dir.save_code(FLAGS.save_dir)
        with stop:
            if staged:
                net = staged_run.train(task, lambda *which: attended(build(*which)), data, resume=bool(stored))
            else:
                train_jointly(attended(net), data)
            del data
            net.eval(test_data, "test", FLAGS.batch_size, FLAGS.save_dir)
    except Interrupted as interrupted:
        go_on = run_base.command_line(*([] if FLAGS.resume else ["--resume"]))
        run_base.leave(f"{interrupted} and saved; to go on: {go_on}", interrupted.exit_code)
    finally:
        for watcher in watchers:
            watcher.close()
        save_dir.close_log(log)
    if replicas.is_chief():
        print("\n".join(closing_lines(FLAGS.save_dir, net.scalars(), task)), flush=True)


def watchers_of_run(console: run_base.ConsoleHandler) -> tuple[Watcher, ...]:
    """Who looks on: metrics.csv, summaries if they are asked for, and a progress bar on a terminal."""
    from physics_models.metrics import MetricsFile
    from physics_models.progress import ProgressBar
    from physics_models.summaries import Summaries

    watchers: list[Watcher] = [MetricsFile(FLAGS.save_dir)]
    if FLAGS.tensorboard:
        watchers.append(Summaries(FLAGS.save_dir))
    if console.stream.isatty():
        console.bar = ProgressBar(console.stream)
        watchers.append(console.bar)
    return tuple(watchers)


def take_up_data(iterator: DataIterator, stored: Stored) -> None:
    """Have the training sequences come in the order of the run that wrote `stored`; they must be the same."""
    iterator.seed = stored.progress["seed"]
    if stored.progress["data"] != iterator.checksum:
        raise ExperimentError(f"--resume: the run in {FLAGS.save_dir} was begun with other training data")


def open_run(task: Task, cut_off: CutOff | None) -> tuple[logging.Handler, int]:
    """Make --save_dir ready for a new run, or for going on with `cut_off`; its open log, and the run's number."""
    from physics_models import experiment, save_dir

    folder = FLAGS.save_dir
    if cut_off is None and not FLAGS.use_ckpt:
        moved = save_dir.start_over(folder, FLAGS.overwrite)
        if moved:
            note.info("the experiment that was in %s lies now in %s", folder, moved)
    save_dir.check_usable(folder)
    save_dir.make_folder(folder)
    log = save_dir.open_log(folder)
    try:
        if cut_off:
            experiment.prepare(folder, cut_off)
            save_dir.close_log(log)
            return save_dir.open_log(folder), cut_off.marker.run
        return log, experiment.write_marker(folder, run_base.settings(), task).run
    except BaseException:
        save_dir.close_log(log)
        raise


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
        jit=FLAGS.jit,
        mixed_precision=FLAGS.mixed_precision,
    )
    net.build_optimizer(FLAGS.base_lr, FLAGS.optimizer)
    return net


def train_jointly(net: BaseNet, data: dict) -> None:
    """The original's training, with the flags' settings."""
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
        keep_checkpoints=FLAGS.keep_checkpoints,
        on_nan=FLAGS.on_nan,
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
    if FLAGS.data_dir and Path(FLAGS.data_dir).is_file():
        raise ExperimentError(f"--data_dir={FLAGS.data_dir}: a file; give the folder of the data files")
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
