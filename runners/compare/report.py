"""A report of paragraphs, tables and pictures, written as text or as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Union

from physics_models.errors import ExperimentError

MISSING = "–"
MAX_OPEN_ROWS = 50
COLOUR_A, COLOUR_B = "#1f5fa8", "#c8570b"  # blue and orange, in curves and in headings


class Paragraph(NamedTuple):
    """A line of prose; `note` marks something missing or damaged."""

    text: str
    note: bool = False


class Table(NamedTuple):
    """Rows under a header; on the page, a long one is closed until it is clicked."""

    caption: str
    header: list[str]
    rows: list[list[str]]


class Picture(NamedTuple):
    """A picture on the page; the text report leaves it out."""

    caption: str
    mime: str
    render: Callable[[], bytes]
    run: str = ""  # "A" for a picture of run A, in the page's left half; "B", in the right half


Block = Union[Paragraph, Table, Picture]


class Section(NamedTuple):
    """One part of the comparison; `summary` is its line in the overview at the top."""

    title: str
    summary: str
    blocks: list[Block]


class Report(NamedTuple):
    """The comparison of the runs in the folders `first` (A) and `second` (B)."""

    first: str
    second: str
    sections: list[Section]


def read_both(folders: tuple[Path, Path], part: str, reader: Callable[[Path], Any]) -> tuple[Any, Any, list[Block]]:
    """The file `part` of A and of B as `reader` gives it, or None, and notes on what is missing or damaged."""
    values: list[Any] = [None, None]
    notes: list[Block] = []
    for i, path in enumerate(folder / part for folder in folders):
        try:
            if path.exists() or (part == "checkpoint" and any(path.parent.glob("*.index"))):
                values[i] = reader(path)
            else:
                notes.append(Paragraph(f"{'AB'[i]} has no {part}.", note=True))
        except Exception as error:  # zipfile, zlib, NumPy and Pillow raise a dozen kinds for damage
            reason = error if isinstance(error, ExperimentError) else f"{path}: {type(error).__name__}: {error}"
            notes.append(Paragraph(" ".join(f"{'AB'[i]}: {reason}".split()), note=True))
    return *values, notes


def number(value: float | None) -> str:
    """A number in six digits, a dash for None."""
    return MISSING if value is None else f"{value:.6g}"


def as_text(report: Report) -> str:
    """The report for a terminal."""
    lines = [f"A  {report.first}", f"B  {report.second}", ""]
    lines += [f"{section.title:<11}  {section.summary}" for section in report.sections]
    for section in report.sections:
        lines += ["", section.title, "=" * len(section.title)]
        for block in section.blocks:
            if isinstance(block, Paragraph):
                lines.append(block.text)
            elif isinstance(block, Table):
                lines += ["", block.caption, *_text_rows(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def as_html(report: Report) -> str:
    """The report as a page that needs no network and no script: its pictures are data URIs."""
    overview, sections = "", ""
    for i, section in enumerate(report.sections):
        title, summary = html.escape(section.title), html.escape(section.summary)
        overview += f'<li><a href="#s{i}">{title}</a>: <span>{summary}</span></li>\n'
        blocks = "\n".join(map(html_block, section.blocks))
        sections += f'<section id="s{i}"><h2>{title}</h2>\n{blocks}\n</section>\n'
    a, b = (f"<p><b class={x}>{x}</b> {html.escape(name)}</p>" for x, name in zip("AB", report))
    return page("Two experiments side by side", f"{a}\n{b}\n<ul>{overview}</ul>\n{sections}")


def page(title: str, body: str) -> str:
    """A page that needs no network and no script, of a `title` and HTML below it."""
    template = string.Template(Path(__file__).with_name("page.html").read_text("utf-8"))
    return template.substitute(title=html.escape(title), body=body, colour_a=COLOUR_A, colour_b=COLOUR_B)


def _text_rows(table: Table) -> list[str]:
    rows = [table.header, *table.rows]
    first, *widths = (max(map(len, column)) for column in zip(*rows))
    rows.insert(1, ["-" * width for width in (first, *widths)])
    return ["  ".join(["", row[0].ljust(first), *map(str.rjust, row[1:], widths)]) for row in rows]


def html_block(block: Block) -> str:
    """One block of a page."""
    if isinstance(block, Paragraph):
        return f"<p{' class=note' if block.note else ''}>{html.escape(block.text)}</p>"
    caption = html.escape(block.caption)
    if isinstance(block, Picture):
        data = base64.b64encode(block.render()).decode("ascii")
        return (
            f'<figure class="{block.run}"><img alt="{caption}" src="data:{block.mime};base64,{data}">'
            f'<figcaption><b class="{block.run}">{block.run}</b> {caption}</figcaption></figure>'
        )
    head, *rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in (block.header, *block.rows))
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    state = "open" if len(rows) <= MAX_OPEN_ROWS else ""
    return (
        f"<details {state}><summary>{caption}</summary><table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></details>"
    )
