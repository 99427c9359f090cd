"""`python -m data_gen` as a user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_gen import __main__ as command
from data_gen import benchmark
from data_gen.recipes import RECIPES

SMALL = "--split_sizes=3,1,1"


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
    assert "accepted" in out and "attempts" in out
    code, out, err = run("--task=spring_color", SMALL, f"--out={tmp_path}", capsys=capsys)
    assert code == 1 and out == "" and err.count("exists; give another name, or --overwrite") == 2
    code, out, err = run("--task=spring_color", SMALL, f"--out={tmp_path}", "--overwrite", capsys=capsys)
    assert code == 0 and err == ""


def test_default_files_are_those_of_run_physics(tmp_path, monkeypatch):
    flags = command.parser().parse_args(["--all"])
    root = Path(command.__file__).resolve().parent.parent
    planned = {path for _, path, _ in command.plan(flags)}
    names = [name for recipe in RECIPES.values() for name in (recipe.train_file, recipe.test_file)]
    assert planned == {root / "data" / "datasets" / name for name in names}


def test_all_makes_what_can_be_made(tmp_path, capsys, monkeypatch):
    """Without MNIST the other tasks are made, and the exit code says that something is missing."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    code, out, err = run("--all", "--split_sizes=1,1,1", f"--out={tmp_path}", capsys=capsys)
    assert code == 1
    assert out.count("sequences of") == 8
    assert err.count("\n") == 2 and "--digits=FILE.npz" in err


def test_one_file_with_other_physics(tmp_path, capsys):
    out_file = tmp_path / "soft.npz"
    arguments = ("--task=spring_color", "--seq_len=5", "--k=2", "--img_size=40", "--seed=3", SMALL)
    code, out, err = run(*arguments, f"--out={out_file}", capsys=capsys)
    assert (code, err) == (0, "")
    made = np.load(out_file)
    assert made["test_x"].shape == (1, 5, 40, 40, 3)
    assert '"k": 2.0' in str(made["meta"]) and '"seed": 3' in str(made["meta"])
    assert (tmp_path / "soft_samples.jpg").exists()


def test_a_picture_of_the_users_is_not_replaced(tmp_path, capsys):
    picture = tmp_path / "soft_samples.jpg"
    picture.write_bytes(b"mine")
    arguments = ("--task=spring_color", "--seq_len=5", SMALL, f"--out={tmp_path / 'soft.npz'}")
    code, out, err = run(*arguments, capsys=capsys)
    assert (code, out) == (1, "")
    assert err == f"error: {picture} exists; give another name, or --overwrite to replace it\n"
    assert os.listdir(tmp_path) == [picture.name] and picture.read_bytes() == b"mine"
    code, out, err = run(*arguments, "--overwrite", capsys=capsys)
    assert (code, err) == (0, "") and picture.read_bytes() != b"mine"


def test_other_lengths_get_a_name_of_their_own(tmp_path):
    flags = command.parser().parse_args(["--task=3bp_color", "--seq_len=25", f"--out={tmp_path}"])
    [(_, path, length)] = command.plan(flags)
    assert (path.name, length) == ("color_3bp_vx2_vy2_sl25_r2_g60_m1_dt05.npz", 25)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give either --task or --all"),
        (["--all", "--task=spring_color"], "give either --task or --all"),
        (["--task=nothing"], "invalid choice"),
        (["--task=spring_color", "--split_sizes=5"], "'5' is not three numbers such as 5000,500,500"),
        (["--task=spring_color", "--split_sizes=5,0,5", "--out=FOLDER"], "valid set's size is 0"),
        (["--task=spring_color", "--seq_len=x"], "seq_len"),
        (["--task=spring_color", "--seq_len=0", "--out=FOLDER"], "seq_len is 0"),
        (["--task=spring_color", "--seq_len=0", SMALL, "--out=FOLDER/a.npz"], "seq_len is 0"),
        (["--task=spring_color", "--no_such_flag=1"], "unrecognized arguments: --no_such_flag"),
        (["--task=spring_color", "--k=1"], "--k changes the physics"),
        (["--task=spring_color", "--g=1", "--out=FOLDER/a.npz"], "has no setting g"),
        (["--task=spring_color", "--radius=0", "--out=FOLDER/a.npz"], "radius is 0"),
        (["--task=spring_color", "--equil=99", "--out=FOLDER/a.npz"], "spring of rest length 198.0 px"),
        (["--task=spring_color", "--split_sizes=99999999999,5,5", "--out=FOLDER/a.npz"], "MiB of memory"),
        (["--task=spring_color", f"--seq_len={10**400}", SMALL, "--out=FOLDER/a.npz"], "MiB of memory"),
        (["--all", "--out=FOLDER/a.npz"], "single file"),
        (["--task=spring_color", "--digits=a.npz"], "belong to --task=mnist_spring_color"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_1(arguments, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("data_gen.sampling.MAX_REJECTED_IN_A_ROW", 2000)
    arguments = [a.replace("FOLDER", str(tmp_path)) for a in arguments]
    code, out, err = run(*arguments, capsys=capsys)
    assert code == 1 and out == ""
    assert all(line.startswith("error: ") for line in err.splitlines()) and reason in err
    assert not list(tmp_path.rglob("*.npz"))


def test_sigterm_leaves_no_part_of_a_file(tmp_path):
    """Where `main` is called as `paig-data` calls it; the signal comes in the midst of writing."""
    code = (
        "import os, signal, sys, time\n"
        "import numpy as np\n"
        "from data_gen.__main__ import main\n"
        "def stopped(*_, **__):\n"
        "    print(os.listdir(sys.argv[1]), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "np.lib.format.write_array = stopped\n"
        f"sys.exit(main(['--task=3bp_color', '{SMALL}', '--out=' + sys.argv[1] + '/a.npz']))\n"
    )
    root = str(Path(command.__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert done.returncode == 143 and ".part" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == []


def test_no_memory_gives_one_line(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr("data_gen.dataset.sample_sequences", full)
    out_file = tmp_path / "a.npz"
    code, out, err = run("--task=spring_color", SMALL, f"--out={out_file}", capsys=capsys)
    assert (code, out) == (1, "") and os.listdir(tmp_path) == []
    assert err == f"error: {out_file}: not enough memory; make fewer or shorter sequences\n"


def test_help_explains_every_flag_with_its_unit(capsys):
    with pytest.raises(SystemExit) as leaving:
        command.main(["--help"])
    assert leaving.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    general = ("task", "all", "split_sizes", "seq_len", "seed", "out", "overwrite")
    for name in (*command.PHYSICS_FLAGS, *command.PICTURE_FLAGS, *general):
        assert f"--{name} " in text or f"--{name}]" in text
    for name, (_, explanation) in command.PHYSICS_FLAGS.items():
        assert " ".join(explanation.split()) in text
        assert any(unit in explanation for unit in ("pixel", "unit", "steps", "number")), name


def test_progress_bar_and_estimate(monkeypatch):
    class Terminal:
        def __init__(self):
            self.text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = command.ProgressBar("spring_color, T = 12")
    bar.begin -= 10.0
    bar(50, 100)
    assert "spring_color, T = 12 [###############               ]  50%   10 s left" in terminal.text
    bar.close()
    assert terminal.text.endswith("\r\033[K")


def test_it_runs_as_a_module_with_numpy_alone(tmp_path):
    """No TensorFlow, no scikit-image, no SciPy, no Pillow: only the picture of the samples is missing then."""
    code = (
        "import sys, runpy\n"
        "for name in ('tensorflow', 'skimage', 'scipy', 'PIL', 'matplotlib', 'absl'): sys.modules[name] = None\n"
        "sys.argv[0] = 'data_gen'\n"
        "runpy.run_module('data_gen', run_name='__main__')\n"
    )
    command_line = [sys.executable, "-c", code, "--task=3bp_color", SMALL, f"--out={tmp_path / 'a.npz'}"]
    root = str(Path(command.__file__).resolve().parent.parent)
    done = subprocess.run(command_line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["a.npz"]
    assert "Pillow is not installed" in done.stderr


def test_benchmark_prints_a_line_for_each_file(capsys):
    assert benchmark.main(["--task=bouncing_balls", "--divide=500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "NumPy" in lines[0] and "cores" in lines[0]
    assert [line.split()[:3] for line in lines[2:]] == [["bouncing_balls", "12", "12"], ["bouncing_balls", "30", "12"]]
    for line in lines[2:]:
        seconds, rate, peak = (float(value) for value in line.split()[4:7])
        assert peak > 20 and abs(rate - 12 / max(seconds, 0.05)) <= max(rate, 1)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("--nope", "unrecognized arguments: --nope (see python -m data_gen.benchmark --help)"),
        ("--divide=0", "--divide=0: must be at least 1"),
        ("--divide=x", "argument --divide: invalid int value: 'x' (see python -m data_gen.benchmark --help)"),
        ("--digits=nowhere.npz", "cannot read nowhere.npz: No such file or directory"),
    ],
)
def test_a_mistake_in_the_benchmarks_flags_is_one_line(argument, reason, capsys):
    assert benchmark.main([argument]) == 1
    assert capsys.readouterr() == ("", f"error: {reason}\n")
