"""Where the pictures come from: MNIST digits and CIFAR-10 pictures through `tf.keras.datasets`, or a source.

A source is an array, an .npz with one array or one called `x_train`, `digits` or `background`, or a picture file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
from typing import Union

import numpy as np

from data_gen.errors import DataError, one_line
from data_gen.files import is_npz, read_array
from data_gen.video import open_picture, resize, shown

PictureSource = Union[str, os.PathLike, np.ndarray, None]

KERAS = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": ""}
DIGITS_NEEDED = "uint8 [2 or more, 28, 28]; the first two are used"


def load_digits(source: PictureSource = None) -> np.ndarray:
    """The two digits to draw, uint8 [2, 28, 28]: MNIST's training images 0 and 1 unless a source is given."""
    name, digits = _load(source, "mnist", "digits")
    if digits.dtype != np.uint8 or digits.ndim != 3 or digits.shape[1:] != (28, 28) or len(digits) < 2:
        raise DataError(f"{name}: {digits.dtype} {list(digits.shape)}, need {DIGITS_NEEDED}")
    return np.ascontiguousarray(digits[:2])


def load_pictures(source: PictureSource = None) -> np.ndarray:
    """Background pictures, uint8 [n, 32, 32, 3]: CIFAR-10's training images unless a source is given.

    Pictures of another size are cut to their central square and resized.
    """
    name, pictures = _load(source, "cifar10", "background")
    pictures = pictures[None] if pictures.ndim == 3 else pictures
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape:
        raise DataError(f"{name}: {pictures.dtype} {list(pictures.shape)}, need uint8 [H, W, 3] or [pictures, H, W, 3]")
    return np.stack([resize(picture, 32) for picture in pictures])


def _load(source: PictureSource, dataset: str, name: str) -> tuple[str, np.ndarray]:
    """(name for messages, array) of a source, by default the training images of `tf.keras.datasets.<dataset>`."""
    if source is None:
        return dataset, _keras_dataset(dataset)
    if isinstance(source, np.ndarray):
        return f"the {name}", source
    if is_npz(source) or os.fspath(source).lower().endswith(".npz"):
        return os.fspath(source), read_array(source, (name, "x_train"))
    with open_picture(source) as picture:
        return os.fspath(source), shown(picture)


def fingerprint(array: np.ndarray) -> str:
    """A short hash of an array's content, for the metadata."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def grey(picture: np.ndarray) -> np.ndarray:
    """Luminance of RGB pictures [..., H, W, 3], float64 [..., H, W, 1] in the same range."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[..., None]


def _keras_dataset(name: str) -> np.ndarray:
    """Training images of `tf.keras.datasets.<name>`, downloaded once; an unanswered request ends after 10 seconds."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10.0)  # seconds; Keras itself would wait for minutes
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up messages
    # Whatever the user's keras.json says; another program in this process keeps its own.
    before = {name: os.environ.get(name) for name in KERAS}
    os.environ.update(KERAS)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows its download on stdout
            import tensorflow as tf

            (images, _), _ = getattr(tf.keras.datasets, name).load_data()
    except Exception as error:  # Keras raises bare Exceptions for failed downloads
        ways = "let tf.keras.datasets download it once, or use your own: python -m data_gen --task=mnist_spring_color"
        files = f"--digits=FILE.npz ({DIGITS_NEEDED}) --background=FILE.npz or FILE.png (a colour picture)"
        raise DataError(f"cannot download {name} ({one_line(error)}): {ways} {files}") from error
    finally:
        socket.setdefaulttimeout(timeout)
        os.environ.update({name: value or "" for name, value in before.items()})
    return images
