"""Measures one configuration in a process of its own: `python -m runners.benchmark_measure JSON`.

`run_benchmark.py` starts it; it prints one line of JSON. Frames are random numbers: what is measured does not depend
on them.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from data_gen.benchmark import peak_gb, processor, usable_cores
from physics_models.command import fail
from physics_models.errors import ExperimentError
from physics_models.tasks import Task, get_task

if TYPE_CHECKING:
    import tensorflow as tf

    from physics_models.physics_net import PhysicsNet

PARTS = ("train", "eval", "naive", "predict_frames", "forward")
MATMUL_SIDE = 2048


@dataclass(frozen=True)
class Configuration:
    """What to measure.

    `part`: a training step, an evaluated batch, a training step with the `naive` decoder, or `rollout` steps
    predicted by `predict_frames` or by one `forward` pass. `changes`: to the task's row in the task table.
    """

    part: str
    task: str
    batch: int
    changes: dict[str, Any] = field(default_factory=dict)
    steps: int = 10  # timed, after `warm_up`
    warm_up: int = 2
    rollout: int = 0
    options: dict[str, Any] = field(default_factory=dict)  # of the network: jit, mixed_precision

    def row(self) -> Task:
        """The task's row with its `changes`."""
        return replace(get_task(self.task), **self.changes)


def measure(configuration: Configuration, started: float) -> dict[str, Any]:
    """The numbers of `configuration`; `started` is the `time.time()` at which this process was started.

    `ms`: of each timed step; `first_s`: seconds from the start of the process to the end of the first one.
    """
    import numpy as np
    import tensorflow as tf

    from physics_models.physics_net import PhysicsNet
    from runners.benchmark_naive import NaiveDecoderNet

    part, task = configuration.part, configuration.row()
    tf.keras.utils.set_random_seed(0)
    model = NaiveDecoderNet if part == "naive" else PhysicsNet
    net = model(task, autoencoder_loss=3.0, **configuration.options)
    length = {"train": task.train_len, "naive": task.train_len, "eval": task.test_len}.get(part, task.input_steps)
    shape = [configuration.batch, length, task.img_size, task.img_size, net.channels]
    frames = tf.constant(np.random.default_rng(0).random(shape, dtype=np.float32))
    step = step_of(part, net, frames, configuration.rollout)
    milliseconds = []
    for _ in range(configuration.warm_up + configuration.steps):
        begun = time.perf_counter()
        step()
        milliseconds.append(1000 * (time.perf_counter() - begun))
        if len(milliseconds) == 1:
            first = time.time() - started
    timed = milliseconds[configuration.warm_up :]
    result = {
        "ms": timed, "median_ms": statistics.median(timed), "min_ms": min(timed), "max_ms": max(timed),
        "first_s": first, "peak_gb": peak_gb(), "frames": length, "stack": stack(),
    }  # fmt: skip
    if part in ("train", "naive"):
        graph = tf.function(net.loss_and_gradients, autograph=False).get_concrete_function(tf.TensorSpec(shape)).graph
        result.update(gflop=count_flop(graph) / 1e9, matmul_gflops=matmul_gflops())
    return {**asdict(configuration), **result}


def step_of(part: str, net: PhysicsNet, frames: tf.Tensor, rollout: int) -> Callable[[], None]:
    """What is timed, ending when its result is there."""
    import tensorflow as tf

    if part in ("train", "naive"):
        net.build_optimizer(3e-4)

        def train() -> None:
            net.train_step(frames)
            if int(net.guard.left_out):
                raise ExperimentError("a training step went wrong: its loss or gradient is not finite")

        return train
    if part == "eval":

        def evaluate() -> None:
            losses, outputs = net.eval_step(frames)
            _ = [float(loss) for loss in losses.values()], outputs.output.numpy()

        return evaluate
    if part == "predict_frames":

        def predict() -> None:
            for _ in net.predict_frames(frames, rollout):
                pass

        return predict
    forward = tf.function(lambda: net(frames, steps=rollout).output, autograph=False)

    def walk_through() -> None:
        forward().numpy()

    return walk_through


def stack() -> dict[str, Any]:
    """TensorFlow, Python, processor, cores, GPUs."""
    import tensorflow as tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return {
        "tensorflow": tf.__version__, "python": platform.python_version(), "processor": processor(),
        "cores": usable_cores(), "gpus": gpus,
    }  # fmt: skip


def count_flop(graph: tf.Graph) -> int:
    """Floating-point operations of the convolutions and matrix products of a traced `graph`, forwards and backwards.

    Two a multiplication with its addition. Only what an output or an update needs is counted, as only that is run;
    not the element-wise operations.
    """
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    needed = set()
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return sum(flop_of(op) for op in needed)


def flop_of(op: tf.Operation) -> int:
    """As `count_flop`, of one operation."""
    if op.type in ("MatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        return 2 * size(op.outputs[0]) * op.inputs[0].shape[-2 if transposed else -1]
    if op.type == "Conv2D":
        images, kernel = op.outputs[0], op.inputs[1]
    elif op.type == "DepthwiseConv2dNative":
        return 2 * size(op.outputs[0]) * op.inputs[1].shape[0] * op.inputs[1].shape[1]
    elif op.type == "Conv2DBackpropInput":
        images, kernel = op.inputs[2], op.inputs[1]
    elif op.type == "Conv2DBackpropFilter":
        images, kernel = op.inputs[2], op.outputs[0]
    else:
        return 0
    return 2 * size(images) * size(kernel) // kernel.shape[-1]


def size(tensor: tf.Tensor) -> int:
    """How many numbers `tensor` holds."""
    return tensor.shape.num_elements()


def matmul_gflops() -> float:
    """The machine's rate in products of float32 matrices of side 2048, in GFLOP a second: the best of seven."""
    import tensorflow as tf

    a = tf.random.normal([MATMUL_SIDE, MATMUL_SIDE])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)), autograph=False)
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        product().numpy()
        seconds.append(time.perf_counter() - begun)
    return 2 * MATMUL_SIDE**3 / min(seconds[1:]) / 1e9


def main() -> None:
    """Measure what the command line says."""
    asked = json.loads(sys.argv[1])
    started = asked.pop("started")
    device = asked.pop("device", "")
    from runners import run_base

    run_base.FLAGS([sys.argv[0], f"--device={device}"])
    try:
        run_base.choose_device()
        print(json.dumps(measure(Configuration(**asked), started)))
    except ExperimentError as error:
        fail(error)


if __name__ == "__main__":
    main()
