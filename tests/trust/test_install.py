"""`pip install .`: console commands that work from any folder."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from command import COMMANDS
from tiny_run import ROOT, write_data

from physics_models.experiment import PACKAGES


def test_the_console_commands_are_those_that_the_tests_call():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert dict(re.findall(r'"(paig-[\w-]+) = ([\w.:]+)"', text)) == COMMANDS


def test_every_package_is_installed():
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = set(ast.literal_eval(re.search(r"packages=(\[.*?\])", text, re.DOTALL)[1]))
    files = [file.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    found = {".".join(file.parent.parts) for file in files}
    assert listed == found


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A virtual environment's folder of commands; the project is installed there, its dependencies are this one's."""
    tmp = tmp_path_factory.mktemp("installed")
    source = tmp / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp / "venv"], check=True)
    python = tmp / "venv" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    return python.parent


def called(program: Path, *arguments: str, folder: Path, **more: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", **more}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_commands_of_an_installed_copy(tmp_path, installed):
    made = called(installed / "python", "-m", "data_gen", "--task=spring_color", "--split_sizes=4,2,2", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert len(list((tmp_path / "data" / "datasets").rglob("*.npz"))) == 2
    made = called(installed / "paig-data", "--task=spring_color", "--out=a.npz", "--split_sizes=4,2,2", folder=tmp_path)
    assert made.returncode == 0 and (tmp_path / "a.npz").is_file(), made.stderr

    trained = called(
        installed / "paig-run-physics", *write_data(tmp_path), "--epochs=1", "--save_dir=run", folder=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith("learned: ") and (tmp_path / "run" / "code.zip").is_file()
    exported = called(installed / "paig-export", "run", "saved", folder=tmp_path)
    assert exported.returncode == 0 and (tmp_path / "saved" / "saved_model.pb").is_file(), exported.stderr
    plotted = called(installed / "paig-plot-run", "--save_dir=run", "--out=plots", folder=tmp_path)
    assert plotted.returncode == 0, plotted.stderr
    compared = called(installed / "paig-compare-runs", "run", "run", "--out", "report", folder=tmp_path)
    assert compared.returncode == 0, compared.stderr
    inspected = called(installed / "paig-tf1-checkpoint", "inspect", "run", folder=tmp_path)
    assert inspected.returncode == 0 and "net/decoder/logsigma" in inspected.stdout, inspected.stderr
