"""Reads an experiment's `log.txt`, the original's or this port's, into curves, parameters and flags.

The original writes the file in `nn/utils/misc.py` (`log_metrics`) and `nn/network/base.py`. A line is
`YYYY-MM-DD HH:MM:SS,mmm - tf - MESSAGE`; the command line is one message with one argument a line. Its second
(test) network adds a second handler to the same logger, so that every later record stands twice: records that
repeat the one before them, time stamp and all, are counted once.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from physics_models.errors import ExperimentError
from physics_models.run_flags import TRUE_WORDS, read_flags

# A night's log is a few megabytes; the bounds keep a damaged file from filling the memory.
MAX_FILE_BYTES = 64 * 2**20
MAX_LINE_BYTES = 2**20
MAX_ARGUMENTS = 1000
UNREAD_EXAMPLES = 5

_RECORD = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d),(\d{3}) - tf - (.*)", re.ASCII)
_NUMBER = r"[-+]?(?:\d{1,400}(?:\.\d{0,400})?(?:[eE][-+]?\d{1,4})?|nan|inf)"
_INTEGER = re.compile(r"\d{1,18}", re.ASCII)
_FLOAT = re.compile(_NUMBER, re.ASCII)
# ('net/spring_ode_cell/log_k:0', 5.8e-05) as NumPy 1 prints it, np.float32(5.8e-05) as NumPy 2 does.
_PARAMETER = re.compile(
    rf"""\((['"])([^'"]{{1,500}})\1, (?:(?:np|numpy)\.float\d\d?\(({_NUMBER})\)|({_NUMBER}))\)""", re.ASCII
)


class TrainLine(NamedTuple):
    """One `train - iter=… train_loss=…` line; `time` in seconds since 1970, by the log's own clock."""

    step: int
    loss: float
    time: float


class Evaluation(NamedTuple):
    """One `valid - epoch=…` or `test - epoch=…` line, with the parameter line that came before it."""

    split: str
    epoch: int
    losses: dict[str, float]
    parameters: dict[str, float]
    time: float


@dataclasses.dataclass
class Command:
    """One start of the program: its arguments and what it logged until the next start.

    `arguments[0]` is the program; no arguments at all means that the log does not begin with a command line.
    """

    arguments: list[str]
    time: float | None = None
    train: list[TrainLine] = dataclasses.field(default_factory=list)
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)

    @property
    def flags(self) -> dict[str, str]:
        """The flags that were given, as `read_flags` reads them."""
        return read_flags(self.arguments[1:])

    @property
    def trains(self) -> bool:
        """Whether it trained or validated, rather than only tested."""
        return bool(self.train) or any(e.split == "valid" for e in self.evaluations)


class Speed(NamedTuple):
    """Training steps a second: the median over `intervals` pairs of neighbouring train lines.

    `with_evaluations` says that no pair was free of an evaluation, whose time is then included.
    """

    steps_per_second: float
    intervals: int
    with_evaluations: bool


@dataclasses.dataclass
class RunLog:
    """All that a `log.txt` says; `unread` counts lines that make no sense, `examples` has the first few."""

    commands: list[Command]
    repeated: int = 0
    unread: int = 0
    examples: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    @property
    def flags(self) -> dict[str, str]:
        """The flags of the last command that trained, or of the last one if none did."""
        training = [c for c in self.commands if c.trains and c.arguments]
        given = training or [c for c in self.commands if c.arguments]
        return given[-1].flags if given else {}

    def train_curve(self) -> list[tuple[int, float]]:
        """(step, train loss) over all commands; steps of a continued training count on from the last."""
        return [(steps + line.step, line.loss) for run, steps, _ in self._stretches() for line in run.train]

    def evaluations(self, split: str) -> list[Evaluation]:
        """Evaluations of `split` in the order of the log; epochs of a continued training count on."""
        if split != "valid":
            return [e for c in self.commands for e in c.evaluations if e.split == split]
        return [
            e._replace(epoch=offset + e.epoch)
            for command, _, offset in self._stretches()
            for e in command.evaluations
            if e.split == split
        ]

    def last_parameters(self) -> dict[str, float]:
        """The learned parameters on the log's last parameter line that goes with an evaluation."""
        given = [e.parameters for c in self.commands for e in c.evaluations if e.parameters]
        return given[-1] if given else {}

    def training_seconds(self) -> float:
        """Seconds from each training command's first line to its last, evaluations included."""
        total = 0.0
        for command in self.commands:
            if command.trains:
                times = [line.time for line in command.train] + [e.time for e in command.evaluations]
                times += [] if command.time is None else [command.time]
                total += max(times) - min(times)
        return total

    def speed(self) -> Speed | None:
        """Steps a second by the log's own time stamps; None with fewer than two usable train lines."""
        clean: list[float] = []
        crossing: list[float] = []
        for command in self.commands:
            # Merged by time, a pair of train lines with nothing between them is training and nothing else.
            marks = [(line.time, 1, line.step) for line in command.train]
            marks = sorted(marks + [(e.time, 0, 0) for e in command.evaluations])
            last = crossed = None
            for time, is_train, step in marks:
                if not is_train:
                    crossed = True
                    continue
                if last is not None and time > last[0] and step > last[1]:
                    (crossing if crossed else clean).append((step - last[1]) / (time - last[0]))
                last, crossed = (time, step), False
        rates = clean or crossing
        return Speed(statistics.median(rates), len(rates), not clean) if rates else None

    def _stretches(self) -> Iterator[tuple[Command, int, int]]:
        """Each training command with what to add to its steps and its epochs."""
        next_step = last_epoch = 0
        for command in self.commands:
            if not command.trains:
                continue
            # --resume goes on with the old numbers; --use_ckpt, like the original, counts from 0 again.
            resumed = command.flags.get("resume", "false").lower() in TRUE_WORDS
            steps, epochs = (0, 0) if resumed else (next_step, last_epoch)
            yield command, steps, epochs
            next_step = max([next_step] + [steps + line.step + 1 for line in command.train])
            valid = [epochs + e.epoch for e in command.evaluations if e.split == "valid"]
            last_epoch = max([last_epoch] + valid)


def read_log(path: str | Path) -> RunLog:
    """Reads a `log.txt`.

    Damaged lines are counted, not fatal: the log of a machine that died may end in the middle of one.

    Args:
      path: the file.

    Returns:
      What it says.

    Raises:
      ExperimentError: the file cannot be read, is larger than 64 MB, or has no line in the log's format.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise ExperimentError(
                    f"{path}: {size / 2**20:.0f} MB, but a log is read up to {MAX_FILE_BYTES // 2**20} MB: "
                    f"is it another file, or damaged?"
                )
            reader = _LogReader()
            for number, line, whole in _lines(file):
                reader.take(number, line, whole)
    except OSError as error:
        raise ExperimentError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not reader.records:
        raise ExperimentError(f"{path}: no line begins like 'YYYY-MM-DD HH:MM:SS,mmm - tf - ': not a log.txt")
    return reader.finish()


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | None, bool]]:
    """(number, text, has an end) of each line; None instead of a text longer than MAX_LINE_BYTES."""
    number = 0
    while True:
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            return
        number += 1
        too_long = len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")
        while too_long and line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        text = None if too_long else line.rstrip(b"\r\n").decode("utf-8", "replace")
        yield number, text, line.endswith(b"\n")


class _LogReader:
    """Takes lines one by one and builds the RunLog."""

    def __init__(self) -> None:
        self.records = 0
        self._log = RunLog(commands=[])
        self._previous: tuple[float, str] | None = None
        self._repeating = False
        self._open: Command | None = None
        self._open_at = 0
        self._parameters: dict[str, float] = {}

    def take(self, number: int, text: str | None, whole: bool) -> None:
        """Takes one line; None stands for one that is too long, `whole` is false for a last one without an end."""
        found = _RECORD.fullmatch(text) if text is not None else None
        if text is None or found is None:
            self._take_continuation(number, text, whole)
            return
        time = _seconds(found.groups()[:7])
        if time is None:
            self._unread(number, text)
            return
        message = found.group(8)
        self.records += 1
        self._close_command()
        repeats = (time, message) == self._previous
        self._previous = (time, message)
        if not message.startswith(("train - ", "valid - ", "test - ", "[")):
            self._open, self._open_at = Command([message], time), number
        elif not whole:
            # Cut off, by a full disk say; a number at its end may have lost digits.
            self._unread(number, message)
        elif repeats:
            self._log.repeated += 1
        else:
            self._take_message(number, time, message)

    def finish(self) -> RunLog:
        """The log, after the last line."""
        self._close_command()
        return self._log

    def _take_message(self, number: int, time: float, message: str) -> None:
        if message.startswith(("train - ", "valid - ", "test - ")):
            if not self._take_metrics(time, message):
                self._unread(number, message)
        elif message.startswith(("[('", '[("')):
            parameters = _read_parameters(message)
            if parameters is None:
                self._unread(number, message)
            else:
                self._parameters = parameters

    def _take_metrics(self, time: float, message: str) -> bool:
        words = message.split(" ")
        split, count = words[0], words[2]
        metrics = {}
        for word in words[3:]:
            name, _, value = word.partition("=")
            if not name or not _FLOAT.fullmatch(value):
                return False
            metrics[name] = float(value)
        name, _, value = count.partition("=")
        if name != ("iter" if split == "train" else "epoch") or not _INTEGER.fullmatch(value) or not metrics:
            return False
        if not self._log.commands:
            self._log.commands.append(Command([]))
        command = self._log.commands[-1]
        if split != "train":
            command.evaluations.append(Evaluation(split, int(value), metrics, self._parameters, time))
            self._parameters = {}
        elif "train_loss" in metrics:
            command.train.append(TrainLine(int(value), metrics["train_loss"], time))
        else:
            return False
        return True

    def _take_continuation(self, number: int, text: str | None, whole: bool) -> None:
        command = self._open
        if text is None:
            self._unread(number, f"(longer than {MAX_LINE_BYTES} bytes)")
        elif command is None or not whole or not text.isprintable() or len(command.arguments) > MAX_ARGUMENTS:
            self._unread(number, text)
        else:
            command.arguments.append(text)

    def _close_command(self) -> None:
        command, self._open = self._open, None
        if command is None:
            return
        program, *rest = command.arguments
        if not program.endswith(".py") and not (rest and rest[0].startswith("-")):
            # A message of another kind; what stands below it is no argument.
            for number, text in enumerate(rest, self._open_at + 1):
                self._unread(number, text)
            return
        last = self._log.commands[-1] if self._log.commands else None
        if last and (last.arguments, last.time) == (command.arguments, command.time):
            self._log.repeated += 1
        else:
            self._log.commands.append(command)
            self._parameters = {}

    def _unread(self, number: int, text: str) -> None:
        if text.strip():
            self._log.unread += 1
            if len(self._log.examples) < UNREAD_EXAMPLES:
                self._log.examples.append((number, text[:80]))


def _seconds(fields: tuple[str, ...]) -> float | None:
    year, month, day, hour, minute, second, milli = map(int, fields)
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, 1000 * milli)
    except ValueError:
        return None
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def _read_parameters(message: str) -> dict[str, float] | None:
    """{'net/spring_ode_cell/log_k': value} from a parameter line of either format; None if it is damaged."""
    parameters = {}
    at, end = 1, len(message) - 1
    while found := _PARAMETER.match(message, at):
        name = found.group(2)
        parameters[name[:-2] if name.endswith(":0") else name] = float(found.group(3) or found.group(4))
        at = found.end()
        if at == end and message.endswith("]"):
            return parameters
        if not message.startswith(", ", at):
            return None
        at += 2
    return None
