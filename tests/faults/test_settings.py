"""The user's global settings of Keras, Matplotlib, Python and clusters change no result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tiny_run import ROOT, environment

import physics_models
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS

DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "backend": "tensorflow", "image_data_format": "channels_last"}
CODE = """
import sys
from runners import plots, run_physics
from nn import stn
import test_settings
from runners.compare.figures import Panel, draw_panels
import os, matplotlib
print(test_settings.first_loss(), os.environ["KERAS_BACKEND"], os.environ["TF_USE_LEGACY_KERAS"])
draw_panels([Panel("loss", "step", {"A": [(0, 1), (1, 2)]})])
print(plots.matplotlib.rcParams["text.usetex"], stn.default_resampler().__name__.startswith("resampler"))
"""


def first_loss() -> float:
    """The loss of a training step that Keras's number type, epsilon, image format and random numbers go into."""
    tf.keras.utils.set_random_seed(1)
    net = PhysicsNet(replace(TASKS["spring_color"], img_size=16), autoencoder_loss=3.0)
    frames = np.random.RandomState(0).rand(1, 12, 16, 16, 3).astype(np.float32)
    return float(net.train_loss(tf.constant(frames)))


def python(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    rooms = [str(ROOT), *(str(Path(__file__).parents[1] / room) for room in ("", "faults", "trust"))]
    env = {**environment(), "PYTHONPATH": os.pathsep.join(rooms), **settings}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True)


def write_settings(folder: Path, **settings: object) -> dict[str, str]:
    """A keras.json of such settings, and the variable that names its folder."""
    (folder / "keras.json").write_text(json.dumps({**DEFAULTS, **settings}))
    return {"KERAS_HOME": str(folder)}


@pytest.mark.slow
def test_all_settings_at_once(tmp_path):
    """The same loss as without them, to the bit; Keras's variables are as before for other programs."""
    keras = write_settings(
        tmp_path, floatx="float64", epsilon=0.5, backend="theano", image_data_format="channels_first", nnx_enabled=True
    )
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.figsize: 100000, 100000\n")
    done = python(
        "-c", CODE, **keras, KERAS_BACKEND="jax", TF_USE_LEGACY_KERAS="1", MPLBACKEND="inline.of.another.program",
        MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), PYTHONIOENCODING="ascii",
        TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222"]}, "task": {"type": "worker", "index": 0}}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(first_loss()), "jax", "1", "True", "True"]
    assert "Addons" not in done.stderr and "UserWarning" not in done.stderr  # the notice that its import gives


@pytest.mark.slow  # the message itself is in the next test
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"floatx": "bfloat16"}, id="a type that Keras does not know"),
        pytest.param({"epsilon": "tiny"}, id="a word for a number"),
        pytest.param({"image_data_format": "th"}, id="of Keras 1"),
    ],
)
def test_settings_that_keras_does_not_start_with(tmp_path, settings):
    done = python("-m", "physics_models.export", "a", "b", **write_settings(tmp_path, **settings))
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and str(tmp_path / "keras.json") in line


def test_keras_is_in_use_with_another_backend(monkeypatch):
    """In a notebook, before this project is imported; the other backends are not installed here."""
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(SystemExit) as end:
        physics_models._import_tensorflow()
    assert str(end.value).startswith("error: ") and "jax" in str(end.value) and "new process" in str(end.value)


def test_settings_that_keras_refuses_are_one_line(monkeypatch, tmp_path):
    """As Keras raises it while it is imported."""

    def refuse(name: str) -> None:
        raise ValueError(f"Unknown floatx\ntype: {name}")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(tf.keras.backend, "set_floatx", refuse)
    with pytest.raises(SystemExit) as end:
        physics_models._import_tensorflow()
    line = str(end.value)
    assert line.startswith("error: ") and "\n" not in line and str(tmp_path / "keras.json") in line


def test_a_cluster_left_over_is_one_line(tmp_path):
    """Without it the command goes on to look for its data file."""
    from command import run_command

    flags = ["--task=custom", "--cell_type=lstm", f"--data_file={tmp_path}/no.npz", f"--save_dir={tmp_path}/run"]
    for cluster in ({"worker": ["a:1", "b:1"]}, {"chief": ["a:1"], "worker": ["b:1"]}, {"worker": [1, 2]}, "text"):
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
            ended = run_command("paig-run-physics", *flags)
        assert ended.code == 1 and len(ended.err.splitlines()) == 1 and "TF_CONFIG" in ended.err
    assert "no.npz" in run_command("paig-run-physics", *flags).err
    assert os.listdir(tmp_path) == []
