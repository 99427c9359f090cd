"""Runs the original and this port side by side: the same data, weights and batches, each in a process of its own.

    python runners/side_by_side.py --original=CLONE --python=PYTHON36 --task=spring_color --steps=50 --save_dir=DIR
    python runners/side_by_side.py … --task=all --save_dir=DIR    every task, and every optimizer, in folders of DIR
    python runners/side_by_side.py --list=DIR                     the table of the runs in DIR
    python runners/side_by_side.py --make_python=DIR              a Python 3.6 with TensorFlow 1.12

docs/original.md says what the original needs, and what came out. The training split holds exactly one batch, so that
the order in which the original shuffles it, without a seed, has no effect but rounding: an epoch is a step. How far
rounding alone leads is measured by a second run of the port, with another order.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from os.path import expanduser
from pathlib import Path
from typing import Any

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import tensorflow as tf

from data_gen.errors import DataError
from data_gen.files import save_dataset
from data_gen.iterators import load_frames
from data_gen.recipes import RECIPES, make_dataset
from physics_models import tf1_checkpoint
from physics_models.base import OPTIMIZERS
from physics_models.errors import CommandParser, ExperimentError, exit_with_message, run_command
from physics_models.experiment import Interrupted, write_atomically
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS
from runners import machine, run_base
from runners.compare_runs import compare_runs, write_report
from runners.run_base import logger
from runners.side import numbers, original, processes

ROOT = Path(__file__).resolve().parents[1]
RECOMMENDED = {  # --base_lr and --autoencoder_loss, as the original recommends them
    "bouncing_balls": (3e-4, 2.0), "spring_color": (6e-4, 3.0), "spring_color_half": (6e-4, 3.0),
    "3bp_color": (1e-3, 5.0), "mnist_spring_color": (6e-4, 3.0),
}  # fmt: skip
LIMITS = {
    "steps": (1, 10**6), "batch_size": (1, 10**6), "test_sequences": (5, 99), "pairs": (1, 100), "seed": (0, 2**32 - 2),
    "base_lr": (1e-12, 1e6), "autoencoder_loss": (0, 1e6),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; a mistake becomes one line on stderr and exit code 1."""
    options = flags().parse_args(arguments)

    def run() -> list[str]:
        run_base.log_to_console()
        try:
            if options.make_python:
                return [original.make_python(options.make_python)]
            return numbers.list_runs(Path(options.list)) if options.list else run_all(options)
        except DataError as error:
            raise ExperimentError(str(error)) from error
        except Interrupted as interrupted:
            exit_with_message(f"{interrupted}; what there is: {options.save_dir}", interrupted.exit_code)

    run_command(run)


def flags() -> CommandParser:
    """The command line."""
    parser = CommandParser(
        prog="side_by_side.py", allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Runs the original and this port on the same data from the same weights, and compares all of it.",
    )  # fmt: skip
    flag = parser.add_argument
    folder = {"metavar": "DIR", "type": expanduser, "default": argparse.SUPPRESS}
    parser.set_defaults(original="", save_dir="", data_dir="", list="", make_python="")
    flag("--original", **folder, help="a clone of the original; it stays as it is")
    flag("--python", metavar="FILE", type=expanduser, default="python3.6", help="a Python 3.6 with TensorFlow 1.12")
    flag("--save_dir", **folder, help="a new folder for all that is made")
    flag("--task", default="spring_color", choices=[*TASKS, "all"], help="all: every task, and every optimizer")
    flag("--steps", type=int, default=50, help="training steps")
    flag("--optimizer", default="rmsprop", choices=list(OPTIMIZERS), help="update rule")
    flag("--batch_size", type=int, default=100, help="sequences of the one batch")
    flag("--base_lr", type=float, help="learning rate; None: as recommended for the task")
    flag("--autoencoder_loss", type=float, help="weight of the reconstruction loss; None: as recommended")
    flag("--anneal_lr", choices=["true", "false"], default="true", help="divide the rate by 5 after 75 %% of the steps")
    flag("--seed", type=int, default=0, help="of weights and data")
    flag("--test_sequences", type=int, default=10, help="sequences to validate on, and to test on, 5 to 99")
    flag("--data_dir", **folder, help="take the sequences from the data files there; those missing are made")
    flag("--pairs", type=int, default=1, help="how often to run both, in turns; all but the first give times alone")
    flag("--note", default="", help="a remark to print below the table")
    flag("--list", **folder, help="only print the table of the runs in a folder")
    flag("--make_python", **folder, help="only make a Python 3.6 with TensorFlow 1.12 in a new folder")
    return parser


def run_all(options: argparse.Namespace) -> list[str]:
    """Run what the flags ask for; returns the table. Of several cases those that are there already are not run again.

    Raises `ExperimentError` for a mistake, and for a run that failed.
    """
    clone = original.check_clone(options.original)
    save_dir, every = Path(options.save_dir).absolute(), options.task == "all"
    if not options.save_dir:
        raise ExperimentError("--save_dir is missing: give a new folder for all that is made")
    for name, (lowest, highest) in LIMITS.items():
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise ExperimentError(f"--{name}={value}: must lie between {lowest} and {highest}")
    cases = [(options.task, options.optimizer, save_dir)]
    if every:
        names = [(task, "rmsprop") for task in TASKS] + [("spring_color", rule) for rule in list(OPTIMIZERS)[1:]]
        cases = [(task, rule, save_dir / f"{task}-{rule}") for task, rule in names]
        cases = [case for case in cases if not is_there(options, case[2])]
    for *_, folder in cases:
        if folder.exists():
            instead = "is not complete; move it away, and it is run again" if every else "exists; give a new folder"
            raise ExperimentError(f"--save_dir={options.save_dir}: {folder} {instead}")
    if options.data_dir and not Path(options.data_dir).is_dir():
        raise ExperimentError(f"--data_dir={options.data_dir}: no such folder; leave it out, and data is made")
    python = original.check_python(options.python)
    for i, (task, rule, folder) in enumerate(cases, 1):
        logger.info("%d of %d: %s, %s", i, len(cases), task, rule)
        run_case(options, clone, python, task, rule, folder)
    return [*numbers.list_runs(save_dir), "", f"Written: {save_dir}, with a report.html for each line"]


def is_there(options: argparse.Namespace, folder: Path) -> bool:
    """Whether `folder` holds complete runs; `ExperimentError` if they had other flags than `options`."""
    if not numbers.is_complete(folder):
        return False
    before = numbers.Numbers(folder).flags
    for name, flag in (("epochs", "steps"), ("batch_size", "batch_size"), ("anneal_lr", "anneal_lr")):
        if before.get(name) != getattr(options, flag):
            raise ExperimentError(f"{folder}: was run with --{flag}={before.get(name)}; give the same, or a new folder")
    return True


def run_case(
    options: argparse.Namespace, clone: Path, python: tuple[str, Any], task: str, rule: str, folder: Path
) -> None:
    """Run both in the new `folder`, and write the report, also where one fails or is stopped."""
    rate, weight = RECOMMENDED[task]
    rate, weight = options.base_lr or rate, weight if options.autoencoder_loss is None else options.autoencoder_loss
    arguments = {
        "task": task, "model": "PhysicsNet", "epochs": options.steps, "batch_size": options.batch_size,
        "autoencoder_loss": weight, "base_lr": rate, "optimizer": rule, "anneal_lr": options.anneal_lr, "color": "true",
        "save_every_n_epochs": options.steps, "eval_every_n_epochs": options.steps, "print_interval": 1,
        "use_ckpt": "true",
    }  # fmt: skip
    code, data = folder / "clone", folder / "clone" / "data" / "datasets"
    folder.mkdir(parents=True)
    runs: list[dict[str, Any]] = []
    commit = original.copy_clone(clone, code)
    facts = {"flags": arguments, "commit": commit, "original": python[1], "port": machine.stack(), "runs": runs}
    facts["note"] = options.note
    write_data(options, task, data)
    weights = start_weights(task, rule, rate, options.seed)
    turns = [(n, side) for n in range(1, options.pairs + 1) for side in numbers.SIDES[:: 1 if n % 2 else -1]]
    turns.append((1, numbers.AGAIN))
    for pair, side in turns:
        run = numbers.run_folder(folder, side, pair)
        tf1_checkpoint.write_folder(run, lambda made: tf1_checkpoint.write_tf1(weights, made))
    try:
        for pair, side in turns:
            run = numbers.run_folder(folder, side, pair)
            given = {**arguments, "save_dir": run, "debug": str(pair > 1).lower()}
            command, place, env = [python[0], "runners/run_physics.py"], code, processes.environment(".")
            if side != "original":
                command, place = [sys.executable, str(ROOT / "runners" / "run_physics.py")], folder
                env = port_environment()
                given.update(data_dir=data, seed=options.seed + (side == numbers.AGAIN), device="cpu")
            command += [f"--{name}={value}" for name, value in given.items()]
            output = folder / f"{run.name}_output.txt"
            ended = processes.run(command, place, env, run, output, options.steps, pair > 1)
            runs.append({"side": side, "pair": pair, **ended})
            if ended["signal"]:
                raise Interrupted(ended["signal"])
            if ended["code"]:
                logger.info("the last lines that the %s printed:\n%s", side, "\n".join(processes.tail(output)))
                raise ExperimentError(
                    f"the {side} {processes.ending(ended['code'])} ({processes.reason(output)}); all that it "
                    f"printed: {output}; what there is: {folder / 'report.html'}"
                )
    finally:
        write_atomically(folder / numbers.FACTS, lambda file: file.write(json.dumps(facts, indent=1).encode()))
        report = compare_runs(*(folder / side for side in numbers.SIDES))
        report.sections.insert(0, numbers.Numbers(folder).section())
        write_report(report, folder)


def port_environment() -> dict[str, str]:
    """The environment of the port's process: as here, but alone, and with all threads, as the original."""
    dropped = ("TF_CONFIG", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def write_data(options: argparse.Namespace, task: str, folder: Path) -> None:
    """The task's two files, below `folder`: one batch to train on, `--test_sequences` in the other splits."""
    recipe, sizes = RECIPES[task], (options.batch_size, options.test_sequences, options.test_sequences)
    for i, (name, length) in enumerate(((recipe.train_file, recipe.train_len), (recipe.test_file, recipe.test_len))):
        file, source = folder / name, Path(options.data_dir, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        if not (options.data_dir and source.exists()):
            make_dataset(task, str(file), length, sizes, seed=options.seed + i)
            continue
        kept = {f"{split}_x": frames[:n] for n, (split, frames) in zip(sizes, load_frames(source).items())}
        if [len(frames) for frames in kept.values()] != list(sizes):
            raise ExperimentError(f"{source}: too few sequences; need {sizes} in train_x, valid_x, test_x")
        save_dataset(str(file), kept)


def start_weights(task: str, rule: str, rate: float, seed: int) -> tf1_checkpoint.Arrays:
    """All variables before the first step, by the original's names."""
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(TASKS[task])
    net.build_optimizer(rate, rule)
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return {name: variable.numpy() for name, variable in variables.items()}


if __name__ == "__main__":
    main()
