"""Nothing is deleted that no experiment made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from physics_models import save_dir
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
    before = contents(folder)
    moved = save_dir.start_over(folder)
    assert moved.parent == tmp_path and moved.name.startswith("run.bak-")
    assert contents(moved) == before
    assert list(folder.iterdir()) == []


def test_moving_aside_twice_in_a_second_keeps_both(tmp_path, monkeypatch):
    monkeypatch.setattr(save_dir.time, "strftime", lambda _: "now")
    for _ in range(2):
        make_experiment(tmp_path / "run")
        save_dir.start_over(tmp_path / "run")
        (tmp_path / "run").rmdir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.bak-now", "run.bak-now-2"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_killed_before_its_marker_is_begun_again(tmp_path, overwrite):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.txt").write_text("")
    (folder / ".experiment.json.abcd1234").write_text("{")
    save_dir.check_usable(folder)
    assert save_dir.start_over(folder, overwrite) is None
    assert contents(tmp_path) == {"run/log.txt": b""}
    (folder / "log.txt").write_text("mine")
    with pytest.raises(ExperimentError, match="holds no experiment"):
        save_dir.start_over(folder, overwrite)
    with pytest.raises(ExperimentError, match=r"holds log.txt, but no experiment"):
        save_dir.check_usable(folder)


def test_overwrite_deletes_the_experiment(tmp_path):
    folder = make_experiment(tmp_path / "run")
    assert save_dir.start_over(folder, overwrite=True) is None
    assert list(folder.iterdir()) == [] and list(tmp_path.iterdir()) == [folder]


def add_file(name):
    return lambda folder: (folder / name).write_text("mine")


def add_link_to_file(folder):
    (folder.parent / "precious").write_text("mine")
    (folder / "outputs.npz").unlink()
    (folder / "outputs.npz").symlink_to(folder.parent / "precious")


def add_link_to_folder(folder):
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "events.out.tfevents.2").write_text("mine")
    (folder / "tb" / "events.out.tfevents.1.host").unlink()
    (folder / "tb").rmdir()
    (folder / "tb").symlink_to(folder.parent / "elsewhere")


def remove_markers(folder):
    (folder / "experiment.json").unlink()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "change, why",
    [
        (add_file("thesis.tex"), "holds thesis.tex, which no experiment writes"),
        (add_file("model.h5"), "holds model.h5, which no experiment writes"),
        (add_file("tb/notes.txt"), "holds tb, which no experiment writes"),
        (lambda folder: (folder / ".git").mkdir(), "is a repository"),
        (lambda folder: (folder / "log").mkdir(), "holds log, which no experiment writes"),
        (add_link_to_file, "holds outputs.npz, which no experiment writes"),
        (add_link_to_folder, "holds tb, which no experiment writes"),
        (remove_markers, "holds no experiment, neither experiment.json nor log.txt with a checkpoint"),
    ],
)
def test_anything_else_is_left_alone(tmp_path, change, why, overwrite):
    folder = make_experiment(tmp_path / "run")
    change(folder)
    before = contents(tmp_path)
    with pytest.raises(ExperimentError) as error:
        save_dir.start_over(folder, overwrite)
    assert why in str(error.value) and str(error.value).endswith("choose another folder")
    assert contents(tmp_path) == before


def test_places_that_are_never_replaced(tmp_path, monkeypatch):
    home = make_experiment(tmp_path / "home")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(ExperimentError, match="is your home folder"):
        save_dir.start_over(home, overwrite=True)
    with pytest.raises(ExperimentError, match="is the root of the file system"):
        save_dir.start_over("/", overwrite=True)
    inner = make_experiment(tmp_path / "run") / "tb"
    for current in (tmp_path / "run", inner):
        monkeypatch.chdir(current)
        for name in (str(tmp_path / "run"), "." if current.name == "run" else ".."):
            with pytest.raises(ExperimentError, match="is the current folder, or one above it"):
                save_dir.start_over(name, overwrite=True)
    assert contents(home) and contents(tmp_path / "run")


def test_links_and_files_in_the_place_of_the_folder(tmp_path):
    make_experiment(tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ExperimentError, match="a symbolic link; give the folder itself"):
        save_dir.start_over(tmp_path / "link", overwrite=True)
    with pytest.raises(ExperimentError, match="a file is in its place"):
        save_dir.start_over(tmp_path / "file", overwrite=True)
    assert contents(tmp_path) == before


def test_deleting_goes_through_no_link(tmp_path):
    folder = make_experiment(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    (folder / ".saving" / "link").symlink_to(tmp_path / "elsewhere")
    save_dir.start_over(folder, overwrite=True)
    assert (tmp_path / "elsewhere" / "precious").read_text() == "mine"


def test_a_folder_at_work_is_neither_replaced_nor_written(tmp_path):
    folder = make_experiment(tmp_path / "run")
    script = (
        "import sys, time; from physics_models import save_dir; "
        "log = save_dir.open_log(sys.argv[1]); print('open', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(save_dir.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, env=environment
    ) as other:
        try:
            assert other.stdout.readline() == b"open\n"
            with pytest.raises(ExperimentError, match="is in use by another process"):
                save_dir.start_over(folder, overwrite=True)
            with pytest.raises(ExperimentError, match="another process is at work there"):
                save_dir.open_log(folder)
        finally:
            other.kill()
    assert save_dir.start_over(folder) is not None


def test_a_folder_of_something_else_keeps_its_files(tmp_path):
    (tmp_path / "outputs.npz").write_text("mine")
    with pytest.raises(ExperimentError, match="holds outputs.npz, but no experiment"):
        save_dir.check_usable(tmp_path)
    (tmp_path / "outputs.npz").rename(tmp_path / "results.npz")
    save_dir.check_usable(tmp_path)
    (tmp_path / "log.txt").write_text("2026-01-01 10:00:00,123 - tf - run_physics.py\n")
    (tmp_path / "outputs.npz").write_text("of a test")
    save_dir.check_usable(tmp_path)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "log.txt"
    target.write_text("whole")

    def write(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save_dir.write_atomically(target, write)
    assert target.read_text() == "whole" and os.listdir(tmp_path) == ["log.txt"]
