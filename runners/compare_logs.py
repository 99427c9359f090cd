"""What two experiments' logs say: flags, losses, learned parameters, speed."""

from __future__ import annotations

import datetime
import functools
import math

import numpy as np

from physics_models.run_flags import ORIGINAL_DEFAULTS, flag_differences
from physics_models.run_log import Evaluation, RunLog
from runners.compare_figures import Panel, draw_panels
from runners.compare_report import MISSING, Block, Paragraph, Picture, Section, Table, number

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
    blocks: list[Block] = [*notes, Table(["log", "A", "B"], [list(row) for row in zip(*_log_facts(logs))])]
    for letter, log in zip("AB", logs):
        if log.unread:
            number_, text = log.examples[0]
            blocks.append(
                Paragraph(
                    f"{letter}: {log.unread} line(s) of the log make no sense and were left out; "
                    f"the first is line {number_}: {text!r}",
                    note=True,
                )
            )
    given = [log.flags for log in logs]
    if not all(given):
        lacking = " and ".join(letter for letter, flags in zip("AB", given) if not flags)
        text = f"no command line in the log of {lacking}"
        return Section("Flags", text, [*blocks, Paragraph(f"There is {text}: flags cannot be compared.", note=True)])
    for letter, log in zip("AB", logs):
        if not any(command.trains for command in log.commands):
            blocks.append(Paragraph(f"{letter}'s log has no training: its flags are those of its last test."))
    rows = [[name, _flag(name, a), _flag(name, b)] for name, a, b in flag_differences(*given)]
    if rows:
        blocks.append(Table(["flag", "A", "B"], rows, "Flags that differ"))
    else:
        blocks.append(Paragraph("All flags are equal."))
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
        last = [evaluations[-1] if evaluations else None for evaluations in map(pick, logs)]
        for loss in LOSSES:
            values = [e.losses.get(loss) if e else None for e in last]
            if values != [None, None]:
                rows.append([f"{title}, {loss}", *map(number, values), *_apart(*values)])
                if loss == "eval_pred_loss":
                    summary = f"last eval_pred_loss ({title}): A {number(values[0])}, B {number(values[1])}"
    if rows:
        blocks.append(Table(["last evaluation of each kind", "A", "B", "B - A", "B / A"], rows))
    for letter, log in zip("AB", logs):
        if not log.train_curve() and not log.evaluations("valid"):
            blocks.append(Paragraph(f"{letter}'s log has no training or validation lines: no curve."))
        bad = sum(not math.isfinite(loss) for _, loss in log.train_curve())
        if bad:
            blocks.append(Paragraph(f"{letter}: {bad} train losses are not finite; not drawn.", note=True))
    a, b = logs
    panels = [Panel("train_loss", "training step", _train_curve(a), _train_curve(b), logarithmic=True)]
    panels += [Panel(loss, "epoch", _loss_curve(a, loss), _loss_curve(b, loss), logarithmic=True) for loss in LOSSES]
    panels = [panel for panel in panels if panel.curve_a or panel.curve_b] + _parameter_panels(logs)
    if panels:
        caption = "Losses and learned parameters over training, from the logs: A solid, B dashed"
        blocks.append(Picture(caption, "image/svg+xml", functools.partial(draw_panels, panels)))
    curves = [{e.epoch: e.losses for e in log.evaluations("valid")} for log in logs]
    blocks += _epoch_table(curves, list(LOSSES), "Validation losses by epoch")
    return Section("Losses", summary, blocks)


def parameters_section(logs: Logs) -> Section:
    """The learned parameters at the end and at some epochs; the losses' plot has their curves."""
    last = [_naturals(log.last_parameters()) for log in logs]
    names = sorted(last[0].keys() | last[1].keys())
    rows, said = [], []
    for shown in names:
        values = [values.get(shown) for values in last]
        meaning = MEANINGS.get(shown.split("exp(")[-1].rstrip(")"), "")
        rows.append([shown, *map(number, values), *_apart(*values), meaning])
        said.append(f"{shown.split(' = ')[0]} {number(values[0])} / {number(values[1])}")
    if not rows:
        text = "Neither log has a parameter line."
        return Section("Parameters", "none in either log", [Paragraph(text, note=True)])
    blocks: list[Block] = [Table(["last parameter line", "A", "B", "B - A", "B / A", "meaning"], rows)]
    curves = [{e.epoch: _naturals(e.parameters) for e in log.evaluations("valid")} for log in logs]
    blocks += _epoch_table(curves, names, "Parameters by epoch")
    return Section("Parameters", f"A / B: {', '.join(said)}", blocks)


def speed_section(logs: Logs) -> Section:
    """Steps a second by the logs' time stamps, and how long the training took."""
    speeds = [log.speed() for log in logs]
    rates = [speed.steps_per_second if speed else None for speed in speeds]
    batches = [_batch_size(log) for log in logs]
    frames = [rate * size if rate and size else None for rate, size in zip(rates, batches)]
    seconds = [log.training_seconds() or None for log in logs]
    rows = [
        ["training steps a second", *map(number, rates), _ratio(*rates)],
        ["sequences a second", *map(number, frames), _ratio(*frames)],
        ["seconds from the first line to the last of trainings", *map(number, seconds), _ratio(*seconds)],
        ["pairs of train lines measured", *(str(s.intervals) if s else MISSING for s in speeds), ""],
    ]
    blocks: list[Block] = [Table(["by the log's time stamps", "A", "B", "B / A"], rows)]
    for letter, speed in zip("AB", speeds):
        if speed is None:
            blocks.append(Paragraph(f"{letter}'s log has no two train lines to measure between.", note=True))
        elif speed.with_evaluations:
            text = f"{letter}: an evaluation lies between all its train lines; its time is included."
            blocks.append(Paragraph(text, note=True))
    blocks.append(
        Paragraph(
            "Steps a second are the median over neighbouring train lines without an evaluation between them. "
            "The logs do not say on which machines they were written."
        )
    )
    summary = f"steps a second: A {number(rates[0])}, B {number(rates[1])}"
    if rates[0] and rates[1]:
        summary += f", B / A = {rates[1] / rates[0]:.3g}"
    return Section("Speed", summary, blocks)


def _log_facts(logs: Logs) -> list[list[str]]:
    facts = [["first command", "commands", "train lines", "validations", "tests", "lines written twice"]]
    for log in logs:
        times = [command.time for command in log.commands if command.time is not None]
        start = "%Y-%m-%d %H:%M:%S"
        utc = datetime.timezone.utc
        facts.append(
            [
                datetime.datetime.fromtimestamp(times[0], utc).strftime(start) if times else MISSING,
                str(len(log.commands)),
                str(len(log.train_curve())),
                str(len(log.evaluations("valid"))),
                str(len(log.evaluations("test"))),
                str(log.repeated),
            ]
        )
    return facts


def _flag(name: str, value: str | None) -> str:
    if value is not None:
        return value or '""'
    return f"{ORIGINAL_DEFAULTS[name] or chr(34) * 2} (default)" if name in ORIGINAL_DEFAULTS else "not given"


def _batch_size(log: RunLog) -> int | None:
    text = log.flags.get("batch_size", ORIGINAL_DEFAULTS["batch_size"]) if log.flags else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _apart(first: float | None, second: float | None) -> list[str]:
    if first is None or second is None:
        return [MISSING, MISSING]
    return [number(second - first), _ratio(first, second)]


def _ratio(first: float | None, second: float | None) -> str:
    return number(second / first) if first and second is not None else MISSING


def _train_curve(log: RunLog) -> list[tuple[float, float]]:
    return [(float(step), loss) for step, loss in log.train_curve()]


def _loss_curve(log: RunLog, loss: str) -> list[tuple[float, float]]:
    return [(float(e.epoch), e.losses[loss]) for e in log.evaluations("valid") if loss in e.losses]


def _naturals(variables: dict[str, float]) -> dict[str, float]:
    """Variables as they are to be read: logarithms undone, under the last parts of their names."""
    naturals = {}
    for name, value in variables.items():
        name = name.rsplit("/", 1)[-1]
        if name.startswith("log"):
            with np.errstate(over="ignore"):
                value = float(np.exp(value))
            name = f"{name[3:].lstrip('_')} = exp({name})"
        naturals[name] = value
    return naturals


def _parameter_panels(logs: Logs) -> list[Panel]:
    """A panel a parameter. A run that was only tested has one value: a level line."""
    curves = [_parameter_curves(log.evaluations("valid")) for log in logs]
    levels = [_naturals(log.last_parameters()) for log in logs]
    return [
        Panel(name, "epoch", *(c.get(name, []) for c in curves), *(level.get(name) for level in levels))  # type: ignore[arg-type]
        for name in sorted(curves[0].keys() | curves[1].keys())
    ]


def _parameter_curves(evaluations: list[Evaluation]) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for evaluation in evaluations:
        for name, value in _naturals(evaluation.parameters).items():
            curves.setdefault(name, []).append((evaluation.epoch, value))
    return curves


def _epoch_table(curves: list[dict[int, dict[str, float]]], names: list[str], caption: str) -> list[Table]:
    """At most MAX_EPOCH_ROWS epochs, evenly spread, with A's and B's value of each name."""
    epochs = sorted(curves[0].keys() | curves[1].keys())
    if len(epochs) > MAX_EPOCH_ROWS:
        last = len(epochs) - 1
        epochs = [epochs[round(i * last / (MAX_EPOCH_ROWS - 1))] for i in range(MAX_EPOCH_ROWS)]
    if not epochs:
        return []
    header = [f"{name.removeprefix('eval_').split(' = ')[0]} {letter}" for name in names for letter in "AB"]
    rows = [
        [str(epoch), *(number(curve.get(epoch, {}).get(name)) for name in names for curve in curves)]
        for epoch in epochs
    ]
    return [Table(["epoch", *header], rows, caption)]
