"""Own recordings as sequences of frames: .npz, folders of PNG frames, GIF, and MP4 with the extra `[video]`.

MP4 goes through imageio-ffmpeg: one package that brings its own decoder, for all platforms, without
further dependencies. Everything else needs Pillow, which comes with matplotlib.
"""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DataError, in_short
from data_gen.files import read_arrays

PICTURES = (".png",)
FILMS = (".gif", ".mp4")
NPZ_NAMES = ("frames", "video", "x")
SPLIT_NAMES = ("train_x", "valid_x", "test_x")
KINDS = "an .npz, a .gif, an .mp4, a folder of .png frames, or a folder with one of these for each sequence"


def load_video(path: str | os.PathLike, size: int | None = None, seq_len: int | None = None) -> np.ndarray:
    """Read recordings and cut them into sequences of equal length.

    Args:
        path: one of
            - a folder of PNG frames, in the order of the numbers in their names: one long recording;
            - a folder of such folders (or of GIF or MP4 files): a recording each;
            - a GIF or MP4 file: one recording;
            - an .npz with uint8 frames [T, H, W, C] or [S, T, H, W, C], as its only array or under the name
              `frames`, `video` or `x`; of a data file with `train_x`, `valid_x`, `test_x` all three in a row.
        size: side in pixels to which the central square of each frame is resized; None keeps the frames.
        seq_len: frames T of a sequence: each recording is cut into as many as it holds, what is left over is
            dropped. None takes each recording as one sequence.

    Returns:
        uint8 [S, T, H, W, C]; C is 3, but for an .npz what it holds.

    Raises:
        DataError: nothing there, an unreadable file, frames or recordings of different sizes, or too few frames.
    """
    path = Path(path)
    if size is not None and size < 1:
        raise DataError(f"frame size {size} is out of range: at least 1 pixel")
    if seq_len is not None and seq_len < 1:
        raise DataError(f"sequence length {seq_len} is out of range: at least 1 frame")
    if not path.exists():
        raise DataError(f"{path} does not exist; give {KINDS}")
    sequences = [part for film in _recordings(path, size) for part in _cut(film, seq_len)]
    if not sequences:
        raise DataError(f"{path} holds no recording of at least {seq_len or 1} frames")
    shapes = {part.shape for part in sequences}
    if len(shapes) > 1:
        raise DataError(
            f"{path}: sequences of different shapes {sorted(map(list, shapes))} [T, H, W, C]; "
            "give a frame size and a sequence length"
        )
    return np.stack(sequences)


def _recordings(path: Path, size: int | None) -> Iterator[np.ndarray]:
    """Frames uint8 [T, H, W, C] of each recording under a path."""
    if path.is_file():
        if path.suffix.lower() == ".npz":
            for film in _read_npz(path):
                yield film if size is None else _resized(film, size)
        elif path.suffix.lower() in FILMS:
            yield _read_film(path, size)
        else:
            raise DataError(f"cannot read {path}: need {KINDS}")
        return
    entries = sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=_by_number)
    frames = [entry for entry in entries if entry.suffix.lower() in PICTURES]
    inner = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in FILMS]
    if frames and inner:
        raise DataError(f"{path} holds frames as well as {inner[0].name}; keep one or the other")
    if frames:
        yield _stacked(str(path), (_picture(frame, size) for frame in frames))
    for entry in inner:
        yield from _recordings(entry, size)
    if not frames and not inner:
        raise DataError(f"{path} holds no .png frames; need {KINDS}")


def _by_number(entry: Path) -> list[tuple[int, int, str]]:
    """Sort key: frame2 before frame10."""
    parts = re.split(r"(\d+)", entry.name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _cut(film: np.ndarray, seq_len: int | None) -> list[np.ndarray]:
    """A recording [T, H, W, C] in pieces of `seq_len` frames."""
    length = seq_len or len(film)
    return [film[i : i + length] for i in range(0, len(film) - length + 1, length)] if length else []


def _stacked(name: str, frames: Iterator[np.ndarray]) -> np.ndarray:
    listed = list(frames)
    shapes = {frame.shape for frame in listed}
    if len(shapes) > 1:
        raise DataError(f"{name}: frames of different sizes {sorted(map(list, shapes))}; give a frame size")
    return np.stack(listed)


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageSequence
    except ImportError:
        raise DataError("reading pictures needs Pillow: pip install pillow") from None
    return Image, ImageSequence


def _resized(film: np.ndarray, size: int) -> np.ndarray:
    """Central square of each frame [T, H, W, C], averaged (or interpolated) to size x size."""
    if film.shape[1:3] == (size, size):
        return film
    image, _ = _pillow()
    side = min(film.shape[1:3])
    top, left = ((n - side) // 2 for n in film.shape[1:3])
    square = film[:, top : top + side, left : left + side]
    method = image.BOX if side >= size else image.BILINEAR
    frames = [
        [np.asarray(image.fromarray(plane).resize((size, size), method)) for plane in np.moveaxis(frame, 2, 0)]
        for frame in np.ascontiguousarray(square)
    ]
    return np.moveaxis(np.array(frames, np.uint8), 1, 3)


def _fitted(frame: np.ndarray, size: int | None) -> np.ndarray:
    return frame if size is None else _resized(frame[None], size)[0]


@contextlib.contextmanager
def _opened(path: Path, kind: str) -> Iterator[Any]:
    """The picture in a file; what goes wrong with it, in Pillow's many ways, becomes a DataError."""
    image, _ = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", image.DecompressionBombWarning)  # 89 million pixels and more
            with image.open(path) as picture:
                yield picture
    except Exception as error:
        raise DataError(f"cannot read {path} as a {kind}: {in_short(error)}") from error


def _picture(path: Path, size: int | None) -> np.ndarray:
    with _opened(path, "picture") as picture:
        return _fitted(np.asarray(picture.convert("RGB")), size)


def _read_film(path: Path, size: int | None) -> np.ndarray:
    if path.suffix.lower() == ".gif":
        return _stacked(str(path), iter(_gif_frames(path, size)))
    with contextlib.closing(_mp4_frames(path)) as frames:
        return _stacked(str(path), (_fitted(frame, size) for frame in frames))


def _gif_frames(path: Path, size: int | None) -> list[np.ndarray]:
    _, sequence = _pillow()
    with _opened(path, "GIF") as film:
        return [_fitted(np.asarray(frame.convert("RGB")), size) for frame in sequence.Iterator(film)]


def _mp4_frames(path: Path) -> Generator[np.ndarray, None, None]:
    """RGB frames; closing this ends the decoder, which would otherwise run on after an error."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DataError(
            f"reading {path} needs imageio-ffmpeg: pip install imageio-ffmpeg (the extra [video]); "
            "or save the film as a GIF or as PNG frames"
        ) from None
    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")  # a generator: nothing runs yet
    try:
        width, height = next(reader)["size"]
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    except (OSError, RuntimeError, ValueError, StopIteration) as error:
        reason = (str(error).strip().splitlines() or ["no frames"])[0]
        raise DataError(f"cannot read {path} as an MP4: {reason}") from error
    finally:
        reader.close()


def _read_npz(path: Path) -> np.ndarray:
    """Recordings uint8 [S, T, H, W, C] in an .npz."""
    frames = read_arrays(path, [SPLIT_NAMES, *((name,) for name in NPZ_NAMES)])
    if frames.dtype != np.uint8 or frames.ndim not in (4, 5):
        raise DataError(f"{path}: {frames.dtype} {list(frames.shape)}; need uint8 [T, H, W, C] or [S, T, H, W, C]")
    return frames[None] if frames.ndim == 4 else frames
