"""The commands."""

import os

# TensorFlow's start-up messages say nothing that a user of these commands could act on. They come from its
# C++ side as it is imported: so this stands before any import of it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
