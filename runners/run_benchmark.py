"""Measure speed and memory: a training step, an evaluated batch, time to the first step, arithmetic.

PYTHONPATH=. python runners/run_benchmark.py --tasks=spring_color,3bp_color --batch_sizes=16,100 [--naive]
PYTHONPATH=. python runners/run_benchmark.py --scale                    cost against batch size, T, N and H
PYTHONPATH=. python runners/run_benchmark.py --original=CLONE --python=PYTHON36 --tasks=spring_color --batch_sizes=100

Each configuration runs in a process of its own, on random frames: no data file is needed. It prints Markdown tables.
With `--original` it times the original and this port in turns, three times each, as runners/side_by_side.py runs them.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import shutil
import statistics
import sys
import tempfile
import time
import timeit
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import numpy as np
import tensorflow as tf
from absl import flags

from physics_models.errors import ExperimentError, exit_with_message
from physics_models.experiment import Interrupted
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS
from runners import machine, run_base, side_by_side
from runners.reproduce.report import table
from runners.run_base import FLAGS, PATH, logger
from runners.side.numbers import list_runs

flags.DEFINE_list("tasks", "spring_color,3bp_color,mnist_spring_color", "tasks, separated by commas; or all")
flags.DEFINE_list("batch_sizes", "16,100", "sequences per batch, separated by commas")
flags.DEFINE_integer("steps", 10, "timed steps, after two that are not timed", lower_bound=1)
flags.DEFINE_bool("naive", False, "measure --decoder_type=conv_st_decoder_plain as well")
flags.DEFINE_bool("scale", False, "measure the cost against batch size, T, N and H instead")
flags.DEFINE(PATH, "original", "", "a clone of the original: time it and this port in turns instead")
flags.DEFINE(PATH, "python", "python3.6", "a Python 3.6 with TensorFlow 1.12, for the original")
ACCEPTED_FLAGS = ("device", "mixed_precision")

# A training step against one size at a time, all else small enough for a laptop: a task, and batch sizes and changes of
# the task's row. T grows with the predicted frames.
SCALES: dict[str, tuple[str, list[tuple[int, dict[str, int]]]]] = {
    "batch": ("spring_color", [(b, {}) for b in (16, 50, 100, 200, 400)]),
    "T": ("spring_color", [(16, {"train_len": t, "pred_steps": t - 6}) for t in (12, 25, 50, 100)]),
    "N": ("spring_color", [(16, {"n_objs": n}) for n in (2, 3, 4, 6, 8)]),
    "N, gravity": ("3bp_color", [(16, {"n_objs": n}) for n in (2, 4, 8)]),
    "H": ("spring_color", [(8, {"img_size": h}) for h in (32, 36, 48, 64, 96, 128)]),
}
PAIRS = 3  # of runs of the original and the port
MATMUL_SIDE = 2048
# Which of the output and the inputs is what a convolution gives, or its gradient, [B, H, W, C]; and which the kernel.
CONVOLUTIONS = {
    "Conv2D": (0, 2), "DepthwiseConv2dNative": (0, 2), "Conv2DBackpropInput": (3, 2), "Conv2DBackpropFilter": (3, 0)
}  # fmt: skip
TITLES = {"train": "Training step", "eval": "Evaluated batch"}
HEADING = """Milliseconds: the median of the timed steps (minimum – maximum), on random frames. GFLOP: the convolutions
and matrix products of the traced step, forwards and backwards, two operations per multiplication and addition. Share:
of the machine's own rate in products of float32 matrices of side 2048. Bare: these convolutions and products alone, of
random numbers, without which no implementation computes the step. First: seconds from the start of the process to
the end of the first step. Memory: the most that the process holds. Exponent: of the growth from the row before, 1 is
linear. From 40 pixels on the network is the original's larger U-Net."""

Record = dict[str, Any]  # a configuration and its numbers


@dataclass(frozen=True)
class Configuration:
    """What to measure: a `part` of `TITLES`, at one batch size; `changes` are those to the task's row."""

    part: str
    task: str
    batch: int
    scale: str = ""  # the series of `SCALES` that it belongs to
    changes: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # of PhysicsNet


def main(argv: list[str]) -> None:
    """Measure what the flags ask for, and print it."""
    configurations = configurations_from_flags()
    run_base.log_to_console()
    if FLAGS.original:
        for name in ("scale", "naive", "mixed_precision", "device"):
            if FLAGS[name].present:
                raise ExperimentError(f"--{name}: does not go with --original")
        print("\n".join(beside_the_original([each for each in configurations if each.part == "eval"])))
        return
    logger.info("device: %s", run_base.choose_device())
    records: list[Record] = []
    try:
        for i, each in enumerate(configurations, 1):
            logger.info("%d of %d: %s", i, len(configurations), " ".join(map(str, asdict(each).values())))
            records.append(measure_in_process(each))
    finally:  # also of what was measured before a failure, or Ctrl-C
        if records:
            print(markdown(records))


def configurations_from_flags() -> list[Configuration]:
    """What to measure; an `ExperimentError` for flags that make no sense."""
    tasks = list(TASKS) if FLAGS.tasks == ["all"] else FLAGS.tasks
    if not tasks or not set(tasks) <= TASKS.keys():
        raise ExperimentError(f"--tasks={','.join(tasks)}: choose from {', '.join(TASKS)}, or all")
    batches = [int(batch) if batch.isdecimal() else 0 for batch in FLAGS.batch_sizes]
    if not batches or 0 in batches:
        raise ExperimentError(f"--batch_sizes={','.join(FLAGS.batch_sizes)}: give whole numbers from 1, as in 16,100")
    options = {"mixed_precision": True} if FLAGS.mixed_precision else {}
    if FLAGS.scale:
        return [
            Configuration("train", task, batch, name, changes, options=options)
            for name, (task, sizes) in SCALES.items()
            for batch, changes in sizes
        ]
    naive = [("train", {**options, "decoder_type": "conv_st_decoder_plain"})] if FLAGS.naive else []
    parts = [("train", options), *naive, ("eval", options)]
    cases = itertools.product(tasks, batches, parts)
    return [Configuration(part, task, batch, options=settings) for task, batch, (part, settings) in cases]


def beside_the_original(configurations: list[Configuration]) -> list[str]:
    """The table of `side_by_side.py`, with the time of a step of both and their ratio, for these tasks and batches.

    Where one of them fails, the folder of all runs stays, and the message names it.
    """
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    for each in configurations:
        given = {
            "original": FLAGS.original, "python": FLAGS.python, "task": each.task, "batch_size": each.batch,
            "steps": FLAGS.steps, "pairs": PAIRS, "save_dir": folder / f"{each.task}-{each.batch}",
        }  # fmt: skip
        try:
            side_by_side.run_all(side_by_side.flags().parse_args([f"--{n}={value}" for n, value in given.items()]))
        except Interrupted as interrupted:
            exit_with_message(f"{interrupted}; what there is: {folder}", interrupted.exit_code)
        finally:
            with contextlib.suppress(OSError):  # of a mistake that was found before anything ran, nothing
                folder.rmdir()
    rows = list_runs(folder)
    shutil.rmtree(folder)
    return rows


def measure_in_process(configuration: Configuration) -> Record:
    """The numbers of `configuration`, measured by a new process that does nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(measure, configuration, time.time()).result()
        except (BrokenProcessPool, tf.errors.OpError) as error:
            failed = f"{configuration.part}, {configuration.task}, batch {configuration.batch}"
            raise ExperimentError(f"{failed}: stopped ({error}); out of memory?") from error


def measure(configuration: Configuration, started: float) -> Record:
    """The numbers of `configuration`, in this process, which was started at the `time.time()` `started`.

    `ms`: of each timed step; `first_s`: seconds from `started` to the end of the first step.
    """
    if not FLAGS.is_parsed():  # the new process has the command line, not yet read
        FLAGS(sys.argv)
        run_base.choose_device()
    part, task = configuration.part, replace(TASKS[configuration.task], **configuration.changes)
    tf.keras.utils.set_random_seed(0)
    net = PhysicsNet(task, autoencoder_loss=3.0, **configuration.options)
    net.build_optimizer(3e-4)
    length = task.train_len if part == "train" else task.test_len
    shape = [configuration.batch, length, task.img_size, task.img_size, net.channels]
    frames = tf.constant(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    floats = net.to_float(frames)
    step = {
        "train": lambda: (net.train_step(frames), net.skipped_steps.numpy()),  # the number is there when the step ends
        "eval": lambda: net.eval_step(floats)[1].output.numpy(),
    }[part]
    step()
    first = time.time() - started
    timed = [1000 * timeit.timeit(step, number=1) for _ in range(1 + FLAGS.steps)][1:]
    record = {
        **asdict(configuration), "ms": timed, "median_ms": float(np.median(timed)), "first_s": first,
        "peak_gb": machine.peak_gb(), "frames": length, "stack": machine.stack(),
    }  # fmt: skip
    if part == "train":
        graph = tf.function(net.loss_and_gradients, autograph=False).get_concrete_function(frames).graph
        record.update(gflop=count_flop(graph) / 1e9, matmul_gflops=matmul_gflops(), bare_ms=bare_ms(graph))
    return record


def count_flop(graph: tf.Graph) -> int:
    """Floating-point operations of the convolutions and matrix products of a traced `graph`, forwards and backwards.

    Two per multiplication and addition.
    """
    return sum(map(flop_of, needed_operations(graph)))


def needed_operations(graph: tf.Graph) -> set[tf.Operation]:
    """What an output or an update of a traced `graph` needs, as only that runs."""
    waiting, needed = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs), set()
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return needed


def flop_of(op: tf.Operation) -> int:
    """As `count_flop`, of one operation."""
    tensors = (*op.outputs[:1], *op.inputs)
    size = [tensor.shape.num_elements() for tensor in tensors]
    if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return 2 * size[0] * tensors[1].shape[-2 if transposed else -1]
    if op.type not in CONVOLUTIONS:
        return 0
    images, kernel = CONVOLUTIONS[op.type]
    return 2 * size[images] * size[kernel] // tensors[images].shape[-1]


def bare_ms(graph: tf.Graph) -> float:
    """Milliseconds of the convolutions and matrix products of `graph` alone, of random numbers: the best of six.

    They run one after the other, each with all threads. No implementation of the same step can do without them.
    """
    numbers: dict[tuple, tf.Tensor] = {}  # by shape and type: what is multiplied does not matter

    def argument(tensor: tf.Tensor, sizes: tf.TensorShape) -> tf.Tensor:
        """Random numbers for a tensor; for one that holds the sizes of the output, those."""
        if tensor.dtype == tf.int32:
            return tf.constant(sizes.as_list())
        key = (*tensor.shape.as_list(), tensor.dtype)
        if key not in numbers:
            numbers[key] = tf.cast(tf.random.normal(tensor.shape), tensor.dtype)
        return numbers[key]

    calls = []
    for op in filter(flop_of, needed_operations(graph)):
        names = [argument.name for argument in op.op_def.input_arg]
        given = {name: argument(tensor, op.outputs[0].shape) for name, tensor in zip(names, op.inputs)}
        given |= {each.name: op.get_attr(each.name) for each in op.op_def.attr if each.type != "type"}
        calls.append((getattr(tf.raw_ops, op.type), given))

    def compute() -> None:
        for operation, given in calls:
            last = operation(**given)
        last.numpy()

    return 1000 * min(timeit.timeit(compute, number=1) for _ in range(6))


def matmul_gflops() -> float:
    """The machine's rate in products of float32 matrices of side 2048, in GFLOP/s: the best of seven."""
    a = tf.random.normal([MATMUL_SIDE, MATMUL_SIDE])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)), autograph=False)
    seconds = [timeit.timeit(lambda: product().numpy(), number=1) for _ in range(8)][1:]
    return 2 * MATMUL_SIDE**3 / min(seconds) / 1e9


def markdown(records: list[Record]) -> str:
    """The tables of all `records`, measured on one stack."""
    text = [f"{HEADING} Made with {machine.describe(records[-1]['stack'])}{rate_of(records)}."]
    for part, title in TITLES.items():
        rows = [row(r) for r in records if r["part"] == part and not r["scale"]]
        text += ["", f"### {title}", "", *table(rows)] if rows else []
    for name in dict.fromkeys(r["scale"] for r in records if r["scale"]):
        series = [r for r in records if r["scale"] == name]
        rows = [{name: str(size_of(r)), **row(r, before)} for r, before in zip(series, [None, *series])]
        text += ["", f"### Cost against {name}", "", *table(rows)]
    return "\n".join(text)


def rate_of(records: list[Record]) -> str:
    """The machine's rate, the median of those measured, in words."""
    rates = [record["matmul_gflops"] for record in records if "matmul_gflops" in record]
    return f", {statistics.median(rates):.0f} GFLOP/s in products of matrices" if rates else ""


def row(record: Record, before: Record | None = None) -> dict[str, str]:
    """One line of a table; in a series, with p of the growth of the time as size^p from the record `before`."""
    ms, batch = record["median_ms"], record["batch"]
    options = [name if value is True else str(value) for name, value in record["options"].items()]
    cells = {"task": ", ".join([record["task"], *options]), "B": str(batch)}
    cells["ms"] = f"{ms:.0f} ({min(record['ms']):.0f} – {max(record['ms']):.0f})"
    if record["scale"]:
        growth = before and math.log(ms / before["median_ms"]) / math.log(size_of(record) / size_of(before))
        cells["exponent"] = f"{growth:.2f}" if before else "–"
    else:
        rate = 1000 * batch / ms
        cells |= {"sequences/s": f"{rate:.0f}", "frames/s": f"{rate * record['frames']:.0f}"}
    if "gflop" in record:
        share = 1000 * record["gflop"] / ms / record["matmul_gflops"]
        cells |= {"GFLOP": f"{record['gflop']:.1f}", "share": f"{share:.0%}"}
        cells |= {"bare, ms": f"{record['bare_ms']:.0f}", "ms / bare": f"{ms / record['bare_ms']:.2f}"}
    return {**cells, "first, s": f"{record['first_s']:.1f}", "memory, GB": f"{record['peak_gb']:.2f}"}


def size_of(record: Record) -> int:
    """The size that varies in the series of `record`: the first change to its task, or the batch."""
    return next(iter(record["changes"].values()), record["batch"])


if __name__ == "__main__":
    run_base.run(main)
