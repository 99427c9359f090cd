"""Kills and resumes trainings of random settings for a given time; what tests/soak.sh runs.

Each round trains twice with the same random settings: once left alone, once killed with SIGKILL about twenty times.
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from killing import MOMENTS, Killer, assert_equal_runs
from tiny_run import write_data

TIMEOUT = 3600  # seconds; a soak may run beside other work, at low priority


def random_flags(rng: random.Random) -> list[str]:
    """Flags of a training of 60 to 160 steps."""
    return [
        f"--seed={rng.randrange(2**31)}",
        f"--epochs={rng.randint(6, 16)}",
        f"--save_every_n_epochs={rng.randint(1, 2)}",
        f"--eval_every_n_epochs={rng.randint(1, 5)}",
        f"--anneal_lr={rng.choice(['true', 'false'])}",
        f"--optimizer={rng.choice(['rmsprop', 'adam', 'momentum'])}",
    ]


def play_round(flags: list[str], folder: Path, rng: random.Random, end: float) -> Killer:
    """Train in `folder`/expected undisturbed and in `folder`/run with kills, until `end`; the two must be equal."""
    expected = Killer(flags, folder / "expected")
    expected.timeout = TIMEOUT
    expected.finish()
    killer = Killer([*flags, "--resume"], folder / "run", rng.randrange(2**31))
    killer.length, killer.timeout = expected.length, TIMEOUT
    try:
        for _ in range(rng.randint(15, 30)):
            if time.monotonic() > end:
                break
            killer.kill_during(killer.rng.choice(MOMENTS))
        killer.finish()
        assert_equal_runs(folder / "run", folder / "expected")
    except Exception as error:
        error.killer = killer  # type: ignore[attr-defined]  # for its counts
        raise
    return killer


def soak(minutes: float, seed: int) -> int:
    """Play rounds for that long and print what happened; returns how many of them failed."""
    begun = time.monotonic()
    rng, aimed, hit, rounds, failures = random.Random(seed), Counter(), Counter(), 0, 0
    work = Path(tempfile.mkdtemp(prefix="soak-"))
    data = write_data(work)
    while time.monotonic() < begun + 60 * minutes:
        folder = work / f"round{rounds}"
        folder.mkdir()
        chosen = random_flags(rng)
        try:
            killer = play_round([*data, *chosen], folder, rng, begun + 60 * minutes)
            verdict = "equal bit for bit"
            shutil.rmtree(folder)
        except Exception as error:  # whatever it is, it is a finding, and the soak goes on
            killer, failures = getattr(error, "killer", None), failures + 1
            verdict = f"FAILED, kept in {folder}\n{traceback.format_exc()}"
        if killer:
            aimed.update(killer.kills)
            hit.update(killer.hits)
        rounds += 1
        passed = (time.monotonic() - begun) / 60
        kills = sum(killer.kills.values()) if killer else 0
        print(f"{passed:5.1f} min, round {rounds}: {kills} kills, {verdict}; {' '.join(chosen)}", flush=True)
    if not failures:
        shutil.rmtree(work)
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes, {rounds} rounds, {failures} failed")
    print(f"{sum(aimed.values())} kills, by the moment aimed at: {counted(aimed)}")
    print(f"what they cut short, as the folder shows: {counted(hit)}")
    return failures


def counted(counts: Counter[str]) -> str:
    """`counts` as words."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(np.random.SeedSequence().generate_state(1)[0]))
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, seed {options.seed}, {options.minutes:g} minutes", flush=True)
    raise SystemExit(1 if soak(options.minutes, options.seed) else 0)


if __name__ == "__main__":
    main()
