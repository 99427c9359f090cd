"""What two runs side by side say: differences of losses, frames, parameters and weights; time and memory."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from physics_models import checkpoints, tf1_checkpoint
from physics_models.errors import ExperimentError
from physics_models.run_log import RunLog, read_log
from runners import machine
from runners.compare import arrays
from runners.compare.figures import Panel, draw_panels
from runners.compare.report import MISSING, Block, Paragraph, Picture, Section, Table, number, read_both
from runners.reproduce.report import table

FACTS = "side_by_side.json"
CAPTION = "Largest differences, relative but for the pixel's (the port from itself, by rounding); costs A / B"
SIDES = ("original", "port")
AGAIN = "port_again"  # with the batch in another order, which changes nothing but the rounding
BEFORE, MEMORY = "seconds before the first step: imports, graph, first validation", "most memory, GB"
LOSSES = ("recons", "pred", "extrap")

Pair = tuple[float, float]  # the original's number and the port's


class Numbers:
    """The runs `sides` in `folder`, the original's and the port's; what one of them lacks is left out."""

    def __init__(self, folder: Path, sides: tuple[str, str] = SIDES):
        try:
            self.facts = json.loads((folder / FACTS).read_text("utf-8"))
            self.flags, self.runs = self.facts["flags"], self.facts["runs"]
            self.made_with()
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise ExperimentError(f"{folder / FACTS}: not what this command writes ({error})") from error
        self.folder, self.folders = folder, (folder / sides[0], folder / sides[1])
        self.logs = [log_of(each) for each in self.folders]

    def train_losses(self) -> dict[int, Pair]:
        """The training loss of every step that both have logged."""
        a, b = (dict(log.train_curve()) for log in self.logs)
        return {step: (a[step], b[step]) for step in a if step in b}

    def test_losses(self) -> dict[str, Pair]:
        """The losses on the test file: the log's three, and their sum that training is about."""
        both = [[e.losses for e in log.evaluations("test") if e.epoch == 0] for log in self.logs]
        if not all(both):
            return {}
        found = {name: tuple(each[-1][f"eval_{name}_loss"] for each in both) for name in LOSSES}
        weight = float(self.flags["autoencoder_loss"])
        return {**found, f"pred + {weight:g}·recons": tuple(p + weight * r for r, p, _ in zip(*found.values()))}

    def parameters(self) -> list[Pair]:
        """The learned scalars after the last evaluation."""
        a, b = (log.last_parameters() for log in self.logs)
        with np.errstate(over="ignore"):
            return [(float(np.exp(a[name])), float(np.exp(b[name]))) for name in a if name in b]

    def largest_pixel(self) -> float | None:
        """The largest difference of a predicted pixel, in the last evaluation."""
        a, b, _ = read_both(self.folders, "outputs.npz", arrays.load_outputs)
        pairs = arrays.match_sequences(a[0], b[0]) if a and b and self.test_losses() else []
        return float(arrays.frame_errors(a, b, pairs).largest.max()) if pairs else None

    def weights(self) -> list[float]:
        """‖original - port‖ / ‖original‖ of every learned variable."""
        a, b, _ = read_both(self.folders, "checkpoint", lambda path: checkpoints.load(path.parent).arrays)
        if not (a and b and self.test_losses()):  # what lies there may still be the weights of the start
            return []
        learned = [name for name in a if name in b and name.startswith("net/") and not tf1_checkpoint.slot_of(name)]
        return [share(np.linalg.norm(a[name] - b[name]), np.linalg.norm(a[name])) for name in learned]

    def costs(self) -> dict[str, list[float | None]]:
        """Seconds and gigabytes: the median step of each pair of runs, what comes before the first step, and memory."""
        found: dict[str, list[float | None]] = {}
        for n in sorted({run["pair"] for run in self.runs}):
            speeds = [log_of(run_folder(self.folder, side, n)).speed() for side in SIDES]
            found[f"seconds per step, pair {n}"] = [speed and 1 / speed for speed in speeds]
        started = {run["side"]: run["started"] for run in self.runs if run["pair"] == 1}
        starts, tests, peaks = [], [], []
        for side, log in zip(SIDES, self.logs):
            tested = [e.time for e in log.evaluations("test")]
            begun = side in started and log.speed() and log.commands[0].train
            starts.append(begun and log.commands[0].train[0].time - started[side] - 1 / log.speed() or None)
            tests.append(tested[-1] - tested[0] if len(tested) > 1 else None)
            peaks.append(max((run["peak_gb"] or 0 for run in self.runs if run["side"] == side), default=0) or None)
        return {**found, BEFORE: starts, "seconds for the test file: another graph, evaluation": tests, MEMORY: peaks}

    def differences(self) -> dict[str, str]:
        """The largest differences, relative but for the pixel's; of the variables, also the median."""
        weights = self.weights()
        return {
            "train loss": relative(self.train_losses()), "test losses": relative(self.test_losses()),
            "pixel": short(self.largest_pixel()), "parameters": relative(dict(enumerate(self.parameters()))),
            "weights, largest": short(float(np.max(weights)) if weights else None),
            "median": short(float(np.median(weights)) if weights else None),
        }  # fmt: skip

    def row(self) -> dict[str, str]:
        """These runs' line of the table; in brackets, how far the port is from itself by rounding alone."""
        costs, rounding = self.costs(), Numbers(self.folder, ("port", AGAIN)).differences()
        steps = [pair for name, pair in costs.items() if "per step" in name and None not in pair]
        ratios = sorted(a / b for a, b in steps)
        spread = f" ({short(ratios[0])} – {short(ratios[-1])})" if len(ratios) > 1 else ""
        return {
            "task": self.flags["task"], "optimizer": self.flags["optimizer"], "B": str(self.flags["batch_size"]),
            "steps": str(len(self.train_losses())),
            **{name: f"{value} ({rounding[name]})" for name, value in self.differences().items()},
            "s per step": " / ".join(short(statistics.median(side)) for side in zip(*steps)) or MISSING,
            "ratio": short(statistics.median(ratios) if ratios else None) + spread,
            "graph, s": " / ".join(map(short, costs[BEFORE])), "GB": " / ".join(map(short, costs[MEMORY])),
        }  # fmt: skip

    def made_with(self) -> str:
        """Versions, machine and remark."""
        a, b, commit, note = (self.facts[name] for name in ("original", "port", "commit", "note"))
        text = f"Original: {commit}, TensorFlow {a['tensorflow']}, Python {a['python']}; port: {machine.describe(b)}"
        return f"{text}; {note}" if note else text

    def section(self) -> Section:
        """What the report on two experiments has not by itself."""
        losses, row = self.train_losses(), self.row()
        curves = {letter: [(step, pair[i]) for step, pair in losses.items()] for i, letter in enumerate("AB")}
        apart = {"A - B": [(step, share(b - a, a)) for step, (a, b) in losses.items()]}
        panels = [Panel("train_loss", "step", curves), Panel("relative difference", "step", apart)]
        blocks: list[Block] = [
            Paragraph(f"A is the original, B the port, from the same weights and batches. {self.made_with()}."),
            Table(CAPTION, list(row), [list(row.values())]),
            Picture("Training loss", "image/svg+xml", functools.partial(draw_panels, panels)),
        ]
        for title, pairs in (("train_loss", losses), ("test file", self.test_losses()), ("cost", self.costs())):
            rows = [[str(name), number(a), number(b)] for name, (a, b) in pairs.items()]
            for cells, (a, b) in zip(rows, pairs.values()):
                cells += [MISSING] * 2 if None in (a, b) else [f"{b - a:.3g}", short(share(a, b))]
            blocks.append(Table(title, [title, "A", "B", "B - A", "A / B"], rows))
        return Section("Side by side", ", ".join(f"{name} {value}" for name, value in row.items()), blocks)


def run_folder(folder: Path, side: str, pair: int) -> Path:
    """The folder of a run; those of later pairs give times alone."""
    return folder / (side if pair == 1 else f"{side}{pair}")


def is_complete(folder: Path) -> bool:
    """Whether all runs in `folder` came to their end."""
    runs = Numbers(folder).runs if (folder / FACTS).exists() else []
    return {*SIDES, AGAIN} <= {run["side"] for run in runs} and not any(run["code"] for run in runs)


def log_of(folder: Path) -> RunLog:
    """The log in `folder`, empty if it says nothing yet."""
    try:
        return read_log(folder / "log.txt")
    except ExperimentError:
        return RunLog()


def short(value: float | None) -> str:
    """A number in three digits."""
    return MISSING if value is None else f"{value:.3g}"


def relative(pairs: Mapping[Any, Pair]) -> str:
    """The largest relative difference of the `pairs`; nan where one of them is no number."""
    apart = [share(b - a, a) for a, b in pairs.values() if a]
    return short(float(np.max(apart)) if apart else None)


def share(part: float, whole: float) -> float:
    """|`part` / `whole`|; 0 of 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.abs(np.float64(part) / whole)) if part != 0 else 0.0


def list_runs(folder: Path) -> list[str]:
    """A Markdown table of all runs in and below `folder`, and what they were made with."""
    found = [Numbers(path.parent) for path in sorted(folder.rglob(FACTS))]
    if not found:
        raise ExperimentError(f"{folder}: holds no runs of this command")
    return [*table([each.row() for each in found]), "", *dict.fromkeys(each.made_with() for each in found)]
