"""Text output never ends a finished run: any encoding, closed pipes, full disks, no streams at all."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from tiny_run import ROOT, environment

from data_gen.errors import say
from physics_models import errors, tf1_checkpoint
from physics_models.experiment import LogFile, StopOnSignal
from runners import compare_runs, run_base

TEXT = "‖A − B‖ · ä 日本 \udce4"  # the last one stands for a byte of a file name that is not UTF-8


@contextlib.contextmanager
def stdout(stream: io.TextIOBase) -> Iterator[None]:
    with contextlib.redirect_stdout(stream):
        yield


def printing(argv: list[str]) -> None:
    """A command of absl flags that prints."""
    print(TEXT)


COMMANDS: dict[str, Callable[[], object]] = {
    "argparse": lambda: errors.run_command(lambda: [TEXT]),
    "absl": lambda: run_base.run(printing),
    "help": lambda: compare_runs.main(["--help"]),
    "help with →": lambda: tf1_checkpoint.main(["--help"]),
    "data_gen": lambda: say(TEXT, sys.stdout),
}


def code_of(command: Callable[[], object], monkeypatch) -> object:
    monkeypatch.setattr(sys, "argv", ["runners/x.py"])
    try:
        command()
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp1252", "latin-1", "utf-8"])
def test_any_encoding(monkeypatch, command, encoding):
    written = io.BytesIO()
    with stdout(io.TextIOWrapper(written, encoding=encoding)):
        assert code_of(command, monkeypatch) == 0
        assert written.getvalue().decode(encoding)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_has_ended(monkeypatch, capfd, command):
    """As `| head` does; nothing is said of it, not at the end either."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe, stdout(pipe):
        assert code_of(command, monkeypatch) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_on_a_full_disk_is_one_line(monkeypatch, capfd):
    """The output is what this command is for: its end is told by the exit code."""
    with open("/dev/full", "w") as full, stdout(full):
        assert code_of(COMMANDS["argparse"], monkeypatch) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_an_error_that_nobody_reads(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe, contextlib.redirect_stderr(pipe):
        assert code_of(lambda: errors.exit_with_message("wrong", 3), monkeypatch) == 3
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)


def test_the_log_takes_every_name(tmp_path):
    logger = logging.getLogger("tf")
    logger.setLevel(logging.INFO)
    with LogFile(tmp_path):
        logger.info("--save_dir=%s", TEXT)
    assert "‖A − B‖ · ä 日本 \\udce4" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_signal_is_noted_though_nobody_reads_what_is_said_of_it(monkeypatch):
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    with StopOnSignal() as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.requested


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("runners/run_physics.py --help | head -1", marks=pytest.mark.slow),
        pytest.param("-m physics_models.tf1_checkpoint --help >&- 2>&-", marks=pytest.mark.slow),
        "-m data_gen --help >&- 2>&-",
    ],
)
def test_a_process_whose_streams_are_closed(tmp_path, command):
    """In the other cases the next files that are opened would get the numbers of stdout and stderr."""
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" {command}'],
        cwd=ROOT, env={**environment(), "PYTHONIOENCODING": "cp932"}, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
