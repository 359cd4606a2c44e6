"""The text of a table in LaTeX: booktabs, nothing else. No other file writes a command of LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lico_bench.report.formatting import file_part
from lico_bench.report.latex.escaping import escape, line_breakable
from lico_bench.report.latex.fitting import (
    FONTS,
    Column,
    Fit,
    broken,
    fit,
    notes_of,
    paginate,
    places,
)
from lico_bench.report.latex.sheet import Cell, Section, Sheet

# The fonts that every installation has: no font encoding to load, no bitmap fonts to be made.
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=20mm]{geometry}
\usepackage{booktabs}
\begin{document}
"""


@dataclass(frozen=True)
class LatexTable:
    """One table: the stem of its file and its text."""

    name: str
    text: str


def typeset(sheet: Sheet) -> Iterator[LatexTable]:
    """The sheet as one table, or as several where a page cannot hold it."""
    layout = fit(sheet)
    parts = list(paginate(sheet, layout))
    stem = file_part(sheet.name)
    for number, sections in enumerate(parts, start=1):
        name = stem if number == 1 else f"{stem}_{number}"
        part = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
        yield LatexTable(name, _table(sheet, name, part, layout, sections))


def _table(sheet: Sheet, name: str, part: str, layout: Fit, sections: Sequence[Section]) -> str:
    marks: dict[str, str] = {}
    body = [text for section in sections for text in _section(sheet, section, layout, marks)]
    alarm = f" \\textbf{{{escape(sheet.alarm)}}}" if sheet.alarm else ""
    columns = "".join(f"p{{{c.width:.1f}pt}}" if c.width else c.align for c in layout.columns)
    heads = map(_head, sheet.heads, sheet.align)
    notes = (f"{_superscript(mark)} {line_breakable(note)}" for note, mark in marks.items())
    return "\n".join(
        [
            f"% lico-bench, run {escape(sheet.run_name)}",
            r"\begin{table}[htbp]",
            f"\\centering\\{FONTS[layout.font].command}",
            r"\setlength{\belowcaptionskip}{6pt}",
            f"\\setlength{{\\tabcolsep}}{{{FONTS[layout.font].gap / 2:g}pt}}",
            f"\\caption{{{escape(sheet.caption)}{part}.{alarm}}}",
            f"\\label{{tab:{name.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            *(f"{note}\\par" for note in (*notes, *map(line_breakable, notes_of(sheet, sections)))),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def _head(head: str, align: str) -> str:
    rows = [escape(row) for row in broken(head)]
    if len(rows) == 1:
        return rows[0]
    return f"\\begin{{tabular}}[b]{{@{{}}{align}@{{}}}}" + r"\\".join(rows) + r"\end{tabular}"


def _section(sheet: Sheet, section: Section, layout: Fit, marks: dict[str, str]) -> Iterator[str]:
    if section.title:
        alarm = f" \\textbf{{[{escape(section.alarm)}]}}" if section.alarm else ""
        title = f"\\textit{{{escape(section.title)}}}{alarm}"
        yield r"\addlinespace"
        yield f"\\multicolumn{{{len(sheet.heads)}}}{{@{{}}l}}{{{title}}} \\\\"
    above: tuple[str, ...] = ()
    for line in section.lines:
        labels = tuple(cell.text for cell in line.cells[: sheet.num_labels])
        num_same = _num_same(labels, above)
        if above and num_same < len(labels):
            yield r"\addlinespace"
        texts = [
            "" if column < num_same else _cell(cell, layout.columns[column], marks)
            for column, cell in places(line)
        ]
        if section.title:
            texts[0] = r"\quad " + texts[0]
        # LaTeX would read a bracket or a star after a line's end as an option of it.
        start = "{}" if texts[0][:1] in ("[", "*") else ""
        yield start + " & ".join(texts) + r" \tabularnewline"
        above = labels


def _num_same(labels: Sequence[str], above: Sequence[str]) -> int:
    """How many of the first labels repeat what stands above."""
    pairs = zip(labels, above, strict=False)
    return next((k for k, (one, other) in enumerate(pairs) if one != other), len(above))


def _cell(cell: Cell, column: Column, marks: dict[str, str]) -> str:
    is_running = column.width is not None and cell.width == 1
    text = line_breakable(cell.text) if is_running else escape(cell.text)
    if cell.is_bold:
        text = f"\\textbf{{{text}}}"
    if cell.is_faint:
        text = f"\\textit{{{text}}}"
    if cell.note:
        text += _superscript(marks.setdefault(cell.note, _mark(len(marks))))
    if cell.below:
        letter = "l" if column.width else column.align
        below = escape(cell.below)
        text = f"\\begin{{tabular}}[t]{{@{{}}{letter}@{{}}}}{text}\\\\{{}}{below}\\end{{tabular}}"
    if cell.width > 1:
        return f"\\multicolumn{{{cell.width}}}{{c}}{{{text}}}"
    return f"\\raggedright {text}" if is_running else text


def _mark(number: int) -> str:
    """a, b, ..., z, aa, bb, ..."""
    return chr(ord("a") + number % 26) * (1 + number // 26)


def _superscript(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}"


def document(names: Sequence[str]) -> str:
    """A document that holds the tables of these names, to be compiled beside them."""
    parts = [f"\\input{{{name}.tex}}\n\\clearpage" for name in names]
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"
