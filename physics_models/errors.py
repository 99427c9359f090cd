"""Mistakes of the user's, and how a command reports them: one line on stderr, exit code 1."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn


class ExperimentError(ValueError):
    """A bad setting, file or folder; its text is one line that says what is wrong, where, and what to do."""


def exit_with_message(message: Exception | str, code: int = 1) -> NoReturn:
    """Print `message` as one line on stderr, and exit with `code`."""
    with contextlib.suppress(OSError):  # where nobody reads stderr any more
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    sys.exit(code)


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    r"""What every command runs in: a mistake becomes one line on stderr, with exit code 1.

    What stdout's encoding does not have is written as `\xb7`. Where its reader has ended, `head` or a pager, the rest
    of the output is dropped.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except ExperimentError as error:
        exit_with_message(error)
    except OSError as error:
        exit_with_message(f"{error.filename or 'a file or the output'}: {error.strerror or error}")
    except MemoryError:
        exit_with_message("out of memory")
    except KeyboardInterrupt:
        exit_with_message("stopped by Ctrl-C", 130)
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:  # Python would try once more at exit, and complain
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that reports a wrong command line in one line, with exit code 1."""

    def parse_args(self, *arguments: Any, **options: Any) -> argparse.Namespace:  # type: ignore[override]
        """The options of the command line."""
        with reporting():  # for --help
            return super().parse_args(*arguments, **options)

    def error(self, message: str) -> NoReturn:
        """Print `message` and exit."""
        dashed = [name for name in sys.argv[1:] if name.startswith("-") and os.path.lexists(name)]
        exit_with_message(f"{message}; see --help" + (f", and write ./{dashed[0]} for that file" if dashed else ""))


def run_command(main: Callable[[], list[str]]) -> None:
    """Print the lines that `main` returns, as `reporting` says."""
    with reporting():
        print("\n".join(main()), flush=True)
