"""What a measurement is made on: software and hardware; and the memory that this process takes."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf


def stack() -> dict[str, Any]:
    """TensorFlow, Python, processor, usable cores, GPUs; ready for JSON."""
    gpus = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    return {
        "tensorflow": tf.__version__, "python": platform.python_version(),
        "processor": from_proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": [details.get("device_name", "GPU") for details in gpus],
    }  # fmt: skip


def describe(stack: dict[str, Any]) -> str:
    """A `stack()` in a line."""
    gpus = ", ".join(stack["gpus"]) or "no GPU"
    versions = f"TensorFlow {stack['tensorflow']}, Python {stack['python']}"
    return f"{versions}, {stack['cores']} core{'s' * (stack['cores'] != 1)} of {stack['processor']}, {gpus}"


def peak_gb(pid: int | str = "self") -> float:
    """The most memory that a process has held so far, in GB (10⁹ bytes); of another one, 0 where /proc does not say."""
    if held := from_proc(f"{pid}/status", "VmHWM"):  # getrusage may count what the parent held before it started this
        return int(held.split()[0]) * 1024 / 1e9
    if pid != "self":
        return 0.0
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; True where /proc does not say."""
    flags = (from_proc("cpuinfo", "flags") or from_proc("cpuinfo", "Features")).split()  # x86; ARM
    return not flags or bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def from_proc(file: str, name: str) -> str:
    """The value of the first line `name: value` of a file below /proc, which Linux has; else an empty string."""
    try:
        text = Path("/proc", file).read_text(encoding="utf-8")
    except OSError:
        return ""
    line = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return line.group(1) if line else ""
