"""The network from Python: load a trained one from its experiment's folder, and predict how a video goes on."""

from __future__ import annotations

import functools
import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.experiment import LOG, MARKER, read_marker
from physics_models.pendulum_net import PendulumNet
from physics_models.physics_net import PhysicsNet
from physics_models.run_log import ORIGINAL_DEFAULTS, TRUE_WORDS, read_log
from physics_models.tasks import get_task
from physics_models.video_lstm import VideoLSTM

MODELS = {model.__name__: model for model in (PhysicsNet, VideoLSTM, PendulumNet)}


def load_network(folder: str | Path) -> PhysicsNet | VideoLSTM:
    """The trained network of the experiment in `folder`: this port's, or the original's.

    `folder` may also be one of the checkpoints in it, as `checkpoints.latest_checkpoint` takes them.

    Its settings come from `experiment.json` or, in a folder of the original's, from the flags in `log.txt`; its weights
    from the latest checkpoint. Raises `ExperimentError` for a folder that lacks these, or whose files are damaged.
    Without such a folder: `PhysicsNet(task)` and `net.restore(checkpoints.load(folder))`.
    """
    checkpoint = checkpoints.load(folder)
    folder = Path(checkpoint.path).parent
    marker = read_marker(folder)
    source = folder / (LOG if marker is None else MARKER)
    config = config_of_log(source, checkpoint.tf1) if marker is None else marker.config
    try:
        net = MODELS[config.get("model", "PhysicsNet")].from_config(config)
        net.restore(checkpoint)
        return net
    except ExperimentError:
        raise
    except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        raise ExperimentError(f"{source}: describes no network, it may be damaged ({error!r})") from error


def config_of_log(path: Path, original: bool) -> dict[str, Any]:
    """The network's config from the flags of the last training in the log `path`; the others as the original's.

    `original`: a run of the original, in which --cell_type has no effect.
    """
    flags = {**ORIGINAL_DEFAULTS, **read_log(path).flags}
    try:
        config: dict[str, Any] = {"task": asdict(get_task(flags["task"], "" if original else flags["cell_type"]))}
        for name, parameter in inspect.signature(PhysicsNet.__init__).parameters.items():
            if name in flags and name != "task":
                kind = type(parameter.default)
                config[name] = flags[name].lower() in TRUE_WORDS if kind is bool else kind(flags[name])
    except ValueError as error:  # an ExperimentError too
        raise ExperimentError(f"{path}: {error}") from error
    return config


@functools.lru_cache(maxsize=1)
def traced(net: PhysicsNet) -> tuple[Any, Any]:
    """Two functions: frames [B, ≥ L, H, H, C] and a number of steps → the next positions [B, steps, 2N]; → frames.

    Raises `ExperimentError` for a network without positions.
    """
    if not isinstance(net, PhysicsNet):
        raise ExperimentError(f"{type(net).__name__} has no positions; this needs an experiment of --model=PhysicsNet")

    def roll_out(frames: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        state = net.initial_state(net.encode(frames[:, -net.task.input_steps :])[0])
        return net.positions(net.rollout(state, steps))[:, 1:]

    inputs = [tf.TensorSpec(net.frame_shape, tf.float32, "frames"), tf.TensorSpec([], tf.int32, "steps")]
    positions = [tf.TensorSpec([None, None, net.coordinates], tf.float32, "positions")]
    return tf.function(roll_out, inputs, autograph=False), tf.function(net.decode, positions, autograph=False)


def predict(net: PhysicsNet, video: np.ndarray, steps: int = 100) -> np.ndarray:
    """The `steps` frames that follow the last frame of `video`, float32 [B, steps, H, H, C] in [0, 1].

    `video` is [B, T, H, H, C], or [T, H, H, C] with a result [steps, H, H, C]: uint8, or floating point in [0, 1]. Only
    its last L frames are used; a pendulum moves on without torque. Raises `ExperimentError` for a video that does not
    fit the network, or is too short.
    """
    frames = np.asarray(video)[None] if np.ndim(video) == 4 else np.asarray(video)
    check_video(net, frames)
    roll_out, decode = traced(net)
    last = frames[:, -net.task.input_steps :]
    inputs = net.to_float(tf.constant(last if frames.dtype == np.uint8 else last.astype(np.float32)))
    positions = roll_out(inputs, max(steps, 1))
    parts = [decode(positions[:, start : start + 50]) for start in range(0, max(steps, 1), 50)]  # bounds the memory
    future = np.concatenate(parts, axis=1)[:, :steps]
    return future[0] if np.ndim(video) == 4 else future


def check_video(net: PhysicsNet, frames: np.ndarray) -> None:
    """Raise `ExperimentError` unless `frames` are [B, ≥ L, H, H, C], as `net` takes them; B ≥ 1."""
    side, inputs, dtype = net.task.img_size, net.task.input_steps, frames.dtype
    channels = (1, 3) if net.channels == 1 and dtype == np.uint8 else (net.channels,)  # colours become grey
    fits = frames.ndim == 5 and len(frames) and frames.shape[1] >= inputs and frames.shape[2:4] == (side, side)
    if not fits or frames.shape[-1] not in channels:
        wanted = f"[B, at least {inputs}, {side}, {side}, {net.channels}]"
        raise ExperimentError(f"the video has shape {list(frames.shape)}; give {wanted}, or one video without B")
    if dtype != np.uint8 and not (dtype.kind == "f" and frames.min() >= 0.0 and frames.max() <= 1.0):
        raise ExperimentError(f"the video is {dtype}; give uint8, or floating-point numbers from 0 to 1")
