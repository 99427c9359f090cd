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

from physics_models.errors import ExperimentError
from physics_models.experiment import Interrupted, StopOnSignal
from physics_models.run_log import RunLog, read_log
from runners import machine

POLL_S, PROGRESS_S, GRACE_S = 0.2, 15.0, 20.0

logger = logging.getLogger("tf")


def environment(pythonpath: str | Path) -> dict[str, str]:
    """This process's environment for another Python: without what concerns this one's Python and TensorFlow."""
    own = ("PYTHON", "TF_", "KERAS_", "VIRTUAL_ENV")
    return {**{k: v for k, v in os.environ.items() if not k.startswith(own)}, "PYTHONPATH": str(pythonpath)}


def log_time() -> float:
    """Now, as `read_log` counts time: by the local clock."""
    return datetime.datetime.now().replace(tzinfo=datetime.timezone.utc).timestamp()


def run(
    title: str, command: list[str], folder: Path, pythonpath: str | Path, log: Path, output: Path, steps: int,
    only_steps: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run `command` in `folder`, all that it prints into the file `output`; progress comes from its `log`.txt.

    Returns its exit `code`, when it was `started` (as `log_time`), its `seconds` and the `peak_gb` of its memory. With
    `only_steps` it is ended after its last training step, as code 0. Ctrl-C and SIGTERM end it and raise `Interrupted`.
    """
    facts: dict[str, Any] = {"started": log_time(), "code": None, "seconds": 0.0, "peak_gb": None}
    begun = shown = time.monotonic()
    with open(output, "wb") as file, StopOnSignal() as stop:
        child = subprocess.Popen(
            command, cwd=folder, env=environment(pythonpath), stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while child.poll() is None:
                time.sleep(POLL_S)
                facts["peak_gb"] = max(filter(None, (facts["peak_gb"], peak_gb(child.pid))), default=None)
                if stop.requested:
                    end(child)
                    raise Interrupted(stop.signal)
                if only_steps and log.exists() and f"train - iter={steps - 1} " in log.read_text("utf-8", "replace"):
                    child.kill()
                    child.wait()
                    facts["code"] = 0
                if time.monotonic() - shown > PROGRESS_S:
                    shown = time.monotonic()
                    logger.info("%s: %.0f s, %s", title, shown - begun, progress(log, steps))
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    facts["seconds"] = time.monotonic() - begun
    facts["code"] = child.returncode if facts["code"] is None else facts["code"]
    logger.info("%s: ended after %.0f s", title, facts["seconds"])
    return facts


def end(child: subprocess.Popen) -> None:
    """Ask `child` to stop as Ctrl-C does; it has some seconds for what it wants to save."""
    child.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)


def peak_gb(pid: int) -> float | None:
    """The most memory that the process `pid` has held so far, in GB; None where /proc does not say."""
    with contextlib.suppress(OSError):
        if held := machine.from_proc(f"{pid}/status", "VmHWM"):
            return int(held.split()[0]) * 1024 / 1e9
    return None


def progress(log: Path, steps: int) -> str:
    """How far the program is that writes `log`, in words."""
    lines = (log_of(log) or RunLog()).commands
    if not lines:
        return "starting; the original takes one to three minutes to build its graph"
    train, tested = lines[0].train, [e for command in lines for e in command.evaluations if e.split == "test"]
    if tested:
        return "trained; testing on the longer sequences, for which the original builds another graph"
    if not train:
        return "first validation"
    return f"step {train[-1].step + 1} of {steps}, train_loss {train[-1].loss:.6g}"


def log_of(log: Path) -> RunLog | None:
    """What `log` says; None if it says nothing yet."""
    try:
        return read_log(log)
    except ExperimentError:
        return None


def last_line(output: str | Path) -> str:
    """The last line that says something in a file of a program's output."""
    lines = [line for line in Path(output).read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
