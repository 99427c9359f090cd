"""Matplotlib for the commands: their figures are the same whatever MPLBACKEND and matplotlibrc say."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

# Matplotlib's import fails if this names a backend that is not installed; no figure here needs one.
backend = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)

import matplotlib  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402, F401
from matplotlib.ticker import MaxNLocator  # noqa: E402, F401

if backend is not None:  # for the other figures of a notebook
    os.environ["MPLBACKEND"] = backend
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = backend


@contextlib.contextmanager
def default_style() -> Iterator[None]:
    """While this lasts, Matplotlib has its own defaults."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
