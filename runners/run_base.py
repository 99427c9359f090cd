"""Flags that every runner shares, the console logger, and errors in one line (`runners/run_base.py`)."""

from __future__ import annotations

import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from data_gen.errors import DataError
from physics_models.command import fail
from physics_models.errors import ExperimentError
from runners import command_help

if TYPE_CHECKING:
    from physics_models.progress import ProgressBar

FLAGS = flags.FLAGS

flags.DEFINE_integer("epochs", 10, "training epochs")
flags.DEFINE_integer("batch_size", 100, "sequences a mini-batch")
flags.DEFINE_string("save_dir", "", "folder of the experiment")
flags.DEFINE_bool("use_ckpt", False, "start from a checkpoint, ours or the original's")
flags.DEFINE_string("ckpt_dir", "", "folder of that checkpoint, when it is not save_dir")
flags.DEFINE_float("base_lr", 1e-3, "learning rate")
flags.DEFINE_bool("anneal_lr", True, "divide the rate by 5 once, at 75 % of the epochs")
flags.DEFINE_string("optimizer", "rmsprop", "rmsprop, adam, momentum or sgd")
flags.DEFINE_integer("save_every_n_epochs", 5, "epochs between checkpoints")
flags.DEFINE_integer("eval_every_n_epochs", 1, "epochs between validations")
flags.DEFINE_integer("print_interval", 10, "mini-batches between train lines")
flags.DEFINE_bool("debug", False, "skip the validation before training")
flags.DEFINE_bool("test_mode", False, "only evaluate the test set")
flags.DEFINE_integer("seed", None, "seed of weights and order of batches; random if not given")
flags.DEFINE_bool("overwrite", False, "delete an earlier experiment in save_dir instead of moving it aside")
flags.DEFINE_bool("resume", False, "go on with the run in save_dir where it was cut off; start it if there is none")
flags.DEFINE_integer("keep_checkpoints", 1, "how many checkpoints to keep, the newest")
flags.DEFINE_string("on_nan", "stop", "what to do about a loss or gradient that is not finite: stop, or skip the step")
flags.DEFINE_string("device", "", "cpu, gpu or gpu:N; by default the GPUs, where there are any")
flags.DEFINE_bool("tensorboard", True, "write summaries for TensorBoard into save_dir/tb")
flags.DEFINE_bool("deterministic", False, "on a GPU: only operations that give the same bits each time, if slower")
flags.DEFINE_bool("jit", False, "compile the steps by XLA; slower on a CPU (measured), meant for a GPU")
flags.DEFINE_bool("mixed_precision", False, "the U-Net's convolutions in bfloat16; all else in float32")

# What --resume lets be different from what the run was begun with. Of these, epochs (how long, and when the rate is
# divided) and on_nan (after a step that went wrong) change the weights; a run begun with other values would differ.
MAY_DIFFER = (
    "epochs", "save_dir", "save_every_n_epochs", "eval_every_n_epochs", "print_interval", "debug", "test_mode",
    "overwrite", "resume", "keep_checkpoints", "on_nan", "device", "data_dir", "tensorboard",
)  # fmt: skip

logger = logging.getLogger("tf")


class ConsoleHandler(logging.StreamHandler):
    """Writes messages to stderr, where a bar at the bottom of the terminal makes way for them."""

    bar: ProgressBar | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`."""
        if self.bar is not None:
            self.bar.wipe()
        super().emit(record)


def log_to_console() -> ConsoleHandler:
    """Send the messages of the logger `tf` to stderr, in the format of log.txt."""
    from physics_models.save_dir import LOG_FORMAT

    handler = ConsoleHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return handler


def repository_root() -> Path:
    """The folder that holds the packages, where that is a checkout; else the current one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "setup.py").is_file() else Path.cwd()


def check_positive(*names: str) -> None:
    """Raise `ExperimentError` for the first of these flags that is not a number above zero."""
    for name in names:
        value = FLAGS[name].value
        if value is None or (value > 0 and math.isfinite(value)):
            continue
        least = "must be at least 1" if isinstance(value, int) else "must be a number above 0"
        raise ExperimentError(f"--{name}={value}: {least}")


def check_not_negative(*names: str) -> None:
    """Raise `ExperimentError` for the first of these flags that is a number below zero, or none."""
    for name in names:
        value: Any = FLAGS[name].value
        if not (value >= 0 and math.isfinite(value)):
            raise ExperimentError(f"--{name}={value}: must be a number, 0 or above")


def check_choice(name: str, choices: Iterable[str]) -> None:
    """Raise `ExperimentError`, naming the `choices`, if the flag is none of them."""
    if str(FLAGS[name].value) not in choices:
        named = ", ".join(sorted(filter(None, choices)))
        raise ExperimentError(f"--{name}={FLAGS[name].value}: unknown; choose one of {named}")


def check_flags() -> None:
    """Raise `ExperimentError` for the first flag of this file that makes no sense."""
    check_positive(
        "epochs", "batch_size", "base_lr", "save_every_n_epochs", "eval_every_n_epochs", "print_interval",
        "keep_checkpoints",
    )  # fmt: skip
    check_choice("on_nan", ("stop", "skip"))
    if FLAGS.seed is not None and not 0 <= FLAGS.seed < 2**32:
        raise ExperimentError(f"--seed={FLAGS.seed}: must lie between 0 and 2^32 - 1")
    check_device_flag()
    if not FLAGS.save_dir:
        raise ExperimentError("--save_dir is empty; give the folder of the experiment")
    if FLAGS.test_mode and not FLAGS.use_ckpt:
        raise ExperimentError("--test_mode needs --use_ckpt=true: an untrained network has nothing to test")
    if FLAGS.test_mode and FLAGS.resume:
        raise ExperimentError("--test_mode and --resume: choose one; --resume goes on training")
    if FLAGS.ckpt_dir and not FLAGS.use_ckpt:
        raise ExperimentError(f"--ckpt_dir={FLAGS.ckpt_dir}: needs --use_ckpt=true")


def check_device_flag() -> None:
    """Raise `ExperimentError` unless `--device` names a kind of device."""
    if not re.fullmatch(r"(cpu|gpu(:\d{1,4})?)?", FLAGS.device):
        raise ExperimentError(f"--device={FLAGS.device}: unknown; give cpu, gpu, or gpu:0, gpu:1, …")


def check_taken(takes: Container[str] | None) -> None:
    """Raise `ExperimentError` for the first flag given that the command has no use for."""
    taken = command_help.taken_flags(takes)
    for name, flag in command_help.own_flags().items():
        if flag.present and name not in taken:
            raise ExperimentError(f"--{name}: this command has no use for it; --help lists its flags")


def settings() -> dict[str, Any]:
    """The value of every flag of the commands, by name."""
    return {name: flag.value for name, flag in command_help.own_flags().items()}


def choose_device() -> None:
    """Use what `--device` and `--deterministic` ask for; an `ExperimentError` for a GPU that is not there."""
    import tensorflow as tf

    kind, _, number = FLAGS.device.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif kind == "gpu":
        if int(number or 0) >= len(gpus):
            seen = f"only {len(gpus)} GPUs, counted from 0" if gpus else "no GPU"
            raise ExperimentError(f"--device={FLAGS.device}: TensorFlow sees {seen}; leave out --device, or give cpu")
        tf.config.set_visible_devices(gpus[int(number)] if number else gpus, "GPU")
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()


def command_line(*more: str) -> str:
    """The command as it was typed, with `more` arguments, to be typed again."""
    if not sys.argv[0].endswith(".py"):
        return shlex.join([*sys.argv, *more])
    path = f"PYTHONPATH={shlex.quote(os.environ['PYTHONPATH'])} " if os.environ.get("PYTHONPATH") else ""
    return f"{path}python {shlex.join([*sys.argv, *more])}"


def run(main: Callable[[list[str]], None]) -> None:
    """Parse the flags and run `main`; a user's mistake becomes one line on stderr and exit code 1.

    Where the module of `main` has TAKES, these are the only shared flags that it has a use for.
    """
    module = sys.modules[main.__module__]
    takes = getattr(module, "TAKES", None)
    if command_help.is_help(sys.argv[1:]):
        print(command_help.help_text(module.__doc__, takes), end="")
        sys.exit(0)

    def reporting(argv: list[str]) -> None:
        absl_logging.set_verbosity(absl_logging.WARNING)
        try:
            if len(argv) > 1:
                raise ExperimentError(f"{argv[1]}: not a flag; flags are written --name=value")
            check_taken(takes)
            main(argv)
        except (ExperimentError, DataError) as error:
            fail(error)
        except OSError as error:
            fail(f"{error.filename or 'files'}: {error.strerror or error}")
        except MemoryError:
            fail("out of memory; take a smaller --batch_size")
        except KeyboardInterrupt:
            leave("stopped by Ctrl-C", 130)

    def parse(arguments: list[str]) -> list[str]:
        try:
            return FLAGS(arguments)
        except (flags.Error, ValueError) as error:  # --noFLAG=value is a ValueError of absl's
            fail(in_plain_words(str(error)))

    app.run(reporting, flags_parser=parse)


def in_plain_words(error: str) -> str:
    """An error of absl's flags, as the other errors are worded."""
    wrong = re.match(r"flag (--(\w+)=.*?): ", error, re.DOTALL)
    if wrong:
        kinds = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        kind = kinds.get(FLAGS[wrong[2]].flag_type())
        return f"{wrong[1]}: must be {kind}" if kind else error
    unknown = re.match(r"Unknown command line flag '(.*?)'(?:\. Did you mean: (\w+))?", error, re.DOTALL)
    if unknown:
        meant = f"did you mean --{unknown[2]}?" if unknown[2] else "--help lists the flags"
        return f"--{unknown[1]}: no such flag; {meant}"
    missing = re.match(r"Missing value for flag (--\w+)", error)
    return f"{missing[1]}: needs a value" if missing else error


def leave(message: str, code: int) -> NoReturn:
    """Print `message` as one line on stderr, and exit with `code`."""
    print(message, file=sys.stderr, flush=True)
    sys.exit(code)
