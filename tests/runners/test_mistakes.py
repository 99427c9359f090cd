"""Mistakes: one clear line on stderr, exit code 1, nothing on the disk lost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import golden_data
import numpy as np
import pytest
from command import Ended, run_main
from physics_command import ROOT, run_there, save_as_tf1

from data_gen.recipes import RECIPES
from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints
from physics_models.tasks import TASKS
from runners import run_physics


def one_line(done: Ended, *said: str) -> None:
    """The command ended with one line on stderr that says `said`."""
    assert done.code == 1
    assert done.out == ""
    assert re.fullmatch(r"error: [^\n]+\n|FATAL Flags parsing error: [^\n]+\n", done.err), done.err
    assert "Traceback" not in done.err
    for words in said:
        assert words in done.err, done.err


FLAG_MISTAKES = [
    ("--task=pendulum", ["--task=pendulum", *TASKS]),
    ("--task=", ["--task=", *TASKS]),
    ("--model=CNN", ["--model=CNN", "PhysicsNet"]),
    ("--cell_type=pendulum", ["--cell_type=pendulum", "bouncing_ode_cell, gravity_ode_cell, lstm, spring_ode_cell"]),
    ("--encoder_type=mlp", ["--encoder_type=mlp", "conv_encoder"]),
    ("--decoder_type=mlp", ["--decoder_type=mlp", "conv_st_decoder"]),
    ("--optimizer=adamw", ["--optimizer=adamw", *OPTIMIZERS]),
    ("--save_dir=", ["--save_dir is empty"]),
    ("--batch_size=0", ["--batch_size=0", "at least 1"]),
    ("--batch_size=-3", ["--batch_size=-3", "at least 1"]),
    ("--epochs=0", ["--epochs=0", "at least 1"]),
    ("--batch_size=ten", ["batch_size", "ten"]),
    ("--batchsize=10", ["batchsize"]),
    ("--test_mode", ["--test_mode needs --use_ckpt"]),
    ("save_dir=run", ["save_dir=run: not a flag"]),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "said"), FLAG_MISTAKES, ids=[mistake for mistake, _ in FLAG_MISTAKES])
def test_a_mistake_in_the_flags_is_said_before_tensorflow_is_imported(mistake, said, tmp_path):
    fake = tmp_path / "path" / "tensorflow"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    flags = ("--task=spring_color", f"--save_dir={tmp_path}/run", mistake)
    done = run_there(*flags, PYTHONPATH=f"{tmp_path / 'path'}:{ROOT}")
    one_line(done, *said)
    assert [path.name for path in tmp_path.iterdir()] == ["path"]


def test_the_choices_are_those_of_the_registries():
    from nn.cells import CELLS
    from nn.decoders import DECODERS
    from nn.encoders import ENCODERS

    registries = {"cell_type": CELLS, "encoder_type": ENCODERS, "decoder_type": DECODERS, "optimizer": OPTIMIZERS}
    for flag, registry in registries.items():
        assert set(run_physics.CHOICES[flag]) - {""} == set(registry)


@pytest.fixture
def old_run(tmp_path) -> dict[Path, bytes]:
    """An experiment in tmp_path/run, as paths and contents."""
    folder = tmp_path / "run"
    net = golden_data.make_net("spring_color")
    checkpoints.save(net, folder)
    (folder / "log.txt").write_text("2026-11-22 01:36:51,977 - tf - train - iter=0 train_loss=1.5\n")
    return contents(folder)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_mistakes_with_checkpoints(small_data, tmp_path, old_run):
    """A folder that is not there, holds none, or one of another task; cut off; evaluating and going on."""
    (tmp_path / "empty").mkdir()
    save_as_tf1(tmp_path / "balls", "bouncing_balls")
    save_as_tf1(tmp_path / "digits", "mnist_spring_color")
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    (data_file,) = (tmp_path / "cut").glob("*.data-*")
    data_file.write_bytes(data_file.read_bytes()[:100_000])
    mistakes = {
        "none": ["none: no such folder"],
        "empty": ["empty: holds no checkpoint"],
        "balls": ["has no variable net/spring_ode_cell/", "another task"],
        "digits": ["net/encoder/conv2d/kernel has shape [3, 3, 3, 16], this network needs [3, 3, 3, 8]"],
        "cut": ["damaged or incomplete checkpoint"],
    }
    for folder, said in mistakes.items():
        for mode in ("--test_mode", "--test_mode=false"):
            flags = ("--task=spring_color", "--color", f"--data_dir={small_data}", f"--save_dir={tmp_path}/run")
            flags = [*flags, "--use_ckpt", f"--ckpt_dir={tmp_path}/{folder}", "--batch_size=2", mode]
            done = run_main(run_physics.main, flags)
            one_line(done, *said)
    assert contents(tmp_path / "run") == old_run


FRAMES = np.random.RandomState(0).randint(0, 256, (3, 12, 32, 32, 3)).astype(np.uint8)
DATA_MISTAKES = {
    "a missing array": ({"train_x": FRAMES, "test_x": FRAMES}, ["has no array valid_x"]),
    "a wrong rank": ({"train_x": FRAMES[:, 0]}, ["train_x has rank 4", "[sequences, T, H, H, C]"]),
    "a wrong dtype": ({"train_x": FRAMES / 255.0}, ["train_x is float64", "uint8"]),
    "a wrong size": ({"all": FRAMES[:, :, :28, :28]}, ["28×28", "32×32"]),
    "no square": ({"train_x": FRAMES[:, :, :28]}, ["28×32", "square"]),
    "too few frames": ({"all": FRAMES[:, :10]}, ["10 frames", "at least 11"]),
    "grey frames": ({"all": FRAMES[..., :1]}, ["grey", "--color"]),
    "two channels": ({"train_x": FRAMES[..., :2]}, ["2 channels"]),
    "no sequence": ({"train_x": FRAMES[:0]}, ["train_x is empty"]),
    "unequal splits": ({"valid_x": FRAMES[:, :11]}, ["valid_x has sequences of shape [11, 32, 32, 3]"]),
}


def test_mistakes_in_the_data(small_data, tmp_path, old_run):
    """Each names the file; the experiment that lies in save_dir stays where it is."""
    recipe = RECIPES["spring_color"]
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    file = folder / recipe.train_file

    def train(*said: str) -> None:
        flags = ("--task=spring_color", "--color", f"--data_dir={folder}", f"--save_dir={tmp_path}/run")
        one_line(run_main(run_physics.main, [*flags, "--batch_size=2"]), *said)

    whole = file.read_bytes()
    for what, said in ((whole[: len(whole) // 2], "damaged"), (b"no archive", "damaged"), (b"", "damaged")):
        file.write_bytes(what)
        train(str(file), said)
    for arrays, said in DATA_MISTAKES.values():
        everything = arrays.pop("all", FRAMES)
        full = {name: everything for name in ("train_x", "valid_x", "test_x")}
        np.savez(file, **(arrays if "test_x" in arrays else {**full, **arrays}))
        train(str(file), *said)
    np.save(file.with_suffix(".npy"), FRAMES)
    shutil.move(file.with_suffix(".npy"), file)
    train(str(file), "single array")
    np.savez(file, train_x=np.array([None]), valid_x=FRAMES, test_x=FRAMES)
    train(str(file), "damaged")
    assert contents(tmp_path / "run") == old_run


def test_a_batch_larger_than_the_data(small_data, tmp_path, old_run):
    flags = ("--task=spring_color", "--color", f"--data_dir={small_data}", f"--save_dir={tmp_path}/run")
    one_line(run_main(run_physics.main, [*flags, "--batch_size=7"]), "--batch_size=7", "6")
    one_line(run_main(run_physics.main, [*flags, "--batch_size=5", "--datapoints=4"]), "--batch_size=5", "4")
    one_line(run_main(run_physics.main, [*flags, "--batch_size=5", "--datapoints=9"]), "--datapoints=9", "6")
    assert contents(tmp_path / "run") == old_run


def test_the_commands_say_nothing_but_their_line(small_data, tmp_path):
    """In processes of their own, with TensorFlow's messages as they come: a missing checkpoint, a damaged file."""
    flags = ("--task=spring_color", "--color", f"--save_dir={tmp_path}/run")
    one_line(run_there(*flags, "--use_ckpt", "--test_mode", f"--data_dir={small_data}"), "run: no such folder")
    file = tmp_path / RECIPES["spring_color"].test_file
    file.parent.mkdir()
    file.write_bytes(b"PK\x03\x04 not whole")
    one_line(run_there(*flags, f"--data_dir={tmp_path}"), str(file), "damaged")
    assert not (tmp_path / "run").exists()
