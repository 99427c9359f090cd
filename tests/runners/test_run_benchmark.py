"""run_benchmark.py: what it counts, measures, reports and writes."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import tensorflow as tf
from absl.testing import flagsaver
from command import run_main
from eager import eagerly
from one_command import load_command

from runners import machine
from runners.run_base import FLAGS

ROOT = Path(machine.__file__).resolve().parents[1]
STACK = {"tensorflow": "2.15.1", "python": "3.11.7", "processor": "a processor", "cores": 2, "gpus": []}


@pytest.fixture(scope="module")
def benchmark():
    return load_command("run_benchmark")


def record(part="train", **changes):
    base = {
        "part": part, "task": "spring_color", "batch": 100, "scale": "", "changes": {}, "options": {},
        "ms": [400.0, 500.0, 600.0], "median_ms": 500.0, "first_s": 9.0, "peak_gb": 1.5, "frames": 12,
        "gflop": 50.0, "matmul_gflops": 200.0, "bare_ms": 250.0, "stack": STACK,
    }  # fmt: skip
    return {**base, **changes}


def test_arithmetic_is_counted_as_by_hand(benchmark):
    kernel, weights = tf.Variable(tf.ones([3, 3, 4, 8])), tf.Variable(tf.ones([8, 10]))

    def forward(images):
        x = tf.nn.conv2d(images, kernel, 2, "SAME")  # [5, 8, 8, 8]
        tf.matmul(tf.ones([99, 99]), tf.ones([99, 99]))  # nothing needs it
        return tf.matmul(tf.reduce_mean(x, [1, 2]), weights)

    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(tf.square(forward(images)))
        return tape.gradient(loss, [kernel, weights, images])

    def count(function):
        graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([5, 16, 16, 4])).graph
        return benchmark.count_flop(graph)

    conv, matmul = 2 * 5 * 8 * 8 * 8 * 3 * 3 * 4, 2 * 5 * 8 * 10
    assert count(forward) == conv + matmul
    assert count(step) == 3 * (conv + matmul)


def test_bare_arithmetic_is_every_convolution_and_product_once(benchmark, monkeypatch):
    kernel, weights, ran = tf.Variable(tf.ones([3, 3, 4, 8])), tf.Variable(tf.ones([8, 10])), []

    def step(images):
        with tf.GradientTape() as tape:
            x = tf.nn.conv2d(images, kernel, 2, "SAME")
            loss = tf.reduce_sum(tf.matmul(tf.reduce_mean(x, [1, 2]), weights))
        return tape.gradient(loss, [kernel, weights])

    for name in ("Conv2D", "Conv2DBackpropFilter", "MatMul"):
        operation = getattr(tf.raw_ops, name)
        monkeypatch.setattr(tf.raw_ops, name, lambda name=name, run=operation, **given: (
            ran.append((name, result := run(**given))), result)[1])
    graph = tf.function(step, autograph=False).get_concrete_function(tf.TensorSpec([5, 16, 16, 4])).graph
    assert benchmark.bare_ms(graph) > 0
    shapes = sorted((name, tuple(result.shape)) for name, result in ran[: len(ran) // 6])
    # The products: forwards, by the weights, by the input; the loss needs no output of the first.
    assert ("Conv2D", (5, 8, 8, 8)) in shapes and ("Conv2DBackpropFilter", (3, 3, 4, 8)) in shapes
    assert sum(name == "MatMul" for name, _ in shapes) == len(shapes) - 2 >= 2


def test_peak_memory_is_that_of_the_process_and_stays():
    # Of a small process, which does without TensorFlow.
    code = (
        "import sys; sys.modules['tensorflow'] = sys; from runners.machine import peak_gb; "
        "a = peak_gb(); h = b'1' * 3 * 10**8; del h; print(a, peak_gb())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, after = map(float, out.split())
    assert before < 0.1 and 0.29 < after - before < 0.35


def test_a_training_step_and_an_evaluation_are_measured(benchmark, monkeypatch):
    records = []

    def measure(each):
        records.append(benchmark.measure(each, time.time()))
        return records[-1]

    monkeypatch.setattr(benchmark, "measure_in_process", measure)
    monkeypatch.setattr(benchmark, "MATMUL_SIDE", 64)
    with eagerly():  # the graph whose arithmetic is counted is traced all the same
        # The task whose graph is made soonest.
        ended = run_main(benchmark.main, ["--tasks=bouncing_balls", "--batch_sizes=1", "--steps=1"])
    assert ended.code == 0
    train, evaluated = records
    assert (train["part"], evaluated["part"], train["frames"], evaluated["frames"]) == ("train", "eval", 12, 30)
    assert train["stack"]["tensorflow"] == tf.__version__
    assert train["gflop"] == pytest.approx(0.71, rel=0.1)  # 71 GFLOP for 100 sequences
    for numbers in (train, evaluated):
        assert numbers["first_s"] > numbers["median_ms"] / 1000 > 0
        assert numbers["peak_gb"] > 0.1
    assert f"TensorFlow {tf.__version__}" in ended.out
    assert ended.out.count("| bouncing_balls | 1 | ") == 2


@pytest.mark.slow
def test_each_configuration_has_a_process_of_its_own():
    arguments = ["--tasks=spring_color", "--batch_sizes=16,1", "--steps=1"]
    command = [sys.executable, "runners/run_benchmark.py", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    rows = [line.strip("| ").split(" | ") for line in ended.stdout.splitlines() if line.startswith("| spring_color")]
    assert [row[1] for row in rows] == ["16", "16", "1", "1"]
    assert float(rows[2][-1]) < float(rows[0][-1])  # the memory of the smaller one, though it comes later


def test_flags_choose_what_is_measured(benchmark):
    def asked(*arguments):
        with flagsaver.flagsaver():
            FLAGS(["run_benchmark", *arguments])
            return benchmark.configurations_from_flags()

    both = asked("--tasks=all", "--batch_sizes=2,3", "--naive", "--mixed_precision")
    assert len(both) == 5 * 2 * 3
    assert [each.options for each in both[:3]] == [
        {"mixed_precision": True},
        {"mixed_precision": True, "decoder_type": "conv_st_decoder_plain"},
        {"mixed_precision": True},
    ]
    scales = asked("--scale")
    assert {each.scale for each in scales} == {"batch", "T", "N", "N, gravity", "H"}
    assert [each.batch for each in scales if each.scale == "batch"] == [16, 50, 100, 200, 400]


def test_tables_hold_rates_shares_and_exponents(benchmark):
    text = benchmark.markdown([record(), record("eval", frames=30)])
    assert "200 GFLOP/s" in text
    assert "| spring_color | 100 | 500 (400 – 600) | 200 | 2400 | 50.0 | 50% | 250 | 2.00 | 9.0 | 1.50 |" in text
    assert "| spring_color | 100 | 500 (400 – 600) | 200 | 6000 | 50.0 | 50% | 250 | 2.00 | 9.0 | 1.50 |" in text
    sizes = [record(scale="H", batch=8, changes={"img_size": h}, median_ms=h * h) for h in (32, 64)]
    text = benchmark.markdown([*sizes, *(record(scale="batch", batch=b, median_ms=b) for b in (16, 100))])
    assert "| 64 | spring_color | 8 | 4096 (400 – 600) | 2.00 | 50.0 | 6% | 250 | 16.38 | 9.0 | 1.50 |" in text
    assert "| 100 | spring_color | 100 | 100 (400 – 600) | 1.00 |" in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--tasks=pendulum"], "--tasks=pendulum"),
        (["--batch_sizes=16,x"], "--batch_sizes=16,x"),
        (["--batch_sizes=0"], "--batch_sizes=0"),
        (["--steps=0"], "--steps=0"),
        (["--device=tpu"], "--device=tpu"),
        (["--steps=ten"], "--steps=ten"),
    ],
)
def test_mistakes_are_one_line(benchmark, arguments, named):
    ended = run_main(benchmark.main, arguments)
    assert (ended.code, ended.out) == (1, "")
    assert named in ended.err and ended.err.count("\n") == 1


def test_a_configuration_that_fails_is_named(benchmark, monkeypatch):
    class Pool(contextlib.nullcontext):
        def submit(self, function, configuration, started):
            raise BrokenProcessPool(f"a child process was terminated; {function.__name__}")

    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", lambda workers, context: Pool(Pool()))
    ended = run_main(benchmark.main, ["--tasks=3bp_color", "--batch_sizes=16"])
    assert ended.code == 1 and "3bp_color, batch 16" in ended.err.splitlines()[-1]


def test_what_was_measured_before_a_failure_is_printed(benchmark, monkeypatch):
    def measure(each):
        if each.part == "eval":
            raise benchmark.ExperimentError("out of memory?")
        return record()

    monkeypatch.setattr(benchmark, "measure_in_process", measure)
    ended = run_main(benchmark.main, ["--tasks=spring_color", "--batch_sizes=100"])
    assert ended.code == 1 and "| spring_color | 100 |" in ended.out and "out of memory?" in ended.err.splitlines()[-1]


def test_mixed_precision_on_a_processor_without_bfloat16_says_so(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark.machine, "has_bfloat16", lambda: False)
    monkeypatch.setattr(benchmark, "measure_in_process", lambda each: record())
    ended = run_main(benchmark.main, ["--tasks=spring_color", "--batch_sizes=100", "--mixed_precision"])
    assert ended.code == 0 and "bfloat16" in ended.err


def test_the_original_is_timed_in_turns(benchmark, monkeypatch):
    ran = []
    monkeypatch.setattr(benchmark.side_by_side, "run_all", lambda options: (ran.append(options), made(options)))

    def made(options):
        Path(options.save_dir).mkdir()

    monkeypatch.setattr(benchmark, "list_runs", lambda folder: [f"a table of {folder}"])
    given = ["--original=paig", "--python=py36", "--tasks=spring_color,3bp_color", "--batch_sizes=16", "--steps=7"]
    ended = run_main(benchmark.main, given)
    assert ended.code == 0 and ended.out.startswith("a table of ")
    assert [(o.original, o.python, o.task, o.batch_size, o.steps, o.pairs) for o in ran] == [
        ("paig", "py36", task, 16, 7, 3) for task in ("spring_color", "3bp_color")
    ]
    folder = Path(ran[0].save_dir).parent
    assert folder == Path(ran[1].save_dir).parent and not folder.exists()


def test_a_failing_original_leaves_what_there_is(benchmark, monkeypatch, tmp_path):
    def run_all(options):
        Path(options.save_dir).mkdir()
        if options.task == "3bp_color":
            raise benchmark.ExperimentError(f"the original ended; what there is: {options.save_dir}")

    monkeypatch.setattr(benchmark.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(benchmark.side_by_side, "run_all", run_all)
    given = ["--original=paig", "--tasks=spring_color,3bp_color", "--batch_sizes=16"]
    ended = run_main(benchmark.main, given)
    folder = Path(ended.err.splitlines()[-1].split("what there is: ")[1])
    assert ended.code == 1 and folder.is_dir() and (folder.parent / "spring_color-16").is_dir()


@pytest.mark.parametrize("flag", ["--scale", "--naive", "--mixed_precision", "--device=cpu"])
def test_flags_that_do_not_go_with_the_original(benchmark, flag):
    ended = run_main(benchmark.main, ["--original=paig", "--tasks=spring_color", "--batch_sizes=16", flag])
    assert ended.code == 1 and flag.split("=")[0] in ended.err.splitlines()[-1]


def test_a_folder_that_is_not_the_original_is_one_line(benchmark, monkeypatch, tmp_path):
    (tmp_path / "clone").mkdir()
    monkeypatch.setattr(benchmark.tempfile, "tempdir", str(tmp_path))
    ended = run_main(benchmark.main, [f"--original={tmp_path / 'clone'}", "--tasks=spring_color", "--batch_sizes=16"])
    assert ended.code == 1 and "--original" in ended.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["clone"]
