"""Commands run one after another in one process, as `%run` does in a notebook."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from tiny_run import ROOT, environment

from runners import run_base

# Each command twice, then once more in another order. What each says of a mistake tells which flags it saw.
CODE = """
import contextlib, io, runpy, sys
def run(name, *flags):
    sys.argv = [name, *flags]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            if name.endswith(".py"):
                runpy.run_path(name, run_name="__main__")
            else:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    print(name, code, " ".join(said.getvalue().split())[-70:])
RUNS = {"run_physics": ["--task=spring_color"], "plot_run": [], "fit_positions": ["--task=x"],
        "run_benchmark": ["--tasks=x"], "reproduce_paper": []}
for _ in range(2):
    for name, flags in RUNS.items():
        for _ in range(2):
            run(f"runners/{name}.py", *flags)
run("runners/run_physics.py", "--task=spring_color", "--use_ckpt", "--test_mode", "--save_dir=/no/such")
run("runners/run_physics.py", "--task=spring_color", "--epochs=0", "--save_dir=x")
run("runners/run_physics.py", "--task=spring_color")
run("runners/plot_run.py", "--task=spring_color", "--save_dir=x")
for name in ("runners/compare_runs.py", "data_gen", "physics_models.export", "physics_models.tf1_checkpoint",
             "physics_models.shape_tour"):
    run(name, "--nonsense"), run(name, "--nonsense")
"""


@pytest.mark.slow
def test_every_command_twice():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    per_round = 10
    for i in range(per_round):
        assert lines[i] == lines[i + per_round], lines[i]
    assert all(line.split()[1] == "1" for line in lines), done.stdout
    assert all(a == b for a, b in zip(lines[:20:2], lines[1:20:2])), done.stdout
    assert "--save_dir is empty" in lines[0]
    assert "no such folder" in lines[20] and "--epochs=0" in lines[21]
    assert lines[22] == lines[0]  # no flag is left from the runs before
    assert "--task" in lines[23] and "does not use it" in lines[23]
    assert all("nonsense" in line or "required" in line for line in lines[24:])


def test_the_console_shows_each_line_once_in_a_second_command(monkeypatch, capsys):
    """A notebook's process keeps the logger: the first command's handler is replaced, not joined by another."""
    logger = logging.getLogger("tf")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, [] if name == "handlers" else getattr(logger, name))
    for _ in range(2):
        run_base.log_to_console()
    logger.info("once")
    assert capsys.readouterr().err.count("once") == 1
