"""Tables of all scores of a run: paired differences, or means if the run has a single arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.latex.sheet import HOLDS_STANDINS, Cell, Line, Section, Sheet
from lico_bench.report.lookup import Row, rows_by_score

Cells = Callable[[Row, MetricSpec], list[Cell]]
Rows = Mapping[tuple[str, str, str], Row]
SUBSETS = ("all", "both_correct")
NOT_TESTED = "Not among the differences that are tested: it is the same scores on fewer images."


def pair_sheets(content: ReportContent) -> Iterator[Sheet]:
    """Yield tables of each method and arm against the reference arm.

    Each method has one table for all images and one for those that both models classify correctly.
    """
    rows_by_subset = {
        "all": [rows_by_score(block.differences) for block in content.blocks],
        "both_correct": [rows_by_score(block.both_correct) for block in content.blocks],
    }
    for method in ("", *content.methods()):
        for arm in content.arms[1:]:
            for subset in SUBSETS if method else SUBSETS[:1]:
                sheet = _pair_sheet(content, method, arm, subset, rows_by_subset[subset])
                if sheet.sections:
                    yield sheet


def mean_sheets(content: ReportContent) -> Iterator[Sheet]:
    """Yield the means of each method, for a run with a single arm."""
    rows_by_block = [rows_by_score(block.means) for block in content.blocks]
    (arm,) = content.arms
    for method in ("", *content.methods()):
        sections = _sections(content, method, arm, rows_by_block, _mean_cells)
        if sections:
            yield Sheet(
                name=formatting.file_stem(method),
                run_name=content.manifest.suite.name,
                caption=f"{_method_caption(content, method)}: {content.arm_title(arm)}",
                headers=("Score", "Mean", "95 % interval", "Images"),
                align="lrrr",
                sections=sections,
                notes=(_interval_note(content),),
                warning=HOLDS_STANDINS if content.has_standins else "",
            )


def _pair_sheet(
    content: ReportContent, method: str, arm: str, subset: str, rows_by_block: Sequence[Rows]
) -> Sheet:
    is_all = subset == "all"
    title, reference = content.arm_title(arm), content.arm_title(content.reference_arm)
    images = "" if is_all else ", images that both models classify correctly"
    p_header = ("p (Holm)",) if is_all else ()
    cells = _tested_cells if is_all else _pair_cells
    return Sheet(
        name=f"{formatting.file_stem(method)}_{arm}{'' if is_all else '_both_correct'}",
        run_name=content.manifest.suite.name,
        caption=f"{_method_caption(content, method)}: {title} against {reference}{images}",
        headers=("Score", reference, title, "Difference", "95 % interval", *p_header, "Images"),
        align="lrrrr" + "r" * len(p_header) + "r",
        sections=_sections(content, method, arm, rows_by_block, cells),
        notes=(_interval_note(content), _bold_note(content) if is_all else NOT_TESTED),
        warning=HOLDS_STANDINS if content.has_standins else "",
    )


def _sections(
    content: ReportContent, method: str, arm: str, rows_by_block: Sequence[Rows], cells: Cells
) -> tuple[Section, ...]:
    """Return one section per block with scores of this arm and method."""
    sections = (
        _section(content, block, method, arm, rows, cells)
        for block, rows in zip(content.blocks, rows_by_block, strict=True)
    )
    return tuple(section for section in sections if section.lines)


def _section(
    content: ReportContent, block: Block, method: str, arm: str, rows: Rows, cells: Cells
) -> Section:
    lines = []
    for spec in content.specs.values():
        row = rows.get((arm, method, spec.name))
        if row:
            # Cells in percent show their unit.
            unit = "" if formatting.is_percent(spec) else spec.unit
            name = Cell(formatting.title_with_arrow(spec))
            lines.append(Line((name, *cells(row, spec)), _protocol(content, row), unit))
    budget = "" if block.labels == "full" else f", {block.labels} labels"
    standin = f"{formatting.STANDIN}, " if block.is_standin else ""
    data_note = (
        f"{block.title}: {standin}{block.data}; {block.backbone}; "
        f"{formatting.plural(block.num_seeds, 'seed')}."
    )
    warning = formatting.STANDIN if block.is_standin else ""
    return Section(f"{block.title}{budget}", tuple(lines), warning, (data_note,))


def _protocol(content: ReportContent, row: Row) -> str:
    if not row["protocol"]:
        return ""
    protocols = content.manifest.protocols
    return formatting.protocol_sentence(row["protocol"], protocols.get(row["protocol"]))


def _tested_cells(row: Row, spec: MetricSpec) -> list[Cell]:
    return _pair_cells(row, spec, row["p_holm"])


def _pair_cells(row: Row, spec: MetricSpec, p_holm: float | None = None) -> list[Cell]:
    difference, interval = formatting.difference(row["difference"], row["low"], row["high"], spec)
    return [
        Cell(formatting.value(row["mean_reference"], spec)),
        Cell(formatting.value(row["mean"], spec)),
        Cell(difference, is_bold=formatting.is_significant(p_holm)),
        Cell(interval),
        *([] if p_holm is None else [Cell(formatting.p_value(p_holm))]),
        Cell(f"{row['num_images']:,}"),
    ]


def _mean_cells(row: Row, spec: MetricSpec) -> list[Cell]:
    return [
        Cell(formatting.value(row["mean"], spec)),
        Cell(formatting.mean_interval(row["low"], row["high"], spec)),
        Cell(f"{row['num_images']:,}"),
    ]


def _method_caption(content: ReportContent, method: str) -> str:
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
