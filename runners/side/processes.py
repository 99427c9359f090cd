"""A program as a process of its own: its progress, the memory that it takes, and its end."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from physics_models.experiment import Interrupted, StopOnSignal
from runners import machine
from runners.side.numbers import log_of

POLL_S, PROGRESS_S, GRACE_S = 0.2, 15.0, 20.0

logger = logging.getLogger("tf")


def environment(pythonpath: str = "") -> dict[str, str]:
    """The environment of the original's Python: without what concerns this one and its TensorFlow."""
    own = ("PYTHON", "TF_", "KERAS_", "VIRTUAL_ENV")
    return {**{name: v for name, v in os.environ.items() if not name.startswith(own)}, "PYTHONPATH": pythonpath}


def run(
    command: list[str], folder: Path, env: dict[str, str], run: Path, output: Path, steps: int, only_steps: bool
) -> dict[str, Any]:
    """Run `command`, a training of `steps` steps in the folder `run`; all that it prints goes into the file `output`.

    Returns its exit `code`, its `peak_gb` of memory, and when it was `started`, by the clock of the logs. `only_steps`
    ends it after its last step, as code 0. Ctrl-C and SIGTERM end it, too, and raise `Interrupted`.
    """
    begun, shown, peak, done = datetime.datetime.now(datetime.timezone.utc), time.monotonic(), 0.0, False
    started = begun.astimezone().replace(tzinfo=datetime.timezone.utc).timestamp()
    with open(output, "wb") as file, StopOnSignal() as stop:
        child = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            while child.poll() is None and not done:
                time.sleep(POLL_S)
                peak = max(peak, machine.peak_gb(child.pid))
                if stop.requested:  # what it wants to save, it may
                    child.send_signal(signal.SIGINT)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(GRACE_S)
                    raise Interrupted(stop.signal)
                done = only_steps and steps - 1 in dict(log_of(run).train_curve())
                if time.monotonic() - shown > PROGRESS_S:
                    shown = time.monotonic()
                    logger.info("%s: %s", run.name, progress(run, steps))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    logger.info("%s: ended", run.name)
    return {"code": 0 if done else child.returncode, "peak_gb": peak or None, "started": started}


def progress(run: Path, steps: int) -> str:
    """How far the training in the folder `run` is, in words."""
    log = log_of(run)
    if log.evaluations("test"):
        return "trained, at the longer sequences of the test file (another graph for the original)"
    if curve := log.train_curve():
        return f"step {len(curve)} of {steps}, train_loss {curve[-1][1]:.6g}"
    return "at the first step" if log.evaluations("valid") else "building its graph"


def last_line(output: Path) -> str:
    """The last line that a program has printed into the file `output`."""
    lines = [line for line in output.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
