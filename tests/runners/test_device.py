"""The line at the start of a training that names the device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow as tf

import physics_models
from physics_models.errors import ExperimentError
from runners import machine, run_base


@pytest.fixture
def choose(monkeypatch):
    """`choose_device` on a machine with these GPUs, with `--device`; nothing of TensorFlow's is changed."""

    def run(gpus: list[str], device: str = "", driver: bool = False, cpuinfo: str | None = None) -> str:
        devices = [SimpleNamespace(name=name) for name in gpus]
        visible = list(devices)

        def set_visible(chosen, kind):
            visible[:] = chosen if isinstance(chosen, list) else [chosen]

        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: visible)
        monkeypatch.setattr(tf.config, "set_visible_devices", set_visible)
        details = {name: {"device_name": f"Card {name}"} for name in gpus}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu.name])
        monkeypatch.setattr(physics_models, "HAS_NVIDIA_DRIVER", driver)
        monkeypatch.setattr(machine, "from_proc", lambda file, name: cpuinfo or "")
        flags = {"device": device, "deterministic": False, "mixed_precision": cpuinfo is not None}
        monkeypatch.setattr(run_base, "FLAGS", type("Flags", (), flags))
        return run_base.choose_device()

    return run


def test_the_gpus_are_named(choose):
    assert choose(["a", "b"]) == "2 GPU(s): Card a, Card b"
    assert choose(["a", "b"], device="gpu:1") == "1 GPU(s): Card b"


def test_a_gpu_that_cannot_be_used_is_no_secret(choose):
    """A driver, but no GPU that TensorFlow sees: the training is on the CPU, and the line says so."""
    assert choose([]).startswith("CPU") and "cannot use" not in choose([])
    line = choose([], driver=True)
    assert line.startswith("CPU") and "cannot use the GPU" in line and "\n" not in line
    assert "cannot use" not in choose(["a"], device="cpu", driver=True)


def test_bfloat16_on_a_processor_without_it_is_said_to_be_slow(choose):
    assert "slower" in choose([], cpuinfo="sse2 avx2 fma")
    for can in ("sse2 avx2 avx512_bf16", "amx_tile amx_bf16", "fp asimd bf16", ""):
        assert "slower" not in choose([], cpuinfo=can)
    assert "slower" not in choose(["a"], cpuinfo="sse2") and "slower" not in choose([])


def test_a_gpu_that_is_not_there_is_an_error(choose):
    with pytest.raises(ExperimentError, match="--device=gpu:2"):
        choose(["a", "b"], device="gpu:2")
