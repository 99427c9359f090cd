"""Draw one experiment: its losses and learned parameters over time, an example and the templates, enlarged.

PYTHONPATH=. python runners/plot_run.py --save_dir=<run> [--out=<dir>]

Writes losses.png, example.png and templates.png to `--out`, and prints a Markdown table of what the log holds.
"""

import math
from pathlib import Path

from absl import flags
from PIL import Image

from physics_models.errors import ExperimentError
from physics_models.experiment import LOG
from physics_models.run_log import Command, Evaluation, read_log
from runners import run_base
from runners.plots import Figure, default_style
from runners.run_base import FLAGS, PATH

flags.DEFINE(PATH, "out", "", "folder of the pictures; the experiment's by default")
ACCEPTED_FLAGS = ("save_dir",)

ENLARGE = {"example0.jpg": ("example.png", 2), "templates.jpg": ("templates.png", 6)}
MEANING = {"log_k": ("k", 1.0), "log_l": ("rest length, pixels", 2.0), "log_g": ("g", 1.0), "logsigma": ("sigma", 1.0)}


def main(argv: list[str]) -> None:
    """Plot the run in `--save_dir`; raises `ExperimentError` if it has no training in its log."""
    if not FLAGS.save_dir:
        raise ExperimentError("--save_dir is empty; give the folder of an experiment")
    run = Path(FLAGS.save_dir)
    commands = read_log(run / LOG).commands
    trained = [command for command in commands if command.train]
    if not trained:
        raise ExperimentError(f"{run / LOG}: has no line of a training")
    out = Path(FLAGS.out or run)
    out.mkdir(parents=True, exist_ok=True)
    plot_losses(trained[-1], out / "losses.png")
    for name, (target, factor) in ENLARGE.items():
        if (run / name).is_file():
            with Image.open(run / name) as image:
                image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(out / target)
    print_summary(trained[-1], [evaluation for command in commands for evaluation in command.evaluations])


def physical(parameters: dict[str, float]) -> dict[str, float]:
    """Logged logarithms as the numbers that they stand for: k, rest length (pixels), g, sigma."""
    named = {name.rsplit("/", 1)[-1]: value for name, value in parameters.items()}
    return {MEANING[name][0]: MEANING[name][1] * math.exp(value) for name, value in named.items() if name in MEANING}


@default_style()
def plot_losses(command: Command, path: Path) -> None:
    """Losses (logarithmic) and parameters against hours of training."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, parameters = figure.subplots(1, 2)
    start = command.train[0].time
    hours, train_loss = zip(*(((line.time - start) / 3600, line.loss) for line in command.train))
    losses.plot(hours, train_loss, label="train_loss", linewidth=0.8, color="#9aa0a6")
    valid = [evaluation for evaluation in command.evaluations if evaluation.split == "valid"]
    at = [(evaluation.time - start) / 3600 for evaluation in valid]
    for axes, curves in (
        (losses, [evaluation.losses for evaluation in valid]),
        (parameters, [physical(evaluation.parameters) for evaluation in valid]),
    ):
        for name in curves[0] if curves else ():
            axes.plot(at, [values[name] for values in curves], "o-", markersize=3, label=name)
        axes.set_xlabel("hours")
        axes.legend(fontsize=7)
    losses.set(yscale="log", ylabel="squared error per frame")
    figure.savefig(path, dpi=100)


def print_summary(command: Command, evaluations: list[Evaluation]) -> None:
    """A Markdown table of the training `command` and the run's last three `evaluations`."""
    minutes = (command.train[-1].time - command.train[0].time) / 60
    print(f"| command | `{' '.join(command.arguments)}` |")
    print(f"| training steps | {command.train[-1].step} |")
    print(f"| minutes between the first and the last train line | {minutes:.0f} |")
    for evaluation in evaluations[-3:]:
        numbers = {**evaluation.losses, **physical(evaluation.parameters)}
        values = ", ".join(f"{key} {value:.4g}" for key, value in sorted(numbers.items()))
        print(f"| {evaluation.split}, epoch {evaluation.epoch} | {values} |")


def command() -> None:
    """The console command."""
    run_base.run(main)


if __name__ == "__main__":
    command()
