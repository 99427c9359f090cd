"""Draw one experiment: its losses and learned parameters over time, an example and the templates, enlarged.

PYTHONPATH=. python runners/plot_run.py --save_dir=<run> [--out=<dir>]

Writes losses.png, example.png and templates.png to `--out` (the folder of the run by default), and prints what the log
says of the run, as a Markdown table.
"""

from __future__ import annotations

import math
from pathlib import Path

from absl import flags

from physics_models.errors import ExperimentError
from physics_models.run_log import Command, read_log
from runners import run_base
from runners.run_base import FLAGS

flags.DEFINE_string("out", "", "folder of the pictures; the experiment's by default")
TAKES = ("save_dir",)

ENLARGE = {"example0.jpg": ("example.png", 2), "templates.jpg": ("templates.png", 6)}
MEANING = {"log_k": ("k", 1.0), "log_l": ("rest length, pixels", 2.0), "log_g": ("g", 1.0), "logsigma": ("sigma", 1.0)}


def main(argv: list[str]) -> None:
    """Plot the run in `--save_dir`; raises `ExperimentError` if it has no training in its log."""
    run = Path(FLAGS.save_dir)
    if not FLAGS.save_dir or not run.is_dir():
        raise ExperimentError(f"--save_dir={FLAGS.save_dir}: no such folder; give the folder of an experiment")
    out = Path(FLAGS.out or run)
    command = training_command(run)
    out.mkdir(parents=True, exist_ok=True)
    plot_losses(command, out / "losses.png")
    enlarge_pictures(run, out)
    print("\n".join(f"| {name} | {value} |" for name, value in summary(run, command)))


def training_command(run: Path) -> Command:
    """The last start of the program that trained."""
    trained = [command for command in read_log(run / "log.txt").commands if command.train]
    if not trained:
        raise ExperimentError(f"{run / 'log.txt'}: no line of a training in it")
    return trained[-1]


def physical(parameters: dict[str, float]) -> dict[str, float]:
    """Logged logarithms as the numbers that they stand for: k, rest length (pixels), g, sigma."""
    named = {name.rsplit("/", 1)[-1]: value for name, value in parameters.items()}
    return {MEANING[name][0]: MEANING[name][1] * math.exp(value) for name, value in named.items() if name in MEANING}


def plot_losses(command: Command, path: Path) -> None:
    """Losses (logarithmic) and parameters against hours of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, parameters = figure.subplots(1, 2)
    start = command.train[0].time
    hours = [(line.time - start) / 3600 for line in command.train]
    losses.plot(hours, [line.loss for line in command.train], label="train_loss", linewidth=0.8, color="#9aa0a6")
    valid = [evaluation for evaluation in command.evaluations if evaluation.split == "valid"]
    at = [(evaluation.time - start) / 3600 for evaluation in valid]
    for name in sorted(valid[0].losses) if valid else ():
        losses.plot(at, [evaluation.losses[name] for evaluation in valid], "o-", markersize=3, label=name)
    losses.set(yscale="log", xlabel="hours", ylabel="squared error a frame")
    losses.legend(fontsize=7)
    values = [physical(evaluation.parameters) for evaluation in valid]
    for name in values[0] if values else ():
        parameters.plot(at, [value[name] for value in values], "o-", markersize=3, label=name)
    parameters.set(xlabel="hours")
    parameters.legend(fontsize=7)
    figure.savefig(path, dpi=100)


def enlarge_pictures(run: Path, out: Path) -> None:
    """The first example and the templates, enlarged without smoothing; one that is missing is left out."""
    from PIL import Image

    for name, (target, factor) in ENLARGE.items():
        if (run / name).is_file():
            with Image.open(run / name) as image:
                size = (image.width * factor, image.height * factor)
                image.resize(size, Image.Resampling.NEAREST).save(out / target)


def summary(run: Path, command: Command) -> list[tuple[str, str]]:
    """(what, value) pairs for the table."""
    minutes = (command.train[-1].time - command.train[0].time) / 60
    rows = [
        ("command", "`" + " ".join(command.arguments) + "`"),
        ("training steps", str(command.train[-1].step)),
        ("minutes between the first and the last train line", f"{minutes:.0f}"),
    ]
    ends = {}
    for evaluations in (c.evaluations for c in read_log(run / "log.txt").commands):
        for evaluation in evaluations:
            ends[f"{evaluation.split}, epoch {evaluation.epoch}"] = evaluation
    for where, evaluation in list(ends.items())[-3:]:
        numbers = {**evaluation.losses, **physical(evaluation.parameters)}
        rows.append((where, ", ".join(f"{name} {value:.4g}" for name, value in sorted(numbers.items()))))
    return rows


if __name__ == "__main__":
    run_base.run(main)
