"""Damages files in thousands of ways and has them read: the reader must answer with a result or with one error.

    PYTHONPATH=. python tests/trust/fuzzing.py --count=5000     (of each kind)

A damaged file has its kind and a number, from which it can be made again: --kind=data --first=1234 --count=1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_gen.errors import DataError
from physics_models.errors import ExperimentError

SLOW = 20.0  # seconds of work on a file that count as hanging
HANGS = 120  # seconds after which it is interrupted
MEMORY_GB = 2.0  # of the whole process
LONG = 2000  # characters that no error line has


class Hang(BaseException):
    """Raised by the alarm."""


class Kind(NamedTuple):
    """A reader and the files that it reads."""

    write: Callable[[Path], None]  # writes whole files into a folder
    damage: Callable[[random.Random, Path], None]  # damages some of them
    read: Callable[[Path], object]


def peak_gb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


# How bytes are damaged


def mutate(rng: random.Random, data: bytes) -> bytes:
    """`data` with one to three random changes."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(CHANGES)(rng, bytearray(data)) if data else data
    return bytes(data)


def span(rng: random.Random, data: bytearray) -> slice:
    """A random part of `data`, mostly a small one."""
    length = min(len(data), rng.choice((1, 1, 2, 4, 8, 64, 1000)))
    start = rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 200)), max(0, len(data) - 200)))
    return slice(start, start + length)


def flip(rng: random.Random, data: bytearray) -> bytearray:
    """Flip up to eight bits."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def overwrite(rng: random.Random, data: bytearray) -> bytearray:
    """Put noise, zeros or ones in the place of a part; the length stays."""
    part = span(rng, data)
    length = len(data[part])
    data[part] = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    return data


def cut(rng: random.Random, data: bytearray) -> bytearray:
    """Lose the end, or a part."""
    del data[rng.choice((slice(rng.randrange(len(data)), None), span(rng, data)))]
    return data


def repeat(rng: random.Random, data: bytearray) -> bytearray:
    """A part once more, somewhere."""
    at = rng.randrange(len(data))
    data[at:at] = data[span(rng, data)] * rng.choice((1, 1, 2, 100))
    return data


def other_number(rng: random.Random, data: bytearray) -> bytearray:
    """Another number in the place of one in the text."""
    numbers = list(re.finditer(rb"\d+", data[:100_000]))
    if numbers:
        found = rng.choice(numbers)
        others = (b"0", b"-1", b"99999999999", b"1e999", b"\xd9\xa1", b"9" * 5000)
        data[found.start() : found.end()] = rng.choice(others)
    return data


def other_length(rng: random.Random, data: bytearray) -> bytearray:
    """A huge or negative number in the place of four or eight bytes."""
    size, at = rng.choice((4, 8)), rng.randrange(len(data))
    number = rng.choice((2**31 - 1, 2**31, 2**30, 1, 0, 2**32 - 1))
    data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
    return data


CHANGES = (flip, flip, overwrite, overwrite, cut, repeat, other_number, other_length)


def damage_any(rng: random.Random, folder: Path) -> None:
    """Damage a file of `folder`, its bytes as they come."""
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    file.write_bytes(mutate(rng, file.read_bytes()))


# Data files


def write_data_file(folder: Path) -> None:
    """A small data file, its arrays compressed."""
    frames = np.random.RandomState(0).randint(0, 256, [3, 4, 6, 6, 3]).astype(np.uint8)
    np.savez_compressed(folder / "data.npz", train_x=frames, valid_x=frames, test_x=frames)


def damage_data_file(rng: random.Random, folder: Path) -> None:
    """Damage its bytes, or an array's within a zip file that is whole."""
    file = folder / "data.npz"
    if rng.random() < 0.4:
        damage_any(rng, folder)
        return
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    head, body = members[name][:128], members[name][128:]
    if rng.random() < 0.8:
        other_shape = head.replace(b"(3, 4, 6, 6, 3)", rng.choice(SHAPES))
        other_type = head.replace(b"|u1", rng.choice(TYPES))
        head = rng.choice((mutate(rng, head), other_shape, other_type))
    else:
        body = mutate(rng, body)
    members[name] = head + body
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


SHAPES = (
    b"(3, 4, 6, 6, 9999999)", b"(999999999999, 4)", b"(3, 4, 6, 6, -3)", b"(0, 4, 6, 6, 3)", b"()", b"(3,)" * 9,
    b"(True, 1)", b"(2147483648, 2147483648, 4)", b"(3, 4, 6, 6, 3.0)", b"(1296,)",
    b"(9223372036854775807,)", b"(1000000000,)",
)  # fmt: skip
TYPES = (b"|O", b"<f8", b"|V0", b"|S0", b"<U9999999", b">i2", b"<M8[s]", b"|b1", b"<c16", b"[('a', 'O')]", b"(3,)u1")


def read_data_file(folder: Path) -> object:
    """As a data file, and as a video."""
    from data_gen.iterators import get_iterators
    from data_gen.video import load_video

    with contextlib.suppress(DataError):
        load_video(folder / "data.npz", size=6, seq_len=2)
    return get_iterators(folder / "data.npz")


# Logs


def write_log(folder: Path) -> None:
    """A log of the original's, beside the marker of one of ours."""
    source = Path(__file__).resolve().parents[1] / "golden" / "tf1_log.txt"
    (folder / "log.txt").write_bytes(source.read_bytes()[:6_000])


def read_log_file(folder: Path) -> object:
    """The log, and the network that it describes."""
    from physics_models.library import config_of_log
    from physics_models.run_log import read_log

    with contextlib.suppress(ExperimentError):
        config_of_log(folder / "log.txt", original=False)
    return read_log(folder / "log.txt")


# Checkpoints


ARRAYS = {f"net/encoder/conv2d_{i}/kernel": np.full([3, 3, 2, i + 1], 0.1 * i, np.float32) for i in range(6)}


def write_tf1_checkpoint(folder: Path) -> None:
    """A small checkpoint in TF1's format."""
    from physics_models.tf1_checkpoint import write_tf1

    write_tf1(ARRAYS, folder)


def write_our_checkpoint(folder: Path) -> None:
    """A small checkpoint of ours, beside a marker."""
    from physics_models import experiment
    from physics_models.tf1_checkpoint import write_ours

    write_ours(ARRAYS, folder)
    experiment.write_marker(folder, {"color": True, "base_lr": 1e-3}, {})


def read_checkpoint(folder: Path) -> object:
    """The checkpoint as training, evaluation and --resume read it."""
    from physics_models import checkpoints

    with contextlib.suppress(ExperimentError):
        checkpoints.find_interrupted_run(folder, {"base_lr": 1e-3}, ())
    return checkpoints.load(folder)


# Pictures


def write_pictures(folder: Path) -> None:
    """A video of PNG frames, and the same as a GIF."""
    from PIL import Image

    frames = np.random.RandomState(0).randint(0, 256, [6, 12, 12, 3]).astype(np.uint8)
    frames[:, :, :6] = 40
    images = [Image.fromarray(frame) for frame in frames]
    (folder / "video").mkdir()
    for i, image in enumerate(images):
        (image.quantize() if i == 3 else image).save(folder / "video" / f"frame{i}.png")
    images[0].save(folder / "video.gif", save_all=True, append_images=images[1:])


def read_pictures(folder: Path) -> object:
    """The GIF and the folder of frames, as videos to train on."""
    from data_gen.iterators import get_iterators

    with contextlib.suppress(DataError):
        get_iterators(folder / "video.gif", img_size=8, seq_len=2)
    return get_iterators(folder / "video", img_size=8, seq_len=2)


KINDS = {
    "data": Kind(write_data_file, damage_data_file, read_data_file),
    "log": Kind(write_log, damage_any, read_log_file),
    "tf1": Kind(write_tf1_checkpoint, damage_any, read_checkpoint),
    "ours": Kind(write_our_checkpoint, damage_any, read_checkpoint),
    "pictures": Kind(write_pictures, damage_any, read_pictures),
}


def fuzz(name: str, first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Read `count` damaged files from number `first` on; how they were answered, and what went wrong."""
    kind, answers, wrong = KINDS[name], Counter(), []
    with tempfile.TemporaryDirectory() as work:
        whole, folder = Path(work) / "whole", Path(work) / "damaged"
        whole.mkdir()
        kind.write(whole)
        kind.read(whole)
        for number in range(first, first + count):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
            kind.damage(random.Random(f"{name} {number}"), folder)
            print(f"{name} {number}", file=sys.stderr, flush=True)  # the last line before a crash
            answer, trouble = read_one(kind, folder)
            answers[answer] += 1
            if trouble:
                wrong.append(f"{name} {number}: {trouble}")
    return answers, wrong


def read_one(kind: Kind, folder: Path) -> tuple[str, str]:
    """How one file was answered, "result" or "error", and what was wrong with that."""
    begun, printed = time.process_time(), io.StringIO()
    signal.alarm(HANGS)
    answer, trouble = "result", ""
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", UserWarning)
            kind.read(folder)
    except (DataError, ExperimentError) as error:
        answer = "error"
        if len(str(error)) > LONG or not str(error):
            trouble = f"an error of {len(str(error))} characters"
    except Hang:
        answer = trouble = "hangs"
    except BaseException:
        answer, trouble = "traceback", traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    spent = time.process_time() - begun
    if spent > SLOW:
        trouble = trouble or f"{spent:.0f} s"
    if warned:
        trouble = trouble or f"a warning: {warned[0].message}"
    if peak_gb() > MEMORY_GB:
        raise SystemExit(f"{peak_gb():.1f} GB of memory")
    return answer, trouble


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=list(KINDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Hang()))
    logging.getLogger("tf").addHandler(logging.NullHandler())
    logging.getLogger("tf").propagate = False
    failed = False
    for name in options.kind:
        begun = time.monotonic()
        answers, wrong = fuzz(name, options.first, options.count)
        counts = ", ".join(f"{n} {answer}s" for answer, n in sorted(answers.items()))
        seconds = time.monotonic() - begun
        print(f"{name}: {options.count} damaged files: {counts}; {seconds:.0f} s, {1000 * peak_gb():.0f} MB")
        print("\n".join(wrong[:20]), flush=True)
        failed = failed or bool(wrong)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
