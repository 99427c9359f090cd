"""Kills a training with SIGKILL at random times, resumes it, and compares it with one that was left alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tiny_run import ROOT, messages

PRELOAD = ["tensorflow", "matplotlib", "runners.run_physics", "physics_models.physics_net"]
TIMEOUT = 300  # seconds

# What is seen in the folder while a run does what it is to be killed at.
SIGNS = {
    "checkpoint": (".saving",),
    "evaluation": (".outputs.npz.", ".extra_outputs.npz."),
    "picture": (".animation4.gif.", ".example", ".templates.jpg."),
    "marker": (".experiment.json.",),
    "list of checkpoints": (".checkpoint.",),
    "code": (".code.zip.",),
}
# What a kill may be aimed at; "any" is a random time after the start.
MOMENTS = ("start", "any", "step", "step", "checkpoint", "evaluation", "picture")


def train(flags: list[str], output: str) -> None:
    """`run_physics.py` with these flags, in this process; what it prints goes to the file `output`."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    # A shell has what it runs in the background ignore Ctrl-C, and the run would rightly go on doing so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from runners import run_base, run_physics

    sys.argv = [str(ROOT / "runners" / "run_physics.py"), *flags]
    run_base.run(run_physics.main)


def kinds(unfinished: set[tuple[str, int]]) -> list[str]:
    """Which kinds of `SIGNS` are among those files."""
    return [kind for kind, signs in SIGNS.items() if any(name.startswith(signs) for name, _ in unfinished)]


class Killer:
    """Runs trainings with `flags` in `folder`, and kills them."""

    def __init__(self, flags: list[str], folder: Path, seed: int):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.flags, self.folder, self.rng = flags, folder, random.Random(seed)
        self.output = f"{folder}.output"
        self.timeout = TIMEOUT
        self.length = 15.0  # seconds that a training takes here, about; measured by `finish`
        # A fresh process each time, but one that has imported TensorFlow already.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.kills: Counter[str] = Counter()  # by the moment that they were aimed at
        self.hits: Counter[str] = Counter()  # by what they cut short, as the folder tells

    def start(self) -> multiprocessing.Process:
        """Start, or resume, the training."""
        process = self.context.Process(target=train, args=(self.flags, self.output))
        process.start()
        return process

    def finish(self) -> None:
        """Resume the training and let it come to its end."""
        process, begun = self.start(), time.monotonic()
        process.join(self.timeout)
        process.kill()
        assert process.exitcode == 0, Path(self.output).read_text()[-2000:]
        self.length = time.monotonic() - begun

    def kill_during(self, what: str) -> bool:
        """Start, and kill at a moment of the kind `what`; False if it came to its end before."""
        before = self.unfinished()
        process = self.start()
        begun, length = time.monotonic(), self.log_length()
        if what == "start":
            time.sleep(self.rng.uniform(0, self.length / 3))
        elif what == "any":
            time.sleep(self.rng.uniform(0, self.length))
        elif what == "step":
            while process.is_alive() and self.log_length() == length:
                time.sleep(0.005)
            time.sleep(self.rng.uniform(0, self.length / 10))
        else:
            while process.is_alive() and what not in kinds(self.unfinished() - before):
                assert time.monotonic() < begun + self.timeout, f"no {what} in {self.timeout} s"
                time.sleep(0.0005)
            time.sleep(self.rng.uniform(0, 0.02))
        killed = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (-9, 0), Path(self.output).read_text()[-2000:]
        if killed:
            self.kills[what] += 1
            left = kinds(self.unfinished() - before)
            without = "the start" if self.log_length() == length else "steps between two writes"
            self.hits[left[0] if left else without] += 1
        return killed

    def stop(self, number: int, lines: int) -> str:
        """Start, send signal `number` once that many lines were logged; returns what it printed."""
        process = self.start()
        begun = time.monotonic()
        while len(messages(self.folder) if self.log_length() else []) < lines:
            assert process.is_alive() and time.monotonic() < begun + self.timeout, Path(self.output).read_text()[-2000:]
            time.sleep(0.005)
        os.kill(process.pid, number)
        process.join(self.timeout)
        process.kill()
        assert process.exitcode == 128 + number, Path(self.output).read_text()[-2000:]
        return Path(self.output).read_text()

    def unfinished(self) -> set[tuple[str, int]]:
        """Names and times of change of what is being written in the folder, or was when a run was killed."""
        found = set()
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        found.add((entry.name, entry.stat().st_ctime_ns))
        return found

    def log_length(self) -> int:
        """Bytes in log.txt."""
        try:
            return (self.folder / "log.txt").stat().st_size
        except FileNotFoundError:
            return 0


def assert_equal_runs(folder: Path, expected: Path) -> None:
    """Assert that two runs ended with the same bits: weights, slots, log lines, outputs and pictures."""
    from physics_models import checkpoints
    from physics_models.save_dir import LEFTOVER, SCRATCH, foreign_entries

    arrays, others = checkpoints.read(folder), checkpoints.read(expected)
    assert arrays.arrays.keys() == others.arrays.keys()
    for name, array in arrays.arrays.items():
        assert array.tobytes() == others.arrays[name].tobytes(), name
    for name in ("epoch", "step", "iteration", "seed", "left_out"):
        assert arrays.progress[name] == others.progress[name], name
    assert messages(folder) == messages(expected)
    for file in ("outputs.npz", "extra_outputs.npz", "templates.jpg", "animation4.gif"):
        assert (folder / file).read_bytes() == (expected / file).read_bytes(), file
    assert metrics(folder) == metrics(expected)
    assert not foreign_entries(folder)
    left = [entry.name for entry in folder.iterdir() if LEFTOVER.fullmatch(entry.name) or entry.name == SCRATCH]
    assert not left
    assert sorted(checkpoints.listed(folder)) == sorted(entry.stem for entry in folder.glob("model.ckpt*.index"))
    assert checkpoints.listed(folder) == checkpoints.listed(expected)


def metrics(folder: Path) -> list[str]:
    """The rows of metrics.csv without their time."""
    return [line.partition(",")[2] for line in (folder / "metrics.csv").read_text().splitlines()]
