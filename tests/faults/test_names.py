"""Folders and files may have every name that the operating system allows; ~ is the home in every flag."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny_run
from command import run_command
from eager import eagerly
from names import EVERYTHING, MATCHED
from one_command import COMMANDS, load_command

from data_gen.iterators import get_iterators
from physics_models import checkpoints, tf1_checkpoint
from physics_models.errors import ExperimentError
from physics_models.summaries import Summaries
from runners import run_base


def save(folder: Path, value: float = 1.0, iteration: int = 3) -> str:
    """A checkpoint of one variable."""
    return checkpoints.save(folder, {"net/x": tf.Variable([value, 2.0])}, {"iteration": iteration, "epoch": 1})


def test_a_checkpoint_in_any_folder(folder):
    """Whether or not there is one beside it in a folder that the name matches as a pattern."""
    save(folder, iteration=2)
    path = save(folder)
    names = ["checkpoint", "model.ckpt-3.data-00000-of-00001", "model.ckpt-3.index"]
    assert sorted(entry.name for entry in folder.iterdir()) == names
    for other in (None, *MATCHED):
        if other:
            save(folder.with_name(other), value=7.0)
        loaded = checkpoints.load(folder)
        assert (loaded.path, loaded.arrays["net/x"][0], loaded.progress["iteration"]) == (path, 1.0, 3)
    assert checkpoints.load(folder).path == path


def test_the_originals_checkpoint_in_any_folder(folder):
    folder.mkdir()
    tf1_checkpoint.write_tf1({"net/x": np.float32([1, 2])}, folder)
    loaded = checkpoints.load(folder)
    assert loaded.tf1 and loaded.arrays["net/x"].tolist() == [1, 2]


def test_summaries_in_any_folder(folder):
    Summaries(None, folder, 1).writer.close()
    assert len(list((folder / "tb").iterdir())) == 1


def test_no_good_checkpoint_is_called_damaged(tmp_path, monkeypatch):
    """Damaged is what was read and found wrong; what cannot be read, or is missing, is called that."""
    path = Path(save(tmp_path))
    data = path.with_name(f"{path.name}.data-00000-of-00001")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(data))

    with monkeypatch.context() as patched, pytest.raises(ExperimentError, match="Permission denied") as error:
        patched.setattr(checkpoints, "copy_in", refuse)
        checkpoints.load(tmp_path)
    assert "damaged" not in str(error.value) and data.name in str(error.value)
    content = data.read_bytes()
    data.write_bytes(bytes(len(content)))
    with pytest.raises(ExperimentError, match="damaged"):
        checkpoints.load(tmp_path)
    data.unlink()
    with pytest.raises(ExperimentError, match=re.escape(data.name)) as error:
        checkpoints.load(tmp_path)
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["two", "all"])
def test_every_command_in_folders_of_such_names(tmp_path, monkeypatch, one_network, every):
    """Train and look into the checkpoint; and, as a slow test, test, resume, plot, export, compare as well.

    `-…` as a flag's value and after `--`.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(EVERYTHING).mkdir()
    flags = [flag.replace(str(tmp_path), "~") for flag in tiny_run.write_data(tmp_path / EVERYTHING, 8)]
    flags.append("--cell_type=bouncing_ode_cell")
    run = f"{EVERYTHING}/run"
    load_command("plot_run")

    def succeed(name: str, *arguments: str) -> str:
        ended = run_command(name, *arguments)
        assert ended.code == 0, ended.err
        assert ended.err.count(" - tf - test - epoch=0 ") <= 1  # no line twice, as from an earlier run's handler
        return ended.out

    with eagerly():
        assert "learned" in succeed("paig-run-physics", *flags, f"--save_dir={run}", "--epochs=1", "--debug")
        assert "optimizer slots" in succeed("paig-tf1-checkpoint", "inspect", f"~/{run}")
        if not every:
            assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name[0] != ".") == [EVERYTHING]
            return
        succeed("paig-run-physics", *flags, f"--save_dir=~/{run}", "--epochs=2", "--resume", "--debug")
        flags += ["--use_ckpt", "--test_mode"]
        succeed("paig-run-physics", *flags, "--save_dir", f"-{EVERYTHING}", f"--ckpt_dir={run}/model.ckpt-4.index")
    assert (Path(f"-{EVERYTHING}") / "outputs.npz").is_file()
    succeed("paig-plot-run", f"--save_dir={run}", f"--out=~/{EVERYTHING}/plots")
    assert (Path(EVERYTHING) / "plots" / "losses.png").is_file()
    succeed("paig-compare-runs", "--out", f"~/{EVERYTHING}/report", "--", run, f"-{EVERYTHING}")
    assert (Path(EVERYTHING) / "report" / "report.html").is_file()
    succeed("paig-export", "--", run, f"{EVERYTHING}/model")
    (Path(EVERYTHING) / "model").rename("model")
    assert tf.saved_model.load(str(tmp_path / "model")).task()
    written = [entry.name for entry in tmp_path.iterdir() if entry.name[0] != "."]  # Matplotlib has a cache
    assert sorted(written) == sorted([EVERYTHING, f"-{EVERYTHING}", "model"])


def test_home_in_every_path_flag(monkeypatch):
    """Every flag that names a file or a folder is one of these, and has `~` expanded."""
    monkeypatch.setenv("HOME", "/home/me")
    paths = set()
    for command in COMMANDS:
        load_command(command)
        for name, flag in run_base.own_flags().items():
            if flag.flag_type() == "string" and re.search(r"\b(file|folder|video)\b", flag.help):
                assert flag.parser.parse("~/exp") == "/home/me/exp", name
                paths.add(name)
    assert paths >= {"save_dir", "ckpt_dir", "data_dir", "data_file", "test_data_file", "out", "experiments"}


def test_a_data_file_of_any_name(folder):
    """The longest names leave no room for what is added to them."""
    out = folder.with_name(f"{folder.name[:251]}.npz")
    ended = run_command("paig-data", "--task=bouncing_balls", "--split_sizes=2,1,1", f"--out={out}")
    assert ended.code == 0, ended.err
    assert out.is_file() and len(list(folder.parent.glob("*_samples.jpg"))) == 1
    assert set(get_iterators(out)) == {"train", "valid", "test"}


def test_home_in_the_flags_of_the_data_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "digits.npz", np.zeros((2, 28, 28), np.uint8))
    np.savez(tmp_path / "picture.npz", np.zeros((32, 32, 3), np.uint8))
    flags = ["--digits=~/digits.npz", "--background=~/picture.npz", "--out=~/DATA.NPZ", "--split_sizes=1,1,1"]
    ended = run_command("paig-data", "--task=mnist_spring_color", *flags)
    assert ended.code == 0, ended.err
    assert (tmp_path / "DATA.NPZ").is_file()


def test_a_name_with_a_dash_as_an_argument(tmp_path, monkeypatch):
    """As in other commands it is written ./-name, or after --; one line says so."""
    monkeypatch.chdir(tmp_path)
    save(Path("-run"))
    ended = run_command("paig-tf1-checkpoint", "inspect", "-run")
    assert ended.code == 1 and "./-run" in ended.err and len(ended.err.splitlines()) == 1
    for arguments in (["./-run"], ["--", "-run"]):
        assert "net/encoder" in run_command("paig-tf1-checkpoint", "inspect", *arguments).err
