"""How fast it is: a training step, an evaluated batch, time to the first step, memory, arithmetic.

PYTHONPATH=. python runners/run_benchmark.py --tasks=spring_color,3bp_color --batch_sizes=16,100 [--naive] [--json]
PYTHONPATH=. python runners/run_benchmark.py --scale --out=docs         cost against batch size, T, N and H
PYTHONPATH=. python runners/run_benchmark.py --rollout=1000             memory of 100 and of 1000 predicted steps

Each configuration runs in a process of its own, on random frames: no data file is needed. It prints Markdown tables, or
with --json one object. With --out=FOLDER the results are kept in FOLDER/speed.json, by TensorFlow version, and
FOLDER/speed.md and FOLDER/speed.png are drawn anew from all that it holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from physics_models.errors import ExperimentError
from physics_models.tasks import TASKS
from runners import benchmark_report, run_base
from runners.benchmark_measure import Configuration
from runners.run_base import FLAGS, logger

flags.DEFINE_list("tasks", "spring_color,3bp_color,mnist_spring_color", "tasks, separated by commas; or all")
flags.DEFINE_list("batch_sizes", "16,100", "sequences a mini-batch, separated by commas")
flags.DEFINE_integer("steps", 10, "timed steps, after two that are not")
flags.DEFINE_bool("naive", False, "measure the straightforward form of the decoder as well, and the ratio")
flags.DEFINE_bool("scale", False, "measure the cost against batch size, T, N and H instead")
flags.DEFINE_integer("rollout", 0, "measure 100 and this many predicted steps instead")
flags.DEFINE_bool("json", False, "print JSON")
flags.DEFINE_string("out", "", "folder of speed.json, speed.md and speed.png; by default nothing is written")
TAKES = ("device", "jit", "mixed_precision")

# The training step against one size at a time, all else small enough for a laptop. T grows with the predicted frames.
SCALES: dict[str, tuple[str, int, dict[int, dict[str, Any]]]] = {
    "batch": ("spring_color", 0, {b: {} for b in (16, 50, 100, 200, 400)}),
    "T": ("spring_color", 16, {t: {"train_len": t, "pred_steps": t - 6} for t in (12, 25, 50, 100)}),
    "N": ("spring_color", 16, {n: {"n_objs": n} for n in (2, 3, 4, 6, 8)}),
    "N, gravity": ("3bp_color", 16, {n: {"n_objs": n} for n in (2, 4, 8)}),
    "H": ("spring_color", 8, {h: {"img_size": h} for h in (32, 36, 48, 64, 96, 128)}),
}
SCALE_STEPS = {"steps": 5, "warm_up": 1}
ROLLOUT_BATCH = 16


def main(argv: list[str]) -> None:
    """Measure what the flags ask for, and print or write it."""
    configurations = asked_for()
    run_base.log_to_console()
    records = []
    for i, (label, configuration) in enumerate(configurations, 1):
        logger.info("%d of %d: %s", i, len(configurations), describe(configuration))
        records.append({"scale": label, **in_own_process(configuration)})
    if FLAGS.out:
        benchmark_report.write(Path(FLAGS.out), records)
    print(json.dumps(records, indent=1) if FLAGS.json else benchmark_report.markdown(records))


def asked_for() -> list[tuple[str, Configuration]]:
    """(name in `SCALES` or "", configuration) pairs; an `ExperimentError` for flags that make no sense."""
    run_base.check_positive("steps")
    run_base.check_not_negative("rollout")
    run_base.check_device_flag()
    tasks = list(TASKS) if FLAGS.tasks == ["all"] else FLAGS.tasks
    for task in tasks:
        if task not in TASKS:
            raise ExperimentError(f"--tasks={','.join(tasks)}: no task {task}; choose from {', '.join(TASKS)}, or all")
    if not tasks:
        raise ExperimentError("--tasks is empty; give at least one")
    batches = [int(b) if b.isdecimal() else 0 for b in FLAGS.batch_sizes]
    if not batches or 0 in batches:
        raise ExperimentError(f"--batch_sizes={','.join(FLAGS.batch_sizes)}: give whole numbers from 1, as in 16,100")
    options = {name: True for name in ("jit", "mixed_precision") if FLAGS[name].value}
    if FLAGS.scale and FLAGS.rollout:
        raise ExperimentError("--scale and --rollout: choose one")
    if FLAGS.scale:
        return [
            (name, Configuration("train", task, batch or x, changes, **SCALE_STEPS, options=options))
            for name, (task, batch, points) in SCALES.items()
            for x, changes in points.items()
        ]
    if FLAGS.rollout:
        return [
            ("", Configuration(part, task, ROLLOUT_BATCH, steps=1, warm_up=0, rollout=steps, options=options))
            for task in tasks[:1]
            for part in ("predict_frames", "forward")
            for steps in (100, FLAGS.rollout)
        ]
    parts = ("train", "eval", "naive") if FLAGS.naive else ("train", "eval")
    return [
        ("", Configuration(part, task, batch, steps=FLAGS.steps, options=options))
        for task in tasks
        for batch in batches
        for part in parts
    ]


def describe(configuration: Configuration) -> str:
    """One configuration in a few words."""
    changes = [f"{name}={value}" for name, value in configuration.changes.items()]
    rollout = [f"{configuration.rollout} steps"] if configuration.rollout else []
    return ", ".join([configuration.part, configuration.task, f"batch {configuration.batch}", *changes, *rollout])


def in_own_process(configuration: Configuration) -> dict[str, Any]:
    """The numbers of `configuration`, measured by a process that does nothing else."""
    root = str(run_base.repository_root())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    asked = {**asdict(configuration), "device": FLAGS.device, "started": time.time()}
    command = [sys.executable, "-m", "runners.benchmark_measure", json.dumps(asked)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        why = lines[-1].removeprefix("error: ") if lines and ended.returncode > 0 else "killed; out of memory?"
        raise ExperimentError(f"{describe(configuration)}: {why}")
    return json.loads(ended.stdout.splitlines()[-1])


if __name__ == "__main__":
    run_base.run(main)
