"""A TF1 graph with given variables and one of TF1's own optimizers, to save and restore with its `Saver`.

It stands for the original in the tests of checkpoints. It runs under `tf.compat.v1` and under TensorFlow 1.12 itself
(whose Python is 3.6), where `python tests/physics_models/tf1_graph.py restore FOLDER OPTIMIZER ARRAYS.npz` restores
the checkpoint in FOLDER and writes what it found.
"""

import sys

import numpy as np

try:
    import tensorflow.compat.v1 as tf
except ImportError:
    import tensorflow as tf

OPTIMIZERS = {
    "rmsprop": tf.train.RMSPropOptimizer,
    "adam": tf.train.AdamOptimizer,
    "momentum": lambda rate: tf.train.MomentumOptimizer(rate, 0.9),
    "sgd": tf.train.GradientDescentOptimizer,
}
FIXED = ("dt_x", "log_m")


def build(shapes, optimizer):
    """Make the variables NAME → shape, `base_lr`, and the optimizer's slots, in the default graph."""
    zeros = tf.zeros_initializer()
    for name, shape in shapes.items():
        tf.get_variable(name, shape, tf.float32, zeros, trainable=name.rpartition("/")[2] not in FIXED)
    rate = tf.get_variable("base_lr", [], tf.float32, zeros, trainable=False)
    OPTIMIZERS[optimizer](rate).apply_gradients([(tf.identity(v), v) for v in tf.trainable_variables()])


def restore(folder, shapes, optimizer):
    """Every variable's value, by name, after `Saver.restore` from the newest checkpoint of `folder`."""
    with tf.Graph().as_default(), tf.Session() as session:
        build(shapes, optimizer)
        tf.train.Saver().restore(session, tf.train.latest_checkpoint(str(folder)))
        return {v.name[:-2]: value for v, value in zip(tf.global_variables(), session.run(tf.global_variables()))}


def save(folder, shapes, optimizer, arrays):
    """Write `arrays` (all variables and slots by name) to `folder` as the original does, without a .meta file."""
    with tf.Graph().as_default(), tf.Session() as session:
        build(shapes, optimizer)
        variables = tf.global_variables()
        values = {variable.initializer.inputs[1]: arrays[variable.name[:-2]] for variable in variables}
        session.run([variable.initializer for variable in variables], values)
        path = str(folder) + "/model.ckpt"
        tf.train.Saver(save_relative_paths=True).save(session, path, write_meta_graph=False)


def save_weights(folder, arrays):
    """Write `arrays` (variables by name) to `folder` as a `Saver` of these alone does, without a .meta file."""
    with tf.Graph().as_default(), tf.Session() as session:
        zeros = tf.zeros_initializer()
        variables = [tf.get_variable(name, array.shape, array.dtype, zeros) for name, array in arrays.items()]
        values = {variable.initializer.inputs[1]: arrays[variable.name[:-2]] for variable in variables}
        session.run([variable.initializer for variable in variables], values)
        tf.train.Saver().save(session, str(folder) + "/model.ckpt", write_meta_graph=False)


if __name__ == "__main__":
    _, _, checkpoint_folder, rule, out = sys.argv
    reader = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(checkpoint_folder))
    slots = ("RMSProp", "RMSProp_1", "Adam", "Adam_1", "Momentum")
    found = {
        name: shape
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.startswith("net/") and name.rpartition("/")[2] not in slots
    }
    np.savez(out, **restore(checkpoint_folder, found, rule))
