"""What a run of ours is: the marker in its folder, and how an interrupted one is found and gone on with."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physics_models.errors import ExperimentError
from physics_models.run_flags import TRUE_WORDS, read_flags
from physics_models.save_dir import MARKER, delete_leftovers, synchronise, write_atomically

if TYPE_CHECKING:
    from physics_models.checkpoints import Stored
    from physics_models.tasks import Task

VERSION = 1
LOG, METRICS = "log.txt", "metrics.csv"
MAX_MARKER_BYTES = 2**20
# Where a message begins that is none of the loop's: a command line.
COMMAND = re.compile(rb"(?m)^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tf - (?!train - |valid - |test - |\[))")


@dataclass(frozen=True)
class Marker:
    """The file `experiment.json`.

    `run` is a random number that the run's checkpoints carry; `log_length` and `metrics_length` say how long
    log.txt and metrics.csv were when the run began, in bytes; `settings` are its flags by name, and `task` the
    fields of its `Task`.
    """

    run: int
    log_length: int
    metrics_length: int
    settings: dict[str, Any]
    task: dict[str, Any]
    version: int = VERSION


@dataclass(frozen=True)
class CutOff:
    """A run that was cut off: its marker, and its newest checkpoint, if it came to write one."""

    marker: Marker
    stored: Stored | None


def file_lengths(save_dir: str | Path) -> dict[str, int]:
    """How long log.txt and metrics.csv are, bytes; zero for one that is missing."""
    paths = {"log_length": Path(save_dir) / LOG, "metrics_length": Path(save_dir) / METRICS}
    return {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}


def synchronise_logs(save_dir: str | Path) -> None:
    """Have the disk hold log.txt and metrics.csv before a checkpoint says how long they are."""
    for name in (LOG, METRICS):
        path = Path(save_dir) / name
        if path.is_file():
            synchronise(path)


def write_marker(save_dir: str | Path, settings: dict[str, Any], task: Task) -> Marker:
    """Mark `save_dir` as an experiment's folder, and a new run as beginning now."""
    marker = Marker(secrets.randbits(62), settings=settings, task=asdict(task), **file_lengths(save_dir))
    text = json.dumps(asdict(marker), indent=1, sort_keys=True)
    write_atomically(Path(save_dir) / MARKER, lambda file: file.write(text.encode()))
    return marker


def read_marker(save_dir: str | Path) -> Marker | None:
    """The marker of `save_dir`, None if there is none; an `ExperimentError` if it is damaged."""
    path = Path(save_dir) / MARKER
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read(MAX_MARKER_BYTES))
        marker = Marker(**{field.name: content[field.name] for field in fields(Marker)})
        numbers = (marker.run, marker.log_length, marker.metrics_length, marker.version)
        if not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"numbers {numbers}")
        if not (isinstance(marker.settings, dict) and isinstance(marker.task, dict)):
            raise ValueError("settings and task must be objects")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExperimentError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    if marker.version > VERSION:
        raise ExperimentError(f"{path}: written by a later version of this program")
    return marker


def find_cut_off(save_dir: str | Path, settings: dict[str, Any], may_differ: Iterable[str]) -> CutOff | None:
    """The run in `save_dir` to go on with; None if nothing was begun there.

    Raises `ExperimentError` if what lies there is no run of ours, is damaged, or was begun with other `settings`
    (flags by name) than these, leaving aside those that `may_differ`.
    """
    from physics_models import checkpoints

    folder = Path(save_dir)
    marker = read_marker(folder)
    begun = (folder / checkpoints.STATE).is_file()
    if marker is None:
        if begun:
            raise ExperimentError(
                f"--resume: {folder} has no {MARKER}: it is the original's, or not whole; start from its weights "
                "with --use_ckpt=true and another --save_dir"
            )
        return None
    check_settings(folder, marker, settings, may_differ)
    stored = checkpoints.read_newest_whole(folder) if begun else None
    if stored is not None and stored.progress.get("run") != marker.run:
        stored = None  # of an earlier run in this folder, from whose weights this one started
    return CutOff(marker, stored)


def check_settings(folder: Path, marker: Marker, settings: dict[str, Any], may_differ: Iterable[str]) -> None:
    """Raise `ExperimentError` for the first of `settings` that is not as it was."""
    for name in sorted(set(settings) - set(may_differ)):
        if name in marker.settings and marker.settings[name] != settings[name]:
            raise ExperimentError(
                f"--resume: the run in {folder} was begun with --{name}={marker.settings[name]}, not "
                f"{settings[name]}; give the same flags, or another --save_dir"
            )


def prepare(save_dir: str | Path, cut_off: CutOff) -> None:
    """Take back what the run in `save_dir` wrote after its checkpoint: it is going to write that again.

    Another file may be log.txt afterwards: who has it open is to open it again.
    """
    folder = Path(save_dir)
    delete_leftovers(folder)
    progress = cut_off.stored.progress if cut_off.stored else asdict(cut_off.marker)
    cut_log(folder / LOG, progress["log_length"])
    if (folder / METRICS).is_file() and (folder / METRICS).stat().st_size > progress["metrics_length"]:
        os.truncate(folder / METRICS, progress["metrics_length"])


def cut_log(path: Path, length: int) -> None:
    """Cut log.txt back to `length` bytes, but keep what commands with --test_mode have written since."""
    data = path.read_bytes() if path.is_file() else b""
    kept = b"".join(part for part in COMMAND.split(data[length:])[1:] if is_test(part))
    if len(data) > length:
        write_atomically(path, lambda file: file.write(data[:length] + kept))


def is_test(part: bytes) -> bool:
    """Whether `part` of a log, which begins with a command line, is of a command with --test_mode."""
    arguments = part.decode("utf-8", "replace").splitlines()[1:]
    return read_flags(arguments).get("test_mode", "false").lower() in TRUE_WORDS
