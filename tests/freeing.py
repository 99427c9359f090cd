"""Frees the memory of networks that are gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator


def registered_gradients() -> dict[str, object]:
    """TensorFlow's own table of gradients by name; an empty one where TensorFlow is not imported or keeps none."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})


@contextlib.contextmanager
def graphs_freed() -> Iterator[None]:
    """Free what was traced within, as far as nothing else holds it.

    TensorFlow registers the gradient of a `tf.custom_gradient` by name, with the graph that it was traced in, and
    never forgets it: about 30 MB for each training step, also when its network is gone.
    """
    before = set(registered_gradients())
    yield
    gradients = registered_gradients()
    traced = [name for name in gradients if name.startswith("CustomGradient-") and name not in before]
    for name in traced:
        del gradients[name]
    if traced:
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # otherwise the C library keeps what was freed
