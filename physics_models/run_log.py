"""Reads an experiment's `log.txt`, the original's or this port's: command lines, losses, learned parameters.

A record is `YYYY-MM-DD HH:MM:SS,mmm - tf - MESSAGE`. The command line is one record with an argument per line. The
original's second (test) network adds a second handler to the logger, so that every later record is written twice: a
record that repeats the one before it, time stamp included, counts once. A run that is killed and resumed logs some
iterations and epochs again: the later line counts.
"""

from __future__ import annotations

import dataclasses
import datetime
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

_START = len("2026-01-31 23:59:59,999 - tf - ")  # of a record
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_METRICS = re.compile(
    rf"(train - iter(?=.* train_loss=)|valid - epoch|test - epoch)=(\d{{1,18}})((?: [^ =]+={_NUMBER})+)", re.ASCII
)
# ('net/spring_ode_cell/log_k:0', 5.8e-05); NumPy 2 prints the number as np.float32(5.8e-05).
_PAIR = rf"""\(['"]([^'"]+)['"], ({_NUMBER})\)"""
_PAIRS = re.compile(rf"\[{_PAIR}(?:, {_PAIR})*\]", re.ASCII)
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
    """One start of the program: its arguments, and what it logs until the next start.

    `arguments[0]` is the program; the list is empty if the log does not begin with a command line. `parameters` is a
    parameter line that no evaluation has followed yet.
    """

    arguments: list[str]
    time: float | None = None
    train: list[TrainLine] = dataclasses.field(default_factory=list)
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    parameters: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def flags(self) -> dict[str, str]:
        """The flags on the command line; see `read_flags`."""
        return read_flags(self.arguments[1:])

    @property
    def trains(self) -> bool:
        """Whether it trained or validated, rather than only tested."""
        return bool(self.train) or any(e.split == "valid" for e in self.evaluations)


class Speed(NamedTuple):
    """Training steps per second: the median over `intervals` pairs of neighbouring train lines.

    `with_evaluations`: there is an evaluation between the lines of each pair, and its time is included.
    """

    steps_per_second: float
    intervals: int
    with_evaluations: bool


@dataclasses.dataclass
class RunLog:
    """A `log.txt`: `repeated` counts the records written twice, `unread` has the damaged lines as (number, text)."""

    commands: list[Command] = dataclasses.field(default_factory=list)
    repeated: int = 0
    unread: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    @property
    def flags(self) -> dict[str, str]:
        """The flags of the last command that trained, or of the last one if none did."""
        given = [c for c in self.commands if c.arguments]
        training = [c for c in given if c.trains] or given
        return training[-1].flags if training else {}

    def train_curve(self) -> list[tuple[int, float]]:
        """(step, train loss) over all commands, by step; with --use_ckpt, steps count on from the last one."""
        curve = {steps + line.step: line.loss for command, steps, _ in self._trainings() for line in command.train}
        return sorted(curve.items())

    def evaluations(self, split: str) -> list[Evaluation]:
        """The evaluations of "test" in the order of the log, or those of "valid" by epoch, counted as the steps are."""
        if split != "valid":
            return [e for c in self.commands for e in c.evaluations if e.split == split]
        found = {
            (offset, e.epoch): e._replace(epoch=offset + e.epoch)
            for command, _, offset in self._trainings()
            for e in command.evaluations
            if e.split == split
        }
        return [found[key] for key in sorted(found)]

    def last_parameters(self) -> dict[str, float]:
        """The learned parameters of the last evaluation that has any."""
        given = [e.parameters for c in self.commands for e in c.evaluations if e.parameters]
        return given[-1] if given else {}

    def training_seconds(self) -> float:
        """Seconds from each training command's first line to its last, evaluations included."""
        total = 0.0
        for command in filter(lambda command: command.trains, self.commands):
            times = [line.time for line in command.train] + [e.time for e in command.evaluations]
            times += [] if command.time is None else [command.time]
            total += max(times) - min(times)
        return total

    def speed(self) -> Speed | None:
        """Steps per second by the log's time stamps; None with fewer than two usable train lines."""
        rates: dict[bool, list[float]] = {False: [], True: []}  # by whether there is an evaluation between two lines
        for command in self.commands:
            marks = [(line.time, 1, line.step) for line in command.train]
            last, evaluated = None, False
            for time, is_train, step in sorted(marks + [(e.time, 0, 0) for e in command.evaluations]):
                if is_train:
                    if last and time > last[0] and step > last[1]:
                        rates[evaluated].append((step - last[1]) / (time - last[0]))
                    last = (time, step)
                evaluated = not is_train
        usable = rates[False] or rates[True]
        return Speed(statistics.median(usable), len(usable), not rates[False]) if usable else None

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
    log = RunLog()
    records: list[tuple[int, float, list[str]]] = []  # line number, time, message and the lines below it
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                time = _seconds(line[:_START])
                if line.endswith("\n") and time is not None:
                    records.append((number, time, [line[_START:-1]]))
                elif line.endswith("\n") and records:
                    records[-1][2].append(line[:-1])
                else:
                    log.unread.append((number, line))
    except OSError as error:
        raise ExperimentError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not records:
        raise ExperimentError(f"{path}: no line begins like 'YYYY-MM-DD HH:MM:SS,mmm - tf - ': not a log.txt")
    for record, before in zip(records, [None, *records]):
        if before and record[1:] == before[1:]:
            log.repeated += 1
        else:
            _add_record(log, *record)
    log.unread = [(number, text.rstrip("\n")) for number, text in log.unread if text.strip()]
    return log


def read_flags(arguments: list[str]) -> dict[str, str]:
    """Flags of a command line in absl's forms: `--name=value`, `--name value`, `--name`, `--noname`, `-name`.

    The last value of each name counts. The original's boolean flags become "true" or "false"; any other flag without a
    value becomes "true". Positional arguments are left out.
    """
    flags: dict[str, str] = {}
    waiting = None
    for argument in arguments:
        if argument == "--":
            break
        if not argument.startswith("-") or re.match(r"-[\d.]", argument):
            if waiting is not None:
                flags[waiting] = argument
            waiting = None
            continue
        name, equals, value = argument.lstrip("-").partition("=")
        if not equals and name.startswith("no") and name[2:] in BOOLEAN_FLAGS:
            name, value = name[2:], "false"
        elif name in BOOLEAN_FLAGS:
            value = "true" if not equals or value.lower() in TRUE_WORDS else "false"
        flags[name] = value if equals or value else "true"
        waiting = None if equals or name in BOOLEAN_FLAGS else name
    return flags


def flag_differences(first: dict[str, str], second: dict[str, str]) -> list[tuple[str, str | None, str | None]]:
    """Flags whose values differ, as (name, value in `first`, value in `second`), sorted; None where it is not given.

    6e-4 equals 0.0006, and a flag that is not given equals its default.
    """
    rows = []
    for name in sorted(first.keys() | second.keys()):
        a, b = (flags.get(name, ORIGINAL_DEFAULTS.get(name)) for flags in (first, second))
        try:
            equal = a == b or float(a or "") == float(b or "")
        except ValueError:
            equal = False
        if not equal:
            rows.append((name, first.get(name), second.get(name)))
    return rows


def save_code(save_dir: str | Path) -> None:
    """Writes `code.zip` with every `.py` file of the four packages, as the original does."""
    root = Path(__file__).resolve().parent.parent

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for source in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
                archive.write(source, source.relative_to(root))

    write_atomically(Path(save_dir) / "code.zip", write)


def _add_record(log: RunLog, number: int, time: float, lines: list[str]) -> None:
    message, *below = lines
    is_other = message.startswith(("train - ", "valid - ", "test - ", "["))
    is_command = not is_other and (message.endswith(".py") or "".join(below[:1]).startswith("-"))
    if is_command:
        log.commands.append(Command([message, *(line for line in below if line.isprintable())], time))
    elif not log.commands:
        log.commands.append(Command([]))
    command, plain = log.commands[-1], _NUMPY_2.sub(r"\1", message)
    if found := _METRICS.fullmatch(message):
        split, count = found.group(1).split(" ")[0], int(found.group(2))
        losses = {name: float(value) for name, value in (word.split("=") for word in found.group(3)[1:].split(" "))}
        if split == "train":
            command.train.append(TrainLine(count, losses["train_loss"], time))
        else:
            command.evaluations.append(Evaluation(split, count, losses, command.parameters, time))
            command.parameters = {}
    elif _PAIRS.fullmatch(plain):
        command.parameters = {name.removesuffix(":0"): float(value) for name, value in re.findall(_PAIR, plain)}
    elif is_other and not message.startswith("[<"):  # the original also lists its variables
        log.unread.append((number, message))
    log.unread += [(n, line) for n, line in enumerate(below, number + 1) if not (is_command and line.isprintable())]


def _seconds(start: str) -> float | None:
    """Seconds since 1970 of the time stamp at a record's start; None if it is no start of a record."""
    try:
        moment = datetime.datetime.strptime(start, "%Y-%m-%d %H:%M:%S,%f - tf - ")
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()
