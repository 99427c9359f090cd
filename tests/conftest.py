"""Settings of the whole test run."""

import os

# Before TensorFlow is imported: its start-up messages tell a tester nothing.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
