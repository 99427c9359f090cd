"""Mistakes: exit code 1, one line on stderr that names the flag or the file, nothing on the disk changed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command import Ended, run_command
from one_command import load_command
from physics_command import run_there
from tiny_run import ROOT, environment, write_data

from physics_models import checkpoints, experiment, summaries
from runners import run_physics

SPRING = "--task=spring_color --color --save_dir={tmp}/new"
CUSTOM = (
    "--task=custom --cell_type=spring_ode_cell --color --batch_size=4 --input_steps=3 --pred_steps=4 "
    "--data_file={tmp}/train.npz --test_data_file={tmp}/test.npz --save_dir={tmp}/new"
)
MISTAKES = [  # of run_physics: the usual flags, the mistake, what the line names
    # flags
    (SPRING, "--epoch=3", "epoch"),
    (SPRING, "epochs=3", "epochs=3"),
    (SPRING, "--epochs=ten", "epochs"),
    (SPRING, "--nocolor=true", "nocolor"),
    (SPRING, "--batch_size=0", "--batch_size=0"),
    (SPRING, "--epochs=0", "--epochs=0"),
    (SPRING, "--base_lr=nan", "--base_lr=nan"),
    (SPRING, "--autoencoder_loss=-1", "--autoencoder_loss=-1"),
    (SPRING, "--seed=-1", "--seed=-1"),
    (SPRING, "--task=springs", "--task=springs"),
    (SPRING, "--task=", "spring_color_half"),
    (SPRING, "--cell_type=pendulum", "--cell_type=pendulum"),
    (SPRING, "--optimizer=adamw", "--optimizer=adamw"),
    (SPRING, "--device=gpu:7", "--device=gpu:7"),
    (SPRING, "--save_dir=", "--save_dir"),
    (SPRING, "--test_mode", "--use_ckpt"),
    (SPRING, "--ckpt_dir=other", "--ckpt_dir=other"),
    (SPRING, "--n_objs=3", "--n_objs"),
    (SPRING, "--autoencoder_steps=5", "--autoencoder_steps"),
    (SPRING, "--schedule=staged --autoencoder_steps=0", "--autoencoder_steps=0"),
    (SPRING, "--schedule=staged --epochs=3", "--epochs"),
    (SPRING, "--task=custom", "--data_file"),
    # data files
    (CUSTOM, "--data_file={tmp}/no.npz", "{tmp}/no.npz"),
    (CUSTOM, "--data_file={tmp}/cut.npz", "{tmp}/cut.npz"),
    (CUSTOM, "--data_file={tmp}/objects.npz", "{tmp}/objects.npz"),  # a pickle could run anything
    (CUSTOM, "--data_file={tmp}/lacking.npz", "test_x"),
    (CUSTOM, "--data_file={tmp}/floats.npz", "{tmp}/floats.npz"),
    (CUSTOM, "--input_steps=5", "{tmp}/train.npz"),
    (CUSTOM, "--test_data_file={tmp}/large.npz", "{tmp}/large.npz"),
    (CUSTOM, "--data_file={tmp}/grey.npz --test_data_file={tmp}/grey.npz", "--color"),
    (CUSTOM, "--data_file={tmp}/mine/thesis.tex", "{tmp}/mine/thesis.tex"),
    (CUSTOM, "--batch_size=41", "--batch_size=41"),
    (CUSTOM, "--datapoints=41", "--datapoints=41"),
    (CUSTOM, "--n_objs=1", "--cell_type=spring_ode_cell"),
    (SPRING, "--data_dir={tmp}/train.npz", "--data_dir={tmp}/train.npz"),
    # where to write
    (CUSTOM, "--save_dir={tmp}/train.npz", "--save_dir={tmp}/train.npz"),
    (CUSTOM, "--save_dir={tmp}/train.npz/run", "--save_dir={tmp}/train.npz/run"),
    (CUSTOM, "--save_dir={tmp}/link --overwrite", "--save_dir={tmp}/link"),
    (CUSTOM, "--save_dir={tmp}/mine --overwrite", "--save_dir={tmp}/mine"),
    # checkpoints
    (CUSTOM, "--use_ckpt", "{tmp}/new"),
    (CUSTOM, "--use_ckpt --ckpt_dir={tmp}/mine --test_mode", "{tmp}/mine"),
    (CUSTOM, "--use_ckpt --ckpt_dir={tmp}/cut_data", "{tmp}/cut_data/model.ckpt-0"),
    (CUSTOM, "--use_ckpt --ckpt_dir={tmp}/cut_index --test_mode", "{tmp}/cut_index/model.ckpt-0"),
    (CUSTOM, "--use_ckpt --ckpt_dir={tmp}/other_task", "net/encoder/"),
    (CUSTOM, "--resume --save_dir={tmp}/begun", "--base_lr"),
    (CUSTOM, "--resume --save_dir={tmp}/other_task", "--resume"),
    (CUSTOM, "--resume --save_dir={tmp}/marked", "{tmp}/marked/experiment.json"),
]
OTHERS = [  # the other commands
    ("paig-data", "", "--task"),
    ("paig-data", "--tasks=x", "--tasks=x"),
    ("paig-data", "--all --k=3", "--k"),
    ("paig-data", "--task=spring_color --out={tmp}/x.npz --seq_len=-1", "seq_len"),
    ("paig-data", "--task=spring_color --out={tmp}/train.npz", "{tmp}/train.npz"),
    ("paig-tf1-checkpoint", "", "--help"),
    ("paig-tf1-checkpoint", "import {tmp}/no {tmp}/new", "{tmp}/no"),
    ("paig-export", "{tmp}/no {tmp}/new", "{tmp}/no"),
    ("paig-export", "{tmp}/begun {tmp}/new", "{tmp}/begun/experiment.json"),
    ("paig-compare-runs", "", "RUN_A"),
    ("paig-compare-runs", "{tmp}/no {tmp}/no", "{tmp}/no"),
    ("paig-compare-runs", "{tmp}/mine {tmp}/mine", "{tmp}/mine"),
    ("paig-plot-run", "", "--save_dir"),
    ("paig-plot-run", "--save_dir={tmp}/mine", "{tmp}/mine/log.txt"),
    ("paig-plot-run", "--save_dir={tmp}/mine --epochs=3", "--epochs"),
]


def assert_one_line(ended: Ended, named: str) -> None:
    """The command ended with one line on stderr that contains `named`."""
    assert ended.code == 1 and ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ") and named in line


def entries(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """What lies in `folder`: number, size and time of change of each entry."""
    found = {path: path.lstat() for path in sorted(folder.rglob("*"))}
    return {path: (entry.st_ino, entry.st_size, entry.st_mtime_ns) for path, entry in found.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data files, checkpoints and folders, good and bad."""
    tmp = tmp_path_factory.mktemp("place")
    write_data(tmp)
    good = np.load(tmp / "test.npz")["test_x"]

    def data(name: str, **changed: np.ndarray | None) -> None:
        arrays = {"train_x": good, "valid_x": good, "test_x": good, **changed}
        np.savez(tmp / f"{name}.npz", **{key: array for key, array in arrays.items() if array is not None})

    data("lacking", test_x=None)
    data("floats", train_x=good / 255.0)
    data("grey", **{f"{split}_x": good[..., :1] for split in ("train", "valid", "test")})
    data("objects", train_x=np.array([{}], dtype=object))
    data("large", **{f"{split}_x": good.repeat(2, 2).repeat(2, 3) for split in ("train", "valid", "test")})
    (tmp / "cut.npz").write_bytes((tmp / "train.npz").read_bytes()[:-700])
    variables = {"net/encoder/conv2d/kernel": tf.Variable(tf.zeros([3, 3, 3, 7]))}
    for name in ("cut_data", "cut_index", "other_task", "begun"):
        checkpoints.save(tmp / name, variables, {"iteration": 0})
    for name, pattern in (("cut_data", "*.data-*"), ("cut_index", "*.index")):
        (file,) = (tmp / name).glob(pattern)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    experiment.write_marker(tmp / "begun", {"base_lr": 0.1}, {})
    (tmp / "mine").mkdir()
    (tmp / "mine" / "thesis.tex").write_text("mine")
    (tmp / "link").symlink_to(tmp / "begun")
    (tmp / "marked").mkdir()
    (tmp / "marked" / "experiment.json").write_text("{}")
    return tmp


@pytest.fixture(scope="module")
def networks() -> dict:
    """Networks that were built before."""
    return {}


@pytest.fixture(autouse=True)
def one_network(monkeypatch, networks):
    """A network is built once for each task and setting; no mistake in the tables changes one."""
    build = run_physics.build

    def build_once(task, seed=None, track_objects=False):
        key = (task.n_objs, task.cell_type, task.img_size, task.input_steps)
        if key not in networks:
            networks[key] = build(task, seed, track_objects)
        return networks[key]

    monkeypatch.setattr(run_physics, "build", build_once)


@pytest.mark.parametrize(("usual", "mistake", "named"), MISTAKES, ids=[mistake for _, mistake, _ in MISTAKES])
def test_run_physics(place, usual, mistake, named):
    before = entries(place)
    ended = run_command("paig-run-physics", *f"{usual} {mistake}".format(tmp=place).split())
    assert_one_line(ended, named.format(tmp=place))
    assert entries(place) == before


@pytest.mark.parametrize(("name", "arguments", "named"), OTHERS, ids=[f"{name} {more}" for name, more, _ in OTHERS])
def test_other_commands(place, name, arguments, named):
    if name == "paig-plot-run":
        load_command("plot_run")
    before = entries(place)
    assert_one_line(run_command(name, *arguments.format(tmp=place).split()), named.format(tmp=place))
    assert entries(place) == before


def test_tensorboard_that_is_not_installed(place, monkeypatch):
    monkeypatch.setattr(summaries.importlib.util, "find_spec", lambda _: None)
    before = entries(place)
    ended = run_command("paig-run-physics", *CUSTOM.format(tmp=place).split(), "--tensorboard")
    assert_one_line(ended, "--tensorboard")
    assert entries(place) == before


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_tensorboard_is_missing_here(place):
    assert_one_line(run_command("paig-run-physics", *SPRING.format(tmp=place).split(), "--tensorboard"), "TensorBoard")


def test_a_folder_in_which_another_process_works(place):
    """It has the lock, as a run has it from its start to its end."""
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(flush=True)"
    command = [sys.executable, "-c", f"{hold}; sys.stdin.read()", str(place / "begun")]
    before = entries(place)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        for mode in ("--overwrite", "--resume --base_lr=0.1"):
            flags = f"{CUSTOM} --save_dir={{tmp}}/begun {mode}".format(tmp=place).split()
            assert_one_line(run_command("paig-run-physics", *flags), f"--save_dir={place}/begun")
        other.stdin.close()
    assert entries(place) == before


def test_an_error_of_the_program_keeps_its_traceback(place, monkeypatch):
    monkeypatch.setattr(run_physics, "train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_command("paig-run-physics", *SPRING.format(tmp=place).split())


@pytest.mark.slow  # that a training's process prints nothing but its lines is in test_run_physics.py
def test_a_command_prints_nothing_but_its_line(tmp_path):
    """In a process of its own, with TensorFlow's messages as they come."""
    ended = run_there("--task=spring_color", f"--save_dir={tmp_path}/run", "--use_ckpt", "--test_mode")
    assert_one_line(ended, f"{tmp_path}/run")
    assert not any(tmp_path.iterdir())


def test_a_command_that_imports_no_tensorflow_either(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "data_gen", f"--out={tmp_path}/x.npz"],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert_one_line(Ended(ended.returncode, ended.stdout, ended.stderr), "--task")
