"""What the command says of itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import Counter

import pytest
from command import run_main
from tiny_run import ROOT, environment

from physics_models.tasks import TASKS
from runners import command_help, custom_task, run_base, run_physics, staged_run

DEFINED = [
    flag.name
    for module in (run_base, run_physics, custom_task, staged_run)
    for flag in run_base.FLAGS.flags_by_module_dict()[module.__name__]
]


def test_every_flag_stands_in_one_group():
    grouped = Counter(name for names in command_help.GROUPS.values() for name in names)
    assert grouped == Counter(DEFINED)


@pytest.mark.parametrize("word", sorted(command_help.HELP))
def test_help_lists_every_flag_and_succeeds(word):
    ended = run_main(run_physics.main, ["--task=spring_color", word])
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Train and test a physics model")
    for name in DEFINED:
        assert f"  --{name}=" in ended.out or f"  --[no]{name} " in ended.out, name
    assert max(map(len, ended.out.splitlines())) <= command_help.WIDTH
    assert "learning rate (default: 0.001)" in ended.out


@pytest.mark.parametrize("name", ["run_physics", "plot_run", "fit_positions", "reproduce_paper", "run_benchmark"])
def test_every_command_has_help_and_begins_with_its_own_flags(name):
    ended = subprocess.run(
        [sys.executable, f"runners/{name}.py", "--help"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ("\nThis command:\n" in ended.stdout) == (name != "run_physics")


@pytest.mark.parametrize("name", ["plot_run", "fit_positions", "run_benchmark", "reproduce_paper"])
def test_a_flag_that_a_command_has_no_use_for_is_neither_listed_nor_taken(name):
    for arguments, code in (["--help"], 0), (["--epochs=3"], 1):
        ended = subprocess.run(
            [sys.executable, f"runners/{name}.py", *arguments],
            cwd=ROOT, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert ended.returncode == code
        assert "--epochs" not in ended.stdout
    assert ended.stderr == "error: --epochs: this command has no use for it; --help lists its flags\n"


def test_the_command_alone_names_the_tasks(monkeypatch):
    ended = run_main(run_physics.main, [])
    assert (ended.code, ended.err) == (0, "")
    commands = [line.strip() for line in ended.out.splitlines() if line.startswith("  ")]
    begun = []
    monkeypatch.setattr(run_physics, "train", lambda task, console: begun.append(task.name))
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["PYTHONPATH=.", "python", "runners/run_physics.py"]
        assert run_main(run_physics.main, words[3:]).code == 0
    assert sorted(begun) == sorted(TASKS)


def test_the_recommended_rates_and_weights_are_those_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for task, (rate, weight, _) in command_help.RECOMMENDED.items():
        assert f"| `{task}` | {rate} | {weight} |" in readme
