"""Tables for papers: booktabs, one file per table, and a document that compiles them all.

A table goes into a paper by `input`; it needs the package booktabs and nothing else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lico_bench.records import MetricSpec
from lico_bench.report import wording
from lico_bench.report.content import Block, Content

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", '"': "''",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": r"$-$", "–": r"--", "—": r"---",
    "“": "``", "”": "''", "’": "'", "…": r"\ldots{}", "×": r"$\times$", "·": r"$\cdot$",
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}",
}  # fmt: skip
ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r",
    "\u030c": "v", "\u0327": "c",
}  # fmt: skip

# The fonts that every installation has: no font encoding to load, no bitmap fonts to be made.
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[a4paper,margin=20mm]{geometry}
\usepackage{booktabs}
\begin{document}
\thispagestyle{empty}
"""


@dataclass(frozen=True)
class LatexTable:
    """One table: the stem of its file and its text."""

    name: str
    text: str


def escape(text: object) -> str:
    """Any text as LaTeX that pdflatex can set; signs it has no glyph for become plain ones."""
    return "".join(_escape_sign(sign) for sign in str(text))


def draw_tables(content: Content) -> Iterator[LatexTable]:
    """One table per compared arm and method, the model's own scores first.

    A run of one arm gives tables of means instead.
    """
    for method in ("", *content.methods()):
        stem = wording.file_stem(method)
        for arm in content.arms[1:]:
            for subset in ("all", "both_correct") if method else ("all",):
                lines = list(_pair_lines(content, method, arm, subset))
                if lines:
                    suffix = "" if subset == "all" else "_both_correct"
                    caption = _pair_caption(content, method, arm, subset)
                    head = _pair_head(content, arm)
                    name = f"{stem}_{arm}{suffix}"
                    yield LatexTable(name, _table(content, method, name, caption, head, lines))
        if len(content.arms) == 1:
            lines = list(_mean_lines(content, method))
            if lines:
                caption = (
                    f"{_scores_of(content, method)}: {escape(content.arm_title(content.arms[0]))}."
                )
                head = r"Score & Mean & 95\,\% interval \\"
                yield LatexTable(stem, _table(content, method, stem, caption, head, lines))


def document(names: list[str]) -> str:
    """A document that holds the tables of these names, to be compiled beside them."""
    parts = [f"\\input{{{name}.tex}}\n\\clearpage" for name in names]
    return PREAMBLE + "\n".join(parts) + "\n\\end{document}\n"


def _units(text: str) -> str:
    return escape(text).replace(r" \%", r"\,\%")


def _escape_sign(sign: str) -> str:
    if sign in ESCAPES:
        return ESCAPES[sign]
    if sign.isascii():
        return sign if sign.isprintable() else " "
    parts = unicodedata.normalize("NFKD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    plain = parts.encode("ascii", "ignore").decode()
    return "".join(ESCAPES.get(letter, letter) for letter in plain) or "?"


def _table(
    content: Content, method: str, name: str, caption: str, head: str, lines: list[str]
) -> str:
    width = head.count("&") + 1
    columns = "l" + "r" * (width - 2) + "l"
    body = "\n".join(line.replace("@WIDTH@", str(width)) for line in lines)
    return "\n".join(
        [
            f"% lico-bench, run {escape(content.manifest['suite'].get('name', ''))}",
            r"\begin{table}[htbp]",
            r"\centering\small",
            r"\setlength{\belowcaptionskip}{6pt}",
            f"\\caption{{{caption}}}",
            f"\\label{{tab:{name.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            head,
            body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
            *(f"{_units(note)}\\par" for note in _notes(content, method)),
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )


def _notes(content: Content, method: str) -> Iterator[str]:
    """What stands under each table: pictures, protocol, what the interval covers."""
    for block in content.blocks:
        label = f"{wording.STANDIN}, " if block.is_standin else ""
        yield (
            f"{block.title}: {label}{block.data}; {block.backbone}; "
            f"{wording.plural(block.num_seeds, 'seed')}."
        )
    for protocol in content.protocols(method):
        yield f"Protocol {protocol}."
    seeds = min(block.num_seeds for block in content.blocks)
    yield (
        "Brackets: 95 % intervals, two-level bootstrap, not corrected for the number of scores. "
        + wording.seeds_sentence(seeds)
    )


def _pair_caption(content: Content, method: str, arm: str, subset: str) -> str:
    images = "" if subset == "all" else ", images that both models classify correctly"
    ours, theirs = (escape(content.arm_title(one)) for one in (arm, content.reference_arm))
    loud = r" \textbf{Holds stand-in data.}" if content.has_standins else ""
    return f"{_scores_of(content, method)}: {ours} against {theirs}{images}.{loud}"


def _scores_of(content: Content, method: str) -> str:
    return escape(content.method_title(method)) if method else "Scores of the model itself"


def _pair_head(content: Content, arm: str) -> str:
    ours, theirs = (escape(content.arm_title(one)) for one in (arm, content.reference_arm))
    return f"Score & {theirs} & {ours} & Difference & 95\\,\\% interval \\\\"


def _pair_lines(content: Content, method: str, arm: str, subset: str) -> Iterator[str]:
    for block in content.blocks:
        frame = block.differences if subset == "all" else block.both_correct
        rows = frame[(frame["method"] == method) & (frame["arm"] == arm)]
        yield from _block_lines(content, block, rows, method, _pair_cells)


def _mean_lines(content: Content, method: str) -> Iterator[str]:
    for block in content.blocks:
        rows = block.means[block.means["method"] == method]
        yield from _block_lines(content, block, rows, method, _mean_cells)


def _block_lines(
    content: Content, block: Block, rows: pd.DataFrame, method: str, cells: Any
) -> Iterator[str]:
    if rows.empty:
        return
    loud = r" \textbf{[STAND-IN]}" if block.is_standin else ""
    budget = "" if block.labels == "full" else f", {block.labels} labels"
    yield r"\midrule"
    title = f"\\textit{{{escape(block.title + budget)}}}{loud}"
    yield f"\\multicolumn{{@WIDTH@}}{{@{{}}l}}{{{title}}} \\\\"
    for shown, spec in content.each_score(block):
        if shown == method:
            for _, row in rows[rows["metric"] == spec.name].iterrows():
                name = escape(wording.title_with_arrow(spec))
                yield " & ".join([f"\\quad {name}", *map(_units, cells(row, spec))]) + r" \\"


def _pair_cells(row: pd.Series[Any], spec: MetricSpec) -> list[str]:
    return [
        wording.value(row["mean_reference"], spec),
        wording.value(row["mean"], spec),
        *wording.difference(row["difference"], row["low"], row["high"], spec),
    ]


def _mean_cells(row: pd.Series[Any], spec: MetricSpec) -> list[str]:
    return [
        wording.value(row["mean"], spec),
        wording.mean_interval(row["low"], row["high"], spec),
    ]
