"""Draws attempts from NumPy's global stream in the original's order; keeps those that the physics accepts."""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from data_gen.errors import DataError
from data_gen.physics import Trajectories

Progress = Callable[[int, int], None]

FIRST_BLOCK, LARGEST_BLOCK = 256, 16384
MAX_REJECTED_IN_A_ROW = 1_000_000


class Start(NamedTuple):
    """Initial states of a block of attempts: pos, vel [N, 2, A], and an extra drawn number each (or None)."""

    pos: np.ndarray
    vel: np.ndarray
    extra: np.ndarray | None = None


class Sample(NamedTuple):
    """Accepted sequences: states float64 [S, T, N, 2], extra numbers [S] or None, attempts that it took."""

    pos: np.ndarray
    vel: np.ndarray
    extra: np.ndarray | None
    attempts: int


def sample_sequences(
    n: int,
    draw: Callable[[int], Start],
    run: Callable[[np.ndarray, np.ndarray], Trajectories],
    why_rejected: str,
    progress: Callable[[int], None] | None = None,
) -> Sample:
    """Collect `n` accepted sequences; the global stream ends where one-at-a-time drawing would leave it.

    Attempts are drawn and simulated in blocks. The last block usually holds more attempts than were needed:
    the stream is then wound back and only the attempts up to the last accepted one are drawn again.

    Args:
        n: number of sequences wanted.
        draw: draws that many attempts from the global stream, attempt after attempt.
        run: simulates a block of attempts.
        why_rejected: reasons for the error's text.
        progress: called with the number accepted so far.

    Raises:
        DataError: a million attempts in a row were rejected.
    """
    kept: list[tuple[Trajectories, np.ndarray | None]] = []
    accepted = attempts = rejected_in_a_row = 0
    block = FIRST_BLOCK
    while accepted < n:
        state = np.random.get_state()
        start = draw(block)
        result = run(start.pos, start.vel)
        take = min(n - accepted, len(result.index))
        result = Trajectories(result.index[:take], result.pos[:take], result.vel[:take])
        kept.append((result, None if start.extra is None else start.extra[result.index]))
        accepted += take
        if accepted == n:
            used = int(result.index[-1]) + 1
            np.random.set_state(state)
            draw(used)
            attempts += used
            break
        attempts += block
        rejected_in_a_row = block - 1 - int(result.index[-1]) if take else rejected_in_a_row + block
        if rejected_in_a_row >= MAX_REJECTED_IN_A_ROW:
            raise DataError(
                f"no sequence found in {rejected_in_a_row} attempts in a row ({accepted} of {n} before): "
                f"{why_rejected}"
            )
        if progress is not None:
            progress(accepted)
        wanted = (n - accepted) * attempts / max(accepted, 1) * 1.05 + 64
        block = int(min(max(wanted, FIRST_BLOCK), LARGEST_BLOCK, 4 * block))
    if progress is not None:
        progress(accepted)
    extra = None if kept[0][1] is None else np.concatenate([e for _, e in kept])
    pos = np.concatenate([r.pos for r, _ in kept])
    vel = np.concatenate([r.vel for r, _ in kept])
    return Sample(pos, vel, extra, attempts)
