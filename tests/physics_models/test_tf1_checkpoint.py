"""Checkpoints both ways: names, shapes and bits, TF1's own Saver on the other side."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf1_graph

from nn.optimizers import OPTIMIZERS
from physics_models import checkpoints, tf1_checkpoint
from physics_models.errors import ExperimentError
from physics_models.experiment import write_marker
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, get_task

TF1_FILES = ["checkpoint", "model.ckpt.data-00000-of-00001", "model.ckpt.index"]
CASES = [
    *((name, "rmsprop", False) for name in TASKS),
    *(("spring_color", rule, False) for rule in OPTIMIZERS if rule != "rmsprop"),
    ("spring_color", "rmsprop", True),
]
each_case = pytest.mark.parametrize(("task", "optimizer", "alt_vel"), CASES)


def make_net(task: str = "spring_color", optimizer: str = "rmsprop", **settings) -> PhysicsNet:
    net = PhysicsNet(get_task(task, settings.pop("cell_type", "")), **settings)
    net.build_optimizer(3e-4, optimizer)
    return net


def all_variables(net: PhysicsNet) -> dict[str, tf.Variable]:
    return {**net.variables_by_name(), **net.optimizer.named_variables()}


def randomize(net: PhysicsNet, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.RandomState(seed)
    arrays = {}
    for name, variable in all_variables(net).items():
        arrays[name] = np.asarray(random.standard_normal(variable.shape), np.float32)
        variable.assign(arrays[name])
    return arrays


def assert_same_bits(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype == np.float32, name
        assert found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def ours(tmp_path) -> Path:
    """A folder with our checkpoint of spring_color."""
    net = make_net()
    randomize(net)
    net.epoch, net.iteration = 3, 7
    checkpoints.save(net, tmp_path / "ours")
    return tmp_path / "ours"


@each_case
def test_tf1_saver_restores_an_export_and_an_import_gives_it_back(tmp_path, task, optimizer, alt_vel):
    net = make_net(task, optimizer, alt_vel=alt_vel)
    arrays = randomize(net)
    checkpoints.save(net, tmp_path / "ours")
    tf1_checkpoint.export_checkpoint(tmp_path / "ours", tmp_path / "tf1")
    assert sorted(os.listdir(tmp_path / "tf1")) == TF1_FILES
    shapes = {name: tuple(variable.shape) for name, variable in net.variables_by_name().items()}
    restored = tf1_graph.restore(tmp_path / "tf1", shapes, optimizer)
    assert_same_bits(restored, arrays)
    tf1_checkpoint.import_checkpoint(tmp_path / "tf1", tmp_path / "back")
    back = checkpoints.read(tmp_path / "back")
    assert not back.tf1
    assert_same_bits(back.arrays, arrays)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_export_of_an_import_has_the_bytes_that_tf1_wrote(tmp_path, optimizer):
    net = make_net("3bp_color", optimizer)
    arrays = randomize(net)
    (tmp_path / "tf1").mkdir()
    shapes = {name: tuple(variable.shape) for name, variable in net.variables_by_name().items()}
    tf1_graph.save(tmp_path / "tf1", shapes, optimizer, arrays)
    assert sorted(os.listdir(tmp_path / "tf1")) == TF1_FILES
    tf1_checkpoint.import_checkpoint(tmp_path / "tf1", tmp_path / "ours")
    tf1_checkpoint.export_checkpoint(tmp_path / "ours", tmp_path / "back")
    assert files(tmp_path / "back") == files(tmp_path / "tf1")
    randomize(net, seed=1)
    checkpoints.restore(net, checkpoints.read(tmp_path / "ours"))
    after = {name: variable.numpy() for name, variable in all_variables(net).items() if name != "base_lr"}
    assert_same_bits(after, {name: array for name, array in arrays.items() if name != "base_lr"})


def test_a_variable_that_the_original_lacks_is_left_out_and_named(tmp_path, ours):
    arrays = checkpoints.read(ours).arrays
    tf1_checkpoint.write_ours({**arrays, "physics_lr": np.float32(1)}, tmp_path / "more")
    lines = tf1_checkpoint.export_checkpoint(tmp_path / "more", tmp_path / "tf1")
    assert lines[-1] == "left out, the original has no such variable: physics_lr"
    assert_same_bits(checkpoints.read(tmp_path / "tf1").arrays, arrays)


def test_an_export_says_which_settings_the_original_lacks(tmp_path, ours):
    write_marker(ours, {"vel_encoder": "mlp", "calibrated_coords": False}, TASKS["spring_color"])
    assert len(tf1_checkpoint.export_checkpoint(ours, tmp_path / "tf1")) == 2
    write_marker(ours, {"vel_encoder": "gauss_newton", "calibrated_coords": True}, TASKS["spring_color"])
    notes = tf1_checkpoint.export_checkpoint(ours, tmp_path / "other")[2:]
    assert [note.split(",")[0] for note in notes] == [
        "note: trained with --vel_encoder=gauss_newton",
        "note: trained with --calibrated_coords=True",
    ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cell_type": "lstm"}, "--cell_type=lstm cannot be exported"),
        ({"color": False}, "grey frames cannot be exported"),
        ({"cell_type": "gravity_ode_cell"}, "no task of the original"),
    ],
)
def test_a_network_that_the_original_lacks_is_not_exported(tmp_path, settings, said):
    checkpoints.save(make_net(**settings), tmp_path / "ours")
    with pytest.raises(ExperimentError, match=said):
        tf1_checkpoint.export_checkpoint(tmp_path / "ours", tmp_path / "tf1")
    assert os.listdir(tmp_path) == ["ours"]


def test_incomplete_slots_are_not_exported(tmp_path, ours):
    arrays = checkpoints.read(ours).arrays
    del arrays["net/decoder/logsigma/RMSProp_1"]
    tf1_checkpoint.write_ours(arrays, tmp_path / "less")
    with pytest.raises(ExperimentError, match="no net/decoder/logsigma/RMSProp_1"):
        tf1_checkpoint.export_checkpoint(tmp_path / "less", tmp_path / "tf1")


def command(capsys, *arguments) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command line."""
    code = 0
    try:
        tf1_checkpoint.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_mistakes_are_one_line_and_change_nothing(tmp_path, ours, capsys):
    tf1 = tmp_path / "tf1"
    tf1_checkpoint.export_checkpoint(ours, tf1)
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "log.txt").write_text("the log")
    (tmp_path / "empty").mkdir()
    foreign = tf.train.Checkpoint(w=tf.Variable(1.0))
    foreign.save(str(tmp_path / "foreign" / "ckpt"))
    for name, part in (("cut_index", "model.ckpt.index"), ("cut_data", "model.ckpt.data-00000-of-00001")):
        (tmp_path / name).mkdir()
        for file in TF1_FILES:
            (tmp_path / name / file).write_bytes((tf1 / file).read_bytes())
        truncate(tmp_path / name / part)
    before = sorted(tmp_path.rglob("*")), files(ours), files(tf1)
    mistakes = [
        (["import", tmp_path / "none", tmp_path / "new"], "none: no such folder"),
        (["import", tmp_path / "empty", tmp_path / "new"], "empty: holds no checkpoint"),
        (["import", tmp_path / "foreign", tmp_path / "new"], "it is no checkpoint of this network"),
        (["import", tmp_path / "cut_index", tmp_path / "new"], "damaged or incomplete"),
        (["import", tmp_path / "cut_data", tmp_path / "new"], "damaged or incomplete"),
        (["import", ours, tmp_path / "new"], "in this port's format already"),
        (["import", tf1, ours], "holds a checkpoint; give another folder, or --overwrite"),
        (["import", tf1, tmp_path / "experiment", "--overwrite"], "holds log.txt and is not touched"),
        (["import", tf1, tmp_path / "file"], "/file is a file; give"),
        (["import", tf1, tmp_path / "file" / "new"], "/file is a file; give"),
        (["export", tf1, tmp_path / "new"], "in TF1's format already"),
        (["export", ours, tf1], "holds a checkpoint; give another folder, or --overwrite"),
        (["export", ours], "the following arguments are required: dest; see --help"),
        (["inspect", tmp_path / "none"], "none: no such folder"),
        (["inspect", ours, tmp_path / "cut_data"], "damaged or incomplete"),
        (["convert", ours], "invalid choice: 'convert'"),
        ([], "the following arguments are required: command"),
    ]
    for arguments, said in mistakes:
        code, out, err = command(capsys, *arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith("error: ") and err.count("\n") == 1 and said in err, err
    assert (sorted(tmp_path.rglob("*")), files(ours), files(tf1)) == before


def test_overwrite_replaces_a_checkpoint_whole(tmp_path, ours, capsys):
    code, out, _ = command(capsys, "export", ours, tmp_path / "tf1")
    assert code == 0 and "fits: spring_color, spring_color_half; optimizer slots: rmsprop" in out
    old = files(tmp_path / "tf1")
    net = make_net()
    arrays = randomize(net, seed=1)
    checkpoints.save(net, tmp_path / "later")
    code, _, _ = command(capsys, "export", tmp_path / "later", tmp_path / "tf1", "--overwrite")
    assert code == 0 and sorted(os.listdir(tmp_path / "tf1")) == TF1_FILES
    assert files(tmp_path / "tf1") != old
    assert_same_bits(checkpoints.read(tmp_path / "tf1").arrays, arrays)
    assert sorted(os.listdir(tmp_path)) == ["later", "ours", "tf1"]


def test_a_full_disk_costs_nothing(tmp_path, ours):
    tf1_checkpoint.export_checkpoint(ours, tmp_path / "tf1")
    tf1_checkpoint.import_checkpoint(tmp_path / "tf1", tmp_path / "again")
    before = files(tmp_path / "tf1"), files(tmp_path / "again")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(ExperimentError, match="tf1: cannot be written"):
            tf1_checkpoint.export_checkpoint(ours, tmp_path / "tf1", overwrite=True)
        with pytest.raises(ExperimentError, match="again: the checkpoint cannot be written"):
            tf1_checkpoint.import_checkpoint(tmp_path / "tf1", tmp_path / "again", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (files(tmp_path / "tf1"), files(tmp_path / "again")) == before
    assert sorted(os.listdir(tmp_path)) == ["again", "ours", "tf1"]


def test_inspect_lists_every_variable_with_its_shape(ours, capsys):
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
    value = checkpoints.read(ours).arrays["net/encoder/conv2d_12/kernel"]
    wanted = ["[1, 1, 8, 2]", "float32", f"{value.min():.6g}", f"{value.max():.6g}", "RMSProp, RMSProp_1"]
    assert kernel.split("  ")[0] == "net/encoder/conv2d_12/kernel"
    assert [cell.strip() for cell in kernel.split("  ")[1:] if cell.strip()] == wanted


def test_inspect_of_two_shows_what_differs(tmp_path, ours, capsys):
    tf1_checkpoint.export_checkpoint(ours, tmp_path / "tf1")
    _, out, _ = command(capsys, "inspect", ours, tmp_path / "tf1")
    assert out.splitlines()[2:] == ["161 of 161 arrays are equal bit for bit"]
    arrays = checkpoints.read(ours).arrays
    arrays["net/spring_ode_cell/log_k"] = arrays["net/spring_ode_cell/log_k"] + np.float32(0.5)
    arrays["net/encoder/dense/bias"] = np.zeros(3, np.float32)
    del arrays["base_lr"]
    tf1_checkpoint.write_ours(arrays, tmp_path / "other")
    code, out, _ = command(capsys, "inspect", ours, tmp_path / "other")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()[2:]]
    assert rows[0] == ["158 of 161 arrays are equal bit for bit"]
    assert rows[2] == ["base_lr", "[]", "missing"]
    assert rows[3] == ["net/encoder/dense/bias", "[200]", "[3]"]
    assert rows[4][:4] == ["net/spring_ode_cell/log_k", "[]", "[]", "0.5"]


def test_the_command_says_nothing_but_its_lines(ours):
    command_line = [sys.executable, "-m", "physics_models.tf1_checkpoint", "inspect", str(ours), str(ours)]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "161 of 161 arrays are equal bit for bit"
