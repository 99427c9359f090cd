"""TensorBoard's summaries of a training: `tensorboard --logdir=<save_dir>/tb` shows them.

They are written as protocol buffers: TensorFlow's own `tf.summary.scalar` needs TensorBoard to be installed, which
current TensorFlow does not bring along.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from physics_models.pictures import to_image
from physics_models.save_dir import SUMMARIES
from physics_models.watchers import Watcher

if TYPE_CHECKING:
    from physics_models.base import BaseNet

note = logging.getLogger("tf.note")


class Summaries(Watcher):
    """Writes losses, rate, gradient norm, learned parameters and pictures to `tb` in `save_dir`.

    A disk that is full ends the summaries, not the training.
    """

    def __init__(self, save_dir: str | Path):
        self.writer = tf.summary.create_file_writer(str(Path(save_dir) / SUMMARIES))

    def printed(self, net: BaseNet, loss: float) -> None:
        """The training's numbers."""
        numbers = {
            "train/loss": loss,
            "train/gradient_norm": float(net.guard.gradient_norm.numpy()),
            "train/rate": float(net.optimizer.rate.numpy()),
        }
        self._write(net.iteration, {**numbers, **named("parameters", net.scalars())}, {})

    def evaluated(
        self, net: BaseNet, split: str, epoch: int, means: dict[str, float], pictures: dict[str, np.ndarray]
    ) -> None:
        """The losses of `split`, the parameters, and the pictures."""
        numbers = {**named(split, means), **named("parameters", net.scalars())}
        self._write(net.iteration, numbers, named(split, pictures), flush=True)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            try:
                self.writer.close()
            except tf.errors.OpError as error:
                self._give_up(error)

    def _write(
        self, step: int, numbers: dict[str, float], pictures: dict[str, np.ndarray], flush: bool = False
    ) -> None:
        if self.writer is None:
            return
        kind = tf.compat.v1.Summary
        values = [kind.Value(tag=tag, simple_value=number) for tag, number in numbers.items()]
        values += [kind.Value(tag=tag, image=encode(picture)) for tag, picture in pictures.items()]
        try:
            with self.writer.as_default():
                tf.summary.experimental.write_raw_pb(kind(value=values).SerializeToString(), step=step)
            if flush:
                self.writer.flush()
        except tf.errors.OpError as error:
            self._give_up(error)

    def _give_up(self, error: tf.errors.OpError) -> None:
        note.warning("no more summaries for TensorBoard: %s", str(error).splitlines()[0])
        self.writer = None


def named(group: str, values: dict) -> dict:
    """`values` under group/name."""
    return {f"{group}/{name}": value for name, value in values.items()}


def encode(picture: np.ndarray) -> tf.compat.v1.Summary.Image:
    """A float picture [H, W, C] in [0, 1] as a PNG."""
    image, buffer = to_image(picture), io.BytesIO()
    image.save(buffer, "PNG")
    return tf.compat.v1.Summary.Image(
        height=image.height, width=image.width, colorspace=len(image.getbands()), encoded_image_string=buffer.getvalue()
    )
