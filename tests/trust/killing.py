"""Kills a training with SIGKILL at random times, resumes it, and compares it with one that was left alone.

    PYTHONPATH=. python tests/trust/killing.py --minutes=60      (what tests/soak.sh does)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tiny_run import ROOT, messages, write_data

PRELOAD = ["tensorflow", "matplotlib", "runners.run_physics", "physics_models.physics_net"]
TIMEOUT = 300  # seconds

# What is seen in the folder while a run does what it is to be killed at.
SIGNS = {"checkpoint": ".saving", "evaluation": ".outputs.npz.", "picture": ".animation4.gif.", "log": ".experiment"}


def train(flags: list[str], output: str) -> None:
    """`run_physics.py` with these flags, in this process; what it prints goes to the file `output`."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from runners import run_base, run_physics

    sys.argv = [str(ROOT / "runners" / "run_physics.py"), *flags]
    run_base.run(run_physics.main)


class Killer:
    """Runs trainings with `flags` in `folder`, and kills them."""

    def __init__(self, flags: list[str], folder: Path, seed: int):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.flags, self.folder, self.rng = flags, folder, random.Random(seed)
        self.output = f"{folder}.output"
        # A fresh process each time, but one that has imported TensorFlow already.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD)
        self.kills: Counter[str] = Counter()

    def start(self) -> multiprocessing.Process:
        """Start, or resume, the training."""
        process = self.context.Process(target=train, args=(self.flags, self.output))
        process.start()
        return process

    def finish(self) -> None:
        """Resume the training and let it come to its end."""
        process = self.start()
        process.join(TIMEOUT)
        process.kill()
        assert process.exitcode == 0, Path(self.output).read_text()[-2000:]

    def kill_during(self, what: str) -> bool:
        """Start, and kill at a moment of the kind `what`; False if it came to its end before."""
        process = self.start()
        begun, length = time.monotonic(), self.log_length()
        if what == "start":
            time.sleep(self.rng.uniform(0, 6))
        elif what == "step":
            while process.is_alive() and self.log_length() == length:
                time.sleep(0.005)
            time.sleep(self.rng.uniform(0, 1.5))
        else:
            while process.is_alive() and not self.seen(SIGNS[what]):
                assert time.monotonic() < begun + TIMEOUT, f"no {what} in {TIMEOUT} s"
            time.sleep(self.rng.uniform(0, 0.02))
        killed = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (-9, 0), Path(self.output).read_text()[-2000:]
        self.kills[what] += killed
        return killed

    def stop(self, number: int, lines: int) -> str:
        """Start, send signal `number` once that many lines were logged; returns what it printed."""
        process = self.start()
        begun = time.monotonic()
        while len(messages(self.folder) if self.log_length() else []) < lines:
            assert process.is_alive() and time.monotonic() < begun + TIMEOUT, Path(self.output).read_text()[-2000:]
            time.sleep(0.005)
        os.kill(process.pid, number)
        process.join(TIMEOUT)
        process.kill()
        assert process.exitcode == 128 + number, Path(self.output).read_text()[-2000:]
        return Path(self.output).read_text()

    def seen(self, sign: str) -> bool:
        """Whether a file that begins like `sign` lies in the folder."""
        try:
            return any(name.startswith(sign) for name in os.listdir(self.folder))
        except FileNotFoundError:
            return False

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
    indices = [entry.name for entry in folder.glob("model.ckpt*.index")]
    assert len(indices) == 1, f"{indices}: only the newest is to be kept"


def metrics(folder: Path) -> list[str]:
    """The rows of metrics.csv without their time."""
    return [line.partition(",")[2] for line in (folder / "metrics.csv").read_text().splitlines()]


def soak(minutes: float, seed: int, kills_a_run: int = 20) -> Counter[str]:
    """Kill and resume trainings for that long; returns how often at what."""
    end, total = time.monotonic() + 60 * minutes, Counter()
    runs = 0
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        flags = [*write_data(work), "--epochs=20", "--save_every_n_epochs=1"]
        expected = Killer([*flags, f"--save_dir={work / 'expected'}"], work / "expected", seed)
        expected.finish()
        while time.monotonic() < end:
            folder = work / f"run{runs}"
            killer = Killer([*flags, f"--save_dir={folder}", "--resume"], folder, seed + runs)
            for _ in range(kills_a_run):
                killer.kill_during(killer.rng.choice(["start", "step", "step", "checkpoint", "evaluation", "picture"]))
                if time.monotonic() > end:
                    break
            killer.finish()
            assert_equal_runs(folder, work / "expected")
            total += killer.kills
            runs += 1
            print(f"{runs} runs equal bit for bit after {sum(total.values())} kills: {dict(total)}", flush=True)
    return total


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(np.random.SeedSequence().generate_state(1)[0]))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    soak(options.minutes, options.seed)


if __name__ == "__main__":
    main()
