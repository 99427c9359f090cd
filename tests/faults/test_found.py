"""A checkpoint that lies there is found: by folder, prefix or file, with or without the file `checkpoint`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from test_names import save

from physics_models import checkpoints, experiment, tf1_checkpoint
from physics_models.errors import ExperimentError


def originals(folder: Path) -> Path:
    """A folder with a checkpoint in TF1's format."""
    folder.mkdir()
    tf1_checkpoint.write_tf1({"net/encoder/x": np.float32([1, 2])}, folder)
    return folder


@pytest.mark.parametrize("state", [True, False])
def test_by_every_name(tmp_path, state):
    for folder in (originals(tmp_path / "tf1"), Path(save(tmp_path / "ours")).parent):
        if not state:
            (folder / "checkpoint").unlink()
        (index,) = folder.glob("*.index")
        prefix = index.with_suffix("")
        for name in (folder, prefix, *folder.iterdir(), f"{folder}/"):
            assert checkpoints.load(name).path == str(prefix), name


def test_another_file_of_the_folder_is_no_checkpoint(tmp_path):
    """The folder's checkpoint is not taken for it."""
    (originals(tmp_path / "tf1") / "log.txt").write_text("")
    with pytest.raises(ExperimentError, match="log.txt"):
        checkpoints.load(tmp_path / "tf1" / "log.txt")


def test_under_another_name_and_in_parts(tmp_path):
    """Renamed by its owner; in two data files, of which one may be missing."""
    folder = originals(tmp_path / "tf1")
    for file in folder.glob("model.ckpt.*"):
        file.rename(file.with_name(file.name.replace("model.ckpt", "my best [model].index")))
    (folder / "checkpoint").unlink()
    assert checkpoints.load(folder).arrays.keys() == {"net/encoder/x"}
    assert checkpoints.load(folder / "my best [model].index").path == str(folder / "my best [model].index")
    (data,) = folder.glob("*.data-*")
    data.rename(data.with_name("my best [model].index.data-00000-of-00002"))
    with pytest.raises(ExperimentError, match="data-00001-of-00002.*missing"):
        checkpoints.load(folder)


def test_a_state_file_of_another_place(tmp_path):
    """TensorFlow writes absolute paths, with a backslash before each quote and backslash."""
    for written in (r"/home/a \"quoted\" name/model.ckpt", r"C:\\Users\\me\\model.ckpt", r"C:\Users\new\model.ckpt"):
        folder = originals(tmp_path / "tf1")
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{written}"\n')
        assert checkpoints.load(folder).tf1
        shutil.rmtree(folder)


def test_several_without_a_state_file(tmp_path):
    """Which is the latest is not guessed."""
    for name in ("model.ckpt-100", "model.ckpt-20"):
        folder = originals(tmp_path / name)
        for file in folder.glob("model.ckpt.*"):
            shutil.copy(file, tmp_path / file.name.replace("model.ckpt", name))
        shutil.rmtree(folder)
    with pytest.raises(ExperimentError, match="2 checkpoints.*--ckpt_dir=.*/model.ckpt-20"):
        checkpoints.load(tmp_path)
    assert checkpoints.load(tmp_path / "model.ckpt-100").path.endswith("model.ckpt-100")


def test_commands_find_it(tmp_path):
    """The commands that take a checkpoint; a comparison of a folder with nothing else."""
    folder = originals(tmp_path / "tf1")
    (folder / "checkpoint").unlink()
    for i, name in enumerate((folder, folder / "model.ckpt", folder / "model.ckpt.data-00000-of-00001")):
        ended = run_command("paig-tf1-checkpoint", "inspect", str(name))
        assert ended.code == 0 and "net/encoder/x" in ended.out
        ended = run_command("paig-tf1-checkpoint", "import", str(name), f"{tmp_path}/new{i}")
        assert ended.code == 0, ended.err
    ended = run_command("paig-compare-runs", str(folder), str(tmp_path / "new2"))
    assert ended.code == 0 and "1 of 1 variables equal bit for bit" in ended.out


def test_a_folder_with_nothing_but_a_checkpoint_may_be_evaluated_in(tmp_path):
    """Its results are written beside it; files of something else's are not touched."""
    folder = originals(tmp_path / "tf1")
    (folder / "checkpoint").unlink()
    experiment.check_usable(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "outputs.npz").write_bytes(b"mine")
    with pytest.raises(ExperimentError, match="outputs.npz"):
        experiment.check_usable(tmp_path / "other")
