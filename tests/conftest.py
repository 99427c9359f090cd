"""Settings of the whole test run."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from eager import eagerly
from freeing import graphs_freed

# Before TensorFlow is imported: as physics_models sets it for the commands, whichever of the two is imported first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# tf1_graph.py, TF1's side in the tests of checkpoints, serves those of the commands too.
sys.path.append(str(Path(__file__).parent / "physics_models"))


def pytest_collection_finish() -> None:
    """What was imported stays: without this, every collection of garbage looks through all of TensorFlow again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def without_graphs():
    """Run every `tf.function` as plain Python."""
    with eagerly():
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_of_a_file():
    """Free the graphs of a file's networks at its end."""
    with graphs_freed():
        yield
