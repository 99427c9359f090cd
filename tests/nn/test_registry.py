"""Every block of the registry: its variables, and the shapes that its docstring promises."""

from __future__ import annotations

import numpy as np
import pytest
import registry
import tensorflow as tf


def shapes(value):
    """The shapes in a nest of tensors; a structure of the project's is a tuple or a dict."""
    if isinstance(value, dict):
        return {name: shapes(part) for name, part in value.items()}
    return tuple(map(shapes, value)) if isinstance(value, (tuple, list)) else tuple(value.shape)


def random_inputs(spec):
    if not spec or isinstance(spec[0], int):
        return tf.random.stateless_uniform(spec, [1, 2])
    return tuple(map(random_inputs, spec))


def test_every_layer_class_has_an_entry():
    assert {block.layer_class for block in registry.BLOCKS} == set(registry.layer_classes())


def test_abstract_classes_are_only_derived_from():
    for name in registry.ABSTRACT:
        assert any(name in (base.__name__ for base in thing.__mro__[1:]) for thing in registry.layer_classes().values())


@pytest.mark.parametrize("block", registry.BLOCKS, ids=lambda block: block.name)
def test_variables_and_shapes(block):
    layer = block.build()
    trained = layer.trainable_variables
    assert len(trained) == block.arrays
    assert sum(int(np.prod(variable.shape)) for variable in trained) == block.numbers
    if hasattr(layer, "named_variables") or hasattr(layer, "named_weights"):
        named = (layer.named_variables if hasattr(layer, "named_variables") else layer.named_weights)()
        assert {id(variable) for variable in trained} <= {id(variable) for variable in named.values()}
        assert len(named) == block.arrays + block.fixed
    result = block.run(layer, random_inputs(block.inputs))
    assert shapes(result) == block.outputs
    for tensor in tf.nest.flatten(result):
        assert tensor.dtype == tf.float32
        assert np.isfinite(tensor).all()
    # All variables exist from the start: a checkpoint can be read before the first call.
    assert len(layer.trainable_variables) == block.arrays
