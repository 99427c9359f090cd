"""The reader of log.txt: the original's own log, both formats of its lines, damage of many kinds."""

import math
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from physics_models.errors import ExperimentError
from physics_models.run_flags import ORIGINAL_DEFAULTS, flag_differences, read_flags
from physics_models.run_log import MAX_FILE_BYTES, read_log

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
    assert (log.repeated, log.unread) == (3, 0)
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
    assert log.speed().intervals == 4
    assert log.speed().steps_per_second == pytest.approx((1 / 0.745 + 1 / 0.637) / 2, rel=1e-5)
    assert log.training_seconds() == pytest.approx(46.88)


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
    assert (log.unread, log.examples) == (1, [(4, "of two lines")])
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
    assert (log.unread, log.examples) == (1, [(2, message[:80])])
    assert (log.train_curve(), log.evaluations("valid"), log.last_parameters()) == ([], [], {})
    assert len(log.evaluations("test")) == 1


def test_garbage_below_a_command_is_no_argument(tmp_path):
    log = read_log(write(tmp_path, "r.py\n--epochs=2\n\0\0\0", "train - iter=0 train_loss=1"))
    assert (log.flags, log.unread) == ({"epochs": "2"}, 1)


def test_continued_training_counts_on(tmp_path):
    first = ["r.py", "valid - epoch=0 eval_pred_loss=9", "train - iter=0 train_loss=9", "train - iter=9 train_loss=8"]
    first += ["valid - epoch=2 eval_pred_loss=8"]
    second = ["valid - epoch=0 eval_pred_loss=8", "train - iter=0 train_loss=7", "valid - epoch=1 eval_pred_loss=7"]
    log = read_log(write(tmp_path, *first, "r.py\n--use_ckpt", *second, "test - epoch=0 eval_pred_loss=1"))
    assert log.train_curve() == [(0, 9.0), (9, 8.0), (10, 7.0)]
    assert [e.epoch for e in log.evaluations("valid")] == [0, 2, 2, 3]
    assert log.flags == {"use_ckpt": "true"}
    # --resume writes the numbers of one uninterrupted run.
    second = ["train - iter=10 train_loss=7", "valid - epoch=3 eval_pred_loss=7"]
    log = read_log(write(tmp_path, *first, "r.py\n--resume", *second))
    assert log.train_curve() == [(0, 9.0), (9, 8.0), (10, 7.0)]
    assert [e.epoch for e in log.evaluations("valid")] == [0, 2, 3]


def test_speed_without_evaluations(tmp_path):
    # One step takes 1 s; the step with a validation in between would say 0.5 a second.
    train = [f"train - iter={i} train_loss=1.0" for i in range(6)]
    log = read_log(write(tmp_path, "r.py", *train[:3], "valid - epoch=1 eval_pred_loss=1", *train[3:]))
    assert (log.speed().steps_per_second, log.speed().intervals) == (pytest.approx(1.0), 4)
    assert not log.speed().with_evaluations
    log = read_log(write(tmp_path, "r.py", train[0], "valid - epoch=1 eval_pred_loss=1", train[1]))
    assert (log.speed().steps_per_second, log.speed().with_evaluations) == (pytest.approx(0.5), True)
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
    script = (
        "from runners import run_physics\nfrom absl import flags\n"
        "print({name: str(flag.default) for name, flag in flags.FLAGS._flags().items()})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    ours = eval(run.stdout)  # noqa: S307, printed two lines above
    assert {name: ours[name].lower() for name in ORIGINAL_DEFAULTS if float_of(ours[name]) is None} == {
        name: default.lower() for name, default in ORIGINAL_DEFAULTS.items() if float_of(default) is None
    }
    for name, default in ORIGINAL_DEFAULTS.items():
        assert float_of(ours[name]) == float_of(default), name


def float_of(text: str) -> "float | None":
    try:
        return float(text)
    except ValueError:
        return None


def test_cut_anywhere(tmp_path):
    """A log cut at any byte, as by a full disk, gives the beginning of the whole one's numbers."""
    whole, data = read_log(GOLDEN), GOLDEN.read_bytes()
    path = tmp_path / "log.txt"
    for end in range(60, len(data), 7):
        overwrite(path, data[:end])
        log = read_log(path)
        curve = log.train_curve()
        assert curve == whole.train_curve()[: len(curve)]
        valid = log.evaluations("valid")
        assert [e.losses for e in valid] == [e.losses for e in whole.evaluations("valid")][: len(valid)]
        assert whole.flags.items() >= log.flags.items()


def overwrite(path: "str | Path", data: bytes) -> None:
    """In place: a new file for each of thousands would cost the disk, not the reader, most of the time."""
    with open(path, "r+b" if os.path.exists(path) else "wb") as file:
        file.write(data)
        file.truncate()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "cannot be read (No such file or directory)"),
        (lambda path: path.mkdir(), "cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b""), "no line begins like"),
        (lambda path: path.write_bytes(bytes(range(256)) * 100), "no line begins like"),
        (
            lambda path: path.write_text("2026-13-45 25:61:61,000 - tf - train - iter=0 train_loss=1\n"),
            "no line begins",
        ),
        (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), MAX_FILE_BYTES + 1), "MB, but a log is read"),
    ],
)
def test_unreadable(tmp_path, make, message):
    make(tmp_path / "log.txt")
    with pytest.raises(ExperimentError) as error:
        read_log(tmp_path / "log.txt")
    assert str(error.value).startswith(f"{tmp_path / 'log.txt'}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


LIMITED = """
import resource, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
import test_run_log
test_run_log.{call}
"""


def in_two_gigabytes(call: str) -> str:
    script = LIMITED.format(root=str(ROOT), tests=str(Path(__file__).parent), call=call)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_fuzzed(tmp_path):
    """3000 mutated logs, each in under 10 s and all under 2 GB of address space."""
    assert "3000 files" in in_two_gigabytes(f"fuzz({str(tmp_path / 'log.txt')!r}, 3000)")


@pytest.mark.slow
@pytest.mark.parametrize("line", ["train - iter={} train_loss=1.5", "[('x', {})", "r.py\n--seed={}\n\n\n\n\n\n"])
def test_largest_file_fits_the_memory(tmp_path, line):
    size, number = 0, 0
    with open(tmp_path / "log.txt", "w") as file:
        while size < MAX_FILE_BYTES - 200:
            size += file.write(f"2026-11-22 01:00:00,000 - tf - {line.format(number)}\n")
            number += 1
    in_two_gigabytes(f"read_log({str(tmp_path / 'log.txt')!r}).speed()")


def fuzz(path: str, count: int) -> None:
    """Reads mutated logs; any error but ExperimentError, or a number lost from an intact line, ends it."""
    whole, data = read_log(GOLDEN), GOLDEN.read_bytes()
    intact = {line for line in data.split(b"\n") if b" - tf - train - " in line}
    expected = {b"iter=%d " % step: loss for step, loss in whole.train_curve()}
    errors = 0
    for seed in range(count):
        mutated = mutate(data, random.Random(seed))
        overwrite(path, mutated)
        start = time.perf_counter()
        try:
            log = read_log(path)
        except ExperimentError as error:
            assert "\n" not in str(error)
            errors += 1
            continue
        assert time.perf_counter() - start < 10, seed
        log.speed(), log.flags, log.evaluations("valid"), log.last_parameters(), log.training_seconds()
        found = [(line.step, line.loss) for command in log.commands for line in command.train]
        for line in mutated.split(b"\n")[:-1]:
            if line in intact:
                step, loss = next((s, v) for s, v in expected.items() if s in line)
                assert (int(step[5:]), loss) in found, (seed, line)
    print(f"{count} files, {errors} errors")


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to four changes of the kinds that disks, editors and ill will make."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.randint(0, 200))
        lines = data.split(b"\n")
        kind = draw.randrange(12)
        if kind == 0:  # one bit
            data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :] if at < len(data) else data
        elif kind == 1:  # some bytes at random
            data = data[:at] + bytes(draw.randrange(256) for _ in range(end - at)) + data[end:]
        elif kind == 2:  # a hole, as after a power cut
            data = data[:at] + bytes(end - at) + data[end:]
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            data = data[:at] + data[end:]
        elif kind == 5:
            data = data[:at] + data[at:end] * draw.choice([2, 50, 5000]) + data[end:]
        elif kind == 6:
            draw.shuffle(lines)
            data = b"\n".join(lines)
        elif kind == 7:  # numbers out of all bounds
            number = draw.choice([b"9" * 5000, b"1e999999", b"-0", b"0x10", b"1_0", b"\xd9\xa1", b"iter=", b"=" * 99])
            found = draw.choice([*re.finditer(rb"[\d.]+|$", data)])  # in place of a number that is there
            data = data[: found.start()] + number + data[found.end() :]
        elif kind == 8:  # brackets and quotes without end
            data = data[:at] + draw.choice([b"(", b"[('", b"', ", b"np.float32(", b" - tf - "]) * 3000 + data[at:]
        elif kind == 9:
            data = data.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n", b"\xe2\x80\xa8"]))
        elif kind == 10:
            data = data.decode("latin-1").encode(draw.choice(["utf-16", "utf-32", "utf-8"]))
        else:
            data = (
                data[:at]
                + b"\n2026-11-22 01:37:22,166 - tf - "
                + draw.choice(
                    [b"train - iter=3 train_loss=", b"valid - epoch=1", b"[]", b"[(", b"x.py", b"test - ", b""]
                )
                + data[at:]
            )
        data = data[:100_000]
    return data
