"""Runs the original and this port side by side: the same data, weights and batches, each in a process of its own.

    PYTHONPATH=. python runners/side_by_side.py --original=CLONE --python=PYTHON36 --task=spring_color --save_dir=DIR
    PYTHONPATH=. python runners/side_by_side.py … --task=all --save_dir=DIR     all tasks, and all optimizers
    PYTHONPATH=. python runners/side_by_side.py --list=DIR                      the table of the runs in DIR
    PYTHONPATH=. python runners/side_by_side.py --make_python=DIR               a Python for the original

docs/original.md says what the original needs, and what came out. The training split holds exactly one batch, so that
the order in which the original shuffles it, without a seed, has no effect: an epoch is a step. Both start from weights
that are made here, and evaluate the longer test sequences after training.
"""

from __future__ import annotations

import json
import sys
from os.path import expanduser
from pathlib import Path
from typing import Any

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import tensorflow as tf

from data_gen.errors import DataError
from data_gen.files import SPLITS, save_dataset
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
RECOMMENDED = {  # --base_lr and --autoencoder_loss, as the original's README has them
    "bouncing_balls": ("3e-4", "2.0"), "spring_color": ("6e-4", "3.0"), "spring_color_half": ("6e-4", "3.0"),
    "3bp_color": ("1e-3", "5.0"), "mnist_spring_color": ("6e-4", "3.0"),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; a mistake becomes one line on stderr and exit code 1."""
    parser = CommandParser(
        prog="side_by_side.py", allow_abbrev=False,
        description="Runs the original and this port on the same data from the same weights, and compares all of it.",
    )  # fmt: skip
    flag = parser.add_argument
    flag("--original", metavar="DIR", type=expanduser, default="", help="a clone of the original; it stays as it is")
    flag("--python", metavar="FILE", type=expanduser, default="", help="a Python 3.6 with TensorFlow 1.12")
    flag("--task", default="spring_color", choices=[*TASKS, "all"], help="all: every task, then every optimizer")
    flag("--steps", type=whole_number, default=50, help="training steps (default: 50)")
    flag("--save_dir", metavar="DIR", type=expanduser, default="", help="a new folder for all that is made")
    flag("--optimizer", default="rmsprop", choices=list(OPTIMIZERS))
    flag("--batch_size", type=whole_number, default=100, help="sequences of the one batch (default: 100)")
    flag("--base_lr", type=float, help="learning rate (default: the one recommended for the task)")
    flag("--autoencoder_loss", type=float, help="weight of the reconstruction loss (default: as recommended)")
    flag("--anneal_lr", choices=["true", "false"], default="true", help="divide the rate by 5 after 75 %% of the steps")
    flag("--seed", type=int, default=0, help="of weights and data (default: 0)")
    flag("--test_sequences", type=int, default=10, help="sequences to validate and to test, 5 to 99 (default: 10)")
    flag("--data_dir", metavar="DIR", type=expanduser, help="take the sequences from the task's data files in DIR")
    flag("--pairs", type=whole_number, default=1, help="runs of each to time, in turns (default: 1)")
    flag("--note", default="", help="a remark to print below the table")
    flag("--list", metavar="DIR", type=expanduser, help="only print the table of the runs in DIR")
    flag("--make_python", metavar="DIR", type=expanduser, help="only make a Python 3.6 with TensorFlow 1.12 in DIR")
    options = parser.parse_args(arguments)

    def run() -> list[str]:
        try:
            run_base.log_to_console()
            if options.make_python:
                return [original.make_python(options.make_python)]
            return numbers.list_runs(find_runs(options.list)) if options.list else run_all(options)
        except DataError as error:
            raise ExperimentError(str(error)) from error
        except Interrupted as interrupted:
            exit_with_message(f"{interrupted}; what there is: {options.save_dir}", interrupted.exit_code)

    run_command(run)


def whole_number(text: str) -> int:
    """The value of a flag that counts something."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def find_runs(folder: str) -> list[Path]:
    """The folders at and below `folder` that hold runs side by side; an `ExperimentError` if there are none."""
    found = sorted(path.parent for path in Path(folder).rglob(numbers.FACTS))
    if not found:
        raise ExperimentError(f"--list={folder}: holds no runs of this command")
    return found


def run_all(options: Any) -> list[str]:
    """Run what the flags ask for; the table of it. `ExperimentError` if a run failed, after all the others."""
    clone = original.check_clone(options.original)
    if not options.save_dir:
        raise ExperimentError("--save_dir is missing: give a new folder for all that is made")
    if not 5 <= options.test_sequences < 100:
        raise ExperimentError(f"--test_sequences={options.test_sequences}: must be 5 to 99, to be one batch with 5 to draw")
    if not 0 <= options.seed < 2**32 - 1:
        raise ExperimentError(f"--seed={options.seed}: must lie between 0 and 2^32 - 2")
    save_dir, every = Path(options.save_dir).absolute(), options.task == "all"
    cases = [(options.task, options.optimizer, save_dir)]
    if every:
        names = [(task, "rmsprop") for task in TASKS] + [("spring_color", rule) for rule in OPTIMIZERS if rule != "rmsprop"]
        cases = [(task, rule, save_dir / f"{task}-{rule}") for task, rule in names]
    cases = [case for case in cases if not (every and is_complete(case[2], options.pairs))]
    for *_, folder in cases:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ExperimentError(f"--save_dir: {folder} exists and is not empty; give a new folder")
    python, versions = original.check_python(options.python)
    failed = []
    for task, rule, folder in cases:
        try:
            run_case(options, clone, (python, versions), task, rule, folder)
        except (ExperimentError, DataError) as error:
            if not every:
                raise
            logger.error("%s", error)
            failed.append(folder.name)
    if failed:
        raise ExperimentError(f"{', '.join(failed)}: failed; the others are in --list={save_dir}")
    return [*numbers.list_runs(find_runs(save_dir)), "", f"Written: {save_dir}, with report.html for each run"]


def is_complete(folder: Path, pairs: int) -> bool:
    """Whether all runs of `folder` came to their end."""
    if not (folder / numbers.FACTS).is_file():
        return False
    runs = numbers.read_facts(folder)["runs"]
    return len(runs) == 2 * pairs and not any(run["code"] for run in runs)


def run_case(options: Any, clone: Path, python: tuple[str, dict], task: str, rule: str, folder: Path) -> None:
    """Run the original and the port side by side in the new `folder`, and write the report, also of what failed."""
    code = folder / "clone"
    rate, weight = RECOMMENDED[task]
    flags = {
        "task": task, "model": "PhysicsNet", "epochs": options.steps, "batch_size": options.batch_size,
        "autoencoder_loss": weight if options.autoencoder_loss is None else options.autoencoder_loss,
        "base_lr": rate if options.base_lr is None else options.base_lr, "optimizer": rule,
        "anneal_lr": options.anneal_lr, "color": "true", "save_every_n_epochs": options.steps,
        "eval_every_n_epochs": options.steps, "print_interval": 1, "use_ckpt": "true",
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    commit = original.copy_clone(clone, code)
    write_data(options, task, code / "data" / "datasets")
    weights = start_weights(task, rule, options.seed, flags)
    facts = {"flags": flags, "commit": commit, "original": python[1], "port": machine.stack(), "note": options.note,
             "seed": options.seed, "runs": []}  # fmt: skip
    try:
        for pair, side in in_turns(options.pairs):
            run = numbers.run_folder(folder, side, pair)
            tf1_checkpoint.write_folder(run, lambda made, arrays=weights: tf1_checkpoint.write_tf1(arrays, made))
            given = {**flags, "save_dir": run, "debug": str(pair > 1).lower()}
            if side == "original":
                command, where, path = [python[0], "runners/run_physics.py"], code, "."
            else:
                command, where, path = [sys.executable, str(ROOT / "runners" / "run_physics.py")], run, str(ROOT)
                given.update(seed=options.seed, data_dir=code / "data" / "datasets")
            command += [f"--{name}={value}" for name, value in given.items()]
            output = folder / f"{run.name}_output.txt"
            title = f"{task}, {rule}, {run.name}"
            ended = processes.run(title, command, where, path, run / "log.txt", output, options.steps, pair > 1)
            facts["runs"].append({"side": side, "pair": pair, **ended})
            if ended["code"]:
                raise ExperimentError(
                    f"the {side} ended with exit code {ended['code']} ({processes.last_line(output)}); all that it "
                    f"printed: {output}; what there is: {folder / 'report.html'}"
                )
    finally:
        write_atomically(folder / numbers.FACTS, lambda file: file.write(json.dumps(facts, indent=1, default=str).encode()))
        if all(numbers.run_folder(folder, side).is_dir() for side in numbers.SIDES):
            report = compare_runs(*(numbers.run_folder(folder, side) for side in numbers.SIDES))
            report.sections.insert(0, numbers.section(folder, facts))
            write_report(report, folder)


def in_turns(pairs: int) -> list[tuple[int, str]]:
    """(pair, side) of the runs in their order: the original first, then in each pair the other one."""
    return [(n, side) for n in range(1, pairs + 1) for side in numbers.SIDES[:: 1 if n % 2 else -1]]


def write_data(options: Any, task: str, folder: Path) -> None:
    """The task's two files in `folder`: one batch of training sequences, and as few as asked for in the other splits."""
    recipe, sizes = RECIPES[task], (options.batch_size, options.test_sequences, options.test_sequences)
    for file, length, seed in ((recipe.train_file, recipe.train_len, 0), (recipe.test_file, recipe.test_len, 1)):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if not options.data_dir:
            make_dataset(task, str(folder / file), length, sizes, seed=options.seed + seed)
            continue
        frames = load_frames(Path(options.data_dir) / file)
        for split, size in zip(SPLITS, sizes):
            if len(frames[split]) < size:
                raise ExperimentError(f"{Path(options.data_dir) / file}: has {len(frames[split])} sequences in {split}_x, need {size}")
        save_dataset(str(folder / file), {f"{split}_x": frames[split][:n] for split, n in zip(SPLITS, sizes)})


def start_weights(task: str, rule: str, seed: int, flags: dict[str, Any]) -> tf1_checkpoint.Arrays:
    """Weights and optimizer slots before the first step, by the original's names."""
    tf.keras.utils.set_random_seed(seed)
    net = PhysicsNet(TASKS[task], autoencoder_loss=float(flags["autoencoder_loss"]))
    net.build_optimizer(float(flags["base_lr"]), rule)
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return {name: variable.numpy() for name, variable in variables.items()}


if __name__ == "__main__":
    main()
