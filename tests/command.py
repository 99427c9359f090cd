"""Runs a command of absl flags within this process, as if it were typed."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable
from typing import NamedTuple

from absl import flags
from absl.testing import flagsaver


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run_main(main: Callable[[list[str]], None], arguments: list[str]) -> Ended:
    """The exit code and output of `main` with these arguments, all other flags at their defaults."""
    from runners import run_base

    logger, argv = logging.getLogger("tf"), sys.argv
    before = logger.handlers[:], logger.level, logger.propagate
    sys.argv = ["runners/run_physics.py", *arguments]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    try:
        with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            for name in list(flags.FLAGS):
                flags.FLAGS[name].unparse()
            run_base.run(main)
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    finally:
        sys.argv = argv
        logger.handlers, logger.level, logger.propagate = before
    assert isinstance(code, int), code
    return Ended(code, out.getvalue(), err.getvalue())
