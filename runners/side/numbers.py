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
from physics_models.run_log import Command, RunLog
from runners import machine
from runners.compare import arrays
from runners.compare.figures import Panel, draw_panels
from runners.compare.report import MISSING, Block, Paragraph, Picture, Section, Table, number
from runners.reproduce.report import table
from runners.side.processes import log_of

FACTS = "side_by_side.json"
SIDES = ("original", "port")
LOSSES = ("recons", "pred", "extrap")
HEADER = ["", "original", "port", "port - original", "relative"]

Facts = dict[str, Any]


def read_facts(folder: Path) -> Facts:
    """What the command wrote down in `folder`; an `ExperimentError` if it did not, or if that is damaged."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text("utf-8"))
        row(folder, facts)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ExperimentError(f"{path}: not what this command writes ({type(error).__name__}: {error})") from error
    return facts


class Pair:
    """The runs of the original and of the port number `n`, as far as they came; None for what there is not."""

    def __init__(self, folder: Path, facts: Facts, n: int = 1):
        self.folders = [run_folder(folder, side, n) for side in SIDES]
        self.logs = [log_of(each / "log.txt") or RunLog() for each in self.folders]
        self.runs = [next((r for r in facts["runs"] if (r["side"], r["pair"]) == (side, n)), {}) for side in SIDES]
        self.weight = float(facts["flags"]["autoencoder_loss"])

    def step_seconds(self) -> list[float | None]:
        """The median time of a training step, of both: between the lines of neighbouring steps."""
        return [1 / speed if (speed := log.speed()) else None for log in self.logs]

    def start_up(self) -> list[dict[str, float | None]]:
        """Where the time goes that is not spent on training steps, in seconds, of both."""
        found = []
        for log, run, step in zip(self.logs, self.runs, self.step_seconds()):
            first = log.commands[0] if log.commands else Command([], math.nan)
            begin = run.get("started", math.nan)
            line = first.train[0].time if first.train else math.nan
            trained = [e.time for e in first.evaluations if e.split == "test" and e.epoch > 0]
            ended = begin + run.get("seconds", math.nan)
            found.append({
                "from the start of the process to the command line in its log": first.time - begin,
                "from there to the end of the first step, less the time of a step": line - first.time - (step or math.nan),
                "from the end of training to the end of the process: the test file": (trained or [math.nan])[-1] * -1 + ended,
            })  # fmt: skip
        return [{name: None if math.isnan(value) else value for name, value in each.items()} for each in found]

    def graph_seconds(self) -> list[float | None]:
        """From the start of the process to the first training step, of both; see `start_up`."""
        both = [list(each.values())[:2] for each in self.start_up()]
        return [None if None in values else sum(values) for values in both]

    def train_losses(self) -> list[tuple[int, float, float]]:
        """(step, the original's loss, the port's) of every step that both have logged."""
        a, b = (dict(log.train_curve()) for log in self.logs)
        return [(step, a[step], b[step]) for step in sorted(a.keys() & b.keys())]

    def evaluations(self) -> dict[str, tuple[float, float]]:
        """The losses of each evaluation that both have made, "test file, pred": (the original's, the port's)."""
        found: dict[str, tuple[float, float]] = {}
        for title, split, first in (
            ("validation before training", "valid", True), ("validation after", "valid", False),
            ("test split", "test", False), ("test file", "test", True),
        ):  # fmt: skip
            both = [[e.losses for e in log.evaluations(split) if (e.epoch == 0) == first] for log in self.logs]
            if all(both):
                a, b = ({name: losses[-1][f"eval_{name}_loss"] for name in LOSSES} for losses in both)
                for losses in (a, b):
                    losses["pred + weight·recons"] = losses["pred"] + self.weight * losses["recons"]
                found.update({f"{title}, {name}": (a[name], b[name]) for name in a})
        return found

    def parameters(self) -> dict[str, tuple[float, float]]:
        """The learned scalars of both after training: σ, and k and l, or g."""
        a, b = ({k.split("/")[-1]: v for k, v in log.last_parameters().items()} for log in self.logs)
        return {name.replace("log", "").strip("_"): (math.exp(a[name]), math.exp(b[name])) for name in a if name in b}

    def frames(self) -> list[tuple[int, float]]:
        """(frame, the largest difference of a pixel) of the predicted frames of the last evaluation."""
        paths = [folder / "outputs.npz" for folder in self.folders]
        if not all(path.is_file() for path in paths):
            return []
        a, b = map(arrays.load_outputs, paths)
        pairs = arrays.match_sequences(a[0], b[0]) if a[0].shape[1:] == b[0].shape[1:] else []
        if not pairs:
            return []
        errors = arrays.frame_errors(a, b, pairs)
        return list(zip(errors.frames.tolist(), errors.largest.tolist()))

    def weights(self) -> list[tuple[str, float, float]]:
        """(variable, largest difference, that over the variable's largest value) of the learned variables."""
        if not all(log.train_curve() for log in self.logs):  # what lies there are still the weights of the start
            return []
        try:
            a, b = (checkpoints.load(folder).arrays for folder in self.folders)
        except ExperimentError:
            return []
        shared = [name for name in a if name in b and name.startswith("net/") and not tf1_checkpoint.slot_of(name)]
        rows = []
        for name in tf1_checkpoint.in_order(shared):
            apart = float(np.max(np.abs(np.subtract(a[name], b[name], dtype=np.float64))))
            rows.append((name, apart, apart / max(float(np.max(np.abs(a[name]))), 1e-30) if apart else 0.0))
        return rows


def run_folder(folder: Path, side: str, pair: int = 1) -> Path:
    """The folder of one of the runs in `folder`; the first pair gives all but further times."""
    return folder / (side if pair == 1 else f"{side}{pair}")


def all_pairs(folder: Path, facts: Facts) -> list[Pair]:
    """The pairs of runs that were begun."""
    return [Pair(folder, facts, n) for n in range(1, 1 + max((run["pair"] for run in facts["runs"]), default=1))]


def section(folder: Path, facts: Facts) -> Section:
    """The part of the report that the comparison of two experiments alone does not have."""
    pair, flags = Pair(folder, facts), facts["flags"]
    words = " ".join(f"--{name}={value}" for name, value in flags.items())
    blocks: list[Block] = [
        Paragraph(f"A is the original, B the port: the same weights at the start, the same batch at each step; {words}"),
        Paragraph(f"A: {versions(facts)}. B: {machine.describe(facts['port'])}. {facts['note']}".strip()),
    ]
    losses = pair.train_losses()
    if losses:
        curves = {letter: [(line[0], line[i]) for line in losses] for i, letter in ((1, "A"), (2, "B"))}
        apart = [(step, abs(b - a) / abs(a)) for step, a, b in losses]
        panels = [Panel("train_loss", "step", curves), Panel("relative difference", "step", {"A - B": apart})]
        blocks.append(Picture("Training loss by step", "image/svg+xml", functools.partial(draw_panels, panels)))
    frames = [[str(frame), number(largest)] for frame, largest in pair.frames()]
    variables = [[name, number(apart), number(share)] for name, apart, share in pair.weights()]
    spent = [(name, [each[name] for each in pair.start_up()]) for name in pair.start_up()[0]]
    steps = [(f"pair {i}", each.step_seconds()) for i, each in enumerate(all_pairs(folder, facts), 1)]
    for caption, header, rows in (
        ("Training loss by step", ["step", *HEADER[1:]], [[str(step), *compared(a, b)] for step, a, b in losses]),
        ("Evaluation losses", ["evaluation", *HEADER[1:]], named(pair.evaluations())),
        ("Learned parameters", ["parameter", *HEADER[1:]], named(pair.parameters())),
        ("Largest difference of a pixel, by predicted frame of the test file", ["frame", "largest |A - B|"], frames),
        ("Learned variables", ["variable", "largest |A - B|", "over the largest |A|"], variables),
        ("Seconds per step: the median; a pair is one run of each", ["", *SIDES, "ratio"], timed(steps)),
        ("Seconds spent on other things than training steps", ["", *SIDES, "ratio"], timed(spent)),
        ("Peak memory, GB", ["", *SIDES, "ratio"], timed([("", [run.get("peak_gb") for run in pair.runs])])),
    ):
        blocks.append(Table(caption, header, rows) if rows else Paragraph(f"{caption}: not there.", note=True))
    cells = row(folder, facts)
    return Section("Side by side", ", ".join(f"{k} {v}" for k, v in cells.items()), blocks)


def versions(facts: Facts) -> str:
    """What the original ran on."""
    return f"TensorFlow {facts['original']['tensorflow']}, Python {facts['original']['python']}, {facts['commit']}"


def compared(a: float, b: float) -> list[str]:
    """The cells original, port, difference, relative difference."""
    return [number(a), number(b), f"{b - a:.3g}", f"{(b - a) / a:.3g}" if a else MISSING]


def named(pairs: dict[str, tuple[float, float]]) -> list[list[str]]:
    """`compared`, by names."""
    return [[name, *compared(a, b)] for name, (a, b) in pairs.items()]


def timed(rows: list[tuple[str, list[float | None]]]) -> list[list[str]]:
    """Rows of the original's number, the port's, and how many times the port's it is."""
    return [[name, *map(short, (a, b)), short(a / b if a and b else None)] for name, (a, b) in rows]


def short(value: float | None) -> str:
    """A number in three digits."""
    return MISSING if value is None else f"{value:.3g}"


def relative(pairs: list[tuple[float, float]]) -> str:
    """The largest relative difference of these."""
    return short(max((abs(b - a) / abs(a) for a, b in pairs if a), default=None))


def row(folder: Path, facts: Facts) -> dict[str, str]:
    """The line of the table for the runs in `folder`."""
    pair, flags = Pair(folder, facts), facts["flags"]
    tested = [both for name, both in pair.evaluations().items() if name.startswith("test file")]
    steps = [both for each in all_pairs(folder, facts) if None not in (both := each.step_seconds())]
    ratios = sorted(a / b for a, b in steps)
    spread = f" ({short(ratios[0])} – {short(ratios[-1])})" if len(ratios) > 1 else ""
    medians = [short(statistics.median(side)) for side in zip(*steps)] or [MISSING] * 2
    return {
        "task": flags["task"], "optimizer": flags["optimizer"], "B": str(flags["batch_size"]),
        "steps": f"{len(pair.train_losses())} of {flags['epochs']}",
        "train loss": relative([line[1:] for line in pair.train_losses()]), "test losses": relative(tested),
        "pixel": short(max((largest for _, largest in pair.frames()), default=None)),
        "parameters": relative(list(pair.parameters().values())),
        "weights": short(max((share for _, _, share in pair.weights()), default=None)),
        "s a step": " / ".join(medians), "ratio": f"{short(statistics.median(ratios) if ratios else None)}{spread}",
        "start-up, s": " / ".join(map(short, pair.graph_seconds())),
        "memory, GB": " / ".join(short(run.get("peak_gb")) for run in pair.runs),
    }  # fmt: skip


def list_runs(folders: list[Path]) -> list[str]:
    """A Markdown table with a row for each of `folders`, and what they were measured on."""
    found = [(folder, read_facts(folder)) for folder in folders]
    lines = [f"original: {versions(facts)}; port: {machine.describe(facts['port'])}; {facts['note']}" for _, facts in found]
    return [*table([row(*each) for each in found]), "", *dict.fromkeys(line.rstrip("; ") for line in lines)]
