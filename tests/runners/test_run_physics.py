"""The command, as its users type it: the original's four uses, its files and its log, and its flags."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import golden_data
import numpy as np
import pytest
from command import Ended, run_command
from networks import Networks
from physics_command import ROOT, Log, read_log, run_there, save_as_tf1, write_data
from PIL import Image

from data_gen.recipes import RECIPES, make_dataset
from physics_models import checkpoints
from physics_models.experiment import PACKAGES
from physics_models.run_log import read_flags
from physics_models.run_log import read_log as read_any_log
from runners import run_base, run_physics

FILES = {
    "log.txt", "code.zip", "checkpoint", "outputs.npz", "extra_outputs.npz", "templates.jpg", "animation4.gif",
    *(f"example{i}.jpg" for i in range(5)),
}  # fmt: skip
# The first of the original's README; its epochs, batch and intervals are small here, all else is as it stands.
TYPED = (
    "--task=spring_color --model=PhysicsNet --epochs=4 --batch_size=4 --save_dir={} --autoencoder_loss=3.0 "
    "--base_lr=3e-4 --anneal_lr=true --color=true --eval_every_n_epochs=2 --print_interval=1 --debug=false "
)
FIRST = (*TYPED.format("run").split(), "--use_ckpt=false", "--data_dir=data/datasets")
SEQUENCES = 12  # of training: three steps per epoch
OURS = {"model.ckpt-12.index", "model.ckpt-12.data-00000-of-00001", "experiment.json"}  # besides the original's files


# The README's four commands, with tiny data; one network serves all of them, so that it is traced once


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with small files of spring_color in data/datasets."""
    folder = tmp_path_factory.mktemp("project")
    recipe = RECIPES["spring_color"]
    for file, length in ((recipe.train_file, 12), (recipe.test_file, 30)):
        path = folder / "data" / "datasets" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        make_dataset("spring_color", str(path), length, (SEQUENCES, 6, 7))
    return folder


def check_log(ended: Ended, log: Path, before: str = "") -> Log:
    """What the command appended to `log`, which it also printed."""
    assert ended.code == 0, ended.err
    assert ended.out.startswith("learned: ") and ended.out.count("\n") == 1
    text = log.read_text(encoding="utf-8")
    assert text.startswith(before)
    printed = [line for line in ended.err.splitlines(keepends=True) if " - tf.note - " not in line]
    assert "".join(printed) == text[len(before) :]
    new = log.with_name("new.txt")
    new.write_text(text[len(before) :], encoding="utf-8")
    parsed = read_log(new)
    new.unlink()
    assert parsed.others == []
    return parsed


@pytest.fixture(scope="module")
def networks() -> Networks:
    """The networks of the commands."""
    return Networks()


@pytest.fixture(scope="module")
def trained(project, networks) -> Log:
    """The log of the first command: train."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(project)
        patched.setattr(run_physics, "build", networks.build)
        ended = run_command("paig-run-physics", *FIRST)
    assert " - tf.note - device: " in ended.err
    return check_log(ended, project / "run" / "log.txt")


@pytest.mark.slow
def test_in_a_process_of_its_own(project, trained, tmp_path):
    """In the project as a fresh checkout has it, with the data in their place; the command writes and logs the same."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.py", tmp_path)
    shutil.copytree(project / "data", tmp_path / "data")
    ended = run_there(*TYPED.format("run").split(), "--use_ckpt=false", folder=tmp_path)
    assert " - tf.note - device: " in ended.err
    log = check_log(ended, tmp_path / "run" / "log.txt")
    assert log.order == trained.order and log.train[-1][1] < log.train[0][1]
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES | OURS


@pytest.fixture
def one_network(networks, monkeypatch) -> None:
    """Commands of the same settings get the same network."""
    monkeypatch.setattr(run_physics, "build", networks.build)


@pytest.fixture
def typed(project, trained, monkeypatch, one_network):
    """Types a later command in the project, within this process."""
    monkeypatch.chdir(project)

    def run(save_dir: str, more: str) -> Log:
        log = Path(save_dir, "log.txt")
        before = log.read_text(encoding="utf-8") if log.exists() else ""
        flags = [*TYPED.format(save_dir).split(), *more.split(), "--data_dir=data/datasets"]
        return check_log(run_command("paig-run-physics", *flags), log, before)

    return run


def test_the_log_of_training(trained):
    assert trained.commands == [["runners/run_physics.py", *FIRST]]
    assert trained.order == "c" + "pv" + "t" * 6 + "pv" + "t" * 6 + "pv" + "pe" + "pe"
    assert [iteration for iteration, _ in trained.train] == list(range(12))
    where = [(split, epoch) for split, epoch, _ in trained.evals]
    assert where == [("valid", 0), ("valid", 2), ("valid", 4), ("test", 4), ("test", 0)]
    for scalars in trained.scalars:
        names = ["net/decoder/logsigma:0", "net/spring_ode_cell/log_k:0", "net/spring_ode_cell/log_l:0"]
        assert list(scalars) == names
    assert set(trained.scalars[0].values()) == {0.0}
    losses = [loss for _, loss in trained.train]
    assert losses[-1] < losses[0]


def test_the_originals_log_reads_with_the_same_formats():
    log = read_log(golden_data.FOLDER / "tf1_log.txt")
    assert [iteration for iteration, _ in log.train] == list(range(8))
    assert [(split, epoch) for split, epoch, _ in log.evals if split == "valid"] == [("valid", e) for e in range(5)]
    assert log.order.startswith("c" + "pv" + "ttpv" * 4 + "pe")
    assert all(": <tf.Variable" in line or " - [<tf.Variable" in line for line in log.others)


def test_all_files_are_there(project, trained):
    folder = project / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == FILES | OURS
    assert checkpoints.load(folder).progress["epoch"] == 4  # saved at the end, not at a fifth epoch alone
    log = read_any_log(folder / "log.txt")
    assert log.flags == read_flags(list(FIRST)) and log.unread == []


def test_the_arrays_have_the_originals_names_and_shapes(project, trained):
    with np.load(project / "run" / "outputs.npz") as outputs:
        shapes = {name: outputs[name].shape for name in outputs.files}
        assert {outputs[name].dtype for name in outputs.files} == {np.dtype("float32")}
        frames = outputs["input"]
    assert shapes == {"input": (7, 30, 32, 32, 3), "output": (7, 26, 32, 32, 3)}
    with np.load(project / "data" / "datasets" / RECIPES["spring_color"].test_file) as data:
        np.testing.assert_allclose(frames, data["test_x"] / np.float32(255), rtol=1e-6)
    with np.load(project / "run" / "extra_outputs.npz") as extra:
        assert {extra[name].dtype for name in extra.files} == {np.dtype("float32")}
        assert {name: extra[name].shape for name in extra.files} == {
            "contents": (2, 16, 16, 3),
            "templates": (2, 16, 16, 1),
            "background_content": (1, 32, 32, 3),
            "transf_contents": (3, 5, 32, 32, 3),
            "transf_masks": (3, 5, 32, 32, 3),
            "enc_masks": (50, 32, 32, 3),
            "masked_objs": (2, 50, 32, 32, 3),
        }


def test_the_pictures_show_every_pixel(project, trained):
    folder = project / "run"
    with Image.open(folder / "animation4.gif") as animation:
        assert (animation.size, animation.n_frames) == ((510, 204), 30)
        assert animation.info["duration"] == pytest.approx(1000 / 7, abs=5)
    for i in range(5):
        with Image.open(folder / f"example{i}.jpg") as example:
            assert (example.size, example.mode) == ((30 * 34, 3 * 34), "RGB")
    with Image.open(folder / "templates.jpg") as templates:
        assert templates.size == (2 * 18, 2 * 18)


def test_the_code_is_kept(project, trained):
    with zipfile.ZipFile(project / "run" / "code.zip") as code:
        found = {name: code.read(name) for name in code.namelist()}
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert found == {str(path.relative_to(ROOT)): path.read_bytes() for path in sources}


def test_testing_gives_the_losses_of_the_training_run(project, trained, typed):
    """In its folder, whose checkpoint stays, and in another one."""
    before = (project / "run" / "checkpoint").read_bytes()
    log = typed("run", "--use_ckpt=true --test_mode=true")
    assert log.order == "cpe"
    assert log.evals == trained.evals[-1:] and log.scalars == trained.scalars[-1:]
    assert (project / "run" / "checkpoint").read_bytes() == before
    log = typed("tested", "--use_ckpt=true --test_mode=true --ckpt_dir=run")
    assert log.order == "cpe"
    assert log.evals == trained.evals[-1:] and log.scalars == trained.scalars[-1:]
    names = {path.name for path in (project / "tested").iterdir()}
    assert FILES - {"code.zip", "checkpoint"} <= names and not any("ckpt" in name for name in names)


def test_training_continues_from_a_checkpoint(project, trained, typed):
    log = typed("run", "--use_ckpt=true")
    assert log.order == trained.order
    assert log.evals[0] == ("valid", 0, trained.evals[2][2])  # where the first run ended
    assert log.train[-1][1] < trained.train[-1][1]
    assert checkpoints.load(project / "run").arrays["base_lr"] == pytest.approx(3e-4 / 5)


# The original's checkpoints through the command


# The same numbers of the deep U-Net are in test_physics_net.py.
@pytest.mark.parametrize(
    "task",
    [
        pytest.param("bouncing_balls", id="shallow U-Net"),
        pytest.param("mnist_spring_color", id="deep U-Net", marks=pytest.mark.slow),
    ],
)
def test_a_tf1_checkpoint_evaluates_to_the_originals_numbers(task, tmp_path, without_graphs):
    golden = golden_data.net_file(task)
    save_as_tf1(tmp_path / "tf1", task)
    write_data(tmp_path, task, "test", golden["input"])
    flags = (f"--task={task}", "--color", f"--ckpt_dir={tmp_path}/tf1", f"--data_dir={tmp_path}")
    done = run_command("paig-run-physics", *flags, f"--save_dir={tmp_path}/run", "--test_mode", "--use_ckpt")
    assert done.code == 0, done.err
    log = read_log(tmp_path / "run" / "log.txt")
    assert log.order == "cpe" and log.others == []
    for name, value in log.evals[0][2].items():
        assert value == pytest.approx(float(golden[f"{name}_loss"]), rel=1e-5)
    with np.load(tmp_path / "run" / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["input"], golden["input"] / np.float32(255), rtol=1e-6)
        assert np.abs(outputs["output"][:1] - golden["output"]).max() < 1e-3
    with np.load(tmp_path / "run" / "extra_outputs.npz") as extra:
        for name in ("templates", "contents", "background_content"):
            golden_data.assert_close(extra[name], golden[name], rtol=1e-5)
        golden_data.assert_close(extra["enc_masks"][:2], golden["enc_masks"], rtol=1e-5)


@pytest.mark.parametrize("optimizer", [None, pytest.param("rmsprop", marks=pytest.mark.slow)])
def test_training_from_a_tf1_checkpoint_is_the_originals(optimizer, tmp_path, one_network):
    """Three steps on the golden batch, from a checkpoint of weights alone and from one with fresh slots."""
    golden = golden_data.net_file("spring_color")
    save_as_tf1(tmp_path / "tf1", "spring_color", optimizer)
    for length in ("train", "test"):
        write_data(tmp_path, "spring_color", length, golden["input"])
    flags = ("--task=spring_color", "--color", f"--ckpt_dir={tmp_path}/tf1", f"--data_dir={tmp_path}", "--use_ckpt")
    rate = ("--base_lr=6e-4", "--autoencoder_loss=3.0", "--anneal_lr=false")
    more = ("--epochs=3", "--batch_size=4", "--print_interval=1", "--debug", "--eval_every_n_epochs=9")
    done = run_command("paig-run-physics", *flags, *rate, *more, f"--save_dir={tmp_path}/run")
    assert done.code == 0, done.err
    losses = [loss for _, loss in read_log(tmp_path / "run" / "log.txt").train]
    np.testing.assert_allclose(losses, golden["train_losses"][:3], rtol=1e-5)
    assert ("optimizer slots" in done.err) == (optimizer is None)


# Flags that the original has but ignores or breaks on


def train_here(small_data: Path, folder: Path, *flags: str) -> Path:
    """One epoch of spring_color in this process; the folder."""
    common = ("--task=spring_color", "--epochs=1", "--batch_size=2", "--print_interval=1", "--autoencoder_loss=3")
    done = run_command("paig-run-physics", *common, f"--data_dir={small_data}", f"--save_dir={folder}", *flags)
    assert done.code == 0, done.err
    return folder


def test_lstm_dynamics_alt_vel_datapoints_and_grey_frames_with_adam(small_data, tmp_path, without_graphs):
    flags = ("--cell_type=lstm", "--recurrent_units=7", "--lstm_layers=2", "--optimizer=adam", "--alt_vel")
    more = ("--color=false", "--datapoints=4", "--epochs=2", "--eval_every_n_epochs=2", "--print_interval=2")
    folder = train_here(small_data, tmp_path / "run", *flags, *more)
    log, arrays = read_log(folder / "log.txt"), checkpoints.load(folder).arrays
    assert [iteration for iteration, _ in log.train] == [0, 2]  # two steps per epoch, every second one printed
    assert log.order == "c" + "pv" + "tt" + "pv" + "pepe" and log.others == []
    assert set(log.scalars[0]) == {"net/decoder/logsigma:0"}
    assert arrays["net/init_vel/dense/kernel"].shape == (6, 2) and "net/init_vel/dense_1/kernel" not in arrays
    assert arrays["net/lstm/lstm_cell/kernel"].shape == (8, 28)
    assert arrays["net/lstm/lstm_cell_1/kernel"].shape == (7, 28)
    assert arrays["net/lstm/dense/kernel"].shape == (7, 4)
    assert np.any(arrays["net/lstm/lstm_cell/kernel/Adam_1"]) and arrays["beta1_power"] == pytest.approx(0.9**5)
    with np.load(folder / "outputs.npz") as outputs, np.load(folder / "extra_outputs.npz") as extra:
        assert outputs["input"].shape == (2, 30, 32, 32, 1) and outputs["output"].shape == (2, 26, 32, 32, 1)
        assert extra["contents"].shape == (2, 16, 16, 1) and extra["transf_masks"].shape == (3, 2, 32, 32, 1)
    with Image.open(folder / "example1.jpg") as example:
        assert example.mode == "L"


def test_help_lists_the_flags_that_the_command_uses():
    ended = run_command("paig-run-physics", "--help")
    assert ended.err == ""
    for name, flag in run_base.used_flags(run_physics).items():
        assert (f"--[no]{name}:" if flag.boolean else f"--{name}:") in ended.out
    assert {"task", "seed", "schedule", "resume"} <= set(run_base.used_flags(run_physics))
