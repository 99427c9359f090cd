"""The shape tour: what the running network's tensors say, against the symbols and against docs/shapes.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from golden_data import net_file

from nn import decoders
from physics_models import shape_tour
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS, get_task

DOCUMENT = Path(__file__).parents[2] / "docs" / "shapes.md"
each_task = pytest.mark.parametrize("task", TASKS)


def page(task: str) -> list[str]:
    """The lines of the section of `task` in docs/shapes.md."""
    (section,) = re.findall(rf"^## {task}\n\n(.*?)(?=\n*\Z|\n+^## )", DOCUMENT.read_text("utf-8"), re.M | re.S)
    return section.splitlines()


def rows(lines: list[str]) -> list[tuple[str, str, list[int]]]:
    """(stage, symbolic shape, numbers) of each row of a table."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [(stage, symbols, [int(n) for n in shape.strip("[]").split(",")]) for stage, symbols, shape in cells[2:]]


def evaluate(symbols: str, values: dict[str, int]) -> list[int]:
    """A symbolic shape such as [B·(L+P), 2N] in numbers."""
    formula = re.sub(r"(\d)(?=[A-Z(])", r"\1*", symbols.replace("·", "*").replace("/", "//").replace("−", "-"))
    return eval(formula, {"__builtins__": {}}, values)


@each_task
def test_the_page_shows_what_the_command_prints(task):
    assert page(task) == shape_tour.shape_tour(TASKS[task])


def test_the_page_has_every_task():
    assert re.findall(r"^## (.*)$", DOCUMENT.read_text("utf-8"), re.M) == list(TASKS)


@each_task
@pytest.mark.parametrize(("color", "alt_vel"), [(True, False), (False, True)])
def test_the_tensors_have_the_shapes_that_the_symbols_say(task, color, alt_vel):
    lines = shape_tour.shape_tour(TASKS[task], 3, color, alt_vel)
    values = {symbol: int(number) for symbol, number in re.findall(r"([A-Z]) = (\d+)", lines[0])}
    assert values["B"] == 3 and values["C"] == (3 if color else 1) and values["N"] == TASKS[task].n_objs
    table = rows(lines)
    assert len(table) == 18
    for stage, symbols, shape in table:
        assert shape == evaluate(symbols, values), stage


@each_task
def test_the_golden_tensors_have_these_shapes(task):
    golden = net_file(task)
    shapes = {re.sub(r".*\(`(.*)`\)", r"\1", stage): shape for stage, _, shape in rows(page(task))}
    batch = len(golden["input"])
    for name in ("enc_pos", "pos_vel_seq", "recons_out", "output"):
        assert list(golden[name].shape[1:]) == shapes[name][1:], name
    assert list(golden["input"].shape) == [batch, *shapes["input"][1:]]
    for name in ("templates", "contents"):
        assert np.prod(golden[name].shape) == np.prod(shapes[name])


def test_the_tour_leaves_the_network_as_it_was():
    net = PhysicsNet(get_task("spring_color"))
    paste, before = decoders.axis_aligned_paste, net.encoder.call
    frames = net_file("spring_color")["input"][:1].astype(np.float32) / 255
    output = net(frames).output.numpy()
    shape_tour.walk(net, frames)
    assert decoders.axis_aligned_paste is paste and net.encoder.call == before
    np.testing.assert_array_equal(net(frames).output.numpy(), output)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task=pendulum"], "--task=pendulum: no such task; choose one of bouncing_balls, spring_color,"),
        ([], "the following arguments are required: --task; see --help"),
        (["--task=spring_color", "--batch_size=0"], "--batch_size=0: must lie between 1 and 1000"),
        (["--task=spring_color", "--batch_size=few"], "invalid int value: 'few'"),
        (["--task=spring_color", "--color=red"], "red is neither true nor false"),
    ],
)
def test_mistakes_are_one_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as stop:
        shape_tour.main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (1, "") and err.count("\n") == 1 and err.startswith("error: ") and said in err


@pytest.mark.parametrize("grey", ["--color=false", "--nocolor"])
def test_flags_are_written_as_the_other_commands(grey, capsys):
    shape_tour.main(["--task=spring_color", "--batch_size=2", grey, "--alt_vel"])
    out = capsys.readouterr().out
    assert "| input | [B, T, H, H, C] | [2, 12, 32, 32, 1] |" in out and "| [N·B, 2(L−1)] | [4, 6] |" in out


def test_the_command_says_nothing_but_its_lines():
    command = [sys.executable, "-m", "physics_models.shape_tour", "--task=3bp_color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == page("3bp_color")
