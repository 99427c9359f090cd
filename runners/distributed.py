"""Training on all GPUs of a machine, or on the workers that TF_CONFIG names, by TensorFlow's own strategies."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import tensorflow as tf

from physics_models.base import BaseNet
from physics_models.errors import ExperimentError

EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


def cluster() -> dict[str, Any] | None:
    """TF_CONFIG, where it names more than one worker, else None; an `ExperimentError` if it is not understood."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
        workers = config.get("cluster", {}).get("worker", [])
        if len(workers) < 2:
            return None
        workers[{"worker": config["task"]["index"]}[config["task"]["type"]]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ExperimentError(f"TF_CONFIG={text}: not understood; give it as in {EXAMPLE}") from error
    return config


def writes_files() -> bool:
    """Whether this process writes into --save_dir: it does, but in a cluster the worker of index 0 alone."""
    config = cluster()
    return config is None or config["task"]["index"] == 0


def choose_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Workers if TF_CONFIG names them, else all GPUs if there is more than one, else TensorFlow's default.

    To be called before any operation runs. Raises `ExperimentError` for a batch that cannot be shared out evenly, and
    for a cluster that cannot be set up.
    """
    if (config := cluster()) is not None:
        workers = len(config["cluster"]["worker"])
        logging.getLogger("tf.note").info("TF_CONFIG names %d workers: waiting for the others", workers)
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise ExperimentError(f"TF_CONFIG: no cluster could be set up ({str(error).splitlines()[0]})") from error
    elif len(tf.config.get_visible_devices("GPU")) > 1:
        strategy = tf.distribute.MirroredStrategy()
    else:
        return tf.distribute.get_strategy()
    if batch_size % strategy.num_replicas_in_sync:
        devices = strategy.num_replicas_in_sync
        raise ExperimentError(f"--batch_size={batch_size}: give a multiple of the {devices} devices, or one --device")
    return strategy


def distribute(net: BaseNet, strategy: tf.distribute.Strategy) -> None:
    """Have `net.train_step`, given the same whole batch in every process, compute a share of it on each replica."""

    def replica_step(frames: tf.Tensor) -> tuple:
        context = tf.distribute.get_replica_context()
        share, index = len(frames) // strategy.num_replicas_in_sync, context.replica_id_in_sync_group
        loss, gradients = net.loss_and_gradients(frames[index * share : (index + 1) * share])
        given = [gradient for gradient in gradients if gradient is not None]
        loss, *given = context.all_reduce(tf.distribute.ReduceOp.MEAN, [loss, *given])
        means = iter(given)
        return loss, [None if gradient is None else next(means) for gradient in gradients]

    @tf.function(autograph=False)
    def train_step(frames: tf.Tensor, optimizer: Any, autoencoder_loss: float) -> tf.Tensor:
        results = strategy.run(replica_step, args=(frames,))  # the same means on each replica: one is enough
        loss, gradients = tf.nest.map_structure(lambda x: strategy.experimental_local_results(x)[0], results)
        net.update(gradients)
        return loss

    if strategy.num_replicas_in_sync > 1:
        net.train_step = lambda frames: train_step(tf.constant(frames), net.optimizer, net.autoencoder_loss)


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when all workers have come here: one that leaves early looks to the others like one that died."""
    if cluster() is not None:
        reduce_sum = tf.function(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0)))
        strategy.run(reduce_sum)
