"""`python -m data_gen`: make the tasks' data files; `--help` lists the flags."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from data_gen.errors import DataError
from data_gen.files import check_destinations
from data_gen.recipes import DEFAULT_SIZES, RECIPES, Recipe, make_dataset

EPILOG = """examples:
  python -m data_gen --task=spring_color                   both files of the task, as run_physics.py makes them
  python -m data_gen --all                                 the files of all five tasks
  python -m data_gen --task=spring_color --k=2 --out=soft_spring.npz
  python -m data_gen --task=mnist_spring_color --digits=digits.npz --background=picture.png

Each .npz holds train_x, valid_x, test_x (uint8 frames [sequences, T, H, H, C]), train_pos, train_vel, ... (float32
[sequences, T, objects, 2], pixels and pixels per unit of time) and meta (a JSON string). Beside it a picture of
the first ten sequences, ..._samples.jpg. The same task, settings and seed give the same file."""

PHYSICS_FLAGS = {
    "img_size": (int, "side H of the frames, in pixels"),
    "radius": (float, "radius of the balls, in pixels"),
    "dt": (float, "time between two frames, in units of time"),
    "k": (float, "spring constant, per (unit of time) squared"),
    "equil": (float, "half the spring's rest length, in pixels"),
    "g": (float, "gravity, in pixels cubed per (unit of time) squared"),
    "m": (float, "mass of each of the three bodies, no unit"),
    "vx0_max": (float, "start speed along x, in pixels per unit of time"),
    "vy0_max": (float, "start speed along y, in pixels per unit of time"),
    "ode_steps": (int, "integration steps between two frames"),
    "half_frames": (int, "spring_color_half: number of frames in which no ball leaves the left half"),
}
PICTURE_FLAGS = {
    "digits": "mnist_spring_color: .npz with two digits, uint8 [2, 28, 28] (default: tf.keras.datasets.mnist)",
    "background": "mnist_spring_color: .npz or .png with a colour picture (default: tf.keras.datasets.cifar10)",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser that raises `DataError` for a mistake, in place of argparse's usage text and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise `DataError` with `message` and where the flags are explained."""
        raise DataError(f"{message} (see {self.prog} --help)")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        train, valid, test = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as 5000,500,500") from None
    return train, valid, test


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = OneLineParser(
        prog="python -m data_gen",
        description="Make the tasks' data files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--task", choices=list(RECIPES), help="the task whose data to make")
    result.add_argument("--all", action="store_true", help="make the data of all tasks")
    result.add_argument(
        "--split_sizes",
        type=_sizes,
        default=DEFAULT_SIZES,
        metavar="TRAIN,VALID,TEST",
        help="sequences in each split (default: 5000,500,500)",
    )
    result.add_argument(
        "--seq_len",
        type=int,
        metavar="T",
        help="frames in a sequence (default: two files, of the task's training and test length)",
    )
    result.add_argument(
        "--seed",
        type=int,
        help="seed of NumPy's legacy random stream, 0 to 4294967295 (default: 1 for the training length, else 2)",
    )
    result.add_argument(
        "--out",
        metavar="PATH",
        help="one .npz to write (of the training length, unless --seq_len is given), or the folder for files under the "
        "original's names (default: data/datasets)",
    )
    result.add_argument("--overwrite", action="store_true", help="replace files that exist")
    physics = result.add_argument_group("physics, instead of the task's own (--out=FILE.npz must be given, too)")
    for name, (kind, text) in PHYSICS_FLAGS.items():
        physics.add_argument(f"--{name}", type=kind, help=text)
    pictures = result.add_argument_group("pictures")
    for name, text in PICTURE_FLAGS.items():
        pictures.add_argument(f"--{name}", metavar="FILE", help=text)
    return result


class ProgressBar:
    """A bar with an estimate of the time left, on stderr where that is a terminal."""

    def __init__(self, title: str) -> None:
        self.title, self.begin, self.drawn = title, time.perf_counter(), 0.0
        self.visible = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are finished."""
        now = time.perf_counter()
        if not self.visible or now - self.drawn < 0.1:
            return
        self.drawn = now
        share = done / total
        left = f"{(now - self.begin) * (1 - share) / share:4.0f} s left" if done else "   ? s left"
        bar = "#" * int(30 * share)
        sys.stderr.write(f"\r{self.title} [{bar:<30}] {share:4.0%} {left}")
        sys.stderr.flush()

    def close(self) -> None:
        """Wipe the bar away."""
        if self.visible:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def default_folder() -> Path:
    """`data/datasets` of the checkout, or else of the current folder; where run_physics.py looks."""
    root = Path(__file__).resolve().parent.parent
    return (root if (root / "setup.py").is_file() else Path.cwd()) / "data" / "datasets"


def file_name(recipe: Recipe, seq_len: int) -> str:
    """The original's file name with this sequence length in it."""
    if seq_len == recipe.train_len:
        return recipe.train_file
    return re.sub(r"_sl\d+_", f"_sl{seq_len}_", recipe.test_file)


def plan(flags: argparse.Namespace) -> list[tuple[str, Path, int]]:
    """(task, file, sequence length) of every file to make.

    Raises:
        DataError: flags that are missing or do not fit together.
    """
    if flags.all == (flags.task is not None):
        raise DataError(f"give either --task or --all; the tasks are {', '.join(RECIPES)}")
    changed = [name for name in PHYSICS_FLAGS if getattr(flags, name) is not None]
    out = default_folder() if flags.out is None else Path(flags.out)
    if out.suffix == ".npz":
        if flags.all:
            raise DataError(f"--out={out} is a single file: give --task instead of --all, or a folder")
        return [(flags.task, out, RECIPES[flags.task].train_len if flags.seq_len is None else flags.seq_len)]
    if changed:
        raise DataError(f"--{changed[0]} changes the physics that the default file's name states: give --out=FILE.npz")
    tasks = list(RECIPES) if flags.all else [flags.task]
    lengths = {
        task: [RECIPES[task].train_len, RECIPES[task].test_len] if flags.seq_len is None else [flags.seq_len]
        for task in tasks
    }
    return [(task, out / file_name(RECIPES[task], n), n) for task in tasks for n in lengths[task]]


def make(flags: argparse.Namespace, task: str, file: Path, seq_len: int) -> None:
    """Make one file and say on stdout what it is."""
    check_destinations(str(file), flags.overwrite)
    settings = {name: getattr(flags, name) for name in PHYSICS_FLAGS if getattr(flags, name) is not None}
    if task == "mnist_spring_color":
        settings.update({name: getattr(flags, name) for name in PICTURE_FLAGS if getattr(flags, name) is not None})
    bar = ProgressBar(f"{task}, T = {seq_len}")
    try:
        done = make_dataset(
            task, str(file), seq_len, flags.split_sizes, flags.seed, flags.overwrite, bar, **settings
        )
    finally:
        bar.close()
    seed = RECIPES[task].default_seed(seq_len) if flags.seed is None else flags.seed
    print(
        f"{file}: {done['accepted']} sequences of {seq_len} frames, seed {seed}; {done['seconds']:.1f} s; "
        f"accepted {done['accepted'] / done['attempts']:.1%} of {done['attempts']} attempts",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 1 if a file could not be made."""
    failed = False
    # SIGTERM leaves through the `finally` that removes the file in work.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        flags = parser().parse_args(arguments)
        if not flags.all and flags.task != "mnist_spring_color" and (flags.digits or flags.background):
            raise DataError("--digits and --background belong to --task=mnist_spring_color")
        for task, file, seq_len in plan(flags):
            try:
                make(flags, task, file, seq_len)
            except DataError as error:  # with several files to make, the others may still work
                print(f"error: {error}", file=sys.stderr)
                failed = True
            except MemoryError:
                print(f"error: {file}: not enough memory; make fewer or shorter sequences", file=sys.stderr)
                failed = True
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the file in work was not written", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
