"""The experiment folder: its marker, its lock and log file, files written whole or not at all, and signals."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from physics_models.errors import ExperimentError

PACKAGES = ("nn", "physics_models", "data_gen", "runners")
LOG = "log.txt"
LOG_FORMAT = "%(asctime)s - %(name)s - %(message)s"
LOG_START = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tf - ")
MARKER = "experiment.json"
VERSION = 2
SUMMARIES = "tb"  # the folder for TensorBoard
SCRATCH = ".saving"  # the folder in which a checkpoint is written before it is moved to its place
OWN_FILES = re.compile(
    r"log\.txt|metrics\.csv|experiment\.json|code\.zip|checkpoint|model\.ckpt[-.\w]*|(extra_)?outputs\.npz|"
    r"example\d+\.jpg|templates\.jpg|animation\d*\.gif|objects\.png|"
    r"losses\.png|example\.png|templates\.png|"  # of plot_run.py
    r"report\.(md|html|json)|positions\.csv|prediction\.gif|figure\d\.png|control_[-.\w]+\.(json|gif|png)"
)
LEFTOVER = re.compile(rf"\.({OWN_FILES.pattern})\.\w{{8}}")  # of a write that was killed


# Files


def synchronize(path: str | Path) -> None:
    """Have the disk hold what was written to a file, or the names in a folder, before anything else happens."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Fill a temporary file beside `path` through `write(file)`, then put it in the place of `path`."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def save_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to a compressed .npz, atomically."""

    def write(file: BinaryIO) -> None:
        # As np.savez_compressed, at the compression level that is eight times faster.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write_atomically(path, write)


# The marker


@dataclass(frozen=True)
class Marker:
    """The file `experiment.json`.

    `run` is a random number that the run's checkpoints carry; `settings` are its flags by name; `config` is the
    network's `get_config()`.
    """

    run: int
    settings: dict[str, Any]
    config: dict[str, Any]
    version: int = VERSION


def write_marker(save_dir: str | Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Marker:
    """Mark `save_dir` as the folder of an experiment, in which a new run begins."""
    marker = Marker(secrets.randbits(62), dict(settings), dict(config))
    text = json.dumps(asdict(marker), indent=1, sort_keys=True)
    write_atomically(Path(save_dir) / MARKER, lambda file: file.write(text.encode()))
    return marker


def read_marker(save_dir: str | Path) -> Marker | None:
    """The marker of `save_dir`, None if there is none; an `ExperimentError` if it is damaged."""
    path = Path(save_dir) / MARKER
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        if content["version"] == 1:  # had the network's settings among the flags
            content["config"] = {**content["settings"], "task": content["task"]}
        marker = Marker(**{field.name: content[field.name] for field in fields(Marker)})
        wanted = {"run": int, "settings": dict, "config": dict, "version": int}
        if any(type(getattr(marker, name)) is not kind for name, kind in wanted.items()):
            raise ValueError(f"its entries must be {wanted}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "damaged"
        raise ExperimentError(f"{path}: {what} ({type(error).__name__}: {error})") from error
    if marker.version > VERSION:
        raise ExperimentError(f"{path}: written by a later version of this program")
    return marker


# The log and the lock


class LogFile(logging.FileHandler):
    """Appends the messages of the logger `tf` to log.txt in `save_dir`; those of `tf.note` are for the console alone.

    Holds the folder's lock while it is open. Raises `ExperimentError` if another process holds it, or if the file
    cannot be written, at any message.
    """

    def __init__(self, save_dir: str | Path):
        self.lock_file = lock_folder(save_dir)
        try:
            super().__init__(Path(save_dir) / LOG, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            if self.lock_file is not None:
                os.close(self.lock_file)
            raise ExperimentError(f"{Path(save_dir) / LOG}: cannot be written ({error.strerror})") from error
        self.setFormatter(logging.Formatter(LOG_FORMAT))

    def __enter__(self) -> LogFile:
        """Begin to log."""
        logging.getLogger("tf").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and give the lock back."""
        logging.getLogger("tf").removeHandler(self)
        self.close()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` belongs into the file."""
        return record.name == "tf" and bool(super().filter(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the base class's name
        """Raise what went wrong, where the base class would print a traceback and go on."""
        error = sys.exc_info()[1]
        why = getattr(error, "strerror", None) or error
        raise ExperimentError(f"{self.baseFilename}: cannot be written ({why})") from error

    def close(self) -> None:
        """Close the file; what a full disk has kept in the buffer is lost, as `handleError` has said."""
        with contextlib.suppress(OSError):
            super().close()
        if self.lock_file is not None:
            os.close(self.lock_file)
            self.lock_file = None


def lock_folder(folder: str | Path) -> int | None:
    """Lock `folder` until the returned handle is closed; None where there are no locks.

    Raises `ExperimentError` if another process has locked it.
    """
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ExperimentError(
            f"--save_dir={folder}: another process is at work there; wait for it, or give another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    return handle


# The folder


def is_regular_file(path: Path) -> bool:
    """Whether `path` is a file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def is_experiment(folder: Path) -> bool:
    """Whether `folder` holds an experiment, by our marker or by the original's log and checkpoint."""
    return is_regular_file(folder / MARKER) or all(is_regular_file(folder / name) for name in (LOG, "checkpoint"))


def is_leftover(folder: Path) -> bool:
    """Whether `folder` holds nothing but what a run left that was killed before it wrote its marker."""
    empty = [LOG] if (folder / LOG).is_file() and not (folder / LOG).stat().st_size else []
    return all((e.name in empty or LEFTOVER.fullmatch(e.name)) and is_regular_file(e) for e in folder.iterdir())


def check_usable(save_dir: str | Path) -> None:
    """Raise `ExperimentError` if an experiment's files in `save_dir` would replace files of something else's."""
    folder = Path(save_dir)
    if not folder.is_dir() or is_experiment(folder) or is_leftover(folder):
        return
    own, log = sorted(entry.name for entry in folder.iterdir() if OWN_FILES.fullmatch(entry.name)), folder / LOG
    checkpoint = any(name == "checkpoint" or name.endswith(".index") for name in own)
    # A checkpoint or a log alone is the original's.
    if own and not checkpoint and not (is_regular_file(log) and LOG_START.match(log.open("rb").read(100))):
        raise ExperimentError(
            f"--save_dir={folder}: holds {own[0]}, but no experiment; it is not replaced, choose another folder"
        )


def start_over(save_dir: str | Path, overwrite: bool = False) -> Path | None:
    """Make `save_dir` an empty folder. An experiment that lies there is moved aside to `<save_dir>.bak-<time>`.

    The original deletes whatever lies there. With `overwrite` the old experiment's own files are deleted. Anything
    but an experiment raises `ExperimentError`. Returns where the old one was moved to.
    """
    folder, moved, instead = Path(save_dir), None, "choose another folder"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ExperimentError(f"--save_dir={folder}: a file or a symbolic link is in its place; {instead}")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            whole = folder.resolve()
            if whole in (Path.cwd(), *Path.cwd().parents, Path.home()) or (whole / ".git").exists():
                raise ExperimentError(f"--save_dir={folder}: your home, current or a repository's folder; {instead}")
            if not is_experiment(folder) and not is_leftover(folder):
                raise ExperimentError(f"--save_dir={folder}: holds something else than an experiment; {instead}")
            handle = lock_folder(folder)
            try:
                if overwrite or is_leftover(folder):
                    delete_own_files(folder)
                else:
                    name = f"{folder.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}"
                    name = free_name(name, lambda other: os.path.lexists(folder.with_name(other)))
                    moved = folder.rename(folder.with_name(name))
            finally:
                if handle is not None:
                    os.close(handle)
    except OSError as error:
        raise ExperimentError(f"--save_dir={folder}: cannot be replaced ({error.strerror})") from error
    make_folder(folder)
    return moved


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """`name`, or name-2, name-3, … if that is taken."""
    candidates = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
    return next(candidate for candidate in candidates if not is_taken(candidate))


def delete_own_files(folder: Path) -> None:
    """Delete what an experiment writes into `folder`; nothing else, and through no link."""
    for entry in list(folder.iterdir()):
        if is_regular_file(entry) and OWN_FILES.fullmatch(entry.name):
            entry.unlink()
        elif entry.name in (SUMMARIES, SCRATCH) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
    delete_leftovers(folder)


def delete_leftovers(folder: str | Path) -> None:
    """Delete what writes that were killed left in `folder`."""
    for entry in list(Path(folder).iterdir()):
        if is_regular_file(entry) and LEFTOVER.fullmatch(entry.name):
            entry.unlink()


def make_folder(folder: str | Path) -> None:
    """Create `folder` if need be; an `ExperimentError` if it cannot be made or written to."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExperimentError(f"--save_dir={folder}: cannot be written to ({error.strerror})") from error


# Signals


class Interrupted(Exception):  # noqa: N818, it is no error
    """The training has stopped because signal `number` asked for it; what was to be saved is saved."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number  # 130 for Ctrl-C, 143 for SIGTERM


class StopOnSignal:
    """Within a `with` block the first Ctrl-C, SIGTERM or SIGHUP is noted in `signal` (else 0); a second acts as always.

    Signals that were ignored before (SIGHUP under nohup) stay so. Outside of the main thread it notes nothing.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal != 0

    def __enter__(self) -> StopOnSignal:
        """Begin to note signals."""
        if threading.current_thread() is threading.main_thread():
            for number in [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals to what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: object) -> None:
        self.signal = number
        self.__exit__()
        text = f"\n{signal.Signals(number).name}: stopping after this step; once more stops at once\n"
        with contextlib.suppress(OSError):  # where nobody reads it any more
            os.write(2, text.encode())  # not print: the signal may have come in the middle of one
