"""The console commands of an installed copy (`setup.py` names them), and a check that their packages are ours.

The top-level names `nn`, `physics_models`, `data_gen` and `runners` are the original's, and plain words: another
distribution in the same environment may have them, too.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

from physics_models.command import fail
from physics_models.errors import ExperimentError
from physics_models.save_dir import PACKAGES
from runners import run_base

DISTRIBUTION = "paig-tf2"
ADVICE = "install this project into a virtual environment of its own"


def check_names() -> None:
    """Exit with a line for a package of ours that is not the one found; warn of one that another project has, too."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != root / name / "__init__.py":
            fail(ExperimentError(f"the package {name} is found in {found}, not in {root}; {ADVICE}"))
    for name, other in shared_names():
        print(
            f"warning: {other}, installed in the same environment, has a package {name}, too, and either may have "
            f"overwritten the other; {ADVICE}",
            file=sys.stderr,
        )


def shared_names() -> Iterator[tuple[str, str]]:
    """Our package's name and the distribution's, for each other distribution that has installed one of that name."""
    for distribution in distributions():
        name = distribution.metadata["Name"] or "?"
        if name.lower().replace("_", "-") == DISTRIBUTION:
            continue
        record = f"\n{distribution.read_text('RECORD') or ''}"
        for package in PACKAGES:
            if f"\n{package}/" in record:
                yield package, name


def _command(main: Callable[[], int | None]) -> None:
    check_names()
    sys.exit(main())


def run_physics() -> None:
    """`runners/run_physics.py`."""
    from runners import run_physics as command

    _command(lambda: run_base.run(command.main))


def plot_run() -> None:
    """`runners/plot_run.py`."""
    from runners import plot_run as command

    _command(lambda: run_base.run(command.main))


def compare_runs() -> None:
    """`runners/compare_runs.py`."""
    from runners import compare_runs as command

    _command(command.main)


def make_data() -> None:
    """`python -m data_gen`."""
    from data_gen import __main__ as command

    _command(command.main)


def tf1_checkpoint() -> None:
    """`python -m physics_models.tf1_checkpoint`."""
    from physics_models import tf1_checkpoint as command

    _command(command.main)


def export() -> None:
    """`python -m physics_models.export`."""
    from physics_models import export as command

    _command(command.main)
