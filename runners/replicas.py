"""On what a training runs: one device, all GPUs of a machine, or the workers of a cluster that TF_CONFIG names.

TensorFlow's own engines do the work: `tf.distribute.MirroredStrategy` and `MultiWorkerMirroredStrategy`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from physics_models.errors import ExperimentError
from runners.run_base import FLAGS

if TYPE_CHECKING:
    import tensorflow as tf

EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def cluster() -> dict[str, Any] | None:
    """TF_CONFIG, where it names more than one worker, else None; an `ExperimentError` if it makes no sense."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        config = json.loads(text)
        jobs, task = config.get("cluster", {}), config.get("task", {})
        workers = [*jobs.get("chief", []), *jobs.get("worker", [])]
        if len(workers) < 2:
            return None
        jobs[task["type"]][task["index"]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ExperimentError(f"TF_CONFIG={text}: cannot be read; give it as in {EXAMPLE}") from error
    if not set(jobs) <= {"chief", "worker"}:
        raise ExperimentError(f"TF_CONFIG={text}: only workers (and a chief) are of use here, as in {EXAMPLE}")
    return config


def is_chief() -> bool:
    """Whether this process writes the files: it does, but in a cluster only the chief, or the worker of index 0."""
    config = cluster()
    if config is None:
        return True
    chief = "chief" if config["cluster"].get("chief") else "worker"
    return (config["task"]["type"], config["task"]["index"]) == (chief, 0)


def check_flags(staged: bool) -> None:
    """Raise `ExperimentError` for what several workers cannot do."""
    if cluster() is None or FLAGS.test_mode:
        return
    if FLAGS.seed is None:
        raise ExperimentError("TF_CONFIG: several workers need one --seed, for the same order of batches")
    for name, given in (("--resume", FLAGS.resume), (f"--schedule={FLAGS.schedule}", staged)):
        if given:
            raise ExperimentError(f"{name}: not with several workers; unset TF_CONFIG")


def strategy() -> tf.distribute.Strategy:
    """Workers if TF_CONFIG names them, else all GPUs if there is more than one, else TensorFlow's default.

    To be called before any operation runs. Raises `ExperimentError` for a batch that cannot be shared out evenly, and
    for a cluster that cannot be set up.
    """
    import tensorflow as tf

    if FLAGS.test_mode:
        return tf.distribute.get_strategy()
    if cluster() is not None:
        try:
            chosen = tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ExperimentError(f"TF_CONFIG={os.environ['TF_CONFIG']}: no cluster came about ({reason})") from error
    elif len(tf.config.get_visible_devices("GPU")) > 1:
        chosen = tf.distribute.MirroredStrategy()
    else:
        return tf.distribute.get_strategy()
    check_batch(chosen.num_replicas_in_sync)
    return chosen


def check_batch(replicas: int) -> None:
    """Raise `ExperimentError` unless every one of `replicas` gets as many sequences of a batch."""
    if FLAGS.batch_size % replicas:
        raise ExperimentError(
            f"--batch_size={FLAGS.batch_size}: cannot be shared evenly among {replicas} devices; take a multiple, "
            "or one --device"
        )


@contextlib.contextmanager
def own_save_dir() -> Iterator[None]:
    """Have a worker that is not the chief write into a folder that is thrown away."""
    if is_chief():
        yield
        return
    if FLAGS.use_ckpt and not FLAGS.ckpt_dir:
        FLAGS.ckpt_dir = FLAGS.save_dir
    with tempfile.TemporaryDirectory() as folder:
        FLAGS["save_dir"].value = os.path.join(folder, "worker")
        yield


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when all workers have come here: one that leaves early looks to the others like one that died."""
    import tensorflow as tf

    if cluster() is None or strategy.num_replicas_in_sync == 1:
        return

    def count() -> tf.Tensor:
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0))

    strategy.run(tf.function(count, autograph=False))
