"""Where the pictures come from: MNIST digits and CIFAR-10 pictures through `tf.keras.datasets`, or files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Union

import numpy as np

from data_gen.errors import DataError
from data_gen.files import read_arrays

PictureSource = Union[str, os.PathLike, np.ndarray, None]

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer from the network
PICTURE_SIDE = 32
DIGITS_NEEDED = "uint8 [2 or more, 28, 28]; the first two are used"
PICTURES_NEEDED = "uint8 [H, W, 3] or [pictures, H, W, 3]"
BOTH_WAYS = (
    "either let tf.keras.datasets fetch MNIST and CIFAR-10 once (TensorFlow and a network needed), "
    f"or make the data with python -m data_gen --task=mnist_spring_color --digits=FILE.npz ({DIGITS_NEEDED}) "
    "--background=FILE.npz or FILE.png (a colour picture)"
)


def load_digits(source: PictureSource = None) -> np.ndarray:
    """The two digits to draw, uint8 [2, 28, 28]: MNIST's training images 0 and 1 unless a source is given.

    Args:
        source: an array, or an .npz file with one array, or with one called `digits` or `x_train`.

    Raises:
        DataError: MNIST cannot be had, or the source does not hold such digits.
    """
    if source is None:
        digits = _keras_dataset("mnist")
    else:
        digits = source if isinstance(source, np.ndarray) else read_arrays(source, [("digits",), ("x_train",)])
    where = "the digits" if isinstance(source, (np.ndarray, type(None))) else os.fspath(source)
    if digits.dtype != np.uint8 or digits.ndim != 3 or digits.shape[1:] != (28, 28) or len(digits) < 2:
        raise DataError(f"{where}: {digits.dtype} {list(digits.shape)}, need {DIGITS_NEEDED}")
    return np.ascontiguousarray(digits[:2])


def load_pictures(source: PictureSource = None) -> np.ndarray:
    """Background pictures, uint8 [n, 32, 32, 3]: CIFAR-10's training images unless a source is given.

    Args:
        source: an array, an .npz file with one array, or with one called `background` or `x_train`, or a
            picture file. Pictures of another size are cut to their central square and reduced with Pillow.

    Raises:
        DataError: CIFAR-10 cannot be had, or the source does not hold colour pictures.
    """
    if source is None:
        pictures, where = _keras_dataset("cifar10"), "CIFAR-10"
    elif isinstance(source, np.ndarray):
        pictures, where = source, "the background"
    else:
        where = os.fspath(source)
        npz = where.endswith(".npz")
        pictures = read_arrays(where, [("background",), ("x_train",)]) if npz else _from_picture(where)
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape:
        raise DataError(f"{where}: {pictures.dtype} {list(pictures.shape)}, need {PICTURES_NEEDED}")
    if pictures.shape[1:3] != (PICTURE_SIDE, PICTURE_SIDE):
        pictures = np.stack([_reduce(picture) for picture in pictures])
    return pictures


def digit_background(source: PictureSource = None) -> np.ndarray:
    """The picture behind the digits, uint8 [32, 32, 3]: number 1 of `load_pictures`, or the only one."""
    pictures = load_pictures(source)
    return pictures[min(1, len(pictures) - 1)]


def fingerprint(array: np.ndarray) -> str:
    """A short hash of an array's content, for the meta data."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def grey(picture: np.ndarray) -> np.ndarray:
    """Luminance of an RGB picture [H, W, 3], float64 [H, W, 1] in the same range."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[..., None]


def _keras_dataset(name: str) -> np.ndarray:
    """Training images of `tf.keras.datasets.<name>`, downloaded at most once and never waited for long."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # Keras itself would wait for minutes
    try:
        with _no_chatter():
            import tensorflow as tf

            dataset = getattr(tf.keras.datasets, name)
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows its download there
            (images, _), _ = dataset.load_data()
    except Exception as error:  # Keras raises bare Exceptions for failed downloads
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{name} is not on this machine and could not be fetched ({reason}): {BOTH_WAYS}") from error
    finally:
        socket.setdefaulttimeout(patience)
    return images


@contextlib.contextmanager
def _no_chatter() -> Iterator[None]:
    """Keep what TensorFlow's C++ code writes to stderr while it is imported off the console."""
    sys.stderr.flush()
    console = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(console, 2)
        os.close(console)


def _from_picture(path: str) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"reading {path} needs Pillow: pip install pillow, or give an .npz") from None
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three for damaged files
        raise DataError(f"cannot read {path} as a picture: {error}") from error


def _reduce(picture: np.ndarray) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"a background of {picture.shape[:2]} pixels needs Pillow; give one of 32 x 32") from None
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    square = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(square.resize((PICTURE_SIDE, PICTURE_SIDE), Image.BOX))  # type: ignore[attr-defined]
