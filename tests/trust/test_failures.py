"""A training that cannot go on says why in one line, and leaves the last good checkpoint."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import film

from data_gen.iterators import DataIterator
from physics_models import checkpoints, save_dir
from physics_models.errors import ExperimentError
from physics_models.physics_net import PhysicsNet
from physics_models.save_dir import LEFTOVER, SCRATCH
from physics_models.tasks import Task

TINY = Task("tiny", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
STEPS = 3  # an epoch
MARK = 200  # brightness of the first pixel of a sequence that spoils its step


class Spoiled(PhysicsNet):
    """A network whose loss is infinite for batches with a marked sequence."""

    def train_loss(self, frames):
        spoiled = tf.reduce_any(tf.abs(frames[:, 0, 0, 0, 0] - MARK / 255) < 1e-3)
        return super().train_loss(frames) / tf.where(spoiled, 0.0, 1.0)


@pytest.fixture(scope="module")
def built():
    tf.keras.utils.set_random_seed(0)
    net = Spoiled(TINY, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    net.eval = lambda *_: {}  # evaluations are tested elsewhere
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return net, variables, {name: variable.numpy() for name, variable in variables.items()}


@pytest.fixture
def net(built):
    net, variables, start = built
    for name, variable in variables.items():
        variable.assign(start[name])
    net.go_on_from({"epoch": 0, "step": 0, "iteration": 0, "left_out": 0})
    return net


@pytest.fixture
def data() -> dict[str, DataIterator]:
    return {split: DataIterator(film(4 * STEPS, 8), seed=0) for split in ("train", "valid", "test")}


def state(net) -> dict[str, bytes]:
    named = {**net.variables_by_name(), **net.optimizer.named_variables()}
    return {name: variable.numpy().tobytes() for name, variable in named.items()}


def train(net, data, folder: Path, **settings) -> None:
    net.train(data, folder, batch_size=4, save_every_n_epochs=1, anneal_lr=False, **settings)


def assert_tidy(folder: Path) -> None:
    assert not [e.name for e in folder.iterdir() if LEFTOVER.fullmatch(e.name) or e.name == SCRATCH]


# Numbers that go wrong


def put_both_objects_in_the_middle(net) -> None:
    for variable in (net.encoder.location_net[-1].kernel, net.encoder.location_net[-1].bias):
        variable.assign(tf.zeros_like(variable))


def test_two_objects_at_one_point_are_named(net, data, tmp_path):
    put_both_objects_in_the_middle(net)
    before = state(net)
    with pytest.raises(ExperimentError) as error:
        train(net, data, tmp_path, epochs=2, print_interval=100)
    assert "step 0 (epoch 1) went wrong: the gradient of net/" in str(error.value)
    assert "two objects at one point (sequence 0 of the batch, step 0)" in str(error.value)
    assert str(error.value).endswith(f"no checkpoint was written to {tmp_path} before")
    assert state(net) == before and not list(tmp_path.iterdir())


def test_the_step_and_the_last_good_checkpoint_are_named(net, data, tmp_path):
    train(net, data, tmp_path, epochs=1)
    good = state(net)
    bad = data["train"].order(2)[5]  # in the second batch of the second epoch: step 4 of all
    data["train"].X[bad, 0, 0, 0, 0] = MARK
    with pytest.raises(ExperimentError) as error:
        train(net, data, tmp_path, epochs=3, print_interval=100)
    assert f"step {STEPS + 1} (epoch 2) went wrong: the loss is inf; likely cause: too large a rate" in str(error.value)
    assert str(error.value).endswith(f"the last good checkpoint is {tmp_path / 'model.ckpt-3'}")
    stored = checkpoints.read(tmp_path)
    checkpoints.restore(net, stored, with_rate=True)
    assert state(net) == good and stored.progress["iteration"] == STEPS


def test_skip_leaves_the_step_out_and_counts_it(net, data, tmp_path, caplog):
    data["train"].X[7, 0, 0, 0, 0] = MARK
    seen, step = [], net.train_step

    def train_step(frames):
        before = state(net)
        loss = step(frames)
        seen.append((bool(np.isfinite(loss)), state(net) == before))
        return loss

    net.train_step = train_step
    try:
        with caplog.at_level("INFO", "tf"):
            train(net, data, tmp_path, epochs=2, on_nan="skip")
    finally:
        net.train_step = step
    assert len(seen) == 2 * STEPS and sum(not finite for finite, _ in seen) == 2
    assert all(unchanged != finite for finite, unchanged in seen)  # unchanged exactly where not finite
    assert [r.getMessage() for r in caplog.records if r.name == "tf.note"] == [
        f"1 of the {STEPS} steps of epoch {epoch} were left out (--on_nan=skip)" for epoch in (1, 2)
    ]
    assert checkpoints.read(tmp_path).progress["left_out"] == 2


def test_a_run_that_left_steps_out_goes_on_with_stop(net, data, tmp_path):
    bad = data["train"].order(1)[0]
    kept, data["train"].X[bad, 0, 0, 0, 0] = int(data["train"].X[bad, 0, 0, 0, 0]), MARK
    train(net, data, tmp_path, epochs=1, on_nan="skip")
    stored = checkpoints.read(tmp_path)
    assert stored.progress["left_out"] == 1
    data["train"].X[bad, 0, 0, 0, 0] = kept
    net.go_on_from(stored.progress)
    before = state(net)
    train(net, data, tmp_path, epochs=2, on_nan="stop", print_interval=1)
    assert state(net) != before and checkpoints.read(tmp_path).progress["left_out"] == 1
    data["train"].X[data["train"].order(3)[5], 0, 0, 0, 0] = MARK
    with pytest.raises(ExperimentError, match=rf"step {2 * STEPS + 1} \(epoch 3\) went wrong: the loss is inf"):
        train(net, data, tmp_path, epochs=3, on_nan="stop", print_interval=100)


def test_an_epoch_in_which_every_step_goes_wrong_stops_even_with_skip(net, data, tmp_path):
    put_both_objects_in_the_middle(net)
    with pytest.raises(ExperimentError, match="epoch 1: every step went wrong and was left out; no checkpoint"):
        train(net, data, tmp_path, epochs=2, on_nan="skip")


def test_a_runaway_is_told_from_a_collision(net, data, tmp_path):
    net.cell.log_k.assign(60.0)
    with pytest.raises(ExperimentError, match=r"likely cause: the rollout runs away .* take a smaller --base_lr"):
        train(net, data, tmp_path, epochs=1)


def test_weights_that_were_broken_before_are_named(net, data, tmp_path):
    net.decoder.logsigma.assign(np.nan)
    with pytest.raises(ExperimentError, match="weights were not finite before: net/decoder/logsigma"):
        train(net, data, tmp_path, epochs=1)


# Disks


def test_a_file_size_limit_leaves_the_last_good_checkpoint(net, data, tmp_path):
    train(net, data, tmp_path, epochs=1)
    good = state(net)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(ExperimentError) as error:
            train(net, data, tmp_path, epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the checkpoint cannot be written (" in str(error.value) and "File too large" in str(error.value)
    assert str(error.value).endswith(f"the last good checkpoint is {tmp_path / 'model.ckpt-3'}")
    assert_last_good(net, tmp_path, good)


def assert_last_good(net, folder: Path, good: dict[str, bytes]) -> None:
    checkpoints.restore(net, checkpoints.read(folder), with_rate=True)
    assert state(net) == good
    assert_tidy(folder)
    assert len(list(folder.glob("model.ckpt*"))) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 9 MB; a checkpoint of TINY has 6."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system; the file size limit's test stands for it")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(net, data, small_disk):
    train(net, data, small_disk, epochs=1)
    good = state(net)
    with pytest.raises(ExperimentError) as error:
        train(net, data, small_disk, epochs=2)
    assert "the checkpoint cannot be written (" in str(error.value) and "No space left on device" in str(error.value)
    assert_last_good(net, small_disk, good)


def test_a_log_on_a_full_disk_is_one_line_and_no_traceback(small_disk, capfd):
    log = save_dir.open_log(small_disk)
    (small_disk / "filler").write_bytes(bytes(9 * 2**20 - 8192))
    try:
        with pytest.raises(ExperimentError, match=r"log.txt: cannot be written \(No space left on device\)"):
            for _ in range(1000):
                save_dir.logging.getLogger("tf").warning("x" * 100)
    finally:
        save_dir.close_log(log)
    assert "Traceback" not in capfd.readouterr().err


def test_a_read_only_disk(net, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ExperimentError, match=r"cannot be written to \(Read-only file system\)"):
        save_dir.make_folder(small_disk / "run")
    with pytest.raises(ExperimentError, match=r"the checkpoint cannot be written \(Read-only file system\)"):
        checkpoints.save(net, small_disk)


def test_folders_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExperimentError, match=r"cannot be written to \(Not a directory\)"):
        save_dir.make_folder(tmp_path / "file" / "run")
    if os.getuid():
        (tmp_path / "closed").mkdir(mode=0o555)
        with pytest.raises(ExperimentError, match=r"cannot be written to \(Permission denied\)"):
            save_dir.make_folder(tmp_path / "closed" / "run")


# Checkpoints


def test_the_newest_whole_checkpoint_is_gone_back_to(net, data, tmp_path, caplog):
    train(net, data, tmp_path, epochs=3, keep_checkpoints=2)
    assert checkpoints.listed(tmp_path) == ["model.ckpt-9", "model.ckpt-6"]
    assert len(list(tmp_path.glob("model.ckpt*"))) == 4
    file = tmp_path / "model.ckpt-9.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ExperimentError, match="model.ckpt-9: damaged or incomplete checkpoint"):
        checkpoints.read(tmp_path)
    assert checkpoints.read_newest_whole(tmp_path).progress["iteration"] == 6
    assert "trying the one before it" in caplog.text


def test_what_was_not_deleted_in_time_is_deleted_next_time(net, data, tmp_path, monkeypatch):
    train(net, data, tmp_path, epochs=1)
    with monkeypatch.context() as patch:  # killed before it deletes
        patch.setattr(checkpoints.os, "unlink", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(net, data, tmp_path, epochs=2)
    assert len(list(tmp_path.glob("model.ckpt*.index"))) == 2 and checkpoints.find(tmp_path).endswith("ckpt-6")
    train(net, data, tmp_path, epochs=3)
    assert [file.name for file in tmp_path.glob("*.index")] == [f"model.ckpt-{3 * STEPS}.index"]


def test_the_originals_checkpoint_is_not_deleted(net, tmp_path):
    from physics_models.tf1_checkpoint import write_tf1

    arrays = {name: variable.numpy() for name, variable in net.variables_by_name().items()}
    write_tf1(arrays, tmp_path)
    before = (tmp_path / "model.ckpt.index").read_bytes()
    checkpoints.save(net, tmp_path)
    assert checkpoints.find(tmp_path).endswith("model.ckpt-0")
    assert (tmp_path / "model.ckpt.index").read_bytes() == before


def test_a_checkpoint_never_replaces_one_of_the_same_name(net, tmp_path):
    assert [Path(checkpoints.save(net, tmp_path, keep=2)).name for _ in range(3)] == [
        "model.ckpt-0", "model.ckpt-0-2", "model.ckpt-0-3"
    ]  # fmt: skip
    assert checkpoints.listed(tmp_path) == ["model.ckpt-0-3", "model.ckpt-0-2"]
