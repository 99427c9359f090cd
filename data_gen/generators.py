"""The generators of the original, names and signatures kept (`nn/datasets/generators.py`), and two new ones.

Each writes `dest`, an .npz with

    train_x, valid_x, test_x        uint8 [sequences, T, H, H, C]
    train_pos, valid_pos, test_pos  float32 [sequences, T, N, 2], (x, y) in pixels, y downwards
    train_vel, valid_vel, test_vel  float32 [sequences, T, N, 2], pixels per unit of time (a frame step is dt)
    meta                            JSON string: task, physics, seed, version, attempts

and `<dest without its ending>_samples.jpg`, the first ten sequences. Frames equal the original's bit for bit for
the same `np.random.seed`, and as many random numbers are drawn from NumPy's global stream. (Digits: in frames of 32,
36 and 64 pixels; at other sizes the original's rounding is not reproduced, and a pixel may differ by one grey level.)

Arguments that they share: `img_size` [H, H] and `radius` in pixels; `dt` time between frames, in `ode_steps`
sub-steps; `vx0_max`, `vy0_max` start speeds in pixels per unit of time; `color` for RGB frames with object j in
channel 2 - j. `**output` takes `overwrite` (default True, as in the original) and `meta` of
`data_gen.dataset.generate`; all return its statistics, and raise `DataError` for settings that cannot work.
A sequence in which an object reaches a wall that does not reflect it is thrown away and drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable

import numpy as np

from data_gen import initial_states, physics
from data_gen.dataset import Render, Sample, frame_side, generate
from data_gen.digits import render_digits
from data_gen.errors import DataError
from data_gen.files import SPLITS
from data_gen.initial_states import Start
from data_gen.render import render_before_pictures, render_discs, render_discs_at_frame_scale
from data_gen.sources import PictureSource, fingerprint, grey, load_digits, load_pictures

SETTINGS = (
    "seq_len", "radius", "dt", "k", "equil", "g", "m", "vx0_max", "vy0_max", "color", "cifar_background", "ode_steps",
    "half_frames", "digits_sha256", "background_sha256",
)


def compute_wall_collision(
    pos: np.ndarray, vel: np.ndarray, radius: float, img_size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity (2,) of a ball after reflection at the walls that it reaches."""
    return physics.reflect_at_walls(np.asarray(pos, float), np.asarray(vel, float), radius, img_size[0])


def verify_wall_collision(pos: np.ndarray, vel: np.ndarray, radius: float, img_size: Sequence[int]) -> bool:
    """Whether a ball at `pos` (2,) reaches a wall; `vel` does not matter."""
    return bool(physics.touches_wall(np.asarray(pos, float).reshape(1, 2, 1), radius, img_size[0])[0])


def verify_object_collision(poss: Sequence[np.ndarray], radius: float) -> bool:
    """Whether any two of the positions (2,) are within `radius` pixels of each other."""
    return bool(physics.objects_within(np.asarray(poss, float)[..., None], radius)[0])


def _generate(
    arguments: dict[str, Any], draw: Callable[[int], Start], acceleration: physics.Acceleration,
    reject: physics.Rejection | None = None, render: Render | None = None,
) -> dict[str, float]:
    """`data_gen.dataset.generate` with a generator's `locals()`, of which those in `SETTINGS` go into the metadata.

    Without `reject` objects bounce off the walls; without `render` they are discs on black.
    """
    radius, side, color = (arguments.get(name) for name in ("radius", "side", "color"))
    if render is None and arguments.pop("cifar_background", False):
        raise DataError("cifar_background does not work for several balls (the original crashes there too)")
    sizes = [arguments[f"{split}_set_size"] for split in SPLITS]
    settings = {"img_size": side, **{name: arguments[name] for name in SETTINGS if name in arguments}}
    walls = {"reject": reject} if reject else {"reflect": partial(physics.reflect_at_walls, radius=radius, side=side)}
    render = render or (lambda sample: render_discs(sample.pos, radius, side, color))
    system = {"acceleration": acceleration, **walls}
    return generate(arguments["dest"], sizes, settings, draw, system, render, **arguments["output"])


def generate_bouncing_ball_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int, box_size: float,
    **output: Any,
) -> dict[str, float]:
    """Positions only, float64 [sequences, T, 2]: a point in a box of `box_size`; always with seed 0."""

    def flip_before_leaving(pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
        following = pos + vel
        return np.where((following > box_size) | (following < 0), -2 * vel, 0)

    np.random.seed(0)
    return generate(
        dest, (train_set_size, valid_set_size, test_set_size), {"seq_len": seq_len, "box_size": box_size},
        partial(initial_states.in_box, box_size=box_size),
        {"acceleration": flip_before_leaving},
        lambda sample: sample.pos[:, :, 0],
        **{**output, "meta": {"seed": 0, **(output.get("meta") or {})}},
    )


def generate_falling_ball_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.15, g: float = 9.8, ode_steps: int = 10,
    **output: Any,
) -> dict[str, float]:
    """A grey ball falling from rest with acceleration `g`; a sequence that reaches the floor is dropped."""
    side = frame_side(img_size)
    return _generate(
        locals(),
        partial(initial_states.falling, side=side, radius=radius),
        partial(physics.falling_acceleration, g=g),
        lambda pos, frame: physics.touches_wall(pos, radius, side),
        lambda sample: render_discs_at_frame_scale(sample.pos, radius, side),
    )


def generate_falling_bouncing_ball_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.30, g: float = 9.8,
    vx0_max: float = 0.0, vy0_max: float = 0.0, cifar_background: bool = False, ode_steps: int = 10,
    background: PictureSource = None, **output: Any,
) -> dict[str, float]:
    """A grey ball that falls with acceleration `g` and bounces off all walls.

    With `cifar_background` a random CIFAR-10 training picture (or one of `background`, see `sources.load_pictures`) is
    behind each sequence, in grey and darkened by 0.2. These frames alone are not tested against the original's.
    """
    side = frame_side(img_size)
    pictures = load_pictures(background) if cifar_background else None

    def render(sample: Sample) -> np.ndarray:
        if pictures is None:
            return render_discs(sample.pos, radius, side, False)
        behind = grey(pictures[sample.picture % len(pictures)])
        return render_before_pictures(sample.pos, radius, side, behind)

    return _generate(
        locals(),
        lambda n: initial_states.falling_bouncing(n, side, radius, g, vx0_max, vy0_max, cifar_background),
        partial(physics.falling_acceleration, g=g),
        render=render,
    )


def generate_spring_balls_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.3, k: float = 3, equil: float = 5,
    vx0_max: float = 0.0, vy0_max: float = 0.0, color: bool = False, cifar_background: bool = False,
    ode_steps: int = 10, **output: Any,
) -> dict[str, float]:
    """Two balls on a spring of constant `k` and rest length 2·`equil` pixels."""
    side = frame_side(img_size)
    return _generate(
        locals(),
        lambda n: initial_states.spring_pair(n, side, radius, equil, vx0_max, vy0_max),
        partial(physics.spring_acceleration, k=k, equil=equil),
        lambda pos, frame: physics.touches_wall(pos, radius, side),
    )


def generate_spring_mnist_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.3, k: float = 3, equil: float = 5,
    vx0_max: float = 0.0, vy0_max: float = 0.0, color: bool = False, cifar_background: bool = False,
    ode_steps: int = 10, digits: PictureSource = None, background: PictureSource = None, **output: Any,
) -> dict[str, float]:
    """Two MNIST digits on a spring, before a CIFAR-10 picture if `cifar_background`.

    Digit j is painted in channel j. `radius` does not matter, as in the original: centres are drawn as for radius 11,
    and a centre 2 pixels from a wall rejects, so that digits reach over the edge. `digits` and `background` replace
    MNIST's training images 0 and 1 and CIFAR-10's training image 1; see `data_gen.sources`.
    """
    side = frame_side(img_size)
    if cifar_background and not color:
        raise DataError("a CIFAR background needs color=True: the picture has three channels")
    images = load_digits(digits)
    picture = load_pictures(background)[:2][-1] if cifar_background else None
    digits_sha256, background_sha256 = fingerprint(images), None if picture is None else fingerprint(picture)
    del radius
    return _generate(
        locals(),
        lambda n: initial_states.spring_pair(n, side, 11, equil, vx0_max, vy0_max),
        partial(physics.spring_acceleration, k=k, equil=equil),
        lambda pos, frame: physics.touches_wall(pos, 2, side),
        lambda sample: render_digits(sample.pos, images, side, picture, color),
    )


def generate_3_body_problem_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.3, g: float = 9.8, m: float = 1.0,
    vx0_max: float = 0.0, vy0_max: float = 0.0, color: bool = False, cifar_background: bool = False,
    ode_steps: int = 10, **output: Any,
) -> dict[str, float]:
    """Three bodies under gravity `g`·`m`²/d²; wall contact, or two within `radius` + 1 pixels, rejects."""
    side = frame_side(img_size)
    return _generate(
        locals(),
        lambda n: initial_states.three_bodies(n, side, vx0_max, vy0_max),
        partial(physics.gravity_acceleration, g=g, m=m),
        lambda pos, frame: physics.touches_wall(pos, radius, side) | physics.objects_within(pos, radius + 1),
    )


def generate_bouncing_balls_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.3,
    vx0_max: float = 0.0, vy0_max: float = 0.0, color: bool = False, ode_steps: int = 10, **output: Any,
) -> dict[str, float]:
    """Two balls that bounce off the walls at each sub-step and pass through each other (task bouncing_balls).

    Random numbers as falling_bouncing_ball with g = 0: positions in [r, H - r]², then directions. None is rejected.
    """
    side = frame_side(img_size)
    return _generate(
        locals(),
        lambda n: initial_states.bouncing_pair(n, side, radius, vx0_max, vy0_max),
        partial(physics.falling_acceleration, g=0),
    )


def generate_spring_balls_half_dataset(
    dest: str, train_set_size: int, valid_set_size: int, test_set_size: int, seq_len: int,
    img_size: Sequence[int] | None = None, radius: float = 3, dt: float = 0.3, k: float = 3, equil: float = 5,
    vx0_max: float = 0.0, vy0_max: float = 0.0, color: bool = False, ode_steps: int = 10, half_frames: int = 10,
    **output: Any,
) -> dict[str, float]:
    """Two balls on a spring that stay in the left half of the image at first (task spring_color_half).

    A model sees no object in the right half before its extrapolation: in the first `half_frames` = L + P frames, and in
    each sub-step between them, both whole discs lie in the left one (r < x < H / 2 - r); afterwards only the image's
    walls reject. Random numbers as spring_balls, but the centre of mass's x is drawn in [r, H / 2 - r].
    """
    side = frame_side(img_size)

    def leaves(pos: np.ndarray, frame: int) -> np.ndarray:
        width = side / 2 if frame + 1 < half_frames else side
        return physics.touches_wall(pos, radius, width, side)

    return _generate(
        locals(),
        lambda n: initial_states.spring_pair(n, side, radius, equil, vx0_max, vy0_max, half=True),
        partial(physics.spring_acceleration, k=k, equil=equil),
        leaves,
    )
