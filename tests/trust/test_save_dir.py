"""The folder of an experiment: nothing is deleted that no experiment made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from physics_models import experiment
from physics_models.errors import ExperimentError


def make_experiment(folder: Path, marker: str = "experiment.json") -> Path:
    folder.mkdir()
    for name in ("log.txt", "code.zip", "outputs.npz", "example0.jpg", "model.ckpt-5.index", ".outputs.npz.abcd1234"):
        (folder / name).write_text(name)
    (folder / marker).write_text("{}")
    (folder / "tb").mkdir()
    (folder / "tb" / "events.out.tfevents.1.host").write_text("")
    (folder / ".saving" / "model.ckpt-6_temp").mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("marker", ["experiment.json", "checkpoint"], ids=["ours", "the original's"])
def test_an_experiment_is_moved_aside_whole(tmp_path, marker):
    folder = make_experiment(tmp_path / "run", marker)
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    moved = experiment.start_over(folder)
    assert moved.parent == tmp_path and moved.name.startswith("run.bak-")
    assert contents(moved) == before and list(folder.iterdir()) == []


def test_moving_aside_twice_in_a_second_keeps_both(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.time, "strftime", lambda _: "now")
    for _ in range(2):
        make_experiment(tmp_path / "run")
        experiment.start_over(tmp_path / "run")
        (tmp_path / "run").rmdir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.bak-now", "run.bak-now-2"]


def test_overwrite_deletes_the_experiment_and_nothing_else(tmp_path):
    """Not through links either."""
    folder = make_experiment(tmp_path / "run")
    for name in ("precious", "elsewhere/precious"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (folder / "outputs.npz").unlink()
    (folder / "outputs.npz").symlink_to(tmp_path / "precious")
    (folder / ".saving" / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "thesis.tex").write_text("mine")
    for name in ("control_pendulum_pixels_goal-0.3.gif", "losses.png", "example.png", "templates.png"):
        (folder / name).write_text("of the old network")
    (folder / "model").mkdir()
    (folder / "model" / "log.txt").write_text("mine")
    assert experiment.start_over(folder, overwrite=True) is None
    assert {entry.name for entry in folder.iterdir()} == {"thesis.tex", "model", "outputs.npz"}
    assert set(contents(tmp_path).values()) == {b"mine"} and len(contents(tmp_path)) == 5


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_killed_before_its_marker_is_begun_again(tmp_path, overwrite):
    """It leaves a log without a line, and a marker that is not whole."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.txt").write_text("")
    (folder / ".experiment.json.abcd1234").write_text("{")
    experiment.check_usable(folder)
    assert experiment.start_over(folder, overwrite) is None
    assert contents(tmp_path) == {}
    (folder / "log.txt").write_text("mine")
    for refuse in (experiment.start_over, experiment.check_usable):
        with pytest.raises(ExperimentError, match=f"--save_dir={folder}"):
            refuse(folder)
    assert contents(tmp_path) == {"run/log.txt": b"mine"}


def strangers(tmp: Path) -> dict[str, Path]:
    """Places that no experiment may replace, by what is special about them."""
    unmarked = make_experiment(tmp / "unmarked")
    (unmarked / "experiment.json").unlink()
    repository = make_experiment(tmp / "repository")
    (repository / ".git").mkdir()
    (tmp / "file").write_text("mine")
    (tmp / "link").symlink_to(make_experiment(tmp / "run"))
    (tmp / "thesis").mkdir()
    (tmp / "thesis" / "thesis.tex").write_text("mine")
    return {name: tmp / name for name in ("unmarked", "repository", "file", "link", "thesis")}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["unmarked", "repository", "file", "link", "thesis", "home", "current", "above"])
def test_anything_else_is_left_alone(tmp_path, monkeypatch, name, overwrite):
    places = strangers(tmp_path)
    home, current = make_experiment(tmp_path / "home"), make_experiment(tmp_path / "current")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(current / "tb" if name == "above" else current)
    places |= {"home": home, "current": current, "above": Path("..")}
    before = contents(tmp_path)
    with pytest.raises(ExperimentError, match=f"--save_dir={places[name]}: "):
        experiment.start_over(places[name], overwrite)
    assert contents(tmp_path) == before


def test_a_folder_of_something_else_keeps_its_files(tmp_path):
    """With --use_ckpt, a run writes into a folder as it is: only where none of its files is another's."""
    (tmp_path / "outputs.npz").write_text("mine")
    with pytest.raises(ExperimentError, match="outputs.npz"):
        experiment.check_usable(tmp_path)
    (tmp_path / "outputs.npz").rename(tmp_path / "results.npz")
    experiment.check_usable(tmp_path)
    (tmp_path / "log.txt").write_text("2026-01-01 10:00:00,123 - tf - run_physics.py\n")
    (tmp_path / "outputs.npz").write_text("of a test")
    experiment.check_usable(tmp_path)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "log.txt"
    target.write_text("whole")

    def write(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        experiment.write_atomically(target, write)
    assert target.read_text() == "whole" and os.listdir(tmp_path) == ["log.txt"]
