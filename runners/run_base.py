"""Flags that every runner shares, the console logger, and errors in one line (`runners/run_base.py`)."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging

from data_gen.errors import DataError
from physics_models.errors import ExperimentError

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

logger = logging.getLogger("tf")


def log_to_console() -> None:
    """Send the messages of the logger `tf` to stderr, in the format of log.txt."""
    from physics_models.save_dir import LOG_FORMAT

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def quiet_start_up() -> Iterator[None]:
    """Keep what C++ code writes to stderr meanwhile off the console.

    Current TensorFlow announces its libraries while it is imported, whatever TF_CPP_MIN_LOG_LEVEL says.
    """
    sys.stderr.flush()
    console = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(console, 2)
        os.close(console)


def repository_root() -> Path:
    """The folder that holds the packages, where that is a checkout; else the current one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "setup.py").is_file() else Path.cwd()


def check_positive(*names: str) -> None:
    """Raise `ExperimentError` for the first of these integer flags that is under one."""
    for name in names:
        value = FLAGS[name].value
        if value < 1:
            raise ExperimentError(f"--{name}={value}: must be at least 1")


def run(main: Callable[[list[str]], None]) -> None:
    """Parse the flags and run `main`; a user's mistake becomes one line on stderr and exit code 1."""

    def reporting(argv: list[str]) -> None:
        absl_logging.set_verbosity(absl_logging.WARNING)
        try:
            if len(argv) > 1:
                raise ExperimentError(f"{argv[1]}: not a flag; flags are written --name=value")
            main(argv)
        except (ExperimentError, DataError) as error:
            fail(error)

    try:
        app.run(reporting, flags_parser=lambda args: FLAGS(args))
    except flags.Error as error:
        fail(error)


def fail(error: Exception) -> None:
    """Print `error` as one line on stderr, and exit with code 1."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)
