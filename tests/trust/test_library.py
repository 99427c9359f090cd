"""The network from Python, and exported: the README's examples run, and tell the same numbers."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import ROOT, film

from physics_models import checkpoints, experiment, export, save_dir
from physics_models.errors import ExperimentError
from physics_models.library import load_network, predict
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, Task
from physics_models.tf1_checkpoint import write_tf1

TINY = Task("custom", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)
SETTINGS = {
    "color": True, "autoencoder_loss": 3.0, "alt_vel": False, "encoder_type": "conv_encoder",
    "decoder_type": "conv_st_decoder", "recurrent_units": 100, "lstm_layers": 1, "vel_encoder": "mlp",
    "calibrated_coords": False,
}  # fmt: skip


def write_run(folder: Path, task: Task, color: bool = True) -> PhysicsNet:
    """An experiment of `task` in `folder`, its weights random."""
    folder.mkdir(parents=True)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task, color=color)
    net.build_optimizer(1e-3)
    experiment.write_marker(folder, {**SETTINGS, "color": color}, task)
    checkpoints.save(net, folder)
    return net


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "run"
    write_run(folder, TINY)
    return folder


@pytest.fixture(scope="module")
def net(run) -> PhysicsNet:
    return load_network(run)


def examples(title: str) -> list[str]:
    """The Python blocks of the README's section `title`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## )", text)
    return re.findall(r"(?ms)^```python\n(.*?)^```", section)


def alone(code: str, folder: Path) -> str:
    """What Python prints for `code` in `folder`, with the installed packages but without this project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    checked = f"import sys\n{code}\nassert not {{'physics_models', 'nn'}} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", checked], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_of_the_readme(tmp_path, monkeypatch, capsys):
    """Both sections, one after the other, on a run of spring_color."""
    task = TASKS["spring_color"]
    net = write_run(tmp_path / "experiments" / "first", task)
    video = np.random.RandomState(0).randint(0, 256, [6, 12, 32, 32, 3]).astype(np.uint8)
    np.savez(tmp_path / "film.npz", test_x=video)
    monkeypatch.chdir(tmp_path)
    short, by_hand = examples("Use as a library")
    assert len(short.splitlines()) <= 10
    namespace: dict = {}
    exec(short, namespace)
    assert namespace["future"].shape == (5, 100, 32, 32, 3) and namespace["future"].dtype == np.float32
    assert namespace["net"].parameters() == net.parameters()
    exec(by_hand, namespace)
    assert capsys.readouterr().out.splitlines() == [
        f"(5, 100, 32, 32, 3) {net.parameters()}", "(5, 10, 4) (5, 8, 32, 32, 3)"
    ]  # fmt: skip
    export.export("experiments/first", "exported")
    (example,) = examples("Export")
    told = alone(f"{example}\nnp.savez('found.npz', **future)\nprint(model.task().numpy().decode())", tmp_path)
    first, second = told.splitlines()
    shape, _, learned = first.partition(" {")
    assert (shape, ast.literal_eval("{" + learned)) == ("(5, 100, 32, 32, 3)", net.parameters())  # in any order
    assert json.loads(second) == {**{name: getattr(task, name) for name in Task.__annotations__}, "channels": 3}
    with np.load("found.npz") as found:
        np.testing.assert_array_equal(found["frames"], namespace["future"])
        np.testing.assert_allclose(found["positions"][:, 0], first_positions(net, video[:5]), rtol=1e-6)


def first_positions(net: PhysicsNet, video: np.ndarray) -> np.ndarray:
    """Positions [B, 2N] one step after the end of `video`."""
    rollout = net(net.to_float(tf.constant(video[:, -net.task.input_steps :])), steps=1)
    return net.positions(rollout.pos_vel_seq)[:, 1].numpy()


@pytest.mark.parametrize("task", [TASKS["bouncing_balls"], replace(TINY, cell_type="lstm")])
def test_other_cells_are_exported_as_well(tmp_path, task):
    net = write_run(tmp_path / "run", task, color=False)
    video = film(1, 8)[..., :1].repeat(task.img_size // 16, 2).repeat(task.img_size // 16, 3)
    export.export(tmp_path / "run", tmp_path / "out")
    model = tf.saved_model.load(str(tmp_path / "out"))
    found = model.predict(video.astype(np.float32) / 255, 7)["frames"]
    # Of the LSTM's gates TensorFlow fuses other operations here than there: the last bit may differ.
    np.testing.assert_allclose(found, predict(net, video, 7), atol=1e-6 if task.cell_type == "lstm" else 0, rtol=0)
    assert {name: float(value) for name, value in model.parameters().items()} == net.parameters()


def test_the_future_begins_after_the_last_frame(net):
    video = film(2, 8)
    frames = tf.cast(video, tf.float32)[:, -3:] / 255
    expected = net(tf.concat([frames, frames[:, :2]], axis=1)).output  # what follows three input frames
    np.testing.assert_allclose(predict(net, video, 2), expected, atol=1e-6)


def test_one_film_and_floats_and_no_step_at_all(net):
    video = film(1, 8)
    both = predict(net, video, 4)
    np.testing.assert_array_equal(predict(net, video[0], 4), both[0])
    np.testing.assert_array_equal(predict(net, video.astype(np.float64) / 255, 4), both)
    assert predict(net, video, 0).shape == (1, 0, 16, 16, 3)


@pytest.mark.parametrize(
    "video, why",
    [
        (np.zeros([8, 16, 16]), r"the video has shape \[8, 16, 16\]; give \[B, T, 16, 16, 3\], or one film without B"),
        (np.zeros([8, 32, 32, 3]), r"has shape \[1, 8, 32, 32, 3\]; this network takes \[B, T, 16, 16, 3\]"),
        (np.zeros([8, 16, 16, 1]), "this network takes"),
        (np.zeros([2, 16, 16, 3]), "the video has 2 frames; this network needs 3"),
        (np.zeros([0, 8, 16, 16, 3]), r"the video holds no film: it has shape \[0, 8, 16, 16, 3\]"),
        (np.zeros([8, 16, 16, 3], int), "the video is int64; give uint8"),
        (np.full([8, 16, 16, 3], 255.0), "numbers that are not from 0 to 1"),
        (np.full([8, 16, 16, 3], np.nan), "numbers that are not from 0 to 1"),
    ],
)
def test_videos_that_do_not_fit(net, video, why):
    with pytest.raises(ExperimentError, match=why):
        predict(net, video, 2)


def test_a_folder_of_the_originals(tmp_path):
    """Which has a log.txt with the flags, and TF1's checkpoint."""
    task = replace(TASKS["spring_color"], cell_type="lstm")
    made = PhysicsNet(task, color=False, recurrent_units=7)
    write_tf1({name: variable.numpy() for name, variable in made.variables_by_name().items()}, tmp_path)
    flags = ["runners/run_physics.py", "--task=spring_color", "--cell_type=lstm", "--recurrent_units=7"]
    with pytest.raises(ExperimentError, match=r"has neither experiment.json nor log.txt"):
        load_network(tmp_path)
    (tmp_path / "log.txt").write_text("2026-01-01 10:00:00,123 - tf - " + "\n".join(flags) + "\n")
    net = load_network(tmp_path)
    assert net.task == task and net.channels == 1
    for name, variable in made.variables_by_name().items():
        np.testing.assert_array_equal(net.variables_by_name()[name], variable, err_msg=name)


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda marker: marker["task"].pop("n_objs"), "damaged: it does not describe a task"),
        (lambda marker: marker["task"].update(img_size="16"), "damaged: it does not describe a task"),
        (lambda marker: marker["task"].update(img_size=10**9), "damaged: it does not describe a task"),
        (lambda marker: marker["settings"].pop("color"), "does not say what 'color' was"),
        (lambda marker: marker["settings"].update(recurrent_units=[]), "damaged settings"),
        (lambda marker: marker["settings"].update(color=False), "it is a checkpoint of another task or other settings"),
    ],
)
def test_markers_that_do_not_say_what_network_it_is(tmp_path, run, change, why):
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    marker = json.loads((run / "experiment.json").read_text())
    change(marker)
    (tmp_path / "experiment.json").write_text(json.dumps(marker))
    with pytest.raises(ExperimentError, match=why):
        load_network(tmp_path)


def exported_line(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as end:
        export.main(arguments)
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_an_export_replaces_nothing_and_fails_in_one_line(tmp_path, run, capsys, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for dest, why in [
        ("full", f"{tmp_path}/full: exists and is not empty; give a new folder"),
        ("file", f"{tmp_path}/file: {tmp_path}/file is a file; give another folder"),
        ("file/below", f"{tmp_path}/file/below: {tmp_path}/file is a file; give another folder"),
    ]:
        assert exported_line([str(run), str(tmp_path / dest)], capsys) == f"error: {why}"
    line = exported_line([str(tmp_path / "none"), str(tmp_path / "new")], capsys)
    assert line == f"error: {tmp_path}/none: no such folder; give the folder of a trained experiment"
    assert exported_line([str(run)], capsys).endswith("required: OUT_DIR; see --help")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(save_dir, "synchronise", fail)
        line = exported_line([str(run), str(tmp_path / "new")], capsys)
    assert line == f"error: {tmp_path}/new: cannot be written (No space left on device)"
    assert sorted(tmp_path.rglob("*")) == before
