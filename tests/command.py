"""Runs a command within this process, as if it were typed."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from absl import app, flags
from absl.testing import flagsaver

# The console commands, as setup.py installs them.
COMMANDS = {
    "paig-run-physics": "runners.run_physics:command",
    "paig-plot-run": "runners.plot_run:command",
    "paig-compare-runs": "runners.compare_runs:main",
    "paig-side-by-side": "runners.side_by_side:main",
    "paig-run-control": "runners.run_control:main",
    "paig-run-video": "runners.run_video:main",
    "paig-data": "data_gen.__main__:main",
    "paig-tf1-checkpoint": "physics_models.tf1_checkpoint:main",
    "paig-export": "physics_models.export:main",
}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run_command(name: str, *arguments: str) -> Ended:
    """The exit code and output of the console command `name` with these arguments."""
    module, function = COMMANDS[name].split(":")
    return call(getattr(importlib.import_module(module), function), f"{module.replace('.', '/')}.py", *arguments)


def run_main(main: Callable[[list[str]], None], arguments: list[str]) -> Ended:
    """The exit code and output of the absl command `main` with these arguments."""
    from runners import run_base

    return call(lambda: run_base.run(main), "runners/run_physics.py", *arguments)


def call(command: Callable[[], Any], *argv: str) -> Ended:
    """The exit code and output of `command`, which reads this `sys.argv`; all other flags are at their defaults."""
    logger, before = logging.getLogger("tf"), sys.argv
    state = logger.handlers[:], logger.level, logger.propagate
    sys.argv = list(argv)
    app.define_help_flags()  # once per process: flagsaver would take them away again
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    try:
        with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for name in list(flags.FLAGS):
                flags.FLAGS[name].unparse()
            code = command()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
        logger.handlers, logger.level, logger.propagate = state
    assert code is None or isinstance(code, int), code
    return Ended(code or 0, out.getvalue(), err.getvalue())
