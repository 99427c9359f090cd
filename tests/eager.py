"""Runs without graphs: for a few steps of a small network that is quicker than to trace one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Have every `tf.function` run as plain Python within."""
    import tensorflow as tf  # after the settings that conftest.py makes for it

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
