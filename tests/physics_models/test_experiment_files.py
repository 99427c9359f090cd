"""The files of an experiment: arrays, log and code as tools for the original's read them; how it starts."""

from __future__ import annotations

import logging
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import physics_models
from physics_models import experiment, run_log
from physics_models.errors import ExperimentError
from physics_models.run_log import save_code

ROOT = Path(__file__).resolve().parents[2]


def test_arrays_come_back_as_they_were(tmp_path):
    numbers = np.random.RandomState(0).rand(3, 4).astype("f4")
    arrays = {"input": numbers, "names": np.array(["a", "b"]), "n": np.int64(7)}
    experiment.save_npz(tmp_path / "outputs.npz", arrays)
    with np.load(tmp_path / "outputs.npz") as file:
        assert set(file.files) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
            assert file[name].dtype == np.asarray(array).dtype
    assert [path.name for path in tmp_path.iterdir()] == ["outputs.npz"]


def test_objects_are_not_pickled(tmp_path):
    (tmp_path / "outputs.npz").write_bytes(b"before")
    with pytest.raises(ValueError, match="allow_pickle"):
        experiment.save_npz(tmp_path / "outputs.npz", {"x": np.array([None])})
    assert (tmp_path / "outputs.npz").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_log_has_the_originals_lines(tmp_path):
    logger = logging.getLogger("tf")
    level = logger.level
    logger.setLevel(logging.INFO)
    for text in ("first", "second"):  # the second is appended
        with experiment.LogFile(tmp_path):
            logger.info("train - iter=%d train_loss=%s", 3, np.float32(1.5))
            logger.info("%s\n--flag=1", text)
            logging.getLogger("tf.note").info("for the console alone")
    logger.info("not logged any more")
    logger.setLevel(level)
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tf - "
    expected = [stamp + r"train - iter=3 train_loss=1\.5", stamp + "(first|second)", "--flag=1"] * 2
    assert len(lines) == len(expected)
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines))


def test_the_code_copy_holds_every_source_file(tmp_path):
    save_code(tmp_path)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    packages = [folder for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()]
    assert names == {str(path.relative_to(ROOT)) for folder in packages for path in folder.rglob("*.py")}


def test_source_files_of_before_1980_are_kept_too(tmp_path, monkeypatch):
    """As in some containers and packages, whose files have no time."""
    source = tmp_path / "physics_models" / "run_log.py"
    source.parent.mkdir()
    source.write_text("code")
    os.utime(source, (0, 0))
    monkeypatch.setattr(run_log, "__file__", str(source))
    save_code(tmp_path)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        assert archive.namelist() == ["physics_models/run_log.py"]


def test_a_log_that_cannot_be_opened_leaves_the_folder_unlocked(tmp_path):
    (tmp_path / "log.txt").mkdir()
    with pytest.raises(ExperimentError, match=r"log\.txt: cannot be written"):
        experiment.LogFile(tmp_path)
    (tmp_path / "log.txt").rmdir()
    experiment.LogFile(tmp_path).close()


# Start-up: oneDNN is on, and what TensorFlow says about a GPU that it cannot use is shown where there is one


@pytest.mark.parametrize(("has_driver", "level"), [(True, "1"), (False, "3")])
def test_messages_about_gpus_are_hidden_only_where_there_is_no_driver(has_driver, level, monkeypatch):
    """Level 1 hides what is no more than information; 3 hides all but fatal errors."""
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(physics_models, "HAS_NVIDIA_DRIVER", has_driver)
    physics_models._import_tensorflow_quietly()
    environment = physics_models.os.environ
    assert (environment["TF_CPP_MIN_LOG_LEVEL"], environment["TF_ENABLE_ONEDNN_OPTS"]) == (level, "1")


def test_without_tensorflow_the_line_does_not_blame_keras(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(SystemExit, match="TensorFlow cannot be imported") as ended:
        physics_models._import_tensorflow_quietly()
    assert "keras.json" not in str(ended.value)


def test_a_users_own_settings_of_tensorflow_stay(monkeypatch):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.setenv(name, "0")
    physics_models._import_tensorflow_quietly()
    environment = physics_models.os.environ
    assert (environment["TF_CPP_MIN_LOG_LEVEL"], environment["TF_ENABLE_ONEDNN_OPTS"]) == ("0", "0")


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    """Otherwise a power failure may leave the name with nothing behind it."""
    order = []
    for name in ("fsync", "replace"):
        call = getattr(experiment.os, name)
        monkeypatch.setattr(experiment.os, name, lambda *a, name=name, call=call: order.append(name) or call(*a))
    experiment.write_atomically(tmp_path / "file", lambda file: file.write(b"text"))
    assert order == ["fsync", "replace"] and (tmp_path / "file").read_bytes() == b"text"
