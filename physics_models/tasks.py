"""The task table (`runners/run_physics.py` of the original)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from physics_models.errors import ExperimentError


@dataclass(frozen=True)
class Task:
    """One row: what is filmed, and how many frames go where. Frames are [img_size, img_size, C]."""

    name: str
    cell_type: str
    train_len: int  # T of the train file, frames
    test_len: int  # T of the test file, frames
    input_steps: int  # L, frames the initial state is estimated from
    pred_steps: int  # P, predicted frames in the loss
    img_size: int  # H, pixels
    n_objs: int  # N

    @property
    def coord_units(self) -> int:
        """Size of the state, 4N: two positions and two velocities an object."""
        return 4 * self.n_objs

    def check_frames(self, n_frames: int, what: str) -> None:
        """Raise `ExperimentError` unless a sequence of `n_frames` holds more than L + P frames."""
        needed = self.input_steps + self.pred_steps + 1
        if n_frames < needed:
            raise ExperimentError(
                f"{what}: sequences have {n_frames} frames, but task {self.name} needs at least {needed} "
                f"({self.input_steps} input + {self.pred_steps} predicted + 1 extrapolated)"
            )


TASKS = {
    task.name: task
    for task in (
        #    name                  cell                 T train  test   L  P   H   N
        Task("bouncing_balls", "bouncing_ode_cell", 12, 30, 4, 6, 32, 2),
        Task("spring_color", "spring_ode_cell", 12, 30, 4, 6, 32, 2),
        Task("spring_color_half", "spring_ode_cell", 12, 30, 4, 6, 32, 2),
        Task("3bp_color", "gravity_ode_cell", 20, 40, 4, 12, 36, 3),
        Task("mnist_spring_color", "spring_ode_cell", 12, 30, 3, 7, 64, 2),
    )
}
# Section 4.2 of the paper; not in the original's code.
PENDULUMS = {
    name: Task(name, "actuated_pendulum_cell", 14, 20, 3, 7, img_size=64, n_objs=1)
    for name in ("pendulum", "pendulum_gymnasium")
}


def get_task(name: str, cell_type: str = "") -> Task:
    """The row of task `name`, its cell replaced by `cell_type` if that is given.

    Raises `ExperimentError`, naming the choices, for a task that is not in the table, and for a pendulum's cell.
    """
    if name in PENDULUMS and not cell_type:
        return PENDULUMS[name]
    if name in PENDULUMS:
        raise ExperimentError(f"--cell_type={cell_type}: task {name} has a cell of its own; leave it out")
    if name not in TASKS:
        raise ExperimentError(f"--task={name}: no such task; choose one of {', '.join((*TASKS, *PENDULUMS))}")
    return replace(TASKS[name], cell_type=cell_type) if cell_type else TASKS[name]
