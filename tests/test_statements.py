"""What the course and its appendices say about TensorFlow besides the lessons' own numbers."""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import migration_lessons as course
import numpy as np
import pytest
import tensorflow as tf

from nn.cells import GravityODECell
from physics_models import tf1_checkpoint
from physics_models.base import ANNEAL_AT
from physics_models.tasks import TASKS

KERAS = 3 if getattr(tf.keras, "__version__", "2").startswith("3.") else 2
ROOT = Path(__file__).parents[1]


@contextmanager
def logged():
    """What TensorFlow logs, as a list of lines."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    yield lines
    gc.collect()
    logger.removeHandler(handler)


def test_a_checkpoint_that_is_not_restored_logs_a_warning(tmp_path):
    path = tf.train.Checkpoint(net=tf.Variable(1.5)).write(str(tmp_path / "model"))
    with logged() as lines:
        status = tf.train.Checkpoint(model=tf.Variable(0.0)).read(path)
        del status
    assert any("could not be found" in line or "unrestored" in line for line in lines)


def test_new_python_numbers_log_a_warning_of_retracing():
    square = tf.function(lambda x: x * x)
    with logged() as lines:
        for number in range(6):
            square(float(number))
    assert any("out of the last 5 calls" in line and "triggered tf.function retracing" in line for line in lines)


@pytest.mark.parametrize(("factor", "output_pixels"), [(2, 0.5), (3, 1.0), (4, 1.5)])
def test_the_shift_of_the_two_resizes(factor, output_pixels):
    ramp = tf.constant(np.arange(8.0, dtype=np.float32).reshape([1, 1, 8, 1]) * np.ones([1, 8, 1, 1], np.float32))
    old = tf.compat.v1.image.resize_bilinear(ramp, [8 * factor] * 2)
    raw = tf.raw_ops.ResizeBilinear(images=ramp, size=[8 * factor] * 2, align_corners=False, half_pixel_centers=False)
    np.testing.assert_array_equal(old, raw)
    input_pixels = (old - tf.image.resize(ramp, [8 * factor] * 2))[0, 0, 4 * factor, 0]
    np.testing.assert_allclose(input_pixels, 0.5 * (1 - 1 / factor), rtol=1e-5)
    np.testing.assert_allclose(input_pixels * factor, output_pixels, rtol=1e-5)


def test_keras_divides_rmsprop_by_the_root_of_v_plus_epsilon():
    w, optimizer = tf.Variable(0.0), tf.keras.optimizers.RMSprop(1.0, rho=0.9, epsilon=0.01)
    optimizer.apply_gradients([(tf.constant(0.1), w)])
    assert w.numpy() == pytest.approx(-0.1 / np.sqrt(0.1 * 0.1**2 + 0.01), rel=1e-6)
    assert tf.keras.optimizers.RMSprop().epsilon == tf.keras.optimizers.Adam().epsilon == 1e-7


def test_a_variable_that_only_the_first_call_makes_works():
    class Net(tf.Module):
        w = None

        @tf.function
        def __call__(self, x):
            if self.w is None:
                self.w = tf.Variable(3.0)
            return self.w * x

    net = Net()
    assert [float(net(tf.constant(2.0))) for _ in range(2)] == [6.0, 6.0]


def test_batches_and_traces():
    losses = np.float32([1] * 4 + [2] * 4 + [9] * 2)
    assert losses.mean() == 3.0
    traces = {}
    for drop in (False, True):
        dataset = tf.data.Dataset.from_tensor_slices(losses).batch(4, drop_remainder=drop)
        assert dataset.element_spec.shape == ([4] if drop else [None])
        mean = tf.function(tf.reduce_mean)
        assert [len(batch) for batch in dataset] == ([4, 4] if drop else [4, 4, 2])
        [mean(batch) for batch in dataset]
        traces[drop] = mean.experimental_get_tracing_count()
    assert traces == {False: 2, True: 1}


def test_how_many_epochs_are_annealed():
    annealed = {epochs: [e for e in range(1, epochs + 1) if e >= int(ANNEAL_AT * epochs) > 0] for epochs in (1, 8, 500)}
    assert {epochs: len(late) for epochs, late in annealed.items()} == {1: 0, 8: 3, 500: 126}


def test_without_a_default_writer_nothing_is_written():
    assert not tf.summary.write("loss", 1.0, step=0)


def test_the_upgrade_script_replaces_the_resize():
    from tensorflow.tools.compatibility import ast_edits, tf_upgrade_v2

    upgrader = ast_edits.ASTCodeUpgrader(tf_upgrade_v2.TFAPIChangeSpec())
    source = "import tensorflow as tf\nx = tf.image.resize_bilinear(x, [2, 2])\n"
    _, text, report, errors = upgrader.update_string_pasta(source, "page.py")
    assert "tf.image.resize(x, [2, 2], method=tf.image.ResizeMethod.BILINEAR)" in text
    assert errors == [] and [line for line in report if "INFO" not in line] == []


OLD_API = """
import tensorflow as tf
tf1 = tf.compat.v1
class Net(tf.Module):
    @tf1.keras.utils.track_tf1_style_variables
    def __call__(self, x):
        with tf1.variable_scope("a"):
            return tf1.layers.dense(x, 2)
net = Net()
net(tf.zeros([1, 3]))
print(sorted(v.name for v in net.trainable_variables), tf1.nn.rnn_cell.BasicRNNCell.__name__)
"""


def test_the_shim_keeps_the_variables_of_the_old_api():
    if KERAS == 3:
        with pytest.raises(AttributeError):
            exec(OLD_API, {})
        with pytest.raises(AttributeError, match="not available with Keras 3"):
            tf.compat.v1.nn.rnn_cell.BasicRNNCell  # noqa: B018
        return
    exec(OLD_API.replace("print(sorted", "names = (sorted"), names := {})
    assert names["names"][0] == ["a/dense/bias:0", "a/dense/kernel:0"]


@pytest.mark.slow
def test_tf_keras_brings_the_old_api_back():
    pytest.importorskip("tf_keras")
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run([sys.executable, "-c", OLD_API], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['a/dense/bias:0', 'a/dense/kernel:0'] BasicRNNCell"


def test_inspect_lists_the_arrays_of_the_original_run(capsys):
    tf1_checkpoint.main(["inspect", str(ROOT / "tests" / "golden" / "original_run")])
    assert "60 arrays" in capsys.readouterr().out
    assert "lists the 60 arrays" in course.read_page(course.COURSE).replace("\n   ", " ")


def test_the_motion_of_three_bodies_depends_on_g_m_squared_alone():
    """Section 1 of docs/table1.md."""
    rolled = []
    for g, m in ((65.7, 0.95), (65.7 * 0.95**2, 1.0), (65.7, 1.0)):
        cell = GravityODECell(3)
        cell.build(((None, 6), (None, 6)))
        cell.log_g.assign(np.log(g))
        cell.log_m.assign(np.log(m))
        rolled.append(cell((tf.constant([[10.0, 12.0, 25.0, 14.0, 17.0, 26.0]]), tf.zeros([1, 6])))[0].numpy())
    np.testing.assert_allclose(rolled[0], rolled[1], rtol=1e-5)
    assert np.abs(rolled[0] - rolled[2]).max() > 1e-3


def test_the_factors_of_the_grid_in_table_1():
    page = course.read_page("docs/table1.md")
    rows = re.findall(r"(?m)^\| (\w+) \| [^|]* \| (\d) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\S+) % \|$", page)
    assert len(rows) == 6
    for task, power, true, enlarged, paper, left in rows:
        side = TASKS[task].img_size
        expected = float(true) * (side / (side - 1)) ** int(power)
        assert float(enlarged) == pytest.approx(expected, rel=1e-3)
        assert float(left.replace("−", "-")) == pytest.approx(100 * (float(paper) / expected - 1), abs=0.06)


UPGRADED = """
import sys
import zlib
import numpy as np
import tensorflow as tf
from nn.network.blocks import shallow_unet
tf1 = tf.compat.v1
def weight(name, shape):
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    scale = 0.1 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[:-1]))
    return np.float32(scale * random.standard_normal(shape))
class Net(tf.keras.layers.Layer):
    @tf1.keras.utils.track_tf1_style_variables
    def call(self, x):
        with tf1.variable_scope("shallow_unet_32"):
            return shallow_unet(x, 8, 2)
blocks, net = np.load(sys.argv[1] + "/golden/blocks.npz"), Net()
frames, golden = blocks["shallow_unet_32/input"], blocks["shallow_unet_32/output"]
net(frames)
for v in net.trainable_variables:
    v.assign(weight(v.name[:-2], tuple(v.shape)))
print(len(net.trainable_variables), np.abs(net(frames) - golden).max() / np.abs(golden).max())
tf.image.resize = lambda x, size, method: tf1.image.resize_bilinear(x, size)
print(np.abs(net(frames) - golden).max() / np.abs(golden).max())
"""


@pytest.mark.slow
@pytest.mark.skipif(KERAS == 3, reason="track_tf1_style_variables needs Keras 2")
@pytest.mark.skipif("PAIG_ORIGINAL" not in os.environ, reason="needs a clone of the original, docs/original.md")
def test_the_upgraded_original_under_the_shim(tmp_path):
    """Steps 2 and 3 of the workflow."""
    script = Path(sys.executable).with_name("tf_upgrade_v2")
    clone = os.environ["PAIG_ORIGINAL"]
    folders = [f"--intree={clone}", f"--outtree={tmp_path}/new", f"--reportfile={tmp_path}/report"]
    subprocess.run([script, *folders], check=True, capture_output=True)
    report = (tmp_path / "report").read_text()
    assert "Converted 13 files\nDetected 2 issues that require attention" in report
    assert re.search(r"INFO: Changed tf.image.resize_bilinear call to tf.image.resize", report)
    run = [sys.executable, "-c", UPGRADED, str(ROOT / "tests")]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(run, cwd=tmp_path / "new", env=environment, capture_output=True, text=True, check=True)
    count, upgraded, corrected = done.stdout.split()
    assert (count, round(float(upgraded), 1)) == ("26", 0.5) and float(corrected) < 1e-5


def test_a_block_of_tensorflow_1_needs_a_graph_under_tensorflow_2():
    """The course says so where it says how to read it; the lessons' runner does so."""
    block = compile(course.lessons()[0].blocks["tf1"][1], "block", "exec")
    names = {"tf": tf.compat.v1, "np": np, "losses": np.float32([1, 3]), "size": 2}
    with pytest.raises(RuntimeError, match="eager execution"):
        exec(block, names)
    with tf.Graph().as_default():
        exec(block, names)
    assert names["result"] == 2.0
