"""Settings of the whole test run."""

import os
import sys
from pathlib import Path

# Before TensorFlow is imported: as physics_models sets it for the commands, whichever of the two is imported first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# tf1_graph.py, TF1's side in the tests of checkpoints, serves those of the commands too.
sys.path.append(str(Path(__file__).parent / "physics_models"))
