"""The experiment folder: what may lie in it, its log, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from physics_models.errors import ExperimentError

LOG_FORMAT = "%(asctime)s - %(name)s - %(message)s"
LOG_START = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tf - ")
PACKAGES = ("nn", "physics_models", "data_gen", "runners")
MARKER = "experiment.json"  # written by every run of ours; see `physics_models.experiment`
OWN_FILES = re.compile(
    r"log\.txt|metrics\.csv|experiment\.json|code\.zip|checkpoint|model\.ckpt[-.\w]*|(extra_)?outputs\.npz|"
    r"example\d+\.jpg|templates\.jpg|animation\d*\.gif"
)
LEFTOVER = re.compile(rf"\.({OWN_FILES.pattern})\.\w{{8}}")  # of a write that was killed
SUMMARIES = "tb"  # the folder for TensorBoard
SUMMARY_FILE = re.compile(r"events\.out\.tfevents\..*")
SCRATCH = ".saving"  # the folder in which a checkpoint is written before it is put in its place


def synchronise(path: str | Path) -> None:
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


def save_code(save_dir: str | Path) -> None:
    """Write `code.zip` with every `.py` file of the project, as the original does."""
    root = Path(__file__).resolve().parent.parent

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for package in PACKAGES:
                for source in sorted((root / package).glob("**/*.py")):
                    archive.write(source, source.relative_to(root))

    write_atomically(Path(save_dir) / "code.zip", write)


class LogFile(logging.FileHandler):
    """Appends the messages of the logger `tf` itself to a file; those of `tf.note` are for the console alone.

    Only one process at a time may: the constructor raises `ExperimentError` if another one has it open.
    """

    def __init__(self, path: Path):
        try:
            super().__init__(path, encoding="utf-8")
        except OSError as error:
            raise ExperimentError(f"{path}: cannot be written ({error.strerror})") from error
        if self.stream is not None and not (lock(self.stream) and lies_at(path, self.stream)):
            super().close()
            raise ExperimentError(
                f"{path.parent}: another process is at work there; wait for it, or give another --save_dir"
            )

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` belongs into the file."""
        return record.name == "tf" and bool(super().filter(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the base class's name
        """Raise what went wrong, where the base class would print a traceback and go on."""
        error = sys.exc_info()[1]
        reason = getattr(error, "strerror", None) or error
        raise ExperimentError(f"{self.baseFilename}: cannot be written ({reason})") from error

    def close(self) -> None:
        """Close the file; what a full disk has kept in the buffer is lost, as `handleError` has said."""
        with contextlib.suppress(OSError):
            super().close()


def lock(file: IO[Any]) -> bool:
    """Lock `file` until it is closed; False if another process has it. Where there are no locks: True."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def lies_at(path: Path, file: IO[Any]) -> bool:
    """Whether `path` is still the open `file`, and no other process has put another one in its place meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def open_log(save_dir: str | Path) -> logging.Handler:
    """Append the messages of the logger `tf` to `log.txt`; returns the handler, for `close_log`.

    Raises `ExperimentError` if it cannot be written, or if another process writes it.
    """
    handler = LogFile(Path(save_dir) / "log.txt")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger("tf").addHandler(handler)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Stop writing to the log that `open_log` opened."""
    logging.getLogger("tf").removeHandler(handler)
    handler.close()


def is_own(entry: Path) -> bool:
    """Whether `entry` of an experiment folder is something that an experiment writes."""
    if entry.is_symlink():
        return False
    if entry.is_dir():
        summaries = entry.name == SUMMARIES
        return entry.name == SCRATCH or (
            summaries and all(SUMMARY_FILE.fullmatch(e.name) and is_plain(e) for e in entry.iterdir())
        )
    return entry.is_file() and bool(OWN_FILES.fullmatch(entry.name) or LEFTOVER.fullmatch(entry.name))


def is_plain(entry: Path) -> bool:
    """Whether `entry` is a file, and no link to one."""
    return entry.is_file() and not entry.is_symlink()


def foreign_entries(folder: Path) -> list[str]:
    """The names in `folder` that no experiment writes."""
    return sorted(entry.name for entry in folder.iterdir() if not is_own(entry))


def is_experiment(folder: Path) -> bool:
    """Whether `folder` holds an experiment, by our marker or by the original's log and checkpoint."""
    return is_plain(folder / MARKER) or (is_plain(folder / "log.txt") and is_plain(folder / "checkpoint"))


def is_barely_begun(folder: Path) -> bool:
    """Whether a run in `folder` was killed before it wrote its marker: an empty log.txt, and leftovers at most."""
    log = folder / "log.txt"
    others = [entry for entry in folder.iterdir() if entry != log]
    return is_plain(log) and not log.stat().st_size and all(is_own(e) and LEFTOVER.fullmatch(e.name) for e in others)


def check_usable(save_dir: str | Path) -> None:
    """Raise `ExperimentError` if an experiment's files in `save_dir` would replace files of something else's."""
    folder = Path(save_dir)
    if not folder.is_dir() or is_experiment(folder) or is_plain(folder / "checkpoint"):
        return
    if is_barely_begun(folder):
        return
    if is_plain(folder / "log.txt"):
        with open(folder / "log.txt", "rb") as log:
            if LOG_START.match(log.read(100)):
                return  # the original's, of a test or from before the first checkpoint
    for entry in sorted(folder.iterdir()):
        if OWN_FILES.fullmatch(entry.name):
            raise ExperimentError(
                f"--save_dir={folder}: holds {entry.name}, but no experiment; it is not replaced, choose another folder"
            )


def check_replaceable(folder: Path) -> None:
    """Raise `ExperimentError`, saying why, unless `folder` holds an experiment and nothing else."""
    refused = f"--save_dir={folder}: is not replaced: it"
    instead = "; choose another folder"
    whole = folder.resolve()
    if whole == Path(whole.anchor):
        raise ExperimentError(f"{refused} is the root of the file system{instead}")
    if whole == Path.home().resolve():
        raise ExperimentError(f"{refused} is your home folder{instead}")
    if whole == Path.cwd() or whole in Path.cwd().parents:
        raise ExperimentError(f"{refused} is the current folder, or one above it{instead}")
    if (folder / ".git").exists():
        raise ExperimentError(f"{refused} is a repository{instead}")
    foreign = foreign_entries(folder)
    if foreign:
        raise ExperimentError(f"{refused} holds {foreign[0]}, which no experiment writes{instead}")
    if not (is_experiment(folder) or is_barely_begun(folder)):
        raise ExperimentError(
            f"{refused} holds no experiment, neither {MARKER} nor log.txt with a checkpoint{instead}"
        )
    if is_plain(folder / "log.txt"):
        with open(folder / "log.txt", "ab") as log:
            if not lock(log):
                raise ExperimentError(f"{refused} is in use by another process; wait for it, or choose another folder")


def start_over(save_dir: str | Path, overwrite: bool = False) -> Path | None:
    """Make `save_dir` an empty folder. An experiment that lies there is moved aside to `<save_dir>.bak-<time>`.

    The original deletes whatever lies there. With `overwrite` the old experiment's files are deleted. Anything
    but an experiment, a symbolic link among it, raises `ExperimentError`. Returns where the old one went.
    """
    folder = Path(save_dir)
    if folder.is_symlink():
        raise ExperimentError(f"--save_dir={folder}: a symbolic link; give the folder itself")
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"--save_dir={folder}: a file is in its place; choose another folder")
    moved = None
    try:
        if folder.is_dir() and any(folder.iterdir()):
            check_replaceable(folder)
            if is_barely_begun(folder):
                delete_leftovers(folder)  # the empty log stays: who opens it next has its lock
            elif overwrite:
                delete_experiment(folder)
            else:
                moved = free_place(folder.with_name(f"{folder.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}"))
                folder.rename(moved)
    except OSError as error:
        raise ExperimentError(f"--save_dir={folder}: cannot be replaced ({error.strerror})") from error
    make_folder(folder)
    return moved


def free_place(path: Path) -> Path:
    """`path`, or path-2, path-3, … if something lies there."""
    candidate, count = path, 1
    while os.path.lexists(candidate):
        count += 1
        candidate = path.with_name(f"{path.name}-{count}")
    return candidate


def delete_experiment(folder: Path) -> None:
    """Delete the files of the experiment in `folder`, one by one; nothing else, and through no link."""
    for entry in [e for e in folder.iterdir() if is_own(e)]:
        if entry.is_dir():
            shutil.rmtree(entry)  # it does not follow links either
        else:
            entry.unlink()


def delete_leftovers(folder: Path) -> None:
    """Delete the unfinished files of writes that were killed."""
    for entry in folder.iterdir():
        if LEFTOVER.fullmatch(entry.name) and is_plain(entry):
            entry.unlink()


def make_folder(folder: str | Path) -> None:
    """Create `folder` if need be; an `ExperimentError` if it cannot be made or written to."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExperimentError(f"--save_dir={folder}: cannot be written to ({error.strerror})") from error
