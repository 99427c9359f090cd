"""The paper's Figure 2 (future frames, against the truth and an LSTM) and Figure 4 (what objects look like)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from physics_models.experiment import write_atomically
from physics_models.physics_net import PhysicsNet
from physics_models.viz import gallery, sigmoid, to_image
from runners.plots import Figure, default_style

FRAMES_SHOWN = 12  # in a row of Figure 2
BESIDE = 3  # more curves than these have their legend beside them


def draw(net: PhysicsNet, lstm: PhysicsNet, frames: np.ndarray, entry: dict[str, Any], stem: str) -> None:
    """Every picture of a run, `<stem><kind>.png`, from uint8 test `frames` [S, T, H, H, C] and its `entry`."""
    inputs, one = net.task.input_steps, net.to_float(tf.constant(frames[:1]))
    rows = [one[0, inputs:].numpy(), *(each.eval_step(one)[1].output.numpy()[0] for each in (net, lstm))]
    steps = np.unique(np.linspace(0, len(rows[0]) - 1, FRAMES_SHOWN).round().astype(int))
    save_png(f"{stem}future.png", gallery(np.concatenate([row[steps] for row in rows]), len(steps)), 3)  # Figure 2
    appearances(net, f"{stem}appearances.png")
    curves({"Physics+IG": entry["ssim"], "LSTM": entry["lstm"]["ssim"]}, inputs, "SSIM", f"{stem}ssim.png")
    if errors := entry.get("position_error"):
        curves({"Physics+IG": errors["per_step"]}, inputs, "position error, px", f"{stem}positions.png")


def save_png(path: str, picture: np.ndarray, scale: int) -> None:
    """Write a float picture [H, W, C] in [0, 1], each pixel `scale` times as large, as a PNG with 256 colours."""
    image = ImageOps.scale(to_image(picture).convert("RGB"), scale, Image.Resampling.NEAREST)
    image = image.quantize(256, dither=Image.Dither.NONE)
    write_atomically(path, lambda file: image.save(file, "PNG", optimize=True))


def appearances(net: PhysicsNet, path: str) -> None:
    """Figure 4: a row per object: learned contents, mask, and their product (S×S pixels, from left to right)."""
    sprites = net.decoder.sprites()
    contents = sigmoid(sprites.contents.numpy())
    masks = np.repeat(sigmoid(sprites.templates.numpy() - 1.0), net.channels, axis=-1)  # against the background's 1
    pictures = np.stack([contents, masks, contents * masks], axis=1).reshape(-1, *contents.shape[1:])
    save_png(path, gallery(pictures, 3), 6)


@default_style()
def curves(
    series: dict[str, list[float]], first_step: int, what: str, path: str, trained_to: int | None = None
) -> None:
    """A plot of `series` (label → one number per step, from frame `first_step` on), `what` on the vertical axis.

    The frames before `trained_to`, which the training's loss sees, are shaded.
    """
    beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0)} if len(series) > BESIDE else {}
    figure = Figure(figsize=(8 if beside else 5, 3), dpi=90, layout="tight")
    axes = figure.add_subplot()
    if trained_to is not None:
        axes.axvspan(first_step - 0.5, trained_to - 0.5, color="0.92", label="trained on")
    for label, values in series.items():
        axes.plot(np.arange(len(values)) + first_step, values, label=label)
    axes.set(xlabel="frame", ylabel=what)
    axes.legend(**beside)
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
