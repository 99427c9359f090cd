"""Networks that the commands of several tests share: built once, their steps traced once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl.flags import FLAGS

from physics_models.physics_net import PhysicsNet
from physics_models.tasks import Task
from runners import run_physics

STRUCTURE = (
    "color", "alt_vel", "encoder_type", "decoder_type", "recurrent_units", "lstm_layers", "vel_encoder",
    "calibrated_coords", "mixed_precision", "separate_gradients", "model", "optimizer",
)  # fmt: skip


class Networks:
    """A `run_physics.build` that gives a network out again to a later command of the same settings.

    It is then as it was at first: the same start, whatever the seed.
    """

    def __init__(self):
        self.made: dict[tuple, tuple[PhysicsNet, dict[str, Any]]] = {}

    def build(self, task: Task, seed: int | None = None, track_objects: bool = False) -> PhysicsNet:
        """In place of `run_physics.build`."""
        key = (task, track_objects, *(FLAGS[name].value for name in STRUCTURE))
        if key not in self.made:
            net = self.original(task, seed, track_objects)
            self.made[key] = net, {name: v.numpy() for name, v in self.variables(net).items()}
        net, start = self.made[key]
        for name, variable in self.variables(net).items():
            variable.assign(start[name])
        net.skipped_steps.assign(0)
        net.base_lr, net.autoencoder_loss = FLAGS.base_lr, FLAGS.autoencoder_loss
        net.optimizer.rate.assign(FLAGS.base_lr)
        net.iteration, net.run_id, net.callbacks = 0, 0, []
        return net

    original: Callable = staticmethod(run_physics.build)

    @staticmethod
    def variables(net: PhysicsNet) -> dict[str, Any]:
        """Weights and slots by name."""
        return {**net.variables_by_name(), **net.optimizer.named_variables()}
