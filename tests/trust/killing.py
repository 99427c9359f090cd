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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tiny_run import ROOT

from physics_models import checkpoints
from physics_models.experiment import LEFTOVER, SCRATCH
from physics_models.run_log import read_log

PRELOAD = ["tensorflow", "matplotlib", "runners.run_physics"]
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

    def __init__(self, flags: list[str], folder: Path, seed: int = 0):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.flags, self.folder, self.rng = [*flags, f"--save_dir={folder}"], folder, random.Random(seed)
        self.output = f"{folder}.output"
        self.timeout = TIMEOUT
        self.length = 15.0  # seconds that a training takes here, about; measured by `finish`
        # A fresh process each time, but one that has imported TensorFlow already.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.kills: Counter[str] = Counter()  # by the moment that they were aimed at
        self.hits: Counter[str] = Counter()  # by what they cut short, as the folder shows

    def start(self, *more: str) -> multiprocessing.Process:
        """Start, or resume, the training."""
        process = self.context.Process(target=train, args=([*self.flags, *more], self.output))
        process.start()
        return process

    def finish(self, *more: str) -> None:
        """Resume the training and let it come to its end."""
        process, begun = self.start(*more), time.monotonic()
        process.join(self.timeout)
        process.kill()
        assert process.exitcode == 0, self.printed()[-2000:]
        self.length = time.monotonic() - begun

    def stop(self, number: int, when: Callable[[], bool], *more: str) -> int:
        """Start, and send the signal `number` as soon as `when()` holds; returns the exit code."""
        process = self.start(*more)
        self.wait(process, when)
        os.kill(process.pid, number)
        process.join(self.timeout)
        process.kill()
        return process.exitcode

    def wait(self, process: multiprocessing.Process, when: Callable[[], bool]) -> None:
        """Return when `when()` holds; the process must not end before."""
        end = time.monotonic() + self.timeout
        while not when():
            assert process.is_alive() and time.monotonic() < end, self.printed()[-2000:]
            time.sleep(0.005)

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
        assert process.exitcode in (-9, 0), self.printed()[-2000:]
        if killed:
            self.kills[what] += 1
            left = kinds(self.unfinished() - before)
            without = "the start" if self.log_length() == length else "steps between two writes"
            self.hits[left[0] if left else without] += 1
        return killed

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

    def printed(self) -> str:
        """What the trainings have printed."""
        return Path(self.output).read_text() if Path(self.output).exists() else ""


def assert_equal_runs(folder: Path, expected: Path) -> None:
    """Assert that two runs ended with the same bits: weights, slots, losses, parameters, outputs and pictures."""
    found, wanted = checkpoints.load(folder), checkpoints.load(expected)
    assert found.arrays.keys() == wanted.arrays.keys()
    for name, array in found.arrays.items():
        assert array.tobytes() == wanted.arrays[name].tobytes(), name
    for name in ("epoch", "iteration", "seed"):
        assert found.progress[name] == wanted.progress[name], name
    logs = [read_log(path / "log.txt") for path in (folder, expected)]
    assert logs[0].train_curve() == logs[1].train_curve()
    valid = [[(e.epoch, e.losses, e.parameters) for e in log.evaluations("valid")] for log in logs]
    assert valid[0] == valid[1]
    tests = [[(e.epoch, e.losses, e.parameters) for e in log.evaluations("test")][-2:] for log in logs]
    assert tests[0] == tests[1] and len(tests[0]) == 2
    for file in ("outputs.npz", "extra_outputs.npz"):
        with np.load(folder / file) as a, np.load(expected / file) as b:
            assert a.files == b.files
            for name in a.files:
                assert a[name].tobytes() == b[name].tobytes(), name
    for file in ("templates.jpg", "animation4.gif"):
        assert (folder / file).read_bytes() == (expected / file).read_bytes(), file
    assert sorted(e.name for e in folder.iterdir()) == sorted(e.name for e in expected.iterdir())
    assert not [e.name for e in folder.iterdir() if LEFTOVER.fullmatch(e.name) or e.name == SCRATCH]
    assert checkpoints.list_checkpoints(folder) == checkpoints.list_checkpoints(expected)
