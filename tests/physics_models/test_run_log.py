"""The reader of log.txt: the original's own log, both formats of its lines, damage of many kinds."""

import math
import random
import zipfile
from pathlib import Path

import pytest
from absl import flags

from physics_models.errors import ExperimentError
from physics_models.run_log import ORIGINAL_DEFAULTS, flag_differences, read_flags, read_log, save_code
from runners import run_physics  # noqa: F401, it defines the flags

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "tf1_log.txt"
STAMP = "2026-11-22 01:00:{:06.3f}"


def write(folder: Path, *messages: str, seconds: float = 1.0) -> Path:
    path = folder / "log.txt"
    stamps = (STAMP.format(i * seconds).replace(".", ",") for i in range(len(messages)))
    text = "".join(f"{stamp} - tf - {m}\n" for stamp, m in zip(stamps, messages))
    path.write_text(text, encoding="utf-8")
    return path


def test_original_log():
    log = read_log(GOLDEN)
    assert len(log.commands) == 2
    assert log.unread == []
    assert len(log.commands[1].arguments) == len(set(log.commands[1].arguments))
    losses = [3053.2964, 3029.759, 3005.0547, 2979.1035, 2951.8496, 2946.3745, 2940.1592, 2934.1682]
    assert log.train_curve() == list(enumerate(losses))
    assert [e.epoch for e in log.evaluations("valid")] == [0, 1, 2, 3, 4]
    short, long = log.evaluations("test")
    assert (short.epoch, short.losses["eval_pred_loss"]) == (4, 731.83966)
    assert long.losses == {
        "eval_extrap_loss": 733.6986,
        "eval_pred_loss": 733.378,
        "eval_recons_loss": 733.4725,
    }
    assert log.last_parameters() == {
        "net/decoder/logsigma": -0.00168,
        "net/spring_ode_cell/log_k": 0.00011514299,
        "net/spring_ode_cell/log_l": 0.00021979783,
    }
    assert log.evaluations("valid")[1].parameters["net/spring_ode_cell/log_l"] == 0.00010730868
    assert (log.flags["task"], log.flags["base_lr"], log.flags["save_dir"]) == ("spring_color", "6e-4", "<save_dir>")
    # The four pairs of steps without a validation between them took 0.897, 0.745, 0.617 and 0.637 s.
    assert log.speed() == pytest.approx((1 / 0.745 + 1 / 0.637) / 2, rel=1e-5)


@pytest.mark.parametrize("form", ["np.float32({})", "numpy.float32({})", "np.float64({})"])
def test_parameter_line_of_numpy_2(tmp_path, form):
    line = "[('net/decoder/logsigma:0', {}), ('net/spring_ode_cell/log_k:0', {}), ('net/spring_ode_cell/log_l:0', {})]"
    values = ["-0.00168", "5.79244e-05", "nan"]
    test = "test - epoch=0 eval_pred_loss=1.0"
    old = read_log(write(tmp_path, line.format(*values), test)).last_parameters()
    new = read_log(write(tmp_path, line.format(*map(form.format, values)), test)).last_parameters()
    assert repr(old) == repr(new)
    assert list(old.values())[:2] == [-0.00168, 5.79244e-05]
    assert math.isnan(old["net/spring_ode_cell/log_l"])


def test_losses_that_are_not_finite(tmp_path):
    path = write(
        tmp_path, "train - iter=0 train_loss=nan", "train - iter=10 train_loss=inf", "train - iter=20 train_loss=-inf"
    )
    steps, losses = zip(*read_log(path).train_curve())
    assert steps == (0, 10, 20)
    assert math.isnan(losses[0])
    assert losses[1:] == (math.inf, -math.inf)


def test_only_the_same_record_twice_counts_once(tmp_path):
    line = "test - epoch=0 eval_pred_loss=2.5"
    assert len(read_log(write(tmp_path, "r.py", line, line, seconds=1.0)).evaluations("test")) == 2
    assert len(read_log(write(tmp_path, "r.py", line, line, seconds=0.0)).evaluations("test")) == 1


def test_other_messages_are_no_commands(tmp_path):
    path = write(
        tmp_path, "run.py\n--epochs=2", "a message\nof two lines", "train - iter=0 train_loss=1.5", "paig\n--epochs=3"
    )
    log = read_log(path)
    assert [command.arguments for command in log.commands] == [["run.py", "--epochs=2"], ["paig", "--epochs=3"]]
    assert log.unread == ["of two lines"]
    assert log.train_curve() == [(0, 1.5)]


@pytest.mark.parametrize(
    "message",
    [
        "train - ",
        "train - iter=0",
        "train - iter=0 train_loss=",
        "train - iter=0 train_loss=1.0.0",
        "train - iter=0 train_loss=1_0",
        "train - iter=0 train_loss=0x10",
        "train - iter=-1 train_loss=1.0",
        "train - iter=\u0663 train_loss=1.0",
        "train - iter=0 train_loss=\u0663",
        f"train - iter={'9' * 5000} train_loss=1.0",
        "train - epoch=0 train_loss=1.0",
        "train - iter=0 eval_pred_loss=1.0",
        "valid - iter=0 eval_pred_loss=1.0",
        "valid - epoch=1 =1.0",
        "[('x:0', 1.0)",
        "[('x:0', 1.0)('y:0', 2.0)]",
        "[('x:0', 1.0); ('y:0', 2.0)]",
        "[('x:0', 1.0), ]",
        "[('x:0', np.float32(1.0)]",
        "[('x:0', 1.0), <tf.Variable>]",
        "[('x:0', open('y'))]",
    ],
)
def test_damaged_line_is_left_out(tmp_path, message):
    log = read_log(write(tmp_path, "r.py", message, "test - epoch=0 eval_pred_loss=1.0"))
    assert log.unread == [message]
    assert (log.train_curve(), log.evaluations("valid"), log.last_parameters()) == ([], [], {})
    assert len(log.evaluations("test")) == 1


def test_garbage_below_a_command_is_no_argument(tmp_path):
    log = read_log(write(tmp_path, "r.py\n--epochs=2\n\0\0\0", "train - iter=0 train_loss=1"))
    assert log.flags == {"epochs": "2"}
    assert log.train_curve() == [(0, 1.0)]


FIRST = ["r.py", "valid - epoch=0 eval_pred_loss=9", "train - iter=0 train_loss=9", "train - iter=9 train_loss=8"]
FIRST += ["valid - epoch=2 eval_pred_loss=8"]


def test_continued_training_counts_on(tmp_path):
    """--use_ckpt counts from 0 again, and what resumes such a run goes on with its numbers."""
    second = ["valid - epoch=0 eval_pred_loss=8", "train - iter=0 train_loss=7", "valid - epoch=1 eval_pred_loss=7"]
    log = read_log(write(tmp_path, *FIRST, "r.py\n--use_ckpt", *second, "test - epoch=0 eval_pred_loss=1"))
    assert log.train_curve() == [(0, 9.0), (9, 8.0), (10, 7.0)]
    # The checkpoint of epoch 2 is validated again before the second training: the later line counts.
    assert [(e.epoch, e.losses["eval_pred_loss"]) for e in log.evaluations("valid")] == [(0, 9), (2, 8), (3, 7)]
    assert log.flags == {"use_ckpt": "true"}
    third = ["train - iter=3 train_loss=6", "valid - epoch=2 eval_pred_loss=6"]
    log = read_log(write(tmp_path, *FIRST, "r.py\n--use_ckpt", *second, "r.py\n--resume", *third))
    assert log.train_curve() == [(0, 9.0), (9, 8.0), (10, 7.0), (13, 6.0)]
    assert [e.epoch for e in log.evaluations("valid")] == [0, 2, 3, 4]


def test_of_what_a_resumed_run_logs_again_the_later_line_counts(tmp_path):
    """Killed after iteration 29, resumed from the checkpoint at 10; then killed and resumed once more."""
    parameters = "[('net/decoder/logsigma:0', {})]"
    first = [*FIRST, "train - iter=10 train_loss=7", "train - iter=20 train_loss=6", parameters.format(1.0)]
    first += ["valid - epoch=3 eval_pred_loss=7"]
    second = ["train - iter=10 train_loss=7.5", "train - iter=20 train_loss=6.5", parameters.format(2.0)]
    second += ["valid - epoch=3 eval_pred_loss=7.5", "train - iter=30 train_loss=5"]
    third = ["train - iter=20 train_loss=6.25"]
    log = read_log(write(tmp_path, *first, "r.py\n--resume", *second, "r.py\n--resume=true", *third))
    assert log.train_curve() == [(0, 9.0), (9, 8.0), (10, 7.5), (20, 6.25), (30, 5.0)]
    valid = log.evaluations("valid")
    assert [(e.epoch, e.losses["eval_pred_loss"]) for e in valid] == [(0, 9.0), (2, 8.0), (3, 7.5)]
    assert valid[-1].parameters == log.last_parameters() == {"net/decoder/logsigma": 2.0}
    assert log.speed() == pytest.approx(10)


def test_speed_without_evaluations(tmp_path):
    # One step takes 1 s; the step with a validation in between would say 0.5 a second.
    train = [f"train - iter={i} train_loss=1.0" for i in range(6)]
    log = read_log(write(tmp_path, "r.py", *train[:3], "valid - epoch=1 eval_pred_loss=1", *train[3:]))
    assert log.speed() == pytest.approx(1.0)
    log = read_log(write(tmp_path, "r.py", *train[:2], *["valid - epoch=1 eval_pred_loss=1"] * 3, train[2]))
    assert log.speed() == pytest.approx(1.0)
    assert read_log(write(tmp_path, "r.py", train[0], "valid - epoch=1 eval_pred_loss=1", train[1])).speed() is None
    assert read_log(write(tmp_path, "r.py", train[0])).speed() is None
    # A clock that is put back, or steps that are, measure nothing.
    assert read_log(write(tmp_path, "r.py", *train[::-1])).speed() is None
    assert read_log(write(tmp_path, "r.py", *train, seconds=0.0)).speed() is None


def test_flags():
    given = ["--color", "--noanneal_lr", "-epochs", "7", "--debug=False", "--base_lr=6e-4", "--resume", "--", "--x=1"]
    assert read_flags(given) == {
        "color": "true", "anneal_lr": "false", "epochs": "7", "debug": "false", "base_lr": "6e-4", "resume": "true",
    }  # fmt: skip
    assert read_flags(["--note", "-3", "stray"]) == {"note": "-3"}


def test_flag_differences():
    first = {"base_lr": "6e-4", "color": "true", "optimizer": "rmsprop", "seed": "1"}
    second = {"base_lr": "0.0006", "color": "false", "batch_size": "100"}
    assert flag_differences(first, second) == [("color", "true", "false"), ("seed", "1", None)]


def test_defaults_are_the_commands_own():
    arguments = [f"--{name}={flags.FLAGS[name].default}" for name in ORIGINAL_DEFAULTS]
    assert flag_differences(ORIGINAL_DEFAULTS, read_flags(arguments)) == []


def test_save_code(tmp_path):
    save_code(tmp_path)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        names = set(archive.namelist())
        assert archive.read("physics_models/run_log.py") == (ROOT / "physics_models" / "run_log.py").read_bytes()
    folders = [ROOT / package for package in ("nn", "physics_models", "data_gen", "runners")]
    assert names == {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.py")}


def test_cut_anywhere(tmp_path):
    """A log cut at any byte, as by a full disk, gives the beginning of the whole one's numbers."""
    whole, data = read_log(GOLDEN), GOLDEN.read_bytes()
    for end in range(60, len(data), 61):
        (tmp_path / "log.txt").write_bytes(data[:end])
        log = read_log(tmp_path / "log.txt")
        curve = log.train_curve()
        assert curve == whole.train_curve()[: len(curve)]
        valid = log.evaluations("valid")
        assert [e.losses for e in valid] == [e.losses for e in whole.evaluations("valid")][: len(valid)]
        assert whole.flags.items() >= log.flags.items()


@pytest.mark.parametrize("content", [None, b"", bytes(range(256)) * 100, b"2026-13-45 25:61:61,000 - tf - x.py\n"])
def test_unreadable(tmp_path, content):
    path = tmp_path / "log.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ExperimentError, match=f"{path}: [^\n]*$"):
        read_log(path)


def test_damaged_bytes_leave_the_other_lines(tmp_path):
    """No damage of the bytes is an error other than ExperimentError, and an intact train line keeps its loss."""
    path, data = tmp_path / "log.txt", GOLDEN.read_bytes()
    intact = {line for line in data.split(b"\n") if b" - tf - train - " in line}
    for seed in range(300):
        draw, damaged = random.Random(seed), bytearray(data)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(damaged))
            end = at + draw.choice([0, 1, 50])
            damaged[at:end] = draw.choice([draw.randbytes(end - at), b"", b"\r\n", b"9" * 5000, b"[('", b"\xff", b"=."])
        path.write_bytes(damaged)
        try:
            log = read_log(path)
        except ExperimentError:
            continue
        log.speed(), log.flags, log.evaluations("valid"), log.last_parameters()
        found = {(line.step, line.loss) for command in log.commands for line in command.train}
        for line in intact & set(bytes(damaged).split(b"\n")[:-1]):
            step, loss = line.split(b"iter=")[1].split(b" train_loss=")
            assert (int(step), float(loss)) in found, (seed, line)
