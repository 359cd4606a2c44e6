"""Tables of all scores of a run: paired differences, or means if the run has a single arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.lines import ALL, BOTH_CORRECT, Line
from lico_bench.report.tables.model import HOLDS_STANDINS, Cell, Row, Section, Table

NOT_TESTED = "Not among the differences that are tested: it is the same scores on fewer images."


def score_tables(content: ReportContent) -> Iterator[Table]:
    """Yield the tables of each method and arm, those of the model itself first.

    With several arms, a table has the differences to the reference arm, and each method has one
    table for all images and one for those that both models classify correctly. With one arm, it has
    the means.
    """
    selected: dict[tuple[str, str, str], list[Line]] = {}
    for line in content.lines:
        if line.difference or len(content.arms) == 1:
            selected.setdefault((line.method, line.arm, line.subset), []).append(line)
    for method in ("", *content.methods()):
        for arm in content.arms[1:] or content.arms:
            for subset in (ALL, BOTH_CORRECT):
                lines = selected.get((method, arm, subset), [])
                if lines and len(content.arms) == 1:
                    yield _mean_table(content, method, arm, lines)
                elif lines:
                    yield _pair_table(content, method, arm, lines, is_all=subset == ALL)


def _mean_table(content: ReportContent, method: str, arm: str, lines: Sequence[Line]) -> Table:
    return Table(
        name=formatting.file_stem(method),
        title=f"{_method_title(content, method)}: {content.arm_title(arm)}",
        columns=("Score", "Mean", "95 % interval", "Images"),
        sections=_sections(content, lines, is_tested=False),
        notes=(_interval_note(content),),
        warning=HOLDS_STANDINS if content.has_standins else "",
    )


def _pair_table(
    content: ReportContent, method: str, arm: str, lines: Sequence[Line], *, is_all: bool
) -> Table:
    title, reference = content.arm_title(arm), content.arm_title(content.reference_arm)
    images = "" if is_all else ", images that both models classify correctly"
    p_header = ("p (Holm)",) if is_all else ()
    return Table(
        name=f"{formatting.file_stem(method)}_{arm}{'' if is_all else '_both_correct'}",
        title=f"{_method_title(content, method)}: {title} against {reference}{images}",
        columns=("Score", reference, title, "Difference", "95 % interval", *p_header, "Images"),
        sections=_sections(content, lines, is_tested=is_all),
        notes=(_interval_note(content), _bold_note(content) if is_all else NOT_TESTED),
        warning=HOLDS_STANDINS if content.has_standins else "",
    )


def _sections(
    content: ReportContent, lines: Sequence[Line], *, is_tested: bool
) -> tuple[Section, ...]:
    """Return one section per block."""
    return tuple(
        _section(content, content.blocks[number], list(group), is_tested=is_tested)
        for number, group in groupby(lines, key=lambda line: line.block)
    )


def _section(
    content: ReportContent, block: Block, lines: Sequence[Line], *, is_tested: bool
) -> Section:
    protocols = content.manifest.protocols
    rows = [
        Row(
            (Cell(line.score, "label"), *_values(line, is_tested)),
            formatting.protocol_sentence(line.protocol, protocols.get(line.protocol))
            if line.protocol
            else "",
            # Cells in percent show their unit.
            "" if line.is_percent else line.unit,
        )
        for line in lines
    ]
    budget = "" if block.labels == "full" else f", {block.labels} labels"
    standin = f"{formatting.STANDIN}, " if block.is_standin else ""
    data_note = (
        f"{block.title}: {standin}{block.data}; {block.backbone}; "
        f"{formatting.plural(block.num_seeds, 'seed')}."
    )
    warning = formatting.STANDIN if block.is_standin else ""
    return Section(f"{block.title}{budget}", tuple(rows), warning, (data_note,))


def _values(line: Line, is_tested: bool) -> list[Cell]:
    cells = [Cell(line.mean)]
    if line.difference:
        is_bold = is_tested and line.is_significant
        cells = [Cell(line.reference), Cell(line.mean), Cell(line.difference, is_bold=is_bold)]
    p_value = [Cell(line.p_holm)] if is_tested else []
    return [*cells, Cell(line.interval), *p_value, Cell(f"{line.num_images:,}")]


def _method_title(content: ReportContent, method: str) -> str:
    return content.method_title(method) if method else "Scores of the model itself"


def _interval_note(content: ReportContent) -> str:
    seeds = min(block.num_seeds for block in content.blocks)
    return (
        "Brackets: 95 % intervals, two-level bootstrap. "
        f"{formatting.seeds_sentence(seeds)} Arrows point to the better end; differences of "
        "percentages are in points."
    )


def _bold_note(content: ReportContent) -> str:
    correction = formatting.correction(content.num_compared)
    return (
        f"Bold: p < {formatting.SIGNIFICANT:g} after {correction}. "
        "No p: not one of them, since it is descriptive, a control, or there to judge the others "
        "by."
    )
