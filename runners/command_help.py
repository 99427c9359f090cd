"""What `--help` prints: the flags in groups; and the tasks, when nothing is typed at all."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Container, Iterable

from absl import flags

FLAGS = flags.FLAGS
HELP = {"--help", "-help", "-h", "-?", "--helpshort", "--helpfull"}
WIDTH = 100

# Every flag of run_physics.py stands in one group (a test holds them against each other).
GROUPS = {
    "What to train on": (
        "task", "color", "datapoints", "data_dir",
    ),
    "Where to": (
        "save_dir", "overwrite", "tensorboard",
    ),
    "How to train": (
        "epochs", "batch_size", "base_lr", "anneal_lr", "optimizer", "autoencoder_loss", "seed", "on_nan",
    ),
    "The model": (
        "model", "cell_type", "encoder_type", "decoder_type", "alt_vel", "vel_encoder", "calibrated_coords",
        "recurrent_units", "lstm_layers",
    ),
    "Checkpoints": (
        "resume", "use_ckpt", "ckpt_dir", "test_mode", "save_every_n_epochs", "keep_checkpoints",
    ),
    "What is printed, and when": (
        "print_interval", "eval_every_n_epochs", "debug",
    ),
    "The machine": (
        "device", "deterministic", "jit", "mixed_precision",
    ),
    "A task of one's own (--task=custom)": (
        "data_file", "test_data_file", "n_objs", "input_steps", "pred_steps", "img_size", "seq_len",
    ),
    "Training in stages (--schedule=staged)": (
        "schedule", "guide", "found_below", "tries",
        *(f"{stage}_{part}" for stage in ("autoencoder", "positions", "joint") for part in ("steps", "batch", "rate")),
    ),
}  # fmt: skip

# Recommended --base_lr and --autoencoder_loss, and what is seen.
RECOMMENDED = {
    "bouncing_balls": ("3e-4", "2.0", "two balls that bounce off the walls"),
    "spring_color": ("6e-4", "3.0", "two balls on a spring"),
    "spring_color_half": ("6e-4", "3.0", "the same, seen in one half of the frame first"),
    "mnist_spring_color": ("6e-4", "3.0", "two digits on a spring, before a photograph"),
    "3bp_color": ("1e-3", "5.0", "three bodies under gravity"),
}


def own_flags() -> dict[str, flags.Flag]:
    """The flags that this project's commands define, by name."""
    modules = FLAGS.flags_by_module_dict()
    own = [module for module in modules if module.startswith("runners.") or module == sys.argv[0]]
    return {flag.name: flag for module in own for flag in modules[module]}


def taken_flags(takes: Container[str] | None) -> dict[str, flags.Flag]:
    """The flags of one command, by name: its own, and the shared ones that it `takes` (None: all)."""
    shared = {name for names in GROUPS.values() for name in names}
    return {name: flag for name, flag in own_flags().items() if takes is None or name in takes or name not in shared}


def help_text(description: str | None, takes: Container[str] | None = None) -> str:
    """The text of `--help`: `description`, then every flag that the command `takes` with its default, in groups."""
    defined = taken_flags(takes)
    rest = [name for name in defined if not any(name in names for names in GROUPS.values())]
    parts = [(description or "").strip()]
    for title, names in {"This command": rest, **GROUPS}.items():
        entries = [entry(defined[name]) for name in names if name in defined]
        if entries:
            parts.append("\n".join([f"{title}:", *entries]))
    return "\n\n".join(parts) + "\n"


def entry(flag: flags.Flag) -> str:
    """A flag with its help and default."""
    kind = {"int": "N", "float": "X"}.get(flag.flag_type(), "…")
    usage = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}={kind}"
    default = str(flag.default_as_str).strip("'")
    words = flag.help + (f" (default: {default})" if flag.default not in (None, "", False) else "")
    lines = textwrap.wrap(words, WIDTH - 30, break_on_hyphens=False)
    head = f"  {usage:<26}  "
    if len(head) > 30:
        return "\n".join([head.rstrip(), *(" " * 30 + line for line in lines)])
    return "\n".join([head + lines[0], *(" " * 30 + line for line in lines[1:])])


def is_help(arguments: Iterable[str]) -> bool:
    """Whether `arguments` ask for help."""
    return not HELP.isdisjoint(arguments)


def tasks_text(program: str) -> str:
    """The tasks with the commands that are recommended for them."""
    python = "PYTHONPATH=. python " if program.endswith(".py") else ""
    parts = ["The tasks, and the command that is recommended for each (--help lists all flags):"]
    for task, (rate, weight, seen) in RECOMMENDED.items():
        parts.append(
            f"{task}: {seen}\n  {python}{program} --task={task} --epochs=500 --batch_size=100 "
            f"--save_dir=experiments/{task} --autoencoder_loss={weight} --base_lr={rate} --anneal_lr=true --color=true "
            "--eval_every_n_epochs=10 --print_interval=100"
        )
    parts.append("A film of one's own: --task=custom; objects found in minutes: --schedule=staged; goes on: --resume.")
    return "\n\n".join(parts) + "\n"
