"""The paper's Figure 2 (future frames, against the truth and an LSTM) and Figure 4 (what objects look like)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from physics_models.experiment import write_atomically
from physics_models.physics_net import PhysicsNet
from physics_models.viz import gallery, sigmoid
from runners.plots import Figure, default_style

FRAMES_SHOWN = 12  # in a row of Figure 2
ENLARGED = 3  # picture pixels per frame pixel


def draw(net: PhysicsNet, lstm: PhysicsNet, frames: np.ndarray, entry: dict[str, Any], stem: str) -> None:
    """Every picture of a run, `<stem><kind>.png`, from uint8 test `frames` [S, T, H, H, C] and its `entry`."""
    inputs, one = net.task.input_steps, net.to_float(tf.constant(frames[:1]))
    rows = [one[0, inputs:].numpy(), *(each.eval_step(one)[1].output.numpy()[0] for each in (net, lstm))]
    future_frames(rows, f"{stem}future.png")
    appearances(net, f"{stem}appearances.png")
    layers_of_a_frame(net, frames[0, 0], f"{stem}layers.png")
    curves({"Physics+IG": entry["ssim"], "LSTM": entry["lstm"]["ssim"]}, inputs, "SSIM", f"{stem}ssim.png")
    if "position_error" in entry:
        series = {"Physics+IG": entry["position_error"]["per_step"]}
        curves(series, inputs, "position error, px", f"{stem}positions.png")


def save_png(path: str, picture: np.ndarray, scale: int = ENLARGED) -> None:
    """Write a float picture [H, W, C] in [0, 1], each pixel `scale` times as large, as a PNG with 256 colours."""
    pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    write_atomically(path, lambda file: image.save(file, "PNG", optimize=True))


def future_frames(rows: list[np.ndarray], path: str) -> None:
    """Figure 2: `rows` of frames [T, H, W, C], one above the other, at the same evenly spread steps."""
    steps = np.unique(np.linspace(0, len(rows[0]) - 1, FRAMES_SHOWN).round().astype(int))
    save_png(path, gallery(np.concatenate([row[steps] for row in rows]), len(steps)))


def appearances(net: PhysicsNet, path: str) -> None:
    """Figure 4: a row per object: learned contents, mask, and their product (S×S pixels, from left to right)."""
    sprites = net.decoder.sprites()
    contents = sigmoid(sprites.contents.numpy())
    masks = np.repeat(sigmoid(sprites.templates.numpy() - 1.0), net.channels, axis=-1)  # against the background's 1
    pictures = np.stack([contents, masks, contents * masks], axis=1).reshape(-1, *contents.shape[1:])
    save_png(path, gallery(pictures, 3), 2 * ENLARGED)


def layers_of_a_frame(net: PhysicsNet, frame: np.ndarray, path: str) -> None:
    """The layers of one uint8 `frame` [H, H, C]; a column per object, the background last.

    Rows: the frame and the encoder's masks; its reconstruction and the decoder's masks; mask·contents.
    """
    shown = net.to_float(tf.constant(frame[None]))
    encoding = net.encoder(shown)
    layers = net.decoder.layers(encoding.positions)
    masks = np.repeat(layers.masks.numpy()[:, 0], net.channels, axis=-1)
    encoder_masks = np.repeat(np.moveaxis(encoding.masks.numpy()[0], -1, 0)[..., None], net.channels, axis=-1)
    parts = masks * layers.contents.numpy()[:, 0]
    decoded, empty = parts.sum(axis=0)[None], np.full_like(shown, 0.5)
    rows = [shown, encoder_masks, decoded, masks, empty, parts]
    save_png(path, gallery(np.concatenate(rows), len(masks) + 1))


@default_style()
def curves(series: dict[str, list[float]], first_step: int, what: str, path: str) -> None:
    """A plot of `series` (label → one number per step, from frame `first_step` on), `what` on the vertical axis."""
    figure = Figure(figsize=(5, 3), dpi=90, layout="tight")
    axes = figure.add_subplot()
    for label, values in series.items():
        axes.plot(np.arange(len(values)) + first_step, values, label=label)
    axes.set(xlabel="frame", ylabel=what)
    axes.legend()
    write_atomically(path, lambda file: figure.savefig(file, format="png"))
