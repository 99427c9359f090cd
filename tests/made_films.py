"""Made films with known parameters, and what run_video.py makes of them: errors, and what the error bars hold.

PYTHONPATH=. python tests/made_films.py --seeds=0,1,2 --systems=fall,incline --folder=experiments/films

prints the table of all films in the folder; a film that has its report is not measured again. Frames are 96×96, RGB:
discs before uneven light and another disc that rests, blurred by the motion and by the lens, with noise of 4 grey
levels. The motion is integrated here in NumPy, in steps of 1/40 of a frame.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
SIDE, NOISE, SUBSTEPS, EXPOSED = 96, 4.0, 40, 0.5  # pixels; grey levels; steps per frame; share of a frame's time
COLORS = np.array([[0.85, 0.2, 0.15], [0.15, 0.35, 0.9], [0.95, 0.8, 0.1]])
RADIUS = 7.0  # pixels

Acceleration = Callable[[np.ndarray, np.ndarray], np.ndarray]  # positions, velocities [N, 2] → [N, 2]


class MadeFilm(NamedTuple):
    """A film and what it should give."""

    frames: np.ndarray  # uint8 [T, 96, 96, 3]
    fps: float
    truth: dict[str, float]  # by the names of report.json; lengths in pixels of the film


def make_film(system: str, seed: int, radius: float = RADIUS) -> MadeFilm:
    """The film number `seed` of `system`."""
    if system == "bouncing":
        return _bouncing(np.random.RandomState([seed, len(_MADE)]), radius)
    random = np.random.RandomState([seed, sorted(_MADE).index(system)])
    acceleration, first, speed, fps, count, truth = _MADE[system](random)
    paths = integrate(acceleration, np.array(first, float), np.array(speed, float), fps, count)
    return MadeFilm(draw(paths, random, radius), fps, truth)


def integrate(acceleration: Acceleration, x: np.ndarray, v: np.ndarray, fps: float, count: int) -> np.ndarray:
    """Positions [T, K, N, 2] at K moments of the exposure of each of T frames, by velocity Verlet."""
    h = 1.0 / (fps * SUBSTEPS)
    moments = np.linspace(-EXPOSED / 2, EXPOSED / 2, 5) * SUBSTEPS
    wanted = {int(round(frame * SUBSTEPS + m)) for frame in range(1, count + 1) for m in moments}
    path = {}
    for step in range((count + 1) * SUBSTEPS):
        if step in wanted:
            path[step] = x.copy()
        a = acceleration(x, v)
        middle = v + h / 2 * a
        x = x + h * middle
        v = middle + h / 2 * acceleration(x, middle)
    return np.stack([[path[int(round(f * SUBSTEPS + m))] for m in moments] for f in range(1, count + 1)])


def draw(paths: np.ndarray, random: np.random.RandomState, radius: float = RADIUS) -> np.ndarray:
    """Frames uint8 [T, 96, 96, 3] of discs of `radius` pixels along `paths` [T, K, N, 2]."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    slope = random.uniform(-0.15, 0.15, 2)
    light = 0.45 + slope[0] * (x / SIDE - 0.5) + slope[1] * (y / SIDE - 0.5)
    scene = light[..., None] * random.uniform(0.8, 1.2, 3)
    rest = random.uniform(8, 20, 2) if random.rand() < 0.5 else random.uniform(SIDE - 20, SIDE - 8, 2)
    scene = np.where((np.hypot(x - rest[0], y - rest[1]) < 6)[..., None], 0.2, scene)
    frames = []
    for moments in paths:
        picture = np.zeros_like(scene)
        for places in moments:
            drawn = scene
            for place, color in zip(places, COLORS):
                cover = np.clip(radius + 0.5 - np.hypot(x - place[0], y - place[1]), 0, 1)[..., None]
                drawn = (1 - cover) * drawn + cover * color * (light[..., None] + 0.55)
            picture += drawn / len(moments)
        blurred = sum(np.roll(picture, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))) / 5
        noisy = 255 * blurred + random.normal(0, NOISE, picture.shape)
        frames.append(np.clip(noisy, 0, 255).round().astype(np.uint8))
    return np.stack(frames)


def _pendulum(random: np.random.RandomState) -> tuple:
    ratio, gamma, length = random.uniform(6, 20), random.uniform(0.01, 0.05), random.uniform(50, 90)
    theta = np.radians(random.uniform(15, 25)) * min(1.0, 70 / length)
    pivot = np.array([SIDE / 2, random.uniform(60, 75) - length])

    def acceleration(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Gravity and damping along the circle, and what keeps the body on it."""
        d = (x - pivot) / length
        along = np.stack([d[:, 1], -d[:, 0]], 1)
        spin = (v * along).sum(1, keepdims=True) / length
        turning = -ratio * d[:, :1] - 2 * gamma * spin  # sin θ = d_x
        return length * (turning * along - spin**2 * d)

    start = pivot + length * np.array([[np.sin(theta), np.cos(theta)]])
    return acceleration, start, [[0, 0]], 30, 240, {"g_over_L": ratio, "damping": gamma}


def _anchored_spring(random: np.random.RandomState) -> tuple:
    ratio, gamma = random.uniform(8, 40), random.uniform(0.02, 0.1)
    anchor = random.uniform(44, 52, 2)
    start, speed = anchor + [[random.uniform(20, 30), random.uniform(-5, 5)]], random.uniform(-20, 20, (1, 2))
    return lambda x, v: -ratio * (x - anchor) - 2 * gamma * v, start, speed, 30, 240, {
        "k_over_m": ratio, "damping": gamma}  # fmt: skip


def _spring(random: np.random.RandomState) -> tuple:
    k, rest = random.uniform(4, 12), random.uniform(26, 32)

    def acceleration(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        d = x[1] - x[0]
        r = np.linalg.norm(d)
        pull = k * (r - rest) * d / r
        return np.stack([pull, -pull])

    angle = random.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    half, spin = rest * random.uniform(0.65, 0.8), random.uniform(4, 12)
    middle = np.array([SIDE / 2, SIDE / 2])
    return acceleration, [middle - half * along, middle + half * along], [-spin * across, spin * across], 30, 240, {
        "k_over_m": k, "rest_length": rest}  # fmt: skip


def _fall(random: np.random.RandomState) -> tuple:
    g = random.uniform(150, 300)
    speed = [[random.uniform(50, 70), -random.uniform(0.75, 0.9) * np.sqrt(2 * g * 60)]]
    return lambda x, v: np.array([[0.0, g]]), [[14, 78]], speed, 60, 62, {"g": g}


def _incline(random: np.random.RandomState) -> tuple:
    a, angle = random.uniform(30, 60), np.radians(random.uniform(15, 35))
    along = np.array([np.cos(angle), np.sin(angle)])
    return lambda x, v: a * along[None], [[14, 25]], [along * 5], 30, 48, {"acceleration": a}


def _gravity(random: np.random.RandomState) -> tuple:
    distance, g = random.uniform(36, 44), random.uniform(3e4, 6e4)

    def acceleration(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        d = x[1] - x[0]
        pull = g * d / np.linalg.norm(d) ** 3
        return np.stack([pull, -pull])

    around = random.uniform(0.85, 1.1) * np.sqrt(g / distance / 2)
    middle = np.array([[SIDE / 2, SIDE / 2]])
    return acceleration, middle + [[-distance / 2, 0], [distance / 2, 0]], [[0, around], [0, -around]], 30, 240, {
        "g": g}  # fmt: skip


_MADE = {
    "pendulum": _pendulum,
    "anchored_spring": _anchored_spring,
    "spring": _spring,
    "fall": _fall,
    "incline": _incline,
    "gravity": _gravity,
}

SYSTEMS = (*_MADE, "bouncing")


def _bouncing(random: np.random.RandomState, radius: float) -> MadeFilm:
    """A straight flight that is mirrored at four walls."""
    low, high = random.uniform(9, 16, 2), random.uniform(SIDE - 16, SIDE - 9, 2)
    start, speed = [random.uniform(30, 60, 2)], random.choice([-1, 1], (1, 2)) * random.uniform(40, 90, 2)
    paths = integrate(lambda x, v: 0 * x, np.array(start), speed, 30, 240)
    paths = high - np.abs((paths - low) % (2 * (high - low)) - (high - low))
    walls = dict(zip(("left", "right", "top", "bottom"), np.stack([low, high], 1).flat))
    return MadeFilm(draw(paths, random, radius), 30, walls)


# The table


class Outcome(NamedTuple):
    """What `run_video.py` said of one made film."""

    system: str
    seed: int
    parameters: dict  # as in report.json
    truth: dict[str, float]
    warnings: list[str]


def measure(system: str, seed: int, folder: Path, radius: float = RADIUS) -> Outcome:
    """Run the command on the film number `seed`, unless `folder` has its report."""
    film, place = make_film(system, seed, radius), folder / f"{system}-{seed}"
    if not (place / "report.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{system}-{seed}.npz", frames=film.frames)
        command = [
            sys.executable, str(ROOT / "runners" / "run_video.py"), str(folder / f"{system}-{seed}.npz"),
            f"--system={system}", f"--fps={film.fps}", f"--save_dir={place}", f"--seed={seed}", "--overwrite",
        ]  # fmt: skip
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode not in (0, 2):
            sys.exit(f"{place}: run_video.py ended with: {ended.stderr.strip().splitlines()[-1]}")
    report = json.loads((place / "report.json").read_text())
    return Outcome(system, seed, report["parameters"], film.truth, report["warnings"])


def measured(folder: Path) -> list[Outcome]:
    """The outcomes of all films in `folder` that have a report."""
    found = [path.parent.name.rsplit("-", 1) for path in folder.glob("*/report.json")]
    return [measure(system, seed, folder) for system, seed in sorted((s, int(n)) for s, n in found if s in SYSTEMS)]


def table(outcomes: list[Outcome]) -> list[str]:
    """Markdown: of each system and parameter, errors and how many error bars hold the truth; then every film."""
    lines = ["| system | parameter | films with a result | median error | largest | truth within 1 error bar | 2 |"]
    lines.append("|---|---|---|---|---|---|---|")
    rows = []
    for system in SYSTEMS:
        ours = [o for o in outcomes if o.system == system]
        for name in ours[0].truth if ours else ():
            given = [o for o in ours if name in o.parameters]
            off = np.array([o.parameters[name]["value"] / o.truth[name] - 1 for o in given])
            held = [sum(_holds(o, name, bars) for o in given) for bars in (1, 2)]
            worst = "– | – | –"
            if given:
                worst = f"{np.abs(off).max():.2%} | {held[0]} of {len(given)} | {held[1]} of {len(given)}"
            middle = f"{np.median(np.abs(off)):.2%}" if given else "–"
            lines.append(f"| {system} | {name} | {len(given)} of {len(ours)} | {middle} | {worst} |")
        for o in ours:
            said = ", ".join(
                f"{n} {o.parameters[n]['value']:.4g} ± {o.parameters[n]['error']:.2g} (true {t:.4g})"
                if n in o.parameters else f"{n}: no result (true {t:.4g})" for n, t in o.truth.items()
            )  # fmt: skip
            rows.append(f"| {system} | {o.seed} | {said} | {'; '.join(o.warnings)} |")
    return [*lines, "", "| system | film | result | warnings |", "|---|---|---|---|", *rows]


def _holds(outcome: Outcome, name: str, bars: int) -> bool:
    """Whether the truth lies within so many error bars."""
    found = outcome.parameters[name]
    return found["error"] is not None and abs(found["value"] - outcome.truth[name]) <= bars * found["error"]


def main() -> None:
    """Measure the films of `--systems` and `--seeds`, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="", help="numbers with commas between; without them, nothing is measured")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--radius", type=float, default=RADIUS, help="of the discs, pixels; give another --folder, too")
    parser.add_argument("--folder", type=Path, default=Path("experiments/films"))
    options = parser.parse_args()
    if unknown := set(options.systems.split(",")) - set(SYSTEMS):
        parser.error(f"--systems: {min(unknown)}: no such system; choose of {', '.join(SYSTEMS)}")
    for seed, system in itertools.product(filter(None, options.seeds.split(",")), options.systems.split(",")):
        measure(system, int(seed), options.folder, options.radius)
    print("\n".join(table(measured(options.folder))))


if __name__ == "__main__":
    main()
