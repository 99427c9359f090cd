"""A user's own film of a motion: its frames as squares, and when each was taken.

A film is read once. Its frames are cut (`crop`), padded to a square and resized, so that nothing is lost at the sides;
where it lies in the video, and the time stamps, are kept, so that a report can use the video's own pixels and seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_gen.errors import DataError
from data_gen.video import RECORDINGS, VIDEOS, decoded_frames, load_video, natural_key, read_animation, resize

MOST_FRAMES = 1500  # of a film; of a longer one, every second, third, … frame is taken
FEWEST_FRAMES = 12
Box = tuple  # (x, y, width, height) in the video's own pixels


@dataclass(frozen=True)
class FilmSettings:
    """How a film is read."""

    img_size: int = 32  # H, side of the frames, pixels
    fps: float | None = None  # frames per second, in place of the file's time stamps
    speed: float = 1.0  # of slow motion: how many times slower than life the file plays
    start: float = 0.0  # seconds of the file (frames, where it has no time stamps)
    stop: float | None = None
    every: int | None = None  # take every n-th frame
    crop: Box | None = None
    mask_out: tuple[Box, ...] = ()  # painted over


class Film(NamedTuple):
    """T frames of a motion."""

    name: str
    frames: np.ndarray  # uint8 [T, H, H, 3]
    seconds: np.ndarray | None  # [T], of real time; None: unknown
    pixel: float  # side of a frame's pixel in the video's own pixels
    corner: tuple[float, float]  # (x, y) of the frames' upper left corner in the video's own pixels
    repeated: float  # share of the frames that repeated the one before, and were left out
    every: int

    def in_video(self, positions: np.ndarray) -> np.ndarray:
        """Positions [..., 2] in the video's own pixels, of those in the frames' pixels."""
        return np.asarray(positions) * self.pixel + np.asarray(self.corner)


def read_films(path: str | Path, settings: FilmSettings) -> list[Film]:
    """The film in the file or folder of frames at `path`, or the films in a folder of films.

    Raises `DataError` for what cannot be read, is too short, or does not lie in the video.
    """
    path = Path(path)
    if path.is_dir():
        entries = sorted((e for e in path.iterdir() if not e.name.startswith(".")), key=natural_key)
        films = [e for e in entries if e.is_dir() or e.suffix.lower() in RECORDINGS]
        if films and not any(e.suffix.lower() == ".png" for e in entries):
            return [_read(film, settings) for film in films]
    return [_read(path, settings)]


def _read(path: Path, settings: FilmSettings) -> Film:
    frames, seconds = _raw(path, settings)
    if seconds is not None and len(seconds) != len(frames):
        seconds = None
    if settings.fps:
        seconds = np.arange(len(frames)) / settings.fps
    clock = np.arange(len(frames), dtype=float) if seconds is None else np.asarray(seconds) - seconds[0]
    kept = np.nonzero((clock >= settings.start) & (clock <= (np.inf if settings.stop is None else settings.stop)))[0]
    moving = [i for n, i in enumerate(kept) if n == 0 or not _same(frames, kept[n - 1], i)]
    repeated = 1.0 - len(moving) / max(len(kept), 1)
    every = settings.every or -(-len(moving) // MOST_FRAMES) or 1
    kept = np.array(moving[::every], int)
    if len(kept) < FEWEST_FRAMES:
        raise DataError(
            f"{path}: {len(kept)} different frames are left; a fit needs at least {FEWEST_FRAMES}; "
            "see --start, --stop and --every"
        )
    pixel, corner = frames.place
    times = None if seconds is None else clock[kept] / settings.speed
    return Film(path.name, np.stack([frames[i] for i in kept]), times, pixel, corner, repeated, every)


class _Squares(list):
    """Square frames [H, H, 3], and `place`: their (pixel, corner) in the video."""

    place: tuple[float, tuple[float, float]] = (1.0, (0.0, 0.0))


def _raw(path: Path, settings: FilmSettings) -> tuple[_Squares, np.ndarray | None]:
    """All frames of a film as squares, and the seconds at which each is shown."""
    ending = path.suffix.lower()
    squares = _Squares()
    if ending in VIDEOS and path.is_file():
        decoder = decoded_frames(path)
        while True:
            try:
                _add(squares, next(decoder), path, settings)
            except StopIteration as end:
                return squares, np.asarray(end.value)
            except BaseException:
                decoder.close()
                raise
    if ending == ".gif" and path.is_file():
        frames, durations = read_animation(path)
        for frame in frames:
            _add(squares, frame, path, settings)
        seconds = np.cumsum([0.0, *durations[:-1]]) / 1000.0
        return squares, seconds if seconds[-1] > 0 else None
    for sequence in load_video(path):  # PNG frames or an .npz: no time stamps
        for frame in sequence:
            _add(squares, np.repeat(frame, 3 // frame.shape[-1], -1), path, settings)
    return squares, None


def _add(squares: _Squares, frame: np.ndarray, path: Path, settings: FilmSettings) -> None:
    """Cut `frame` [h, w, 3], pad it to a square with black, and resize it."""
    height, width = frame.shape[:2]
    for x, y, w, h in _inside(settings.mask_out, "mask_out", width, height, path):
        frame = np.where(_box_mask(frame.shape, x, y, w, h)[..., None], np.uint8(128), frame)
    left, top, w, h = settings.crop or (0, 0, width, height)
    if settings.crop:
        _inside([settings.crop], "crop", width, height, path)
        frame = frame[top : top + h, left : left + w]
    side = max(w, h)
    above, before = (side - h) // 2, (side - w) // 2
    square = np.pad(frame, ((above, side - h - above), (before, side - w - before), (0, 0)))
    squares.place = (side / settings.img_size, (left - before, top - above))
    squares.append(resize(square, settings.img_size))


def _inside(boxes: Iterable[Box], flag: str, width: int, height: int, path: Path) -> Iterable[Box]:
    for x, y, w, h in boxes:
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
            raise DataError(f"--{flag}={x},{y},{w},{h}: not inside {path}, which is {width} wide and {height} high")
    return boxes


def _box_mask(shape: tuple, x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    mask[y : y + h, x : x + w] = True
    return mask


def _same(frames: list, before: int, after: int) -> bool:
    return bool(np.array_equal(frames[before], frames[after]))
