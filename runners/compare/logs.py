"""The logs of two experiments: flags, losses, learned parameters, speed."""

from __future__ import annotations

import functools
import math

import numpy as np

from physics_models.run_log import ORIGINAL_DEFAULTS, RunLog, flag_differences
from runners.compare.figures import Panel, draw_panels
from runners.compare.report import MISSING, Block, Paragraph, Picture, Section, Table, number

Logs = tuple[RunLog, RunLog]
Curves = list[dict[int, dict[str, float]]]  # A's and B's: values by name, by epoch

LOSSES = ("eval_recons_loss", "eval_pred_loss", "eval_extrap_loss")
MAX_EPOCH_ROWS = 10
PAIR = ["A", "B", "B - A", "B / A"]


def sections(logs: Logs) -> list[Section]:
    """What the logs of A and B say; an empty log stands for one that cannot be read."""
    return [_flags(logs), _losses(logs), _parameters(logs), _speed(logs)]


def _flags(logs: Logs) -> Section:
    blocks: list[Block] = []
    for letter, log in zip("AB", logs):
        losses = [loss for _, loss in log.train_curve()]
        text = (
            f"{letter}'s log: {sum(bool(command.arguments) for command in log.commands)} command(s), "
            f"{len(losses)} train line(s), {sum(not math.isfinite(loss) for loss in losses)} of them not finite, "
            f"{len(log.evaluations('valid'))} validation(s), {len(log.evaluations('test'))} test(s)."
        )
        blocks.append(Paragraph(text))
        if log.unread:
            text = f"{letter}: {len(log.unread)} damaged line(s) are left out; the first is {log.unread[0][:80]!r}"
            blocks.append(Paragraph(text, note=True))
    lacking = " and ".join(letter for letter, log in zip("AB", logs) if not log.flags)
    if lacking:
        return Section("Flags", f"no command line in the log of {lacking}", blocks)
    rows = [
        [name, *(f"{ORIGINAL_DEFAULTS.get(name, MISSING)} (default)" if value is None else value for value in values)]
        for name, *values in flag_differences(*(log.flags for log in logs))
    ]
    blocks.append(Table("Flags that differ", ["flag", "A", "B"], rows) if rows else Paragraph("All flags are equal."))
    summary = f"{len(rows)} differ: {', '.join(row[0] for row in rows)}" if rows else "equal"
    return Section("Flags", summary, blocks)


def _losses(logs: Logs) -> Section:
    """The last losses of each kind, the curves of losses and parameters, and some epochs of both."""
    rows, summary = [], "no evaluation in either log"
    for title, split, trained in (
        ("validation", "valid", (True, False)),
        ("test split of the train file", "test", (True,)),
        ("test file", "test", (False,)),
    ):
        chosen = [[e.losses for e in log.evaluations(split) if (e.epoch > 0) in trained] for log in logs]
        for loss in LOSSES:
            a, b = (losses[-1].get(loss) if losses else None for losses in chosen)
            if a is not None or b is not None:
                rows.append([f"{title}, {loss}", *_pair(a, b)])
                if loss == "eval_pred_loss":
                    summary = f"last eval_pred_loss ({title}): A {number(a)}, B {number(b)}"
    curves = [
        {e.epoch: {**e.losses, **_natural_values(e.parameters)} for e in log.evaluations("valid")} for log in logs
    ]
    panels = [Panel("train_loss", "training step", {letter: log.train_curve() for letter, log in zip("AB", logs)})]
    for name in _names(curves):
        a, b = ([(epoch, values[name]) for epoch, values in curve.items() if name in values] for curve in curves)
        panels.append(Panel(name, "epoch", {"A": a, "B": b}))
    caption = "Losses and learned parameters over training, from the logs: A solid, B dashed"
    blocks = [
        Table("Last evaluation of each kind", ["evaluation", *PAIR], rows),
        Picture(caption, "image/svg+xml", functools.partial(draw_panels, panels)),
        _epoch_table(curves),
    ]
    return Section("Losses", summary, blocks)


def _parameters(logs: Logs) -> Section:
    last = [_natural_values(log.last_parameters()) for log in logs]
    names = sorted(last[0].keys() | last[1].keys())
    if not names:
        return Section("Parameters", "none in either log", [])
    pairs = {name: [values.get(name) for values in last] for name in names}
    caption = "Last parameter line; l is half the spring's rest length in pixels, a larger sigma pastes smaller objects"
    table = Table(caption, ["parameter", *PAIR], [[name, *_pair(*pair)] for name, pair in pairs.items()])
    texts = [f"{name.split(' = ')[0]} {number(a)} / {number(b)}" for name, (a, b) in pairs.items()]
    return Section("Parameters", f"A / B: {', '.join(texts)}", [table])


def _speed(logs: Logs) -> Section:
    a, b, *change = _pair(*(log.speed() for log in logs))
    caption = "By the logs' time stamps: the median over neighbouring train lines without an evaluation between them"
    table = Table(caption, ["speed", *PAIR], [["training steps per second", a, b, *change]])
    return Section("Speed", f"steps per second: A {a}, B {b}, B / A = {change[1]}", [table])


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


def _names(curves: Curves) -> list[str]:
    return sorted({name for curve in curves for values in curve.values() for name in values})


def _epoch_table(curves: Curves) -> Table:
    """At most MAX_EPOCH_ROWS epochs, evenly spread, with A's and B's value of each name."""
    names, epochs = _names(curves), sorted(curves[0].keys() | curves[1].keys())
    picks = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_EPOCH_ROWS)).round().astype(int))
    short = [name.split(" = ")[0].removeprefix("eval_").removesuffix("_loss") for name in names]
    header = ["epoch", *(f"{name} {letter}" for name in short for letter in "AB")]
    rows = [
        [str(epoch), *(number(curve.get(epoch, {}).get(name)) for name in names for curve in curves)]
        for epoch in (epochs[i] for i in picks)
    ]
    return Table("Validations: losses and parameters by epoch", header, rows)
