"""A user's own film, that is a video of one motion: its frames as squares, and when each was taken.

A film is read once. Its frames are cut (`crop`), padded to a square and resized, so that nothing is lost at the sides;
where it lies in the video, and the time stamps, are kept, so that a report can use the video's own pixels and seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_gen.errors import DataError
from data_gen.video import decoded_frames, entries, kind_of, load_video, read_animation, resize

MOST_FRAMES = 1500  # of a film; of a longer one, every second, third, … frame is taken
FEWEST_FRAMES = 12
FLICKER = 0.005  # standard deviation of the frames' brightness, as a share of it: below it is left as it is
DARK = 30  # grey levels; darker pixels, and ones as near to white, do not tell the exposure
FEWEST_LIT = 0.1  # share of the pixels that must tell it: fewer may be an object alone
MASKED = 0  # grey level of what is painted over: it tells no exposure, and none changes it
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
    """T frames of a motion, and when and where they were taken."""

    name: str
    frames: np.ndarray  # uint8 [T, H, H, 3]
    seconds: np.ndarray | None  # [T], of real time; None: unknown
    pixel: float  # side of a frame's pixel in the video's own pixels
    corner: tuple[float, float]  # (x, y) of the frames' upper left corner in the video's own pixels
    picture: tuple  # (left, top, right, bottom) of what is no padding, in the frames' pixels
    repeated: float  # share of the frames that repeated the one before, and were left out
    numbers: np.ndarray  # [T], of the frames in the file, from 0 on

    def part(self, frames: slice) -> Film:
        """Some of its frames, one after the other."""
        seconds = None if self.seconds is None else self.seconds[frames]
        return self._replace(frames=self.frames[frames], seconds=seconds, numbers=self.numbers[frames])

    def clock(self) -> tuple[np.ndarray, str]:
        """When each frame was taken [T], and the unit: seconds, or frames of the file where the times are unknown."""
        return (self.numbers, "frames") if self.seconds is None else (self.seconds, "s")

    def in_video(self, positions: np.ndarray) -> np.ndarray:
        """Positions [..., 2] in the video's own pixels, of those in the frames' pixels."""
        return np.asarray(positions) * self.pixel + np.asarray(self.corner)


def read_films(path: str | Path, settings: FilmSettings) -> list[Film]:
    """The film in the file or folder of frames at `path`, or the films in a folder of films.

    Raises `DataError` for what cannot be read, is too short, or does not lie in the video.
    """
    path = Path(path)
    films = []
    for film in (entries(path)[1] if path.is_dir() else []) or [path]:
        sequences = load_video(film) if film.is_dir() or kind_of(film) == "npz" else [None]
        names = [film.name] if len(sequences) == 1 else [f"{film.name}[{i}]" for i in range(len(sequences))]
        films += [_read(film, name, _frames(film, some), settings) for name, some in zip(names, sequences)]
    return films


def _read(path: Path, name: str, frames: Generator, settings: FilmSettings) -> Film:
    squares, place, seconds = [], (), None
    with contextlib.closing(frames):
        while True:
            try:
                square, place = _square(next(frames), path, settings)
            except StopIteration as end:
                seconds = end.value
                break
            squares.append(square)
    if seconds is not None and len(seconds) != len(squares):
        seconds = None
    if settings.fps:
        seconds = np.arange(len(squares)) / settings.fps
    clock = np.arange(len(squares), dtype=float) if seconds is None else np.asarray(seconds) - seconds[0]
    kept = np.nonzero((clock >= settings.start) & (clock <= (np.inf if settings.stop is None else settings.stop)))[0]
    moving = [i for n, i in enumerate(kept) if n == 0 or not np.array_equal(squares[kept[n - 1]], squares[i])]
    repeated = 1.0 - len(moving) / max(len(kept), 1)
    every = settings.every or -(-len(moving) // MOST_FRAMES) or 1
    chosen = np.array(moving[::every], int)
    if len(chosen) < FEWEST_FRAMES:
        raise DataError(
            f"{path}: {len(chosen)} different frames are left; a fit needs at least {FEWEST_FRAMES}; "
            "see --start, --stop and --every"
        )
    times = None if seconds is None else clock[chosen] / settings.speed
    return Film(name, steady(np.stack([squares[i] for i in chosen])), times, *place, repeated, chosen)


def steady(frames: np.ndarray) -> np.ndarray:
    """uint8 frames [T, H, H, 3] with the exposure of their median, where it changes by more than `FLICKER`.

    Where fewer than `FEWEST_LIT` of the pixels tell the exposure the frames are returned as they are.
    """
    usual = np.median(frames[:: -(-len(frames) // 50)], axis=0)
    lit = (usual > DARK) & (usual < 255 - DARK)
    if lit.mean() < FEWEST_LIT:
        return frames
    gains = np.array([np.median(frame[lit] / usual[lit]) for frame in frames])
    if np.std(gains) < FLICKER:
        return frames
    return np.stack([(f / gain).clip(0, 255).round().astype(np.uint8) for f, gain in zip(frames, gains)])


def _frames(path: Path, sequence: np.ndarray | None) -> Generator[np.ndarray, None, Sequence[float] | None]:
    """The frames [h, w, 3] of a film; the generator returns the seconds at which each is shown, None if unknown.

    `sequence` [T, h, w, C] are its frames where they are PNG frames or from an .npz.
    """
    if sequence is not None:
        yield from (np.repeat(frame, 3 // frame.shape[-1], -1) for frame in sequence)
        return None
    if kind_of(path) == "video":
        return (yield from decoded_frames(path))
    frames, durations = read_animation(path)
    yield from frames
    return np.cumsum([0.0, *durations[:-1]]) / 1000.0 if any(durations) else None


def _square(frame: np.ndarray, path: Path, settings: FilmSettings) -> tuple[np.ndarray, tuple]:
    """`frame` [h, w, 3] cut, padded to a square with black, and resized; and (pixel, corner, picture) of a `Film`."""
    height, width = frame.shape[:2]
    whole = (0, 0, width, height)
    for flag, boxes in (("mask_out", settings.mask_out), ("crop", [settings.crop or whole])):
        for x, y, w, h in boxes:
            if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
                raise DataError(f"--{flag}={x},{y},{w},{h}: not inside {path}, which is {width} wide and {height} high")
    if settings.mask_out:
        frame = frame.copy()
    for x, y, w, h in settings.mask_out:
        frame[y : y + h, x : x + w] = MASKED
    left, top, w, h = settings.crop or whole
    side = max(w, h)
    above, before = (side - h) // 2, (side - w) // 2
    padding = ((above, side - h - above), (before, side - w - before), (0, 0))
    square = np.pad(frame[top : top + h, left : left + w], padding)
    pixel = side / settings.img_size
    picture = tuple(x / pixel for x in (before, above, before + w, above + h))
    return resize(square, settings.img_size), (pixel, (left - before, top - above), picture)
