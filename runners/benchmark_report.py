"""What `run_benchmark.py` prints and writes: Markdown tables and a plot of measured configurations."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from physics_models.errors import ExperimentError
from physics_models.save_dir import write_atomically

Record = dict[str, Any]  # a configuration and its numbers, as benchmark_measure prints them

FILE = "speed"
HEADING = """# Speed

Written by `runners/run_benchmark.py --out=docs`, run once for each part: `--naive`, `--scale`, `--rollout=1000`.
Milliseconds are the median of the timed steps (smallest – largest), after the warm-up, on random frames, each
configuration in a process of its own. Frames a second: all T frames of a sequence. GFLOP: the convolutions and matrix
products of the traced step, forwards and backwards, two operations a multiplication with its addition; what is done
element by element is not counted. The share is of the machine's own rate in products of float32 matrices of side 2048,
measured in the same process. First step: from the start of the process, imports included. Memory: the most that the
process held.
"""
REASONS = """The exponent is that of the growth from the row before: 1 is linear. It is below 1 where costs that are
paid once a step still count: the update of the weights, 1.7 million for spring_color, and the start of each operation.
With N only the masks, the location net and the decoder grow; of the U-Net, the last 1×1 convolution alone has N
outputs. The pairs of bodies under gravity grow as N², but are a few numbers beside the frames.
A frame has H² pixels: the exponent with H is 2. Between 36 and 48 stands more: from 40 pixels on the network is the
original's larger U-Net, of twice the width and with one more pooling. The decoder's two matrix products grow as H³ (H²
pixels from S = H/2 rows or columns each), with a small factor."""


def markdown(records: list[Record]) -> str:
    """The tables of all `records`, measured on one stack."""
    parts = [f"{describe_stack(records[-1]['stack'])}{describe_rate(records)}"]
    plain = [r for r in records if not r["scale"]]
    for title, rows in (
        ("Training step", [training_row(r) for r in plain if r["part"] in ("train", "naive")]),
        ("Evaluated batch", [evaluation_row(r) for r in plain if r["part"] == "eval"]),
        ("Straightforward decoder", naive_rows(plain)),
        ("Rollout", [rollout_row(r) for r in plain if r["part"] in ("predict_frames", "forward")]),
    ):
        if rows:
            parts.append(f"### {title}\n\n{table(rows)}")
    for name in dict.fromkeys(r["scale"] for r in records if r["scale"]):
        parts.append(f"### Cost against {name}\n\n{table(scale_rows(name, records))}")
    return "\n\n".join(parts)


def describe_stack(stack: dict[str, Any]) -> str:
    """The machine and the versions, in a line."""
    gpus = ", ".join(stack["gpus"]) or "no GPU"
    versions = f"TensorFlow {stack['tensorflow']}, Python {stack['python']}"
    return f"{versions}; {stack['cores']} cores of {stack['processor']}, {gpus}"


def describe_rate(records: list[Record]) -> str:
    """The matmul rates that were measured on the way."""
    rates = [r["matmul_gflops"] for r in records if "matmul_gflops" in r]
    return f"; matrix products: {min(rates):.0f} – {max(rates):.0f} GFLOP/s" if rates else ""


def table(rows: list[dict[str, str]]) -> str:
    """`rows`, all with the same columns, as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def named(record: Record) -> dict[str, str]:
    """Task and batch size, with what the network was switched to."""
    naive = ["naive decoder"] if record["part"] == "naive" else []
    switched = [*naive, *(name for name, value in record["options"].items() if value)]
    return {"task": ", ".join([record["task"], *switched]), "batch": str(record["batch"])}


def timing(record: Record) -> str:
    """Median and range of the steps, ms."""
    return f"{record['median_ms']:.0f} ({record['min_ms']:.0f} – {record['max_ms']:.0f})"


def throughput(record: Record) -> dict[str, str]:
    """Sequences and frames a second."""
    rate = 1000 * record["batch"] / record["median_ms"]
    return {"sequences/s": f"{rate:.0f}", "frames/s": f"{rate * record['frames']:.0f}"}


def training_row(record: Record) -> dict[str, str]:
    """One line of the table of training steps."""
    share = record["gflop"] / (record["median_ms"] / 1000) / record["matmul_gflops"]
    return {
        **named(record), "ms a step": timing(record), **throughput(record), "GFLOP a step": f"{record['gflop']:.1f}",
        "share of matmul rate": f"{share:.0%}", "first step, s": f"{record['first_s']:.1f}",
        "peak memory, GB": f"{record['peak_gb']:.2f}",
    }  # fmt: skip


def evaluation_row(record: Record) -> dict[str, str]:
    """One line of the table of evaluated batches."""
    return {
        **named(record), "T": str(record["frames"]), "ms a batch": timing(record), **throughput(record),
        "first batch, s": f"{record['first_s']:.1f}", "peak memory, GB": f"{record['peak_gb']:.2f}",
    }  # fmt: skip


def naive_rows(records: list[Record]) -> list[dict[str, str]]:
    """How many times as long the step with the straightforward decoder takes."""

    def key(record: Record) -> tuple:
        return record["task"], record["batch"], json.dumps(record["options"])

    fast = {key(r): r for r in records if r["part"] == "train"}
    pairs = [(r, fast[key(r)]) for r in records if r["part"] == "naive" and key(r) in fast]
    return [
        {
            **named(ours), "ms a step": f"{ours['median_ms']:.0f}", "naive decoder, ms": f"{naive['median_ms']:.0f}",
            "ratio": f"{naive['median_ms'] / ours['median_ms']:.2f}",
            "memory, GB": f"{ours['peak_gb']:.2f}", "naive decoder, GB": f"{naive['peak_gb']:.2f}",
        }  # fmt: skip
        for naive, ours in pairs
    ]


def rollout_row(record: Record) -> dict[str, str]:
    """Time and memory of predicting many steps."""
    how = {"predict_frames": "predict_frames, 50 steps at a time", "forward": "one forward pass"}[record["part"]]
    return {
        **named(record), "steps": str(record["rollout"]), "how": how, "s": f"{record['median_ms'] / 1000:.1f}",
        "peak memory, GB": f"{record['peak_gb']:.2f}",
    }  # fmt: skip


def size_of(record: Record) -> int:
    """The size that was varied in the series that `record` belongs to."""
    changed = {"T": "train_len", "H": "img_size", "N": "n_objs", "N, gravity": "n_objs"}.get(record["scale"])
    return record["changes"][changed] if changed else record["batch"]


def scale_rows(name: str, records: list[Record]) -> list[dict[str, str]]:
    """One series of `records`: time and memory, with the exponents of their growth."""
    series = [r for r in records if r["scale"] == name]
    rows = []
    for record, before in zip(series, [None, *series]):
        rows.append(
            {
                **({} if name == "batch" else {"batch": str(record["batch"])}),
                name: str(size_of(record)),
                "ms a step": timing(record),
                "exponent": exponent(before, record, "median_ms"),
                "GFLOP a step": f"{record['gflop']:.1f}",
                "exponent of GFLOP": exponent(before, record, "gflop"),
                "peak memory, GB": f"{record['peak_gb']:.2f}",
            }
        )
    return rows


def exponent(before: Record | None, record: Record, what: str) -> str:
    """p of the growth as size^p between two records."""
    if before is None:
        return "–"
    return f"{math.log(record[what] / before[what]) / math.log(size_of(record) / size_of(before)):.2f}"


def write(folder: Path, records: list[Record]) -> None:
    """Take `records` into FOLDER/speed.json, and draw speed.md and speed.png from what it holds."""
    kept = read(folder / f"{FILE}.json")
    version = records[0]["stack"]["tensorflow"]
    fresh = {identity(r) for r in records}
    kept[version] = [r for r in kept.get(version, []) if identity(r) not in fresh] + records
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{FILE}.json", json.dumps(kept, indent=1))
    scales = any(r["scale"] for stack in kept.values() for r in stack)
    text = [HEADING.rstrip()]
    text += [f"## TensorFlow {version}\n\n{markdown(sorted_records(kept[version]))}" for version in sorted(kept)]
    if scales:
        write_atomically(folder / f"{FILE}.png", lambda file: plot(kept, file))
        text.append(f"## How the cost grows\n\n{REASONS}\n\n![step time and memory against size]({FILE}.png)")
    write_text(folder / f"{FILE}.md", "\n\n".join(text))


def write_text(path: Path, text: str) -> None:
    """Have `text` take the place of `path`."""
    write_atomically(path, lambda file: file.write(f"{text}\n".encode()))


def read(path: Path) -> dict[str, list[Record]]:
    """The records in `path` by TensorFlow version; none if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ExperimentError(f"{path}: not what this command wrote ({error}); delete it") from error


def identity(record: Record) -> str:
    """What tells configurations apart."""
    names = ("scale", "part", "task", "batch", "changes", "rollout", "options")
    return json.dumps([record[name] for name in names])


def sorted_records(records: Iterable[Record]) -> list[Record]:
    """In an order that does not depend on which part was measured last."""
    parts = ("train", "naive", "eval", "predict_frames", "forward")
    return sorted(
        records,
        key=lambda r: (r["scale"], parts.index(r["part"]), r["task"], len(r["options"]), r["batch"], size_of(r)),
    )


def plot(kept: dict[str, list[Record]], file: BinaryIO) -> None:
    """Step time (above) and memory (below) against each size, one line a TensorFlow version."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(r["scale"] for records in kept.values() for r in sorted_records(records) if r["scale"]))
    figure = Figure(figsize=(2.6 * len(names) + 0.4, 5), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in zip(axes.T, names):
        for version in sorted(kept):
            series = [r for r in sorted_records(kept[version]) if r["scale"] == name]
            sizes = [size_of(r) for r in series]
            column[0].loglog(sizes, [r["median_ms"] for r in series], "o-", markersize=3, label=f"TF {version}")
            column[1].semilogx(sizes, [r["peak_gb"] for r in series], "o-", markersize=3)
        for axis in column:
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        column[1].set(xlabel=name, ylim=(0, None))
    axes[0, 0].set_ylabel("ms a training step")
    axes[1, 0].set_ylabel("peak memory, GB")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(file, format="png", dpi=100)
