"""A training that cannot go on says why in one line, and leaves the last good checkpoint."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf
from command import run_command
from tiny_run import write_data

from physics_models import checkpoints, experiment
from physics_models.errors import ExperimentError
from physics_models.experiment import LEFTOVER, SCRATCH
from runners import run_physics

WEIGHTS = 500_000  # numbers: 2 MB


def state(net) -> dict[str, bytes]:
    named = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return {name: variable.numpy().tobytes() for name, variable in named.items()}


def save(folder: Path, iteration: int) -> str:
    """A checkpoint of one variable that holds `iteration` everywhere."""
    variables = {"net/x": tf.Variable(tf.fill([WEIGHTS], float(iteration)))}
    return checkpoints.save(folder, variables, {"iteration": iteration})


def assert_only(folder: Path, iteration: int) -> None:
    """The latest checkpoint is the one of `iteration`, whole, and nothing is left of a later one."""
    found = checkpoints.load(folder)
    assert found.progress == {"iteration": iteration} and set(found.arrays["net/x"]) == {iteration}
    assert len(list(folder.glob("model.ckpt*"))) == 2
    assert not [e.name for e in folder.iterdir() if LEFTOVER.fullmatch(e.name) or e.name == SCRATCH]


# Numbers that go wrong


def test_a_gradient_that_is_not_a_number_stops_the_training(net, data, tmp_path):
    """The weights stay as they were; the line names the checkpoint to go back to."""
    net.train(data, tmp_path, epochs=1, batch_size=4, anneal_lr=False)
    net.decoder.logsigma.assign(float("nan"))
    before = state(net)
    with pytest.raises(ExperimentError) as error:
        net.train(data, tmp_path, epochs=3, batch_size=4, print_interval=100, anneal_lr=False)
    assert "NaN" in str(error.value) and str(tmp_path / "model.ckpt-3") in str(error.value)
    assert "\n" not in str(error.value)
    assert state(net) == before
    net.skipped_steps.assign(0)
    net.restore(checkpoints.load(tmp_path))
    net.iteration = 3
    net.train(data, tmp_path, epochs=2, batch_size=4, anneal_lr=False)
    assert checkpoints.load(tmp_path).progress["iteration"] == 6


# Disks


def test_a_file_that_cannot_be_written_leaves_the_last_good_checkpoint(tmp_path):
    save(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(ExperimentError) as error:
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path) in str(error.value)
    assert_only(tmp_path, 1)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 9 MB; a checkpoint of the tiny network has 6."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system; the test of the file size limit remains")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_during_training(net, small_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(run_physics, "build", lambda *_, **__: net)
    flags = [*write_data(tmp_path, 12), "--cell_type=bouncing_ode_cell", "--save_every_n_epochs=1", "--epochs=2"]
    ended = run_command("paig-run-physics", *flags, f"--save_dir={small_disk}/run")
    assert ended.code == 1 and "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("error: ") and f"{small_disk}/run" in last
    found = checkpoints.load(small_disk / "run")
    assert found.progress["iteration"] == 3
    for name in net.variables_by_name():
        assert name in found.arrays


def test_a_log_on_a_full_disk(small_disk, capfd):
    logger = logging.getLogger("tf")
    with experiment.LogFile(small_disk):
        (small_disk / "filler").write_bytes(bytes(9 * 2**20 - 8192))
        with pytest.raises(ExperimentError, match="log.txt"):
            for _ in range(1000):
                logger.warning("x" * 100)
    assert "Traceback" not in capfd.readouterr().err


def test_a_read_only_disk(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ExperimentError, match=f"--save_dir={small_disk}"):
        experiment.make_folder(small_disk / "run")
    with pytest.raises(ExperimentError, match=str(small_disk)):
        save(small_disk, 1)


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExperimentError, match=f"--save_dir={tmp_path}/file/run"):
        experiment.make_folder(tmp_path / "file" / "run")
    if os.getuid():
        (tmp_path / "closed").mkdir(mode=0o555)
        with pytest.raises(ExperimentError, match=f"--save_dir={tmp_path}/closed/run"):
            experiment.make_folder(tmp_path / "closed" / "run")


# Checkpoints


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_named(tmp_path, ending, kept):
    file = Path(f"{save(tmp_path, 2)}.{ending}")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ExperimentError, match="model.ckpt-2") as error:
        checkpoints.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"model.ckpt-1", b'model_checkpoint_paths: "model.ckpt-1"', b"\xff\xfe", b"\0"])
def test_a_damaged_list_of_checkpoints(tmp_path, text):
    save(tmp_path, 1)
    (tmp_path / "checkpoint").write_bytes(text)
    with pytest.raises(ExperimentError, match=f"{tmp_path}/checkpoint"):
        checkpoints.load(tmp_path)


def test_what_was_not_deleted_in_time_is_deleted_next_time(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as patch:  # killed before it deletes

        def killed(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path, 2)
    assert len(list(tmp_path.glob("*.index"))) == 2 and checkpoints.load(tmp_path).progress == {"iteration": 2}
    save(tmp_path, 3)
    assert_only(tmp_path, 3)


@pytest.mark.parametrize("moment", range(4))
def test_a_save_that_was_killed_leaves_nothing_behind(tmp_path, monkeypatch, moment):
    """Between the lists of checkpoints that it writes; the run is resumed and saves the same step again."""
    save(tmp_path, 1)
    write, calls = checkpoints.write_state, []
    with monkeypatch.context() as patch:

        def killed(folder, names):
            if len(calls) == moment:
                raise KeyboardInterrupt
            calls.append(names)
            write(folder, names)

        patch.setattr(checkpoints, "write_state", killed)
        with pytest.raises(KeyboardInterrupt) if moment < 3 else contextlib.nullcontext():
            save(tmp_path, 2)
    done = checkpoints.load(tmp_path).progress["iteration"]
    assert done == (1 if moment < 2 else 2)
    if done == 1:
        save(tmp_path, 2)
    checkpoints.delete_all_but_latest(tmp_path)
    assert_only(tmp_path, 2)


def test_the_originals_checkpoint_is_not_deleted(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("net/x", initializer=[1.0])
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    before = {file: file.read_bytes() for file in tmp_path.glob("model.ckpt.*")}
    assert len(before) == 2
    save(tmp_path, 1)
    assert checkpoints.latest_checkpoint(tmp_path).endswith("model.ckpt-1")
    assert {file: file.read_bytes() for file in before} == before


def test_a_checkpoint_never_replaces_one_of_the_same_name(tmp_path):
    names = [Path(save(tmp_path, 0)).name for _ in range(3)]
    assert names == ["model.ckpt-0", "model.ckpt-0-2", "model.ckpt-0"]
    assert checkpoints.list_checkpoints(tmp_path) == names[2:]
