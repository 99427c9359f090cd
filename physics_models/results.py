"""What a trained network is worth, measured on a test file: the numbers of the report of `reproduce_paper.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from physics_models.evaluation import (
    calibrate,
    frame_errors,
    length_scale,
    match_objects,
    position_error,
)
from physics_models.physics_net import PhysicsNet

BATCH = 50  # sequences evaluated at once


def roll_out(net: PhysicsNet, frames: np.ndarray) -> dict[str, Any]:
    """Walk uint8 `frames` [S, T, H, H, C] through `net`: `losses`, `encoded`, `predicted` and `output`.

    `encoded` [S, L + P, N, 2] and `predicted` [S, T − L, N, 2] are positions, pixels; `output` the predicted frames
    [S, T − L, H, H, C]; `losses` the means of `pred_loss`, `extrap_loss` and `recons_loss`. A rest of under 50
    sequences counts by its size.
    """
    parts, n_objs = [], net.task.n_objs
    for start in range(0, len(frames), BATCH):
        batch = net.to_float(tf.constant(frames[start : start + BATCH]))
        losses, outputs = net.eval_step(batch)
        predicted = net.positions(outputs.pos_vel_seq)[:, 1:]
        numbers = {name: float(loss) for name, loss in losses.items()}
        parts.append((len(batch), numbers, outputs.enc_pos.numpy(), predicted.numpy(), outputs.output.numpy()))
    sizes, losses, encoded, predicted, output = zip(*parts)
    names = ("pred_loss", "extrap_loss", "recons_loss")
    return {
        "losses": {name: float(np.average([each[name] for each in losses], weights=sizes)) for name in names},
        "encoded": split_objects(np.concatenate(encoded), n_objs),
        "predicted": split_objects(np.concatenate(predicted), n_objs),
        "output": np.concatenate(output),
    }


def split_objects(positions: np.ndarray, n_objs: int) -> np.ndarray:
    """[S, T, 2N] → [S, T, N, 2]."""
    return positions.reshape(*positions.shape[:2], n_objs, 2)


def measure(net: PhysicsNet, frames: np.ndarray, true: np.ndarray | None) -> dict[str, Any]:
    """All numbers of one trained `net` on uint8 `frames` [S, T, H, H, C], ready for JSON.

    `true`: the positions [S, T, N, 2] that the frames were drawn from, where they are known (a file of
    `data_gen` has them, a published one has not).
    """
    walk = roll_out(net, frames)
    inputs, predicted = net.task.input_steps, net.task.pred_steps
    float_frames = net.to_float(tf.constant(frames[:, inputs:])).numpy()
    errors = frame_errors(walk["output"], float_frames)
    parameters = net.parameters()
    result = {
        "losses": walk["losses"],
        "parameters": parameters,
        "calibrated": parameters if net.decoder.calibrated else calibrate(parameters, net.task.img_size),
        "ssim": errors.ssim.tolist(),
        "mse": errors.mse.tolist(),
        "sequences": len(frames),
    }
    if true is not None:
        seen = true[:, : inputs + predicted]
        match = match_objects(walk["encoded"], seen)
        later = position_error(walk["predicted"], true[:, inputs:], match)
        squares = np.square(later.per_step)
        result["position_error"] = {
            "encoded": position_error(walk["encoded"], seen, match).rms,
            "predicted": float(np.sqrt(squares[:predicted].mean())),
            "extrapolated": float(np.sqrt(squares[predicted:].mean())),
            "per_step": later.per_step.tolist(),
        }
        result["length_scale"] = length_scale(walk["encoded"][:, :, list(match.order)], seen)
    return result
