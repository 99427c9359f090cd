"""Draw one experiment: its losses and learned parameters, an example and the templates, enlarged.

PYTHONPATH=. python runners/plot_run.py --save_dir=<run> [--out=<dir>]

Writes losses.png, example.png and templates.png to `--out`, and prints a Markdown table of what the log holds.
"""

import math
from pathlib import Path

from absl import flags
from PIL import Image, ImageOps

from physics_models.errors import ExperimentError
from physics_models.experiment import LOG, write_atomically
from physics_models.run_log import RunLog, read_log
from runners import run_base
from runners.plots import Figure, default_style
from runners.run_base import FLAGS, PATH

flags.DEFINE(PATH, "out", "", "folder of the pictures; the experiment's by default")
ACCEPTED_FLAGS = ("save_dir",)

ENLARGE = {"example0.jpg": ("example.png", 2), "templates.jpg": ("templates.png", 6)}
MEANING = {
    "log_k": ("k", 1.0), "log_l": ("rest length, pixels", 2.0), "log_g": ("g", 1.0), "log_a": ("a", 1.0),
    "logsigma": ("sigma", 1.0),
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Plot the run in `--save_dir`; raises `ExperimentError` if it has no training in its log."""
    if not FLAGS.save_dir:
        raise ExperimentError("--save_dir is empty; give the folder of an experiment")
    run = Path(FLAGS.save_dir)
    log = read_log(run / LOG)
    if not log.train_curve():
        raise ExperimentError(f"{run / LOG}: has no line of a training")
    out = Path(FLAGS.out or run)
    out.mkdir(parents=True, exist_ok=True)
    plot_losses(log, out / "losses.png")
    for name, (target, factor) in ENLARGE.items():
        if (run / name).is_file():
            with Image.open(run / name) as image:
                enlarged = ImageOps.scale(image, factor, Image.Resampling.NEAREST)
            write_atomically(out / target, lambda file, enlarged=enlarged: enlarged.save(file, "PNG"))
    print_summary(log)


def physical(parameters: dict[str, float]) -> dict[str, float]:
    """Logged logarithms as the numbers that they stand for: k, rest length (pixels), g, sigma."""
    named = {name.rsplit("/", 1)[-1]: value for name, value in parameters.items()}
    return {MEANING[name][0]: MEANING[name][1] * math.exp(value) for name, value in named.items() if name in MEANING}


@default_style()
def plot_losses(log: RunLog, path: Path) -> None:
    """Training losses by step; validation losses and parameters by epoch. All commands of the log in one curve."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    training, losses, parameters = figure.subplots(1, 3)
    training.plot(*zip(*log.train_curve()), label="train_loss", linewidth=0.8, color="#9aa0a6")
    valid = log.evaluations("valid")
    for axes, curves in ((losses, [e.losses for e in valid]), (parameters, [physical(e.parameters) for e in valid])):
        for name in curves[-1] if curves else ():
            axes.plot([e.epoch for e in valid], [c.get(name, math.nan) for c in curves], "o-", markersize=3, label=name)
    training.set(xlabel="step", yscale="log", ylabel="squared error per frame")
    losses.set(xlabel="epoch", yscale="log")
    parameters.set(xlabel="epoch")
    for axes in filter(lambda axes: axes.lines, figure.axes):
        axes.legend(fontsize=7)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=100))


def print_summary(log: RunLog) -> None:
    """A Markdown table of the last training command, the whole training, and the last three evaluations."""
    trained = [command for command in log.commands if command.train]
    seconds = sum(command.train[-1].time - command.train[0].time for command in trained)
    print(f"| command | `{' '.join(trained[-1].arguments)}` |")
    print(f"| training steps | {log.train_curve()[-1][0]} |")
    print(f"| minutes between the first and the last train line | {seconds / 60:.0f} |")
    for evaluation in [evaluation for command in log.commands for evaluation in command.evaluations][-3:]:
        numbers = {**evaluation.losses, **physical(evaluation.parameters)}
        values = ", ".join(f"{key} {value:.4g}" for key, value in sorted(numbers.items()))
        print(f"| {evaluation.split}, epoch {evaluation.epoch} | {values} |")


def command() -> None:
    """The console command."""
    run_base.run(main)


if __name__ == "__main__":
    command()
