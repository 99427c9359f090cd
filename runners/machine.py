"""What a measurement is made on: software and hardware; and the memory that this process takes."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf


def stack() -> dict[str, Any]:
    """TensorFlow, Python, processor, cores, GPUs; ready for JSON."""
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return {
        "tensorflow": tf.__version__, "python": platform.python_version(), "processor": processor(),
        "cores": usable_cores(), "gpus": gpus,
    }  # fmt: skip


def describe(stack: dict[str, Any]) -> str:
    """A `stack()` in a line."""
    gpus = ", ".join(stack["gpus"]) or "no GPU"
    versions = f"TensorFlow {stack['tensorflow']}, Python {stack['python']}"
    return f"{versions}, {stack['cores']} cores of {stack['processor']}, {gpus}"


def processor() -> str:
    """Name of the processor, as far as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_gb() -> float:
    """The most memory that this process has held so far, in GB (10⁹ bytes)."""
    try:  # getrusage may count what the parent held before it started this process
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
    except (OSError, StopIteration):
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
