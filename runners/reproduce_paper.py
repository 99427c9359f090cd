"""Train and measure what the paper reports, and write reproduction.md with tables and pictures.

PYTHONPATH=. python runners/reproduce_paper.py --task=spring_color --seeds=0,1,2,3,4
PYTHONPATH=. python runners/reproduce_paper.py --all

Each seed is a run of run_physics.py with --schedule=staged in `<experiments>/<task>/seed<N>`, and its numbers are
kept in seed<N>.json beside it: what is finished is not run again, what was cut off goes on. Flags of run_physics.py
that are given here go to every run; with `--vel_encoder=gauss_newton --calibrated_coords` the folder is
`<task>-cured`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from absl import flags

from physics_models.command import quiet_start_up
from physics_models.errors import ExperimentError
from physics_models.tasks import TASKS, get_task
from runners import run_base, run_physics, staged_run
from runners.reproduce_report import write_report
from runners.run_base import FLAGS, logger

flags.DEFINE_string("seeds", "", "seeds, with commas between; by default five of spring_color, three of 3bp_color …")
flags.DEFINE_bool("all", False, "all tasks")
flags.DEFINE_bool("collect", False, "train nothing: measure the finished runs of these flags, and report all")
flags.DEFINE_string("experiments", "experiments/paper", "folder of the runs")
flags.DEFINE_string("report_dir", "", "folder of the report; by default that of the runs")

SEEDS = {
    "spring_color": range(5),
    "spring_color_half": range(2),
    "bouncing_balls": range(2),
    "3bp_color": range(3),
    "mnist_spring_color": range(1),
}
# Flags of run_physics.py that go on to every run; the others are set here, or have no part in a staged run.
TAKES = (
    "task", "data_dir", "vel_encoder", "calibrated_coords", "alt_vel", "optimizer", "autoencoder_loss",
    "print_interval", "keep_checkpoints", "tensorboard", "device", "deterministic", "jit", "mixed_precision",
    "guide", "found_below", "tries",
    *(f"{stage}_{part}" for stage in staged_run.STAGE_NAMES for part in ("steps", "batch", "rate")),
)  # fmt: skip


def main(argv: list[str]) -> None:
    """Train what is missing, measure what is not yet measured, and write the report."""
    if not FLAGS.all and not FLAGS.task:
        raise ExperimentError(f"give --task=…, one of {', '.join(TASKS)}, or --all")
    if FLAGS.all and FLAGS.task:
        raise ExperimentError(f"--task={FLAGS.task} and --all: choose one")
    for name in ("vel_encoder", "optimizer"):
        run_base.check_choice(name, run_physics.CHOICES[name])
    tasks = list(SEEDS) if FLAGS.all else [get_task(FLAGS.task).name]
    seeds = {task: chosen_seeds(task) for task in tasks}
    run_base.log_to_console()
    for task in tasks:
        for seed in seeds[task]:
            reproduce(task, seed)
    report = write_report(Path(FLAGS.experiments), Path(FLAGS.report_dir or FLAGS.experiments))
    print(f"report: {report}")


def chosen_seeds(task: str) -> list[int]:
    """The numbers in `--seeds`, or those that the report has for `task`."""
    if not FLAGS.seeds:
        return list(SEEDS[task])
    try:
        return [int(seed) for seed in FLAGS.seeds.split(",")]
    except ValueError as error:
        raise ExperimentError(f"--seeds={FLAGS.seeds}: must be whole numbers with commas between") from error


def variant() -> str:
    """What the folder's name has behind the task's: "-cured" with both cures on, nothing with none."""
    parts = [FLAGS.vel_encoder == "gauss_newton", FLAGS.calibrated_coords]
    return {(True, True): "-cured", (True, False): "-gn", (False, True): "-calibrated"}.get(tuple(parts), "")


def reproduce(task: str, seed: int) -> None:
    """Train and measure one seed of one task, unless its numbers are there already."""
    folder = Path(FLAGS.experiments) / f"{task}{variant()}" / f"seed{seed}"
    numbers = folder.with_suffix(".json")
    if numbers.is_file():
        logger.info("%s: there", numbers)
        return
    trained = True
    if not FLAGS.collect:
        trained = train(task, seed, folder)
    elif not is_finished(folder):
        return
    with quiet_start_up():
        from runners.reproduce_measure import failed_run, measure_run

    data_dir = Path(FLAGS.data_dir) if FLAGS.data_dir else run_base.repository_root() / "data" / "datasets"
    result = measure_run(task, seed, folder, data_dir) if trained else failed_run(task, seed, folder)
    text = json.dumps(result, indent=1)
    from physics_models.save_dir import write_atomically

    write_atomically(numbers, lambda file: file.write(text.encode()))
    logger.info("%s: written", numbers)


def is_finished(folder: Path) -> bool:
    """Whether the run in `folder` has come to its final test."""
    log = folder / "log.txt"
    return log.is_file() and b" - tf - test - epoch=0 " in log.read_bytes()


def train(task: str, seed: int, folder: Path) -> bool:
    """Run run_physics.py to its end; False if it says that the objects were not found with any seed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, run_physics.__file__, f"--task={task}", "--schedule=staged", f"--seed={seed}",
        f"--save_dir={folder}", "--color=true", "--resume=true", *passed_on(),
    ]  # fmt: skip
    logger.info("running: %s", " ".join(command))
    exit_code, last = run_and_show(command)
    if exit_code == 0:
        return True
    if "objects were not found" in last:
        return False
    reason = last.removeprefix("error: ") or f"exit code {exit_code}"
    raise ExperimentError(f"{folder}: training ended with: {reason}")


def run_and_show(command: list[str]) -> tuple[int, str]:
    """Exit code and last line on stderr of `command`, whose stderr is shown as it comes.

    SIGTERM to this process goes on to the command, which saves and ends; it does not stay behind.
    """
    last = ""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        for line in process.stderr or ():
            sys.stderr.write(line)
            last = line.strip() or last
    except KeyboardInterrupt:  # the terminal has told the command, too
        process.communicate()
        raise
    finally:
        exit_code = process.wait()
        signal.signal(signal.SIGTERM, before)
    return exit_code, last


def passed_on() -> list[str]:
    """The flags of run_physics.py that were given here, as arguments."""
    return [f"--{name}={FLAGS[name].value}" for name in TAKES if FLAGS[name].present and name != "task"]


if __name__ == "__main__":
    run_base.run(main)
