"""A task of one's own: `--task=custom`, its film and its numbers given by flags."""

from __future__ import annotations

from absl import flags

from data_gen.iterators import DataIterator, get_iterators
from physics_models.errors import ExperimentError
from physics_models.tasks import Task
from runners.run_base import FLAGS, check_positive

flags.DEFINE_string("data_file", "", "custom task: film to train on; .npz, .gif, .mp4 or a folder of .png frames")
flags.DEFINE_string("test_data_file", "", "custom task: film of the final test; data_file by default")
flags.DEFINE_integer("n_objs", 2, "custom task: number of objects")
flags.DEFINE_integer("input_steps", 4, "custom task: frames that the initial state is estimated from")
flags.DEFINE_integer("pred_steps", 6, "custom task: predicted frames in the loss")
flags.DEFINE_integer("img_size", None, "custom task: side to resize the frames of a film to, pixels")
flags.DEFINE_integer("seq_len", None, "custom task: frames a sequence, to cut a film into")


def from_flags() -> Task:
    """The task that the flags describe; frame size and sequence lengths are read off its films."""
    if not FLAGS.data_file:
        raise ExperimentError("--task=custom needs --data_file, the film to train on")
    if not FLAGS.cell_type:
        raise ExperimentError("--task=custom needs --cell_type, the equations of motion (or lstm)")
    check_positive("n_objs", "input_steps", "pred_steps")
    train, test = load_data("train")["train"].X, load_data("test")["test"].X
    task = Task(
        name="custom",
        cell_type=FLAGS.cell_type,
        train_len=train.shape[1],
        test_len=test.shape[1],
        input_steps=FLAGS.input_steps,
        pred_steps=FLAGS.pred_steps,
        img_size=train.shape[2],
        n_objs=FLAGS.n_objs,
    )
    if test.shape[2:] != train.shape[2:]:
        raise ExperimentError(
            f"--test_data_file={FLAGS.test_data_file}: frames of shape {list(test.shape[2:])}, "
            f"the training film has {list(train.shape[2:])}"
        )
    task.check_frames(train.shape[1], FLAGS.data_file)
    task.check_frames(test.shape[1], FLAGS.test_data_file or FLAGS.data_file)
    return task


def load_data(length: str) -> dict[str, DataIterator]:
    """The iterators of the film for training (`train`) or for the final test (`test`)."""
    file = FLAGS.data_file if length == "train" else FLAGS.test_data_file or FLAGS.data_file
    datapoints = FLAGS.datapoints if length == "train" else 0
    return get_iterators(file, datapoints, FLAGS.seed, FLAGS.img_size, FLAGS.seq_len)
