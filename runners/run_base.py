"""Flags that every runner shares, the console logger, and errors in one line (`runners/run_base.py`)."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import physics_models  # isort: skip, it imports TensorFlow without its start-up messages
import tensorflow as tf
from absl import app, flags
from absl import logging as absl_logging

from data_gen.errors import DataError
from data_gen.recipes import default_folder
from physics_models.base import OPTIMIZERS
from physics_models.errors import ExperimentError, exit_with_message, reporting
from physics_models.experiment import LOG_FORMAT
from runners import machine

FLAGS = flags.FLAGS


class PathParser(flags.ArgumentParser):
    """The value of a flag that is a file or a folder: `~` stands for the user's home, as in a shell."""

    def parse(self, argument: str) -> str:
        """The path."""
        return os.path.expanduser(argument)


AUTO = "auto"


class CountParser(flags.ArgumentParser):
    """The value of a flag that is a whole number above zero, or `auto`."""

    def parse(self, argument: str | int) -> str | int:
        """The number, or `auto`; a `ValueError` for anything else."""
        if argument != AUTO and not re.fullmatch("0*[1-9][0-9]*", str(argument)):
            raise ValueError("must be a whole number above 0, or auto")
        return argument if argument == AUTO else int(argument)


class NumberParser(flags.FloatParser):
    """The value of a flag that is a finite number above 0, or from 0 on."""

    def __init__(self, above: bool):
        super().__init__()
        self.above = above
        self.syntactic_help = "a number above 0" if above else "a number, 0 or above"

    def is_outside_bounds(self, val: float) -> bool:
        """Whether the number is none of these."""
        return not (math.isfinite(val) and (val > 0 if self.above else val >= 0))


PATH, COUNT, POSITIVE, NOT_NEGATIVE = PathParser(), CountParser(), NumberParser(True), NumberParser(False)

flags.DEFINE_integer("epochs", 10, "training epochs", lower_bound=1)
flags.DEFINE_integer("batch_size", 100, "sequences per mini-batch", lower_bound=1)
flags.DEFINE(PATH, "save_dir", "", "folder of the experiment")
flags.DEFINE_bool("use_ckpt", False, "start from a checkpoint, ours or the original's")
flags.DEFINE(PATH, "ckpt_dir", "", "that checkpoint or its folder, when it is not in save_dir")
flags.DEFINE(POSITIVE, "base_lr", 1e-3, "learning rate")
flags.DEFINE_bool("anneal_lr", True, "divide the rate by 5 once, before epoch int(0.75 * epochs)")
flags.DEFINE_enum("optimizer", "rmsprop", list(OPTIMIZERS), "update rule")
flags.DEFINE_integer("save_every_n_epochs", 5, "epochs between checkpoints", lower_bound=1)
flags.DEFINE_integer("eval_every_n_epochs", 1, "epochs between validations", lower_bound=1)
flags.DEFINE_integer("print_interval", 10, "mini-batches between train lines", lower_bound=1)
flags.DEFINE_bool("debug", False, "skip the validation before training")
flags.DEFINE_bool("test_mode", False, "only evaluate the test set")
flags.DEFINE_integer("seed", None, "seed of weights and order of batches; random if not given", 0, 2**32 - 1)
flags.DEFINE_bool("overwrite", False, "delete an earlier experiment in save_dir instead of moving it aside")
flags.DEFINE_bool("resume", False, "continue the interrupted run in save_dir; start it if there is none")
flags.DEFINE_string("device", "", "cpu, gpu or gpu:N; by default the GPUs, where there are any")
flags.register_validator("device", re.compile(r"(cpu|gpu(:\d{1,4})?)?").fullmatch, "give cpu, gpu, or gpu:0, gpu:1, …")
flags.DEFINE_bool("tensorboard", False, "write summaries for TensorBoard into save_dir/tb")
flags.DEFINE_bool("deterministic", False, "on a GPU: only operations that give the same bits each time, if slower")
flags.DEFINE_bool("mixed_precision", False, "the U-Net's convolutions in bfloat16; all else in float32")

# The flags that may change when a run is resumed. Of these, epochs alone changes the weights: how long it trains, and
# when the rate is divided.
RESUME_MUTABLE_FLAGS = (
    "epochs", "save_dir", "save_every_n_epochs", "eval_every_n_epochs", "print_interval", "debug", "test_mode",
    "overwrite", "resume", "device", "data_dir", "tensorboard",
)  # fmt: skip

logger = logging.getLogger("tf")


def log_to_console() -> None:
    """Send the messages of the logger `tf` to stderr, in the format of log.txt."""
    for earlier in [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]:
        logger.removeHandler(earlier)  # of a command that ran in this process before
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


# Flags


def check_flags() -> None:
    """Raise `ExperimentError` for the first flag of this file that makes no sense."""
    if not FLAGS.save_dir:
        raise ExperimentError("--save_dir is empty; give the folder of the experiment")
    if FLAGS.test_mode and not FLAGS.use_ckpt:
        raise ExperimentError("--test_mode needs --use_ckpt=true: an untrained network has nothing to test")
    if FLAGS.test_mode and FLAGS.resume:
        raise ExperimentError("--test_mode and --resume: choose one; --resume continues training")
    if FLAGS.ckpt_dir and not FLAGS.use_ckpt:
        raise ExperimentError(f"--ckpt_dir={FLAGS.ckpt_dir}: needs --use_ckpt=true")


def own_flags() -> dict[str, flags.Flag]:
    """The flags that this project's commands define, by name."""
    modules = FLAGS.flags_by_module_dict()
    own = [module for module in modules if module.startswith("runners.") or module.endswith(".py")]
    return {flag.name: flag for module in own for flag in modules[module]}


def settings() -> dict[str, Any]:
    """The value of every flag of the commands, by name."""
    return {name: flag.value for name, flag in own_flags().items()}


def used_flags(module: Any) -> dict[str, flags.Flag]:
    """The flags that the command in `module` uses: its own, and the shared ACCEPTED_FLAGS (by default all)."""
    accepted = getattr(module, "ACCEPTED_FLAGS", own_flags())
    return {**{name: FLAGS[name] for name in accepted}, **{f.name: f for f in FLAGS.get_flags_for_module(module)}}


def data_folder() -> Path:
    """The folder of the data files that `--data_dir` names, by default `data_gen`'s; `ExperimentError` for a file."""
    folder = Path(FLAGS.data_dir or default_folder())
    if folder.is_file():
        raise ExperimentError(f"--data_dir={folder}: a file; give the folder of the data files")
    return folder


# The machine


def choose_device() -> str:
    """Use what `--device` and `--deterministic` ask for; returns what trains, in words.

    Raises `ExperimentError` for a GPU that is not there.
    """
    kind, _, number = FLAGS.device.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "gpu" and int(number or 0) >= len(gpus):
        seen = f"only {len(gpus)} GPUs, counted from 0" if gpus else "no GPU"
        raise ExperimentError(f"--device={FLAGS.device}: TensorFlow sees {seen}; leave out --device, or give cpu")
    wanted = [] if kind == "cpu" else [gpus[int(number)]] if number else gpus
    if wanted != tf.config.get_visible_devices("GPU"):
        try:
            tf.config.set_visible_devices(wanted, "GPU")
        except RuntimeError as error:
            raise ExperimentError(f"--device={FLAGS.device}: {error}; start a new process") from error
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    used = tf.config.get_visible_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in used]
    if names:
        return f"{len(names)} GPU(s): {', '.join(names)}"
    unusable = kind != "cpu" and physics_models.HAS_NVIDIA_DRIVER
    why = "; this machine has an NVIDIA driver, but TensorFlow cannot use the GPU" if unusable else ""
    if FLAGS.mixed_precision and not machine.has_bfloat16():
        why += "; it has no instructions for bfloat16, --mixed_precision makes it slower"
    return f"CPU, {os.cpu_count()} cores{why}"


# Running a command


def run(main: Callable[[list[str]], None]) -> None:
    """Parse the flags and run `main`; a user's mistake becomes one line on stderr and exit code 1."""
    module = sys.modules[main.__module__]
    used = used_flags(module)
    for flag in used.values():
        FLAGS.register_key_flag_for_module(sys.argv[0], flag)  # for --help

    def checked(argv: list[str]) -> None:
        absl_logging.set_verbosity(absl_logging.WARNING)
        if len(argv) > 1:
            raise ExperimentError(f"{argv[1]}: not a flag; flags are written --name=value")
        unused = [name for name, flag in own_flags().items() if flag.present and name not in used]
        if unused:
            raise ExperimentError(f"--{unused[0]}: this command does not use it; --help lists its flags")
        main(argv)

    def parse(arguments: list[str]) -> list[str]:
        try:
            return FLAGS(arguments)
        except (flags.Error, ValueError) as error:  # --noFLAG=value is a ValueError of absl's
            exit_with_message(f"{error}; --help lists the flags")

    with reporting():
        try:
            app.run(checked, flags_parser=parse)
        except DataError as error:
            raise ExperimentError(str(error)) from error
        except MemoryError as error:
            raise ExperimentError("out of memory; take a smaller --batch_size") from error
        finally:  # for the next command, where this process is a notebook's
            for flag in own_flags().values():
                flag.unparse()
                flag.allow_override = True
