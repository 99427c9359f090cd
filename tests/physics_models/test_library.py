"""The network from Python, and exported: the examples of docs/library.md run, and give the same numbers."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from physics_models import experiment, export
from physics_models.errors import ExperimentError
from physics_models.library import check_video, load_network, predict
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, Task
from physics_models.tf1_checkpoint import write_tf1
from physics_models.video_lstm import VideoLSTM

ROOT = Path(__file__).parents[2]
TINY = Task("custom", "spring_ode_cell", 8, 10, input_steps=3, pred_steps=4, img_size=16, n_objs=2)


def write_run(folder: Path, task: Task = TINY, **settings) -> PhysicsNet:
    """An experiment of `task` in `folder`, its weights random."""
    folder.mkdir(parents=True)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task, **settings)
    net.build_optimizer(1e-3)
    experiment.write_marker(folder, {"epochs": 500}, net.get_config())
    net.save(folder, {"epoch": 0})
    return net


def random_video(*shape: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def copy(run: Path, folder: Path) -> Path:
    """A copy of the experiment `run` in `folder`, which is new."""
    folder.mkdir()
    for file in run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "run"
    write_run(folder)
    return folder


@pytest.fixture(scope="module")
def net(run) -> PhysicsNet:
    return load_network(run)


def examples(title: str) -> list[str]:
    """The Python blocks of the section `title` of docs/library.md."""
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"(?ms)^## {title}\n(.*?)(?=^## |\Z)", text)
    return re.findall(r"(?ms)^```python\n(.*?)^```", section)


def run_alone(code: str, folder: Path) -> str:
    """What Python prints for `code` in `folder`, with the installed packages but without this project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    checked = f"import sys\n{code}\nassert not {{'physics_models', 'nn'}} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", checked], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_of_the_page(tmp_path, monkeypatch, capsys):
    """Both sections, one after the other, on a run of spring_color."""
    task = TASKS["spring_color"]
    net = write_run(tmp_path / "experiments" / "first", task)
    video = random_video(6, 12, 32, 32, 3)
    monkeypatch.chdir(tmp_path)
    short, by_hand = examples("Use as a library")
    (file,) = re.findall(r'np.load\("(.*)"\)', short)
    np.savez(file, test_x=video)
    assert len(short.splitlines()) <= 10
    namespace: dict = {}
    exec(short, namespace)
    assert namespace["future"].shape == (5, 100, 32, 32, 3) and namespace["future"].dtype == np.float32
    assert namespace["net"].parameters() == net.parameters()
    exec(by_hand, namespace)
    assert capsys.readouterr().out.splitlines() == [
        f"(5, 100, 32, 32, 3) {net.parameters()}", "(5, 10, 4) (5, 8, 32, 32, 3)"
    ]  # fmt: skip
    export.main(["experiments/first", "exported"])
    (example,) = examples("Export")
    printed = run_alone(f"{example}\nnp.savez('found.npz', **future)\nprint(model.task().numpy().decode())", tmp_path)
    first, second = printed.splitlines()
    shape, _, learned = first.partition(" {")
    assert (shape, ast.literal_eval("{" + learned)) == ("(5, 100, 32, 32, 3)", net.parameters())  # in any order
    assert json.loads(second) == {**asdict(task), "channels": 3}
    with np.load("found.npz") as found:
        np.testing.assert_array_equal(found["frames"], namespace["future"])
        np.testing.assert_allclose(found["positions"][:, 0], first_positions(net, video[:5]), rtol=1e-6)


def first_positions(net: PhysicsNet, video: np.ndarray) -> np.ndarray:
    """Positions [B, 2N] one step after the end of `video`."""
    rollout = net(net.to_float(tf.constant(video[:, -net.task.input_steps :])), steps=1)
    return net.positions(rollout.pos_vel_seq)[:, 1].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("cell_type", ["bouncing_ode_cell", "lstm"])
def test_other_cells_are_exported_as_well(tmp_path, cell_type):
    net = write_run(tmp_path / "run", replace(TINY, cell_type=cell_type), color=False)
    assert not any("angles" in line for line in export.export(tmp_path / "run", tmp_path / "out"))
    model = tf.saved_model.load(str(tmp_path / "out"))
    frames = random_video(1, 8, 16, 16, 1).astype(np.float32) / 255
    found = model.predict(frames, 7)["frames"]
    # Of the LSTM's gates TensorFlow fuses other operations here than there: the last bit may differ.
    np.testing.assert_allclose(found, predict(net, frames, 7), atol=1e-6 if cell_type == "lstm" else 0, rtol=0)
    np.testing.assert_allclose(model.encode(frames)["positions"], net.encode(frames)[0], atol=1e-5)
    assert {name: float(value) for name, value in model.parameters().items()} == net.parameters()


def test_the_future_begins_after_the_last_frame(net):
    video = random_video(2, 8, 16, 16, 3)
    frames = tf.cast(video, tf.float32)[:, -3:] / 255
    expected = net(tf.concat([frames, frames[:, :2]], axis=1)).output  # what follows three input frames
    np.testing.assert_allclose(predict(net, video, 2), expected, atol=1e-6)


def well_conditioned(net: PhysicsNet) -> PhysicsNet:
    """`net` with its objects apart and pulled gently; untrained, all start at one point, and amplify rounding."""
    net.build(net.frame_shape)
    for scalar in ("log_k", "log_g"):
        if hasattr(net.cell, scalar):
            getattr(net.cell, scalar).assign(-3.0)
    initial_state = net.initial_state
    apart = tf.linspace(-6.0, 6.0, 2 * net.task.n_objs)

    def start(enc_pos):
        positions, *rest = initial_state(enc_pos)
        return positions + apart, *rest

    net.initial_state = start
    return net


SPRING = Task("spring_color", "spring_ode_cell", 12, 30, input_steps=4, pred_steps=6, img_size=16, n_objs=2)
BODIES = Task("3bp_color", "gravity_ode_cell", 20, 40, input_steps=4, pred_steps=12, img_size=20, n_objs=3)
BLACK_BOX = replace(SPRING, cell_type="lstm")


@pytest.mark.parametrize(
    ("task", "settings", "steps"),
    [
        (SPRING, {}, 60),
        pytest.param(BODIES, {}, 60, marks=pytest.mark.slow),
        pytest.param(SPRING, {"alt_vel": True}, 120, marks=pytest.mark.slow),
        pytest.param(BLACK_BOX, {}, 60, marks=pytest.mark.slow),
    ],
)
def test_a_prediction_decoded_in_parts_is_the_forward_pass(task, settings, steps):
    """Of more steps than are decoded at once."""
    tf.keras.utils.set_random_seed(0)
    net = well_conditioned(PhysicsNet(task, **settings))
    frames = tf.random.stateless_uniform([2, task.input_steps + steps, task.img_size, task.img_size, 3], [3, 4])
    whole = net(frames).output.numpy()
    future = predict(net, frames[:, : task.input_steps].numpy(), steps)
    np.testing.assert_allclose(future, whole, atol=1e-5)
    assert np.abs(np.diff(whole, axis=1)).max() > 1e-3  # there is motion to compare


def test_one_video_floats_and_no_step_at_all(net):
    video = random_video(1, 8, 16, 16, 3)
    both = predict(net, video, 4)
    np.testing.assert_array_equal(predict(net, video[0], 4), both[0])
    np.testing.assert_array_equal(predict(net, video.astype(np.float64) / 255, 4), both)
    assert predict(net, video, 0).shape == (1, 0, 16, 16, 3)


def test_a_grey_network_takes_uint8_in_colour():
    check_video(PhysicsNet(TINY, color=False), random_video(1, 3, 16, 16, 3))


@pytest.mark.parametrize(
    "video",
    [
        np.zeros([8, 16, 16], np.uint8),
        np.zeros([8, 32, 32, 3], np.uint8),
        np.zeros([8, 16, 16, 1], np.uint8),
        np.zeros([2, 16, 16, 3], np.uint8),
        np.zeros([0, 8, 16, 16, 3], np.uint8),
        np.zeros([8, 16, 16, 3], int),
        np.full([8, 16, 16, 3], 255.0),
        np.full([8, 16, 16, 3], np.nan),
    ],
    ids=["without channels", "too large", "grey", "too short", "no video", "int64", "floats to 255", "NaN"],
)
def test_videos_that_do_not_fit(net, video):
    with pytest.raises(ExperimentError, match="the video"):
        predict(net, video, 2)


def test_a_video_lstm_is_loaded_as_one_and_is_neither_exported_nor_asked_for_positions(tmp_path, capsys):
    net = VideoLSTM(TINY, recurrent_units=8)
    net.build_optimizer(1e-3)
    (tmp_path / "run").mkdir()
    experiment.write_marker(tmp_path / "run", {}, net.get_config())
    net.save(tmp_path / "run", {"epoch": 0})
    loaded, video = load_network(tmp_path / "run"), random_video(2, 8, 16, 16, 3)
    assert isinstance(loaded, VideoLSTM) and loaded.get_config() == net.get_config()
    np.testing.assert_array_equal(loaded(net.to_float(video)).output, net(net.to_float(video)).output)
    with pytest.raises(ExperimentError, match="VideoLSTM has no positions"):
        predict(loaded, video, 3)
    with pytest.raises(SystemExit):
        export.main([str(tmp_path / "run"), str(tmp_path / "out")])
    assert "VideoLSTM has no positions" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_settings_come_from_the_marker(tmp_path):
    settings = {"alt_vel": True, "vel_encoder": "gauss_newton", "calibrated_coords": True, "autoencoder_loss": 3.0}
    made = write_run(tmp_path / "run", color=False, **settings)
    net = load_network(tmp_path / "run")
    assert net.get_config() == made.get_config()
    for name, variable in made.variables_by_name().items():
        np.testing.assert_array_equal(net.variables_by_name()[name], variable, err_msg=name)


def test_a_marker_of_version_1(tmp_path, run):
    """Its flags hold the network's settings and others."""
    folder = copy(run, tmp_path / "old")
    marker = json.loads((folder / "experiment.json").read_text())
    task = marker["config"].pop("task")
    settings = {**marker["config"], "epochs": 500, "on_nan": "stop"}
    del settings["mixed_precision"]
    old = {"version": 1, "run": 5, "task": task, "settings": settings}
    (folder / "experiment.json").write_text(json.dumps(old))
    assert load_network(folder).get_config() == load_network(run).get_config()


def test_a_folder_of_the_originals(tmp_path):
    """Which has a log.txt with the flags, and TF1's checkpoint; there --cell_type had no effect."""
    made = PhysicsNet(TASKS["spring_color"], color=False, recurrent_units=7)
    write_tf1({name: variable.numpy() for name, variable in made.variables_by_name().items()}, tmp_path)
    with pytest.raises(ExperimentError, match="log.txt"):
        load_network(tmp_path)
    start = "2026-01-01 10:00:00,123 - tf - runners/run_physics.py\n"
    for flags in (["--task=springs"], [], ["--task=spring_color", "--cell_type=lstm", "--recurrent_units=many"]):
        (tmp_path / "log.txt").write_text(start + "".join(f"{flag}\n" for flag in flags))
        with pytest.raises(ExperimentError, match="log.txt"):
            load_network(tmp_path)
    flags = ["--task=spring_color", "--cell_type=lstm", "--recurrent_units=7", "--autoencoder_loss", "3", "--nocolor"]
    (tmp_path / "log.txt").write_text(start + "".join(f"{flag}\n" for flag in flags))
    net = load_network(tmp_path)
    assert net.get_config() == {**made.get_config(), "autoencoder_loss": 3.0}
    for name, variable in made.variables_by_name().items():
        np.testing.assert_array_equal(net.variables_by_name()[name], variable, err_msg=name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.pop("task"), "experiment.json"),
        (lambda config: config["task"].pop("n_objs"), "experiment.json"),
        (lambda config: config["task"].update(img_size="16"), "experiment.json"),
        (lambda config: config["task"].update(img_size=10**9), "experiment.json"),
        (lambda config: config.update(decoder_type="vae"), "--decoder_type=vae"),
        (lambda config: config.update(color=False), "model.ckpt-0"),
        (lambda config: (config["task"].update(cell_type="lstm"), config.update(recurrent_units=0)), "experiment.json"),
    ],
)
def test_markers_that_do_not_describe_the_network(tmp_path, run, change, named):
    folder = copy(run, tmp_path / "changed")
    marker = json.loads((folder / "experiment.json").read_text())
    change(marker["config"])
    (folder / "experiment.json").write_text(json.dumps(marker))
    with pytest.raises(ExperimentError, match=named) as raised:
        load_network(folder)
    assert "\n" not in str(raised.value)


def error_line(arguments: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as end:
        export.main(arguments)
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_an_export_replaces_nothing_and_fails_in_one_line(tmp_path, run, capsys, monkeypatch):
    monkeypatch.setattr(export, "load_network", functools.cache(load_network))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for dest in ("full", "file", "file/below"):
        assert f"{tmp_path}/{dest}" in error_line([str(run), str(tmp_path / dest)], capsys)
    assert f"{tmp_path}/none" in error_line([str(tmp_path / "none"), str(tmp_path / "new")], capsys)
    assert "OUT_DIR" in error_line([str(run)], capsys)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    assert "No space left on device" in error_line([str(run), str(tmp_path / "empty")], capsys)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"
