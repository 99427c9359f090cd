"""The report of a film: report.md, report.html, report.json, positions.csv, prediction.gif and the figures."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_gen.film import Film
from physics_models import viz
from physics_models.experiment import write_atomically
from physics_models.film_results import EARTH, Findings, Known, Quantity
from physics_models.fit import Fit
from physics_models.physics_net import PhysicsNet
from runners.compare.report import Block, Paragraph, Picture, Table, html_block, page
from runners.plots import Figure, default_style

SHOWN, ANIMATED = 6, 120  # frames in a picture, in prediction.gif
ERROR_BARS = (
    "± is one standard deviation, the largest of three: of the fit; of position errors that repeat at each place of "
    "the frame; of the scatter over four parts of the film, or over films. For pendulum, fall, incline and bouncing "
    "the effect of a position error of 0.1 pixels of the network's frame is added. "
    "What you give (scale, length, mass, frames per second) counts as exact."
)
ASCII = str.maketrans({"²": "^2", "³": "^3"})


class Results(NamedTuple):
    """All that is known of the films at the end of a run."""

    system: str
    films: list[Film]
    positions: list[np.ndarray]  # measured, of each film [T, N, 2], pixels of a frame
    scene: np.ndarray | None  # of the first film [T, 2K]: the trajectory of the fit, and all else that moves
    fit: Fit | None  # None: the objects were not found
    quantities: list[Quantity]
    findings: Findings
    known: Known
    explained: float  # of what moves, by the network


def headline(results: Results) -> str:
    """One line: the system and its numbers, or that there are none."""
    if results.findings.fatal:
        return f"{results.system}: no result"
    named = {q.name: q for q in results.quantities}
    parts = []
    if results.system == "pendulum":
        parts.append(f"Ω² = g/L = {named.pop('g_over_L')}")
    parts += [f"{name.replace('_', ' ')} {quantity}" for name, quantity in named.items()]
    hint = ""
    ratio = next((q for q in results.quantities if q.name == "g_over_L"), None)
    if ratio and ratio.unit == "1/s²" and not {"L", "g"} & named.keys():
        hint = f"   (L = {EARTH / ratio.value:.2f} m if g = {EARTH} m/s²)"
    return f"{results.system}: {', '.join(parts)}{hint}"


def write(results: Results, net: PhysicsNet, save_dir: Path) -> None:
    """Write every file of the report to `save_dir`."""
    pictures = {"objects found": _found(results)}
    if results.fit is not None:
        pictures["position against time, fit and residuals"] = _curves(results)
        pictures["real frames above, predicted below"] = _predicted(results, net)
        _animate(results, net, save_dir / "prediction.gif")
    _csv(results, save_dir / "positions.csv")
    valid = [] if results.findings.fatal else results.quantities
    record = {
        "system": results.system, "films": [film.name for film in results.films],
        "parameters": {
            q.name: {"value": q.value, "error": _finite(q.error), "unit": q.unit.translate(ASCII)} for q in valid
        },
        "warnings": [*results.findings.fatal, *results.findings.warnings],
        "checks": {
            "result": not results.findings.fatal, "network_explains": _finite(results.explained),
            "trajectory_explains": results.fit and _finite(results.fit.explained),
            "rms_px": results.fit and _finite(results.fit.rms * results.films[0].pixel),
            "residual_autocorrelation": results.fit and _finite(results.fit.structure),
        },
    }  # fmt: skip
    _text(save_dir / "report.json", json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    names = {}
    for number, (title, png) in enumerate(pictures.items()):
        names[title] = f"figure{number}.png"
        write_atomically(save_dir / names[title], lambda file, png=png: file.write(png))
    _text(save_dir / "report.md", _markdown(results, names))
    _text(save_dir / "report.html", _html(results, pictures))


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def _text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _rows(results: Results) -> list[tuple[str, str]]:
    """Names and values for the tables of the page."""
    rows = [] if results.findings.fatal else [(q.name, str(q)) for q in results.quantities]
    rows.append(("explained by the network", f"{results.explained:.1%} of what moves"))
    if results.fit is not None:
        pixel = results.films[0].pixel
        rows.append(("explained by the trajectory", f"{results.fit.explained:.2%} of the positions' variance"))
        rms = results.fit.rms
        rows.append(("rms of the residuals", f"{rms:.3f} px of a frame, {rms * pixel:.2f} px of the video"))
    for film in results.films:
        span = "unknown times" if film.seconds is None else f"{film.seconds[-1] - film.seconds[0]:.2f} s"
        rows.append((film.name, f"{len(film.frames)} frames, {span}"))
    return rows


def _remarks(results: Results) -> list[str]:
    fatal, warnings = results.findings
    return [*(f"no result: {text}" for text in fatal), *(f"warning: {text}" for text in warnings)]


def _markdown(results: Results, names: dict[str, str]) -> str:
    lines = [f"# {headline(results)}", ""]
    lines += [f"![{title}]({name})\n" for title, name in names.items()]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _rows(results)), ""]
    lines += [f"- {remark}" for remark in _remarks(results)]
    return "\n".join([*lines, "", ERROR_BARS]) + "\n"


def _html(results: Results, pictures: dict[str, bytes]) -> str:
    blocks: list[Block] = [Picture(title, "image/png", lambda png=png: png) for title, png in pictures.items()]
    blocks.append(Table("Results", ["", ""], [list(row) for row in _rows(results)]))
    blocks += [Paragraph(remark, note=True) for remark in _remarks(results)]
    return page(headline(results), "\n".join(map(html_block, [*blocks, Paragraph(ERROR_BARS)])))


def _csv(results: Results, path: Path) -> None:
    """t, x, y of every object in the video's own pixels, and meters where the scale is known."""
    n_objs = results.positions[0].shape[1]
    scale = results.known.meters_per_pixel
    clock = f"t_{results.films[0].clock()[1]}"
    ends = [str(i + 1) if n_objs > 1 else "" for i in range(n_objs)]
    header = ["film", clock, *(f"{axis}{end}_px" for end in ends for axis in "xy")]
    header += [f"{axis}{end}_m" for end in ends for axis in "xy"] if scale else []
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(header)
    for film, positions in zip(results.films, results.positions):
        times = film.clock()[0]
        in_video = film.in_video(positions).reshape(len(positions), -1)
        columns = [times[:, None], in_video, *([in_video * scale] if scale else [])]
        for when, *places in np.concatenate(columns, 1):
            rows.writerow([film.name, f"{when:.9g}", *(f"{x:.6g}" for x in places)])
    _text(path, text.getvalue())


# Figures


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _chosen(film: Film) -> np.ndarray:
    return np.unique(np.linspace(0, len(film.frames) - 1, SHOWN).round().astype(int))


def _found(results: Results) -> bytes:
    film, positions = results.films[0], results.positions[0]
    times, unit = film.clock()
    with default_style():
        figure = Figure(figsize=(10, 2.2), layout="constrained")
        for axes, t in zip(figure.subplots(1, SHOWN, squeeze=False)[0], _chosen(film)):
            side = film.frames.shape[1]
            axes.imshow(film.frames[t], extent=(0, side, side, 0))
            axes.scatter(*positions[t].T, s=220, facecolors="none", edgecolors="magenta")
            axes.set(title=f"{times[t]:.4g} {unit}", xticks=[], yticks=[])
        return _png(figure)


def _curves(results: Results) -> bytes:
    film = results.films[0]
    positions = film.in_video(results.positions[0])
    fitted = film.in_video(results.fit.trajectories[0].reshape(positions.shape))
    times, unit = film.clock()
    with default_style():
        figure = Figure(figsize=(10, 6), layout="constrained")
        rows = figure.subplots(2, 2, sharex=True, height_ratios=(3, 1))
        for axis, (above, below) in enumerate(rows.T):
            for n in range(positions.shape[1]):
                label = f"{'xy'[axis]} of object {n + 1}, measured"
                above.plot(times, positions[:, n, axis], ".", ms=3, color=f"C{n}", label=label)
                above.plot(times, fitted[:, n, axis], "-", lw=1, color="black", label="fit" if n == 0 else None)
                below.plot(times, positions[:, n, axis] - fitted[:, n, axis], ".", ms=2, color=f"C{n}")
            above.set_ylabel(f"{'xy'[axis]} (px of the video)")
            above.legend(loc="upper right", fontsize=8)
            below.axhline(0, color="black", lw=0.5)
            below.set(xlabel=f"t ({unit})", ylabel="residual (px)")
        return _png(figure)


def _decode(net: PhysicsNet, trajectory: np.ndarray) -> np.ndarray:
    return net.decode(np.float32(trajectory)[None]).numpy()[0]


def _predicted(results: Results, net: PhysicsNet) -> bytes:
    film = results.films[0]
    chosen = _chosen(film)
    times, unit = film.clock()
    predicted = _decode(net, results.scene[chosen])
    with default_style():
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        for column, t in enumerate(chosen):
            for row, frame in enumerate((film.frames[t] / 255.0, predicted[column])):
                axes = figure.add_subplot(2, SHOWN, row * SHOWN + column + 1, xticks=[], yticks=[])
                axes.imshow(np.clip(frame, 0, 1))
                if row == 0:
                    axes.set_title(f"{times[t]:.4g} {unit}", fontsize=9)
                if column == 0:
                    axes.set_ylabel(("filmed", "predicted")[row])
        return _png(figure)


def _animate(results: Results, net: PhysicsNet, path: Path) -> None:
    """prediction.gif: the film on the left, the trajectory of the fit, decoded, on the right."""
    film = results.films[0]
    part = slice(0, min(len(film.frames), 3 * ANIMATED), 3 if len(film.frames) > ANIMATED else 1)
    predicted = _decode(net, results.scene[part])
    pairs: Any = zip(film.frames[part] / 255.0, predicted)
    viz.gif(path, [viz.gallery(np.stack(pair), 2) for pair in pairs])
