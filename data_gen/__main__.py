"""`python -m data_gen`: make the tasks' data files; `--help` lists the flags."""

from __future__ import annotations

import argparse
import signal
import sys
from os.path import expanduser
from pathlib import Path
from typing import NoReturn

from data_gen.errors import DataError, say
from data_gen.recipes import EVERY_RECIPE, RECIPES, default_folder, make_dataset

EPILOG = """examples:
  python -m data_gen --task=spring_color                   both files of the task, as run_physics.py makes them
  python -m data_gen --all                                 the files of the original's five tasks
  python -m data_gen --task=spring_color --k=2 --out=soft_spring.npz
  python -m data_gen --task=mnist_spring_color --digits=digits.npz --background=picture.png

Each .npz holds train_x, ... (uint8 frames [sequences, T, H, H, C]), train_pos, train_vel, ... (float32 [sequences, T,
objects, 2]) and meta (JSON); ..._samples.jpg shows ten sequences. Equal task, settings and seed give equal files."""

PHYSICS_FLAGS = {
    "img_size": (int, "side H of the frames, in pixels"),
    "radius": (float, "radius of the balls, in pixels"),
    "dt": (float, "time between two frames, in units of time"),
    "k": (float, "spring constant, per (unit of time) squared"),
    "equil": (float, "half the spring's rest length, in pixels"),
    "g": (float, "gravity, in pixels cubed per (unit of time) squared; of a pendulum in m/s²"),
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
        """Raise `DataError` with `message`."""
        raise DataError(f"{message} (see {self.prog} --help)")


def split_sizes(text: str) -> tuple[int, ...]:
    """The numbers in `text`, such as 5000,500,500."""
    return tuple(int(part) for part in text.split(","))


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    layout, about = argparse.RawDescriptionHelpFormatter, "Make the tasks' data files."
    result = OneLineParser("python -m data_gen", None, about, EPILOG, formatter_class=layout, allow_abbrev=False)
    add = result.add_argument
    add("--task", choices=list(EVERY_RECIPE), help="the task whose data to make")
    add("--all", action="store_true", help="make the data of the original's five tasks")
    text = "sequences in train, valid and test split (default: 5000,500,500; pendulum, test length: 10,10,500)"
    add("--split_sizes", type=split_sizes, metavar="N,N,N", help=text)
    text = "frames in a sequence (default: two files, of the task's training and test length)"
    add("--seq_len", type=int, metavar="T", help=text)
    add("--seed", type=int, help="0 to 4294967295 (default: 1 for the training length, 2 for any other)")
    text = "one .npz to write (by default of the training length), or the folder for files under the original's names"
    add("--out", type=expanduser, metavar="PATH", help=f"{text} (default: data/datasets)")
    add("--overwrite", action="store_true", help="replace files that exist")
    physics = result.add_argument_group("physics, instead of the task's own (--out=FILE.npz must be given, too)")
    for name, (kind, text) in PHYSICS_FLAGS.items():
        physics.add_argument(f"--{name}", type=kind, help=text)
    pictures = result.add_argument_group("pictures")
    for name, text in PICTURE_FLAGS.items():
        pictures.add_argument(f"--{name}", type=expanduser, metavar="FILE", help=text)
    return result


def plan(flags: argparse.Namespace) -> list[tuple[str, Path, int]]:
    """(task, file, sequence length) of every file to make; `DataError` for flags that do not fit together."""
    if flags.all == (flags.task is not None):
        raise DataError(f"give either --task or --all; the tasks are {', '.join(EVERY_RECIPE)}")
    if flags.task not in (None, "mnist_spring_color") and (flags.digits or flags.background):
        raise DataError("--digits and --background belong to --task=mnist_spring_color")
    changed = [name for name in PHYSICS_FLAGS if getattr(flags, name) is not None]
    out = default_folder() if flags.out is None else Path(flags.out)
    if out.suffix.lower() == ".npz":
        if flags.all:
            raise DataError(f"--out={out} is a single file: give --task instead of --all, or a folder")
        return [(flags.task, out, EVERY_RECIPE[flags.task].train_len if flags.seq_len is None else flags.seq_len)]
    if changed:
        raise DataError(f"--{changed[0]} changes the physics that the default file's name states: give --out=FILE.npz")
    files = []
    for task, recipe in EVERY_RECIPE.items():
        if task == flags.task or (flags.all and task in RECIPES):
            lengths = (recipe.train_len, recipe.test_len) if flags.seq_len is None else (flags.seq_len,)
            files += [(task, out / recipe.file.format(length), length) for length in lengths]
    return files


def make(flags: argparse.Namespace, task: str, file: Path, seq_len: int) -> bool:
    """Make one file and report it on stdout; False if that failed, with the reason on stderr."""
    names = [*PHYSICS_FLAGS, *(PICTURE_FLAGS if task == "mnist_spring_color" else ())]
    settings = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    seed = EVERY_RECIPE[task].default_seed(seq_len) if flags.seed is None else flags.seed
    output = flags.split_sizes, seed, flags.overwrite
    try:
        done = make_dataset(task, str(file), seq_len, *output, **settings)
    except DataError as error:
        say(f"error: {error}", sys.stderr)
        return False
    made = f"{file}: {done['accepted']} sequences of {seq_len} frames, seed {seed}; {done['seconds']:.1f} s"
    say(f"{made}; accepted {done['accepted'] / done['attempts']:.1%} of {done['attempts']} attempts", sys.stdout)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 1 if a file could not be made."""
    # SIGTERM leaves through the `finally` that removes the file in work.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        flags = parser().parse_args(arguments)
        return 0 if all([make(flags, *file) for file in plan(flags)]) else 1  # a list: the others are made in any case
    except DataError as error:
        say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped; the file in work was not written", sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
        say("", sys.stdout, end="")  # after --help


if __name__ == "__main__":
    sys.exit(main())
