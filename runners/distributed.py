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
        addresses, task = config.get("cluster", {}), config.get("task", {})
        count = len(addresses.get("worker", []))
        if not addresses or (list(addresses) == ["worker"] and count == 1):
            return None
        if list(addresses) != ["worker"] or task["type"] != "worker" or task["index"] not in range(count):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExperimentError(f"TF_CONFIG={text}: not understood; unset it, or give it as in {EXAMPLE}") from error
    return config


def writes_files() -> bool:
    """Whether this process writes into --save_dir: it does, but in a cluster the worker of index 0 alone."""
    return (config := cluster()) is None or config["task"]["index"] == 0


def choose_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Workers if TF_CONFIG names them, else all GPUs if there are several; to be called before any operation runs."""
    strategy = tf.distribute.get_strategy()
    try:
        if (config := cluster()) is not None:
            logging.getLogger("tf.note").info("TF_CONFIG: waiting for its workers %s", config["cluster"]["worker"])
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        elif len(tf.config.get_visible_devices("GPU")) > 1:
            strategy = tf.distribute.MirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise ExperimentError(f"TF_CONFIG: no cluster could be set up ({str(error).splitlines()[0]})") from error
    if batch_size % (count := strategy.num_replicas_in_sync):
        raise ExperimentError(f"--batch_size={batch_size}: give a multiple of the {count} devices, or one --device")
    return strategy


def distribute(net: BaseNet, strategy: tf.distribute.Strategy) -> None:
    """Have `net.train_step`, given the same whole batch in every process, compute a share of it on each replica."""

    def replica_step(batch: Any) -> tuple:
        context = tf.distribute.get_replica_context()
        share = tf.shape(tf.nest.flatten(batch)[0])[0] // strategy.num_replicas_in_sync
        first = context.replica_id_in_sync_group * share
        loss, gradients = net.loss_and_gradients(tf.nest.map_structure(lambda x: x[first : first + share], batch))
        given = [loss, *(gradient for gradient in gradients if gradient is not None)]
        means = iter(context.all_reduce(tf.distribute.ReduceOp.MEAN, given))
        return next(means), [None if gradient is None else next(means) for gradient in gradients]

    @tf.function(autograph=False)
    def step(batch: Any, optimizer: Any, autoencoder_loss: float) -> tf.Tensor:
        means = strategy.run(replica_step, args=(batch,))  # the same on each replica: one is enough
        loss, gradients = tf.nest.map_structure(lambda x: strategy.experimental_local_results(x)[0], means)
        net.update(gradients)
        return loss

    if strategy.num_replicas_in_sync > 1:
        net.train_step = lambda batch: step(  # type: ignore
            tf.nest.map_structure(tf.constant, batch), net.optimizer, net.autoencoder_loss
        )


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when all workers have come here: one that leaves early looks to the others like one that died."""
    if cluster() is not None:
        strategy.run(tf.function(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0))))
