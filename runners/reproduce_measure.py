"""The numbers and pictures of one finished run, for `reproduce_paper.py`."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data_gen.iterators import load_frames
from data_gen.recipes import RECIPES
from physics_models import figures
from physics_models.baseline import lstm_baseline
from physics_models.evaluation import frame_errors
from physics_models.library import load_network
from physics_models.physics_net import PhysicsNet
from physics_models.results import measure, roll_out
from physics_models.tasks import get_task
from runners.benchmark_measure import stack
from runners.benchmark_report import describe_stack
from runners.run_base import logger
from runners.staged_run import settings_from_flags

PAUSE = 600.0  # seconds without a log line: the run stood still, and they are not counted
TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) - tf - (.*)")


def log_facts(folder: Path) -> dict[str, Any]:
    """Wall time, seconds, and the seeds that log.txt says were tried."""
    moments, restarts = [], 0
    path = folder / "log.txt"
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        match = TIME.match(line)
        if match:
            moments.append(datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(match[2]) / 1000)
            restarts += "it starts again with seed" in match[3]
    gaps = [b - a for a, b in zip(moments, moments[1:])]
    return {"wall_s": sum(gap for gap in gaps if 0 < gap < PAUSE), "seeds_tried": restarts + 1}


def true_parameters(task: str) -> dict[str, float]:
    """The parameters that the task's films were made with."""
    physics = RECIPES[task].physics
    names = {"k": "k", "equil": "l", "g": "g", "m": "m"}
    return {names[name]: float(value) for name, value in physics.items() if name in names}


def failed_run(task: str, seed: int, folder: Path) -> dict[str, Any]:
    """The entry of a run that found its objects with none of its seeds."""
    return {"task": task, "seed": seed, "found": False, "stack": describe_stack(stack()), **log_facts(folder)}


def measure_run(task_name: str, seed: int, folder: Path, data_dir: Path) -> dict[str, Any]:
    """The entry of a finished run in `folder`; its pictures are written beside it, `<folder>_*.png`.

    Raises `ExperimentError` for a missing or damaged checkpoint, `DataError` for a missing or damaged data file.
    """
    task, recipe = get_task(task_name), RECIPES[task_name]
    settings = settings_from_flags(task)
    net = load_network(folder)
    net.autoencoder_loss = settings.recons_weight
    file = data_dir / recipe.test_file
    frames = load_frames(file, ("test",))["test"]
    true = positions_of(file)
    result = {
        "task": task_name, "seed": seed, "found": True, "stack": describe_stack(stack()),
        "vel_encoder": net.vel_encoder, "calibrated_coords": net.decoder.calibrated,
        "true": true_parameters(task_name), "input_steps": task.input_steps, "pred_steps": task.pred_steps,
        **log_facts(folder), **measure(net, frames, true),
    }  # fmt: skip
    train_frames = load_frames(data_dir / recipe.train_file, ("train",))["train"]
    logger.info("%s: fitting the LSTM baseline", folder)
    black_box = lstm_baseline(net, train_frames, settings_from_flags(task, "mlp").positions, seed)
    result["lstm"] = compare(black_box, frames)
    draw(net, black_box, frames, result, folder)
    return result


def positions_of(file: Path) -> np.ndarray | None:
    """The true test positions [S, T, N, 2] in a data file, None if it has none."""
    with np.load(file, allow_pickle=False) as archive:
        return archive["test_pos"] if "test_pos" in archive.files else None


def compare(black_box: PhysicsNet, frames: np.ndarray) -> dict[str, Any]:
    """Losses, SSIM and MSE a step of the black box on uint8 `frames` [S, T, H, H, C]."""
    walk = roll_out(black_box, frames)
    truth = black_box.to_float(tf.constant(frames[:, black_box.task.input_steps :])).numpy()
    errors = frame_errors(walk["output"], truth)
    return {"losses": walk["losses"], "ssim": errors.ssim.tolist(), "mse": errors.mse.tolist()}


def draw(net: PhysicsNet, black_box: PhysicsNet, frames: np.ndarray, result: dict[str, Any], folder: Path) -> None:
    """Figure 2, Figure 4, the layers of a frame, and the curves over time."""
    inputs = net.task.input_steps
    one = frames[:1]
    rows = [net.to_float(tf.constant(one[:, inputs:])).numpy()[0]]
    rows += [roll_out(network, one)["output"][0] for network in (net, black_box)]
    stem = f"{folder}_"
    figures.future_frames(rows, stem + "future.png")
    figures.appearances(net, stem + "appearances.png")
    figures.layers_of_a_frame(net, frames[0, 0], stem + "layers.png")
    series = {"Physics+IG": result["ssim"], "LSTM": result["lstm"]["ssim"]}
    figures.curves(series, inputs, "SSIM", stem + "ssim.png")
    if "position_error" in result:
        figures.curves(
            {"Physics+IG": result["position_error"]["per_step"]}, inputs, "position error, px", stem + "positions.png"
        )
