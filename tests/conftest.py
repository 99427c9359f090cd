"""Settings of the whole test run."""

import os
import sys
from pathlib import Path

# Before TensorFlow is imported: its start-up messages tell a tester nothing.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As the commands do (physics_models/__init__.py): the tests run on the kernels that training runs on.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# tf1_graph.py, TF1's side in the tests of checkpoints, serves those of the commands too.
sys.path.append(str(Path(__file__).parent / "physics_models"))
