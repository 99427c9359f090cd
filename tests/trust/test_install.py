"""`pip install .`: commands that work from any folder, and a word about names that another project has, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_run import ROOT, write_data

from physics_models.save_dir import PACKAGES
from runners import console


def distribution(name: str, record: str | None) -> SimpleNamespace:
    return SimpleNamespace(metadata={"Name": name}, read_text=lambda _: record)


def test_names_that_others_have_are_warned_of(monkeypatch, capsys):
    others = [
        distribution("paig_tf2", "nn/__init__.py,,\n"),  # this project
        distribution("nnlib", "nnlib/nn/__init__.py,,\n"),
        distribution("noisy", "noisy.py,,\nrunners/main.py,,\nnn/__init__.py,,\n"),
        distribution("bare", None),
    ]
    monkeypatch.setattr(console, "distributions", lambda: others)
    console.check_names()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", and either")[0] for line in lines] == [
        f"warning: noisy, installed in the same environment, has a package {name}, too" for name in ("nn", "runners")
    ]


def test_a_package_of_another_project_in_the_place_of_ours_stops(tmp_path, monkeypatch, capsys):
    (tmp_path / "nn").mkdir()
    (tmp_path / "nn" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nn", raising=False)
    with pytest.raises(SystemExit) as end:
        console.check_names()
    found = f"the package nn is found in {tmp_path}/nn/__init__.py, not in {ROOT}"
    advice = "install this project into a virtual environment of its own"
    assert end.value.code == 1 and capsys.readouterr().err == f"error: {found}; {advice}\n"


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
    assert trained.returncode == 0 and "warning" not in trained.stderr, trained.stderr
    assert trained.stdout.startswith("learned: ") and (tmp_path / "run" / "code.zip").is_file()
    exported = called(installed / "paig-export", "run", "saved", folder=tmp_path)
    assert exported.returncode == 0 and (tmp_path / "saved" / "saved_model.pb").is_file(), exported.stderr
    plotted = called(installed / "paig-plot-run", "--save_dir=run", "--out=plots", folder=tmp_path)
    assert plotted.returncode == 0, plotted.stderr
    compared = called(installed / "paig-compare-runs", "run", "run", "--out", "report", folder=tmp_path)
    assert compared.returncode == 0, compared.stderr
    inspected = called(installed / "paig-tf1-checkpoint", "inspect", "run", folder=tmp_path)
    assert inspected.returncode == 0 and "net/decoder/logsigma" in inspected.stdout, inspected.stderr

    (tmp_path / "elsewhere" / "nn").mkdir(parents=True)
    (tmp_path / "elsewhere" / "nn" / "__init__.py").write_text("")
    shadowed = str(tmp_path / "elsewhere")
    wrong = called(installed / "paig-run-physics", "--help", folder=tmp_path, PYTHONPATH=shadowed)
    assert wrong.returncode == 1 and wrong.stderr.startswith(f"error: the package nn is found in {shadowed}/nn/")
    assert len(wrong.stderr.splitlines()) == 1
