"""Writes small experiment folders in the documented formats, for the tests of the comparison."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from physics_models import checkpoints

LENGTH, PREDICTED, SIDE = 12, 8, 16
CLOCK = datetime.datetime(2026, 11, 22, 1, 36, 51)


def sequences(seed: int, count: int) -> np.ndarray:
    """Two discs that move straight on black: [count, LENGTH, SIDE, SIDE, 3], 8-bit values over 255."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    frames = np.zeros((count, LENGTH, SIDE, SIDE, 3), np.float32)
    for sequence in frames:
        for channel in (0, 2):
            start, step = random.uniform(4, 12, 2), random.uniform(-0.5, 0.5, 2)
            for t, frame in enumerate(sequence):
                x, y = start + t * step
                frame[..., channel] = np.clip(3.2 - np.hypot(columns - x, rows - y), 0, 1)
    return np.rint(frames * 255).astype(np.float32) / np.float32(255)


def write_run(
    folder: Path,
    flags: dict[str, str],
    rate: float = 1.5,
    k: float = 4.0,
    error: float = 0.02,
    order: list[int] | None = None,
    numpy2: bool = False,
    doubled: bool = False,
) -> Path:
    """An experiment folder with all but templates.jpg and a checkpoint; returns it.

    `rate`: training steps per second; `k`: spring constant at the end; `error`: what is added to the true frames;
    `order`: the test sequences' order; `numpy2`: the parameter line as NumPy 2 prints it; `doubled`: every
    line after the training twice, as the original's second network logs.
    """
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("".join(_log(flags, rate, k, numpy2, doubled)), encoding="utf-8")
    shown = sequences(0, 6)[order or range(6)]
    noise = np.random.RandomState(int(k * 100)).uniform(0, error, (len(shown), PREDICTED, SIDE, SIDE, 3))
    predicted = np.clip(shown[:, -PREDICTED:] * 0.9 + noise, 0, 1).astype(np.float32)
    np.savez_compressed(folder / "outputs.npz", input=shown, output=predicted)
    random = np.random.RandomState(int(k * 10))
    half = SIDE // 2
    disc = 6 - 2 * np.hypot(*(np.mgrid[:half, :half] - half / 2))
    np.savez_compressed(
        folder / "extra_outputs.npz",
        contents=(random.standard_normal((2, half, half, 3)) + [[[[4, -4, -4]]], [[[-4, -4, 4]]]]).astype("f4"),
        templates=np.stack([disc[..., None]] * 2).astype("f4"),
        background_content=np.full((1, SIDE, SIDE, 3), 0.05, np.float32),
        enc_masks=np.zeros((5, SIDE, SIDE, 3), np.float32),
    )
    for i in range(5):
        rows = np.concatenate([np.concatenate(list(s[i]), axis=1) for s in (shown, shown * 0.9)])
        Image.fromarray((rows * 255).astype(np.uint8)).save(folder / f"example{i}.jpg")
    frames = [Image.fromarray(np.kron((f * 255).astype(np.uint8), np.ones((3, 3, 1), np.uint8))) for f in shown[0]]
    frames[0].save(folder / "animation4.gif", save_all=True, append_images=frames[1:], duration=143, loop=0)
    return folder


def _log(flags: dict[str, str], rate: float, k: float, numpy2: bool, doubled: bool) -> list[str]:
    lines, clock, epochs, steps = [], CLOCK, 20, 50

    def add(message: str, seconds: float = 0.0) -> None:
        nonlocal clock
        clock += datetime.timedelta(seconds=seconds)
        stamp = clock.strftime("%Y-%m-%d %H:%M:%S,") + f"{clock.microsecond // 1000:03d}"
        lines.append(f"{stamp} - tf - {message}\n")

    def evaluate(split: str, epoch: int, progress: float) -> None:
        values = {
            "net/decoder/logsigma": 0.1 * progress,
            "net/spring_ode_cell/log_k": np.log(k) * progress,
            "net/spring_ode_cell/log_l": np.log(6.0) * progress,
        }
        number = "np.float32({})" if numpy2 else "{}"
        pairs = [f"('{name}:0', {number.format(np.float32(v))})" for name, v in values.items()]
        add(f"[{', '.join(pairs)}]", 5.0)
        loss = (3.0 + 700.0 * np.exp(-8 * progress)) * k / 4
        losses = zip(("extrap", "pred", "recons"), np.float32([loss * 2, loss, loss / 3]))
        add(
            f"{split} - epoch={epoch} " + " ".join(f"eval_{name}_loss={value}" for name, value in losses),
            0.001,
        )

    command = "\n".join(["runners/run_physics.py", *(f"--{name}={value}" for name, value in flags.items())])
    add(command)
    evaluate("valid", 0, 0.0)
    for step in range(epochs * steps):
        if step % 10 == 0:
            add(f"train - iter={step} train_loss={3.0 + 2800 * np.exp(-8 * step / epochs / steps):.6g}")
        clock += datetime.timedelta(seconds=1 / rate)
        if (step + 1) % (2 * steps) == 0:
            evaluate("valid", (step + 1) // steps, (step + 1) / epochs / steps)
    evaluate("test", epochs, 1.0)
    trained = len(lines)
    add(command, 10.0)
    evaluate("test", 0, 1.0)
    return lines[:trained] + [line for line in lines[trained:] for _ in range(1 + doubled)]


def write_checkpoint(folder: Path, arrays: dict[str, np.ndarray], tf1: bool) -> None:
    """A checkpoint of these arrays by the original's names, in its format or in this port's."""
    if not tf1:
        variables = {name: tf.Variable(array) for name, array in arrays.items()}
        checkpoints.save(folder, variables, {"epoch": 20, "iteration": 1000})
        return
    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n', encoding="utf-8")
