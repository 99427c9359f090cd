"""The logs of two experiments: flags, losses, learned parameters, speed."""

from __future__ import annotations

import functools
import math

import numpy as np

from physics_models.run_log import ORIGINAL_DEFAULTS, RunLog, flag_differences
from runners.compare.figures import Panel, draw_panels
from runners.compare.report import Block, Paragraph, Picture, Section, Table, number

Logs = tuple[RunLog, RunLog]

LOSSES = ("eval_recons_loss", "eval_pred_loss", "eval_extrap_loss")
MAX_EPOCH_ROWS = 10
# By the last part of a variable's name; lengths are in pixels, times in units of the cells' dt.
MEANINGS = {
    "logsigma": "size at which the decoder pastes a template: larger is smaller",
    "log_k": "spring constant",
    "log_l": "half the spring's rest length, pixels",
    "log_g": "gravitational constant",
    "log_m": "mass",
}


def flags_section(logs: Logs, notes: list[Block]) -> Section:
    """What each log holds and the flags that differ; `notes` say which log could not be read."""
    a, b = map(_log_facts, logs)
    blocks: list[Block] = [*notes, Table(["log", "A", "B"], [[name, a[name], b[name]] for name in a])]
    for letter, log in zip("AB", logs):
        if log.unread:
            line, text = log.unread[0]
            text = f"{letter}: {len(log.unread)} damaged line(s) are left out; the first is line {line}: {text[:80]!r}"
            blocks.append(Paragraph(text, note=True))
        if log.flags and not any(command.trains for command in log.commands):
            blocks.append(Paragraph(f"{letter}'s log has no training: its flags are those of its last test."))
    lacking = " and ".join(letter for letter, log in zip("AB", logs) if not log.flags)
    if lacking:
        text = f"no command line in the log of {lacking}"
        return Section("Flags", text, [*blocks, Paragraph(f"There is {text}: flags cannot be compared.", note=True)])
    rows = [[name, _flag(name, a), _flag(name, b)] for name, a, b in flag_differences(*(log.flags for log in logs))]
    blocks.append(Table(["flag", "A", "B"], rows, "Flags that differ") if rows else Paragraph("All flags are equal."))
    summary = f"{len(rows)} differ: {', '.join(row[0] for row in rows)}" if rows else "equal"
    return Section("Flags", summary, blocks)


def losses_section(logs: Logs) -> Section:
    """The last losses of each kind, the curves, and some epochs of them."""
    blocks: list[Block] = []
    rows, summary = [], "no evaluation in either log"
    for title, pick in (
        ("validation", lambda log: log.evaluations("valid")),
        ("test split of the train file", lambda log: [e for e in log.evaluations("test") if e.epoch > 0]),
        ("test file", lambda log: [e for e in log.evaluations("test") if e.epoch == 0]),
    ):
        last = [evaluations[-1].losses if evaluations else {} for evaluations in map(pick, logs)]
        for loss in LOSSES:
            a, b = (losses.get(loss) for losses in last)
            if a is not None or b is not None:
                rows.append([f"{title}, {loss}", *_pair(a, b)])
                if loss == "eval_pred_loss":
                    summary = f"last eval_pred_loss ({title}): A {number(a)}, B {number(b)}"
    if rows:
        blocks.append(Table(["last evaluation of each kind", "A", "B", "B - A", "B / A"], rows))
    for letter, log in zip("AB", logs):
        if not log.train_curve() and not log.evaluations("valid"):
            blocks.append(Paragraph(f"{letter}'s log has no training or validation lines: no curve."))
        bad = sum(not math.isfinite(loss) for _, loss in log.train_curve())
        if bad:
            blocks.append(Paragraph(f"{letter}: {bad} train losses are not finite; not drawn.", note=True))
    steps = {letter: log.train_curve() for letter, log in zip("AB", logs)}
    panels = [Panel("train_loss", "training step", steps, logarithmic=True)] if any(steps.values()) else []
    losses = [{e.epoch: e.losses for e in log.evaluations("valid")} for log in logs]
    panels += _panels(losses, logarithmic=True) + _panels(_parameter_curves(logs))
    if panels:
        caption = "Losses and learned parameters over training, from the logs: A solid, B dashed"
        blocks.append(Picture(caption, "image/svg+xml", functools.partial(draw_panels, panels)))
    blocks += _epoch_table(losses, "Validation losses by epoch")
    return Section("Losses", summary, blocks)


def parameters_section(logs: Logs) -> Section:
    """The learned parameters at the end and at some epochs; their curves are among those of the losses."""
    last = [_natural_values(log.last_parameters()) for log in logs]
    names = sorted(last[0].keys() | last[1].keys())
    if not names:
        text = "Neither log has a parameter line."
        return Section("Parameters", "none in either log", [Paragraph(text, note=True)])
    rows, summary = [], []
    for name in names:
        a, b = (values.get(name) for values in last)
        rows.append([name, *_pair(a, b), MEANINGS.get(name.split("exp(")[-1].rstrip(")"), "")])
        summary.append(f"{name.split(' = ')[0]} {number(a)} / {number(b)}")
    blocks: list[Block] = [Table(["last parameter line", "A", "B", "B - A", "B / A", "meaning"], rows)]
    blocks += _epoch_table(_parameter_curves(logs), "Parameters by epoch")
    return Section("Parameters", f"A / B: {', '.join(summary)}", blocks)


def speed_section(logs: Logs) -> Section:
    """Steps per second by the logs' time stamps, and how long the training took."""
    speeds = [log.speed() for log in logs]
    rates = [speed.steps_per_second if speed else None for speed in speeds]
    seconds = [log.training_seconds() or None for log in logs]
    rows = [
        ["training steps per second", *_pair(*rates)],
        ["seconds from the first line to the last of trainings", *_pair(*seconds)],
    ]
    caption = "Steps per second: the median over neighbouring train lines. The logs do not name their machines"
    blocks: list[Block] = [Table(["by the log's time stamps", "A", "B", "B - A", "B / A"], rows, caption)]
    for letter, speed in zip("AB", speeds):
        if speed is None or speed.with_evaluations:
            lacks = "an evaluation between all its train lines: its time is included" if speed else "no two train lines"
            blocks.append(Paragraph(f"{letter}'s log has {lacks}.", note=True))
    ratio = f", B / A = {rates[1] / rates[0]:.3g}" if rates[0] and rates[1] else ""
    return Section("Speed", f"steps per second: A {number(rates[0])}, B {number(rates[1])}{ratio}", blocks)


def _log_facts(log: RunLog) -> dict[str, str]:
    return {
        "commands": str(sum(bool(command.arguments) for command in log.commands)),
        "train lines": str(len(log.train_curve())),
        "validations": str(len(log.evaluations("valid"))),
        "tests": str(len(log.evaluations("test"))),
        "lines written twice": str(log.repeated),
    }


def _flag(name: str, value: str | None) -> str:
    if value is None and name not in ORIGINAL_DEFAULTS:
        return "not given"
    return (ORIGINAL_DEFAULTS[name] or "(empty)") + " (default)" if value is None else value or "(empty)"


def _pair(a: float | None, b: float | None) -> list[str]:
    """The cells A, B, B - A, B / A."""
    ratio = b / a if a and b is not None else None
    return [*map(number, (a, b, None if a is None or b is None else b - a, ratio))]


def _natural_values(variables: dict[str, float]) -> dict[str, float]:
    """Variables by the last part of their names; exp(v) for a logarithm v."""
    naturals = {}
    for path, value in variables.items():
        name = path.rsplit("/", 1)[-1]
        if name.startswith("log"):
            name, value = f"{name[3:].lstrip('_')} = exp({name})", math.exp(value) if value < 700 else math.inf
        naturals[name] = value
    return naturals


Curves = list[dict[int, dict[str, float]]]  # A's and B's: values by name, by epoch


def _parameter_curves(logs: Logs) -> Curves:
    return [{e.epoch: _natural_values(e.parameters) for e in log.evaluations("valid")} for log in logs]


def _names(curves: Curves) -> list[str]:
    return sorted({name for curve in curves for values in curve.values() for name in values})


def _panels(curves: Curves, logarithmic: bool = False) -> list[Panel]:
    panels = []
    for name in _names(curves):
        a, b = ([(epoch, values[name]) for epoch, values in curve.items() if name in values] for curve in curves)
        panels.append(Panel(name, "epoch", {"A": a, "B": b}, logarithmic))
    return panels


def _epoch_table(curves: Curves, caption: str) -> list[Block]:
    """At most MAX_EPOCH_ROWS epochs, evenly spread, with A's and B's value of each name."""
    names, epochs = _names(curves), sorted(curves[0].keys() | curves[1].keys())
    picks = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_EPOCH_ROWS)).round().astype(int))
    header = [f"{name.removeprefix('eval_').split(' = ')[0]} {letter}" for name in names for letter in "AB"]
    rows = [
        [str(epoch), *(number(curve.get(epoch, {}).get(name)) for name in names for curve in curves)]
        for epoch in (epochs[i] for i in picks)
    ]
    return [Table(["epoch", *header], rows, caption)] if rows else []
