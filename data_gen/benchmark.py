"""`python -m data_gen.benchmark`: how long each task's data takes, and how much memory.

Prints one line a file: sequences per second from the start of `make_dataset` to the file on disk, and the
process's peak memory. Each file is made in a fresh process, with the recipe's settings, in a temporary folder.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.__main__ import OneLineParser
from data_gen.errors import DataError
from data_gen.recipes import DEFAULT_SIZES, RECIPES, make_dataset
from data_gen.sources import digit_background, load_digits

HEADER = f"{'task':<20}{'T':>4}{'sequences':>11}{'accepted':>10}{'seconds':>9}{'seq/s':>8}{'peak MB':>9}{'file MB':>9}"


def measure(task: str, seq_len: int, sizes: tuple[int, ...], settings: dict[str, Any]) -> dict[str, float]:
    """Make one file in this process; `make_dataset`'s statistics, and `peak_mb`, `file_mb`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.npz")
        result = make_dataset(task, path, seq_len, sizes, **settings)
        size = os.path.getsize(path)
    return {**result, "peak_mb": 1000 * peak_gb(), "file_mb": size / 1e6}


def peak_gb() -> float:
    """The most memory that this process has held so far, in GB (10⁹ bytes)."""
    try:  # what getrusage says may be inherited from the parent
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stand_in_pictures() -> dict[str, np.ndarray]:
    """A ring and a bar before a soft pattern, where MNIST and CIFAR-10 are not given."""
    y, x = np.mgrid[-13.5:14, -13.5:14]
    ring = np.exp(-(((np.hypot(x, y) - 7) / 2) ** 2))
    bar = np.exp(-((x / 2) ** 2)) * (np.abs(y) < 9)
    row, col, channel = np.ogrid[:32, :32, :3]
    pattern = 0.5 + 0.5 * np.sin(row / (3 + channel)) * np.cos(col / (4 + channel))
    return {
        "digits": (255 * np.stack([ring, bar])).astype(np.uint8),
        "background": (255 * pattern).astype(np.uint8),
    }


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = OneLineParser(prog="python -m data_gen.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=list(RECIPES), action="append", help="only this one (may be repeated)")
    parser.add_argument("--divide", type=int, default=1, help="make this many times fewer sequences than published")
    parser.add_argument("--digits", metavar="FILE", help="digits for mnist_spring_color (default: a drawn stand-in)")
    parser.add_argument("--background", metavar="FILE", help="background for it (default: a drawn stand-in)")
    pictures = stand_in_pictures()
    try:
        flags = parser.parse_args(arguments)
        if flags.divide < 1:
            raise DataError(f"--divide={flags.divide}: must be at least 1")
        if flags.digits:
            pictures["digits"] = load_digits(flags.digits)
        if flags.background:
            pictures["background"] = digit_background(flags.background)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sizes = tuple(max(size // flags.divide, 1) for size in DEFAULT_SIZES)
    print(f"{processor()}, {usable_cores()} cores usable; Python {platform.python_version()}, NumPy {np.__version__}")
    print(HEADER)
    for task in flags.task or RECIPES:
        settings = pictures if task == "mnist_spring_color" else {}
        for seq_len in (RECIPES[task].train_len, RECIPES[task].test_len):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                r = pool.submit(measure, task, seq_len, sizes, settings).result()
            print(
                f"{task:<20}{seq_len:>4}{r['accepted']:>11}{r['accepted'] / r['attempts']:>10.1%}{r['seconds']:>9.1f}"
                f"{r['accepted'] / r['seconds']:>8.0f}{r['peak_mb']:>9.0f}{r['file_mb']:>9.1f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
