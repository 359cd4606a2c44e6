"""The tables as LaTeX (booktabs, longtable), one file each, and a document that includes all."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from lico_bench.report.content import ReportContent
from lico_bench.report.formatting import file_part
from lico_bench.report.paper_tables import paper_tables
from lico_bench.report.tables import Cell, Row, Section, Table, claim_tables, score_tables

# Uses the default fonts, which need no font encoding and no generated bitmap fonts.
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=20mm]{geometry}
\usepackage{booktabs,longtable}
\begin{document}
"""
HEADER_CHARS = 15  # per line of a header
MAX_TOGETHER = 25  # rows that are kept on one page


class Style(NamedTuple):
    """Style of the tables with at most `max_columns` columns.

    Attributes:
        font: LaTeX command of the font size.
        gap: half of the space between columns, in points.
        wrap_chars: labels with more characters are wrapped to `wrap_share` of the line width.
    """

    max_columns: int
    font: str
    gap: float
    wrap_chars: int
    wrap_share: float


STYLES = (
    Style(5, "small", 6.0, 40, 0.4),
    Style(7, "footnotesize", 5.0, 24, 0.22),
    Style(99, "scriptsize", 3.0, 22, 0.2),
)
RUNNING_TEXT = STYLES[1]  # for tables of sentences
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": r"$-$", "–": r"--", "—": r"---",
    "≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "≈": r"$\approx$", "∞": r"$\infty$",
    "`": "'", "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "×": r"$\times$", "·": r"$\cdot$",
    "\u200b": "{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}",
}  # fmt: skip
MAX_UNBROKEN_CHARS = 20  # longer words may need a line break
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u030c": "v", "\u0327": "c",
}  # fmt: skip


@dataclass(frozen=True)
class LatexTable:
    """A table: the stem of its file name and its LaTeX text."""

    name: str
    text: str


def draw_tables(content: ReportContent) -> Iterator[LatexTable]:
    """Yield every table of a run.

    The order is `claims`, `layout_*` (the paper's tables), then one table per method and compared
    arm, starting with the scores of the model itself. A run of one arm has tables of means instead.
    """
    run_name = content.manifest.suite.name
    for tables in (claim_tables, paper_tables, score_tables):
        for table in tables(content):
            yield typeset(table, run_name)


def document(names: Sequence[str]) -> str:
    """Return a document that includes the tables with these names from its own folder."""
    parts = [f"\\input{{{name}.tex}}\n\\clearpage" for name in names]
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"


def typeset(table: Table, run_name: str) -> LatexTable:
    """Return a table that LaTeX breaks over pages; the header is repeated on each page."""
    name = file_part(table.name)
    count = len(table.columns)
    style = next(style for style in STYLES if count <= style.max_columns)
    style = RUNNING_TEXT if table.shares else style
    columns = [_column(table, number, style) for number in range(count)]
    marks: dict[str, str] = {}
    body = [line for section in table.sections for line in _section(table, section, columns, marks)]
    footnotes = (f"{_superscript(mark)} {line_breakable(note)}" for note, mark in marks.items())
    notes = map(line_breakable, table.all_notes())
    caption = f": {table.caption[:1].lower()}{table.caption[1:]}" if table.caption else ""
    warning = f" \\textbf{{{escape(table.warning)}}}" if table.warning else ""
    continued = r"\textit{Table \thetable{}, continued}"
    headers = " & ".join(map(_header, table.columns, columns))
    header = [r"\toprule", rf"{headers} \\", r"\midrule"]
    lines = [
        f"% lico-bench, run {escape(run_name)}",
        rf"\begingroup\{style.font}",
        rf"\setlength{{\tabcolsep}}{{{style.gap:g}pt}}",
        r"\setlength{\LTcapwidth}{\linewidth}",
        rf"\begin{{longtable}}{{@{{}}{''.join(columns)}@{{}}}}",
        f"\\caption{{{escape(table.title + caption)}.{warning}}}",
        rf"\label{{tab:{name.replace('_', '-')}}} \\",
        *header,
        r"\endfirsthead",
        rf"\multicolumn{{{count}}}{{@{{}}l}}{{{continued}}} \\",
        *header,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *body,
        r"\end{longtable}",
        r"\footnotesize\raggedright\parindent0pt",
        *(rf"{note}\par" for note in (*footnotes, *notes)),
        r"\endgroup",
    ]
    return LatexTable(name, "\n".join(lines) + "\n")


def _column(table: Table, number: int, style: Style) -> str:
    """Return the column type: `r` for values; `l` for labels, which wrap if they are long."""
    if table.shares:
        return f"p{{{table.shares[number]:g}\\linewidth}}"
    if number >= table.num_labels:
        return "r"
    longest = max(len(cells[number].text) for cells in table.rows)
    return "l" if longest <= style.wrap_chars else f"p{{{style.wrap_share:g}\\linewidth}}"


def _header(header: str, column: str) -> str:
    parts = header.split("\n")
    rows = [escape(row) for part in parts for row in textwrap.wrap(part, HEADER_CHARS)]
    if len(rows) < 2:
        return "".join(rows)
    return f"\\begin{{tabular}}[b]{{@{{}}{column[0]}@{{}}}}" + r"\\".join(rows) + r"\end{tabular}"


def _section(
    table: Table, section: Section, columns: Sequence[str], marks: dict[str, str]
) -> Iterator[str]:
    """Yield the lines of a section in groups that stay on one page.

    A group is the rows with the same labels, or a section with a title, at most `MAX_TOGETHER`
    rows. Labels that repeat within a group are left blank.
    """
    title = f"\\textit{{{escape(section.title)}}}"
    if section.warning:
        title += f" \\textbf{{[{escape(section.warning)}]}}"
    continued = ""
    for rows in _groups(table, section):
        if section.title or rows[0] is not section.rows[0]:
            yield r"\addlinespace"
        if section.title:
            yield f"\\multicolumn{{{len(columns)}}}{{@{{}}l}}{{{title}{continued}}} \\\\*"
            continued = " (continued)"
        for row in rows:
            texts = _texts(row.cells, columns, marks)
            if row is not rows[0]:
                texts[: table.num_labels - 1] = [""] * (table.num_labels - 1)
            if section.title:
                texts[0] = r"\quad " + texts[0]
            # LaTeX parses a bracket or star after a line end as its option.
            start = "{}" if texts[0][:1] in ("[", "*") else ""
            end = r" \tabularnewline" + ("" if row is rows[-1] else "*")
            yield start + " & ".join(texts) + end


def _groups(table: Table, section: Section) -> Iterator[Sequence[Row]]:
    def labels(row: Row) -> list[str]:
        return [cell.text for cell in row.cells[: table.num_labels - 1]]

    for _, group in groupby(section.rows, key=labels):
        rows = list(group)
        for start in range(0, len(rows), MAX_TOGETHER):
            yield rows[start : start + MAX_TOGETHER]


def _texts(cells: Sequence[Cell], columns: Sequence[str], marks: dict[str, str]) -> list[str]:
    """Return the cells of a row; adjacent missing values are merged into one cell.

    The most frequent note of the published values is attached to the last label, their other notes
    to the values.
    """
    published = Counter(cell.note for cell in cells if cell.kind == "published")
    common = published.most_common(1)[0][0] if published else ""
    num_labels = sum(cell.kind == "label" for cell in cells)
    texts = []
    numbered = zip(cells, columns, range(1, len(cells) + 1), strict=True)
    for is_missing, group in groupby(numbered, key=lambda item: item[0].kind == "missing"):
        items = list(group)
        if is_missing:
            text = escape(items[0][0].text)
            texts.append(f"\\multicolumn{{{len(items)}}}{{c}}{{\\textit{{{text}}}}}")
            continue
        for cell, column, number in items:
            note = cell.note if cell.kind in ("label", "published") and cell.note != common else ""
            if number == num_labels and common:
                note = common
            mark = marks.setdefault(note, _note_letter(len(marks))) if note else ""
            texts.append(_cell(cell, column, mark))
    return texts


def _cell(cell: Cell, column: str, mark: str) -> str:
    """Return a cell; the interval of a value beside published ones is on a second line."""
    value, bracket, interval = cell.text, "", ""
    if cell.kind == "ours":
        value, bracket, interval = cell.text.partition(" [")
    is_wrapped = column.startswith("p")
    text = line_breakable(value) if is_wrapped else escape(value)
    if cell.is_bold:
        text = f"\\textbf{{{text}}}"
    if mark:
        text += _superscript(mark)
    if interval:
        lines = f"{text}\\\\{{}}{escape(bracket.strip() + interval)}"
        return f"\\begin{{tabular}}[t]{{@{{}}r@{{}}}}{lines}\\end{{tabular}}"
    return f"\\raggedright {text}" if is_wrapped else text


def _note_letter(number: int) -> str:
    """a, b, ..., z, aa, bb, ..."""
    return chr(ord("a") + number % 26) * (1 + number // 26)


def _superscript(mark: str) -> str:
    return f"\\textsuperscript{{{mark}}}"


def escape(text: object) -> str:
    """Escape text for pdflatex; characters without a glyph are replaced by ASCII."""
    escaped = ""
    for char in map(_escape_char, str(text)):
        if escaped.endswith("-") and char.startswith("-"):
            escaped += "{}"  # keep consecutive hyphens from becoming a dash
        escaped += char
    return escaped.replace(r" \%", r"\,\%")


def line_breakable(text: object) -> str:
    """Escape running text and allow line breaks in long words (paths, lists, ids)."""
    return " ".join(
        re.sub(r"(\\_|[/@,])", r"\1\\allowbreak{}", escape(word))
        if len(word) > MAX_UNBROKEN_CHARS
        else escape(word)
        for word in str(text).split(" ")
    ).replace(r" \%", r"\,\%")


def _escape_char(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    if char.isascii():
        return char if char.isprintable() else " "
    parts = unicodedata.normalize("NFKD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    plain = parts.encode("ascii", "ignore").decode()
    return "".join(ESCAPES.get(letter, letter) for letter in plain) or "?"
