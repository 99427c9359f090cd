"""Recordings of the user's own as sequences of frames: .npz, folders of PNG frames, GIF and MP4.

Pillow reads PNG and GIF. MP4 needs imageio-ffmpeg (the extra `[video]`), one package that brings its own decoder.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from data_gen.errors import DataError, one_line
from data_gen.files import read_array

VIDEOS = (".gif", ".mp4")
FORMATS = "an .npz, a .gif, an .mp4, a folder of .png frames, or a folder with one of these for each recording"


def load_video(path: str | os.PathLike, size: int | None = None, seq_len: int | None = None) -> np.ndarray:
    """Read recordings and cut them into sequences of equal length.

    Args:
        path: a GIF or MP4 file; a folder of PNG frames, in the order of the numbers in their names; a folder of such
            folders or files, a recording each; or an .npz with uint8 frames [T, H, W, C] or [S, T, H, W, C], as its
            only array or called `frames`, `video` or `x`.
        size: side in pixels to which the central square of each frame is resized. None keeps the frames.
        seq_len: frames T of a sequence, what is left of a recording is dropped. None: a recording is one sequence.

    Returns uint8 [S, T, H, W, C], C-contiguous; C is 3, but for an .npz what it holds.
    """
    for name, value in (("frame size", size), ("sequence length", seq_len)):
        if value is not None and value < 1:
            raise DataError(f"{name} {value} is out of range: at least 1")
    sequences = []
    for recording in _recordings(Path(path), size):
        length = seq_len or len(recording)
        sequences += [recording[i : i + length] for i in range(0, len(recording) - length + 1, length)]
    if not sequences:
        raise DataError(f"{path}: holds no recording of at least {seq_len or 1} frames")
    return _stack(path, sequences)


def _recordings(path: Path, size: int | None) -> Iterator[np.ndarray]:
    """The frames uint8 [T, H, W, C] of each recording under a path."""
    if path.is_dir():
        entries = sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=natural_key)
        pictures = [entry for entry in entries if entry.suffix.lower() == ".png"]
        inner = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in VIDEOS]
        if bool(pictures) == bool(inner):
            found = f"frames as well as {inner[0].name}" if inner else "no .png frames"
            raise DataError(f"{path}: holds {found}; need {FORMATS}")
        if pictures:
            yield _stack(path, (frame for picture in pictures for frame in _picture_frames(picture)), size)
        for entry in inner:
            yield from _recordings(entry, size)
    elif path.suffix.lower() == ".npz":
        frames = read_array(path, ("frames", "video", "x"))
        if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] not in (1, 3):
            need = "uint8, 0 to 255, [T, H, W, C] or [sequences, T, H, W, C] with C = 1 or 3 channels on the last axis"
            raise DataError(f"{path}: {frames.dtype} {list(frames.shape)}; need {need}")
        for recording in frames if frames.ndim == 5 else frames[None]:
            yield _stack(path, recording, size)
    elif path.is_file() and path.suffix.lower() in VIDEOS:
        read = _mp4_frames if path.suffix.lower() == ".mp4" else _picture_frames
        with contextlib.closing(read(path)) as frames:
            yield _stack(path, frames, size)
    else:
        raise DataError(f"cannot read {path}: need {FORMATS}")


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key: frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _stack(path: str | os.PathLike, arrays: Iterable[np.ndarray], size: int | None = None) -> np.ndarray:
    """Frames, resized one by one, as a recording [T, H, W, C]; or recordings as sequences."""
    arrays = [array if size is None else resize(array, size) for array in arrays]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) != 1:
        raise DataError(f"{path}: frames or recordings of shapes {shapes}; give a frame size and a sequence length")
    return np.stack(arrays)


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """The central square of a frame uint8 [H, W, C] as [size, size, C]: averaged to shrink, else interpolated."""
    if frame.shape[:2] == (size, size):
        return frame
    side = min(frame.shape[:2])
    top, left = ((n - side) // 2 for n in frame.shape[:2])
    square = np.ascontiguousarray(frame[top : top + side, left : left + side])
    method = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    channels = [Image.fromarray(channel).resize((size, size), method) for channel in np.moveaxis(square, 2, 0)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


@contextlib.contextmanager
def open_picture(path: str | os.PathLike) -> Iterator[Image.Image]:
    """A picture file, with every way in which it can be damaged as a `DataError`."""
    try:
        with Image.open(path) as picture:
            yield picture
    except Exception as error:  # Pillow raises many kinds
        raise DataError(f"cannot read {path} as a picture: {one_line(error)}") from error


def _picture_frames(path: Path) -> Generator[np.ndarray, None, None]:
    """The RGB frames [H, W, 3] of a GIF, or the one of a PNG."""
    with open_picture(path) as picture:
        for frame in ImageSequence.Iterator(picture):
            yield np.asarray(frame.convert("RGB"))


def _mp4_frames(path: Path) -> Generator[np.ndarray, None, None]:
    """The RGB frames [H, W, 3] of an MP4; closing the generator ends the decoder."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DataError(f"reading {path} needs imageio-ffmpeg: pip install imageio-ffmpeg, or save a GIF") from None
    with contextlib.closing(imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")) as reader:
        try:
            width, height = next(reader)["size"]
            for data in reader:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        except (OSError, RuntimeError, ValueError, StopIteration) as error:
            raise DataError(f"cannot read {path} as an MP4: {one_line(error)}") from error
