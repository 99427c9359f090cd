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


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A line of prose; `note` marks something missing or odd."""

    text: str
    note: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a header. On the page, cells of columns named A or B have the run's colour."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""
    folded: bool = False  # on the page, closed until it is clicked


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page; `render` gives its bytes. The text has its caption's facts in tables instead."""

    caption: str
    mime: str
    render: Callable[[], bytes]
    run: str = ""  # "A" or "B" for a picture of one run: two such in a row stand side by side
    rows: tuple[str, ...] = ()  # names of the picture's rows of equal height, written to their left
    width: int = 0  # of a picture of few pixels, to be drawn larger and sharp; at most the page's


Block = Union[Paragraph, Table, Picture]


@dataclasses.dataclass
class Section:
    """One part of the comparison; `summary` is its one line at the top."""

    title: str
    summary: str
    blocks: list[Block]


@dataclasses.dataclass
class Report:
    """The comparison of run A with run B, whose names (folders) head it."""

    first: str
    second: str
    sections: list[Section]


def read_both(folders: tuple[Path, Path], part: str, reader: Callable[[Path], Any]) -> tuple[Any, Any, list[Block]]:
    """Reads one part of both experiment folders.

    Args:
      folders: A's and B's.
      part: a file's name.
      reader: reads it and raises ExperimentError if it cannot.

    Returns:
      What `reader` gave for A and for B, None where the part is missing or damaged, and notes that say so.
    """
    values: list[Any] = []
    notes: list[Block] = []
    for letter, folder in zip("AB", folders):
        value = None
        if not (folder / part).exists():
            notes.append(Paragraph(f"{letter} has no {part}.", note=True))
        else:
            try:
                value = reader(folder / part)
            except ExperimentError as error:
                notes.append(Paragraph(f"{letter}: {error}", note=True))
        values.append(value)
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
                lines += ["", *([block.caption] if block.caption else []), *_text_table(block), ""]
    text = "\n".join(line.rstrip() for line in lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def _text_table(table: Table) -> list[str]:
    columns = list(zip(table.header, *table.rows))
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [False] + [_numeric(column[1:]) for column in columns[1:]]

    def line(cells: list[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right)]
        return "  " + "  ".join(parts)

    return [line(table.header), line(["-" * width for width in widths]), *map(line, table.rows)]


def _numeric(cells: tuple[str, ...]) -> bool:
    return all(cell in ("", MISSING) or _is_number(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%×"))
    except ValueError:
        return False
    return True


def as_html(report: Report) -> str:
    """The report as a page that needs no network and no script: its pictures are data URIs."""
    parts = [_HEAD, '<header><h1>Two experiments side by side</h1><table class="runs">']
    for letter, name in (("A", report.first), ("B", report.second)):
        parts.append(f'<tr><th class="{letter}">{letter}</th><td><code>{html.escape(name)}</code></td></tr>')
    parts.append('</table></header><nav><table class="glance">')
    for number, section in enumerate(report.sections):
        parts.append(
            f'<tr><th><a href="#s{number}">{html.escape(section.title)}</a></th>'
            f"<td>{html.escape(section.summary)}</td></tr>"
        )
    parts.append("</table></nav><main>")
    for number, section in enumerate(report.sections):
        parts.append(f'<section id="s{number}"><h2>{html.escape(section.title)}</h2>')
        parts += _html_blocks(section.blocks)
        parts.append("</section>")
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _html_blocks(blocks: list[Block]) -> list[str]:
    parts, beside = [], False
    for block in blocks:
        run = block.run if isinstance(block, Picture) else None
        side_by_side = bool(run)
        if beside and (not side_by_side or run == "A"):
            parts.append("</div>")
            beside = False
        if side_by_side and not beside:
            parts.append('<div class="beside">')
            beside = True
        if isinstance(block, Paragraph):
            parts.append(f"<p{' class=note' if block.note else ''}>{html.escape(block.text)}</p>")
        elif isinstance(block, Table):
            parts.append(_html_table(block))
        else:
            parts.append(_html_picture(block))
    return [*parts, "</div>"] if beside else parts


def _html_table(table: Table) -> str:
    numeric = [False] + [_numeric(column) for column in list(zip(*table.rows))[1:]]
    classes = []
    for name, is_number in zip(table.header, numeric):
        run = re.search(r"(?:^|\w )([AB])$", name)
        names = (["n"] if is_number else []) + ([run.group(1)] if run else [])
        classes.append(f' class="{" ".join(names)}"' if names else "")
    head = "".join(f"<th{c}>{html.escape(name)}</th>" for c, name in zip(classes, table.header))
    body = "\n".join(
        "<tr>" + "".join(f"<td{c}>{html.escape(cell)}</td>" for c, cell in zip(classes, row)) + "</tr>"
        for row in table.rows
    )
    drawn = (
        f'<div class="wide"><table class="data"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )
    caption = html.escape(table.caption)
    if table.folded:
        return f"<details><summary>{caption}</summary>{drawn}</details>"
    return (f"<h3>{caption}</h3>" if caption else "") + drawn


def _html_picture(picture: Picture) -> str:
    data = base64.b64encode(picture.render()).decode("ascii")
    caption = html.escape(picture.caption)
    letter = f'<b class="{picture.run}">{picture.run}</b> ' if picture.run else ""
    sharp = f' class="sharp" width="{picture.width}"' if picture.width else ""
    names = "".join(f'<span class="{name}">{html.escape(name)}</span>' for name in picture.rows)
    names = f'<div class="names">{names}</div>' if names else ""
    return (
        f'<figure class="{picture.run}"><div class="drawn">{names}'
        f'<img{sharp} alt="{caption}" src="data:{picture.mime};base64,{data}"></div>'
        f"<figcaption>{letter}{caption}</figcaption></figure>"
    )


# A is blue and B orange wherever they meet, here and in compare_figures.
COLOUR_A, COLOUR_B = "#1f5fa8", "#c8570b"
_HEAD = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Two experiments side by side</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 70rem; background: #fff; color: #1c1f23;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .8rem; }}
h2 {{ font-size: 1.2rem; margin: 2.6rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid #d5d9de; }}
h3 {{ font-size: 1rem; margin: 1.4rem 0 .4rem; }}
p {{ margin: .4rem 0; max-width: 50rem; }}
p.note {{ padding: .35rem .7rem; background: #fbf3d9; border-left: 3px solid #d9b23c; }}
code {{ font: .92em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .22rem .8rem .22rem 0; text-align: left; vertical-align: top; }}
.runs th {{ font-size: 1.1rem; }}
.glance {{ margin-top: 1.2rem; width: 100%; }}
.glance tr {{ border-top: 1px solid #e6e9ec; }}
.glance th {{ font-weight: 600; white-space: nowrap; padding-right: 1.5rem; }}
a {{ color: inherit; text-decoration-color: #9aa3ad; text-underline-offset: .2em; }}
.data {{ font-variant-numeric: tabular-nums; font-size: .93rem; }}
.data th {{ border-bottom: 1px solid #aab1b9; font-weight: 600; white-space: nowrap; }}
.data td {{ border-bottom: 1px solid #eceff1; }}
.data .n {{ text-align: right; white-space: nowrap; }}
th.A, .names .A, b.A {{ color: {COLOUR_A}; }}
th.B, .names .B, b.B {{ color: {COLOUR_B}; }}
.wide {{ overflow-x: auto; }}
figure {{ margin: 1rem 0; }}
figcaption {{ color: #555c64; font-size: .9rem; }}
.drawn {{ display: flex; gap: .6rem; }}
.names {{ display: flex; flex-direction: column; flex: none; font-size: .85rem; }}
.names span {{ flex: 1; display: flex; align-items: center; justify-content: end; }}
img {{ min-width: 0; max-width: 100%; height: auto; }}
img.sharp {{ image-rendering: pixelated; }}
.beside {{ display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.5rem; align-items: start; }}
.beside figure {{ margin: .5rem 0; min-width: 0; grid-column: 1; }}
.beside figure.B {{ grid-column: 2; grid-row: 1; }}
.beside figure:only-child {{ grid-column: 1 / -1; }}
summary {{ cursor: pointer; margin: .8rem 0 .4rem; }}
@media (max-width: 45rem) {{
  body {{ padding: 1rem; }}
  .beside {{ grid-template-columns: 1fr; }}
  .beside figure.B {{ grid-column: 1; grid-row: auto; }}
}}
</style></head><body>"""
