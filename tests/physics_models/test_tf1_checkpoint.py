"""Checkpoints both ways: names, shapes and bits, with TF1's own Saver on the other side."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf1_graph

from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints, tf1_checkpoint
from physics_models.experiment import write_marker
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task

TF1_FILES = ["checkpoint", "model.ckpt.data-00000-of-00001", "model.ckpt.index"]


def random_arrays(shapes: dict[str, tuple[int, ...]], trained: list[str], optimizer: str, seed: int = 0) -> dict:
    """Everything that a checkpoint of the original holds, by name: weights, slots, learning rate, Adam's powers."""
    random = np.random.default_rng(seed)
    slots = {f"{name}/{slot}": shapes[name] for name in trained for slot in OPTIMIZERS[optimizer].slot_names}
    more = dict.fromkeys(["base_lr"] + ["beta1_power", "beta2_power"] * (optimizer == "adam"), ())
    return {n: np.asarray(random.standard_normal(s, np.float32)) for n, s in {**shapes, **slots, **more}.items()}


def assert_same_bits(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype == np.float32, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_ours(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Our checkpoint of `arrays`, after three epochs."""
    checkpoints.save(folder, {n: tf.Variable(a) for n, a in arrays.items()}, {"epoch": 3, "iteration": 7})
    return folder


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Of spring_color, with rmsprop's slots."""
    return random_arrays(*tf1_checkpoint.network("spring_color", False), "rmsprop")


@pytest.fixture
def ours(tmp_path, arrays) -> Path:
    """A folder with our checkpoint of `arrays`."""
    return write_ours(tmp_path / "ours", arrays)


@pytest.mark.parametrize(
    ("task", "optimizer", "alt_vel"),
    [
        ("bouncing_balls", "rmsprop", False),
        ("spring_color", "adam", True),
        pytest.param("3bp_color", "momentum", False, marks=pytest.mark.slow),
        pytest.param("mnist_spring_color", "sgd", False, marks=pytest.mark.slow),
    ],
)
def test_tf1_saver_restores_an_export_and_an_import_gives_it_back(tmp_path, task, optimizer, alt_vel):
    shapes, trained = tf1_checkpoint.network(task, alt_vel)
    arrays = random_arrays(shapes, trained, optimizer)
    ours = write_ours(tmp_path / "ours", arrays)
    tf1_checkpoint.convert(ours, tmp_path / "tf1", to_tf1=True)
    assert sorted(os.listdir(tmp_path / "tf1")) == TF1_FILES
    assert_same_bits(tf1_graph.restore(tmp_path / "tf1", shapes, optimizer), arrays)
    tf1_checkpoint.convert(tmp_path / "tf1", tmp_path / "back", to_tf1=False)
    back = checkpoints.load(tmp_path / "back")
    assert not back.tf1
    assert_same_bits(back.arrays, arrays)


# The two with two slots a variable are quick.
@pytest.mark.parametrize(
    "optimizer", [o if o in ("rmsprop", "adam") else pytest.param(o, marks=pytest.mark.slow) for o in OPTIMIZERS]
)
def test_an_export_of_an_import_has_the_bytes_that_tf1_wrote(tmp_path, optimizer):
    shapes, trained = tf1_checkpoint.network("spring_color", False)
    arrays = random_arrays(shapes, trained, optimizer)
    (tmp_path / "tf1").mkdir()
    tf1_graph.save(tmp_path / "tf1", shapes, optimizer, arrays)
    assert sorted(os.listdir(tmp_path / "tf1")) == TF1_FILES
    tf1_checkpoint.convert(tmp_path / "tf1", tmp_path / "ours", to_tf1=False)
    tf1_checkpoint.convert(tmp_path / "ours", tmp_path / "back", to_tf1=True)
    assert files(tmp_path / "back") == files(tmp_path / "tf1")


def test_a_network_restores_an_imported_checkpoint_with_its_slots(tmp_path, arrays):
    tf1_checkpoint.write_tf1(arrays, tmp_path)
    tf1_checkpoint.convert(tmp_path, tmp_path / "ours", to_tf1=False)
    net = PhysicsNet(get_task("spring_color"))
    net.build_optimizer(3e-4)
    net.restore(checkpoints.load(tmp_path / "ours"))
    variables = {**net.variables_by_name(), **net.optimizer.named_variables()}
    held = {name: variable.numpy() for name, variable in variables.items()}
    assert held.pop("base_lr") == np.float32(3e-4)
    assert_same_bits(held, {name: array for name, array in arrays.items() if name != "base_lr"})


def test_a_variable_that_the_original_lacks_is_left_out_and_named(tmp_path, arrays):
    write_ours(tmp_path / "more", {**arrays, "physics_lr": np.float32(1)})
    lines = tf1_checkpoint.convert(tmp_path / "more", tmp_path / "tf1", to_tf1=True)
    assert "physics_lr" in lines[-1] and len(lines) == 3
    assert_same_bits(checkpoints.load(tmp_path / "tf1").arrays, arrays)


def test_an_export_names_the_settings_that_the_original_lacks(tmp_path, ours):
    write_marker(ours, {}, {"vel_encoder": "mlp", "calibrated_coords": False})
    assert len(tf1_checkpoint.convert(ours, tmp_path / "tf1", to_tf1=True)) == 2
    write_marker(ours, {}, {"vel_encoder": "gauss_newton", "calibrated_coords": True})
    notes = tf1_checkpoint.convert(ours, tmp_path / "other", to_tf1=True)[2:]
    assert len(notes) == 2 and "--vel_encoder=gauss_newton" in notes[0] and "--calibrated_coords=True" in notes[1]


def command(capsys, *arguments) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command line."""
    code = 0
    try:
        tf1_checkpoint.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def mistaken(tmp_path, ours, arrays) -> Path:
    """A folder of folders that a command cannot take."""
    tf1 = tmp_path / "tf1"
    tf1_checkpoint.convert(ours, tf1, to_tf1=True)
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "checkpoint_notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    tf.train.Checkpoint(w=tf.Variable(1.0)).save(str(tmp_path / "foreign" / "ckpt"))
    for name, part in (("cut_index", TF1_FILES[2]), ("cut_data", TF1_FILES[1])):
        (tmp_path / name).mkdir()
        for file, content in files(tf1).items():
            (tmp_path / name / file).write_bytes(content[: len(content) // 2] if file == part else content)
    lstm = {**arrays, "net/lstm/dense/bias": np.zeros(4, np.float32)}
    grey = {**arrays, "net/encoder/conv2d/kernel": arrays["net/encoder/conv2d/kernel"][:, :, :1]}
    for name, changed in (("lstm", lstm), ("grey", grey)):
        write_ours(tmp_path / name, changed)
    return tmp_path


def test_mistakes_are_one_line_and_change_nothing(mistaken, capsys, monkeypatch):
    monkeypatch.chdir(mistaken)
    before = {path: path.read_bytes() for path in sorted(mistaken.rglob("*")) if path.is_file()}
    mistakes = [
        ("import none new", "none"),
        ("import empty new", "empty"),
        ("import foreign new", "foreign"),
        ("import cut_index new", "cut_index"),
        ("import cut_data new", "cut_data"),
        ("import ours new", "ours"),
        ("import tf1 ours", "ours"),
        ("import tf1 mine", "checkpoint_notes.txt"),
        ("import tf1 file", "file"),
        ("import tf1 file/new", "file/new"),
        ("export tf1 new", "tf1"),
        ("export ours tf1", "tf1"),
        ("export lstm new", "lstm"),
        ("export grey new", "grey"),
        ("export ours", "dest"),
        ("inspect none", "none"),
        ("inspect cut_data", "cut_data"),
        ("convert ours", "convert"),
        ("", "command"),
    ]
    for line, named in mistakes:
        code, out, err = command(capsys, *line.split())
        assert (code, out) == (1, ""), line
        assert err.startswith("error: ") and err.count("\n") == 1 and named in err, err
    assert {path: path.read_bytes() for path in sorted(mistaken.rglob("*")) if path.is_file()} == before
    assert not (mistaken / "new").exists()


def test_an_empty_folder_is_taken_and_the_output_says_what_the_checkpoint_fits(tmp_path, ours, arrays, capsys):
    (tmp_path / "tf1").mkdir()
    code, out, _ = command(capsys, "export", ours, tmp_path / "tf1")
    assert code == 0 and "spring_color, spring_color_half;" in out and "rmsprop" in out
    assert_same_bits(checkpoints.load(tmp_path / "tf1").arrays, arrays)
    assert sorted(os.listdir(tmp_path)) == ["ours", "tf1"]


def test_a_full_disk_costs_nothing(tmp_path, ours, capsys):
    tf1_checkpoint.convert(ours, tmp_path / "tf1", to_tf1=True)
    (tmp_path / "empty").mkdir()
    before = files(tmp_path / "tf1"), files(ours)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        exported = command(capsys, "export", ours, tmp_path / "new")
        imported = command(capsys, "import", tmp_path / "tf1", tmp_path / "empty")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for code, _, err in (exported, imported):
        assert code == 1 and err.count("\n") == 1
    assert (files(tmp_path / "tf1"), files(ours)) == before
    assert sorted(os.listdir(tmp_path)) == ["empty", "ours", "tf1"] and not os.listdir(tmp_path / "empty")


def test_inspect_lists_every_variable_with_its_shape(ours, arrays, capsys):
    code, out, _ = command(capsys, "inspect", ours)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].endswith("model.ckpt-7: this port's format, epoch 3, iteration 7")
    # 53 trained weights and dt_x; two slots for each of the 53; base_lr.
    assert lines[1] == "161 arrays: 54 weights with 1,736,538 numbers, 106 optimizer slots, 1 more"
    assert lines[2] == "fits: spring_color, spring_color_half; optimizer slots: rmsprop"
    listed = [line.split()[0] for line in lines[4:]]
    assert len(listed) == 55 and listed[0] == "base_lr"
    assert listed.index("net/encoder/conv2d_2/bias") < listed.index("net/encoder/conv2d_10/bias")
    (kernel,) = (line for line in lines if line.startswith("net/encoder/conv2d_12/kernel "))
    value = arrays["net/encoder/conv2d_12/kernel"]
    wanted = ["[1, 1, 8, 2]", "float32", f"{value.min():.6g}", f"{value.max():.6g}", "RMSProp, RMSProp_1"]
    assert [cell.strip() for cell in kernel.split("  ")[1:] if cell.strip()] == wanted
