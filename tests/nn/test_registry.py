"""Every layer of the registry: its variables, the shapes that its docstring promises, and its config's way to JSON."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import registry
import tensorflow as tf

import nn
import physics_models
from nn.plain import ConvSTDecoderPlain
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task

each_block = pytest.mark.parametrize("block", registry.BLOCKS, ids=lambda block: block.name)


def shapes(value):
    """The shapes in a nest of tensors; a structure of the project's is a tuple."""
    return tuple(map(shapes, value)) if isinstance(value, tuple) else tuple(value.shape)


def random_inputs(spec):
    if isinstance(spec[0], int):
        return tf.random.stateless_uniform(spec, [1, 2])
    return tuple(map(random_inputs, spec))


@functools.cache
def built(block: registry.Block) -> tf.keras.layers.Layer:
    """The layer of an entry after `build`, before its first call."""
    layer = block.make()
    layer.build(block.inputs)
    return layer


@functools.cache
def called(block: registry.Block):
    """What the layer gives for random inputs."""
    return built(block)(random_inputs(block.inputs))


def layer_classes() -> dict[str, type]:
    return registry.layer_classes(nn, physics_models)


def test_every_layer_class_has_an_entry():
    assert {block.layer_class for block in registry.BLOCKS} | registry.ABSTRACT == set(layer_classes())


def test_a_layer_in_a_folder_of_a_package_is_found(tmp_path, monkeypatch):
    """So that it cannot be without an entry."""
    folder = tmp_path / "package_with_a_layer" / "deeper"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").write_text("")
    (folder / "module.py").write_text("import tensorflow as tf\n\nclass Deep(tf.keras.layers.Layer):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import package_with_a_layer

    try:
        assert list(registry.layer_classes(package_with_a_layer)) == ["Deep"]
    finally:
        for name in [name for name in sys.modules if name.startswith("package_with_a_layer")]:
            del sys.modules[name]


@pytest.mark.parametrize(("name", "missing"), [("ODECell", "substep"), ("BaseNet", "train_loss")])
def test_an_abstract_class_leaves_its_computation_to_every_subclass(name, missing):
    assert name in registry.ABSTRACT
    classes = layer_classes()
    subclasses = [thing for thing in classes.values() if classes[name] in thing.__mro__[1:]]
    inherited = getattr(classes[name], missing, None)
    assert subclasses and all(getattr(thing, missing) is not inherited for thing in subclasses)
    with pytest.raises((NotImplementedError, AttributeError)):
        getattr(classes[name], missing)(None, *[None] * 4)


@each_block
def test_build_makes_all_weights_before_the_first_call(block):
    """So that a checkpoint can be read then."""
    layer = built(block)
    trained = layer.trainable_variables
    assert len(trained) == block.arrays
    assert sum(int(np.prod(variable.shape)) for variable in trained) == block.numbers
    named_variables = getattr(layer, "named_variables", None) or getattr(layer, "named_weights", None)
    if named_variables:
        named = named_variables()
        assert {id(variable) for variable in trained} <= {id(variable) for variable in named.values()}
        assert len(named) == block.arrays + block.fixed
    called(block)
    assert [id(variable) for variable in layer.trainable_variables] == [id(variable) for variable in trained]


@each_block
def test_shapes(block):
    result = called(block)
    assert block.outputs is None or shapes(result) == block.outputs
    for tensor in tf.nest.flatten(result):
        assert tensor.dtype == tf.float32
        assert np.isfinite(tensor).all()


# Two of the networks are quick: the parts of the others have entries of their own.
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=block.name, marks=[pytest.mark.slow] * (
            block.layer_class == "PhysicsNet" and block.name not in ("PhysicsNet spring_color", "PhysicsNet lstm")
        ))
        for block in registry.BLOCKS
    ],
)  # fmt: skip
def test_a_config_goes_through_json_and_makes_the_same_layer(block):
    layer = built(block)
    config = json.loads(json.dumps(layer.get_config()))
    arguments = set(inspect.signature(type(layer).__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(config)
    other = type(layer).from_config(config)
    assert json.loads(json.dumps(other.get_config())) == config
    other.build(block.inputs)
    assert [tuple(v.shape) for v in other.variables] == [tuple(v.shape) for v in layer.variables]
    other.set_weights(layer.get_weights())
    for found, wanted in zip(tf.nest.flatten(other(random_inputs(block.inputs))), tf.nest.flatten(called(block))):
        np.testing.assert_array_equal(found, wanted)


def test_the_config_of_the_network_has_every_setting():
    """And not only those that are at their defaults."""
    task = get_task("3bp_color", "spring_ode_cell")
    settings = {
        "color": False, "autoencoder_loss": 3.0, "alt_vel": True, "encoder_type": "conv_encoder",
        "decoder_type": "conv_st_decoder_plain", "recurrent_units": 7, "lstm_layers": 2, "vel_encoder": "gauss_newton",
        "calibrated_coords": True, "track_objects": True, "mixed_precision": True, "separate_gradients": True,
    }  # fmt: skip
    assert {"self", "task", *settings, "kwargs"} == set(inspect.signature(PhysicsNet.__init__).parameters)
    config = json.loads(json.dumps(PhysicsNet(task, **settings).get_config()))
    other = PhysicsNet.from_config({**config, "epochs": 500})  # a flag in a marker of version 1
    assert other.task == task
    assert other.get_config() == config == {"task": asdict(task), **settings}
    assert isinstance(other.decoder, ConvSTDecoderPlain) and other.decoder.calibrated
    assert (other.channels, other.init_vel.alt_vel, other.encoder.mixed_precision) == (1, True, True)
