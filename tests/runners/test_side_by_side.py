"""side_by_side.py: what it reports of a recorded run of the original, what it runs, and what it leaves of a failure."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import call
from example_run import write_checkpoint

from physics_models import checkpoints, tf1_checkpoint
from physics_models.run_log import read_log
from runners import compare_runs as page
from runners import side_by_side
from runners.compare.report import as_text
from runners.compare_runs import compare_runs
from runners.side import numbers, original, processes

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "golden" / "original_run"  # by TensorFlow 1.12; every 4th pixel, the smallest variables
FACTS = {
    "flags": {"task": "spring_color", "optimizer": "rmsprop", "batch_size": 10, "autoencoder_loss": 3.0},
    "original": {"tensorflow": "1.12.0", "python": "3.6.15"}, "commit": "commit 6d99b1d", "note": "a remark",
    "port": {"tensorflow": "2.21.0", "python": "3.13.0", "processor": "a processor", "cores": 2, "gpus": []},
}  # fmt: skip
# Stands for both programs: writes down how it was called, leaves a log, and does what is said for its folder's name.
PROGRAM = """
import json, os, shutil, signal, sys, time
save_dir = next(a for a in sys.argv if a.startswith("--save_dir=")).split("=")[1]
call = {"argv": sys.argv, "cwd": os.getcwd(), "path": os.environ["PYTHONPATH"], "there": sorted(os.listdir(save_dir))}
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps(call), file=file)
shutil.copy(os.environ["LOG"], save_dir + "/log.txt")
print("working")
exec(json.loads(os.environ["DO"]).get(os.path.basename(save_dir), ""))
"""
PYTHON = """#!/bin/sh
if [ "$1" = -W ]; then {probe}; else exec {python} -S "$@"; fi
"""


def stamp(seconds: float) -> str:
    return f"2026-11-22 01:{int(seconds // 60):02}:{seconds % 60:06.3f}".replace(".", ",") + " - tf - "


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A folder with the recorded run, and a port's that differs from it by known amounts, with a step in 0.25 s."""
    shutil.copytree(RECORDED, tmp_path / "original")
    log = read_log(RECORDED / "log.txt")
    lines = [stamp(7) + "run_physics.py\n--task=spring_color"]
    lines += [f"{stamp(9 + n / 4)}train - iter={n} train_loss={loss * (1 + n * 1e-5)}" for n, loss in log.train_curve()]
    for i, tested in enumerate(log.evaluations("test")):
        pairs = [(f"{name}:0", value + 1e-3 * name.endswith("log_k")) for name, value in tested.parameters.items()]
        losses = {**tested.losses, "eval_recons_loss": tested.losses["eval_recons_loss"] * 1.002}
        text = " ".join(f"{name}={value}" for name, value in losses.items())
        lines += [f"{stamp(30 + i)}{pairs}", f"{stamp(30 + i)}test - epoch={tested.epoch} {text}"]
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "log.txt").write_text("\n".join(lines) + "\n", "utf-8")
    with np.load(RECORDED / "outputs.npz") as file:
        truth, predicted = file["input"], file["output"].copy()
    predicted[0, 2, 3, 4, 0] += 0.03
    np.savez_compressed(tmp_path / "port" / "outputs.npz", input=truth[::-1], output=predicted[::-1])
    arrays, name = checkpoints.load(RECORDED).arrays, "net/init_vel/dense_2/bias"
    changed = {name: arrays[name] * np.float32(1.5), f"{name}/RMSProp": 9 * arrays[f"{name}/RMSProp"]}
    write_checkpoint(tmp_path / "port", {**arrays, **changed}, tf1=False)
    runs = []
    for side, before, gb in (("original", 100, 1.5), ("port", 5, 0.75)):
        begun = read_log(tmp_path / side / "log.txt").commands[0].time - before
        runs.append({"side": side, "pair": 1, "code": 0, "peak_gb": gb, "started": begun})
    (tmp_path / numbers.FACTS).write_text(json.dumps({**FACTS, "runs": runs}))
    return tmp_path


def test_the_recorded_run_is_measured(recorded):
    found, log = numbers.Numbers(recorded), read_log(RECORDED / "log.txt")
    curve = log.train_curve()
    assert list(found.train_losses()) == [step for step, _ in curve] and len(curve) == 20
    pred, recons = (log.evaluations("test")[-1].losses[f"eval_{name}_loss"] for name in ("pred", "recons"))
    assert found.test_losses()["recons"] == (recons, pytest.approx(recons * 1.002))
    assert found.test_losses()["pred + 3·recons"][0] == pytest.approx(pred + 3 * recons)
    assert len(found.test_losses()) == 4
    times = [line.time for line in log.commands[0].train]
    step = statistics.median(b - a for a, b in zip(times, times[1:]))
    costs = found.costs()
    assert costs["seconds per step, pair 1"] == [pytest.approx(step, rel=1e-3), pytest.approx(0.25)]
    assert costs[numbers.BEFORE] == [pytest.approx(100 + times[0] - log.commands[0].time - step, rel=1e-3), 7 - 0.25]
    row = {name: value.replace(" (–)", "") for name, value in found.row().items()}
    assert (row["train loss"], row["test losses"]) == ("0.00019", "0.002")
    assert (row["parameters"], row["pixel"]) == ("0.001", "0.03")
    assert (row["weights, largest"], row["median"], row["GB"]) == ("0.5", "0", "1.5 / 0.75")
    assert row["ratio"] == numbers.short(step / 0.25)


def test_the_report_and_the_table_hold_it(recorded):
    report = compare_runs(recorded / "original", recorded / "port")
    report.sections.insert(0, numbers.Numbers(recorded).section())
    text = as_text(report)
    for words in ("weights, largest", "commit 6d99b1d", "a remark", "seconds per step", "pred + 3·recons"):
        assert words in text
    assert report.sections[0].blocks[2].render().startswith(b"<?xml")
    shown = call(lambda: side_by_side.main([f"--list={recorded}"]), "side_by_side.py")
    assert shown.code == 0 and "| spring_color | rmsprop | 10 | 20 | 0.00019 (–) | 0.002 (–) | 0.03 (–) |" in shown.out


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that runs the command with stand-ins for the original, the port and Python 3.6; `calls` of these."""
    for root in ("clone", "port_root"):
        for part in ("runners/run_physics.py", "nn/network/physics_models.py"):
            (tmp_path / root / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / part).write_text(PROGRAM)
    python = tmp_path / "python"
    probed = json.dumps(FACTS["original"])
    python.write_text(PYTHON.format(probe=f"echo '{probed}'", python=sys.executable))
    python.chmod(0o755)
    monkeypatch.setattr(side_by_side, "ROOT", tmp_path / "port_root")
    monkeypatch.setattr(side_by_side.sys, "executable", str(python))
    monkeypatch.setattr(side_by_side, "start_weights", lambda *_: {"net/encoder/conv2d/bias": np.arange(8, dtype="f4")})
    monkeypatch.setattr(page, "as_html", lambda report: "")  # its pictures take a second
    monkeypatch.setattr(processes, "POLL_S", 0.02)
    monkeypatch.setattr(processes, "PROGRESS_S", 0.0)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("LOG", str(RECORDED / "log.txt"))

    def run(*arguments, **do):
        monkeypatch.setenv("DO", json.dumps(do))
        given = [f"--original={tmp_path / 'clone'}", f"--python={python}", f"--save_dir={tmp_path / 'out'}", *arguments]
        ended = call(lambda: side_by_side.main([*given, "--batch_size=4", "--steps=20"]), "side_by_side.py")
        run.calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        return ended

    return run


def test_both_run_on_one_batch_from_the_same_weights(tmp_path, programs):
    ended = programs("--test_sequences=6", "--optimizer=adam", "--base_lr=0.01", "--seed=7", "--pairs=2",
                     original2="time.sleep(60)", port2="time.sleep(60)")  # fmt: skip
    assert ended.code == 0, ended.err
    assert "| spring_color | adam | 4 | 20 |" in ended.out
    assert "original: trained" in ended.err or "original: ended" in ended.err
    out, code = tmp_path / "out", tmp_path / "out" / "clone"
    flags = [{a.split("=")[0]: a.split("=")[1] for a in each["argv"][1:]} for each in programs.calls]
    names = ("original", "port", "port2", "original2", "port_again")
    assert [each["--save_dir"] for each in flags] == [str(out / name) for name in names]
    for each, given in zip(programs.calls, flags):
        assert each["there"] == ["checkpoint", "model.ckpt.data-00000-of-00001", "model.ckpt.index"]
        shared = {
            "epochs": "20", "save_every_n_epochs": "20", "batch_size": "4", "base_lr": "0.01", "optimizer": "adam",
            "autoencoder_loss": "3.0", "use_ckpt": "true", "print_interval": "1",
        }  # fmt: skip
        assert shared.items() <= {name[2:]: value for name, value in given.items()}.items()
    first, port = programs.calls[:2]
    assert (first["argv"][0], first["cwd"], first["path"]) == ("runners/run_physics.py", str(code), ".")
    assert [each.get("--seed") for each in flags] == [None, "7", "7", None, "8"]
    assert set(flags[1]) - set(flags[0]) == {"--data_dir", "--seed", "--device"}
    assert port["path"].split(os.pathsep)[0] == str(tmp_path / "port_root")
    (short, long) = sorted((code / "data" / "datasets" / "spring_color").glob("*.npz"))
    with np.load(short) as file, np.load(long) as other:
        assert [len(file[name]) for name in ("train_x", "valid_x", "test_x")] == [4, 6, 6]
        assert (file["train_x"].shape[1], other["test_x"].shape[:2]) == (12, (6, 30))
    assert (code / "runners" / "run_physics.py").read_text() == PROGRAM
    assert sorted(os.listdir(tmp_path / "clone")) == ["nn", "runners"]
    assert {"report.html", "report.txt", "original_output.txt", "port2_output.txt"} <= set(os.listdir(out))


def test_of_all_cases_those_that_are_complete_are_not_run_again(tmp_path, programs, monkeypatch):
    monkeypatch.setattr(side_by_side, "TASKS", ("spring_color",))
    monkeypatch.setattr(side_by_side, "OPTIMIZERS", ("rmsprop", "sgd"))
    assert programs("--task=all").code == 0 and len(programs.calls) == 2 * 3
    again = programs("--task=all")
    assert again.code == 0 and len(programs.calls) == 2 * 3 and "| spring_color | sgd | 4 | 20 |" in again.out
    other = programs("--task=all", "--anneal_lr=false")
    assert other.code == 1 and "--anneal_lr=true" in other.err.splitlines()[-1]
    (tmp_path / "out" / "spring_color-sgd" / numbers.FACTS).unlink()
    broken = programs("--task=all")
    assert broken.code == 1 and "spring_color-sgd is not complete" in broken.err


def test_a_failing_original_leaves_what_there_is(tmp_path, programs):
    ended = programs(original="print('Traceback'); sys.exit('no such op')")
    last, out = ended.err.splitlines()[-1], tmp_path / "out"
    assert (ended.code, ended.out) == (1, "") and ended.err.count("Traceback") == 1  # the original's
    assert last.startswith("error: ") and "no such op" in last and str(out / "original_output.txt") in last
    assert (out / "original_output.txt").read_text().endswith("Traceback\nno such op\n")
    assert len(programs.calls) == 1 and "A's log: 2 command(s), 20 train line(s)" in (out / "report.txt").read_text()


def test_of_what_a_program_printed_the_error_is_told(tmp_path, programs):
    said = "print('IndexError: no such op'); print(' [[{{node save}} = Save[dtypes=[DT_FLOAT]]]' * 99); sys.exit(3)"
    ended = programs(original=said)
    last = ended.err.splitlines()[-1]
    assert "exit code 3 (IndexError: no such op)" in last and "node save" in ended.err and len(ended.err) < 2000


def test_a_program_that_was_killed_says_so(programs):
    ended = programs(port="sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    assert ended.code == 1 and "the port was ended by SIGKILL, perhaps for want of memory" in ended.err.splitlines()[-1]


def test_a_run_that_diverges_is_not_hidden(recorded):
    log = recorded / "port" / "log.txt"
    text = log.read_text("utf-8")
    last = numbers.Numbers(recorded).train_losses()[19][1]
    log.write_text(text.replace(f"train_loss={last}", "train_loss=nan"), "utf-8")
    name, arrays = "net/init_vel/dense_2/bias", dict(checkpoints.load(recorded / "port").arrays)
    shutil.rmtree(recorded / "port" / "checkpoint", ignore_errors=True)
    write_checkpoint(recorded / "port", {**arrays, name: arrays[name] * np.float32("nan")}, tf1=False)
    found = numbers.Numbers(recorded).differences()
    assert (found["train loss"], found["weights, largest"], found["test losses"]) == ("nan", "nan", "0.002")
    first = numbers.Numbers(recorded).logs[1].last_parameters()["net/spring_ode_cell/log_k"]
    log.write_text(text.replace(f"log_k:0', {first}", "log_k:0', 800.0"), "utf-8")
    assert numbers.Numbers(recorded).differences()["parameters"] == "inf"


@pytest.fixture
def heeds_ctrl_c():
    """A shell has what it runs in the background ignore Ctrl-C; here it counts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_program_and_leaves_what_there_is(tmp_path, programs, heeds_ctrl_c):
    stop = "open('pid', 'w').write(str(os.getpid())); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    ended = programs(port=stop)
    last, out = ended.err.splitlines()[-1], tmp_path / "out"
    assert ended.code == 130 and last.startswith("error: ") and str(out) in last and "Traceback" not in ended.err
    with pytest.raises(ProcessLookupError):
        os.kill(int((out / "pid").read_text()), 0)
    assert (out / "report.html").exists() and numbers.Numbers(out).row()["steps"] == "20"
    stopped = numbers.Numbers(out).runs[-1]
    assert stopped["side"] == "port" and stopped["peak_gb"] > 0 and not numbers.is_complete(out)


def test_sequences_come_from_data_files_that_are_there(tmp_path, programs):
    name = side_by_side.RECIPES["3bp_color"].test_file
    file = tmp_path / "data" / name
    file.parent.mkdir(parents=True)
    frames = np.random.RandomState(0).randint(0, 256, [9, 40, 36, 36, 3]).astype(np.uint8)
    np.savez(file, train_x=frames, valid_x=frames[1:], test_x=frames[2:])
    assert programs("--task=3bp_color", f"--data_dir={tmp_path / 'data'}", "--test_sequences=5").code == 0
    with np.load(tmp_path / "out" / "clone" / "data" / "datasets" / name) as made:
        assert np.array_equal(made["test_x"], frames[2:7]) and len(made["train_x"]) == 4


def test_the_original_can_restore_the_start_weights():
    arrays = side_by_side.start_weights("spring_color", "adam", 1e-3, seed=0)
    exported, left_out = tf1_checkpoint.split_by_original(checkpoints.Checkpoint("start", False, arrays, {}))
    assert exported.keys() == arrays.keys() and not left_out
    assert {"base_lr", "beta1_power", "net/encoder/conv2d/kernel/Adam_1"} <= arrays.keys()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--original="], original.HOW),
        (["--original=."], "--original=."),
        (["--python=/nowhere/python"], "--python=/nowhere/python"),
        (["--python=false"], "--python=false"),
        (["--save_dir="], "--save_dir"),
        (["--save_dir=."], "--save_dir=."),
        (["--steps=0"], "--steps=0"),
        (["--steps=ten"], "--steps"),
        (["--test_sequences=4"], "--test_sequences=4"),
        (["--seed=-1"], "--seed=-1"),
        (["--base_lr=nan"], "--base_lr=nan"),
        (["--task=pendulum"], "--task"),
        (["--optimizer=lion"], "--optimizer"),
        (["--list=."], "holds no runs"),
        (["--python=echo"], "it runs no Python program"),
        (["--data_dir=/nowhere"], "--data_dir=/nowhere"),
        (["--make_python=."], "--make_python=."),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, named):
    for part in ("runners/run_physics.py", "nn/network/physics_models.py"):
        (tmp_path / "clone" / part).parent.mkdir(parents=True)
        (tmp_path / "clone" / part).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    given = [f"--original={tmp_path / 'clone'}", f"--save_dir={tmp_path / 'out'}", *arguments]
    ended = call(lambda: side_by_side.main(given), "side_by_side.py")
    assert (ended.code, ended.out) == (1, "")
    assert named in ended.err and ended.err.count("\n") == 1 and ended.err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_python_is_made_where_there_is_a_python36(tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", "/nowhere")

    def make():
        return call(lambda: side_by_side.main([f"--make_python={tmp_path / 'made'}"]), "side_by_side.py")

    assert make().code == 1 and not (tmp_path / "made").exists()
    base = tmp_path / "pyenv" / "versions" / "3.6.15" / "bin" / "python"
    base.parent.mkdir(parents=True)
    (tmp_path / "sh").write_text("#!/bin/sh\necho $@\nif [ $3 = install ]; then echo no route; exit 1; fi\n")
    copy = f"/bin/mkdir $3/bin && /bin/cp {tmp_path / 'sh'} $3/bin/python"
    base.write_text(f"#!/bin/sh\nif [ $2 = venv ]; then {copy}; fi\n")
    for path in (base, tmp_path / "sh"):
        path.chmod(0o755)
    ended = make()
    assert ended.code == 1 and "no route" in ended.err.splitlines()[-1]
    assert str(tmp_path / "made" / "install.txt") in ended.err.splitlines()[-1]
    assert (tmp_path / "made" / "install.txt").read_text() == f"-m pip install {original.PIP}\nno route\n"


@pytest.mark.slow
@pytest.mark.skipif(
    not {"PAIG_ORIGINAL", "PAIG_PYTHON"} <= os.environ.keys(), reason="needs a clone and a Python 3.6, docs/original.md"
)
def test_the_original_and_the_port_agree(tmp_path):
    given = [f"--original={os.environ['PAIG_ORIGINAL']}", f"--python={os.environ['PAIG_PYTHON']}"]
    given += ["--steps=4", "--batch_size=4", f"--save_dir={tmp_path / 'out'}"]
    command = [sys.executable, str(ROOT / "runners" / "side_by_side.py"), *given]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    found = numbers.Numbers(tmp_path / "out")
    row = found.differences()
    assert found.row()["steps"] == "4" and len(found.test_losses()) == 4
    assert float(row["train loss"]) < 1e-5 and float(row["test losses"]) < 1e-4
    assert float(row["parameters"]) < 1e-5 and float(row["median"]) < 0.01
    assert all(cost and cost > 0 for pair in found.costs().values() for cost in pair)
