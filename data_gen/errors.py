"""The error for a mistake of the user's in data and their files, and how the command prints."""

from __future__ import annotations

import os
from typing import TextIO


class DataError(ValueError):
    """A bad argument or file. Its text is one line: what is wrong, where, and what to do."""


def one_line(error: Exception) -> str:
    """The text of `error` as one line of at most 200 characters."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__


def say(text: str, stream: TextIO | None, end: str = "\n") -> None:
    """Print `text`, with escapes for what the encoding of `stream` lacks, whether or not somebody still reads it."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, file=stream, flush=True)
    except OSError:  # Python would try once more at exit, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
