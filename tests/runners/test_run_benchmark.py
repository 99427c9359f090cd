"""run_benchmark.py: what it counts, what it measures in a process of its own, what it reports and writes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from absl.testing import flagsaver

from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task
from runners import benchmark_report, run_base, run_benchmark
from runners.benchmark_measure import count_flop
from runners.benchmark_naive import NaiveDecoderNet

ROOT = Path(run_benchmark.__file__).resolve().parents[1]
STACK = {"tensorflow": "2.15.1", "python": "3.11.7", "processor": "a processor", "cores": 2, "gpus": []}


@pytest.fixture
def run_here(capsys, monkeypatch):
    """Runs the command in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(logging.getLogger("tf"), "handlers", [])

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["runners/run_benchmark.py", *flags])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
            run_base.run(run_benchmark.main)
        return ended.value.code, *capsys.readouterr()

    return run


def record(part="train", **changes):
    base = {
        "scale": "", "part": part, "task": "spring_color", "batch": 100, "changes": {}, "rollout": 0, "options": {},
        "median_ms": 500.0, "min_ms": 400.0, "max_ms": 600.0, "first_s": 9.0, "peak_gb": 1.5, "frames": 12,
        "gflop": 50.0, "matmul_gflops": 200.0, "stack": STACK,
    }  # fmt: skip
    return {**base, **changes}


def test_arithmetic_is_counted_as_by_hand():
    kernel, weights = tf.Variable(tf.ones([3, 3, 4, 8])), tf.Variable(tf.ones([8, 10]))

    def forward(images):
        x = tf.nn.conv2d(images, kernel, 2, "SAME")  # [5, 8, 8, 8]
        tf.matmul(tf.ones([99, 99]), tf.ones([99, 99]))  # nobody asks for it
        return tf.matmul(tf.reduce_mean(x, [1, 2]), weights)

    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(forward(images)))
        return tape.gradient(loss, [kernel, weights])

    images = tf.TensorSpec([5, 16, 16, 4])
    conv, matmul = 2 * 5 * 8 * 8 * 8 * 3 * 3 * 4, 2 * 5 * 8 * 10

    def count(function):
        return count_flop(tf.function(function, autograph=False).get_concrete_function(images).graph)

    assert count(forward) == conv + matmul
    assert count(step) == 2 * conv + 3 * matmul  # the images need no gradient


def test_peak_memory_is_that_of_the_process_and_stays():
    """Of a small one: however much this one holds, which starts it."""
    code = "from data_gen.benchmark import peak_gb; a = peak_gb(); h = b'1' * 10**9; del h; print(a, peak_gb())"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, after = map(float, told.split())
    assert before < 0.3 and 0.95 < after - before < 1.1


def test_the_naive_decoder_gives_the_same_loss_and_gradients():
    task = get_task("spring_color")
    nets = []
    for model in (PhysicsNet, NaiveDecoderNet):
        tf.keras.utils.set_random_seed(0)
        nets.append(model(task, autoencoder_loss=3.0))
    frames = tf.random.stateless_uniform([2, 12, 32, 32, 3], [0, 1])
    losses, gradients = [], []
    for net in nets:
        net.cell.log_k.assign(-3.0)
        variables = list(net.variables_by_name(trainable_only=True).values())
        with tf.GradientTape() as tape:
            losses.append(net.train_loss(frames))
        gradients.append(tape.gradient(losses[-1], variables)[-20:])  # without the encoder's, which amplify rounding
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-5)
    for ours, naive in zip(*gradients):
        assert float(tf.norm(ours - naive)) <= 1e-3 * float(tf.norm(ours)) + 1e-6


def test_a_tiny_benchmark(tmp_path):
    ended = subprocess.run(
        [sys.executable, "runners/run_benchmark.py", "--tasks=spring_color", "--batch_sizes=2", "--steps=1", "--json",
         "--device=cpu", f"--out={tmp_path}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    train, evaluated = json.loads(ended.stdout)
    assert (train["part"], evaluated["part"], train["frames"], evaluated["frames"]) == ("train", "eval", 12, 30)
    assert train["stack"]["tensorflow"] == tf.__version__
    assert train["gflop"] == pytest.approx(1.4, rel=0.2)  # 60 to 70 GFLOP for 100 sequences
    for numbers in (train, evaluated):
        assert numbers["first_s"] > numbers["median_ms"] / 1000 > 0
        assert numbers["peak_gb"] > 0.1
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert f"## TensorFlow {tf.__version__}" in text
    assert "| spring_color | 2 |" in text
    assert not (tmp_path / "speed.png").exists()  # nothing to plot yet


def test_tables_hold_ratios_and_shares():
    text = benchmark_report.markdown([record(), record("naive", median_ms=1500.0), record("eval", frames=30)])
    assert "| spring_color | 100 | 500 (400 – 600) | 200 | 2400 | 50.0 | 50% | 9.0 | 1.50 |" in text
    assert "| spring_color | 100 | 30 | 500 (400 – 600) | 200 | 6000 | 9.0 | 1.50 |" in text
    assert "| spring_color | 100 | 500 | 1500 | 3.00 | 1.50 | 1.50 |" in text


def test_growth_is_given_as_an_exponent(tmp_path):
    sizes = [record(scale="H", changes={"img_size": h}, median_ms=h * h, gflop=h**3) for h in (32, 64)]
    batches = [record(scale="batch", batch=b, median_ms=b) for b in (16, 100)]
    benchmark_report.write(tmp_path, [*sizes, *batches])
    benchmark_report.write(tmp_path, [record(), record(stack={**STACK, "tensorflow": "2.21.0"})][:1])
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| 100 | 64 | 4096 (400 – 600) | 2.00 | 262144.0 | 3.00 | 1.50 |" in text
    assert "| 100 | 100 (400 – 600) | 1.00 |" in text
    assert text.count("## TensorFlow 2.15.1") == 1
    assert "### Training step" in text  # beside what was measured before
    assert (tmp_path / "speed.png").stat().st_size > 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed.json", "speed.md", "speed.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tasks=pendulum"], "--tasks=pendulum: no task pendulum; choose from bouncing_balls,"),
        (["--batch_sizes=16,x"], "--batch_sizes=16,x: give whole numbers from 1, as in 16,100"),
        (["--batch_sizes=0"], "--batch_sizes=0: give whole numbers from 1"),
        (["--steps=0"], "--steps=0: must be at least 1"),
        (["--rollout=-1"], "--rollout=-1: must be a number, 0 or above"),
        (["--device=tpu"], "--device=tpu: unknown; give cpu, gpu"),
        (["--scale", "--rollout=1000"], "--scale and --rollout: choose one"),
        (["--steps=ten"], "--steps=ten: must be a whole number"),
    ],
)
def test_mistakes_are_one_line(run_here, arguments, said):
    code, out, err = run_here(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_configuration_that_fails_is_named(run_here, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    code, _, err = run_here("--tasks=3bp_color", "--batch_sizes=16")
    assert code == 1
    assert "error: train, 3bp_color, batch 16: killed; out of memory?" in err


def test_results_that_are_not_ours_are_not_overwritten(tmp_path):
    (tmp_path / "speed.json").write_text("mine")
    with pytest.raises(benchmark_report.ExperimentError, match="speed.json: not what this command wrote"):
        benchmark_report.write(tmp_path, [record()])
    assert (tmp_path / "speed.json").read_text() == "mine"
