"""Frees the memory of networks that are gone."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def graphs_freed() -> Iterator[None]:
    """Free what was traced within, as far as nothing else holds it.

    TensorFlow registers the gradient of a `tf.custom_gradient` by name, with the graph that it was traced in, and
    never forgets it: about 30 MB for each training step, also when its network is gone.
    """
    from tensorflow.python.framework.ops import gradient_registry

    gradients = getattr(gradient_registry, "_registry", {})
    before = set(gradients)
    yield
    traced = [name for name in gradients if name.startswith("CustomGradient-") and name not in before]
    if traced:
        for name in traced:
            del gradients[name]
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # otherwise the C library keeps what was freed
