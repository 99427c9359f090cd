"""What a run has learned and drawn, in words for its end."""

from __future__ import annotations

from pathlib import Path

from physics_models.tasks import Task

PICTURES = ("example*.jpg", "animation*.gif", "templates.jpg")


def meanings(scalars: dict[str, float], task: Task) -> list[str]:
    """A line for each learned number of `scalars` (`BaseNet.scalars`), with its unit."""
    words = {
        "k": lambda k: f"spring constant k {k:.3g}, acceleration a pixel of stretch",
        "l": lambda l: f"rest length {2 * l:.3g} px (2·l)",  # noqa: E741
        "g": lambda g: f"gravity g {g:.3g}, acceleration times distance squared (px³ a unit of time squared)",
        "sigma": lambda s: f"template scale sigma {s:.3g}, templates drawn {task.img_size / s:.3g} px wide",
    }
    return [words[name](value) if name in words else f"{name} {value:.3g}" for name, value in scalars.items()]


def closing_lines(save_dir: str | Path, scalars: dict[str, float], task: Task) -> list[str]:
    """What to print at the end of a run: the learned numbers, and where the pictures are."""
    drawn = [file.name for pattern in PICTURES for file in sorted(Path(save_dir).glob(pattern))]
    lines = [f"learned: {'; '.join(meanings(scalars, task))}"] if scalars else []
    return [*lines, f"pictures in {Path(save_dir).absolute()}: {', '.join(drawn)}"]
