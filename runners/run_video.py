"""Physics from a film of one's own: finds the objects, fits the equations of motion, and writes a report.

PYTHONPATH=. python runners/run_video.py FILM --system=pendulum --save_dir=<dir>
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import replace
from os.path import expanduser
from pathlib import Path
from typing import Any, NamedTuple

import physics_models  # noqa: F401  isort: skip, it imports TensorFlow without its start-up messages
import numpy as np
import tensorflow as tf

from data_gen.errors import DataError
from data_gen.film import Film, FilmSettings
from physics_models import experiment, motion
from physics_models.errors import CommandParser, ExperimentError, exit_with_message, reporting
from physics_models.experiment import Interrupted, LogFile
from physics_models.film_fit import fit_best
from physics_models.film_results import (
    SYSTEMS,
    Findings,
    Known,
    check_fit,
    check_looks,
    check_motion,
    check_objects,
    count_objects,
    leave_out,
    merge,
    quantities,
)
from physics_models.fit import Track
from physics_models.physics_net import CELLS, PhysicsNet
from physics_models.refine import refine_positions
from physics_models.run_log import save_code
from physics_models.staged import StagedTraining, encode_all, settings_for
from physics_models.tasks import Task
from runners.film import report
from runners.film.look import Look, blob_areas, look
from runners.run_base import log_to_console

INPUT_STEPS, PRED_STEPS, TEST_STEPS = 4, 6, 12  # frames of a training sequence: L, P, T
PROGRESS = 5.0  # seconds between two lines
NO_RESULT = 2  # exit code
UNDAMPED = ("fall", "incline", "bouncing")  # by default
USED_BY = {"mass": ("anchored_spring", "spring"), "length": ("pendulum",), "known_g": ("pendulum", "fall")}

logger = logging.getLogger("tf")
note = logging.getLogger("tf.note")


def main() -> None:
    """The command."""

    def run() -> int:
        options = flags().parse_args()
        try:
            return run_films(options)
        except DataError as error:
            raise ExperimentError(str(error)) from error
        except Interrupted as interrupted:
            exit_with_message(f"{interrupted}; what there is: {options.save_dir}", interrupted.exit_code)

    code = 0
    with reporting():
        code = run()
    sys.exit(code)


def flags() -> CommandParser:
    """The command line."""
    parser = CommandParser(
        prog="run_video.py", allow_abbrev=False,
        description="Finds the objects in a film, fits their equations of motion, and reports parameters with units "
        "and error bars. Exit code 0: a result; 1: a mistake; 2: no result, the report says why.",
    )  # fmt: skip
    flag = parser.add_argument
    flag("film", type=expanduser, help="a video, a .gif, an .npz or a folder of .png frames; or a folder of films")
    flag("--system", required=True, choices=list(SYSTEMS), help="the equations of motion")
    flag("--save_dir", required=True, type=expanduser, help="a new folder for the report and the network")
    flag("--damping", choices=["linear", "none"], help="by default linear; none for fall, incline and bouncing")
    flag("--n_objs", type=int, help="bodies of the system, fitted together; by default 1, or 2 for spring and gravity. "
         "Where something else moves, leave it out")  # fmt: skip
    flag("--fps", type=positive, help="frames per second, in place of the film's own time stamps")
    flag("--speed", type=positive, help="how many times slower than life the film plays (slow motion)")
    flag("--start", type=float, default=0.0, help="leave out what comes before, seconds (or frames, without times)")
    flag("--stop", type=float, help="leave out what comes after, seconds (or frames, without times)")
    flag("--every", type=int, help="take every n-th frame; by default all, or so many that 1500 are left")
    flag("--crop", type=box, metavar="x,y,w,h", help="use this part of the picture, in the film's pixels")
    flag("--mask_out", type=box, action="append", default=[], metavar="x,y,w,h", help="ignore this part; repeatable")
    flag("--scale", type=scale, metavar="x1,y1,x2,y2,meters", help="two points of the picture, and their distance")
    flag("--pixels_per_metre", type=positive, help="the scale, in the film's own pixels")
    flag("--mass", type=positive, help="kg, of each body: gives k of a spring")
    flag("--length", type=positive, help="m, of a pendulum: gives g")
    flag("--known_g", type=positive, help="m/s²: gives the length of a pendulum")
    flag("--img_size", type=int, default=32, help="side of the frames that the network sees, pixels")
    flag("--steps", type=int, help="training steps; by default 1000")
    flag("--seed", type=int, default=0, help="of the network's weights")
    flag("--overwrite", action="store_true", help="replace an experiment in --save_dir; by default it is moved aside")
    return parser


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return value


def box(text: str) -> tuple[int, ...]:
    """x, y, width and height."""
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text}: give x,y,width,height in pixels")
    return numbers


def scale(text: str) -> float:
    """Meters per pixel of x1,y1,x2,y2,meters."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 5 or not np.isfinite(numbers).all() or numbers[4] <= 0 or numbers[:2] == numbers[2:4]:
        raise argparse.ArgumentTypeError(f"{text}: give x1,y1,x2,y2,meters of two different points")
    return numbers[4] / float(np.hypot(numbers[0] - numbers[2], numbers[1] - numbers[3]))


def run_films(options: argparse.Namespace) -> int:
    """Read, train, fit, check and report; returns the exit code."""
    system = SYSTEMS[options.system]
    check_numbers(options)
    check_used(options)
    log_to_console()
    settings = FilmSettings(
        options.img_size, options.fps, options.speed or 1.0, options.start, options.stop, options.every, options.crop,
        tuple(options.mask_out),
    )  # fmt: skip
    note.info("reading %s", options.film)
    seen = look(options.film, settings, INPUT_STEPS + PRED_STEPS)
    if seen.films[0].seconds is None:
        check_untimed(options)
    n_objs = options.n_objs or count_objects(seen.moving, system)
    alike = n_objs in seen.moving and not seen.moving[n_objs].distinct
    task = Task("custom", system.cell_type, TEST_STEPS, TEST_STEPS, INPUT_STEPS, PRED_STEPS, options.img_size, n_objs)
    moved = experiment.start_over(options.save_dir, options.overwrite)
    if moved:
        note.info("the experiment that was in %s is now in %s", options.save_dir, moved)
    with LogFile(options.save_dir):
        logger.info("\n".join(sys.argv))
        results, net = measure(options, seen, task, alike)
        report.write(results, net, Path(options.save_dir))
        for remark in (*results.findings.fatal, *results.findings.warnings):
            logger.warning("warning: %s", remark)
    print(report.headline(results), flush=True)
    print(f"report: {Path(options.save_dir).absolute() / 'report.html'}", flush=True)
    if results.findings.fatal:
        print(f"no result: {results.findings.fatal[0]}", file=sys.stderr, flush=True)
    return NO_RESULT if results.findings.fatal else 0


def check_numbers(options: argparse.Namespace) -> None:
    """Raise `ExperimentError` for the first number that is out of range."""
    fewest = CELLS[SYSTEMS[options.system].cell_type].min_objs
    for name, lowest, highest in (
        ("img_size", 16, 128), ("n_objs", fewest, motion.MAX_NAMED), ("every", 1, 1000), ("steps", 1, 10**6),
        ("seed", 0, 2**32 - 1),
    ):  # fmt: skip
        value = getattr(options, name)
        if value is not None and not lowest <= value <= highest:
            raise ExperimentError(f"--{name}={value}: must lie between {lowest} and {highest}")


def check_used(options: argparse.Namespace) -> None:
    """Raise `ExperimentError` for a flag that the system or another flag leaves without effect."""
    for name, systems in USED_BY.items():
        if getattr(options, name) is not None and options.system not in systems:
            raise ExperimentError(f"--{name}: only for --system={' and '.join(systems)}, not {options.system}")
    if options.scale and options.pixels_per_metre:
        raise ExperimentError("--scale and --pixels_per_metre: give one of them")
    if options.system == "fall" and options.known_g and not (options.scale or options.pixels_per_metre):
        raise ExperimentError("--known_g: a fall is compared with it in meters; give --scale or --pixels_per_metre")


def check_untimed(options: argparse.Namespace) -> None:
    """Raise `ExperimentError` for a flag that says something of seconds, for films that have none."""
    for name in ("speed", *USED_BY):
        if getattr(options, name) is not None:
            raise ExperimentError(f"--{name}: {options.film} has no time stamps, so that it has no effect; give --fps")


def measure(
    options: argparse.Namespace, seen: Look, task: Task, alike: bool
) -> tuple[report.Results, PhysicsNet]:
    """Train, measure the positions in all films, fit, and check; `alike`: see `train`."""
    films, side = seen.films, task.img_size
    scale = options.scale or (1 / options.pixels_per_metre if options.pixels_per_metre else None)
    known = Known(scale, options.mass, options.length, options.known_g)
    training = train(options, seen.frames, task, alike)
    net, found, verdict = training.net, training.found, training.verdict
    findings = check_objects(found, verdict)
    note.info("measuring positions in %d frames", sum(len(film.frames) for film in films))
    gap = mean_gap(films[0])
    tracks = []
    for film in films:
        encoded = encode_all(net, film.frames[None])[0]
        places = refine_positions(net, film.frames, encoded, Countdown(f"positions in {film.name}"))
        tracks.append(Track(places.astype(float), times(film, gap)))
    chosen, fit, numbers, scene = np.arange(2 * task.n_objs), None, [], None
    if not findings.fatal:
        note.info("fitting the trajectory")
        damping = options.damping or ("none" if options.system in UNDAMPED else "linear")
        chosen, parts, fit, remarks = fit_best(
            options.system, tracks, options.n_objs, damping == "linear", side, Countdown("fit")
        )
        findings = merge(findings, *map(shown_part, films, parts))
        films = [film.part(part) for film, part in zip(films, parts)]
        tracks = [track.part(part) for track, part in zip(tracks, parts)]
        place = films[0].pixel, known, len(chosen) // 2, films[0].corner, films[0].seconds is not None
        numbers, unknown = leave_out(options.system, quantities(options.system, fit, gap, *place))
        checked = check_fit(options.system, fit, tracks, numbers, known)
        findings = merge(findings, remarks, unknown, checked, check_looks(found, fit))
        scene = tracks[0].positions.copy()
        scene[:, chosen] = fit.trajectories[0]
        set_cell(net, fit.weights[0])
        training.save()
    places = [track.positions[:, chosen].reshape(len(track.times), -1, 2) for track in tracks]
    for film, xy in zip(films, places):
        areas = blob_areas(film.frames, found.scene, found.n_objs)
        findings = merge(findings, check_motion(xy, areas, side, film.picture, film.repeated))
    return report.Results(options.system, films, places, scene, fit, numbers, findings, known, verdict.explained), net


def shown_part(film: Film, part: slice) -> Findings:
    """A remark on what is left out of a film."""
    clock, unit = film.clock()
    if part == slice(0, len(clock)):
        return Findings([], [])
    ends = f"{clock[part.start]:.4g} to {clock[part.stop - 1]:.4g} {unit}"
    return Findings([], [f"{film.name}: only {ends} is fitted; else the object rests, or something holds or stops it"])


def mean_gap(film: Film) -> float:
    """Mean time between two frames, in the unit of the film's clock."""
    clock = film.clock()[0]
    return float(clock[-1] - clock[0]) / (len(clock) - 1)


def times(film: Film, gap: float) -> np.ndarray:
    """The frames' times [T] in units of `gap`, from 0 on."""
    clock = film.clock()[0]
    return (clock - clock[0]) / gap


# Training


class Sequences(NamedTuple):
    """Frames as `StagedTraining` takes them: uint8 [S, T, H, H, 3]."""

    X: np.ndarray  # noqa: N815
    checksum: int = 0


class Countdown:
    """Says every few seconds how far something is; the first call is its beginning."""

    def __init__(self, what: str):
        self.what, self.start, self.last = what, (0.0, 0.0), 0.0

    def __call__(self, done: float) -> None:
        """`done`: the share of the work."""
        now = time.monotonic()
        if not self.last:
            self.start, self.last = (now, done), now
        elif now - self.last > PROGRESS and done > self.start[1]:
            self.last, speed = now, (done - self.start[1]) / (now - self.start[0])
            note.info("%s: %.0f %%, about %.0f s left", self.what, 100 * done, (1 - done) / speed)


class Progress(tf.keras.callbacks.Callback):
    """Says how far the training is."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps, self.countdown = steps, Countdown("training")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After a step."""
        self.countdown((batch + 1) / self.steps)


def train(options: argparse.Namespace, frames: np.ndarray, task: Task, alike: bool) -> StagedTraining:
    """Train encoder and decoder on `frames` [F, H, H, 3], supervised by motion at first; `alike` ones are tracked."""
    data = Sequences(frames.reshape(-1, INPUT_STEPS + PRED_STEPS, *frames.shape[1:]))
    tf.keras.utils.set_random_seed(options.seed)
    net = PhysicsNet(task, vel_encoder="gauss_newton", calibrated_coords=True, track_objects=alike)
    settings = settings_for("custom", "gauss_newton")
    if options.steps:
        settings = replace(settings, autoencoder=replace(settings.autoencoder, steps=options.steps))
    marker = experiment.write_marker(options.save_dir, vars(options), net.get_config())
    save_code(options.save_dir)
    net.run_id = marker.run
    net.callbacks = [Progress(settings.autoencoder.steps)]
    training = StagedTraining(net, dict.fromkeys(("train", "valid", "test"), data), options.save_dir, settings,
                            options.seed, "autoencoder")  # fmt: skip
    training.run(evaluate=False)
    return training


def set_cell(net: PhysicsNet, weights: dict[str, float]) -> None:
    """Give the network's cell the weights of the fit."""
    for name, variable in net.cell.named_weights().items():
        if name in weights:
            variable.assign(weights[name])


if __name__ == "__main__":
    main()
