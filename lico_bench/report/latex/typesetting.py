"""Write tables as LaTeX with booktabs. All LaTeX commands are in this module and `escaping`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lico_bench.report.formatting import file_part
from lico_bench.report.latex.escaping import escape, line_breakable
from lico_bench.report.latex.fitting import (
    FONTS,
    Column,
    Fit,
    cells_by_column,
    fit,
    paginate,
    table_notes,
    wrap_header,
)
from lico_bench.report.latex.sheet import Cell, Section, Sheet

# Uses the default fonts, which need no font encoding and no generated bitmap fonts.
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=20mm]{geometry}
\usepackage{booktabs}
\begin{document}
"""


@dataclass(frozen=True)
class LatexTable:
    """A table: the stem of its file name and its LaTeX text."""

    name: str
    text: str


def typeset(sheet: Sheet) -> Iterator[LatexTable]:
    """Yield the sheet as one table, or as several parts if it exceeds a page."""
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
    warning = f" \\textbf{{{escape(sheet.warning)}}}" if sheet.warning else ""
    columns = "".join(f"p{{{c.width:.1f}pt}}" if c.width else c.align for c in layout.columns)
    headers = map(_header, sheet.headers, sheet.align)
    footnotes = (f"{_superscript(mark)} {line_breakable(note)}" for note, mark in marks.items())
    notes = map(line_breakable, table_notes(sheet, sections))
    return "\n".join(
        [
            f"% lico-bench, run {escape(sheet.run_name)}",
            r"\begin{table}[htbp]",
            f"\\centering\\{FONTS[layout.font].command}",
            r"\setlength{\belowcaptionskip}{6pt}",
            f"\\setlength{{\\tabcolsep}}{{{FONTS[layout.font].gap / 2:g}pt}}",
            f"\\caption{{{escape(sheet.caption)}{part}.{warning}}}",
            f"\\label{{tab:{name.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            " & ".join(headers) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            *(f"{note}\\par" for note in (*footnotes, *notes)),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def _header(header: str, align: str) -> str:
    rows = [escape(row) for row in wrap_header(header)]
    if len(rows) == 1:
        return rows[0]
    return f"\\begin{{tabular}}[b]{{@{{}}{align}@{{}}}}" + r"\\".join(rows) + r"\end{tabular}"


def _section(sheet: Sheet, section: Section, layout: Fit, marks: dict[str, str]) -> Iterator[str]:
    if section.title:
        warning = f" \\textbf{{[{escape(section.warning)}]}}" if section.warning else ""
        title = f"\\textit{{{escape(section.title)}}}{warning}"
        yield r"\addlinespace"
        yield f"\\multicolumn{{{len(sheet.headers)}}}{{@{{}}l}}{{{title}}} \\\\"
    previous: tuple[str, ...] = ()
    for line in section.lines:
        labels = tuple(cell.text for cell in line.cells[: sheet.num_labels])
        num_same = _num_same(labels, previous)
        if previous and num_same < len(labels):
            yield r"\addlinespace"
        texts = [
            "" if column < num_same else _cell(cell, layout.columns[column], marks)
            for column, cell in cells_by_column(line)
        ]
        if section.title:
            texts[0] = r"\quad " + texts[0]
        # LaTeX parses a bracket or star after a line end as its option.
        start = "{}" if texts[0][:1] in ("[", "*") else ""
        yield start + " & ".join(texts) + r" \tabularnewline"
        previous = labels


def _num_same(labels: Sequence[str], previous: Sequence[str]) -> int:
    """Number of leading labels that equal those of the previous line."""
    pairs = zip(labels, previous, strict=False)
    return next((k for k, (new, old) in enumerate(pairs) if new != old), len(previous))


def _cell(cell: Cell, column: Column, marks: dict[str, str]) -> str:
    is_text_column = column.width is not None and cell.width == 1
    text = line_breakable(cell.text) if is_text_column else escape(cell.text)
    if cell.is_bold:
        text = f"\\textbf{{{text}}}"
    if cell.is_faint:
        text = f"\\textit{{{text}}}"
    if cell.note:
        text += _superscript(marks.setdefault(cell.note, _note_letter(len(marks))))
    if cell.second_line:
        letter = "l" if column.width else column.align
        lines = f"{text}\\\\{{}}{escape(cell.second_line)}"
        text = f"\\begin{{tabular}}[t]{{@{{}}{letter}@{{}}}}{lines}\\end{{tabular}}"
    if cell.width > 1:
        return f"\\multicolumn{{{cell.width}}}{{c}}{{{text}}}"
    return f"\\raggedright {text}" if is_text_column else text


def _note_letter(number: int) -> str:
    """a, b, ..., z, aa, bb, ..."""
    return chr(ord("a") + number % 26) * (1 + number // 26)


def _superscript(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}"


def document(names: Sequence[str]) -> str:
    """Return a document that includes the tables with these names from its own folder."""
    parts = [f"\\input{{{name}.tex}}\n\\clearpage" for name in names]
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"
