"""A report of paragraphs, tables and pictures, written as text or as one self-contained HTML page."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Union

from physics_models.errors import ExperimentError

MISSING = "–"
MAX_OPEN_ROWS = 50
COLOUR_A, COLOUR_B = "#1f5fa8", "#c8570b"  # blue and orange, in curves and in tables


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A line of prose; `note` marks something missing or damaged."""

    text: str
    note: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a header; on the page, a long one is closed until it is clicked."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture on the page; the text report leaves it out."""

    caption: str
    mime: str
    render: Callable[[], bytes]
    run: str = ""  # "A" for a picture of run A, in the page's left half; "B", in the right half
    width: int = 0  # of an enlarged picture of few pixels


Block = Union[Paragraph, Table, Picture]


@dataclasses.dataclass
class Section:
    """One part of the comparison; `summary` is its line in the overview at the top."""

    title: str
    summary: str
    blocks: list[Block]


@dataclasses.dataclass
class Report:
    """The comparison of the runs in the folders `first` (A) and `second` (B)."""

    first: str
    second: str
    sections: list[Section]


def read_both(folders: tuple[Path, Path], part: str, reader: Callable[[Path], Any]) -> tuple[Any, Any, list[Block]]:
    """Reads the file `part` of both experiment folders.

    Returns what `reader` gives for A and for B, None where the file is missing or damaged, and notes that say so.
    """
    values: list[Any] = [None, None]
    notes: list[Block] = []
    for i, folder in enumerate(folders):
        try:
            if (folder / part).exists() or (part == "checkpoint" and any(folder.glob("*.index"))):
                values[i] = reader(folder / part)
            else:
                notes.append(Paragraph(f"{'AB'[i]} has no {part}.", note=True))
        except ExperimentError as error:
            notes.append(Paragraph(f"{'AB'[i]}: {error}", note=True))
    return values[0], values[1], notes


def number(value: float | None) -> str:
    """A number in six digits, a dash for None."""
    return MISSING if value is None else f"{value:.6g}"


def as_text(report: Report) -> str:
    """The report for a terminal."""
    lines = [f"A  {report.first}", f"B  {report.second}", ""]
    width = max(len(section.title) for section in report.sections)
    lines += [f"{section.title:<{width}}  {section.summary}" for section in report.sections]
    for section in report.sections:
        lines += ["", section.title, "=" * len(section.title)]
        for block in section.blocks:
            if isinstance(block, Paragraph):
                lines.append(block.text)
            elif isinstance(block, Table):
                lines += ["", *([block.caption] if block.caption else []), *_text_rows(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).rstrip() + "\n"


def as_html(report: Report) -> str:
    """The report as a page that needs no network and no script: its pictures are data URIs."""
    first, second = html.escape(report.first), html.escape(report.second)
    overview, sections = "", ""
    for i, section in enumerate(report.sections):
        title, summary = html.escape(section.title), html.escape(section.summary)
        overview += f'<tr><th><a href="#s{i}">{title}</a></th><td>{summary}</td></tr>\n'
        blocks = "\n".join(map(_html_block, section.blocks))
        sections += f'<section id="s{i}"><h2>{title}</h2>\n{blocks}\n</section>\n'
    return (
        f"{_HEAD}<h1>Two experiments side by side</h1>\n<p><b class=A>A</b> <code>{first}</code></p>\n"
        f"<p><b class=B>B</b> <code>{second}</code></p>\n<table>{overview}</table>\n{sections}</body></html>\n"
    )


def _text_rows(table: Table) -> list[str]:
    numeric = _numeric_columns(table)
    widths = [max(map(len, column)) for column in zip(table.header, *table.rows)]

    def line(row: list[str]) -> str:
        return "  " + "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric))

    return [line(row) for row in (table.header, ["-" * width for width in widths], *table.rows)]


def _numeric_columns(table: Table) -> list[bool]:
    number_or_none = re.compile(rf"(?:[-+]?[\d.]+(?:e[-+]?\d+)?|[-+]?inf|nan|{MISSING}|)")
    columns = list(zip(*table.rows))
    return [False, *(all(map(number_or_none.fullmatch, column)) for column in columns[1:])]


def _html_block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p{' class=note' if block.note else ''}>{html.escape(block.text)}</p>"
    caption = html.escape(block.caption)
    if isinstance(block, Picture):
        data = base64.b64encode(block.render()).decode("ascii")
        size = f' class="sharp" width="{block.width}"' if block.width else ""
        letter = f'<b class="{block.run}">{block.run}</b> ' if block.run else ""
        return (
            f'<figure class="{block.run}"><img{size} alt="{caption}" src="data:{block.mime};base64,{data}">'
            f"<figcaption>{letter}{caption}</figcaption></figure>"
        )
    classes = [" class=n" if is_number else "" for is_number in _numeric_columns(block)]
    head = "".join(f"<th{c}>{html.escape(name)}</th>" for c, name in zip(classes, block.header))
    rows = ("".join(f"<td{c}>{html.escape(cell)}</td>" for c, cell in zip(classes, row)) for row in block.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    table = f'<table class="data"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    if len(block.rows) > MAX_OPEN_ROWS:
        return f'<details class="wide"><summary>{caption}</summary>{table}</details>'
    return f'<div class="wide">{f"<h3>{caption}</h3>" if caption else ""}{table}</div>'


_HEAD = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Two experiments side by side</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 70rem; background: #fff; color: #1c1f23;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
section {{ display: grid; grid-template-columns: 1fr 1fr; gap: .5rem 1.5rem; margin-top: 2.5rem; }}
section > * {{ grid-column: 1 / -1; min-width: 0; margin: 0; }}
section > figure.A {{ grid-column: 1; }}
section > figure.B {{ grid-column: 2; }}
h2 {{ font-size: 1.2rem; border-bottom: 1px solid #d5d9de; }}
h3 {{ margin: .6rem 0 .4rem; }}
p.note {{ padding: .35rem .7rem; background: #fbf3d9; border-left: 3px solid #d9b23c; }}
code {{ font: .92em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; }}
.data {{ font-variant-numeric: tabular-nums; font-size: .93rem; }}
.data th {{ border-bottom: 1px solid #aab1b9; white-space: nowrap; }}
.data td {{ border-bottom: 1px solid #eceff1; }}
.data .n {{ text-align: right; white-space: nowrap; }}
b.A {{ color: {COLOUR_A}; }}
b.B {{ color: {COLOUR_B}; }}
.wide {{ overflow-x: auto; }}
figcaption {{ color: #555c64; font-size: .9rem; }}
img {{ max-width: 100%; height: auto; }}
img.sharp {{ image-rendering: pixelated; }}
</style></head><body>"""
