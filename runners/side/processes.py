"""A program as a process of its own: its progress, the memory that it takes, and its end."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from physics_models.experiment import StopOnSignal
from runners import machine
from runners.side.numbers import log_of

POLL_S, PROGRESS_S, GRACE_S = 0.2, 15.0, 20.0
TAIL, WIDTH = 10, 300  # lines of a program's output, and letters of one, that a message shows

logger = logging.getLogger("tf")


def environment(pythonpath: str = "") -> dict[str, str]:
    """The environment of a Python that is not this one: without what concerns this one, its pip and its TensorFlow."""
    own = ("PYTHON", "TF_", "KERAS_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "PYTHONPATH": pythonpath, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(
    command: list[str], folder: Path, env: dict[str, str], run: Path, output: Path, steps: int, only_steps: bool
) -> dict[str, Any]:
    """Run `command`, a training of `steps` steps in the folder `run`; all that it prints goes into the file `output`.

    Returns its exit `code`, its `peak_gb` of memory, when it was `started`, by the clock of the logs, and the `signal`
    (Ctrl-C, SIGTERM, SIGHUP) that ended it, or 0. `only_steps` ends it after its last step, as code 0.
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
                    child.send_signal(stop.signal)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(GRACE_S)
                    break
                done = only_steps and steps - 1 in dict(log_of(run).train_curve())
                if time.monotonic() - shown > PROGRESS_S:
                    shown = time.monotonic()
                    logger.info("%s: %s", run.name, progress(run, steps))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    logger.info("%s: ended", run.name)
    code = 0 if done else child.returncode
    return {"code": code, "peak_gb": peak or None, "started": started, "signal": stop.signal}


def progress(run: Path, steps: int) -> str:
    """How far the training in the folder `run` is, in words."""
    log = log_of(run)
    if log.evaluations("test"):
        return "trained, at the longer sequences of the test file (another graph for the original)"
    if curve := log.train_curve():
        return f"step {len(curve)} of {steps}, train_loss {curve[-1][1]:.6g}"
    return "at the first step" if log.evaluations("valid") else "building its graph"


def ending(code: int) -> str:
    """How a program ended, by its exit `code`, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{', perhaps for want of memory' if name == 'SIGKILL' else ''}"


def tail(output: Path) -> list[str]:
    """The last lines that a program has printed into the file `output`."""
    lines = [line.rstrip()[:WIDTH] for line in output.read_text("utf-8", "replace").splitlines()]
    return list(filter(None, lines))[-TAIL:]


def reason(output: Path) -> str:
    """Of the `tail` of `output` the last line that names an error, or else the last one."""
    lines = tail(output) or ["it printed nothing"]
    return ([line for line in lines if re.match(r"\s*(error:|[\w.]*(Error|Exception)\b)", line)] or lines)[-1].strip()
