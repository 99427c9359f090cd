"""The fit of a film: of the object, and of the part of the film, that shows the system's motion."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from physics_models import film_parts
from physics_models.film_results import SYSTEMS, Findings, merge
from physics_models.fit import Fit, Track, fit_films
from physics_models.fit_start import swings
from physics_models.physics_net import CELLS

Progress = Callable[[float], None]


def fit_best(
    name: str, tracks: list[Track], n_objs: int | None, damped: bool, img_size: int, progress: Progress
) -> tuple[np.ndarray, list[slice], Fit, Findings]:
    """The coordinates of the objects that are the system's, the part of each film that shows it, the fit, and remarks.

    Where a system of one body is asked for, but more objects move, each is fitted, and the best fit is taken.
    """
    size, whole = tracks[0].positions.shape[1], n_objs or SYSTEMS[name].n_objs
    groups = [np.arange(size)] if size <= 2 * whole else [np.arange(i, i + 2) for i in range(0, size, 2)]
    fits = [
        fit_part(name, [Track(t.positions[:, group], t.times) for t in tracks], damped, img_size, progress)
        for group in groups
    ]
    best = int(np.argmax([fit.explained for _, fit, _ in fits]))
    parts, fit, remarks = fits[best]
    if len(groups) == 1:
        return groups[0], parts, fit, remarks
    others = ", ".join(f"{fit.explained:.1%}" for i, (_, fit, _) in enumerate(fits) if i != best)
    text = (
        f"{len(groups)} objects move; the result is that of the one that fits --system={name} best "
        f"({fit.explained:.1%} explained, others {others}); --mask_out what does not belong to it"
    )
    return groups[best], parts, fit, merge(remarks, Findings([], [text]))


def fit_part(
    name: str, tracks: list[Track], damped: bool, img_size: int, progress: Progress
) -> tuple[list[slice], Fit, Findings]:
    """The part of each film that shows the system's motion, the fit of these parts, and remarks."""
    cell = CELLS[SYSTEMS[name].cell_type](tracks[0].positions.shape[1] // 2, img_size)
    parts, why = [slice(0, len(t.times)) for t in tracks], ""
    if cell.n_objs == 1 and swings(cell):
        parts = [film_parts.swing(*track) for track in tracks]
    elif cell.n_objs == 1 and SYSTEMS[name].cell_type == "fall_cell":
        parts, reasons = zip(*(film_parts.flight(*track) for track in tracks))
        why = max(reasons)
    fit = fit_films(cell, [track.part(part) for track, part in zip(tracks, parts)], damped, progress)
    if cell.n_objs == 1 and swings(cell):
        rests = [path - track.positions[part] for path, track, part in zip(fit.trajectories, tracks, parts)]
        closer = [slice(p.start + f.start, p.start + f.stop) for p, f in zip(parts, map(film_parts.followed, rests))]
        if closer != parts and min(p.stop - p.start for p in closer) >= film_parts.FEWEST:
            parts = closer
            cut = [track.part(part) for track, part in zip(tracks, parts)]
            fit = fit_films(cell, cut, damped, progress)
    return list(parts), fit, Findings([why] if why else [], [])
