"""U-Nets and learned constants against the original's numbers; TF1's bilinear resize."""

from __future__ import annotations

import golden_data
import numpy as np
import pytest
import tensorflow as tf

from nn.blocks import ShallowUNet, UNet, VariableFromNetwork, layer_names, resize_bilinear_tf1
from physics_models.base import tf_variable

UNETS = {
    "shallow_unet_32": lambda: ShallowUNet(8, 2),
    "shallow_unet_36": lambda: ShallowUNet(8, 3),
    "shallow_unet_32_deconv": lambda: ShallowUNet(8, 2, upsamp=False),
    "unet_64": lambda: UNet(16, 2),
    "unet_64_deconv": lambda: UNet(16, 2, upsamp=False),
}
CONSTANTS = ("2x16x16x1", "2x16x16x3", "1x32x32x3")


def named(case: str, **layers: list) -> dict[str, tf.Variable]:
    """The variables of `layers`, which are listed by TF1's name for their kind, by their golden names."""
    names = {}
    for kind, of_this_kind in layers.items():
        names.update({f"{case}/{name}": tf_variable(v) for name, v in layer_names(kind, of_this_kind).items()})
    return names


def test_all_golden_blocks_are_compared():
    cells = {f"{kind}_ode_cell" for kind in ("bouncing", "spring", "gravity")}
    stn = {f"stn_{kind}" for kind in ("identity", "translate", "scale2", "affine")}
    constants = {f"variable_from_network_{shape}" for shape in CONSTANTS}
    assert set(golden_data.blocks_file()) == {*UNETS} | constants | cells | stn


@pytest.mark.parametrize("case", UNETS)
def test_unet_equals_the_original(case):
    golden, unet = golden_data.blocks_file()[case], UNETS[case]()
    unet.build(golden["input"].shape)
    variables = named(case, conv2d=unet.convs, conv2d_transpose=unet.deconvs)
    assert set(variables) == set(golden["var_names"])
    shapes = {name: str(list(variable.shape)) for name, variable in variables.items()}
    assert shapes == dict(zip(golden["var_names"], golden["var_shapes"]))
    golden_data.set_weights(variables)
    frames = tf.constant(golden["input"])
    in_order = [variables[name] for name in golden["var_names"]]
    with tf.GradientTape() as tape:
        tape.watch(frames)
        logits = unet(frames)
        loss = tf.reduce_sum(tf.square(logits))
    grad_input, *gradients = tape.gradient(loss, [frames, *in_order])
    golden_data.assert_close(logits, golden["output"])
    golden_data.assert_close(grad_input, golden["grad_input"])
    norms = np.array([0.0 if g is None else np.linalg.norm(g) for g in gradients])
    np.testing.assert_allclose(norms, golden["grad_norms"], rtol=1e-4)


@pytest.mark.parametrize(("kind", "sides"), [(ShallowUNet, [33, 16]), (UNet, [45, 22, 11])])
def test_poolings_leave_an_odd_last_row_and_column_out(kind, sides, monkeypatch):
    """As `tf.layers.max_pooling2d` of the original, with its padding "valid"."""
    pool, seen = tf.nn.max_pool2d, []

    def noted(x, *settings):
        seen.append((x, pool(x, *settings)))
        return seen[-1][1]

    monkeypatch.setattr(tf.nn, "max_pool2d", noted)
    unet = kind(2, 1)
    unet.build((None, sides[0], sides[0], 3))
    unet(tf.random.stateless_normal([1, sides[0], sides[0], 3], [1, 2]))
    assert [x.shape[1] for x, _ in seen] == sides
    for x, pooled in seen:
        half = x.shape[1] // 2
        blocks = x[:, : 2 * half, : 2 * half].numpy().reshape(1, half, 2, half, 2, -1)
        np.testing.assert_array_equal(pooled, blocks.max((2, 4)))


@pytest.mark.parametrize("shape", CONSTANTS)
def test_variable_from_network_equals_the_original(shape):
    case = f"variable_from_network_{shape}"
    golden = golden_data.blocks_file()[case]
    layer = VariableFromNetwork(tuple(map(int, shape.split("x"))))
    layer.build()
    variables = named(case, dense=layer.dense_layers)
    assert list(variables) == list(golden["var_names"])
    golden_data.set_weights(variables)
    golden_data.assert_close(layer(tf.ones([1, 10])), golden["output"])


def test_resize_has_no_half_pixel_centres():
    ramp = tf.reshape(tf.range(4.0), [1, 1, 4, 1])
    up = tf.squeeze(resize_bilinear_tf1(ramp, (1, 8)))
    np.testing.assert_allclose(up, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3])
    half_pixel = tf.squeeze(tf.image.resize(ramp, (1, 8)))
    np.testing.assert_allclose(half_pixel, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
