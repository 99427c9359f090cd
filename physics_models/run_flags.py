"""Reads the flags of a command line that an experiment's log has kept."""

from __future__ import annotations

import re

TRUE_WORDS = ("true", "t", "1", "yes", "y")
FALSE_WORDS = ("false", "f", "0", "no", "n")

# The original's flags with their defaults (runners/run_base.py and runners/run_physics.py there).
ORIGINAL_DEFAULTS = {
    "epochs": "10",
    "batch_size": "100",
    "save_dir": "",
    "use_ckpt": "false",
    "ckpt_dir": "",
    "base_lr": "1e-3",
    "anneal_lr": "true",
    "optimizer": "rmsprop",
    "save_every_n_epochs": "5",
    "eval_every_n_epochs": "1",
    "print_interval": "10",
    "debug": "false",
    "test_mode": "false",
    "task": "",
    "model": "PhysicsNet",
    "recurrent_units": "100",
    "lstm_layers": "1",
    "cell_type": "",
    "encoder_type": "conv_encoder",
    "decoder_type": "conv_st_decoder",
    "autoencoder_loss": "0.0",
    "alt_vel": "false",
    "color": "false",
    "datapoints": "0",
}


def read_flags(arguments: list[str]) -> dict[str, str]:
    """Flags of a command line in absl's forms: `--name=value`, `--name value`, `--name`, `--noname`, `-name`.

    Args:
      arguments: what follows the program's name.

    Returns:
      The last value of each name, as typed; the original's boolean flags have "true" or "false", and any
      other flag that came without a value has "true". Positional arguments are left out.
    """
    flags: dict[str, str] = {}
    waiting = None
    for argument in arguments:
        if argument == "--":
            break
        if argument.startswith("-") and not re.match(r"-[\d.]", argument):
            name, equals, value = argument.lstrip("-").partition("=")
            if not equals and name.startswith("no") and _is_boolean(name[2:]):
                name, value = name[2:], "false"
            elif not equals:
                value = "true"
            elif _is_boolean(name):
                value = _plain_boolean(value)
            flags[name] = value
            waiting = None if equals or _is_boolean(name) else name
        elif waiting is not None:
            flags[waiting] = argument
            waiting = None
    return flags


def flag_differences(first: dict[str, str], second: dict[str, str]) -> list[tuple[str, str | None, str | None]]:
    """Flags whose effective values differ: 6e-4 and 0.0006 are equal, and so are a default and its absence.

    Args:
      first: flags of one run, from `read_flags`.
      second: flags of the other.

    Returns:
      (name, value in `first`, value in `second`), sorted by name; None where the flag was not given.
    """
    rows = []
    for name in sorted(first.keys() | second.keys()):
        default = ORIGINAL_DEFAULTS.get(name)
        if not _equal(first.get(name, default), second.get(name, default)):
            rows.append((name, first.get(name), second.get(name)))
    return rows


def _is_boolean(flag: str) -> bool:
    return ORIGINAL_DEFAULTS.get(flag) in ("true", "false")


def _plain_boolean(value: str) -> str:
    if value.lower() in TRUE_WORDS:
        return "true"
    return "false" if value.lower() in FALSE_WORDS else value


def _equal(first: str | None, second: str | None) -> bool:
    if first == second or first is None or second is None:
        return first == second
    try:
        return float(first) == float(second)
    except ValueError:
        return False
