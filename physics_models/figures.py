"""The paper's Figure 2 (future frames, against the truth and a black box) and Figure 4 (what objects look like)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from physics_models.pictures import gallery, sigmoid
from physics_models.save_dir import write_atomically

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet

FRAMES_SHOWN = 12  # in a row of Figure 2
ENLARGED = 3  # picture pixels a frame pixel


def save_png(path: str | Path, picture: np.ndarray, scale: int = ENLARGED) -> None:
    """Write a float picture [H, W, C] in [0, 1], each pixel `scale` times as large, as a PNG with 256 colours."""
    pixels = (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    image = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    write_atomically(path, lambda file: image.save(file, "PNG", optimize=True))


def future_frames(rows: list[np.ndarray], path: str | Path) -> list[int]:
    """Figure 2: `rows` of frames [T, H, W, C], one above the other, at the same evenly spread steps.

    Returns the steps shown, counted from 0.
    """
    steps = np.unique(np.linspace(0, len(rows[0]) - 1, FRAMES_SHOWN).round().astype(int))
    save_png(path, gallery(np.concatenate([row[steps] for row in rows]), len(steps)))
    return steps.tolist()


def appearances(net: PhysicsNet, path: str | Path) -> None:
    """Figure 4: a row an object: learned contents, mask, and their product (S×S pixels, from left to right)."""
    sprites = net.decoder.sprites()
    contents = sigmoid(sprites.contents.numpy())
    masks = np.repeat(sigmoid(sprites.templates.numpy() - 1.0), net.channels, axis=-1)  # against the background's 1
    pictures = np.stack([contents, masks, contents * masks], axis=1).reshape(-1, *contents.shape[1:])
    save_png(path, gallery(pictures, 3), 2 * ENLARGED)


def layers_of_a_frame(net: PhysicsNet, frame: np.ndarray, path: str | Path) -> None:
    """The layers of one uint8 `frame` [H, H, C]: for each object, the background last, mask and mask·contents.

    Top row: the frame and its reconstruction, then the encoder's masks.
    """
    frames = net.to_float(tf.constant(frame[None]))
    encoding = net.encoder(frames)
    layers = net.decoder.layers(encoding.positions)
    masks, contents = layers.masks.numpy()[:, 0], layers.contents.numpy()[:, 0]
    masks = np.repeat(masks, net.channels, axis=-1)
    encoder_masks = np.repeat(np.moveaxis(encoding.masks.numpy()[0], -1, 0)[..., None], net.channels, axis=-1)
    shown, decoded = frames.numpy(), (masks * contents).sum(axis=0)[None]
    empty = np.full_like(shown, 0.5)
    columns = len(masks) + 1
    top = [shown, encoder_masks]
    rows = [np.concatenate(top), np.concatenate([decoded, masks]), np.concatenate([empty, masks * contents])]
    save_png(path, gallery(np.concatenate(rows), columns))


def curves(series: dict[str, list[float]], first_step: int, what: str, path: str | Path) -> None:
    """A plot of `series` (label → one number a step, from frame `first_step` on), `what` on the vertical axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), dpi=90)
    axes = figure.add_subplot()
    for label, values in series.items():
        axes.plot(np.arange(len(values)) + first_step, values, label=label)
    axes.set_xlabel("frame")
    axes.set_ylabel(what)
    axes.legend()
    figure.tight_layout()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))
