"""Mistakes of the user's, and how a command reports them: one line on stderr, exit code 1."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn


class ExperimentError(ValueError):
    """A bad setting, file or folder; its text is one line that says what is wrong, where, and what to do."""


def exit_with_message(message: Exception | str, code: int = 1) -> NoReturn:
    """Print `message` as one line on stderr, and exit with `code`."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    sys.exit(code)


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports a wrong command line in one line, with exit code 1."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit."""
        exit_with_message(f"{message}; see --help")


def run_command(main: Callable[[], list[str]]) -> None:
    """Print the lines that `main` returns; an `ExperimentError` becomes one line on stderr and exit code 1."""
    try:
        print("\n".join(main()), flush=True)
    except ExperimentError as error:
        exit_with_message(error)
    except BrokenPipeError:
        # The reader, `head` or a pager, has ended; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
