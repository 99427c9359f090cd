"""Imports one command at a time: several have flags of the same names, such as --out and --steps."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from absl.flags import FLAGS

COMMANDS = ("fit_positions", "plot_run", "run_benchmark", "reproduce_paper")


def load_command(name: str) -> ModuleType:
    """The module `runners.<name>`, its flags in place of those of the other commands."""
    for module in [f"runners.{command}" for command in COMMANDS if command != name]:
        if sys.modules.pop(module, None):
            for flag in FLAGS.get_flags_for_module(module):
                delattr(FLAGS, flag.name)
    return importlib.import_module(f"runners.{name}")
