"""Recordings of the user's own as sequences of frames: .npz, folders of PNG frames, GIF, and what ffmpeg reads.

What a file is its content tells, not its name. Frames are what a viewer shows: upright, with square pixels, transparent
parts white; each frame of a video comes once. Pillow reads PNG and GIF. Videos need imageio-ffmpeg (the extra
`[video]`), one package that brings its own decoder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from data_gen.errors import DataError, one_line
from data_gen.files import is_npz, read_array

VIDEOS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg")  # what ffmpeg reads
RECORDINGS = (".gif", ".npz", *VIDEOS)
FORMATS = (
    "an .npz, a .gif, a video (.mp4, .mov, .webm, .mkv, .avi, .m4v), a folder of .png frames, "
    "or a folder with one of these for each recording"
)
UNEVEN = 1.5  # times the median, the longest time between two frames of a video
CENTISECOND = 10.0  # ms: GIF rounds durations to it

logger = logging.getLogger("tf")


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
        pictures, inner = entries(path)
        if pictures:
            yield _stack(path, map(_single_frame, pictures), size)
        for entry in inner:
            yield from _recordings(entry, size)
        return
    kind = kind_of(path)
    if kind == "npz":
        frames = read_array(path, ("frames", "video", "x"))
        if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-1] not in (1, 3):
            need = "uint8, 0 to 255, [T, H, W, C] or [sequences, T, H, W, C] with C = 1 or 3 channels on the last axis"
            raise DataError(f"{path}: {frames.dtype} {list(frames.shape)}; need {need}")
        for recording in frames if frames.ndim == 5 else frames[None]:
            yield _stack(path, recording, size)
    elif kind == "animation":
        yield _stack(path, _animation_frames(path), size)
    else:
        with contextlib.closing(_warned_if_uneven(path, decoded_frames(path))) as frames:
            yield _stack(path, frames, size)


def _warned_if_uneven(path: Path, decoded: Generator[np.ndarray, None, list[float]]) -> Iterator[np.ndarray]:
    """The frames; a warning where the times between them differ, for sequences have none."""
    gaps = np.diff((yield from decoded))
    if len(gaps) and (gaps.max() > UNEVEN * np.median(gaps) or gaps.min() * UNEVEN < np.median(gaps)):
        logger.warning(
            "%s: its frames are %.3g to %.3g s apart, but are taken as equally far apart in time",
            path, gaps.min(), gaps.max(),
        )  # fmt: skip


def kind_of(path: Path) -> str:
    """What the file at `path` holds, by its first bytes, or else by its name: "npz", "animation" or "video"."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError as error:
        raise DataError(f"cannot read {path} ({one_line(error)}): need {FORMATS}") from error
    ending = path.suffix.lower()
    if is_npz(path) or ending == ".npz":
        return "npz"
    if start.startswith((b"GIF8", b"\x89PNG")) or ending == ".gif":
        return "animation"
    # MP4 and MOV, Matroska and WebM, AVI
    video = start[4:8] == b"ftyp" or start.startswith(b"\x1aE\xdf\xa3") or start[:4] + start[8:] == b"RIFFAVI "
    if video or ending in VIDEOS:
        return "video"
    raise DataError(f"cannot read {path}: need {FORMATS}")


def entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """The frames of `folder`, or the recordings in it, in order. Nothing that may belong to them is left out."""
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=natural_key)
    pictures = [entry for entry in entries if entry.suffix.lower() == ".png"]
    inner = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() in RECORDINGS]
    if bool(pictures) == bool(inner):
        found = f"frames as well as {inner[0].name}" if inner else "no .png frames"
        raise DataError(f"{folder}: holds {found}; need {FORMATS}")
    others = [entry.name for entry in entries if entry not in (*pictures, *inner)]
    media = {*VIDEOS, *Image.registered_extensions()}
    for name in others:
        if os.path.splitext(name)[1].lower() in media:
            kind = ".png frames" if pictures else "recordings"
            raise DataError(f"{folder}: holds {name} beside its {kind}; move away what does not belong to them")
    if others:
        logger.warning("%s: left out: %s", folder, ", ".join(others))
    return pictures, inner


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key: frame2 before frame10. Only 0 to 9 count as digits."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]


def _stack(path: str | os.PathLike, arrays: Iterable[np.ndarray], size: int | None = None) -> np.ndarray:
    """Frames, resized one by one, as a recording [T, H, W, C]; or recordings as sequences."""
    arrays = [array if size is None else resize(array, size) for array in arrays]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1 and len(shapes[0]) == 3:
        sizes = ", ".join(f"{width}×{height}" for height, width, _ in shapes)
        raise DataError(f"{path}: frames of different sizes ({sizes}); give frames of one size")
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
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise DataError(f"cannot read {path} as a picture: {one_line(error)}") from error


def shown(picture: Image.Image) -> np.ndarray:
    """A picture of any of Pillow's kinds as a viewer shows it, uint8 [H, W, 3]; transparent parts are white."""
    file_format, picture = picture.format, ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and file_format == "PNG"):
        deep = np.asarray(picture).astype(np.int64)  # 16 bits, which Pillow would cut off at 255
        grey = np.where(deep == picture.info.get("transparency", -1), 255, deep // 257)
        picture = Image.fromarray(grey.astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ValueError("its numbers have no greatest value; save it with 8 or 16 bits")
    elif "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _single_frame(path: Path) -> np.ndarray:
    with open_picture(path) as picture:
        if getattr(picture, "is_animated", False):
            raise DataError(f"{path}: an animation among single frames; give it alone")
        return shown(picture)


def read_animation(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """The frames [H, W, 3] of a GIF or an animated PNG, and how long each is shown, milliseconds."""
    with open_picture(path) as picture:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(picture):
            durations.append(float(frame.info.get("duration", 0)))
            frames.append(shown(frame))
        is_gif, count = picture.format == "GIF", getattr(picture, "n_frames", 1)
    if not (_is_whole_gif(path.read_bytes()) if is_gif else len(frames) == count):
        raise DataError(f"{path}: ends in the middle, after {len(frames)} frames; record or copy it again")
    return frames, durations


def _animation_frames(path: Path) -> list[np.ndarray]:
    """The frames of a GIF or an animated PNG, each once for every step of time that it is shown."""
    frames, durations = read_animation(path)
    return [frame for frame, n in zip(frames, _repeats(path, durations)) for _ in range(n)]


def _is_whole_gif(data: bytes) -> bool:
    """Whether the blocks of a GIF follow each other up to its trailer. Pillow stops without a word where one is cut."""

    def table(flags: int) -> int:  # bytes of a colour table
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    try:
        at = 13 + table(data[10])
        while data[at] != 0x3B:
            at += 2 if data[at] == 0x21 else 11 + table(data[at + 9])  # an extension, or a frame
            while data[at]:  # sub-blocks
                at += 1 + data[at]
            at += 1
    except IndexError:
        return False
    return True


def _repeats(path: Path, durations: list[float]) -> list[int]:
    """How many steps of time each frame is shown: encoders join equal frames into one that is shown for longer."""
    shortest = min(durations)
    step = statistics.mean(d for d in durations if d <= shortest + CENTISECOND)
    repeats = [max(1, round(d / step)) if step else 1 for d in durations]
    for i, (duration, n) in enumerate(zip(durations, repeats)):
        if abs(duration - n * step) >= max(CENTISECOND, 0.02 * duration):
            unequal = f"frame {i} is shown for {duration:g} ms, others for {shortest:g} ms"
            raise DataError(f"{path}: {unequal}, which is no multiple; save it with equal times between frames")
    return repeats


def decoded_frames(path: Path) -> Generator[np.ndarray, None, list[float]]:
    """The RGB frames [H, W, 3] of a video file, each once; the generator returns the seconds at which each is shown.

    Closing the generator ends the decoder.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DataError(f"reading {path} needs imageio-ffmpeg: pip install imageio-ffmpeg, or save a GIF") from None
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:  # a package without its binary, and no ffmpeg beside it
        raise DataError(f"reading {path} needs ffmpeg ({one_line(error)}); or save a GIF") from error
    # file: since a colon would end a protocol's name; scale to square pixels; a PPM says its size.
    command = [*"-nostdin -hide_banner -v level+info -xerror".split(), *"-protocol_whitelist file,pipe -i".split()]
    command += [f"file:{path}", *"-map 0:V:0 -fps_mode passthrough -vf".split()]
    command += [*"scale=round(iw*sar):ih,showinfo=checksum=0 -pix_fmt rgb24 -f image2pipe -c:v ppm -".split()]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        decoder = stack.enter_context(subprocess.Popen([ffmpeg, *command], stdout=subprocess.PIPE, stderr=log))
        try:
            while decoder.stdout.readline():  # P6
                width, height = map(int, decoder.stdout.readline().split())
                decoder.stdout.readline()  # 255
                data = decoder.stdout.read(3 * width * height)
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
            code = decoder.wait()
        except ValueError:  # it ended within a frame
            code = decoder.wait() or 1
        finally:
            decoder.kill()  # if no more frames are wanted
        log.seek(0)
        lines = log.read().decode("utf-8", "replace").splitlines()
    errors = [line.split("] ")[-1].strip() for line in lines if "[error]" in line or "[fatal]" in line]
    if code:
        why = errors[0] if errors else f"ffmpeg ended with {code}"
        raise DataError(f"{path}: does not decode from end to end ({why}); record or copy it again")
    return [float(found[1]) for found in map(re.compile(r"pts_time:(-?[\d.]+)").search, lines) if found]
