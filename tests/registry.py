"""One entry a Keras layer or model: how to make it, what goes in, what comes out, how many variables it has.

`tests/nn/test_registry.py` runs over it, and fails for a class in `nn/` or `physics_models/` that is not here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import tensorflow as tf

from nn.blocks import ShallowUNet, UNet, VariableFromNetwork
from nn.cells import (
    ActuatedPendulumCell,
    BouncingODECell,
    GravityODECell,
    InteractionNetworkCell,
    LSTMCell,
    SpringODECell,
)
from nn.decoders import BlackBoxDecoder, ConvSTDecoder, RotatingDecoder
from nn.encoders import AngleEncoder, ConvEncoder, VelocityEncoder
from nn.plain import ConvSTDecoderPlain
from nn.systems import AnchoredSpringCell, BouncingCell, FallCell, GravityCell, PendulumCell, SpringCell
from physics_models.pendulum_net import PendulumNet
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import get_task
from physics_models.video_lstm import VideoLSTM

ABSTRACT = {"ODECell", "SystemCell", "BaseNet"}  # what others derive from, of no use alone
Shapes = Any  # a shape, or a tuple of shapes


@dataclass(frozen=True)
class Block:
    """A layer as `make` makes it; `inputs` and `outputs` are the shapes that its docstring promises.

    The shapes of a `PhysicsNet` are in test_documented_shapes.py.
    """

    name: str
    make: Callable[[], tf.keras.layers.Layer]
    inputs: Shapes
    outputs: Shapes | None
    arrays: int  # trained variables
    numbers: int  # in all of them
    fixed: int = 0  # variables of the original that are not trained

    @property
    def layer_class(self) -> str:
        """The class that this entry is about: the first word of its name."""
        return self.name.split()[0]


def network(name: str, task: str, arrays: int, numbers: int, fixed: int = 1, **settings: Any) -> Block:
    """The entry of a `PhysicsNet`."""
    row = get_task(task, settings.pop("cell_type", ""))
    length, channels = row.input_steps + row.pred_steps + 1, 3 if settings.get("color", True) else 1
    frames = (1, length, row.img_size, row.img_size, channels)
    return Block(f"PhysicsNet {name}", lambda: PhysicsNet(row, **settings), frames, None, arrays, numbers, fixed)


BLOCKS = (
    Block("ShallowUNet", lambda: ShallowUNet(8, 2), (2, 32, 32, 3), (2, 32, 32, 2), 26, 34410),
    Block("ShallowUNet H=36 N=3", lambda: ShallowUNet(8, 3), (2, 36, 36, 3), (2, 36, 36, 3), 26, 34419),
    Block(
        "ShallowUNet upsamp=False",
        lambda: ShallowUNet(8, 2, upsamp=False), (2, 32, 32, 3), (2, 32, 32, 2), 26, 32674,
    ),
    Block("UNet", lambda: UNet(16, 2), (2, 64, 64, 3), (2, 64, 64, 2), 36, 487410),
    Block("UNet upsamp=False", lambda: UNet(16, 2, upsamp=False), (2, 64, 64, 3), (2, 64, 64, 2), 36, 535810),
    Block(
        "VariableFromNetwork",
        lambda: VariableFromNetwork((2, 16, 16, 3)), (1, 10), (2, 16, 16, 3), 4, 310936,
    ),
    Block(
        "ConvEncoder H<40",
        lambda: ConvEncoder(32, 3, 2), (4, 32, 32, 3), ((4, 4), (4, 32, 32, 3), (2, 4, 32, 32, 3)), 32, 689612,
    ),
    Block(
        "ConvEncoder H<40 N=3",
        lambda: ConvEncoder(36, 3, 3), (4, 36, 36, 3), ((4, 6), (4, 36, 36, 4), (3, 4, 36, 36, 3)), 32, 852821,
    ),
    Block(
        "ConvEncoder H>=40",
        lambda: ConvEncoder(64, 3, 2), (4, 64, 64, 3), ((4, 4), (4, 64, 64, 3), (2, 4, 64, 64, 3)), 42, 1142612,
    ),
    Block(
        "ConvEncoder grey",
        lambda: ConvEncoder(32, 1, 2), (4, 32, 32, 1), ((4, 4), (4, 32, 32, 3), (2, 4, 32, 32, 1)), 32, 279868,
    ),
    Block(
        "ConvEncoder mixed_precision",
        lambda: ConvEncoder(16, 3, 2, True), (2, 16, 16, 3), ((2, 4), (2, 16, 16, 3), (2, 2, 16, 16, 3)), 32, 228812,
    ),
    Block(
        "AngleEncoder",
        lambda: AngleEncoder(64, 3, 1), (4, 64, 64, 3), ((4, 1), (4, 64, 64, 2), (1, 4, 64, 64, 3)), 42, 1142595,
    ),
    Block("VelocityEncoder", lambda: VelocityEncoder(2, 4), (5, 4, 4), (5, 4), 6, 11202),
    Block("VelocityEncoder L=3 N=3", lambda: VelocityEncoder(3, 3), (5, 3, 6), (5, 6), 6, 11002),
    Block("VelocityEncoder alt_vel", lambda: VelocityEncoder(2, 4, True), (5, 4, 4), (5, 4), 2, 14),
    Block("VelocityEncoder L=1", lambda: VelocityEncoder(2, 1), (5, 1, 4), (5, 4), 0, 0),
    Block("ConvSTDecoder", lambda: ConvSTDecoder(32, 3, 2), (5, 4), (5, 32, 32, 3), 13, 1035721),
    Block("ConvSTDecoder H=36 N=3", lambda: ConvSTDecoder(36, 3, 3), (5, 6), (5, 36, 36, 3), 13, 1569577),
    Block("ConvSTDecoder grey", lambda: ConvSTDecoder(32, 1, 2), (5, 4), (5, 32, 32, 1), 13, 418249),
    Block("ConvSTDecoder calibrated", lambda: ConvSTDecoder(16, 3, 2, True), (5, 4), (5, 16, 16, 3), 13, 263881),
    Block("ConvSTDecoderPlain", lambda: ConvSTDecoderPlain(16, 3, 2), (5, 4), (5, 16, 16, 3), 13, 263881),
    Block("RotatingDecoder", lambda: RotatingDecoder(16, 3, 1), (5, 1), (5, 16, 16, 3), 13, 366793),
    Block("ActuatedPendulumCell", lambda: ActuatedPendulumCell(1), ((5, 1), (5, 1)), ((5, 1), (5, 1)), 3, 3, 1),
    Block("BlackBoxDecoder", lambda: BlackBoxDecoder(32, 3, 2), (5, 4), (5, 32, 32, 3), 10, 865739),
    Block("BlackBoxDecoder H=18 N=3 grey", lambda: BlackBoxDecoder(18, 1, 3), (5, 6), (5, 18, 18, 1), 10, 364153),
    Block("BouncingODECell", lambda: BouncingODECell(2, 20), ((5, 4), (5, 4)), ((5, 4), (5, 4)), 0, 0, 1),
    Block("SpringODECell", lambda: SpringODECell(2), ((5, 4), (5, 4)), ((5, 4), (5, 4)), 2, 2, 1),
    Block("GravityODECell", lambda: GravityODECell(3), ((5, 6), (5, 6)), ((5, 6), (5, 6)), 1, 1, 2),
    Block(
        "InteractionNetworkCell",
        lambda: InteractionNetworkCell(3, 36), ((5, 6), (5, 6)), ((5, 6), (5, 6)), 14, 82552, 1,
    ),
    Block("AnchoredSpringCell", lambda: AnchoredSpringCell(1), ((5, 2), (5, 2)), ((5, 2), (5, 2)), 4, 4, 1),
    Block("BouncingCell", lambda: BouncingCell(2), ((5, 4), (5, 4)), ((5, 4), (5, 4)), 5, 5, 1),
    Block("FallCell", lambda: FallCell(1), ((5, 2), (5, 2)), ((5, 2), (5, 2)), 3, 3, 1),
    Block("GravityCell", lambda: GravityCell(2), ((5, 4), (5, 4)), ((5, 4), (5, 4)), 2, 2, 1),
    Block("PendulumCell", lambda: PendulumCell(1), ((5, 2), (5, 2)), ((5, 2), (5, 2)), 5, 5, 1),
    Block("SpringCell", lambda: SpringCell(2), ((5, 4), (5, 4)), ((5, 4), (5, 4)), 3, 3, 1),
    Block(
        "LSTMCell",
        lambda: LSTMCell(2, 100, 2),
        ((5, 4), (5, 4), ((5, 100), (5, 100)), ((5, 100), (5, 100))),
        ((5, 4), (5, 4), ((5, 100), (5, 100)), ((5, 100), (5, 100))),
        8, 124404,
    ),
    network("bouncing_balls", "bouncing_balls", 51, 1736535),
    network("spring_color", "spring_color", 53, 1736537),
    network("spring_color_half", "spring_color_half", 53, 1736537),
    network("3bp_color", "3bp_color", 52, 2433601, fixed=2),
    network("mnist_spring_color", "mnist_spring_color", 63, 5276697),
    network("alt_vel", "spring_color", 49, 1725349, alt_vel=True),
    network("grey", "spring_color", 53, 709321, color=False),
    Block(
        "PendulumNet", lambda: PendulumNet(get_task("pendulum")),
        ((1, 11, 64, 64, 3), (1, 10)), None, 58, 6912271, 1,
    ),
    network("lstm", "spring_color", 56, 1780539, fixed=0, cell_type="lstm"),
    network("interaction_network", "spring_color", 65, 1819087, cell_type="interaction_network"),
    network("black_box", "spring_color", 50, 1566555, decoder_type="black_box"),
    Block(
        "VideoLSTM", lambda: VideoLSTM(get_task("spring_color"), recurrent_units=16), (2, 11, 32, 32, 3),
        ((2, 10, 256), (2, 10, 32, 32, 3), (2, 7, 32, 32, 3)), 21, 1403779,
    ),
    Block(
        "VideoLSTM H=36 grey, two layers",
        lambda: VideoLSTM(get_task("3bp_color"), color=False, recurrent_units=16, lstm_layers=2), (2, 17, 36, 36, 1),
        ((2, 16, 256), (2, 16, 36, 36, 1), (2, 13, 36, 36, 1)), 24, 1994817,
    ),
)  # fmt: skip


def layer_classes(*packages: ModuleType) -> dict[str, type]:
    """Every Keras layer class that `packages` define, by name, whatever the depth of the module."""
    found = {}
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(thing, tf.keras.layers.Layer) and thing.__module__ == module.name:
                    found[name] = thing
    return found
