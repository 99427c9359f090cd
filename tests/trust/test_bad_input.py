"""Bad input: one line on stderr, the exact words, exit code 1, and nothing on the disk changed.

Each row of a table is a test: arguments, and what follows `error: `. {tmp} is the test's folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import run_main
from tiny_run import ROOT, environment, write_data

from runners import run_physics

TASKS = "bouncing_balls, spring_color, spring_color_half, 3bp_color, mnist_spring_color"
USUAL = ["--task=spring_color", "--color", "--save_dir={tmp}/run"]
RECORDING = "an .npz, a .gif, an .mp4, a folder of .png frames, or a folder with one of these for each sequence"

FLAGS = [
    # what is no flag, or has no value of its kind
    ("--epoch=3", "--epoch: no such flag; did you mean --epochs?"),
    ("-x", "--x: no such flag; --help lists the flags"),
    ("run", "run: not a flag; flags are written --name=value"),
    ("-- run", "run: not a flag; flags are written --name=value"),
    ("--epochs", "--epochs: needs a value"),
    ("--epochs=", "--epochs=: must be a whole number"),
    ("--epochs=1e3", "--epochs=1e3: must be a whole number"),
    ("--seed=1.5", "--seed=1.5: must be a whole number"),
    ("--base_lr=fast", "--base_lr=fast: must be a number"),
    ("--color=maybe", "--color=maybe: must be true or false"),
    ("--nocolor=true", "--nocolor=true does not take an argument"),
    # numbers out of range
    ("--epochs=0", "--epochs=0: must be at least 1"),
    ("--epochs=-1", "--epochs=-1: must be at least 1"),
    ("--batch_size=0", "--batch_size=0: must be at least 1"),
    ("--save_every_n_epochs=0", "--save_every_n_epochs=0: must be at least 1"),
    ("--eval_every_n_epochs=0", "--eval_every_n_epochs=0: must be at least 1"),
    ("--print_interval=0", "--print_interval=0: must be at least 1"),
    ("--keep_checkpoints=0", "--keep_checkpoints=0: must be at least 1"),
    ("--recurrent_units=0", "--recurrent_units=0: must be at least 1"),
    ("--lstm_layers=-1", "--lstm_layers=-1: must be at least 1"),
    ("--base_lr=0", "--base_lr=0.0: must be a number above 0"),
    ("--base_lr=-1e-3", "--base_lr=-0.001: must be a number above 0"),
    ("--base_lr=nan", "--base_lr=nan: must be a number above 0"),
    ("--base_lr=inf", "--base_lr=inf: must be a number above 0"),
    ("--autoencoder_loss=-1", "--autoencoder_loss=-1.0: must be a number, 0 or above"),
    ("--autoencoder_loss=nan", "--autoencoder_loss=nan: must be a number, 0 or above"),
    ("--datapoints=-5", "--datapoints=-5: must be a number, 0 or above"),
    ("--seed=-1", "--seed=-1: must lie between 0 and 2^32 - 1"),
    ("--seed=4294967296", "--seed=4294967296: must lie between 0 and 2^32 - 1"),
    # names that are not in a table
    ("--task=pendulum", f"--task=pendulum: no such task; choose one of {TASKS}"),
    ("--task=", f"--task=: no such task; choose one of {TASKS}"),
    ("--model=Net", "--model=Net: unknown; choose one of PhysicsNet"),
    (
        "--cell_type=pendulum",
        "--cell_type=pendulum: unknown; choose one of bouncing_ode_cell, gravity_ode_cell, lstm, spring_ode_cell",
    ),
    ("--encoder_type=mlp", "--encoder_type=mlp: unknown; choose one of conv_encoder"),
    ("--decoder_type=mlp", "--decoder_type=mlp: unknown; choose one of conv_st_decoder"),
    ("--optimizer=adamw", "--optimizer=adamw: unknown; choose one of adam, momentum, rmsprop, sgd"),
    ("--vel_encoder=cnn", "--vel_encoder=cnn: unknown; choose one of gauss_newton, mlp"),
    ("--on_nan=ignore", "--on_nan=ignore: unknown; choose one of skip, stop"),
    ("--device=tpu", "--device=tpu: unknown; give cpu, gpu, or gpu:0, gpu:1, …"),
    ("--device=gpu:-1", "--device=gpu:-1: unknown; give cpu, gpu, or gpu:0, gpu:1, …"),
    ("--schedule=fast", "--schedule=fast: unknown; choose one of joint, staged, autoencoder"),
    # what does not go together
    ("--save_dir=", "--save_dir is empty; give the folder of the experiment"),
    ("--test_mode", "--test_mode needs --use_ckpt=true: an untrained network has nothing to test"),
    ("--test_mode --use_ckpt --resume", "--test_mode and --resume: choose one; --resume goes on training"),
    ("--ckpt_dir=other", "--ckpt_dir=other: needs --use_ckpt=true"),
    ("--joint_steps=5", "--joint_steps: belongs to --schedule=staged"),
    ("--schedule=staged --joint_steps=0", "--joint_steps=0: must be at least 1"),
    ("--schedule=staged --joint_rate=nan", "--joint_rate=nan: must be a number above 0"),
    ("--schedule=staged --tries=0", "--tries=0: must be at least 1"),
    ("--schedule=staged --guide=-1", "--guide=-1.0: must be a number, 0 or above"),
    (
        "--schedule=staged --use_ckpt",
        "--use_ckpt=true trains with --schedule=joint only; a staged run goes on with --resume",
    ),
    *(
        (f"--schedule={schedule} --{flag}", f"--{flag.partition('=')[0]}: belongs to --schedule=joint; {instead}")
        for schedule in ("staged", "autoencoder")
        for flag, instead in (
            ("epochs=3", "the stages have --autoencoder_steps, --positions_steps, --joint_steps"),
            ("eval_every_n_epochs=2", "the stages are evaluated at their ends"),
            ("base_lr=1e-3", "the stages have --autoencoder_rate, --positions_rate, --joint_rate"),
            ("anneal_lr=false", "the stages always anneal"),
            ("save_every_n_epochs=2", "the stages save every 500 steps and at their ends"),
            ("on_nan=skip", "the stages stop"),
            ("debug", "the stages skip that validation"),
        )
    ),
    ("--n_objs=3", "--n_objs: belongs to --task=custom"),
    ("--data_file=film.npz", "--data_file: belongs to --task=custom"),
    ("--task=custom", "--task=custom needs --data_file, the film to train on"),
    (
        "--task=custom --data_file=film.npz",
        "--task=custom needs --cell_type, the equations of motion (or lstm)",
    ),
]


def one_line(message: str) -> str:
    return f"error: {message}\n"


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def nothing_begins(monkeypatch):
    """A command line that passes all checks ends the test."""

    def begun(*_):
        raise AssertionError("the flags were accepted")

    monkeypatch.setattr(run_physics, "train", begun)
    monkeypatch.setattr(run_physics, "evaluate", begun)


@pytest.mark.parametrize("flags, message", FLAGS, ids=[flags for flags, _ in FLAGS])
def test_flags(tmp_path, nothing_begins, flags, message):
    arguments = [argument.format(tmp=tmp_path) for argument in USUAL] + flags.split()
    ended = run_main(run_physics.main, arguments)
    assert (ended.code, ended.out, ended.err) == (1, "", one_line(message))
    assert not files_in(tmp_path)


def test_an_error_of_the_program_is_no_mistake_of_the_users(tmp_path):
    def broken(argv):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_main(broken, [f"--save_dir={tmp_path}/run"])


# Files, folders, checkpoints: with a network, made once


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with data files, checkpoints and folders, good and bad."""
    from physics_models import checkpoints, experiment
    from physics_models.physics_net import PhysicsNet
    from physics_models.tasks import TASKS as TABLE
    from physics_models.tasks import Task

    tmp = tmp_path_factory.mktemp("place")
    write_data(tmp)
    good = np.load(tmp / "test.npz")["test_x"]

    def data(name: str, **changed: np.ndarray) -> None:
        arrays = {"train_x": good, "valid_x": good, "test_x": good, **changed}
        np.savez(tmp / f"{name}.npz", **{key: array for key, array in arrays.items() if array is not None})

    data("lacking", test_x=None)
    data("flat", train_x=good[:, 0])
    data("floats", train_x=good / 255.0)
    data("objects", train_x=np.array([{}], dtype=object))
    data("narrow", train_x=good[:, :, :, :8])
    data("four", train_x=np.repeat(good[..., :1], 4, -1))
    data("none", train_x=good[:0])
    data("uneven", valid_x=good[:, :8])
    data("short", **{f"{split}_x": good[:, :7] for split in ("train", "valid", "test")})
    data("grey", **{f"{split}_x": good[..., :1] for split in ("train", "valid", "test")})
    data("large", **{f"{split}_x": good.repeat(2, 2).repeat(2, 3) for split in ("train", "valid", "test")})
    (tmp / "cut.npz").write_bytes((tmp / "train.npz").read_bytes()[:-700])
    (tmp / "text.npz").write_text("no archive")
    (tmp / "pictures").mkdir()
    with open(tmp / "array.npz", "wb") as file:
        np.save(file, good)
    task = Task("custom", "spring_ode_cell", 8, 10, 3, 4, 16, 2)
    net = PhysicsNet(task, autoencoder_loss=3.0)
    net.build_optimizer(1e-3)
    checkpoints.save(net, tmp / "trained")
    experiment.write_marker(tmp / "trained", {"base_lr": 0.1, "alt_vel": False}, task)
    (tmp / "trained" / "log.txt").write_text("")
    for name in ("cut", "lost", "twisted", "unnamed"):
        checkpoints.save(net, tmp / name)
    shard = tmp / "cut" / "model.ckpt-0.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-100])
    (tmp / "lost" / "model.ckpt-0.index").unlink()
    index = bytearray((tmp / "twisted" / "model.ckpt-0.index").read_bytes())
    index[100] ^= 1
    (tmp / "twisted" / "model.ckpt-0.index").write_bytes(index)
    (tmp / "unnamed" / "checkpoint").write_text("model.ckpt-0")
    balls = PhysicsNet(TABLE["bouncing_balls"])
    balls.build_optimizer(1e-3)
    checkpoints.save(balls, tmp / "balls")
    (tmp / "empty").mkdir()
    (tmp / "file").write_text("mine")
    (tmp / "link").symlink_to(tmp / "trained")
    (tmp / "mine").mkdir()
    (tmp / "mine" / "thesis.tex").write_text("mine")
    (tmp / "marked").mkdir()
    (tmp / "marked" / "experiment.json").write_text("{}")
    return tmp


@pytest.fixture(scope="module")
def network():
    """What `run_physics.build` gives, made once for each number of objects, cell and colour."""
    built = {}
    build = run_physics.build

    def build_once(task, seed=None):
        key = (task.n_objs, task.cell_type, run_physics.FLAGS.color, task.img_size, run_physics.FLAGS.vel_encoder)
        if key not in built:
            built[key] = build(task, seed)
        return built[key]

    return build_once


CUSTOM = "--task=custom --cell_type=spring_ode_cell --color --batch_size=4 --input_steps=3 --pred_steps=4".split()
RUN = "--data_file={tmp}/train.npz --test_data_file={tmp}/test.npz --save_dir={tmp}/new"
DAMAGED = "{tmp}/%s: damaged or incomplete checkpoint (%s)"
FILES = [
    # data files
    ("--data_file={tmp}/no.npz", "{tmp}/no.npz: no such data file"),
    ("--data_file={tmp}/cut.npz", "{tmp}/cut.npz: damaged or not an .npz file (BadZipFile: File is not a zip file)"),
    ("--data_file={tmp}/lacking.npz", "{tmp}/lacking.npz: has no array test_x; need train_x, valid_x and test_x"),
    ("--data_file={tmp}/flat.npz", "{tmp}/flat.npz: train_x has rank 4; need [sequences, T, H, H, C]"),
    ("--data_file={tmp}/floats.npz", "{tmp}/floats.npz: train_x is float64; need uint8, 0 to 255"),
    ("--data_file={tmp}/narrow.npz", "{tmp}/narrow.npz: train_x has frames of 16×8 pixels; they must be square"),
    ("--data_file={tmp}/four.npz", "{tmp}/four.npz: train_x has 4 channels; need 1 or 3"),
    ("--data_file={tmp}/none.npz", "{tmp}/none.npz: train_x is empty, shape [0, 10, 16, 16, 3]"),
    (
        "--data_file={tmp}/uneven.npz",
        "{tmp}/uneven.npz: valid_x has sequences of shape [8, 16, 16, 3], train_x of [10, 16, 16, 3]; they must agree",
    ),
    (
        "--data_file={tmp}/short.npz",
        "{tmp}/short.npz: sequences have 7 frames, but task custom needs at least 8 "
        "(3 input + 4 predicted + 1 extrapolated)",
    ),
    (
        "--input_steps=5",
        "{tmp}/train.npz: sequences have 8 frames, but task custom needs at least 10 "
        "(5 input + 4 predicted + 1 extrapolated)",
    ),
    (
        "--test_data_file={tmp}/large.npz",
        "--test_data_file={tmp}/large.npz: frames of shape [32, 32, 3], the training film has [16, 16, 3]",
    ),
    ("--data_file={tmp}/file", f"cannot read {{tmp}}/file: need {RECORDING}"),
    ("--data_file={tmp}/pictures", f"{{tmp}}/pictures holds no .png frames; need {RECORDING}"),
    ("--batch_size=41", "--batch_size=41: must lie between 1 and the number of training sequences, 40"),
    ("--datapoints=41", "--datapoints=41: {tmp}/train.npz has only 40 training sequences"),
    ("--datapoints=3", "--batch_size=4: must lie between 1 and the number of training sequences, 3"),
    ("--n_objs=1", "--cell_type=spring_ode_cell: needs at least 2 objects"),
    ("--n_objs=0", "--n_objs=0: must be at least 1"),
    ("--pred_steps=0", "--pred_steps=0: must be at least 1"),
    (
        "--vel_encoder=gauss_newton --cell_type=lstm",
        "--vel_encoder=gauss_newton: needs a physics cell and at least two input frames",
    ),
    # where to write
    ("--save_dir={tmp}/file", "--save_dir={tmp}/file: a file is in its place; choose another folder"),
    (
        "--save_dir={tmp}/file/run",
        "--save_dir={tmp}/file/run: cannot be written to (Not a directory)",
    ),
    ("--save_dir={tmp}/link", "--save_dir={tmp}/link: a symbolic link; give the folder itself"),
    (
        "--save_dir={tmp}/mine --overwrite",
        "--save_dir={tmp}/mine: is not replaced: it holds thesis.tex, which no experiment writes; "
        "choose another folder",
    ),
    (
        "--save_dir={tmp}/cut",
        "--save_dir={tmp}/cut: is not replaced: it holds no experiment, neither experiment.json nor log.txt with a "
        "checkpoint; choose another folder",
    ),
    # checkpoints
    ("--use_ckpt", "{tmp}/new: no such folder; give the folder of a trained experiment"),
    (
        "--use_ckpt --save_dir={tmp}/empty",
        "{tmp}/empty: holds no checkpoint; train first, or give another --ckpt_dir",
    ),
    (
        "--use_ckpt --ckpt_dir={tmp}/empty --test_mode",
        "{tmp}/empty: holds no checkpoint; train first, or give another --ckpt_dir",
    ),
    ("--use_ckpt --ckpt_dir={tmp}/file", "{tmp}/file: no such folder; give the folder of a trained experiment"),
    (
        "--use_ckpt --ckpt_dir={tmp}/lost",
        "{tmp}/lost/model.ckpt-0.index: missing, though {tmp}/lost/checkpoint names it",
    ),
    ("--use_ckpt --ckpt_dir={tmp}/unnamed", "{tmp}/unnamed/checkpoint: damaged; it names no checkpoint"),
    (
        "--use_ckpt --ckpt_dir={tmp}/twisted",
        DAMAGED % ("twisted/model.ckpt-0", "a block's checksum is wrong"),
    ),
    (
        "--use_ckpt --ckpt_dir={tmp}/balls",
        "{tmp}/balls/model.ckpt-0: net/encoder/dense/kernel has shape [3072, 200], this network needs [768, 200]; "
        "it is a checkpoint of another task or other settings",
    ),
    (
        "--use_ckpt --ckpt_dir={tmp}/trained --cell_type=gravity_ode_cell",
        "{tmp}/trained/model.ckpt-0: has no variable net/gravity_ode_cell/dt_x; it is a checkpoint of another task, "
        "model or cell",
    ),
    # resuming
    (
        "--resume --save_dir={tmp}/trained",
        "--resume: the run in {tmp}/trained was begun with --base_lr=0.1, not 0.001; give the same flags, or another "
        "--save_dir",
    ),
    (
        "--resume --save_dir={tmp}/balls",
        "--resume: {tmp}/balls has no experiment.json: it is the original's, or not whole; start from its weights "
        "with --use_ckpt=true and another --save_dir",
    ),
    ("--resume --save_dir={tmp}/marked", "{tmp}/marked/experiment.json: damaged (KeyError: 'run')"),
    # devices
    ("--device=gpu", "--device=gpu: TensorFlow sees no GPU; leave out --device, or give cpu"),
]


@pytest.mark.parametrize("flags, message", FILES, ids=[flags for flags, _ in FILES])
def test_files(place, network, monkeypatch, flags, message):
    monkeypatch.setattr(run_physics, "build", network)
    before = files_in(place)
    arguments = CUSTOM + [argument.format(tmp=place) for argument in f"{RUN} {flags}".split()]
    ended = run_main(run_physics.main, arguments)
    assert (ended.code, ended.out, ended.err) == (1, "", one_line(message.format(tmp=place)))
    assert files_in(place) == before


def test_a_data_file_is_never_unpickled(place, network, monkeypatch):
    """NumPy's own words for an array of objects; a pickle could run anything."""
    monkeypatch.setattr(run_physics, "build", network)
    flags = [*CUSTOM, *RUN.format(tmp=place).split(), f"--data_file={place / 'objects.npz'}"]
    ended = run_main(run_physics.main, flags)
    assert ended.code == 1 and ended.err.startswith(f"error: {place}/objects.npz: damaged or not an .npz file (")
    assert "allow_pickle=False" in ended.err and ended.err.count("\n") == 1


def test_a_cut_off_checkpoint(place, network, monkeypatch):
    """Which variable comes last in the data is the writer's choice."""
    monkeypatch.setattr(run_physics, "build", network)
    flags = [*CUSTOM, *RUN.format(tmp=place).split(), "--use_ckpt", f"--ckpt_dir={place}/cut"]
    ended = run_main(run_physics.main, flags)
    words = re.escape(f"error: {place}/cut/model.ckpt-0: damaged or incomplete checkpoint (")
    assert ended.code == 1
    assert re.fullmatch(words + r"\S+ is said to lie beyond the end of the data\)\n", ended.err)


# The other commands, as they are typed

COMMANDS = [
    ("runners/compare_runs.py", "the following arguments are required: RUN_A, RUN_B; see --help"),
    ("runners/compare_runs.py no no", "no: no such folder; give the save_dir of an experiment"),
    (
        "runners/compare_runs.py {tmp} {tmp}",
        "{tmp}: not an experiment: no log.txt, checkpoint, outputs or pictures in it",
    ),
    ("runners/plot_run.py", "--save_dir=: no such folder; give the folder of an experiment"),
    ("runners/plot_run.py --save_dir={tmp}", "{tmp}/log.txt: cannot be read (No such file or directory)"),
    ("runners/plot_run.py --save_dirs={tmp}", "--save_dirs: no such flag; did you mean --save_dir?"),
    ("runners/fit_positions.py", f"--task=: no such task; choose one of {TASKS}"),
    ("runners/fit_positions.py --task=spring_color --steps=0", "--steps=0: must be at least 1"),
    ("runners/fit_positions.py --task=spring_color --rate=x", "--rate=x: must be a number"),
    ("runners/reproduce_paper.py", f"give --task=…, one of {TASKS}, or --all"),
    ("runners/reproduce_paper.py --task=x", f"--task=x: no such task; choose one of {TASKS}"),
    (
        "runners/reproduce_paper.py --task=spring_color --seeds=a",
        "--seeds=a: must be whole numbers with commas between",
    ),
    ("-m data_gen", f"give either --task or --all; the tasks are {TASKS}"),
    ("-m data_gen --tasks=x", "unrecognized arguments: --tasks=x (see python -m data_gen --help)"),
    (
        "-m data_gen --all --k=3",
        "--k changes the physics that the default file's name states: give --out=FILE.npz",
    ),
    (
        "-m data_gen --task=spring_color --out={tmp}/x.npz --seq_len=-1",
        "seq_len is -1; it must be a whole number, at least 1",
    ),
    ("-m physics_models.tf1_checkpoint", "the following arguments are required: command; see --help"),
    (
        "-m physics_models.tf1_checkpoint import {tmp}/no {tmp}/new",
        "{tmp}/no: no such folder; give the folder of a trained experiment",
    ),
    ("-m physics_models.shape_tour", "the following arguments are required: --task; see --help"),
    ("-m physics_models.shape_tour --task=x", f"--task=x: no such task; choose one of {TASKS}"),
]


@pytest.mark.parametrize("command, message", COMMANDS, ids=[command for command, _ in COMMANDS])
def test_commands(tmp_path, command, message):
    arguments = [argument.format(tmp=tmp_path) for argument in command.split()]
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", one_line(message.format(tmp=tmp_path)))
    assert not os.listdir(tmp_path)


def test_there_are_sixty_of_them():
    assert len(FLAGS) + len(FILES) + len(COMMANDS) >= 60
