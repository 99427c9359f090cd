"""`python -m data_gen` as a user meets it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_gen import __main__ as command
from data_gen.recipes import RECIPES

SMALL = "--split_sizes=3,1,1"
ROOT = Path(command.__file__).resolve().parent.parent


def run(*arguments, capsys):
    code = command.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_both_files_of_a_task(tmp_path, capsys):
    code, out, err = run("--task=spring_color", SMALL, f"--out={tmp_path}", capsys=capsys)
    assert (code, err) == (0, "")
    recipe = RECIPES["spring_color"]
    for name, length, seed in ((recipe.train_file, 12, 1), (recipe.test_file, 30, 2)):
        assert np.load(tmp_path / name)["train_x"].shape == (3, length, 32, 32, 3)
        assert f"{tmp_path / name}: 5 sequences of {length} frames, seed {seed};" in out
    before = (tmp_path / recipe.train_file).read_bytes()
    code, out, err = run("--task=spring_color", SMALL, f"--out={tmp_path}", capsys=capsys)
    assert code == 1 and out == "" and err.count("--overwrite") == 2
    assert (tmp_path / recipe.train_file).read_bytes() == before
    code, out, err = run("--task=spring_color", SMALL, f"--out={tmp_path}", "--overwrite", capsys=capsys)
    assert code == 0 and err == ""


def test_default_files_are_those_of_run_physics():
    planned = {path for _, path, _ in command.plan(command.parser().parse_args(["--all"]))}
    names = [name for recipe in RECIPES.values() for name in (recipe.train_file, recipe.test_file)]
    assert planned == {ROOT / "data" / "datasets" / name for name in names}


def test_all_makes_what_can_be_made(tmp_path, capsys, monkeypatch):
    """Without MNIST the other tasks are made, and the exit code says that something is missing."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    code, out, err = run("--all", "--split_sizes=1,1,1", "--seq_len=2", f"--out={tmp_path}", capsys=capsys)
    assert code == 1
    assert out.count("sequences of") == 4
    assert err.count("\n") == 1 and "--digits=FILE.npz" in err


def test_one_file_with_other_physics(tmp_path, capsys):
    out_file = tmp_path / "soft.npz"
    arguments = ("--task=spring_color", "--seq_len=5", "--k=2", "--img_size=40", "--seed=3", SMALL)
    code, out, err = run(*arguments, f"--out={out_file}", capsys=capsys)
    assert (code, err) == (0, "")
    made = np.load(out_file)
    assert made["test_x"].shape == (1, 5, 40, 40, 3)
    assert '"k": 2.0' in str(made["meta"]) and '"seed": 3' in str(made["meta"])
    assert (tmp_path / "soft_samples.jpg").exists()


def test_a_picture_of_the_users_is_not_replaced(tmp_path, capsys, caplog):
    picture = tmp_path / "soft_samples.jpg"
    picture.write_bytes(b"mine")
    arguments = ("--task=spring_color", "--seq_len=5", SMALL, f"--out={tmp_path / 'soft.npz'}")
    assert run(*arguments, capsys=capsys)[0] == 0
    assert picture.read_bytes() == b"mine" and f"{picture} exists and is kept" in caplog.text
    assert run(*arguments, "--overwrite", capsys=capsys)[0] == 0
    assert picture.read_bytes() != b"mine"


def test_other_lengths_get_a_name_of_their_own(tmp_path):
    flags = command.parser().parse_args(["--task=3bp_color", "--seq_len=25", f"--out={tmp_path}"])
    [(_, path, length)] = command.plan(flags)
    assert (path.name, length) == ("color_3bp_vx2_vy2_sl25_r2_g60_m1_dt05.npz", 25)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--task"),
        (["--all", "--task=spring_color"], "--task"),
        (["--task=nothing"], "--task"),
        (["--task=spring_color", "--split_sizes=5"], "split_sizes"),
        (["--task=spring_color", "--split_sizes=5,x"], "split_sizes"),
        (["--task=spring_color", "--split_sizes=5,0,5"], "valid"),
        (["--task=spring_color", "--seq_len=x"], "seq_len"),
        (["--task=spring_color", "--seq_len=0", SMALL, "--out=FOLDER/a.npz"], "seq_len"),
        (["--task=spring_color", "--no_such_flag=1"], "--no_such_flag"),
        (["--task=spring_color", "--k=1"], "--k"),
        (["--task=spring_color", "--g=1", "--out=FOLDER/a.npz"], "g"),
        (["--task=spring_color", "--radius=0", "--out=FOLDER/a.npz"], "radius"),
        (["--task=spring_color", "--equil=99", "--out=FOLDER/a.npz"], "equil"),
        (["--task=spring_color", "--split_sizes=99999999999,5,5", "--out=FOLDER/a.npz"], "memory"),
        (["--task=spring_color", f"--seq_len={10**400}", SMALL, "--out=FOLDER/a.npz"], "memory"),
        (["--all", "--out=FOLDER/a.npz"], "--out"),
        (["--task=spring_color", "--digits=a.npz"], "--digits"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_1(arguments, named, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data_gen.dataset.MAX_REJECTED_IN_A_ROW", 2000)
    arguments = [a.replace("FOLDER", str(tmp_path)) for a in arguments]
    if not any(a.startswith("--out") for a in arguments):
        arguments.append("--seq_len=2" if "--task=spring_color" in arguments else "--seed=1")
        arguments.append(f"--out={tmp_path}")
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 1 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and named in err
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    """The signal comes in the midst of writing."""
    seen = []

    def stopped(*_, **__):
        seen.extend(os.listdir(tmp_path))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(np.lib.format, "write_array", stopped)
    with pytest.raises(SystemExit) as leaving:
        command.main(["--task=3bp_color", SMALL, f"--out={tmp_path / 'a.npz'}"])
    assert leaving.value.code == 143 and ".part" in seen[0]
    assert os.listdir(tmp_path) == []


def test_no_memory_gives_one_line(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr("data_gen.dataset.sample_sequences", full)
    out_file = tmp_path / "a.npz"
    code, out, err = run("--task=spring_color", SMALL, f"--out={out_file}", capsys=capsys)
    assert (code, out) == (1, "") and os.listdir(tmp_path) == []
    assert err.startswith(f"error: {out_file}: not enough memory") and err.count("\n") == 1


def test_help_explains_every_flag_with_its_unit(capsys):
    with pytest.raises(SystemExit) as leaving:
        command.main(["--help"])
    assert leaving.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    general = ("task", "all", "split_sizes", "seq_len", "seed", "out", "overwrite")
    for name in (*command.PHYSICS_FLAGS, *command.PICTURE_FLAGS, *general):
        assert f"--{name} " in text or f"--{name}]" in text
    for name, (_, explanation) in command.PHYSICS_FLAGS.items():
        assert any(unit in explanation for unit in ("pixel", "unit", "steps", "number")), name


def test_it_runs_as_a_module_with_numpy_and_pillow_alone(tmp_path):
    code = (
        "import sys, runpy\n"
        "for name in ('tensorflow', 'skimage', 'scipy', 'matplotlib', 'absl', 'nn'): sys.modules[name] = None\n"
        "sys.argv[0] = 'data_gen'\n"
        "runpy.run_module('data_gen', run_name='__main__')\n"
    )
    command_line = [sys.executable, "-c", code, "--task=3bp_color", SMALL, f"--out={tmp_path / 'a.npz'}"]
    done = subprocess.run(command_line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "a_samples.jpg"]
