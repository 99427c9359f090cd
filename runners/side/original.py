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
from runners.side.processes import environment, last_line

PAGE = "docs/original.md"
PIP = "pip==21.3.1"  # a later one does not run on Python 3.6, an earlier one takes releases that do not
PACKAGES = (
    "tensorflow==1.12.0", "termcolor<2", "absl-py<1.4", "numpy<1.20", "protobuf<3.20", "scikit-image<0.18",
    "moviepy==1.0.0", "imageio==2.9.0", "imageio-ffmpeg==0.4.5",
)  # fmt: skip
PROBE = """
import json, platform, tensorflow, numpy, matplotlib, moviepy.editor
print(json.dumps({"tensorflow": tensorflow.__version__, "python": platform.python_version(),
                  "numpy": numpy.__version__}))
"""

logger = logging.getLogger("tf")


def check_clone(folder: str) -> Path:
    """The path of the clone `--original`; an `ExperimentError` if it is none."""
    if not folder:
        raise ExperimentError(f"--original is missing: give a clone of the original; {PAGE} says how to set it up")
    path = Path(folder).absolute()
    for part in ("runners/run_physics.py", "nn/network/physics_models.py"):
        if not (path / part).is_file():
            raise ExperimentError(f"--original={folder}: not a clone of the original, has no {part}; see {PAGE}")
    return path


def check_python(name: str) -> tuple[str, dict[str, Any]]:
    """The path of the interpreter `--python`, and its versions; an `ExperimentError` if it lacks TensorFlow 1.12."""
    if not name:
        raise ExperimentError(f"--python is missing: give a Python 3.6 with TensorFlow 1.12; {PAGE} says how to set it up")
    found = shutil.which(name)
    if not found:
        raise ExperimentError(f"--python={name}: no such program; give a Python 3.6 with TensorFlow 1.12, see {PAGE}")
    python = os.path.abspath(found)  # not resolved: the link is what makes a virtual environment
    try:
        ended = call([python, "-W", "ignore", "-c", PROBE])
        versions = json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else {}
    except (OSError, ValueError, IndexError) as error:
        raise ExperimentError(f"--python={name}: does not run as a Python ({error}); see {PAGE}") from error
    if not str(versions.get("tensorflow", "")).startswith("1.12."):
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        why = f"has TensorFlow {versions['tensorflow']}" if versions else (lines or ["it ended without a word"])[-1]
        raise ExperimentError(f"--python={name}: not a Python with TensorFlow 1.12 ({why}); see {PAGE}")
    return python, versions


def copy_clone(clone: Path, folder: Path) -> str:
    """Copy the original's code, unchanged, into `folder`: it reads its data from there. Returns its commit, in words."""
    for package in ("nn", "runners"):
        shutil.copytree(clone / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if not shutil.which("git"):
        return "commit unknown"
    git = ["git", "-C", str(clone)]
    commit, changed = call([*git, "rev-parse", "--short", "HEAD"]), call([*git, "status", "--short", "--", "nn", "runners"])
    if commit.returncode:
        return "commit unknown"
    return f"commit {commit.stdout.strip()}{', with changes' if changed.stdout.strip() else ', unchanged'}"


def make_python(folder: str) -> str:
    """Make a virtual environment with all that the original needs; the line that says so.

    Raises `ExperimentError` where there is no Python 3.6, or where an installation fails.
    """
    path = Path(folder).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ExperimentError(f"--make_python={folder}: exists and is not empty; give a new folder")
    base = find_python36()
    path.mkdir(parents=True, exist_ok=True)
    python, output = path / "bin" / "python", path / "install.txt"
    for title, command in (
        (f"making it from {base}", [base, "-m", "venv", str(path)]),
        (f"installing {PIP}", [str(python), "-m", "pip", "install", PIP]),
        (f"installing {PACKAGES[0]} and {len(PACKAGES) - 1} more", [str(python), "-m", "pip", "install", *PACKAGES]),
    ):
        logger.info("%s: %s", path, title)
        with open(output, "ab") as file:
            ended = subprocess.run(command, env=environment(""), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        if ended.returncode:
            raise ExperimentError(f"--make_python={folder}: failed at {title} ({last_line(output)}); all of it: {output}")
    versions = check_python(str(python))[1]
    return f"{python}: Python {versions['python']} with TensorFlow {versions['tensorflow']}; give it as --python"


def find_python36() -> str:
    """A Python 3.6: on PATH, or pyenv's; an `ExperimentError` that says what to do if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for candidate in ("python3.6", *sorted(map(str, pyenv.glob("versions/3.6*/bin/python")), reverse=True)):
        found = shutil.which(candidate)
        if found and call([found, "-c", "import sys, venv, ssl; assert sys.version_info[:2] == (3, 6)"]).returncode == 0:
            return found
    raise ExperimentError("no Python 3.6 with venv and ssl on PATH or in pyenv; install one (pyenv install 3.6.15)")


def call(command: list[str]) -> subprocess.CompletedProcess:
    """The ended process, with what it printed."""
    return subprocess.run(command, env=environment(""), stdin=subprocess.DEVNULL, capture_output=True, text=True)
