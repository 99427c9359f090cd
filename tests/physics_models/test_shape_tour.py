"""The command `shape_tour`; the shapes that it prints are in tests/test_documented_shapes.py."""

from __future__ import annotations

import pytest

from nn import plain
from physics_models import shape_tour


def test_flags_are_written_as_the_other_commands(capsys):
    paste = plain.spatial_transformer
    shape_tour.main(["--task=spring_color", "--batch_size=2", "--nocolor", "--alt_vel"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("B = 2, T = 12, L = 4, P = 6, E = 2, H = 32, S = 16, C = 1, N = 2")
    assert "| input | [B, T, H, H, C] | [2, 12, 32, 32, 1] |" in lines and "| [4, 6] |" in "".join(lines)
    assert len(lines) == 4 + len(shape_tour.STAGES)
    assert plain.spatial_transformer is paste


def test_a_pendulum_has_a_tour_too(capsys):
    shape_tour.main(["--task=pendulum_gymnasium", "--batch_size=2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "B = 2, T = 14, L = 3, P = 7, E = 4, H = 64, C = 3, N = 1, G = 32"
    assert "| torques | [B, T-1] | [2, 13] |" in lines


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--task=no_such_task"], "choose one of bouncing_balls"),
        (["--task=pendulum", "--alt_vel"], "--alt_vel"),
        ([], "--task"),
        (["--task=spring_color", "--batch_size=0"], "--batch_size=0"),
        (["--task=spring_color", "--batch_size=few"], "--batch_size"),
        (["--task=spring_color", "--color=red"], "--color"),
    ],
)
def test_mistakes_are_one_line(arguments, named, capsys):
    with pytest.raises(SystemExit) as stop:
        shape_tour.main(arguments)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (1, "") and err.count("\n") == 1 and err.startswith("error: ") and named in err
