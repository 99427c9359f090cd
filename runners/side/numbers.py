"""What two runs side by side say: differences of losses, frames, parameters and weights; time and memory."""

from __future__ import annotations

import functools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from physics_models import checkpoints, tf1_checkpoint
from physics_models.errors import ExperimentError
from physics_models.run_log import RunLog, read_log
from runners import machine
from runners.compare import arrays
from runners.compare.figures import Panel, draw_panels
from runners.compare.report import MISSING, Block, Paragraph, Picture, Section, Table, number
from runners.reproduce.report import table

FACTS = "side_by_side.json"
SIDES = ("original", "port")
EVALUATIONS = {  # the log's split, and whether it is that of epoch 0
    "validation before": ("valid", True), "validation after": ("valid", False),
    "test split": ("test", False), "test file": ("test", True),
}  # fmt: skip

Pair = tuple[float, float]  # the original's number and the port's


class Numbers:
    """The runs in `folder`, of the original and of the port; what one of them lacks is left out."""

    def __init__(self, folder: Path):
        try:
            self.facts = json.loads((folder / FACTS).read_text("utf-8"))
            self.flags, self.runs = self.facts["flags"], self.facts["runs"]
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise ExperimentError(f"{folder / FACTS}: not what this command writes ({error})") from error
        self.folder, self.folders = folder, [folder / side for side in SIDES]
        self.logs = [log_of(each) for each in self.folders]

    def train_losses(self) -> dict[int, Pair]:
        """The training loss of every step that both have logged."""
        a, b = (dict(log.train_curve()) for log in self.logs)
        return {step: (a[step], b[step]) for step in a if step in b}

    def evaluations(self) -> dict[str, Pair]:
        """The four losses of every evaluation that both have made: the log's three, and what they are trained by."""
        weight, found = float(self.flags["autoencoder_loss"]), {}
        for title, (split, first) in EVALUATIONS.items():
            both = [[e.losses for e in log.evaluations(split) if (e.epoch == 0) == first][-1:] for log in self.logs]
            if all(both):
                for name in ("recons", "pred", "extrap"):
                    found[f"{title}, {name}"] = tuple(losses[0][f"eval_{name}_loss"] for losses in both)
                recons, pred = found[f"{title}, recons"], found[f"{title}, pred"]
                found[f"{title}, pred + {weight:g}·recons"] = tuple(p + weight * r for p, r in zip(pred, recons))
        return found

    def parameters(self) -> list[Pair]:
        """The learned scalars after the last evaluation."""
        a, b = (log.last_parameters() for log in self.logs)
        return [(math.exp(a[name]), math.exp(b[name])) for name in a if name in b]

    def largest_pixel(self) -> float | None:
        """The largest difference of a predicted pixel, in the last evaluation."""
        if not all((folder / "outputs.npz").is_file() for folder in self.folders):
            return None
        a, b = (arrays.load_outputs(folder / "outputs.npz") for folder in self.folders)
        pairs = arrays.match_sequences(a[0], b[0])
        return float(arrays.frame_errors(a, b, pairs).largest.max()) if pairs else None

    def largest_weight(self) -> float | None:
        """The largest ‖original - port‖ / ‖original‖ of a learned variable; None if one of them did not train."""
        if not all(log.evaluations("test") for log in self.logs):
            return None
        a, b = (checkpoints.load(folder).arrays for folder in self.folders)
        shared = [name for name in a if name in b and name.startswith("net/") and not tf1_checkpoint.slot_of(name)]
        apart = {name: np.linalg.norm(a[name] - b[name]) for name in shared}
        return max(float(d / np.linalg.norm(a[name])) if d else 0.0 for name, d in apart.items())

    def step_seconds(self) -> list[Pair]:
        """The median seconds of a step in each pair of runs: from one train line to the next."""
        pairs = range(1, 1 + max((run["pair"] for run in self.runs), default=0))
        speeds = [[log_of(run_folder(self.folder, side, n)).speed() for side in SIDES] for n in pairs]
        return [(1 / a, 1 / b) for a, b in speeds if a and b]

    def start_seconds(self) -> list[float | None]:
        """From the start of the process to its first step: imports, graph, first validation."""
        found: list[float | None] = [None, None]
        for i, (side, log) in enumerate(zip(SIDES, self.logs)):
            begin = [run["started"] for run in self.runs if (run["side"], run["pair"]) == (side, 1)]
            if begin and log.speed() and log.commands[0].train:
                found[i] = log.commands[0].train[0].time - begin[0] - 1 / log.speed()
        return found

    def peak_gb(self) -> list[float | None]:
        """The memory that each has held at most."""
        held = [[run["peak_gb"] for run in self.runs if run["side"] == side and run["peak_gb"]] for side in SIDES]
        return [max(each, default=None) for each in held]

    def row(self) -> dict[str, str]:
        """These runs' line of the table."""
        losses, steps = self.train_losses(), self.step_seconds()
        ratios = [a / b for a, b in steps]
        ratio = short(statistics.median(ratios) if ratios else None)
        spread = f" ({short(min(ratios))} – {short(max(ratios))})" if len(ratios) > 1 else ""
        return {
            "task": self.flags["task"], "optimizer": self.flags["optimizer"], "B": str(self.flags["batch_size"]),
            "steps": str(len(losses)), "train loss": relative(losses.values()),
            "test losses": relative(v for name, v in self.evaluations().items() if name.startswith("test file")),
            "pixel": short(self.largest_pixel()), "parameters": relative(self.parameters()),
            "weights": short(self.largest_weight()),
            "s per step": " / ".join(map(short, map(statistics.median, zip(*steps)))) or MISSING,
            "ratio": ratio + spread, "start, s": " / ".join(map(short, self.start_seconds())),
            "memory, GB": " / ".join(map(short, self.peak_gb())),
        }  # fmt: skip

    def made_with(self) -> str:
        """Versions, machine and remark."""
        a, b, commit, note = (self.facts[name] for name in ("original", "port", "commit", "note"))
        text = f"Original: {commit}, TensorFlow {a['tensorflow']}, Python {a['python']}; port: {machine.describe(b)}"
        return f"{text}; {note}" if note else text

    def section(self) -> Section:
        """What the report on two experiments has not by itself; frames and weights one by one are there."""
        losses, row = self.train_losses(), self.row()
        curves = {letter: [(step, pair[i]) for step, pair in losses.items()] for i, letter in enumerate("AB")}
        apart = {"A - B": [(step, abs(b - a) / abs(a)) for step, (a, b) in losses.items()]}
        panels = [Panel("train_loss", "step", curves), Panel("relative difference", "step", apart)]
        times = {f"seconds per step, pair {n}": pair for n, pair in enumerate(self.step_seconds(), 1)}
        more = {"seconds before the first step": self.start_seconds(), "peak memory, GB": self.peak_gb()}
        times.update({title: both for title, both in more.items() if None not in both})
        blocks: list[Block] = [
            Paragraph(f"A is the original, B the port. {self.made_with()}."),
            Table("Largest differences, relative but for the pixel; original / port", list(row), [list(row.values())]),
            Picture("Training loss by step", "image/svg+xml", functools.partial(draw_panels, panels)),
        ]
        for title, pairs in (("Training loss by step", losses), ("Evaluations", self.evaluations()), ("Cost", times)):
            rows = [[str(name), number(a), number(b), f"{b - a:.3g}", short(a / b if b else None)]
                    for name, (a, b) in pairs.items()]  # fmt: skip
            blocks.append(Table(title, [title.split()[-1], "A", "B", "B - A", "A / B"], rows))
        return Section("Side by side", ", ".join(f"{name} {value}" for name, value in row.items()), blocks)


def run_folder(folder: Path, side: str, pair: int) -> Path:
    """The folder of a run; those of later pairs give times alone."""
    return folder / (side if pair == 1 else f"{side}{pair}")


def log_of(folder: Path) -> RunLog:
    """The log in `folder`, empty if it says nothing yet."""
    try:
        return read_log(folder / "log.txt")
    except ExperimentError:
        return RunLog()


def short(value: float | None) -> str:
    """A number in three digits."""
    return MISSING if value is None else f"{value:.3g}"


def relative(pairs: Any) -> str:
    """The largest relative difference of the `pairs`."""
    return short(max((abs(b - a) / abs(a) for a, b in pairs if a), default=None))


def list_runs(folder: Path) -> list[str]:
    """A Markdown table of all runs in and below `folder`, and what they were made with."""
    found = [Numbers(path.parent) for path in sorted(folder.rglob(FACTS))]
    if not found:
        raise ExperimentError(f"{folder}: holds no runs of this command")
    return [*table([each.row() for each in found]), "", *dict.fromkeys(each.made_with() for each in found)]
