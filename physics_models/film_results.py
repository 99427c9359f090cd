"""What a fit says in seconds and meters, and whether it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from physics_models import motion
from physics_models.discovery import Discovery, describe_count
from physics_models.fit import Fit, Track
from physics_models.supervision import Verdict

# Thresholds of the checks. Explained and contributions: `supervision.Verdict`; looks: `motion.FIXED_LOOKS`.
RESTS = 0.3  # pixels of a frame: a standard deviation of the positions below it is no motion
FITS, FITS_WELL = 0.9, 0.98  # share of the positions' variance that the trajectory explains
DETERMINED = 0.25  # standard deviation / value, above which a parameter has no value
MANY = 0.25  # share of the frames that must show a number of objects
MOST_OBJECTS = 3  # looked for, where one is asked for and more move
COUNT_MARGIN = 0.1  # of agreement of looks, by which another number of objects fits better
AT_EDGE, EDGE = 0.05, 1.0  # share of the frames, pixels of a frame
SMALLEST = 2.0  # pixels of a frame: diameter of an object
REPEATED = 0.02  # share of frames that repeat the one before
CORRELATED = 0.98  # of two parameters
GROWS = 1.5  # the object's size at the largest over that at the smallest, tenth against tenth of the frames
EARTH = 9.81  # m/s²
WALLS = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class System:
    """One choice of `--system`: the cell of `nn.systems`, and what is reported of it."""

    cell_type: str
    n_objs: int  # by default
    main: tuple[str, ...]  # parameters that must be determined


SYSTEMS = {
    "pendulum": System("pendulum_cell", 1, ("g_over_L",)),
    "anchored_spring": System("anchored_spring_cell", 1, ("k_over_m",)),
    "spring": System("spring_cell", 2, ("k", "l")),
    "fall": System("fall_cell", 1, ("g_x", "g_y")),
    "incline": System("fall_cell", 1, ("g_x", "g_y")),
    "gravity": System("gravity_cell", 2, ("g",)),
    "bouncing": System("bouncing_cell", 1, ()),
}


@dataclass(frozen=True)
class Known:
    """What the user knows of the system; `None` for what is unknown."""

    meters_per_pixel: float | None = None  # of the video's own pixels
    mass: float | None = None  # kg, of each body
    length: float | None = None  # m, of a pendulum
    g: float | None = None  # m/s², where the film was taken


class Quantity(NamedTuple):
    """A number of the report, with one standard deviation."""

    name: str
    value: float
    error: float
    unit: str

    def __str__(self) -> str:
        """As `9.27 ± 0.02 1/s²`, with as many digits as the error allows."""
        if not np.isfinite(self.error) or self.error <= 0:
            return f"{self.value:.4g} {self.unit}".rstrip()
        digits = max(0, 1 - int(np.floor(np.log10(self.error))))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f} {self.unit}".rstrip()


def quantities(
    name: str, fit: Fit, gap: float, pixel: float, known: Known, n_objs: int,
    corner: tuple[float, float] = (0.0, 0.0), timed: bool = True,
) -> list[Quantity]:  # fmt: skip
    """The numbers to report of `fit`.

    `gap`: mean time between two frames, in seconds, or in frames of the file where these have no times (not `timed`);
    `pixel`, `corner`: side of a frame's pixel, and the frame's upper left corner, in the video's own pixels.
    """
    time, second = gap, "s" if timed else "frame"
    meters, px = (known.meters_per_pixel, "m") if known.meters_per_pixel else (1.0, "px")
    length = pixel * meters
    p, e = fit.parameters, fit.errors
    found = []

    def add(quantity: str, value: float, error: float, unit: str) -> None:
        found.append(Quantity(quantity, float(value), float(error), unit))

    def add_swing(quantity: str, weight: str, times: float = 1.0) -> None:
        """`p[weight]`, an angular frequency squared, and its period; `times` the former is the latter's."""
        add(quantity, p[weight] / time**2, e[weight] / time**2, f"1/{second}²")
        omega2 = times * p[weight] - p.get("damping", 0.0) ** 2  # damping makes a swing slower
        if omega2 > 0:
            period = 2 * np.pi / np.sqrt(omega2) * time
            spread = np.hypot(times * e[weight], 2 * p.get("damping", 0.0) * e.get("damping", 0.0))
            add("period", period, period * spread / omega2 / 2, second)

    if name == "pendulum":
        add_swing("g_over_L", "g_over_L")
        ratio = found[0]
        if known.length and timed:
            add("g", ratio.value * known.length, ratio.error * known.length, "m/s²")
        if known.g and timed:
            add("L", known.g / ratio.value, known.g / ratio.value * ratio.error / ratio.value, "m")
    elif name == "anchored_spring":
        add_swing("k_over_m", "k_over_m")
    elif name == "spring":
        if n_objs == 2:
            add_swing("k_over_m", "k", 2.0)
        else:
            add("k_over_m", p["k"] / time**2, e["k"] / time**2, f"1/{second}²")
        add("rest_length", 2 * p["l"] * length, 2 * e["l"] * length, px)
    elif name == "gravity":
        add("g", p["g"] * length**3 / time**2, e["g"] * length**3 / time**2, f"{px}³/{second}²")
    elif name in ("fall", "incline"):
        size = float(np.hypot(p["g_x"], p["g_y"]))
        error = float(np.hypot(p["g_x"] * e["g_x"], p["g_y"] * e["g_y"])) / max(size, 1e-12)
        scale, unit = length / time**2, f"{px}/{second}²"
        add("g" if name == "fall" else "acceleration", size * scale, error * scale, unit)
        for axis in ("g_x", "g_y"):
            add(axis, p[axis] * scale, e[axis] * scale, unit)
    else:
        for wall, edge in zip(WALLS, np.repeat(corner, 2)):
            add(wall, p[wall] * length + edge * meters, e[wall] * length, px)
    if name in ("anchored_spring", "spring") and known.mass and timed:
        k = found[0]
        add("k", k.value * known.mass, k.error * known.mass, "N/m")
    if "damping" in p:
        add("damping", p["damping"] / time, e["damping"] / time, f"1/{second}")
    return found


class Findings(NamedTuple):
    """What the checks say; with a `fatal` one there are no numbers."""

    fatal: list[str]
    warnings: list[str]


def merge(*findings: Findings) -> Findings:
    """All remarks of several checks, each once."""
    fatal, warnings = ([text for f in findings for text in f[i]] for i in (0, 1))
    return Findings(list(dict.fromkeys(fatal)), list(dict.fromkeys(warnings)))


def count_objects(every: dict[int, motion.Kinds], system: System) -> int:
    """How many objects to look for: the system's, or all that move, where the system has one and more are seen."""
    likely = likely_number(every)
    if system.n_objs > 1 or not 1 < likely <= MOST_OBJECTS:
        return system.n_objs
    one = every[1].agreement if 1 in every and every[1].share >= MANY else 0.0
    return likely if every[likely].agreement > one + COUNT_MARGIN else 1


def likely_number(every: dict[int, motion.Kinds]) -> int:
    """The number of objects, of those that many frames show: a shadow or the camera's noise is there now and then."""
    return motion.estimate_n_objs({n: kinds for n, kinds in every.items() if kinds.share >= MANY} or every)


def check_objects(found: Discovery, verdict: Verdict) -> Findings:
    """Whether the objects are found at all."""
    fatal, n_objs = [], found.n_objs
    warnings, kinds, likely = [], found.kinds, likely_number(found.every)
    if kinds is None:
        fatal.append(
            f"{describe_count(found.every)}, not {n_objs}; --mask_out what else moves, --crop to what is small, or "
            "give --n_objs, if all are bodies of the system"
        )
    elif likely != n_objs and found.every[likely].agreement > kinds.agreement + COUNT_MARGIN:
        fatal.append(f"{describe_count(found.every)}, not {n_objs}; --mask_out or --crop what else moves")
    if kinds is not None and kinds.agreement < motion.FIXED_LOOKS:
        warnings.append(
            f"what moves looks different from frame to frame (agreement {kinds.agreement:.0%}): a spring or a string "
            "belongs to it, or it turns, bends, or moves towards the camera; compare the pictures"
        )
    if not verdict.found:
        fatal.append(f"{verdict}; another --seed may find them")
    return Findings(fatal, warnings)


def check_looks(found: Discovery, fit: Fit) -> Findings:
    """What looks different from frame to frame may be a body with its spring, if it follows the equations well."""
    fatal = []
    if found.kinds is not None and found.kinds.agreement < motion.FIXED_LOOKS and not fit.explained >= FITS_WELL:
        fatal.append(
            f"what moves has no fixed looks (agreement {found.kinds.agreement:.0%}), and the trajectory explains "
            f"{fit.explained:.1%} of its motion; with such looks {FITS_WELL:.0%} is needed"
        )
    return Findings(fatal, [])


def check_motion(
    positions: np.ndarray, sizes: np.ndarray, side: int, picture: Sequence[float], repeated: float
) -> Findings:
    """Whether the positions [T, N, 2], in pixels of a frame of `side`, are a motion that can be measured.

    `sizes` [M]: the areas of what moves in some frames, square pixels; `picture`, `repeated`: of `data_gen.film.Film`.
    """
    fatal, warnings = [], []
    spread = np.sqrt(np.square(positions - positions.mean(0)).sum(-1).mean(0))
    if spread.min() < RESTS:
        fatal.append(f"an object stays within {spread.min():.2f} px of a frame of {side} px: it does not move")
    low, high = np.reshape(picture, (2, 2)) + [[EDGE], [-EDGE]]
    edge = float(((positions < low) | (positions > high)).any((1, 2)).mean())
    if edge > AT_EDGE:
        warnings.append(f"an object is at the edge of the picture in {edge:.0%} of the frames")
    if sizes.size:
        diameter = 2 * np.sqrt(np.median(sizes) / np.pi)
        if diameter < SMALLEST:
            warnings.append(f"the object has a diameter of {diameter:.1f} px at --img_size={side}; use --crop")
        grown = np.quantile(sizes, 0.9) / max(np.quantile(sizes, 0.1), 1.0)
        if grown > GROWS**2:
            warnings.append(f"the object's area changes by a factor of {grown:.1f}: it may move towards the camera")
    if repeated > REPEATED:
        warnings.append(f"{repeated:.0%} of the frames repeated the one before; they are left out")
    return Findings(fatal, warnings)


def leave_out(name: str, found: list[Quantity]) -> tuple[list[Quantity], Findings]:
    """The quantities that the film determines at all, and a remark on the others, as on walls that no ball meets."""
    kept = [quantity for quantity in found if np.isfinite(quantity.error)]
    others = ", ".join(quantity.name for quantity in found if quantity not in kept)
    no_wall = name == "bouncing" and not {quantity.name for quantity in kept} & set(WALLS)
    fatal = ["no ball meets a wall"] if no_wall else []
    return kept, Findings(fatal, [f"not determined, and left out: {others}"] if others else [])


def check_fit(name: str, fit: Fit, tracks: Sequence[Track], found: list[Quantity], known: Known) -> Findings:
    """Whether the fit is that of the system, and determines its parameters."""
    fatal, warnings = [], []
    if not np.isfinite(fit.explained) or fit.explained < FITS:
        fatal.append(
            f"the motion is not that of --system={name}: the best trajectory explains {fit.explained:.0%} of it "
            f"(rms {fit.rms:.2f} px), {FITS:.0%} is needed"
        )
    elif fit.explained < FITS_WELL:
        warnings.append(f"the trajectory explains {fit.explained:.1%} of the motion; the residuals have a structure")
    size = float(np.hypot(*(fit.parameters.get(axis, 0.0) for axis in ("g_x", "g_y"))))
    for parameter in SYSTEMS[name].main:
        value, error = fit.parameters[parameter], fit.errors[parameter]
        if not error < DETERMINED * (size if parameter in ("g_x", "g_y") else abs(value)):
            fatal.append(f"{parameter} is not determined: {value:.3g} ± {error:.3g} (per frame, in pixels of a frame)")
    span = max(t.times[-1] - t.times[0] for t in tracks)
    swing = {"pendulum": "g_over_L", "anchored_spring": "k_over_m"}.get(name)
    if swing and fit.parameters[swing] > 0:
        periods = span * np.sqrt(fit.parameters[swing]) / (2 * np.pi)
        if periods < 0.5:
            fatal.append(f"the film shows {periods:.2f} periods; at least half a period is needed")
        elif periods < 1.0:
            warnings.append(f"the film shows only {periods:.2f} periods")
    if not fit.scatter_errors:
        warnings.append("the film is too short to compare four parts of it: the error bar comes from the fit alone")
    for (a, b), r in fit.correlations.items():
        if abs(r) > CORRELATED and not {a, b} <= {"g_x", "g_y"}:
            warnings.append(f"the film hardly separates {a} from {b} (correlation {r:.3f})")
    for quantity in found:
        if quantity.name == "damping" and abs(quantity.value) < 2 * quantity.error:
            warnings.append(f"the damping may be zero: {quantity}")
        elif quantity.name == "damping" and quantity.value < 0:
            warnings.append(f"the motion grows, its damping is negative: {quantity}")
        if quantity.name == "g" and quantity.unit == "m/s²" and not 0.5 < quantity.value / (known.g or EARTH) < 2.0:
            warnings.append(f"g = {quantity} is far from {known.g or EARTH}: is the film in slow motion (--speed)?")
    return Findings(fatal, warnings)
