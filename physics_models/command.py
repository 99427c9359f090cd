"""What the commands of this package share: `python -m physics_models.<command>`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from physics_models.errors import ExperimentError


def fail(error: Exception | str) -> NoReturn:
    """Print `error` as one line on stderr, and exit with code 1."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)


class OneLineParser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports a wrong command line in one line, with exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit."""
        fail(f"{message}; see --help")


@contextlib.contextmanager
def quiet_start_up() -> Iterator[None]:
    """Keep what TensorFlow's C++ code writes to stderr while it is imported off the console."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    console = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(console, 2)
        os.close(console)


def run(main: Callable[[], list[str]]) -> None:
    """Print the lines that `main` returns; a user's mistake becomes one line on stderr and exit code 1."""
    try:
        with quiet_start_up():
            import tensorflow  # noqa: F401, it takes seconds and talks: once, here
        print("\n".join(main()), flush=True)
    except ExperimentError as error:
        fail(error)
    except BrokenPipeError:
        # The reader, `head` or a pager, has had enough; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
