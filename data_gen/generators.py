"""The generators of the original, names and signatures kept (`nn/datasets/generators.py`), and two new ones.

Each writes `dest`, an .npz with

    train_x, valid_x, test_x        uint8 [sequences, T, H, H, C]
    train_pos, valid_pos, test_pos  float32 [sequences, T, N, 2], (x, y) in pixels, y downwards
    train_vel, valid_vel, test_vel  float32 [sequences, T, N, 2], pixels per unit of time (a frame step is dt)
    meta                            JSON string: task, physics, seed, version, attempts

and `<dest without its ending>_samples.jpg`, the first ten sequences. Frames equal the original's bit for bit
for the same `np.random.seed`, and as many random numbers are drawn from NumPy's global stream.

Arguments that they share: `seq_len` T in frames; `img_size` [H, H] in pixels, None for [32, 32]; `radius` in
pixels; `dt` time between frames, in `ode_steps` sub-steps; `vx0_max`, `vy0_max` start speeds along x and y in
pixels per unit of time; `color` for RGB frames with object j in channel 2 - j. `**output` takes `overwrite`
(default True, as the original), `progress` and `meta` of `data_gen.dataset.generate`, and all return its
statistics. All raise DataError for settings that cannot work. A sequence in which an object reaches a wall
that does not reflect it is thrown away and drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable

import numpy as np

from data_gen import attempts, physics
from data_gen.dataset import BALL_SETTINGS, check_settings, frame_side, generate, spring_does_not_fit
from data_gen.digits import background_canvas, render_digits
from data_gen.errors import DataError
from data_gen.new_generators import generate_bouncing_balls_dataset, generate_spring_balls_half_dataset
from data_gen.render import DISC_SCALE, render_balls_at_frame_scale, render_discs
from data_gen.sampling import Sample
from data_gen.sources import PictureSource, digit_background, fingerprint, grey, load_digits, load_pictures

__all__ = [
    "compute_wall_collision",
    "generate_3_body_problem_dataset",
    "generate_bouncing_ball_dataset",
    "generate_bouncing_balls_dataset",
    "generate_falling_ball_dataset",
    "generate_falling_bouncing_ball_dataset",
    "generate_spring_balls_dataset",
    "generate_spring_balls_half_dataset",
    "generate_spring_mnist_dataset",
    "verify_object_collision",
    "verify_wall_collision",
]

# The digits are placed as if they were discs of this radius, but may reach over the edge up to this distance.
DIGIT_PLACING_RADIUS, DIGIT_WALL_RADIUS = 11, 2


def compute_wall_collision(
    pos: np.ndarray, vel: np.ndarray, radius: float, img_size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity (2,) of a ball after reflection at the walls that it reaches."""
    return physics.reflect_at_walls(np.asarray(pos, float), np.asarray(vel, float), radius, img_size[0])


def verify_wall_collision(
    pos: np.ndarray, vel: np.ndarray, radius: float, img_size: Sequence[int]
) -> bool:
    """Whether a ball at `pos` (2,) reaches a wall; `vel` does not matter."""
    return bool(physics.touches_wall(np.asarray(pos, float).reshape(1, 2, 1), radius, img_size[0])[0])


def verify_object_collision(poss: Sequence[np.ndarray], radius: float) -> bool:
    """Whether any two of the positions (2,) are within `radius` pixels of each other."""
    return bool(physics.objects_within(np.asarray(poss, float)[..., None], radius)[0])


def generate_bouncing_ball_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    box_size: float,
    **output: Any,
) -> dict[str, float]:
    """Positions only, float64 [sequences, T, 2]: a point in a box of `box_size`; always with seed 0."""
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "box_size": box_size}
    check_settings(sizes, settings, positive=["box_size"])

    def flip_before_leaving(pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
        following = pos + vel
        return np.where((following > box_size) | (following < 0), -2 * vel, 0)

    np.random.seed(0)
    return generate(
        dest,
        sizes,
        settings,
        draw=partial(attempts.pair_in_box, box_size=box_size),
        system={"acceleration": flip_before_leaving},
        render=lambda sample, report: sample.pos[:, :, 0],
        **{**output, "meta": {"seed": 0, **(output.get("meta") or {})}},
    )


def generate_falling_ball_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    img_size: Sequence[int] | None = None,
    radius: float = 3,
    dt: float = 0.15,
    g: float = 9.8,
    ode_steps: int = 10,
    **output: Any,
) -> dict[str, float]:
    """A grey ball falling from rest with acceleration `g`; a sequence that reaches the floor is dropped."""
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "g": g}
    settings.update(ode_steps=ode_steps)
    check_settings(sizes, settings, BALL_SETTINGS)
    return generate(
        dest,
        sizes,
        settings,
        draw=partial(attempts.falling, side=side, radius=radius),
        system={
            "acceleration": partial(physics.falling_acceleration, g=g),
            "reject": lambda pos, frame: physics.touches_wall(pos, radius, side),
        },
        render=lambda sample, report: render_balls_at_frame_scale(sample.pos, radius, side),
        why_rejected=f"a ball of radius {radius} px leaves a {side} px frame within {seq_len} steps of {dt}",
        **output,
    )


def generate_falling_bouncing_ball_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    img_size: Sequence[int] | None = None,
    radius: float = 3,
    dt: float = 0.30,
    g: float = 9.8,
    vx0_max: float = 0.0,
    vy0_max: float = 0.0,
    cifar_background: bool = False,
    ode_steps: int = 10,
    background: PictureSource = None,
    **output: Any,
) -> dict[str, float]:
    """A grey ball that falls with acceleration `g` and bounces off all walls.

    With `cifar_background` a random CIFAR-10 training picture (or one of `background`, see
    `data_gen.sources.load_pictures`) is behind each sequence: in grey, 0.2 darker as behind the digits. That
    rendering is a guess: unlike everything else here it was not held against the original.
    """
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "g": g, "vx0_max": vx0_max}
    settings.update(vy0_max=vy0_max, cifar_background=cifar_background, ode_steps=ode_steps)
    check_settings(sizes, settings, BALL_SETTINGS)
    pictures = load_pictures(background) if cifar_background else None

    def render(sample: Sample, report: Callable[[int], None]) -> np.ndarray:
        def behind(sequence: int) -> np.ndarray:
            assert pictures is not None and sample.extra is not None  # there is a background
            picture = pictures[sample.extra[sequence] % len(pictures)]
            return background_canvas(grey(picture), side * DISC_SCALE)[0]

        return render_discs(sample.pos, radius, side, False, behind if cifar_background else None, report)

    return generate(
        dest,
        sizes,
        settings,
        draw=lambda n: attempts.falling_bouncing(n, side, radius, g, vx0_max, vy0_max, cifar_background),
        system={
            "acceleration": partial(physics.falling_acceleration, g=g),
            "reflect": partial(physics.reflect_at_walls, radius=radius, side=side),
        },
        render=render,
        **output,
    )


def generate_spring_balls_dataset(
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
    cifar_background: bool = False,
    ode_steps: int = 10,
    **output: Any,
) -> dict[str, float]:
    """Two balls on a spring of constant `k` and rest length 2·`equil` pixels; wall contact rejects."""
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "k": k, "equil": equil}
    settings.update(vx0_max=vx0_max, vy0_max=vy0_max, color=color, ode_steps=ode_steps)
    check_settings(sizes, settings, [*BALL_SETTINGS, "equil"])
    _no_cifar_background(cifar_background)
    return generate(
        dest,
        sizes,
        settings,
        draw=lambda n: attempts.spring_pair(n, side, radius, equil, vx0_max, vy0_max),
        system={
            "acceleration": partial(physics.spring_acceleration, k=k, equil=equil),
            "reject": lambda pos, frame: physics.touches_wall(pos, radius, side),
        },
        render=lambda sample, report: render_discs(sample.pos, radius, side, color, None, report),
        why_rejected=spring_does_not_fit(side, side, radius, equil, seq_len),
        **output,
    )


def generate_spring_mnist_dataset(
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
    cifar_background: bool = False,
    ode_steps: int = 10,
    digits: PictureSource = None,
    background: PictureSource = None,
    **output: Any,
) -> dict[str, float]:
    """Two MNIST digits on a spring, before a CIFAR-10 picture if `cifar_background`.

    As `generate_spring_balls_dataset`, but: digit j is painted in channel j; `radius` does not matter (as in
    the original): centres are drawn as for radius 11, and a centre 2 pixels from a wall rejects, so that
    digits reach over the edge. `digits` and `background` replace MNIST's training images 0 and 1 and CIFAR-10's
    training image 1; see `data_gen.sources`.
    """
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings: dict[str, Any] = {"seq_len": seq_len, "img_size": side, "dt": dt, "k": k, "equil": equil}
    settings.update(vx0_max=vx0_max, vy0_max=vy0_max, color=color)
    settings.update(cifar_background=cifar_background, ode_steps=ode_steps)
    check_settings(sizes, settings, ["dt", "equil"])
    if cifar_background and not color:
        raise DataError("a CIFAR background needs color=True: the picture has three channels")
    images = load_digits(digits)
    picture = digit_background(background) if cifar_background else None
    settings["digits_sha256"] = fingerprint(images)
    settings["background_sha256"] = None if picture is None else fingerprint(picture)
    return generate(
        dest,
        sizes,
        settings,
        draw=lambda n: attempts.spring_pair(n, side, DIGIT_PLACING_RADIUS, equil, vx0_max, vy0_max),
        system={
            "acceleration": partial(physics.spring_acceleration, k=k, equil=equil),
            "reject": lambda pos, frame: physics.touches_wall(pos, DIGIT_WALL_RADIUS, side),
        },
        render=lambda sample, report: render_digits(sample.pos, images, side, picture, color, report),
        why_rejected=spring_does_not_fit(side, side, DIGIT_WALL_RADIUS, equil, seq_len),
        **output,
    )


def generate_3_body_problem_dataset(
    dest: str,
    train_set_size: int,
    valid_set_size: int,
    test_set_size: int,
    seq_len: int,
    img_size: Sequence[int] | None = None,
    radius: float = 3,
    dt: float = 0.3,
    g: float = 9.8,
    m: float = 1.0,
    vx0_max: float = 0.0,
    vy0_max: float = 0.0,
    color: bool = False,
    cifar_background: bool = False,
    ode_steps: int = 10,
    **output: Any,
) -> dict[str, float]:
    """Three bodies under gravity `g`·`m`²/d²; wall contact, or two within `radius` + 1 pixels, rejects."""
    side = frame_side(img_size)
    sizes = (train_set_size, valid_set_size, test_set_size)
    settings = {"seq_len": seq_len, "img_size": side, "radius": radius, "dt": dt, "g": g, "m": m}
    settings.update(vx0_max=vx0_max, vy0_max=vy0_max, color=color, ode_steps=ode_steps)
    check_settings(sizes, settings, BALL_SETTINGS)
    _no_cifar_background(cifar_background)
    return generate(
        dest,
        sizes,
        settings,
        draw=partial(attempts.three_bodies, side=side, vx0=vx0_max, vy0=vy0_max),
        system={
            "acceleration": partial(physics.gravity_acceleration, g=g, m=m),
            "reject": lambda pos, frame: physics.touches_wall(pos, radius, side)
            | physics.objects_within(pos, radius + 1),
        },
        render=lambda sample, report: render_discs(sample.pos, radius, side, color, None, report),
        why_rejected=(
            f"three bodies of radius {radius} px in a {side} px frame reach a wall or meet within {seq_len} "
            f"steps of {dt}; take a larger frame, smaller start speeds or a shorter sequence"
        ),
        **output,
    )


def _no_cifar_background(cifar_background: bool) -> None:
    if cifar_background:
        raise DataError(
            "cifar_background does not work for balls (the original crashes there too): "
            "use generate_spring_mnist_dataset or generate_falling_bouncing_ball_dataset"
        )
