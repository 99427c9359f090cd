"""Reads an experiment's `log.txt`, the original's or this port's: command lines, losses, learned parameters.

A record is `YYYY-MM-DD HH:MM:SS,mmm - tf - MESSAGE`. The command line is one record with an argument per line. The
original's second (test) network adds a second handler to the logger, which then writes every record twice: one that
repeats the one before it, time stamp included, counts once. A resumed run logs some steps and epochs again: the later
line counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
import re
import statistics
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from physics_models.errors import ExperimentError
from physics_models.experiment import PACKAGES, write_atomically

TRUE_WORDS = ("true", "t", "1", "yes", "y")
# The original's flags and their defaults, of runners/run_base.py and of runners/run_physics.py there.
ORIGINAL_DEFAULTS = {
    "epochs": "10", "batch_size": "100", "save_dir": "", "use_ckpt": "false", "ckpt_dir": "", "base_lr": "1e-3",
    "anneal_lr": "true", "optimizer": "rmsprop", "save_every_n_epochs": "5", "eval_every_n_epochs": "1",
    "print_interval": "10", "debug": "false", "test_mode": "false",
    "task": "", "model": "PhysicsNet", "recurrent_units": "100", "lstm_layers": "1", "cell_type": "",
    "encoder_type": "conv_encoder", "decoder_type": "conv_st_decoder", "autoencoder_loss": "0.0", "alt_vel": "false",
    "color": "false", "datapoints": "0",
}  # fmt: skip
BOOLEAN_FLAGS = {name for name, default in ORIGINAL_DEFAULTS.items() if default in ("true", "false")}

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - tf - ", re.ASCII | re.MULTILINE)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_METRICS = re.compile(
    rf"(train - iter(?=.* train_loss=)|valid - epoch|test - epoch)=(\d{{1,18}})((?: [^ =]+={_NUMBER})+)", re.ASCII
)
# ('net/spring_ode_cell/log_k:0', 5.8e-05); NumPy 2 prints the number as np.float32(5.8e-05).
_PAIR = rf"""\(['"]([^'"]+)['"], ({_NUMBER})\)"""
_PAIRS = re.compile(rf"\[(?:{_PAIR}(?:, {_PAIR})*)?\]", re.ASCII)  # empty for a black box
_NUMPY_2 = re.compile(r"(?:np|numpy)\.float\d\d?\(([^()]*)\)", re.ASCII)


class TrainLine(NamedTuple):
    """One line `train - iter=… train_loss=…`; `time` in seconds since 1970, by the log's own clock."""

    step: int
    loss: float
    time: float


class Evaluation(NamedTuple):
    """One line `valid - epoch=…` or `test - epoch=…`, with the parameter line before it."""

    split: str
    epoch: int
    losses: dict[str, float]
    parameters: dict[str, float]
    time: float


@dataclasses.dataclass
class Command:
    """One start of the program, and what it logs until the next start."""

    arguments: list[str]  # the program first; none if the log begins without a command line
    time: float
    train: list[TrainLine] = dataclasses.field(default_factory=list)
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)  # those that no evaluation has followed yet

    @property
    def flags(self) -> dict[str, str]:
        """The flags on the command line; see `read_flags`."""
        return read_flags(self.arguments[1:])

    @property
    def trains(self) -> bool:
        """Whether it trained or validated, rather than only tested."""
        return bool(self.train) or any(e.split == "valid" for e in self.evaluations)


@dataclasses.dataclass
class RunLog:
    """A `log.txt`: its commands, and in `unread` the damaged lines."""

    commands: list[Command] = dataclasses.field(default_factory=list)
    unread: list[str] = dataclasses.field(default_factory=list)

    @property
    def flags(self) -> dict[str, str]:
        """The flags of the last command that trained, or of the last one if none did."""
        given = sorted((c for c in self.commands if c.arguments), key=lambda command: command.trains)
        return given[-1].flags if given else {}

    def train_curve(self) -> list[tuple[int, float]]:
        """(step, train loss) over all commands, by step; with --use_ckpt, steps count on from the last one."""
        curve = {steps + line.step: line.loss for command, steps, _ in self._trainings() for line in command.train}
        return sorted(curve.items())

    def evaluations(self, split: str) -> list[Evaluation]:
        """The evaluations of "test" in the order of the log, or those of "valid" by epoch, counted as the steps are."""
        if split != "valid":
            return [e for c in self.commands for e in c.evaluations if e.split == split]
        found: dict[int, Evaluation] = {}
        for command, _, offset in self._trainings():
            found.update({offset + e.epoch: e for e in command.evaluations if e.split == split})
        return [e._replace(epoch=epoch) for epoch, e in sorted(found.items())]

    def last_parameters(self) -> dict[str, float]:
        """The learned parameters of the last evaluation that has any."""
        given = [e.parameters for c in self.commands for e in c.evaluations if e.parameters]
        return given[-1] if given else {}

    def speed(self) -> float | None:
        """Steps per second: the median over neighbouring train lines without an evaluation between them, or None."""
        rates = []
        for command in self.commands:
            lines = sorted([*command.evaluations, *command.train], key=lambda line: line.time)
            for a, b in zip(lines, lines[1:]):
                if isinstance(a, TrainLine) and isinstance(b, TrainLine) and b.time > a.time and b.step > a.step:
                    rates.append((b.step - a.step) / (b.time - a.time))
        return statistics.median(rates) if rates else None

    def _trainings(self) -> Iterator[tuple[Command, int, int]]:
        """Each command that trains, with what to add to its steps and to its epochs."""
        steps = epochs = next_step = last_epoch = 0
        for command in filter(lambda command: command.trains, self.commands):
            # --resume continues the numbers of the run before; --use_ckpt counts from 0 again, as the original does.
            if command.flags.get("resume", "").lower() not in TRUE_WORDS:
                steps, epochs = next_step, last_epoch
            yield command, steps, epochs
            next_step = max([next_step, *(steps + line.step + 1 for line in command.train)])
            last_epoch = max([last_epoch, *(epochs + e.epoch for e in command.evaluations if e.split == "valid")])


def read_log(path: str | Path) -> RunLog:
    """Reads a `log.txt`; a damaged line, or a last line without an end, counts as unread.

    Raises ExperimentError if the file cannot be read, or has no line in the log's format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ExperimentError(f"{path}: cannot be read ({error.strerror or error})") from error
    end = text.rfind("\n") + 1
    head, *parts = _STAMP.split(text[:end])
    log = RunLog(unread=[*head.splitlines(), text[end:]])
    for (stamp, record), _ in itertools.groupby(zip(parts[::2], parts[1::2])):
        try:
            time = datetime.datetime.strptime(f"{stamp}+0000", "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
        except ValueError:
            log.unread += record.splitlines()
        else:
            _add_record(log, time, *record[:-1].split("\n"))
    if not log.commands:
        raise ExperimentError(f"{path}: no line begins like 'YYYY-MM-DD HH:MM:SS,mmm - tf - ': not a log.txt")
    log.unread = [line for line in log.unread if line.strip()]
    return log


def read_flags(arguments: list[str]) -> dict[str, str]:
    """Flags of a command line in absl's forms: `--name=value`, `--name value`, `--name`, `--noname`, `-name`.

    The last value of each name counts. The original's boolean flags become "true" or "false"; any other flag without a
    value becomes "true". Positional arguments are left out.
    """
    flags: dict[str, str] = {}
    waiting = ""  # a flag that the next argument may give its value
    for argument in itertools.takewhile(lambda argument: argument != "--", arguments):
        if re.match(r"--?[^-.\d]", argument):
            name, equals, value = argument.lstrip("-").partition("=")
            if not equals and name.startswith("no") and name[2:] in BOOLEAN_FLAGS:
                name, value = name[2:], "false"
            elif name in BOOLEAN_FLAGS:
                value = "true" if not equals or value.lower() in TRUE_WORDS else "false"
            flags[name] = value if equals or value else "true"
            waiting = "" if equals or name in BOOLEAN_FLAGS else name
        elif waiting:
            flags[waiting], waiting = argument, ""
    return flags


def flag_differences(first: dict[str, str], second: dict[str, str]) -> list[tuple[str, str | None, str | None]]:
    """Flags whose values differ, as (name, value in `first`, value in `second`), sorted; None where it is not given.

    6e-4 equals 0.0006, and a flag that is not given equals its default.
    """
    rows = []
    for name in sorted(first.keys() | second.keys()):
        a, b = [flags.get(name, ORIGINAL_DEFAULTS.get(name)) for flags in (first, second)]
        with contextlib.suppress(ValueError):
            a, b = float(a or ""), float(b or "")
        if a != b:
            rows.append((name, first.get(name), second.get(name)))
    return rows


def save_code(save_dir: str | Path) -> None:
    """Writes `code.zip` with every `.py` file of the four packages, as the original does."""
    root = Path(__file__).resolve().parent.parent

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for source in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
                archive.write(source, source.relative_to(root))

    write_atomically(Path(save_dir) / "code.zip", write)


def _add_record(log: RunLog, time: float, message: str, *below: str) -> None:
    is_result = message.startswith(("train - ", "valid - ", "test - ", "["))
    if not is_result and (message.endswith(".py") or "".join(below[:1]).startswith("-")):
        log.commands.append(Command([message, *below], time))
        return
    if not log.commands:
        log.commands.append(Command([], time))
    command, plain = log.commands[-1], _NUMPY_2.sub(r"\1", message)
    if found := _METRICS.fullmatch(message):
        kind, count, values = found.groups()
        losses = {name: float(value) for name, value in re.findall(rf" ([^ =]+)=({_NUMBER})", values)}
        if kind.startswith("train"):
            command.train.append(TrainLine(int(count), losses["train_loss"], time))
        else:
            command.evaluations.append(Evaluation(kind.split(" ")[0], int(count), losses, command.parameters, time))
            command.parameters = {}
    elif _PAIRS.fullmatch(plain):
        command.parameters = {name.removesuffix(":0"): float(value) for name, value in re.findall(_PAIR, plain)}
    elif is_result and not message.startswith("[<"):  # the original also lists its variables
        log.unread.append(message)
    log.unread += below
