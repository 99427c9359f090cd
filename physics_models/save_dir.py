"""The experiment folder: its log, its code copy, and files that are written whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from physics_models.errors import ExperimentError

LOG_FORMAT = "%(asctime)s - %(name)s - %(message)s"
PACKAGES = ("nn", "physics_models", "data_gen", "runners")
OWN_FILES = {"log.txt", "code.zip", "checkpoint", "outputs.npz", "extra_outputs.npz", "templates.jpg"}
OWN_PATTERNS = ("model.ckpt*", "example*.jpg", "animation*.gif")


def write_atomically(path: str | Path, write: Callable[[BinaryIO], None]) -> None:
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


def open_log(save_dir: str | Path) -> logging.Handler:
    """Append the messages of the logger `tf` to `log.txt`; returns the handler, for `close_log`."""
    handler = logging.FileHandler(Path(save_dir) / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    logging.getLogger("tf").addHandler(handler)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Stop writing to the log that `open_log` opened."""
    logging.getLogger("tf").removeHandler(handler)
    handler.close()


def foreign_entries(folder: Path) -> list[str]:
    """The names in `folder` that no experiment writes."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in OWN_FILES and not any(entry.match(pattern) for pattern in OWN_PATTERNS)
    )


def start_over(save_dir: str | Path, overwrite: bool = False) -> Path | None:
    """Make `save_dir` an empty folder. An experiment that lies there is moved aside to `<save_dir>.bak-<time>`.

    The original deletes whatever lies there. With `overwrite` the old experiment is deleted. Anything but an
    experiment, a symbolic link among it, raises `ExperimentError`. Returns where the old one went.
    """
    folder = Path(save_dir)
    if folder.is_symlink():
        raise ExperimentError(f"--save_dir={folder}: a symbolic link; give the folder itself")
    if folder.exists() and not folder.is_dir():
        raise ExperimentError(f"--save_dir={folder}: a file is in its place; choose another folder")
    moved = None
    if folder.is_dir() and any(folder.iterdir()):
        foreign = foreign_entries(folder)
        if foreign or not (folder / "log.txt").is_file():
            strange = f"holds {foreign[0]}, which" if foreign else "has no log.txt: it"
            raise ExperimentError(f"--save_dir={folder}: {strange} is no experiment's; choose another folder")
        if overwrite:
            shutil.rmtree(folder)
        else:
            moved = folder.with_name(f"{folder.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}")
            folder.rename(moved)
    make_folder(folder)
    return moved


def make_folder(folder: str | Path) -> None:
    """Create `folder` if need be; an `ExperimentError` if it cannot be made or written to."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExperimentError(f"--save_dir={folder}: cannot be written to ({error.strerror})") from error
