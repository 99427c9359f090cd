"""The network from Python: a trained one out of its experiment's folder, and what it predicts for a film.

    net = load_network("experiments/first")
    future = predict(net, video, steps=100)
    net.parameters()
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from physics_models import checkpoints
from physics_models.errors import ExperimentError
from physics_models.experiment import LOG, read_marker
from physics_models.physics_net import PhysicsNet
from physics_models.run_flags import ORIGINAL_DEFAULTS, TRUE_WORDS
from physics_models.run_log import read_log
from physics_models.save_dir import MARKER
from physics_models.tasks import Task, get_task


def load_network(folder: str | Path) -> PhysicsNet:
    """The trained network of the experiment in `folder`: this port's, or the original's.

    Task and settings come from `experiment.json` or, in a folder of the original's, from the flags in `log.txt`; the
    weights from the newest checkpoint. Raises `ExperimentError` for a folder that lacks these or is damaged. A
    network that no experiment's folder describes is `PhysicsNet(task)` and `checkpoints.restore(net,
    checkpoints.read(folder))`.
    """
    folder = Path(folder)
    stored = checkpoints.read(folder)
    marker = read_marker(folder)
    if marker is not None:
        task, settings, source = task_of(marker.task, folder / MARKER), dict(marker.settings), folder / MARKER
    else:
        task, settings, source = *flags_of_log(folder), folder / LOG
    try:
        net = PhysicsNet(
            task,
            color=settings["color"],
            autoencoder_loss=float(settings["autoencoder_loss"]),
            alt_vel=settings["alt_vel"],
            encoder_type=settings["encoder_type"],
            decoder_type=settings["decoder_type"],
            recurrent_units=int(settings["recurrent_units"]),
            lstm_layers=int(settings["lstm_layers"]),
            vel_encoder=settings.get("vel_encoder", "mlp"),
            calibrated_coords=settings.get("calibrated_coords", False),
        )
    except KeyError as error:
        raise ExperimentError(f"{source}: does not say what {error} was: no experiment of this network") from error
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"{source}: damaged settings ({error})") from error
    checkpoints.restore(net, stored)
    return net


def task_of(fields: dict[str, object], path: Path) -> Task:
    """The task with these `fields`, as `path` has them; an `ExperimentError` if they are not a task's."""
    kinds = {"int": int, "str": str}
    wanted = {name: kinds[str(kind)] for name, kind in Task.__annotations__.items()}
    fit = fields.keys() == wanted.keys() and all(type(fields[name]) is kind for name, kind in wanted.items())
    if not fit or any(type(value) is int and not 0 < value < 10**6 for value in fields.values()):
        raise ExperimentError(f"{path}: damaged: it does not describe a task")
    return Task(**fields)  # type: ignore[arg-type]


def flags_of_log(folder: Path) -> tuple[Task, dict[str, object]]:
    """Task and settings of the last training in `folder`/log.txt, of the original's flags."""
    if not (folder / LOG).is_file():
        raise ExperimentError(
            f"{folder}: has neither {MARKER} nor {LOG}, which say what network it is; build PhysicsNet for its task, "
            "and restore the checkpoint"
        )
    commands = read_log(folder / LOG).commands
    trained = [command for command in commands if command.trains] or commands
    flags = {**ORIGINAL_DEFAULTS, **(trained[-1].flags if trained else {})}
    if not flags["task"]:
        raise ExperimentError(f"{folder / LOG}: names no --task; build PhysicsNet for it, and restore the checkpoint")
    booleans = {name: flags[name].lower() in TRUE_WORDS for name in ("color", "alt_vel")}
    calibrated = flags.get("calibrated_coords", "false").lower() in TRUE_WORDS
    return get_task(flags["task"], flags["cell_type"]), {**flags, **booleans, "calibrated_coords": calibrated}


def predict(net: PhysicsNet, video: np.ndarray, steps: int = 100) -> np.ndarray:
    """The `steps` frames that follow the last frame of `video`, as `net` foresees them: float32 [B, steps, H, H, C].

    `video` is [B, T, H, H, C], or one film [T, H, H, C] with a result [steps, H, H, C]: uint8, or floating point in
    [0, 1]; the result is in [0, 1]. Only its last L frames are looked at. Raises `ExperimentError` for a film that
    does not fit the network, or too short a one.
    """
    single = np.ndim(video) == 4
    frames = np.asarray(video)[None] if single else np.asarray(video)
    check_video(net, frames)
    last = tf.constant(frames[:, -net.task.input_steps :])
    floats = net.to_float(last) if frames.dtype == np.uint8 else tf.cast(last, tf.float32)
    parts = list(net.predict_frames(floats, steps))
    empty = np.zeros([len(frames), 0, *floats.shape[2:]], np.float32)
    future = np.concatenate([empty, *parts], axis=1)
    return future[0] if single else future


def check_video(net: PhysicsNet, frames: np.ndarray) -> None:
    """Raise `ExperimentError` unless `frames` are [B, T, H, H, C], as `net` takes them, with at least L of them."""
    task, channels = net.task, net.channels
    wanted = f"[B, T, {task.img_size}, {task.img_size}, {channels}]"
    if frames.ndim != 5:
        raise ExperimentError(f"the video has shape {list(frames.shape)}; give {wanted}, or one film without B")
    also_fits = channels == 1 and frames.shape[-1] == 3 and frames.dtype == np.uint8  # becomes grey
    if frames.shape[2:4] != (task.img_size, task.img_size) or not (frames.shape[-1] == channels or also_fits):
        raise ExperimentError(f"the video has shape {list(frames.shape)}; this network takes {wanted}")
    if not len(frames):
        raise ExperimentError(f"the video holds no film: it has shape {list(frames.shape)}")
    if frames.shape[1] < task.input_steps:
        raise ExperimentError(f"the video has {frames.shape[1]} frames; this network needs {task.input_steps}")
    floating = frames.dtype.kind == "f"
    if not (floating or frames.dtype == np.uint8):
        raise ExperimentError(f"the video is {frames.dtype}; give uint8, or floating-point numbers from 0 to 1")
    if floating and not (np.min(frames) >= 0.0 and np.max(frames) <= 1.0):
        raise ExperimentError("the video has numbers that are not from 0 to 1; divide by 255, or give uint8")
