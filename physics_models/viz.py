"""Pictures of frames (`nn/utils/viz.py` of the original)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from physics_models.experiment import write_atomically

BORDER = 0.5  # grey of the one-pixel border around each frame
GIF_FPS = 7
GIF_SCALE = 3


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x)."""
    return 1.0 / (1.0 + np.exp(-x))


def gallery(frames: np.ndarray, columns: int) -> np.ndarray:
    """Frames [n, H, W, C] in a grid of `columns`, each with a 1-pixel grey border: [rows·(H+2), columns·(W+2), C]."""
    framed = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=BORDER)
    n, height, width, channels = framed.shape
    grid = framed.reshape(n // columns, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(n // columns * height, columns * width, channels)


def to_image(frame: np.ndarray) -> Image.Image:
    """A Pillow image of a float frame [H, W, C] in [0, 1], C = 1 or 3."""
    pixels = (np.clip(frame, 0.0, 1.0) * 255).round().astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_picture(path: str | Path, frame: np.ndarray) -> None:
    """Write a float frame [H, W, C] in [0, 1] as a JPEG, atomically."""
    write_atomically(path, lambda file: to_image(frame).save(file, "JPEG", quality=95))


def gif(path: str | Path, frames: Sequence[np.ndarray]) -> None:
    """Write float frames [H, W, C] in [0, 1] as an endless animation, 7 frames per second, three times as large."""
    images = [to_image(np.kron(frame, np.ones((GIF_SCALE, GIF_SCALE, 1)))).convert("RGB") for frame in frames]
    # One palette for all frames, or their colours would flicker.
    palette = Image.fromarray(np.concatenate([np.asarray(image) for image in images])).quantize(256)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    # Pillow joins equal frames that follow each other into one that stays as long.
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / GIF_FPS), loop=0, optimize=False
    )
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def sequences(truth: np.ndarray, output: np.ndarray, recons_out: np.ndarray, save_dir: str | Path) -> None:
    """Draw n sequences `truth` [n, T, H, W, C] in [0, 1], their predicted last and reconstructed first frames.

    `example<i>.jpg`: inputs and prediction, truth, reconstructions; `animation4.gif`: prediction above truth, the
    sequences side by side.
    """
    predicted = np.concatenate([truth[:, : truth.shape[1] - output.shape[1]], output], axis=1)
    black = np.zeros_like(truth[:, recons_out.shape[1] :])
    reconstructed = np.concatenate([recons_out, black], axis=1)
    for i, rows in enumerate(zip(predicted, truth, reconstructed)):
        save_picture(f"{save_dir}/example{i}.jpg", gallery(np.concatenate(rows), truth.shape[1]))
    pairs = np.concatenate([predicted, truth])  # [2n, T, …]: a gallery of two rows at each time
    # The original's name: there the last value of a loop's variable, 4, enters it.
    gif(f"{save_dir}/animation4.gif", [gallery(pairs[:, t], len(truth)) for t in range(truth.shape[1])])
