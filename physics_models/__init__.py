"""The model of the paper, and what keeps a run.

Reading order: `tasks` (the task table), `physics_net` (the paper's Figure 1, from left to right), `base` (training and
evaluation). Then `checkpoints`, `experiment` and `run_log`: the weights, the folder and the log of a run. The commands
`tf1_checkpoint`, `export` and `shape_tour` and the functions of `library` use them; `staged` and `discovery` are an
opt-in way of training.
"""

import os
import sys


def _import_tensorflow_quietly() -> None:
    """Import TensorFlow without what its C++ code prints meanwhile; later messages, of GPUs say, are shown."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
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
