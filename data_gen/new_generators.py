"""Generators of the two tasks whose data the original published without a generator; see `data_gen.generators`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from data_gen import attempts, physics
from data_gen.dataset import BALL_SETTINGS, check_settings, frame_side, generate, spring_does_not_fit
from data_gen.render import render_discs


def generate_bouncing_balls_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    img_size: Sequence[int] | None = None,
    radius: float = 3,
    dt: float = 0.3,
    vx0_max: float = 0.0,
    vy0_max: float = 0.0,
    color: bool = False,
    ode_steps: int = 10,
    **output: Any,
) -> dict[str, float]:
    """Two balls that bounce off the walls at each sub-step and pass through each other (task bouncing_balls).

    The original has no generator for its file. Drawn here per attempt, in the manner of falling_bouncing_ball
    with g = 0: rand(2) position of ball 0 in [r, H - r]², rand(2) of ball 1, rand(2)·2π directions of
    their velocities (cos·vx0_max, sin·vy0_max). No attempt is rejected.
    """
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "ode_steps": ode_steps}
    settings.update(vx0_max=vx0_max, vy0_max=vy0_max, color=color)
    check_settings(sizes, settings, BALL_SETTINGS)
    return generate(
        dest,
        sizes,
        settings,
        draw=partial(attempts.bouncing_pair, side=side, radius=radius, vx0=vx0_max, vy0=vy0_max),
        system={
            "acceleration": physics.free_acceleration,
            "reflect": partial(physics.reflect_at_walls, radius=radius, side=side),
        },
        render=lambda sample, report: render_discs(sample.pos, radius, side, color, None, report),
        **output,
    )


def generate_spring_balls_half_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    img_size: Sequence[int] | None = None,
    radius: float = 3,
    dt: float = 0.3,
    k: float = 3,
    equil: float = 5,
    vx0_max: float = 0.0,
    vy0_max: float = 0.0,
    color: bool = False,
    ode_steps: int = 10,
    half_frames: int = 10,
    **output: Any,
) -> dict[str, float]:
    """Two balls on a spring that stay in the left half of the image at first (task spring_color_half).

    The original has no generator for its file. Here it is always the same half, the left one (x < H / 2), so
    that a model sees no object in the right half before its extrapolation: in the first `half_frames` = L + P
    frames, and in each sub-step between them, both balls lie inside it with their whole disc
    (r < x < H / 2 - r); afterwards they may cross, and only the image's walls reject. Random numbers as
    spring_balls, but the centre of mass's x is drawn in [r, H / 2 - r] instead of [r + e, H - r - e]: with
    e = 6 and H = 32 the original's range, cut down to the half, would be the single point x = 8.
    """
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "k": k, "equil": equil}
    settings.update(vx0_max=vx0_max, vy0_max=vy0_max, color=color, ode_steps=ode_steps)
    settings.update(half_frames=half_frames)
    check_settings(sizes, settings, [*BALL_SETTINGS, "equil", "half_frames"])

    def leaves(pos: np.ndarray, frame: int) -> np.ndarray:
        width = side / 2 if frame + 1 < half_frames else side
        return physics.touches_wall(pos, radius, width, side)

    return generate(
        dest,
        sizes,
        settings,
        draw=lambda n: attempts.spring_pair_in_half(n, side, radius, equil, vx0_max, vy0_max),
        system={"acceleration": partial(physics.spring_acceleration, k=k, equil=equil), "reject": leaves},
        render=lambda sample, report: render_discs(sample.pos, radius, side, color, None, report),
        why_rejected=spring_does_not_fit(side // 2, side, radius, equil, seq_len),
        **output,
    )
