"""The model of the paper, and what keeps a run.

Reading order: `tasks` (the task table), `physics_net` (the paper's Figure 1, from left to right), `base` (training and
evaluation). Then `checkpoints`, `experiment` and `run_log`: the weights, the folder and the log of a run. The commands
`tf1_checkpoint`, `export` and `shape_tour` and the functions of `library` use them; `staged` and `discovery` are an
opt-in way of training.
"""

import os
import sys

# On Linux and on WSL: where there is an NVIDIA driver, TensorFlow's messages about GPUs are worth reading.
HAS_NVIDIA_DRIVER = any(map(os.path.exists, ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/dxg")))


def _import_tensorflow_quietly() -> None:
    """Import TensorFlow without what its C++ code prints meanwhile, and with its oneDNN operations.

    TensorFlow turns these on by itself only on CPUs with AVX512-VNNI; on one with AVX2 a training step of spring_color
    takes a third of the time with them (docs/speed.md).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if HAS_NVIDIA_DRIVER else "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


if "tensorflow" not in sys.modules:
    _import_tensorflow_quietly()
