"""The numbers and pictures of one finished run, to be compared with the paper's."""

from __future__ import annotations

import itertools
import re
import statistics
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_gen.iterators import load_frames
from physics_models.base import BaseNet
from physics_models.experiment import LOG
from physics_models.library import load_network
from physics_models.physics_net import PhysicsNet
from physics_models.staged import Stage, encode_all, train_on_positions
from runners import machine
from runners.reproduce import figures
from runners.run_base import logger

BATCH = 50  # sequences evaluated at once
# Without a log line for so many seconds and so many times the usual, the run was stopped: they are not counted.
PAUSE, UNUSUAL = 600.0, 5.0
TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) - tf - ", re.MULTILINE)
LOSSES = ("pred_loss", "extrap_loss", "recons_loss")


# Positions, frames and parameters against the true ones


class Match(NamedTuple):
    """Which of the network's objects is which of the true ones, and where it draws it.

    The order of the network's objects is arbitrary, and so is where in its template an object lies: one constant
    offset per object says nothing about the dynamics.
    """

    order: tuple[int, ...]  # object j of the truth is object order[j] of the network
    offset: np.ndarray  # [N, 2], network − truth, pixels


def match_objects(positions: np.ndarray, true: np.ndarray) -> Match:
    """The order and the constant offsets that bring `positions` closest to `true`, both [S, T, N, 2] pixels."""
    orders = itertools.permutations(range(true.shape[2]))
    matches = [Match(order, (positions[:, :, list(order)] - true).mean(axis=(0, 1))) for order in orders]
    return min(matches, key=lambda match: squared_errors(positions, true, match).mean())


def name_by_sequence(true: np.ndarray, encoded: np.ndarray) -> np.ndarray:
    """`true` [S, T, N, 2] with the objects of each sequence in the order that is closest to `encoded` [S, ≤ T, N, 2].

    For objects that look the same: their names hold within a sequence only.
    """
    seen = true[:, : encoded.shape[1]]
    common = encoded.mean(axis=(0, 1, 2)) - seen.mean(axis=(0, 1, 2))
    orders = np.array(list(itertools.permutations(range(true.shape[2]))))
    costs = [np.square(encoded - common - seen[:, :, order]).sum(axis=(1, 2, 3)) for order in orders]
    return np.take_along_axis(true, orders[np.argmin(costs, axis=0)][:, None, :, None], axis=2)


def squared_errors(positions: np.ndarray, true: np.ndarray, match: Match) -> np.ndarray:
    """Squared distance of `positions` from `true` [S, T, N, 2] under `match`, pixels²: the mean at each step, [T]."""
    difference = positions[:, :, list(match.order)] - match.offset - true
    return np.square(difference).sum(axis=-1).mean(axis=(0, 2))


def length_scale(positions: np.ndarray, true: np.ndarray) -> float:
    """The factor s that best explains `positions` = s·`true` + offset, both [S, T, N, 2] in the same order."""
    p = positions - positions.mean(axis=(0, 1))
    t = true - true.mean(axis=(0, 1))
    return float((p * t).sum() / np.square(t).sum())


def frame_errors(predicted: np.ndarray, true: np.ndarray) -> dict[str, list[float]]:
    """`ssim` (Wang et al. 2004) and `mse` at each step, of frames [S, T, H, W, C] in [0, 1], means over S."""
    steps = range(true.shape[1])
    similarity = [tf.image.ssim(predicted[:, t], true[:, t], 1.0).numpy().mean(dtype=np.float64) for t in steps]
    squared = np.square(np.asarray(predicted, np.float64) - true)
    return {"ssim": np.array(similarity).tolist(), "mse": squared.mean(axis=(0, 2, 3, 4)).tolist()}


def calibrate(parameters: dict[str, float], img_size: int) -> dict[str, float]:
    """Learned `parameters` without the stretch of the original's sampling grid.

    The grid puts pixel i at position i·H/(H − 1) (H = `img_size`), so that all lengths come out too large by
    s = H/(H − 1): l is divided by s and g (length³ per time²) by s³. k and m have no length in them.
    """
    shrink = (img_size - 1) / img_size
    powers = {"l": 1, "g": 3}
    return {name: value * shrink ** powers.get(name, 0) for name, value in parameters.items()}


# A network on a test file


class Outputs(NamedTuple):
    """What a network gives for S sequences. Positions in pixels."""

    accuracy: dict[str, Any]  # `losses`, and the `frame_errors` of the predicted frames
    encoded: np.ndarray  # [S, L + P, N, 2]
    predicted: np.ndarray  # [S, T − L, N, 2]


def evaluate(net: PhysicsNet, frames: np.ndarray) -> Outputs:
    """`Outputs` of `net` for uint8 `frames` [S, T, H, H, C]."""
    accuracy, batches = predict_frames(net, frames)
    arrays = []
    for outputs in batches:
        positions = (outputs.enc_pos, net.positions(outputs.pos_vel_seq)[:, 1:])
        arrays.append([np.float64(each).reshape(len(each), -1, net.task.n_objs, 2) for each in positions])
    return Outputs(accuracy, *map(np.concatenate, zip(*arrays)))


def predict_frames(net: BaseNet, frames: np.ndarray) -> tuple[dict[str, Any], list[Any]]:
    """`accuracy` as in `Outputs`, and what any `net` gives for each batch of uint8 `frames` [S, T, H, H, C].

    A last batch of under 50 counts by its size. The `frame_errors`, not the losses, are of frames cut to [0, 1], as a
    picture shows them.
    """
    sizes, losses, truth, given = [], [], [], []
    for start in range(0, len(frames), BATCH):
        batch = net.to_float(tf.constant(frames[start : start + BATCH]))
        values, outputs = net.eval_step(batch)
        sizes.append(len(batch))
        losses.append([float(values[name]) for name in LOSSES])
        truth.append(batch[:, net.task.input_steps :])
        given.append(outputs)
    means = np.average(losses, axis=0, weights=sizes).tolist()
    both = (np.concatenate(each).clip(0.0, 1.0) for each in ([outputs.output for outputs in given], truth))
    errors = frame_errors(*both)
    return {"losses": dict(zip(LOSSES, means)), **errors}, given


def measure(net: PhysicsNet, frames: np.ndarray, true: np.ndarray | None) -> dict[str, Any]:
    """All numbers of a trained `net` on uint8 `frames` [S, T, H, H, C], ready for JSON.

    `true`: the positions [S, T, N, 2] that the frames were drawn from; a published data file lacks them.
    """
    outputs, parameters = evaluate(net, frames), net.parameters()
    result = {
        **outputs.accuracy,
        "parameters": parameters,
        "calibrated": parameters if net.decoder.calibrated else calibrate(parameters, net.task.img_size),
        "sequences": len(frames),
    }
    if true is not None:
        inputs, predicted = net.task.input_steps, net.task.pred_steps
        if net.track_objects:
            true = name_by_sequence(true, outputs.encoded)
        seen = true[:, : inputs + predicted]
        match = match_objects(outputs.encoded, seen)
        later = squared_errors(outputs.predicted, true[:, inputs:], match)
        result["position_error"] = {
            "encoded": float(np.sqrt(squared_errors(outputs.encoded, seen, match).mean())),
            "predicted": float(np.sqrt(later[:predicted].mean())),
            "extrapolated": float(np.sqrt(later[predicted:].mean())),
            "per_step": np.sqrt(later).tolist(),
        }
        result["length_scale"] = length_scale(outputs.encoded[:, :, list(match.order)], seen)
    return result


def lstm_baseline(net: PhysicsNet, frames: np.ndarray, stage: Stage, seed: int = 0) -> PhysicsNet:
    """The paper's black box: a network with LSTM dynamics, and with encoder and decoder of the trained `net`.

    Only its dynamics and velocity net are fitted, as in the stage `positions`, to what `net` encodes from uint8
    `frames` [S, ≥ L + P, H, H, C].
    """
    tf.keras.utils.set_random_seed(seed)
    task, learned = replace(net.task, cell_type="lstm"), net.variables_by_name()
    same = {"calibrated_coords": net.decoder.calibrated, "track_objects": net.track_objects}
    black_box = PhysicsNet(task, color=net.channels == 3, **same)
    for name, variable in black_box.variables_by_name().items():
        if name.startswith(("net/encoder/", "net/decoder/")):
            variable.assign(learned[name])
    encoded = encode_all(net, frames[:, : task.input_steps + task.pred_steps])
    for _ in train_on_positions(black_box, encoded, stage, np.random.RandomState(seed)):
        pass
    return black_box


# A run


class DataFiles(NamedTuple):
    """What a run is trained and tested on, and the physics that made it, as the generators call it."""

    train: Path
    test: Path
    physics: dict[str, Any]


def true_parameters(files: DataFiles) -> dict[str, float]:
    """The parameters of the physics that made `files`, by the cells' names for them."""
    names = {"k": "k", "equil": "l", "g": "g", "m": "m"}
    return {names[name]: float(value) for name, value in files.physics.items() if name in names}


def measure_run(task: str, seed: int, folder: Path, files: DataFiles, stage: Stage) -> dict[str, Any]:
    """The entry of a finished run in `folder`; its pictures are written beside it, `<folder>_*.png`.

    `stage`: of the fit of the LSTM. Raises `ExperimentError` for a missing or damaged checkpoint, `DataError` for a
    missing or damaged data file.
    """
    net = load_network(folder)
    frames = load_frames(files.test, ("test",))["test"]
    train_frames = load_frames(files.train, ("train",))["train"]
    with np.load(files.test, allow_pickle=False) as archive:
        true = archive["test_pos"] if "test_pos" in archive.files else None
    result = {
        **describe_run(task, seed, folder), "found": True,
        "vel_encoder": net.vel_encoder, "calibrated_coords": net.decoder.calibrated,
        "true": true_parameters(files),
        "input_steps": net.task.input_steps, "pred_steps": net.task.pred_steps, **measure(net, frames, true),
    }  # fmt: skip
    logger.info("%s: fitting the LSTM baseline", folder)
    black_box = lstm_baseline(net, train_frames, stage, seed)
    result["lstm"] = evaluate(black_box, frames).accuracy
    figures.draw(net, black_box, frames, result, f"{folder}_")
    return result


def describe_run(task: str, seed: int, folder: Path) -> dict[str, Any]:
    """The entry of a run that did not find its objects: what was run on what, and its seconds."""
    log = folder / LOG
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    moments = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp() for stamp in TIME.findall(text)]
    gaps = [later - earlier for earlier, later in zip(moments, moments[1:])]
    pause = max(PAUSE, UNUSUAL * statistics.median(gaps)) if gaps else PAUSE
    return {
        "task": task, "seed": seed, "found": False, "stack": machine.describe(machine.stack()),
        "wall_s": sum(gap for gap in gaps if 0 < gap < pause),
    }  # fmt: skip
