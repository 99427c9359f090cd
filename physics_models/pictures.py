"""The pictures and extra outputs after each evaluation (`PhysicsNet` and `nn/utils/viz.py` of the original)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from physics_models.save_dir import save_npz, write_atomically

if TYPE_CHECKING:
    from physics_models.physics_net import PhysicsNet, Rollout

BORDER = 0.5  # grey of the one-pixel border around each frame
GIF_FPS = 7
GIF_SCALE = 3


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


def save_picture(path: str, frame: np.ndarray) -> None:
    """Write a float frame [H, W, C] as a JPEG, atomically."""
    write_atomically(path, lambda file: to_image(frame).save(file, "JPEG", quality=95))


def save_gif(path: str, frames: list[np.ndarray]) -> None:
    """Write float frames [H, W, C] as an endless animation, 7 frames a second, three times as large."""
    images = [to_image(np.kron(frame, np.ones((GIF_SCALE, GIF_SCALE, 1)))).convert("RGB") for frame in frames]
    # One palette for all frames, or their colours would flicker.
    palette = Image.fromarray(np.concatenate([np.asarray(image) for image in images])).quantize(256)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    duration = round(1000 / GIF_FPS)
    # Pillow joins equal frames that follow each other into one that stays as long.
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False
    )
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def write_examples(net: PhysicsNet, frames: tf.Tensor, save_dir: str | Path) -> dict[str, np.ndarray]:
    """Draw up to five test sequences `frames` [n, T, H, H, C] and write `extra_outputs.npz`.

    `example<i>.jpg`: inputs and prediction, truth, reconstructions; `animation4.gif`: prediction above truth,
    the sequences side by side; `templates.jpg`: sigmoid(contents) above sigmoid(templates − 5).

    Returns pictures [·, ·, C] in [0, 1] for watchers: `rollout` (the first example), `templates` and `masks` (the
    encoder's, of the first sequence's frames: a row an object, the background last).
    """
    inputs = net.task.input_steps
    _, outputs = net.eval_step(frames)
    truth = frames.numpy()
    predicted = np.concatenate([truth[:, :inputs], outputs.output.numpy()], axis=1)
    reconstructed = outputs.recons_out.numpy()
    black = np.zeros_like(truth[:, reconstructed.shape[1] :])
    reconstructed = np.concatenate([reconstructed, black], axis=1)
    examples = [gallery(np.concatenate(rows), truth.shape[1]) for rows in zip(predicted, truth, reconstructed)]
    for i, example in enumerate(examples):
        save_picture(f"{save_dir}/example{i}.jpg", example)
    pairs = np.concatenate([predicted, truth])  # [2n, T, …]: a gallery of two rows at each time
    movie = [gallery(pairs[:, t], len(truth)) for t in range(truth.shape[1])]
    # The 4 is a leaked loop variable of the original's, part of the file's name there.
    save_gif(f"{save_dir}/animation4.gif", movie)
    extra = extra_outputs(net, outputs)
    save_npz(f"{save_dir}/extra_outputs.npz", extra)
    templates = np.repeat(extra["templates"], net.channels, axis=-1)
    sprites = gallery(np.concatenate([sigmoid(extra["contents"]), sigmoid(templates - 5.0)]), net.task.n_objs)
    save_picture(f"{save_dir}/templates.jpg", sprites)
    seen = net.task.input_steps + net.task.pred_steps
    masks = extra["enc_masks"][:seen].transpose(3, 0, 1, 2).reshape(-1, *extra["enc_masks"].shape[1:3], 1)
    return {"rollout": examples[0], "templates": sprites, "masks": gallery(masks, seen)}


def extra_outputs(net: PhysicsNet, outputs: Rollout) -> dict[str, np.ndarray]:
    """The arrays of `extra_outputs.npz`, float32, from the rollout `outputs` of n sequences.

    `contents` [N, S, S, C] and `templates` [N, S, S, 1] before the sigmoid; `background_content` [1, H, H, C];
    `transf_contents`, `transf_masks` [N + 1, n, H, H, C] of the last step, the background last;
    `enc_masks` [n(L+P), H, H, N + 1]; `masked_objs` [N, n(L+P), H, H, C].
    """
    sprites = net.decoder.sprites()
    layers = net.decoder.layers(net.positions(outputs.pos_vel_seq)[:, -1])
    arrays = {
        "contents": sprites.contents,
        "templates": sprites.templates,
        "background_content": sprites.background,
        "transf_contents": layers.contents,
        "transf_masks": tf.repeat(layers.masks, net.channels, axis=-1),
        "enc_masks": outputs.enc_masks,
        "masked_objs": outputs.masked_objects,
    }
    return {name: array.numpy() for name, array in arrays.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^−x)."""
    return 1.0 / (1.0 + np.exp(-x))
