"""The original and its Python 3.6: what must be there, and how to make it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from physics_models.errors import ExperimentError
from runners.side.processes import ending, environment, reason

HOW = "docs/original.md says how to set it up"
PIP = "pip==21.3.1"  # a later one does not run on Python 3.6, an earlier one takes packages that do not
PACKAGES = (
    "tensorflow==1.12.0", "termcolor<2", "absl-py<1.4", "numpy<1.20", "protobuf<3.20", "scikit-image<0.18",
    "moviepy==1.0.0", "imageio==2.9.0", "imageio-ffmpeg==0.4.5",
)  # fmt: skip
PROBE = """import json, platform, matplotlib, tensorflow, moviepy.editor
print(json.dumps({"tensorflow": tensorflow.__version__, "python": platform.python_version()}))"""

logger = logging.getLogger("tf")


def check_clone(folder: str) -> Path:
    """The path of the clone `--original`; an `ExperimentError` if it is none."""
    if not folder:
        raise ExperimentError(f"--original is missing: give a clone of the original; {HOW}")
    for part in ("runners/run_physics.py", "nn/network/physics_models.py"):
        if not (Path(folder) / part).is_file():
            raise ExperimentError(f"--original={folder}: not a clone of the original, it has no {part}; {HOW}")
    return Path(folder).absolute()


def check_python(name: str) -> tuple[str, dict[str, Any]]:
    """The path of the interpreter `--python`, and its versions; an `ExperimentError` if it lacks TensorFlow 1.12."""
    if not (found := shutil.which(name)):
        raise ExperimentError(f"--python={name}: no such program; give a Python 3.6 with TensorFlow 1.12; {HOW}")
    try:
        ended = call([found, "-W", "ignore", "-c", PROBE])
        versions = json.loads(ended.stdout) if ended.returncode == 0 else {}
        said = ended.stderr.strip().splitlines() or [ending(ended.returncode)]
        why = f"it has {versions['tensorflow']}" if versions else said[-1]
    except (OSError, ValueError, LookupError, TypeError):
        versions, why = {}, "it runs no Python program"
    if not str(versions.get("tensorflow")).startswith("1.12."):
        raise ExperimentError(f"--python={name}: no Python 3.6 with TensorFlow 1.12 ({why}); {HOW}")
    return os.path.abspath(found), versions  # not resolved: the link is what makes a virtual environment


def copy_clone(clone: Path, folder: Path) -> str:
    """Copy the original's code as it is into `folder`, from where it reads its data. Returns its commit, in words."""
    for package in ("nn", "runners"):
        shutil.copytree(clone / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if shutil.which("git") and (clone / ".git").exists():  # not that of a repository around it
        git = ["git", "-C", str(clone)]
        commit, changes = call([*git, "rev-parse", "--short", "HEAD"]), call([*git, "diff", "--stat", "HEAD"])
        if commit.returncode == 0:
            return f"commit {commit.stdout.strip()}{' with changes' if changes.stdout else ''}"
    return "commit unknown"


def make_python(folder: str) -> str:
    """Make a virtual environment in `folder` with all that the original needs; the line that says so."""
    path = Path(folder).absolute()
    if path.exists():
        raise ExperimentError(f"--make_python={folder}: exists; give a new folder")
    base = find_python36()
    path.mkdir(parents=True)
    python, output = str(path / "bin" / "python"), path / "install.txt"
    pip = [python, "-m", "pip", "install"]
    for command in ([base, "-m", "venv", str(path)], [*pip, PIP], [*pip, *PACKAGES]):
        logger.info("%s", " ".join(command))
        with open(output, "ab") as file:
            ended = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        if ended.returncode:
            raise ExperimentError(f"--make_python={folder}: {reason(output)}; all that was printed: {output}")
    check_python(python)
    return f"made; give it as --python={python}"


def find_python36() -> str:
    """A Python 3.6, of PATH or of pyenv; an `ExperimentError` that says what to do if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for candidate in ("python3.6", *map(str, sorted(pyenv.glob("versions/3.6*/bin/python")))):
        found = shutil.which(candidate)
        if found and not call([found, "-c", "import sys, venv, ssl; assert sys.version_info[:2] == (3, 6)"]).returncode:
            return found
    raise ExperimentError("no Python 3.6, with venv and ssl, on PATH or in pyenv; make one: pyenv install 3.6.15")


def call(command: list[str]) -> subprocess.CompletedProcess:
    """The ended process, with what it printed."""
    return subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
