"""The model of the paper, and what keeps a run.

Reading order: `tasks` (the task table), `physics_net` (the paper's Figure 1, from left to right), `base` (training and
evaluation). Then `checkpoints`, `experiment` and `run_log`: the weights, the folder and the log of a run. The commands
`tf1_checkpoint`, `export` and `shape_tour` and the functions of `library` use them; `staged`, `supervision`,
`discovery` and `motion` are an opt-in way of training.
"""

import os

# On Linux and on WSL: where there is an NVIDIA driver, TensorFlow's messages about GPUs are worth reading.
HAS_NVIDIA_DRIVER = any(map(os.path.exists, ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/dxg")))


# Keras of the user's TensorFlow, whatever these variables and keras.json say.
KERAS = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "0", "TF_USE_LEGACY_KERAS": "0"}


def _import_tensorflow() -> None:
    """Import TensorFlow and Keras with the settings that this project needs.

    Settings of TensorFlow that the user has made stay. Keras's defaults are kept for its number type, epsilon and
    image format. TensorFlow turns its oneDNN operations on by itself only on CPUs with AVX512-VNNI; on one with AVX2 a
    training step of spring_color takes a third of the time with them (docs/speed.md). Ends the process with one line
    where they cannot be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if HAS_NVIDIA_DRIVER else "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    before = {name: os.environ.get(name) for name in KERAS}
    os.environ.update(KERAS)
    try:
        import tensorflow as tf

        keras = tf.keras.backend
        keras.set_floatx("float32")
        keras.set_epsilon(1e-7)
        keras.set_image_data_format("channels_last")
        if keras.backend() != "tensorflow":
            raise RuntimeError(f"the backend {keras.backend()} is in use; start a new process")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise SystemExit(f"error: TensorFlow cannot be imported ({reason}); README.md, Install, says how") from error
    except Exception as error:  # Keras raises many kinds, for a keras.json that it does not understand
        reason = " ".join(str(error).split()) or type(error).__name__
        settings = os.path.join(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json")
        raise SystemExit(f"error: Keras cannot be imported ({reason}); correct or delete {settings}") from error
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})


def _import_tensorflow_quietly() -> None:
    """Import TensorFlow without what its C++ code prints meanwhile."""
    for descriptor in range(3):  # one that is closed would become that of the next file
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        _import_tensorflow()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


_import_tensorflow_quietly()
